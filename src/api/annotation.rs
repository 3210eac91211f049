//! Annotations that users put on their resources.
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// What all of them start with.
pub const PREFIX: &str = "twinops.dev/";
pub const PAUSED: &str = "twinops.dev/paused";
pub const TAKEOVER: &str = "twinops.dev/takeover";
pub const RELEASE: &str = "twinops.dev/release";
pub const CONFIRM_DELETION: &str = "twinops.dev/confirm-deletion";
/// On a Namespace: the Ditto namespaces its resources may name.
pub const DITTO_NAMESPACES: &str = "twinops.dev/ditto-namespaces";

/// What stands there, without spaces around it.
pub fn annotated<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(name).map(|value| value.trim())
}

/// It is there and not switched off.
pub fn is_set(meta: &ObjectMeta, name: &str) -> bool {
    annotated(meta, name).is_some_and(|value| !matches!(value, "" | "false"))
}

/// `twinops.dev/paused: "true"`
pub fn is_paused(meta: &ObjectMeta) -> bool {
    annotated(meta, PAUSED) == Some("true")
}

/// `twinops.dev/takeover: <generation>`
pub fn takeover(meta: &ObjectMeta) -> Option<i64> {
    annotated(meta, TAKEOVER)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(name: &str, value: &str) -> ObjectMeta {
        let annotations = Some([(name.to_owned(), value.to_owned())].into());
        ObjectMeta { annotations, ..ObjectMeta::default() }
    }

    #[test]
    fn an_annotation_means_what_its_text_says() {
        for (value, paused, set) in [
            ("true", true, true),
            (" true ", true, true),
            ("false", false, false),
            ("", false, false),
            ("1", false, true),
        ] {
            assert_eq!(is_paused(&meta(PAUSED, value)), paused, "{value:?}");
            assert_eq!(is_set(&meta(RELEASE, value), RELEASE), set, "{value:?}");
        }
        for (value, generation) in [("7", Some(7)), (" 7", Some(7)), ("seven", None), ("", None)] {
            assert_eq!(takeover(&meta(TAKEOVER, value)), generation, "{value:?}");
        }
        assert_eq!(takeover(&ObjectMeta::default()), None);
    }
}
