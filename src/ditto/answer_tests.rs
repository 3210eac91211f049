use super::super::calls::Outcome;
use super::*;
use reqwest::header::HeaderValue;
use serde_json::json;

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|(k, v)| (HeaderName::from_static(k), HeaderValue::from_static(v))).collect()
}

fn ditto(status: u16, code: &str) -> String {
    json!({"status": status, "error": code, "message": "m.", "description": "d."}).to_string()
}

fn outcome(status: u16, body: &str) -> Outcome {
    Outcome::of(&read_answer(status, &headers(&[]), body.as_bytes()))
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn every_failure_ditto_names_has_its_place() {
    let rows = [
        (404, "things:thing.notfound", Outcome::Missing),
        (404, "things:attribute.notfound", Outcome::Missing),
        (404, "things:feature.notfound", Outcome::Missing),
        (404, "policies:policy.notfound", Outcome::Missing),
        (404, "api.version.notsupported", Outcome::Unavailable),
        (403, "things:thing.notmodifiable", Outcome::Forbidden),
        (403, "things:thing.notdeletable", Outcome::Forbidden),
        (403, "entity.notcreatable", Outcome::Forbidden),
        (403, "policies:policy.notcreatable", Outcome::Forbidden),
        (403, "policies:policy.notmodifiable", Outcome::Forbidden),
        (403, "policies:policy.modificationinvalid", Outcome::Forbidden),
        (403, "policies:entry.modificationinvalid", Outcome::Forbidden),
        (400, "things:thing.notcreatable", Outcome::Invalid),
        (400, "things:policy.conflicting", Outcome::Invalid),
        (400, "things:policy.invalid", Outcome::Invalid),
        (400, "things:id.notsettable", Outcome::Invalid),
        (400, "things:id.invalid", Outcome::Invalid),
        (400, "namespacedentity.id.invalid", Outcome::Invalid),
        (400, "policies:id.invalid", Outcome::Invalid),
        (400, "policies:id.notsettable", Outcome::Invalid),
        (400, "policies:import.invalid", Outcome::Invalid),
        (400, "policies:imports.toolarge", Outcome::Invalid),
        (400, "policies:subjectexpiry.invalid", Outcome::Invalid),
        (400, "policies:label.invalid", Outcome::Invalid),
        (400, "json.invalid", Outcome::Invalid),
        (400, "json.format.invalid", Outcome::Invalid),
        (400, "json.field.missing", Outcome::Invalid),
        (400, "json.key.invalid", Outcome::Invalid),
        (400, "json.fieldselector.invalid", Outcome::Invalid),
        (400, "things:merge.invalid", Outcome::Invalid),
        (400, "things:metadata.headersconflict", Outcome::Invalid),
        (400, "things:condition.invalid", Outcome::Invalid),
        (400, "header.invalid", Outcome::Invalid),
        (400, "rql.expression.invalid", Outcome::Invalid),
        (400, "thing-search:search.option.invalid", Outcome::Invalid),
        (400, "jwt:invalid", Outcome::Unauthorized),
        (401, "gateway:authentication.failed", Outcome::Unauthorized),
        (401, "gateway:jwt.issuer.notsupported", Outcome::Unauthorized),
        (405, "things:thing.notcreatable", Outcome::Unavailable),
        (405, "things:live.channelcondition.notallowed", Outcome::Unavailable),
        (408, "command.timeout", Outcome::Unavailable),
        (408, "thing-search:query.time.exceeded", Outcome::Unavailable),
        (409, "namespace.blocked", Outcome::Forbidden),
        (409, "things:thing.conflict", Outcome::Changed),
        (409, "acknowledgement:request.duplicate.correlation-id", Outcome::Changed),
        (412, "things:condition.failed", Outcome::Changed),
        (412, "things:precondition.failed", Outcome::Changed),
        (412, "policies:precondition.failed", Outcome::Changed),
        (413, "things:thing.toolarge", Outcome::TooLarge),
        (413, "policies:policy.toolarge", Outcome::TooLarge),
        (415, "mediatype.unsupported", Outcome::Invalid),
        (424, "acknowledgements:failed", Outcome::Unavailable),
        (429, "things:thing.toomanymodifyingrequests", Outcome::RateLimited),
        (429, "too.many.requests", Outcome::RateLimited),
        (431, "headers.too.large", Outcome::TooLarge),
        (500, "internalerror", Outcome::Unavailable),
        (502, "gateway:service.unavailable", Outcome::Unavailable),
        (503, "things:thing.unavailable", Outcome::Unavailable),
        (503, "ask.error", Outcome::Unavailable),
        (504, "service.timeout", Outcome::Unavailable),
    ];
    for (status, code, expected) in rows {
        let result =
            read_answer(status, &headers(&[("correlation-id", "c-1")]), ditto(status, code).as_bytes());
        assert_eq!(Outcome::of(&result), expected, "{status} {code}");
        let refused = result.unwrap_err();
        let said = refused.said();
        let expected_said = (status, code, "c-1");
        assert_eq!((said.status, said.code.as_str(), said.correlation_id.as_str()), expected_said);
    }
}

#[test]
fn every_status_has_a_place_without_a_body_too() {
    let rows = [
        (100, Outcome::Unavailable),
        (202, Outcome::Unavailable),
        (206, Outcome::Unavailable),
        (301, Outcome::Unavailable),
        (302, Outcome::Unavailable),
        (304, Outcome::Unavailable),
        (307, Outcome::Unavailable),
        (308, Outcome::Unavailable),
        (400, Outcome::Invalid),
        (401, Outcome::Unauthorized),
        (403, Outcome::Forbidden),
        (404, Outcome::Unavailable),
        (405, Outcome::Unavailable),
        (406, Outcome::Invalid),
        (407, Outcome::Unauthorized),
        (408, Outcome::Unavailable),
        (409, Outcome::Changed),
        (412, Outcome::Changed),
        (413, Outcome::TooLarge),
        (414, Outcome::TooLarge),
        (415, Outcome::Invalid),
        (421, Outcome::Unavailable),
        (422, Outcome::Invalid),
        (424, Outcome::Unavailable),
        (425, Outcome::Unavailable),
        (429, Outcome::RateLimited),
        (431, Outcome::TooLarge),
        (500, Outcome::Unavailable),
        (501, Outcome::Unavailable),
        (502, Outcome::Unavailable),
        (503, Outcome::Unavailable),
        (504, Outcome::Unavailable),
        (599, Outcome::Unavailable),
        (999, Outcome::Unavailable),
    ];
    for (status, expected) in rows {
        assert_eq!(outcome(status, ""), expected, "{status}");
        let refused = read_answer(status, &headers(&[]), b"").unwrap_err();
        assert!(!refused.said().message.is_empty(), "{status} says something");
    }
}

#[test]
fn what_answers_in_place_of_ditto_proves_nothing() {
    let html = "<html><head><title>404 Not Found</title></head><body>nginx</body></html>";
    let rows = [
        ("a page instead of a thing", 200, html, Outcome::Unavailable),
        ("a page of nginx for a missing path", 404, html, Outcome::Unavailable),
        ("a default backend", 404, "default backend - 404", Outcome::Unavailable),
        ("a gateway that speaks JSON", 404, r#"{"message":"no Route matched"}"#, Outcome::Unavailable),
        ("Pekko's own text", 404, "The requested resource could not be found.", Outcome::Unavailable),
        ("plain HTTP sent to an HTTPS port", 400, html, Outcome::Unavailable),
        ("Pekko's text about a request", 400, "Request is missing a parameter", Outcome::Invalid),
        ("a proxy that lets no PATCH through", 405, html, Outcome::Unavailable),
        ("nginx without credentials", 401, html, Outcome::Unauthorized),
        ("nginx with a list of addresses", 403, html, Outcome::Forbidden),
        ("nginx with a small body limit", 413, html, Outcome::TooLarge),
        ("Pekko's limit of a URI", 414, "URI length exceeds 8192", Outcome::TooLarge),
        ("Pekko's limit of a header", 431, "header value too long", Outcome::TooLarge),
        ("nginx without Ditto behind it", 502, html, Outcome::Unavailable),
        ("nginx that limits the rate", 429, html, Outcome::RateLimited),
    ];
    for (name, status, body, expected) in rows {
        let kind = if body.starts_with('<') { "text/html" } else { "text/plain; charset=UTF-8" };
        let result = read_answer(status, &headers(&[("content-type", kind)]), body.as_bytes());
        assert_eq!(Outcome::of(&result), expected, "{name}");
        let refused = result.unwrap_err().to_string();
        assert!(!refused.contains('<'), "{name}: no page in a message: {refused}");
        if expected == Outcome::Unavailable && status < 500 {
            assert!(refused.contains("check the Ditto URL"), "{name}: {refused}");
        }
    }
}

#[test]
fn a_redirect_says_where_to_and_keeps_its_query_back() {
    let to = headers(&[("location", "https://login.example/auth?state=s3cret")]);
    let refused = read_answer(302, &to, b"").unwrap_err();
    let said = &refused.said().message;
    assert!(said.contains("https://login.example/auth;") && said.contains("Ditto URL"), "{said}");
    assert!(!said.contains("s3cret"));
}

#[test]
fn an_answer_carries_its_revision() {
    let rows = [
        ("the header", headers(&[("entity-revision", "7")]), Some(7)),
        ("the tag", headers(&[("etag", "\"rev:8\"")]), Some(8)),
        ("a tag made weak by a proxy", headers(&[("etag", "W/\"rev:9\"")]), Some(9)),
        ("the header before the tag", headers(&[("entity-revision", "7"), ("etag", "\"rev:8\"")]), Some(7)),
        ("the tag of a part", headers(&[("etag", "\"hash:1f\"")]), None),
        ("nothing", headers(&[]), None),
    ];
    for (name, headers, expected) in rows {
        assert_eq!(read_answer(204, &headers, b"").unwrap().revision, expected, "{name}");
    }
    let created = read_answer(201, &headers(&[]), br#"{"thingId":"a:b"}"#).unwrap();
    assert_eq!(created, Answer { status: 201, revision: None, body: json!({"thingId": "a:b"}) });
}

#[test]
fn retry_after_is_seconds_or_a_date() {
    let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
    let rows = [
        ("seconds", headers(&[("retry-after", "3")]), Some(3_000)),
        ("a date", headers(&[date, ("retry-after", "Sun, 06 Nov 1994 08:49:52 GMT")]), Some(15_000)),
        (
            "a date that has passed",
            headers(&[date, ("retry-after", "Sun, 06 Nov 1994 08:49:30 GMT")]),
            Some(0),
        ),
        ("a date and no clock", headers(&[("retry-after", "Sun, 06 Nov 1994 08:49:52 GMT")]), None),
        ("more than a number holds", headers(&[("retry-after", "18446744073709551615")]), Some(u64::MAX)),
        ("nonsense", headers(&[("retry-after", "-1")]), None),
        ("nothing", headers(&[]), None),
    ];
    for (name, headers, expected) in rows {
        let refused = read_answer(429, &headers, b"").unwrap_err();
        let Refused::RateLimited { after_ms, .. } = refused else { panic!("{name}: {refused}") };
        assert_eq!(after_ms, expected, "{name}");
    }
}

#[test]
fn a_message_is_one_short_line() {
    let long = json!({"error": "e".repeat(9_999), "message": format!("a\nb{}", "x".repeat(9_999))});
    let refused = read_answer(400, &headers(&[]), long.to_string().as_bytes()).unwrap_err();
    assert_eq!(refused.said().message.chars().count(), MESSAGE_CHARS_MAX);
    assert_eq!(refused.said().code.chars().count(), CODE_CHARS_MAX);
    assert!(refused.said().message.starts_with("a b"));
}

#[test]
fn a_wrong_version_of_the_api_is_a_wrong_url() {
    let refused =
        read_answer(404, &headers(&[]), ditto(404, "api.version.notsupported").as_bytes()).unwrap_err();
    assert!(refused.to_string().contains("check the Ditto URL"), "{refused}");
    let missing =
        read_answer(404, &headers(&[]), ditto(404, "things:thing.notfound").as_bytes()).unwrap_err();
    assert_eq!(missing.to_string(), "not found, or hidden: 404 things:thing.notfound: m. d.");
}
