//! The end of policies that were made with things, before a Ditto whose search index is behind.
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use parking_lot::Mutex;
use serde_json::{Value, json};
use twinops::settings::{Credentials, FacadeAuth};

use super::{Facade, PATIENCE, settings};
use crate::contract::engine::Engine;
use crate::support::wait_for;

/// Longer than a policy waits for the index.
const SETTLED: Duration = Duration::from_secs(8);

/// What the index shows.
#[derive(Clone)]
enum Index {
    Everything,
    Nothing,
    /// This thing, as if it were still there.
    Still(&'static str),
}

/// An engine behind a server that answers searches as an index that is behind would.
struct Behind {
    facade: Facade,
    index: Arc<Mutex<Index>>,
    task: tokio::task::JoinHandle<()>,
    _runtime: tokio::runtime::Runtime,
    _engine: Engine,
}

impl Behind {
    fn showing(index: Index) -> Self {
        let engine = Engine::in_memory();
        let index = Arc::new(Mutex::new(index));
        let (shown, ditto) = (Arc::clone(&index), engine.base.clone());
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let router = Router::new().fallback(async move |request: Request| {
            let target = request.uri().to_string();
            let is_count = target.contains("/search/things/count");
            let answer = match (target.contains("/search/things"), shown.lock().clone()) {
                (false, _) | (true, Index::Everything) => None,
                (true, Index::Nothing) if is_count => Some("0".to_owned()),
                (true, Index::Nothing) => Some(r#"{"items":[]}"#.to_owned()),
                (true, Index::Still(_)) if is_count => Some("1".to_owned()),
                (true, Index::Still(id)) => Some(json!({"items": [{"thingId": id}]}).to_string()),
            };
            let mut response = axum::http::Response::builder();
            if let Some(answer) = answer {
                return response.body(axum::body::Body::from(answer)).unwrap();
            }
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
            let mut asked = client.request(parts.method, format!("{ditto}{target}")).body(body);
            for (name, value) in parts.headers.iter().filter(|(name, _)| *name != "host") {
                asked = asked.header(name, value);
            }
            let said = asked.send().await.unwrap();
            response = response.status(said.status());
            for (name, value) in said.headers() {
                response = response.header(name, value);
            }
            response.body(axum::body::Body::from(said.bytes().await.unwrap())).unwrap()
        });
        let runtime = super::runtime();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let auth = FacadeAuth::None(Credentials::PreAuthenticated("nginx:ditto".to_owned()));
        let ditto_ws_url = settings(&engine.base, auth.clone()).ditto_ws_url;
        let facade = Facade::with(twinops::settings::Facade { ditto_ws_url, ..settings(&base, auth) });
        let task = runtime.spawn(async move { drop(axum::serve(listener, router).await) });
        Self { facade, index, task, _runtime: runtime, _engine: engine }
    }

    #[track_caller]
    fn make(&self, id: &str, policy: Option<&str>) {
        let mut thing = json!({"thing_id": id});
        if let Some(policy) = policy {
            thing["policy_id"] = Value::from(policy);
        }
        assert_eq!(self.facade.ask("POST", "/things/", &[], Some(&thing.to_string())).status, 201, "{id}");
    }

    #[track_caller]
    fn delete(&self, id: &str) {
        assert_eq!(self.facade.ask("DELETE", &format!("/things/{id}"), &[], None).status, 204, "{id}");
    }

    fn status(&self, path: &str) -> u16 {
        self.facade.get(path).status
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[test]
fn f27_a_thing_that_the_index_does_not_show_yet_keeps_its_policy() {
    let ditto = Behind::showing(Index::Nothing);
    ditto.make("com.example:a", None);
    ditto.make("com.example:b", Some("com.example:a"));
    ditto.delete("com.example:a");
    assert_eq!(ditto.status("/policies/com.example:a"), 200, "nothing is known of the index yet");
    std::thread::sleep(Duration::from_secs(2));
    *ditto.index.lock() = Index::Everything;
    std::thread::sleep(SETTLED);
    assert_eq!(ditto.status("/things/com.example:b"), 200);
}

#[test]
fn f27_a_thing_that_is_made_while_the_policy_waits_keeps_it_whatever_the_index_says() {
    let ditto = Behind::showing(Index::Nothing);
    for id in ["com.example:a", "com.example:c"] {
        ditto.make(id, None);
        ditto.delete(id);
    }
    std::thread::sleep(Duration::from_secs(2));
    ditto.make("com.example:b", Some("com.example:a"));
    ditto.make("com.example:c", None);
    std::thread::sleep(SETTLED);
    let things = ["b", "c"].map(|name| ditto.status(&format!("/things/com.example:{name}")));
    assert_eq!(things, [200, 200]);
}

#[test]
fn f27_a_policy_goes_when_the_index_has_caught_up() {
    let ditto = Behind::showing(Index::Still("com.example:a"));
    ditto.make("com.example:a", None);
    ditto.delete("com.example:a");
    assert_eq!(ditto.status("/policies/com.example:a"), 200, "the index still shows its thing");
    std::thread::sleep(SETTLED);
    assert_eq!(ditto.status("/policies/com.example:a"), 200);
    *ditto.index.lock() = Index::Everything;
    wait_for("the policy to go", PATIENCE, || (ditto.status("/policies/com.example:a") == 404).then_some(()));
}
