//! The orders of a link as HTTP calls.
use serde_json::{Value, json};

use super::super::calls::Verb;
use super::super::client::DittoClient;
use super::super::request::Request;
use super::frames::ABOUT;
use super::{Order, What};
use crate::ports::{Refused, Said};

/// Carries out one order.
pub async fn carry(client: &DittoClient, order: &Order) -> Result<Value, Refused> {
    let id = order.thing.as_str();
    let request = match &order.what {
        What::Merge(patch) => {
            Request::new(Verb::Patch, &["things", id, "features"]).json("application/merge-patch+json", patch)
        }
        What::About => Request::new(Verb::Get, &["things", id]).query("fields", ABOUT),
        What::Create(policy) => Request::new(Verb::Put, &["things", id])
            .header("if-none-match", "*")?
            .json("application/json", &json!({"policyId": policy.as_str()})),
        What::Reply(_) => {
            let message = "answers to messages need Ditto's WebSocket".to_owned();
            return Err(Refused::Unavailable(Said { message, ..Said::default() }));
        }
    };
    client.call(request).await.map(|answer| answer.body)
}
