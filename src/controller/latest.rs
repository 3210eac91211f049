//! What we wrote last, for as long as the watch has not brought it back.
//!
//! A pass that starts from a status older than our own last write would forget what was applied. And who knows what it
//! wrote itself can tell what somebody else wrote.
use std::collections::HashMap;

use kube::api::ObjectMeta;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};

use crate::reconcile::Place;

/// The status a pass starts from.
#[derive(Clone, Debug, PartialEq)]
pub struct Before<S> {
    pub status: S,
    /// The API server has it.
    pub is_saved: bool,
    /// The version of the resource that has this status, as far as is known; of one that is not saved, the
    /// version that it was made from.
    pub version: Option<String>,
    /// The status that the watch showed; of one that is not saved, what it showed when that was made.
    pub shown: Option<S>,
}

#[derive(Debug)]
struct Own<S> {
    uid: Option<String>,
    /// `None`: the write failed, and only we know.
    version: Option<u64>,
    /// What a failed write was based on. Its next try has no newer basis: nobody has looked since.
    basis: Option<(Option<String>, Option<S>)>,
    /// The version of our last write that did not fail.
    written: Option<u64>,
    status: S,
}

/// A status on its way: the watch may show it before the answer is there.
#[derive(Debug)]
struct Sent {
    uid: Option<String>,
    status: Value,
}

/// Own statuses that the watch has not shown yet.
#[derive(Debug)]
pub struct Latest<S> {
    own: Mutex<HashMap<Place, Own<S>>>,
    /// One for each pass that writes.
    sent: Mutex<HashMap<Place, Sent>>,
}

impl<S> Default for Latest<S> {
    fn default() -> Self {
        Self { own: Mutex::default(), sent: Mutex::default() }
    }
}

impl<S: Clone + Default + Serialize> Latest<S> {
    /// The newer of ours and what the watch showed.
    pub fn before(&self, place: &Place, meta: &ObjectMeta, shown: Option<&S>) -> Before<S> {
        let latest = self.own.lock();
        let own = latest.get(place).filter(|own| own.uid == meta.uid && !has_caught_up(own, meta));
        let (version, shown) = match own {
            Some(Own { version: Some(version), .. }) => (Some(version.to_string()), shown.cloned()),
            Some(Own { basis: Some((version, shown)), .. }) => (version.clone(), shown.clone()),
            _ => (meta.resource_version.clone(), shown.cloned()),
        };
        Before {
            status: own.map(|own| own.status.clone()).or_else(|| shown.clone()).unwrap_or_default(),
            is_saved: own.is_none_or(|own| own.version.is_some()),
            version,
            shown,
        }
    }

    /// Whether a status that the watch shows is one of ours, or one that ours was written over.
    pub fn is_ours(&self, place: &Place, meta: &ObjectMeta, shown: Option<&S>) -> bool {
        let shown = || shown.map(|shown| json!(shown));
        let is_sent = |sent: &Sent| sent.uid == meta.uid && shown().as_ref() == Some(&sent.status);
        let is_older =
            |own: &Own<S>| own.written.zip(number(meta)).is_some_and(|(ours, shown)| shown <= ours);
        let is_own =
            |own: &Own<S>| own.uid == meta.uid && (is_older(own) || shown() == Some(json!(own.status)));
        self.sent.lock().get(place).is_some_and(is_sent) || self.own.lock().get(place).is_some_and(is_own)
    }

    /// This status is sent now.
    pub fn sends(&self, place: &Place, meta: &ObjectMeta, status: &Value) {
        let sent = Sent { uid: meta.uid.clone(), status: status.clone() };
        self.sent.lock().insert(place.clone(), sent);
    }

    /// Keeps what was written as this version.
    pub fn keep(&self, place: &Place, meta: &ObjectMeta, version: Option<&str>, status: S) {
        let version = version.and_then(|version| version.parse().ok());
        let own = Own { uid: meta.uid.clone(), version, basis: None, written: version, status };
        self.own.lock().insert(place.clone(), own);
        // After what it became is kept: whoever asks finds the one or the other.
        self.sent.lock().remove(place);
    }

    /// Keeps what should have been written over this version, which showed this status.
    pub fn keep_unsaved(
        &self,
        place: &Place,
        meta: &ObjectMeta,
        (version, shown): (Option<String>, Option<S>),
        status: S,
    ) {
        let mut own = self.own.lock();
        let written = own.get(place).filter(|own| own.uid == meta.uid).and_then(|own| own.written);
        let basis = Some((version, shown));
        own.insert(place.clone(), Own { uid: meta.uid.clone(), version: None, basis, written, status });
        // What was sent may have been taken although nobody said so.
    }

    /// The watch showed this resource.
    pub fn seen(&self, place: &Place, meta: &ObjectMeta) {
        let mut latest = self.own.lock();
        if latest.get(place).is_some_and(|own| own.uid != meta.uid || has_caught_up(own, meta)) {
            latest.remove(place);
        }
    }

    /// Somebody else writes from now on: what the watch shows is newer than what we know.
    pub fn forget_all(&self) {
        self.own.lock().clear();
        self.sent.lock().clear();
    }

    pub fn forget(&self, place: &Place) {
        self.own.lock().remove(place);
        self.sent.lock().remove(place);
    }
}

/// Resource versions of one kind can be compared as numbers (Kubernetes 1.35, KEP-5504; etcd's
/// revision long before).
fn number(meta: &ObjectMeta) -> Option<u64> {
    meta.resource_version.as_deref()?.parse().ok()
}

fn has_caught_up<S>(own: &Own<S>, meta: &ObjectMeta) -> bool {
    match (own.version, number(meta)) {
        (Some(written), Some(shown)) => shown >= written,
        (Some(_), None) => true,
        (None, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(uid: &str, version: &str) -> ObjectMeta {
        ObjectMeta { uid: Some(uid.into()), resource_version: Some(version.into()), ..ObjectMeta::default() }
    }

    #[test]
    fn own_writes_count_until_the_watch_shows_them() {
        let (latest, place) = (Latest::default(), ("n".to_owned(), "t".to_owned()));
        let before = |version, shown: &str| {
            let Before { status, is_saved, version, .. } =
                latest.before(&place, &meta("u", version), Some(&shown.to_owned()));
            (status, is_saved, version.unwrap())
        };
        assert_eq!(before("5", "shown"), ("shown".into(), true, "5".into()));
        latest.keep(&place, &meta("u", "5"), Some("10"), "written".into());
        assert_eq!(
            before("9", "shown"),
            ("written".into(), true, "10".into()),
            "9 is older than 10, also as text"
        );
        assert_eq!(before("10", "shown"), ("shown".into(), true, "10".into()));
        latest.seen(&place, &meta("u", "9"));
        assert_eq!(before("9", "shown"), ("written".into(), true, "10".into()));
        latest.seen(&place, &meta("u", "11"));
        assert_eq!(before("9", "shown"), ("shown".into(), true, "9".into()));
    }

    #[test]
    fn what_somebody_else_wrote_can_be_told() {
        let (latest, place) = (Latest::default(), ("n".to_owned(), "t".to_owned()));
        let is_ours =
            |version, shown: &str| latest.is_ours(&place, &meta("u", version), Some(&shown.to_owned()));
        assert!(!is_ours("5", "theirs"));
        latest.sends(&place, &meta("u", "5"), &json!("ours"));
        assert!(is_ours("6", "ours"), "the watch is faster than the answer");
        assert!(!is_ours("6", "theirs"));
        latest.keep(&place, &meta("u", "5"), Some("10"), "ours".to_owned());
        assert!(is_ours("9", "theirs"), "ours was written over it");
        assert!(is_ours("10", "ours"));
        assert!(is_ours("11", "ours"), "something beside it changed before the watch showed it");
        assert!(!is_ours("11", "theirs"));
        assert!(!latest.is_ours(&place, &meta("v", "9"), Some(&"ours".to_owned())), "another of that name");
        latest.keep_unsaved(&place, &meta("u", "5"), (None, None), "tried".to_owned());
        assert!(is_ours("12", "tried"), "its answer was lost");
        assert!(is_ours("10", "ours"), "the write before it");
        assert!(!is_ours("12", "theirs"));
        latest.forget(&place);
        assert!(!is_ours("12", "tried"));
    }

    #[test]
    fn a_failed_write_is_remembered_until_one_succeeds() {
        let (latest, place) = (Latest::default(), ("n".to_owned(), "t".to_owned()));
        let basis = (Some("5".to_owned()), Some("old".to_owned()));
        latest.keep_unsaved(&place, &meta("u", "5"), basis, "unsaved".to_owned());
        latest.seen(&place, &meta("u", "99"));
        let newer = "of another leader".to_owned();
        let before = latest.before(&place, &meta("u", "99"), Some(&newer));
        let expected = Before {
            status: "unsaved".to_owned(),
            is_saved: false,
            version: Some("5".to_owned()),
            shown: Some("old".to_owned()),
        };
        assert_eq!(before, expected, "a newer version is no basis for what was made from an older one");
        let other = latest.before(&place, &meta("v", "100"), None);
        let none =
            Before { status: String::new(), is_saved: true, version: Some("100".to_owned()), shown: None };
        assert_eq!(other, none, "another resource of that name");
    }
}
