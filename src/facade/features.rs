//! Features of a thing.
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use serde_json::{Map, Value};

use super::Facade;
use super::ask::{Ask, OfFeature, OfThing};
use super::names::Shape;
use super::owner;
use super::problem::Problem;
use super::reply;
use super::things::{JSON, PATCH, location};
use super::upstream::{Answer, Call};
use crate::twin::id::ThingId;
use crate::twin::json::Pointer;

/// How often a feature that changes while it is written is read anew: devices write it, too.
const TRIES: usize = 5;
/// The parts of a feature.
const PARTS: [&str; 3] = ["definition", "properties", "desiredProperties"];

/// `GET /things/{thing_id}/features`
pub async fn list(
    State(facade): State<Arc<Facade>>,
    OfThing(id): OfThing,
    ask: Ask,
) -> Result<Response, Problem> {
    ask.query.only(&[])?;
    let call = Call::get(&["things", id.as_str(), "features"]).conditions(&ask.headers);
    reply::of(facade.upstream.ask(&ask.caller, &ask.id, call).await?, Shape::Features, "").await
}

/// `GET /things/{thing_id}/features/{feature_id}`
pub async fn read(
    State(facade): State<Arc<Facade>>,
    OfFeature(id, feature): OfFeature,
    ask: Ask,
) -> Result<Response, Problem> {
    ask.query.only(&[])?;
    let call = Call::get(&["things", id.as_str(), "features", &feature]).conditions(&ask.headers);
    reply::of(facade.upstream.ask(&ask.caller, &ask.id, call).await?, Shape::Feature, "").await
}

/// `PUT /things/{thing_id}/features/{feature_id}`: replaces the parts that the body names and keeps the others.
/// `?replace=true` replaces the feature, as Ditto does.
pub async fn replace(
    State(facade): State<Arc<Facade>>,
    OfFeature(id, feature): OfFeature,
    mut ask: Ask,
) -> Result<Response, Problem> {
    let whole = ask.query.only(&["replace"])?.flag("replace")?;
    let (text, _) = ask.json(Shape::Feature, JSON).await?;
    let named: Map<String, Value> = serde_json::from_str(&text).unwrap_or_default();
    let written: Vec<Pointer> = if whole {
        vec![Pointer::of(["features", &feature])]
    } else {
        named.keys().map(|part| Pointer::of(["features", &feature, part])).collect()
    };
    let target = Target { facade: &facade, ask: &ask, id: &id, feature: &feature };
    let write = async {
        if whole || PARTS.iter().all(|part| named.get(*part).is_some_and(|value| !value.is_null())) {
            target.put(text.clone(), |call| call.conditions(&ask.headers)).await
        } else {
            target.put_parts(&text, &named).await
        }
    };
    let (answer, owner) = tokio::join!(write, owner::of(&facade, &ask, &id, &written));
    Ok(owner::shown(reply::of(answer?, Shape::Feature, &place(&id, &feature)).await?, owner))
}

/// `PATCH /things/{thing_id}/features/{feature_id}`: RFC 7396.
pub async fn patch(
    State(facade): State<Arc<Facade>>,
    OfFeature(id, feature): OfFeature,
    mut ask: Ask,
) -> Result<Response, Problem> {
    ask.query.only(&[])?;
    let (text, _) = ask.json(Shape::Feature, PATCH).await?;
    let named: Map<String, Value> = serde_json::from_str(&text).unwrap_or_default();
    let written: Vec<Pointer> = crate::twin::json::leaves(&Value::Object(named))
        .into_iter()
        .map(|(path, _)| Pointer::of(["features", &feature]).join(&path))
        .collect();
    let call = Call::new(Method::PATCH, &["things", id.as_str(), "features", &feature])
        .merge_patch(text)
        .conditions(&ask.headers);
    let (answer, owner) = tokio::join!(
        facade.upstream.ask(&ask.caller, &ask.id, call),
        owner::of(&facade, &ask, &id, &written)
    );
    Ok(owner::shown(reply::of(answer?, Shape::Feature, "").await?, owner))
}

/// `DELETE /things/{thing_id}/features/{feature_id}`
pub async fn delete(
    State(facade): State<Arc<Facade>>,
    OfFeature(id, feature): OfFeature,
    ask: Ask,
) -> Result<Response, Problem> {
    ask.query.only(&[])?;
    let written = [Pointer::of(["features", &feature])];
    let call =
        Call::new(Method::DELETE, &["things", id.as_str(), "features", &feature]).conditions(&ask.headers);
    let (answer, owner) = tokio::join!(
        facade.upstream.ask(&ask.caller, &ask.id, call),
        owner::of(&facade, &ask, &id, &written)
    );
    Ok(owner::shown(reply::of(answer?, Shape::Value, "").await?, owner))
}

fn place(id: &ThingId, feature: &str) -> String {
    format!("{}{}", location("things", id.as_str()), location("features", feature))
}

/// The value in `{"part":value}`, as names are written here: byte for byte, whatever number it is.
fn only_value<'t>(text: &'t str, part: &str) -> &'t str {
    let inner = text.strip_prefix("{\"").and_then(|rest| rest.strip_prefix(part)?.strip_prefix("\":"));
    inner.and_then(|rest| rest.strip_suffix('}')).unwrap_or("null")
}

/// The feature that is written, and by whom.
struct Target<'a> {
    facade: &'a Facade,
    ask: &'a Ask,
    id: &'a ThingId,
    feature: &'a str,
}

impl Target<'_> {
    fn segments(&self) -> [&str; 4] {
        ["things", self.id.as_str(), "features", self.feature]
    }

    async fn put(&self, text: String, conditions: impl FnOnce(Call) -> Call) -> Result<Answer, Problem> {
        let call = conditions(Call::new(Method::PUT, &self.segments()).json(text));
        self.facade.upstream.ask(&self.ask.caller, &self.ask.id, call).await
    }

    /// Replaces some parts at once: what is there is read, changed, and written on the condition that nobody else was
    /// faster. A single part of a feature that exists needs one call only.
    async fn put_parts(&self, text: &str, named: &Map<String, Value>) -> Result<Answer, Problem> {
        let conditional =
            [header::IF_MATCH, header::IF_NONE_MATCH].iter().any(|name| self.ask.headers.contains_key(name));
        if let (1, Some((part, value)), false) = (named.len(), named.iter().next(), conditional)
            && !value.is_null()
            && let Some(answer) = self.put_part(part, only_value(text, part)).await?
        {
            return Ok(answer);
        }
        for _ in 1..TRIES {
            match self.read_and_put(named).await {
                Err(problem) if problem.status == StatusCode::PRECONDITION_FAILED && !conditional => {}
                answer => return answer,
            }
        }
        self.read_and_put(named).await
    }

    /// `None` where there is no such part or feature yet: a new one is a 201 of the feature, not of the part.
    async fn put_part(&self, part: &str, value: &str) -> Result<Option<Answer>, Problem> {
        let [things, id, features, feature] = self.segments();
        let call = Call::new(Method::PUT, &[things, id, features, feature, part])
            .json(value.to_owned())
            .header(header::IF_MATCH, HeaderValue::from_static("*"));
        match self.facade.upstream.ask(&self.ask.caller, &self.ask.id, call).await {
            Ok(mut answer) => {
                // It is the tag of the part.
                answer.headers.remove(header::ETAG);
                Ok(Some(answer))
            }
            Err(problem)
                if matches!(problem.status, StatusCode::NOT_FOUND | StatusCode::PRECONDITION_FAILED) =>
            {
                Ok(None)
            }
            Err(problem) => Err(problem),
        }
    }

    async fn read_and_put(&self, named: &Map<String, Value>) -> Result<Answer, Problem> {
        let look = Call::get(&self.segments());
        let (etag, mut feature) = match self.facade.upstream.ask(&self.ask.caller, &self.ask.id, look).await {
            Ok(answer) => {
                let etag = answer.etag().cloned();
                let feature: Map<String, Value> =
                    serde_json::from_str(&answer.text().await?).unwrap_or_default();
                (etag, feature)
            }
            Err(problem) if problem.code == "things:feature.notfound" => (None, Map::new()),
            Err(problem) => return Err(problem),
        };
        for (part, value) in named {
            match value {
                Value::Null => drop(feature.shift_remove(part)),
                value => drop(feature.insert(part.clone(), value.clone())),
            }
        }
        let own = self.ask.headers.contains_key(header::IF_MATCH)
            || self.ask.headers.contains_key(header::IF_NONE_MATCH);
        self.put(Value::Object(feature).to_string(), |call| match etag {
            _ if own => call.conditions(&self.ask.headers),
            Some(etag) => call.header(header::IF_MATCH, etag),
            None => call.header(header::IF_NONE_MATCH, HeaderValue::from_static("*")),
        })
        .await
    }
}
