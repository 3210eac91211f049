//! Things: made, read, written, deleted, each with the policy that was made for it.
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::Facade;
use super::ask::{Ask, OfThing, policy_id, thing_id};
use super::ended;
use super::names::Shape;
use super::owner;
use super::page::{self, Paged};
use super::problem::Problem;
use super::reply;
use super::upstream::{Answer, Call};
use super::words::{self, THING_FIELDS};
use crate::twin::id::ThingId;
use crate::twin::json::{Pointer, leaves};

/// The media types of a write.
pub const JSON: &[&str] = &["application/json"];
/// And of a patch: both mean RFC 7396 here.
pub const PATCH: &[&str] = &["application/merge-patch+json", "application/json"];
/// If-Match or If-None-Match, for anything that is there.
const ANY: HeaderValue = HeaderValue::from_static("*");

/// `GET /things/`
pub async fn list(State(facade): State<Arc<Facade>>, ask: Ask) -> Result<Response, Problem> {
    let query = ask.query.only(&["limit", "cursor", "fields", "namespace"])?;
    let paged = Paged::read(query)?;
    let mut call = Call::get(&["search", "things"]).query("option", &paged.option(None));
    if let Some(namespace) = query.get("namespace") {
        call = call.query("namespaces", page::namespace(namespace)?);
    }
    call = call.query("fields", &page::fields(query)?);
    page::answer(&facade, &ask, call, "/things/").await
}

/// `POST /things/`
pub async fn create(State(facade): State<Arc<Facade>>, mut ask: Ask) -> Result<Response, Problem> {
    ask.query.only(&[])?;
    let (text, tree) = ask.json(Shape::Thing, JSON).await?;
    let id = tree.get("thing_id").or_else(|| tree.get("thingId"));
    let id = id.ok_or_else(|| Problem::invalid("json.field.missing", "`thing_id` is missing"))?;
    let id = thing_id(id.as_str().unwrap_or_default())?;
    let call = Call::new(Method::PUT, &["things", id.as_str()]).header(header::IF_NONE_MATCH, ANY);
    match put(&facade, &ask, &id, call, (text, &tree)).await {
        Err(problem) if problem.status == StatusCode::PRECONDITION_FAILED => {
            let detail = format!("the thing {id} exists already");
            Err(Problem::new(StatusCode::CONFLICT, "things:thing.conflict", detail))
        }
        answer => reply::of(answer?, Shape::Thing, &location("things", id.as_str())).await,
    }
}

/// `GET /things/{thing_id}`
pub async fn read(
    State(facade): State<Arc<Facade>>,
    OfThing(id): OfThing,
    ask: Ask,
) -> Result<Response, Problem> {
    let query = ask.query.only(&["fields"])?;
    let call =
        Call::get(&["things", id.as_str()]).query("fields", &page::fields(query)?).conditions(&ask.headers);
    let answer = facade.upstream.ask(&ask.caller, &ask.id, call).await?;
    reply::of(answer, Shape::Thing, "").await
}

/// `PUT /things/{thing_id}`: all of it, or a new one.
pub async fn replace(
    State(facade): State<Arc<Facade>>,
    OfThing(id): OfThing,
    mut ask: Ask,
) -> Result<Response, Problem> {
    ask.query.only(&[])?;
    let (text, tree) = ask.json(Shape::Thing, JSON).await?;
    let call = Call::new(Method::PUT, &["things", id.as_str()]).conditions(&ask.headers);
    let written = [Pointer::root()];
    let (answer, owner) =
        tokio::join!(put(&facade, &ask, &id, call, (text, &tree)), owner::of(&facade, &ask, &id, &written));
    Ok(owner::shown(reply::of(answer?, Shape::Thing, &location("things", id.as_str())).await?, owner))
}

/// `PATCH /things/{thing_id}`: RFC 7396. Ditto would make a missing thing; here it is a 404.
pub async fn patch(
    State(facade): State<Arc<Facade>>,
    OfThing(id): OfThing,
    mut ask: Ask,
) -> Result<Response, Problem> {
    ask.query.only(&[])?;
    let (text, _) = ask.json(Shape::Thing, PATCH).await?;
    let conditional = ask.headers.contains_key(header::IF_MATCH);
    let mut call =
        Call::new(Method::PATCH, &["things", id.as_str()]).merge_patch(text.clone()).conditions(&ask.headers);
    if !conditional {
        call = call.header(header::IF_MATCH, ANY);
    }
    let tree: Value = serde_json::from_str(&text).unwrap_or_default();
    let written: Vec<Pointer> = leaves(&tree).into_iter().map(|(path, _)| path).collect();
    let (answer, owner) = tokio::join!(
        facade.upstream.ask(&ask.caller, &ask.id, call),
        owner::of(&facade, &ask, &id, &written)
    );
    match answer {
        Err(problem) if problem.status == StatusCode::PRECONDITION_FAILED && !conditional => {
            // If-None-Match may have failed as well: only a look tells which.
            let look = Call::get(&["things", id.as_str()]).query("fields", "thingId");
            facade.upstream.ask(&ask.caller, &ask.id, look).await?;
            Err(problem)
        }
        answer => Ok(owner::shown(reply::of(answer?, Shape::Thing, "").await?, owner)),
    }
}

/// `DELETE /things/{thing_id}`, and the policy that was made with it when it was the last that used it.
pub async fn delete(
    State(facade): State<Arc<Facade>>,
    OfThing(id): OfThing,
    ask: Ask,
) -> Result<Response, Problem> {
    ask.query.only(&[])?;
    let look = Call::get(&["things", id.as_str()]).query("fields", "policyId");
    let written = [Pointer::root()];
    let (policy, was_indexed, owner) = tokio::join!(
        facade.upstream.ask(&ask.caller, &ask.id, look),
        ended::is_indexed(&facade, &ask, &id),
        owner::of(&facade, &ask, &id, &written)
    );
    let policy = match policy {
        Ok(answer) => serde_json::from_str::<Value>(&answer.text().await?).unwrap_or_default(),
        // It may be deleted by who may not read it.
        Err(problem) if problem.status == StatusCode::NOT_FOUND => Value::Null,
        Err(problem) => return Err(problem),
    };
    let call = Call::new(Method::DELETE, &["things", id.as_str()]).conditions(&ask.headers);
    let answer = facade.upstream.ask(&ask.caller, &ask.id, call).await?;
    if let Ok(policy) = policy_id(policy["policyId"].as_str().unwrap_or_default()) {
        ended::thing_gone(&facade, &ask, policy, id, was_indexed).await;
    }
    Ok(owner::shown(reply::of(answer, Shape::Value, "").await?, owner))
}

/// Writes a whole thing. One that names no policy gets its own when it is new; when a policy of its id is there
/// already, that one is used. Ditto ignores an inline policy where the thing exists.
async fn put(
    facade: &Facade,
    ask: &Ask,
    id: &ThingId,
    call: Call,
    (text, tree): (String, &Value),
) -> Result<Answer, Problem> {
    let named =
        tree.get("policy_id").or_else(|| tree.get("policyId")).is_some_and(|policy| !policy.is_null());
    if named {
        return facade.upstream.ask(&ask.caller, &ask.id, call.json(text)).await;
    }
    let policy = super::made::policy(facade, ask).await?;
    let inline = with_member(&text, "_policy", &policy);
    match facade.upstream.ask(&ask.caller, &ask.id, call.clone().json(inline)).await {
        Err(problem) if problem.code == "things:thing.notcreatable" => {
            let own = with_member(&text, "policyId", &Value::from(id.as_str()));
            facade.upstream.ask(&ask.caller, &ask.id, call.json(own)).await
        }
        answer => answer,
    }
}

/// The text of a JSON object with one more member.
fn with_member(text: &str, name: &str, value: &Value) -> String {
    let inner = text.trim_start().trim_start_matches('{').trim_start();
    let comma = if inner.starts_with('}') { "" } else { "," };
    format!("{{\"{name}\":{value}{comma}{inner}")
}

/// Where something is, below this server.
pub fn location(kind: &str, id: &str) -> String {
    const SEGMENT: &percent_encoding::AsciiSet =
        &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b':');
    format!("/{kind}/{}", utf8_percent_encode(id, SEGMENT))
}

/// Ditto's selector for a reader's `fields`.
pub fn selected(fields: Option<&str>) -> Result<String, Problem> {
    fields.map_or_else(|| Ok(THING_FIELDS.to_owned()), words::fields)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_member_is_added_to_any_object() {
        for (text, expected) in [("{}", json!({"p": 1})), (r#" { "a": {} }"#, json!({"p": 1, "a": {}}))] {
            let text = with_member(text, "p", &json!(1));
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected, "{text}");
        }
    }
}
