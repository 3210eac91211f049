//! Policies.
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::Facade;
use super::ask::{Ask, OfPolicy, policy_id};
use super::names::Shape;
use super::page::{self, LIMIT_MAX, Paged};
use super::problem::Problem;
use super::reply;
use super::things::{JSON, location};
use super::upstream::Call;
use crate::twin::id::PolicyId;
use crate::twin::rql_text;

/// What a policy shows.
const FIELDS: &str = "policyId,entries,imports,_revision,_created,_modified";

/// `POST /policies/`: Ditto makes an id up where none is given.
pub async fn create(State(facade): State<Arc<Facade>>, mut ask: Ask) -> Result<Response, Problem> {
    ask.query.only(&[])?;
    let (text, tree) = ask.json(Shape::Policy, JSON).await?;
    let call = match tree.get("policy_id").or_else(|| tree.get("policyId")) {
        None => Call::new(Method::POST, &["policies"]),
        Some(id) => {
            Call::new(Method::PUT, &["policies", policy_id(id.as_str().unwrap_or_default())?.as_str()])
                .header(header::IF_NONE_MATCH, HeaderValue::from_static("*"))
        }
    };
    let answer = match facade.upstream.ask(&ask.caller, &ask.id, call.json(text)).await {
        Err(problem) if problem.status == StatusCode::PRECONDITION_FAILED => {
            return Err(Problem::new(
                StatusCode::CONFLICT,
                "policies:policy.conflict",
                "the policy exists already",
            ));
        }
        answer => answer?,
    };
    let etag = answer.etag().cloned();
    let text = answer.renamed(Shape::Policy).await?;
    let made: Value = serde_json::from_str(&text).unwrap_or_default();
    let mut response = reply::json(StatusCode::CREATED, text);
    let place = location("policies", made["policy_id"].as_str().unwrap_or_default());
    reply::set(response.headers_mut(), header::LOCATION, &place);
    if let Some(etag) = etag {
        response.headers_mut().insert(header::ETAG, etag);
    }
    Ok(response)
}

/// `GET /policies/{policy_id}`
pub async fn read(
    State(facade): State<Arc<Facade>>,
    OfPolicy(id): OfPolicy,
    ask: Ask,
) -> Result<Response, Problem> {
    ask.query.only(&[])?;
    let call = Call::get(&["policies", id.as_str()]).query("fields", FIELDS).conditions(&ask.headers);
    reply::of(facade.upstream.ask(&ask.caller, &ask.id, call).await?, Shape::Policy, "").await
}

/// `PUT /policies/{policy_id}`
pub async fn replace(
    State(facade): State<Arc<Facade>>,
    OfPolicy(id): OfPolicy,
    mut ask: Ask,
) -> Result<Response, Problem> {
    ask.query.only(&[])?;
    let (text, _) = ask.json(Shape::Policy, JSON).await?;
    let call = Call::new(Method::PUT, &["policies", id.as_str()]).json(text).conditions(&ask.headers);
    let answer = facade.upstream.ask(&ask.caller, &ask.id, call).await?;
    reply::of(answer, Shape::Policy, &location("policies", id.as_str())).await
}

/// `DELETE /policies/{policy_id}`
pub async fn delete(
    State(facade): State<Arc<Facade>>,
    OfPolicy(id): OfPolicy,
    ask: Ask,
) -> Result<Response, Problem> {
    ask.query.only(&[])?;
    let call = Call::new(Method::DELETE, &["policies", id.as_str()]).conditions(&ask.headers);
    reply::of(facade.upstream.ask(&ask.caller, &ask.id, call).await?, Shape::Value, "").await
}

/// `GET /policies/`: those of the things the caller may see, by id. Ditto lists none, but sorts things by their policy:
/// each page of things begins behind the last policy found, so things that share one cost at most a page.
pub async fn list(State(facade): State<Arc<Facade>>, ask: Ask) -> Result<Response, Problem> {
    let query = ask.query.only(&["limit", "cursor"])?;
    let paged = Paged::read(query)?;
    let mut last = paged.cursor.as_deref().map(after).transpose()?;
    let mut found: Vec<PolicyId> = vec![];
    let more = loop {
        let ids = behind(&facade, &ask, last.as_ref()).await?;
        if ids.is_empty() {
            break false;
        }
        let room = paged.limit - found.len();
        let fits = ids.len() <= room;
        found.extend(ids.into_iter().take(room));
        last = found.last().cloned();
        if !fits {
            break true;
        }
        if found.len() == paged.limit {
            break !behind(&facade, &ask, last.as_ref()).await?.is_empty();
        }
    };
    let items: Vec<Value> = found.iter().map(|id| json!({"policy_id": id.as_str()})).collect();
    let cursor = last.filter(|_| more).map(|id| URL_SAFE_NO_PAD.encode(id.as_str()));
    Ok(page::of(&Value::from(items).to_string(), cursor.as_deref(), query, "/policies/"))
}

/// The policy a cursor names. Whoever makes one up gets the list from there, of what he may see.
fn after(cursor: &str) -> Result<PolicyId, Problem> {
    let text = URL_SAFE_NO_PAD.decode(cursor).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let id = text.and_then(|text| PolicyId::parse(&text).ok());
    id.ok_or_else(|| Problem::invalid("facade:cursor.invalid", "take the cursor as the page before gave it"))
}

/// The distinct policies of the next page of things behind a policy, in their order.
async fn behind(facade: &Facade, ask: &Ask, last: Option<&PolicyId>) -> Result<Vec<PolicyId>, Problem> {
    let mut call = Call::get(&["search", "things"])
        .query("fields", "policyId")
        .query("option", &format!("sort(+policyId),size({LIMIT_MAX})"));
    if let Some(last) = last {
        call = call.query("filter", &format!("gt(policyId,{})", rql_text::literal(last.as_str())));
    }
    let body = facade.upstream.ask(&ask.caller, &ask.id, call).await?.text().await?;
    let body: Value = serde_json::from_str(&body).unwrap_or_default();
    let things = body["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut ids: Vec<PolicyId> =
        things.iter().filter_map(|thing| PolicyId::parse(thing["policyId"].as_str()?).ok()).collect();
    ids.dedup();
    Ok(ids)
}
