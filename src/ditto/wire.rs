//! What carries requests in a simulation, where the network would.
use axum::http::Response;
use futures::future::BoxFuture;

/// `Err` is why no answer came.
pub type Wire =
    dyn Fn(reqwest::Request) -> BoxFuture<'static, Result<Response<Vec<u8>>, String>> + Send + Sync;
