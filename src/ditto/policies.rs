//! Policies through Ditto's HTTP API.
use serde_json::Value;

use crate::ports::{Expect, FoundPolicy, Policies, Refused, Said};
use crate::twin::id::PolicyId;

use super::answer::{Answer, NOT_MODIFIED};
use super::calls::Verb;
use super::client::DittoClient;
use super::request::Request;

impl Policies for DittoClient {
    async fn find_policy(&self, id: &PolicyId) -> Result<Option<FoundPolicy>, Refused> {
        match self.call(Request::new(Verb::Get, &["policies", id.as_str()])).await {
            Ok(answer) => {
                let revision = revision(&answer)?;
                Ok(Some(FoundPolicy { revision, body: answer.body }))
            }
            Err(Refused::Missing(_)) => Ok(None),
            Err(refused) => Err(refused),
        }
    }

    async fn policy_moved(&self, id: &PolicyId, revision: u64) -> Result<Option<u64>, Refused> {
        let request = Request::new(Verb::Get, &["policies", id.as_str()])
            .header("if-none-match", &format!("\"rev:{revision}\""))?;
        let answer = self.call(request).await?;
        if answer.status == NOT_MODIFIED { Ok(None) } else { self::revision(&answer).map(Some) }
    }

    async fn put_policy(&self, id: &PolicyId, body: &Value, expect: Expect) -> Result<u64, Refused> {
        let request = expecting(Request::new(Verb::Put, &["policies", id.as_str()]), expect)?;
        revision(&self.call(request.json("application/json", body)).await?)
    }

    async fn delete_policy(&self, id: &PolicyId, expect: Expect) -> Result<(), Refused> {
        let request = expecting(Request::new(Verb::Delete, &["policies", id.as_str()]), expect)?;
        self.call(request).await.map(drop)
    }

    async fn whoami(&self) -> Result<Vec<String>, Refused> {
        self.probe().await
    }
}

impl DittoClient {
    /// Whether Ditto is there and knows us: our subjects, the default one first. [`Refused::Unavailable`]
    /// when something else answers, [`Refused::Unauthorized`] when the credentials are wrong.
    pub async fn probe(&self) -> Result<Vec<String>, Refused> {
        let answer = self.call(Request::new(Verb::Get, &["whoami"])).await?;
        let subjects = subjects(&answer.body);
        if subjects.is_empty() { Err(not_understood("/whoami names no subject")) } else { Ok(subjects) }
    }
}

fn expecting(request: Request, expect: Expect) -> Result<Request, Refused> {
    match expect {
        Expect::Absent => request.header("if-none-match", "*"),
        Expect::Revision(revision) => request.header("if-match", &format!("\"rev:{revision}\"")),
    }
}

fn subjects(whoami: &Value) -> Vec<String> {
    let default = whoami["defaultSubject"].as_str();
    let all = whoami["subjects"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let others = all.filter(|subject| Some(*subject) != default);
    default.into_iter().chain(others).map(str::to_owned).collect()
}

/// The revision of an answer. Without it a write may have been applied, so it counts as no answer.
pub(super) fn revision(answer: &Answer) -> Result<u64, Refused> {
    answer.revision.ok_or_else(|| {
        not_understood(
            "neither `entity-revision` nor `ETag` came along; let the proxy before Ditto pass them",
        )
    })
}

pub(super) fn not_understood(message: &str) -> Refused {
    Refused::Unavailable(Said { message: message.to_owned(), ..Said::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_default_subject_comes_first_and_once() {
        let rows = [
            (json!({"defaultSubject": "b", "subjects": ["a", "b", "c"]}), vec!["b", "a", "c"]),
            (json!({"defaultSubject": "a", "subjects": ["a", "a"]}), vec!["a"]),
            (json!({"subjects": ["a"]}), vec!["a"]),
            (json!({"status": "UP"}), vec![]),
            (json!(["a"]), vec![]),
        ];
        for (whoami, expected) in rows {
            assert_eq!(subjects(&whoami), expected, "{whoami}");
        }
    }
}
