//! Search over all things the caller may read. What a write has answered, the next search finds.
//!
//! Every thing is looked at: right for some ten thousand things, no more.
mod option;
mod order;

use serde_json::{Value, json};

use super::command::Caller;
use super::enforce::{Enforcer, Permission};
use super::failure::Failure;
use super::fields::Selector;
use super::state::{Document, State};
use super::thing;
use crate::rql::{self, Expr, Now};
pub use option::{Options, Paging};
use order::{Cursor, Sort};

/// What is asked, as the request gives it.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// All must hold.
    pub filters: Vec<String>,
    /// `None` is every namespace.
    pub namespaces: Option<Vec<String>>,
    /// The values of `option`, joined by commas.
    pub options: Option<String>,
    pub fields: Option<Selector>,
    /// Whether `features/*` in `fields` is resolved: in lists of things, not in search results.
    pub wildcards: bool,
}

impl Query {
    /// Goes on behind the page whose cursor this is, in pages of the same size.
    pub fn turn(&mut self, cursor: &str) {
        let paging = Options::parse(self.options.as_deref()).map(|options| options.paging);
        let size = match paging {
            Ok(Paging::Size(size)) => format!(",size({size})"),
            _ => String::new(),
        };
        self.options = Some(format!("cursor({cursor}){size}"));
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    pub items: Vec<Value>,
    pub cursor: Option<String>,
    /// -1 at the end.
    pub next_offset: Option<i64>,
}

impl Page {
    pub fn body(self) -> Value {
        let mut body = json!({"items": self.items});
        if let Some(cursor) = self.cursor {
            body["cursor"] = json!(cursor);
        }
        if let Some(offset) = self.next_offset {
            body["nextPageOffset"] = json!(offset);
        }
        body
    }
}

pub fn run(state: &State, query: &Query, caller: &Caller) -> Result<Page, Failure> {
    let options = Options::parse(query.options.as_deref())?;
    let cursor = options.cursor.as_deref().map(Cursor::decode).transpose()?;
    let filter_text = query.filters.join("\n");
    if let Some(cursor) = &cursor {
        cursor.fits(&query.filters, &filter_text, options.sort.as_ref())?;
    }
    let filters = match &cursor {
        Some(cursor) if !cursor.filter.is_empty() => parse(&cursor.filter.split('\n').collect::<Vec<_>>())?,
        _ => parse(&query.filters.iter().map(String::as_str).collect::<Vec<_>>())?,
    };
    let sort = match &cursor {
        Some(cursor) if !cursor.sort.is_empty() => Sort::parse(&cursor.sort)?,
        _ => options.sort.clone().unwrap_or_default(),
    };
    let namespaces = cursor.as_ref().map_or(&query.namespaces, |cursor| &cursor.namespaces);
    let mut found: Vec<(Vec<Value>, &Document)> = matching(state, &filters, namespaces.as_deref(), caller)
        .map(|(thing, enforcer)| (sort.values(thing, |path| readable(&enforcer, caller, path)), thing))
        .filter(|(values, _)| {
            cursor.as_ref().is_none_or(|cursor| sort.compare(values, &cursor.values).is_gt())
        })
        .collect();
    found.sort_by(|(a, _), (b, _)| sort.compare(a, b));
    let (skip, size) = options.paging.window();
    let more = found.len() > skip + size;
    let window = found.get(skip..).unwrap_or_default();
    let window = &window[..window.len().min(size)];
    let shown = |thing: &Value| thing::visible(state, thing, query.fields.as_ref(), caller, query.wildcards);
    let items = window.iter().filter_map(|(_, thing)| shown(thing)).collect();
    let next = || {
        let values = window.last().map(|(values, _)| values.clone()).unwrap_or_default();
        let filter = cursor.as_ref().map_or(&filter_text, |cursor| &cursor.filter).clone();
        Cursor { filter, namespaces: namespaces.clone(), sort: sort.to_string(), values }.encode()
    };
    Ok(match options.paging {
        Paging::Limit { .. } => {
            let next_offset = if more { (skip + size).try_into().unwrap_or(i64::MAX) } else { -1 };
            Page { items, cursor: None, next_offset: Some(next_offset) }
        }
        Paging::Default if cursor.is_none() => {
            let next_offset = if more { size.try_into().unwrap_or(i64::MAX) } else { -1 };
            Page { items, cursor: more.then(next), next_offset: Some(next_offset) }
        }
        Paging::Default | Paging::Size(_) => Page { items, cursor: more.then(next), next_offset: None },
    })
}

pub fn count(state: &State, query: &Query, caller: &Caller) -> Result<usize, Failure> {
    let filters = parse(&query.filters.iter().map(String::as_str).collect::<Vec<_>>())?;
    Ok(matching(state, &filters, query.namespaces.as_deref(), caller).count())
}

fn parse(filters: &[&str]) -> Result<Vec<Expr>, Failure> {
    // Ditto reads `and(` + the filters + `)`, where only a later one may begin with a space
    if let Some(first) = filters.first().filter(|first| first.starts_with(char::is_whitespace)) {
        return Err(Failure::new(400, "rql.expression.invalid", format!("`{first}` begins with a space")));
    }
    filters.iter().map(|text| expression(text)).collect()
}

/// A filter whose every property exists in Ditto's index.
fn expression(text: &str) -> Result<Expr, Failure> {
    let invalid = |message: String| Failure::new(400, "rql.expression.invalid", message);
    let expr = rql::parse(text).map_err(|error| invalid(error.to_string()))?;
    let doubled = |path: &[String]| path.len() > 1 && path.iter().any(String::is_empty);
    if expr.properties().iter().any(|property| doubled(property.segments())) {
        return Err(Failure::new(
            400,
            "json.pointer.invalid",
            "a property must not hold two slashes in a row",
        ));
    }
    rql::schema::check(&expr).map_err(|error| invalid(error.to_string()))?;
    Ok(expr)
}

fn matching<'s>(
    state: &'s State,
    filters: &'s [Expr],
    namespaces: Option<&'s [String]>,
    caller: &'s Caller,
) -> impl Iterator<Item = (&'s Document, std::sync::Arc<Enforcer>)> {
    let now = Now { epoch_millis: caller.now };
    state.things().filter_map(move |thing| {
        let namespace = thing["_namespace"].as_str().unwrap_or_default();
        if namespaces.is_some_and(|wanted| !wanted.iter().any(|w| w == namespace)) {
            return None;
        }
        let enforcer = state.enforcer(thing["policyId"].as_str()?, caller.now)?;
        let holds = |expr: &Expr| {
            rql::search::matches(expr, thing, &|path| readable(&enforcer, caller, path), Now { ..now })
        };
        (enforcer.any_read(&caller.subjects) && filters.iter().all(holds)).then_some((thing, enforcer))
    })
}

fn readable(enforcer: &Enforcer, caller: &Caller, path: &[&str]) -> bool {
    enforcer.partial(&caller.subjects, "thing", path, Permission::Read)
}
