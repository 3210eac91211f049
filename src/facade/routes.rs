//! The table of contents.
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post};

use super::problem::Problem;
use super::{Facade, edge, features, health, live, messages, pages, policies, search, things};

type Methods = MethodRouter<Arc<Facade>>;

/// Every route but those of `/`, with and without a slash at the end.
fn table() -> Vec<(&'static str, Methods)> {
    vec![
        ("/health", get(health::health)),
        ("/livez", get(health::livez)),
        ("/readyz", get(health::readyz)),
        ("/things", get(things::list).post(things::create)),
        (
            "/things/{thing_id}",
            get(things::read).put(things::replace).patch(things::patch).delete(things::delete),
        ),
        ("/things/{thing_id}/features", get(features::list)),
        (
            "/things/{thing_id}/features/{feature_id}",
            get(features::read).put(features::replace).patch(features::patch).delete(features::delete),
        ),
        ("/things/{thing_id}/messages/{subject}", post(messages::send)),
        ("/things/{thing_id}/commands", post(messages::command)),
        ("/policies", get(policies::list).post(policies::create)),
        ("/policies/{policy_id}", get(policies::read).put(policies::replace).delete(policies::delete)),
        ("/docs", get(pages::page)),
        ("/docs/{file}", get(pages::part)),
        ("/openapi.json", get(pages::document)),
        ("/events", get(live::event_stream)),
        ("/ws/events", get(live::event_socket)),
        ("/ws/ditto", get(live::ditto)),
        ("/search/things", get(search::things)),
        ("/search/things/count", get(search::count)),
    ]
}

pub fn router(facade: Arc<Facade>) -> Router {
    let both = |router: Router<Arc<Facade>>, (path, methods): (&'static str, Methods)| {
        router.route(path, methods.clone()).route(&format!("{path}/"), methods)
    };
    table()
        .into_iter()
        .fold(Router::new(), both)
        .fallback(async || Problem::not_found())
        .method_not_allowed_fallback(async || edge::not_allowed())
        .layer(from_fn_with_state(Arc::clone(&facade), edge::edge))
        .with_state(facade)
}

/// The route of a matched path, for metrics: a name of a closed list.
pub fn label(matched: &str) -> &'static str {
    static PATHS: std::sync::LazyLock<Vec<&'static str>> =
        std::sync::LazyLock::new(|| table().into_iter().map(|(path, _)| path).collect());
    let path = matched.strip_suffix('/').unwrap_or(matched);
    PATHS.iter().find(|found| **found == path).copied().unwrap_or("other")
}
