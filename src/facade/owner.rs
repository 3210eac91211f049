//! Who keeps what was just written: a client that changes an owned path of a managed thing is told which resource will
//! change it back.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;
use parking_lot::Mutex;
use serde_json::Value;

use super::Facade;
use super::ask::Ask;
use super::upstream::Call;
use crate::twin::desired::Mode;
use crate::twin::id::ThingId;
use crate::twin::json::Pointer;
use crate::twin::mark::Mark;
use crate::twin::ownership::mode_of;

const OWNER: HeaderName = HeaderName::from_static("twinops-owner");
/// How long a mark is believed: the header is a hint, and a write costs a read without it.
const MARK_AGE_MAX: Duration = Duration::from_secs(10);
/// Marks remembered at one time: a few megabytes. Beyond it all are forgotten.
const MARKS_MAX: usize = 4_096;

/// The marks of things lately written, by who wrote: nobody learns of a mark that he may not read.
#[derive(Default)]
pub struct Marks(Mutex<HashMap<Key, Known>>);

/// A thing's mark as it was last looked at; `None` when nothing manages the thing.
#[derive(Clone)]
struct Known {
    at: Instant,
    mark: Option<Arc<Mark>>,
}

type Key = ((HeaderName, HeaderValue), ThingId);

impl Marks {
    fn get(&self, key: &Key) -> Option<Known> {
        let marks = self.0.lock();
        marks.get(key).filter(|known| known.at.elapsed() < MARK_AGE_MAX).cloned()
    }

    fn put(&self, key: Key, mark: Option<Arc<Mark>>) {
        let mut marks = self.0.lock();
        if marks.len() >= MARKS_MAX {
            marks.clear();
        }
        marks.insert(key, Known { at: Instant::now(), mark });
    }
}

/// `namespace/name` of the resource that owns one of the `written` paths; `None` also where nobody can tell.
pub async fn of(facade: &Facade, ask: &Ask, id: &ThingId, written: &[Pointer]) -> Option<String> {
    let key = (ask.caller.identity(), id.clone());
    let mark = if let Some(known) = facade.marks.get(&key) {
        known.mark
    } else {
        let mark = look(facade, ask, id).await.map(Arc::new);
        facade.marks.put(key, mark.clone());
        mark
    }?;
    written.iter().any(|path| is_owned(&mark, path)).then(|| mark.place())
}

async fn look(facade: &Facade, ask: &Ask, id: &ThingId) -> Option<Mark> {
    let call = Call::get(&["things", id.as_str()]).query("fields", "_metadata/twinops");
    let answer = facade.upstream.ask(&ask.caller, &ask.id, call).await.ok()?;
    let body: Value = serde_json::from_str(&answer.text().await.ok()?).ok()?;
    Mark::from_json(body.get("_metadata")?.get("twinops")?)
}

/// A mark that carries its base knows every path. Another says only that the thing is managed: then what is enforced
/// unless a resource says otherwise is taken for owned.
fn is_owned(mark: &Mark, written: &Pointer) -> bool {
    match &mark.base {
        Some(base) => base.enforced.iter().any(|owned| owned.covers(written) || written.covers(owned)),
        None => mode_of(written, &[]) == Mode::Enforce,
    }
}

/// The answer with its owner.
pub fn shown(mut response: Response, owner: Option<String>) -> Response {
    if let Some(value) = owner.and_then(|owner| HeaderValue::from_str(&owner).ok()) {
        response.headers_mut().insert(OWNER, value);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twin::mark::{Base, Origin};

    #[test]
    fn a_path_is_owned_when_the_base_names_it_or_something_below_or_above() {
        let mut mark = Mark {
            owner: "o".into(),
            uid: "u".into(),
            generation: 1,
            namespace: "plant".into(),
            name: "pump".into(),
            origin: Origin::Created,
            hash: "h".into(),
            telemetry: None,
            base: None,
            labels: None,
        };
        let rows = [
            ("/attributes/location", true, true),
            ("/attributes/location/room", true, true),
            ("/attributes", true, true),
            ("", true, true),
            ("/attributes/colour", false, true),
            ("/features/t/properties/value", false, false),
            ("/features/t/desiredProperties/value", false, true),
        ];
        for (path, with_base, without) in rows {
            let path = Pointer::parse(path);
            mark.base = None;
            assert_eq!(is_owned(&mark, &path), without, "{path} without a base");
            let enforced = [Pointer::parse("/attributes/location")].into();
            mark.base = Some(Base { enforced, ..Base::default() });
            assert_eq!(is_owned(&mark, &path), with_base, "{path}");
        }
    }
}
