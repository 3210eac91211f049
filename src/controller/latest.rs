//! What we wrote last, for as long as the watch has not brought it back.
//!
//! A pass that starts from a status older than our own last write would forget what was applied.
use std::collections::HashMap;

use kube::api::ObjectMeta;
use parking_lot::Mutex;

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
    status: S,
}

/// Own statuses that the watch has not shown yet.
#[derive(Debug)]
pub struct Latest<S>(Mutex<HashMap<Place, Own<S>>>);

impl<S> Default for Latest<S> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<S: Clone + Default> Latest<S> {
    /// The newer of ours and what the watch showed.
    pub fn before(&self, place: &Place, meta: &ObjectMeta, shown: Option<&S>) -> Before<S> {
        let latest = self.0.lock();
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

    /// Keeps what was written as this version.
    pub fn keep(&self, place: &Place, meta: &ObjectMeta, version: Option<&str>, status: S) {
        let version = version.and_then(|version| version.parse().ok());
        self.0.lock().insert(place.clone(), Own { uid: meta.uid.clone(), version, basis: None, status });
    }

    /// Keeps what should have been written over this version, which showed this status.
    pub fn keep_unsaved(
        &self,
        place: &Place,
        meta: &ObjectMeta,
        (version, shown): (Option<String>, Option<S>),
        status: S,
    ) {
        let own = Own { uid: meta.uid.clone(), version: None, basis: Some((version, shown)), status };
        self.0.lock().insert(place.clone(), own);
    }

    /// The watch showed this resource.
    pub fn seen(&self, place: &Place, meta: &ObjectMeta) {
        let mut latest = self.0.lock();
        if latest.get(place).is_some_and(|own| own.uid != meta.uid || has_caught_up(own, meta)) {
            latest.remove(place);
        }
    }

    /// Somebody else writes from now on: what the watch shows is newer than what we know.
    pub fn forget_all(&self) {
        self.0.lock().clear();
    }

    pub fn forget(&self, place: &Place) {
        self.0.lock().remove(place);
    }
}

/// Resource versions of one kind can be compared as numbers (Kubernetes 1.35, KEP-5504; etcd's
/// revision long before).
fn has_caught_up<S>(own: &Own<S>, meta: &ObjectMeta) -> bool {
    let shown = meta.resource_version.as_deref().and_then(|version| version.parse::<u64>().ok());
    match (own.version, shown) {
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
