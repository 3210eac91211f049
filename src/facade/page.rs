//! Lists, a page at a time.
//!
//! A cursor is Ditto's own text, which only Ditto understands; it is passed on as one word of a known alphabet and cannot
//! become anything else on the way. It holds no rights: the next page is again what its caller may see.
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;

use super::Facade;
use super::ask::{Ask, Query};
use super::names;
use super::problem::Problem;
use super::reply;
use super::things;
use super::upstream::{Call, foreign};
use crate::twin::id::is_namespace;

/// Things on a page unless `limit` says otherwise. Source: Ditto 3.8, `THINGS_SEARCH_DEFAULT_PAGE_SIZE`.
pub const LIMIT: usize = 25;
/// The most things on a page. Source: Ditto 3.8, `THINGS_SEARCH_MAX_PAGE_SIZE`.
pub const LIMIT_MAX: usize = 200;
/// The longest cursor, in bytes: it holds the filter and the sorted values of one thing.
const CURSOR_BYTES_MAX: usize = 6_144;

/// Which page.
#[derive(Debug)]
pub struct Paged {
    pub limit: usize,
    pub cursor: Option<String>,
}

impl Paged {
    pub fn read(query: &Query) -> Result<Self, Problem> {
        let limit = match query.get("limit") {
            None => LIMIT,
            Some(text) => {
                text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit)).ok_or_else(|| {
                    Problem::invalid(
                        "facade:limit.invalid",
                        format!("`limit` is a number from 1 to {LIMIT_MAX}"),
                    )
                })?
            }
        };
        let cursor = query.get("cursor").map(str::to_owned);
        let word = |text: &String| {
            (1..=CURSOR_BYTES_MAX).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
        };
        if cursor.as_ref().is_some_and(|text| !word(text)) {
            return Err(Problem::invalid(
                "facade:cursor.invalid",
                "take the cursor as the page before gave it",
            ));
        }
        Ok(Self { limit, cursor })
    }

    /// Ditto's `option`.
    pub fn option(&self, sort: Option<&str>) -> String {
        let size = format!("size({})", self.limit);
        let cursor = self.cursor.as_ref().map(|cursor| format!("cursor({cursor})"));
        [sort.map(str::to_owned), Some(size), cursor].into_iter().flatten().collect::<Vec<_>>().join(",")
    }
}

/// Ditto's namespaces, a list parted by commas.
pub fn namespace(text: &str) -> Result<&str, Problem> {
    if text.split(',').all(is_namespace) {
        return Ok(text);
    }
    let detail = "`namespace` is one or more namespaces such as com.example, parted by commas";
    Err(Problem::invalid("facade:namespace.invalid", detail))
}

/// Ditto's selector. A search lists no special fields by itself, so all are named.
pub fn fields(query: &Query) -> Result<String, Problem> {
    things::selected(query.get("fields"))
}

/// Asks for a page and passes it on, with the address of the next below `path`.
pub async fn answer(facade: &Facade, ask: &Ask, call: Call, path: &str) -> Result<Response, Problem> {
    let answer = facade.upstream.ask(&ask.caller, &ask.id, call).await?;
    let page = names::page(&answer.text().await?).map_err(|error| foreign(&error))?;
    Ok(of(&page.items, page.cursor.as_deref(), &ask.query, path))
}

/// `{"items":[…],"cursor","next"}`, and the header `Link`.
pub fn of(items: &str, cursor: Option<&str>, query: &Query, path: &str) -> Response {
    let Some(cursor) = cursor else {
        return reply::json(StatusCode::OK, format!("{{\"items\":{items}}}"));
    };
    let next = next(query, cursor, path);
    let body = format!("{{\"items\":{items},\"cursor\":{},\"next\":{}}}", json!(cursor), json!(next));
    let mut response = reply::json(StatusCode::OK, body);
    if let Ok(link) = HeaderValue::from_str(&format!("<{next}>; rel=\"next\"")) {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}

fn next(query: &Query, cursor: &str, path: &str) -> String {
    let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
    let kept = ["q", "limit", "sort", "fields", "namespace"];
    let kept = kept.iter().filter_map(|name| Some(format!("{name}={}", encode(query.get(name)?))));
    let all: Vec<_> = kept.chain([format!("cursor={}", encode(cursor))]).collect();
    format!("{path}?{}", all.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s25_pages_are_asked_for_within_limits() {
        let long = "x".repeat(CURSOR_BYTES_MAX + 1);
        let rows = [
            ("", Some("size(25)")),
            ("limit=1", Some("size(1)")),
            ("limit=200&cursor=a-B_9", Some("size(200),cursor(a-B_9)")),
            ("limit=0", None),
            ("limit=-1", None),
            ("limit=201", None),
            ("limit=1000000000", None),
            ("limit=1e9", None),
            ("limit=", None),
            ("cursor=", None),
            ("cursor=a),size(200", None),
            ("cursor=a%29", None),
            (&format!("cursor={long}"), None),
        ];
        for (text, option) in rows {
            let paged = Query::read(text).and_then(|query| Paged::read(&query));
            assert_eq!(paged.map(|paged| paged.option(None)).ok().as_deref(), option, "{text:.60}");
        }
    }

    #[test]
    fn the_next_page_is_asked_for_as_this_one_was() {
        let query = Query::read("q=eq(attributes/a,%22x%22)&limit=2&cursor=old").unwrap();
        assert_eq!(
            next(&query, "new", "/search/things"),
            "/search/things?q=eq%28attributes%2Fa%2C%22x%22%29&limit=2&cursor=new"
        );
    }
}
