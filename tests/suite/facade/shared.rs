//! A Ditto that all tests share, named by `DITTO_URL`: they take turns, and each leaves it as it was.
use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::http::Method;
use reqwest::header::LOCATION;

use super::{PATIENCE, Reply};

/// Who tests are.
const SUBJECTS: [&str; 3] = ["nginx:ditto", "nginx:ada", "nginx:bob"];

static TURN: Mutex<()> = Mutex::new(());

pub struct Shared {
    pub url: String,
    /// What was made, as the answers said.
    made: Mutex<Vec<String>>,
    _turn: MutexGuard<'static, ()>,
}

impl Shared {
    /// Where the environment names one; waits until no other test uses it.
    pub fn named() -> Option<Self> {
        let url = std::env::var("DITTO_URL").ok()?;
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        Some(Self { url, made: Mutex::default(), _turn: turn })
    }

    pub fn note(&self, reply: &Reply) {
        if reply.status == 201
            && let Some(place) = reply.headers.get(LOCATION).and_then(|place| place.to_str().ok())
        {
            self.made.lock().unwrap_or_else(PoisonError::into_inner).push(place.to_owned());
        }
    }

    /// Deletes what was made, and waits until search shows nothing of it.
    pub async fn tidy(&self) {
        let made = std::mem::take(&mut *self.made.lock().unwrap_or_else(PoisonError::into_inner));
        let segments = |place: &String| place.split('/').take(3).last().unwrap_or_default().to_owned();
        let things = made.iter().filter(|place| place.starts_with("/things/")).map(segments);
        for id in things {
            self.delete(&format!("things/{id}")).await;
        }
        // A thing may have a policy of its own id.
        for id in made.iter().map(segments) {
            self.delete(&format!("policies/{id}")).await;
        }
        let deadline = std::time::Instant::now() + PATIENCE;
        while self.shown().await > 0 && std::time::Instant::now() < deadline {
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    }

    async fn delete(&self, path: &str) {
        for subject in SUBJECTS {
            drop(self.ask(Method::DELETE, path, subject).await);
        }
    }

    /// How many things search shows to any of us.
    async fn shown(&self) -> usize {
        let mut most = 0;
        for subject in SUBJECTS {
            let count = self.ask(Method::GET, "search/things/count", subject).await;
            most = most.max(count.trim().parse().unwrap_or(0));
        }
        most
    }

    async fn ask(&self, method: Method, path: &str, subject: &str) -> String {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let request = client.request(method, format!("{}/api/2/{path}", self.url));
        let request = request.header("x-ditto-pre-authenticated", subject).timeout(PATIENCE);
        let response = request.send().await.unwrap_or_else(|error| panic!("{path}: {error}"));
        response.text().await.unwrap_or_default()
    }
}
