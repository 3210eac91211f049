//! Search.
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::Facade;
use super::ask::{Ask, Query};
use super::page::{self, Paged};
use super::problem::Problem;
use super::reply;
use super::upstream::Call;
use super::words;

/// `GET /search/things`
pub async fn things(State(facade): State<Arc<Facade>>, ask: Ask) -> Result<Response, Problem> {
    let query = ask.query.only(&["q", "limit", "cursor", "sort", "fields", "namespace"])?;
    let paged = Paged::read(query)?;
    let sort = query.get("sort").map(words::sort).transpose()?;
    let call = filtered(Call::get(&["search", "things"]), query)?
        .query("option", &paged.option(sort.as_deref()))
        .query("fields", &page::fields(query)?);
    page::answer(&facade, &ask, call, "/search/things").await
}

/// `GET /search/things/count`: `{"count": n}`
pub async fn count(State(facade): State<Arc<Facade>>, ask: Ask) -> Result<Response, Problem> {
    let query = ask.query.only(&["q", "namespace"])?;
    let call = filtered(Call::get(&["search", "things", "count"]), query)?;
    let count = facade.upstream.ask(&ask.caller, &ask.id, call).await?.text().await?;
    let count: u64 = count.trim().parse().map_err(|_| Problem::unavailable())?;
    Ok(reply::json(StatusCode::OK, format!("{{\"count\":{count}}}")))
}

fn filtered(mut call: Call, query: &Query) -> Result<Call, Problem> {
    if let Some(filter) = query.get("q").filter(|text| !text.trim().is_empty()) {
        call = call.query("filter", &words::filter(filter)?);
    }
    if let Some(namespace) = query.get("namespace") {
        call = call.query("namespaces", page::namespace(namespace)?);
    }
    Ok(call)
}
