//! Search over all things the caller may read. What a write has answered, the next search finds.
//!
//! A [`plan`] says where to look, and every thing there is asked by the whole filter, on its packed bytes.
mod listed;
mod option;
mod order;
mod page;
mod plan;
mod reader;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::sync::Arc;

use serde_json::Value;
use tokio::runtime::RuntimeFlavor;

use super::command::Caller;
use super::failure::Failure;
use super::fields::Selector;
use super::state::{Node, Proposed, State, Thing};
use crate::rql::search::Ready;
use crate::rql::{self, Expr, Now};
pub use listed::listed;
pub use option::{Options, Paging};
use order::{Cursor, Sort};
pub use page::{Item, Page};
use plan::Stretch;
use reader::{Access, Reader};

/// Hits that are sorted at once when only the first few are wanted.
const SPARE: usize = if cfg!(test) { 5 } else { 1_000 };

/// Things that are looked at before a search counts as long; the index narrows most searches to fewer.
const SHORT: usize = if cfg!(test) { 3 } else { 2_000 };

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

pub fn run(state: &State, query: &Query, caller: &Caller) -> Result<Page, Failure> {
    let options = Options::parse(query.options.as_deref())?;
    let cursor = options.cursor.as_deref().map(Cursor::decode).transpose()?;
    if let Some(cursor) = &cursor {
        cursor.fits(&query.filters, options.sort.as_ref())?;
    }
    let given = cursor.as_ref().map_or(&query.filters, |cursor| &cursor.filters);
    let filters = parse(given)?;
    let sort = match &cursor {
        Some(cursor) if !cursor.sort.is_empty() => Sort::parse(&cursor.sort)?,
        _ => options.sort.clone().unwrap_or_default(),
    };
    let namespaces = cursor.as_ref().map_or(&query.namespaces, |cursor| &cursor.namespaces);
    let (skip, size) = options.paging.window();
    let end = skip.saturating_add(size);
    let search = Search { state, filters: &filters, namespaces: namespaces.as_deref(), caller };
    let found = search.first(&sort, cursor.as_ref(), end.saturating_add(1));
    let more = found.len() > end;
    let window = found.get(skip..).unwrap_or_default();
    let window = &window[..window.len().min(size)];
    let shown = |(_, thing): &Found| Item::of(state, thing, query, caller);
    let items = window.iter().filter_map(shown).collect();
    let next = || {
        let values = window.last().map(|(values, _)| values.clone()).unwrap_or_default();
        Cursor { filters: given.clone(), namespaces: namespaces.clone(), sort: sort.to_string(), values }
            .encode()
    };
    Ok(match options.paging {
        Paging::Limit { .. } => {
            let next_offset = if more { end.try_into().unwrap_or(i64::MAX) } else { -1 };
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
    let filters = parse(&query.filters)?;
    let namespaces = query.namespaces.as_deref();
    Ok(Search { state, filters: &filters, namespaces, caller }.count())
}

fn parse(filters: &[String]) -> Result<Vec<Expr>, Failure> {
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

/// Runs what can keep a core busy for a while, so that other requests on this thread go on elsewhere.
fn at_length<T>(busy: impl FnOnce() -> T) -> T {
    match tokio::runtime::Handle::try_current().map(|handle| handle.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(busy),
        _ => busy(),
    }
}

/// Things of an index that are looked up at once.
const LOOKED_UP: usize = 32;

/// The things in the order of their ids, each when it is its turn: of many, only the first are looked at.
fn by_id(state: &State, proposed: Proposed) -> impl Iterator<Item = Arc<Thing>> {
    let Proposed { slots, by_id } = proposed;
    let (slots, unsorted) = if by_id { (slots, vec![]) } else { (vec![], state.things_at(&slots)) };
    let mut heap: BinaryHeap<_> = unsorted.into_iter().map(|thing| Reverse(ById(thing))).collect();
    let mut looked_up = 0;
    let in_order = std::iter::from_fn(move || {
        let next = slots.get(looked_up..).filter(|rest| !rest.is_empty())?;
        let next = &next[..next.len().min(LOOKED_UP)];
        looked_up += next.len();
        Some(state.things_at(next))
    });
    in_order.flatten().chain(std::iter::from_fn(move || heap.pop().map(|Reverse(ById(thing))| thing)))
}

struct ById(Arc<Thing>);

impl Ord for ById {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.id().cmp(other.0.id())
    }
}

impl PartialOrd for ById {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for ById {}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

struct Search<'s> {
    state: &'s State,
    filters: &'s [Expr],
    /// `None` is every namespace.
    namespaces: Option<&'s [String]>,
    caller: &'s Caller,
}

type Found = (Vec<Value>, Arc<Thing>);

impl Search<'_> {
    fn count(&self) -> usize {
        let by_id = Sort::default();
        let reader = Reader::new(self.state, self.caller, self.places(&by_id));
        let mut count = 0;
        self.each(&reader, None, None, |_, _, _| {
            count += 1;
            true
        });
        count
    }

    /// The first `wanted` hits in this order, after the cursor.
    fn first(&self, sort: &Sort, cursor: Option<&Cursor>, wanted: usize) -> Vec<Found> {
        let reader = Reader::new(self.state, self.caller, self.places(sort));
        let by_id = sort.is_by_id();
        let after = cursor.filter(|_| by_id).and_then(|cursor| cursor.values.last()?.as_str());
        let mut found: Vec<Found> = vec![];
        // so many came before it that it is not among the wanted, nor is what comes behind it
        let mut bound: Option<Vec<Value>> = None;
        let in_order = |a: &Found, b: &Found| sort.compare(&a.0, &b.0);
        self.each(&reader, after, by_id.then_some(wanted), |thing, node, access| {
            let readable = |path: &[&str]| reader.readable(access, path);
            if bound.as_ref().is_some_and(|bound| sort.compare_to(node, readable, bound).is_ge()) {
                return true;
            }
            if cursor.is_none_or(|cursor| sort.compare_to(node, readable, &cursor.values).is_gt()) {
                found.push((sort.values(node, readable), Arc::clone(thing)));
            }
            if !by_id && found.len() > wanted.saturating_mul(2).max(SPARE) {
                let (_, last, _) = found.select_nth_unstable_by(wanted, in_order);
                bound = Some(std::mem::take(&mut last.0));
                found.truncate(wanted);
            }
            !by_id || found.len() < wanted
        });
        found.sort_by(in_order);
        found.truncate(wanted);
        found
    }

    fn places<'a>(&'a self, sort: &'a Sort) -> Vec<Vec<&'a str>> {
        let properties = self.filters.iter().flat_map(Expr::properties).map(rql::Property::segments);
        let segments = properties.chain(sort.places());
        segments.map(|segments| segments.iter().map(String::as_str).collect()).collect()
    }

    /// Hands out every hit, by id when the first `wanted` suffice, as long as `go_on` is answered with true.
    fn each(
        &self,
        reader: &Reader<'_>,
        after: Option<&str>,
        wanted: Option<usize>,
        mut go_on: impl FnMut(&Arc<Thing>, Node<'_>, &Access) -> bool,
    ) {
        let now = Now { epoch_millis: self.caller.now };
        let ready: Vec<Ready> = self.filters.iter().map(|expr| Ready::of(expr, now)).collect();
        let conjuncts = plan::conjuncts(self.filters);
        let mut stretch = Stretch::of(&conjuncts, self.namespaces);
        stretch.at_least(after.unwrap_or_default());
        let proposed = plan::proposed(self.state, &conjuncts, &stretch, wanted, now);
        let proposed = proposed.map(|proposed| by_id(self.state, proposed));
        let within = |thing: &&Arc<Thing>| stretch.to.as_deref().is_none_or(|to| thing.id() <= to);
        let walked = proposed.is_none().then(|| self.state.things_from(&stretch.from).take_while(within));
        let things = proposed.into_iter().flatten().map(Cow::Owned);
        let mut things = things.chain(walked.into_iter().flatten().map(Cow::Borrowed)).peekable();
        let mut look = |thing: Cow<'_, Arc<Thing>>| {
            let Some(node) = thing.node() else { return true };
            self.readable_hit(reader, node, &ready).is_none_or(|access| go_on(&thing, node, &access))
        };
        if things.by_ref().take(SHORT).all(&mut look) && things.peek().is_some() {
            at_length(|| things.all(look));
        }
    }

    fn readable_hit(
        &self,
        reader: &Reader<'_>,
        thing: Node<'_>,
        filters: &[Ready<'_>],
    ) -> Option<std::rc::Rc<Access>> {
        if let Some(namespaces) = self.namespaces {
            let namespace = thing.at(&["_namespace"])?.text()?;
            namespaces.iter().any(|wanted| wanted == namespace).then_some(())?;
        }
        let access = reader.access(thing.at(&["policyId"])?.text()?)?;
        let readable = |path: &[&str]| reader.readable(&access, path);
        let hit = filters.iter().all(|filter| filter.matches(thing, &readable));
        hit.then_some(access)
    }
}
