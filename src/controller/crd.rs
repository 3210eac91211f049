//! Whether a definition is being removed: then every resource of its kind goes with it, and nobody
//! meant to delete a single thing.
use std::time::{Duration, Instant};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client, Error};
use tokio::sync::Mutex;

use super::client::in_time;

/// How long "it is being removed" is believed without asking again: it rarely becomes untrue.
const BELIEVED: Duration = Duration::from_secs(5);

/// The answer about one definition, shared by all who ask at the same time.
#[derive(Debug, Default)]
pub struct Definition(Mutex<Option<Answer>>);

#[derive(Clone, Copy, Debug)]
struct Answer {
    asked: Instant,
    is_going: bool,
}

impl Definition {
    /// "No" is believed only when it was asked after the caller saw the deletion: an older one may
    /// be about the time before the definition went.
    pub async fn is_going(&self, client: &Client, name: &str) -> Result<bool, Error> {
        let since = Instant::now();
        let mut answer = self.0.lock().await;
        if let Some(known) = *answer
            && (known.asked >= since || known.is_going && known.asked.elapsed() < BELIEVED)
        {
            return Ok(known.is_going);
        }
        let asked = Instant::now();
        let api: Api<CustomResourceDefinition> = Api::all(client.clone());
        let found = in_time(api.get_metadata_opt(name)).await?;
        let is_going = found.is_none_or(|found| found.metadata.deletion_timestamp.is_some());
        *answer = Some(Answer { asked, is_going });
        Ok(is_going)
    }
}
