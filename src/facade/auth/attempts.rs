//! Wrong credentials, counted by where they come from and whom they name, so that guessing is slow.
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::http::{HeaderValue, StatusCode, header};
use parking_lot::Mutex;

use super::super::problem::Problem;

/// Wrong credentials within [`WINDOW`] before the right ones are not looked at any more: more slips than people make.
const FAILURES_MAX: u32 = 10;
const WINDOW: Duration = Duration::from_mins(1);
/// Pairs remembered at one time: some megabytes. Beyond it the oldest are forgotten.
const REMEMBERED_MAX: usize = 10_000;
/// The longest part of a name that is told apart, in bytes.
const NAME_BYTES_MAX: usize = 64;

#[derive(Default)]
pub struct Attempts(Mutex<HashMap<(IpAddr, String), (u32, Instant)>>);

impl Attempts {
    /// 429 for who has failed too often.
    pub fn allowed(&self, peer: IpAddr, user: &str) -> Result<(), Problem> {
        let failures = self.0.lock();
        match failures.get(&key(peer, user)) {
            Some((count, since)) if *count >= FAILURES_MAX && since.elapsed() < WINDOW => {
                let detail = "too many wrong credentials; wait a minute";
                Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "facade:authentication.toomany", detail)
                    .with(header::RETRY_AFTER, HeaderValue::from_static("60")))
            }
            _ => Ok(()),
        }
    }

    pub fn failed(&self, peer: IpAddr, user: &str) {
        let mut failures = self.0.lock();
        if failures.len() >= REMEMBERED_MAX {
            failures.retain(|_, (_, since)| since.elapsed() < WINDOW);
            let oldest = failures.iter().min_by_key(|(_, (_, since))| *since).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest.filter(|_| failures.len() >= REMEMBERED_MAX) {
                failures.remove(&oldest);
            }
        }
        let (count, since) = failures.entry(key(peer, user)).or_insert((0, Instant::now()));
        if since.elapsed() >= WINDOW {
            (*count, *since) = (0, Instant::now());
        }
        *count += 1;
    }
}

fn key(peer: IpAddr, user: &str) -> (IpAddr, String) {
    let mut end = user.len().min(NAME_BYTES_MAX);
    while !user.is_char_boundary(end) {
        end -= 1;
    }
    (peer, user[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s16_guessing_is_stopped_for_one_name_and_one_place_only() {
        let attempts = Attempts::default();
        let (here, there) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        for _ in 0..FAILURES_MAX {
            assert!(attempts.allowed(here, "ada").is_ok());
            attempts.failed(here, "ada");
        }
        let problem = attempts.allowed(here, "ada").unwrap_err();
        assert_eq!(problem.status, StatusCode::TOO_MANY_REQUESTS);
        assert!(attempts.allowed(here, "bob").is_ok() && attempts.allowed(there, "ada").is_ok());
    }

    #[test]
    fn s16_many_names_take_no_more_than_a_fixed_room() {
        let attempts = Attempts::default();
        let here = IpAddr::from([10, 0, 0, 1]);
        (0..REMEMBERED_MAX + 10).for_each(|n| attempts.failed(here, &format!("user-{n}{}", "é".repeat(100))));
        assert!(attempts.0.lock().len() <= REMEMBERED_MAX);
    }
}
