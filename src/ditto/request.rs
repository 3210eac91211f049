//! A request before it is sent.
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use crate::ports::{Refused, Said};

use super::calls::Verb;

/// RFC 3986 §2.3, and the colon that every id holds.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b':');
/// What selectors and conditions are made of stays readable in a log of Ditto's.
const QUERY: &AsciiSet = &SEGMENT.remove(b'/').remove(b',').remove(b'(').remove(b')').remove(b'*');

/// One request below `/api/2`.
#[derive(Debug)]
pub(super) struct Request {
    pub verb: Verb,
    /// Path and query, percent-encoded.
    pub target: String,
    pub headers: HeaderMap,
    pub body: Option<String>,
}

impl Request {
    pub fn new(verb: Verb, segments: &[&str]) -> Self {
        let target = segments.iter().flat_map(|segment| ["/".to_owned(), encode_segment(segment)]).collect();
        Self { verb, target, headers: HeaderMap::new(), body: None }
    }

    /// Adds a query parameter; an empty one is left out.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        if !value.is_empty() {
            self.target.push(if self.target.contains('?') { '&' } else { '?' });
            self.target.push_str(name);
            self.target.push('=');
            self.target.extend(utf8_percent_encode(value, QUERY));
        }
        self
    }

    /// Adds a header. [`Refused::Invalid`] when the text does not fit one.
    pub fn header(mut self, name: &'static str, value: &str) -> Result<Self, Refused> {
        let value = HeaderValue::from_str(value).map_err(|_| {
            let message = format!("the header {name} cannot carry control characters");
            Refused::Invalid(Said { message, ..Said::default() })
        })?;
        self.headers.insert(HeaderName::from_static(name), value);
        Ok(self)
    }

    #[must_use]
    pub fn json(mut self, media_type: &'static str, body: &Value) -> Self {
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        self.body = Some(body.to_string());
        self
    }
}

pub(super) fn encode_segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// How long a text becomes as the value of a query parameter, in bytes.
pub(super) fn encoded_length(text: &str) -> usize {
    utf8_percent_encode(text, QUERY).map(str::len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twin::id::ThingId;
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;
    use reqwest::Url;

    proptest! {
        #[test]
        fn s39_ids_are_one_path_segment(
            namespace in "[a-z][a-z0-9_]{0,8}",
            name in prop_oneof!["[ -~]{1,40}", r"[./%?#&;:\\2e5cf]{1,20}", r"[^\x00-\x1f\x7f-\xff/]{1,40}"],
        ) {
            let text = format!("{namespace}:{name}");
            let Ok(id) = ThingId::parse(&text) else { return Ok(()) };
            let target = Request::new(Verb::Get, &["things", id.as_str()]).target;
            let url = Url::parse(&format!("http://ditto/api/2{target}")).unwrap();
            let segments: Vec<_> = url.path_segments().unwrap().collect();
            prop_assert_eq!(segments.len(), 4);
            prop_assert_eq!(&segments[..3], ["api", "2", "things"]);
            prop_assert_eq!(percent_decode_str(segments[3]).decode_utf8().unwrap(), id.as_str());
            prop_assert_eq!((url.query(), url.fragment()), (None, None));
        }

        #[test]
        fn query_values_arrive_as_they_were(value in "\\PC{1,60}") {
            let target = Request::new(Verb::Get, &["things"]).query("condition", &value).target;
            let url = Url::parse(&format!("http://ditto{target}")).unwrap();
            let pairs: Vec<_> = url.query_pairs().into_owned().collect();
            prop_assert_eq!(pairs, [("condition".to_owned(), value.clone())]);
            prop_assert_eq!(target.len(), "/things?condition=".len() + encoded_length(&value));
        }
    }

    #[test]
    fn known_traps_stay_inside_their_segment() {
        let rows = [
            ("a:b", "a:b"),
            ("a:..", "a:.."),
            ("a:%2e%2e", "a:%252e%252e"),
            ("a:x/../y", "a:x%2F..%2Fy"),
            ("a:x?y#z", "a:x%3Fy%23z"),
            ("a:b c+d", "a:b%20c%2Bd"),
            ("a:泵", "a:%E6%B3%B5"),
        ];
        for (text, expected) in rows {
            assert_eq!(encode_segment(text), expected);
        }
    }

    #[test]
    fn an_empty_parameter_is_left_out() {
        let request =
            Request::new(Verb::Get, &["search", "things"]).query("filter", "").query("option", "size(2)");
        assert_eq!(request.target, "/search/things?option=size(2)");
    }
}
