//! Rules of the reference that no transcript shows, as rows: what, the request, the status and Ditto's error code.
use serde_json::json;

use super::{ask, code};
use crate::contract::engine::Engine;

type Row<'r> = (&'r str, &'r str, &'r str, Option<&'r str>, u16, &'r str);

/// Headers instead of the usual ones (empty: left out), action, path, value, status and error code.
type Event<'r> = (&'r [(&'r str, &'r str)], &'r str, &'r str, &'r str, u16, &'r str);

const THING: &str = "/api/2/things/rules:t";
const POLICY: &str = "/api/2/policies/rules:p";

fn check(engine: &Engine, rows: &[Row<'_>]) {
    for (what, method, target, body, status, error) in rows {
        let reply = ask(&engine.base, method, target, &[], body.map(str::as_bytes));
        assert_eq!((reply.status, code(&reply).as_str()), (*status, *error), "{what}: {}", reply.text);
    }
}

fn with_thing() -> Engine {
    let engine = Engine::in_memory();
    let thing = json!({"definition": "a:b:1", "attributes": {"a": 1, "o": {"x": 1}}, "features": {
        "f": {"definition": ["a:b:1"], "properties": {"p": 1}, "desiredProperties": {"d": 1}}}});
    let reply = ask(&engine.base, "PUT", THING, &[], Some(thing.to_string().as_bytes()));
    assert_eq!(reply.status, 201, "{}", reply.text);
    engine
}

#[test]
fn every_part_of_a_thing_is_read_with_and_without_a_slash_and_refuses_other_methods() {
    let engine = with_thing();
    let parts = [
        "",
        "/policyId",
        "/definition",
        "/attributes",
        "/attributes/a",
        "/attributes/o/x",
        "/features",
        "/features/f",
        "/features/f/definition",
        "/features/f/properties",
        "/features/f/properties/p",
        "/features/f/desiredProperties",
        "/features/f/desiredProperties/d",
    ];
    for part in parts {
        // the one part whose route in Ditto ends where its name does
        let slashed = if part == "/policyId" { 404 } else { 200 };
        for (method, slash, status) in [
            ("GET", "", 200),
            ("GET", "/", slashed),
            ("POST", "", 405),
            ("HEAD", "", 405),
            ("OPTIONS", "", 405),
        ] {
            let target = format!("{THING}{part}{slash}");
            assert_eq!(ask(&engine.base, method, &target, &[], None).status, status, "{method} {target}");
        }
    }
}

#[test]
fn parts_of_things_follow_their_rules() {
    let f = |rest: &str| format!("{THING}/features{rest}");
    let (definition, zz, zz_bag) = (f("/f/definition"), f("/zz/properties/a"), f("/zz/properties"));
    let at = |rest: &str| format!("{THING}{rest}");
    let (own_definition, own_policy, nonsense) = (at("/definition"), at("/policyId"), at("/nonsense"));
    check(
        &with_thing(),
        &[
            ("a route that is none", "GET", &nonsense, None, 404, ""),
            ("another version of the API", "GET", "/api/1/things/x:y", None, 404, "api.version.notsupported"),
            (
                "a definition of two parts",
                "PUT",
                &own_definition,
                Some("\"a:b\""),
                400,
                "things:definition.identifier.invalid",
            ),
            ("a definition that is a number", "PUT", &own_definition, Some("5"), 400, "json.format.invalid"),
            ("a definition that goes", "DELETE", &own_definition, None, 204, ""),
            (
                "a definition that is not there",
                "GET",
                &own_definition,
                None,
                404,
                "things:definition.notfound",
            ),
            ("a thing without a policy", "DELETE", &own_policy, None, 405, ""),
            (
                "a feature defined by nothing",
                "PUT",
                &definition,
                Some("[]"),
                400,
                "things:feature.definition.empty",
            ),
            ("a property of no feature", "PUT", &zz, Some("1"), 404, "things:feature.notfound"),
            ("a merge that brings the feature", "PATCH", &zz_bag, Some("{\"a\":1}"), 204, ""),
            (
                "a merge into a part of no thing",
                "PATCH",
                "/api/2/things/rules:none/attributes",
                Some("{\"a\":1}"),
                404,
                "things:thing.notfound",
            ),
            (
                "another id in the body",
                "PUT",
                THING,
                Some("{\"thingId\":\"x:y\"}"),
                400,
                "things:id.notsettable",
            ),
            ("no id at all", "GET", "/api/2/things?ids=", None, 400, "things:id.invalid"),
        ],
    );
}

#[test]
fn a_new_thing_finds_its_policy_or_says_why_not() {
    let thing = |name: &str| format!("/api/2/things/rules:{name}");
    let [two, copied, spaceless, number, missing, odd, own] =
        ["two", "copied", "spaceless", "number", "missing", "odd", "own"].map(thing);
    check(
        &with_thing(),
        &[
            (
                "two policies",
                "PUT",
                &two,
                Some(r#"{"_policy":{},"_copyPolicyFrom":"a:b"}"#),
                400,
                "things:policy.conflicting",
            ),
            (
                "a copy of nothing",
                "PUT",
                &two,
                Some(r#"{"_copyPolicyFrom":"no:no"}"#),
                404,
                "policies:policy.notfound",
            ),
            (
                "a copy of a thing's",
                "PUT",
                &copied,
                Some(r#"{"_copyPolicyFrom":"{{ ref:things/rules:t/policyId }}"}"#),
                201,
                "",
            ),
            (
                "the same without spaces",
                "PUT",
                &spaceless,
                Some(r#"{"_copyPolicyFrom":"{{ref:things/rules:t/policyId}}"}"#),
                201,
                "",
            ),
            ("a copy of a number", "PUT", &number, Some(r#"{"_copyPolicyFrom":5}"#), 400, "json.invalid"),
            (
                "a policy that is missing",
                "PUT",
                &missing,
                Some(r#"{"policyId":"no:no"}"#),
                404,
                "policies:policy.notfound",
            ),
            (
                "a policy without a namespace",
                "PUT",
                &odd,
                Some(r#"{"policyId":"nonono"}"#),
                400,
                "policies:id.invalid",
            ),
            ("created", "PUT", &own, Some("{}"), 201, ""),
            ("deleted", "DELETE", &own, None, 204, ""),
            (
                "created again while its policy is there",
                "PUT",
                &own,
                Some("{}"),
                400,
                "things:thing.notcreatable",
            ),
        ],
    );
}

#[test]
fn parameters_stand_for_headers() {
    let a = |query: &str| format!("{THING}/attributes/a?{query}");
    let [unmet, at_once, maybe, late, odd, minute, dry] = [
        "condition=eq(attributes/a,99)",
        "response-required=false",
        "response-required=maybe",
        "timeout=61",
        "timeout=1.5s",
        "timeout=1m",
        "dry-run=true",
    ]
    .map(a);
    let [now, unanswered] = ["timeout=0", "response-required=false"].map(|query| format!("{THING}?{query}"));
    let engine = with_thing();
    check(
        &engine,
        &[
            ("a condition", "PUT", &unmet, Some("2"), 412, "things:condition.failed"),
            ("no answer asked for", "PUT", &at_once, Some("2"), 202, ""),
            ("neither true nor false", "PUT", &maybe, Some("2"), 400, "header.invalid"),
            ("above a minute", "PUT", &late, Some("2"), 400, "gateway:timeout.invalid"),
            ("no whole number", "PUT", &odd, Some("2"), 400, "timeout.invalid"),
            ("a minute", "PUT", &minute, Some("2"), 204, ""),
            ("a parameter without a meaning here", "PUT", &dry, Some("2"), 204, ""),
            ("a read in no time", "GET", &now, None, 400, "header.invalid"),
            ("a read without an answer", "GET", &unanswered, None, 400, "command.headers.invalid"),
            ("a search in no time", "GET", "/api/2/search/things?timeout=0", None, 400, "header.invalid"),
            (
                "a search above a minute",
                "GET",
                "/api/2/search/things?timeout=70s",
                None,
                400,
                "gateway:timeout.invalid",
            ),
        ],
    );
    let named = ask(&engine.base, "GET", "/api/2/whoami?correlation-id=mine", &[], None);
    assert_eq!(named.header("correlation-id").as_deref(), Some("mine"));
}

#[test]
fn searches_are_refused_by_their_reason() {
    const OPTION: &str = "thing-search:search.option.invalid";
    const RQL: &str = "rql.expression.invalid";
    let engine = with_thing();
    let rows = [
        ("filter=eq(attributes/a", 400, RQL),
        ("filter=eq(_policy,1)", 400, RQL),
        ("filter=eq(attributes/x,99999999999999999999)", 400, RQL),
        ("filter=like(attributes/x,5)", 400, RQL),
        ("filter=exists(attributes)", 400, RQL),
        ("filter=exists(features/f)", 200, ""),
        ("filter=eq(attributes/x,time:nonsense)", 200, ""),
        ("option=size(0)", 400, OPTION),
        ("option=size(201)", 400, OPTION),
        ("option=size(-1)", 400, RQL),
        ("option=size(abc)", 400, RQL),
        ("option=", 400, RQL),
        ("option=foo(1)", 400, RQL),
        ("option=sort(thingId)", 400, RQL),
        ("option=sort(%2Bfoo)", 400, OPTION),
        ("option=cursor(abc)", 400, OPTION),
        ("option=limit(0,5),size(3)", 200, ""),
        ("option=size(5),size(6)", 400, OPTION),
        ("option=cursor(a),limit(0,1)", 400, OPTION),
        ("namespaces=", 200, ""),
        ("namespaces=a..b", 400, "thing-search:search.namespaces.invalid"),
        ("fields=thingId,x(", 400, "json.fieldselector.invalid"),
    ];
    for (query, status, error) in rows {
        let reply = ask(&engine.base, "GET", &format!("/api/2/search/things?{query}"), &[], None);
        assert_eq!((reply.status, code(&reply).as_str()), (status, error), "{query}: {}", reply.text);
    }
    check(
        &engine,
        &[
            ("a search as JSON", "POST", "/api/2/search/things", Some("{}"), 415, "mediatype.unsupported"),
            ("a search that is put", "PUT", "/api/2/search/things", Some("{}"), 405, ""),
        ],
    );
}

#[test]
fn parts_of_policies_follow_their_rules() {
    let engine = with_thing();
    let all = json!({"grant": ["READ", "WRITE"], "revoke": []});
    let owner =
        json!({"subjects": {"nginx:ditto": {"type": "u"}}, "resources": {"policy:/": all, "thing:/": all}});
    let body = json!({"entries": {"o": owner}}).to_string();
    let owner = owner.to_string();
    let at = |rest: &str| format!("{POLICY}{rest}");
    let [imported, own, missing, good, gone] =
        ["/entries/imported-x", "/imports/rules:p", "/imports/no:no", "/imports/rules:t", "/imports/a:b"]
            .map(at);
    let [subject, resource, entry, last] = [
        "/entries/o/subjects/x:y",
        "/entries/o/resources/thing:/x",
        "/entries/zz",
        "/entries/o/subjects/nginx:ditto",
    ]
    .map(at);
    check(
        &engine,
        &[
            ("a policy", "PUT", POLICY, Some(&body), 201, ""),
            ("a policy is not merged", "PATCH", POLICY, Some("{}"), 405, ""),
            ("a reserved label", "PUT", &imported, Some(&owner), 400, "policies:label.invalid"),
            ("an import of itself", "PUT", &own, Some("{}"), 400, "policies:import.invalid"),
            ("an import of nothing", "PUT", &missing, Some("{}"), 404, "policies:policy.notfound"),
            ("an import", "PUT", &good, Some(r#"{"entries":["DEFAULT"]}"#), 201, ""),
            ("an import that is not there", "GET", &gone, None, 404, "policies:import.notfound"),
            ("an import that goes", "DELETE", &good, None, 204, ""),
            ("no such subject", "GET", &subject, None, 404, "policies:subject.notfound"),
            ("no such resource", "GET", &resource, None, 404, "policies:resource.notfound"),
            ("no such entry", "GET", &entry, None, 404, "policies:entry.notfound"),
            ("the last who may write", "DELETE", &last, None, 403, "policies:entry.modificationinvalid"),
            (
                "a past expiry",
                "PUT",
                &subject,
                Some(r#"{"type":"x","expiry":"2001-01-01T00:00:00Z"}"#),
                400,
                "policies:subjectexpiry.invalid",
            ),
            (
                "no expiry at all",
                "PUT",
                &subject,
                Some(r#"{"type":"x","expiry":"soon"}"#),
                400,
                "policies:subjectexpiry.invalid",
            ),
            (
                "an id where one is made up",
                "POST",
                "/api/2/policies",
                Some(r#"{"policyId":"a:b"}"#),
                400,
                "policies:id.notsettable",
            ),
            ("no policy", "PUT", POLICY, Some("null"), 400, "policies:id.invalid"),
        ],
    );
}

#[test]
fn cloud_events_are_taken_in_binary_mode_and_fail_as_their_command_does() {
    let engine = with_thing();
    let event = |headers: &[(&str, &str)], action: &str, path: &str, value: &str| {
        let attributes = [
            ("ce-specversion", "1.0"),
            ("ce-id", "1"),
            ("ce-source", "test"),
            ("ce-type", "ditto"),
            ("content-type", "application/json"),
        ];
        let kept = attributes.iter().filter(|(name, _)| !headers.iter().any(|(given, _)| given == name));
        let all: Vec<_> =
            kept.copied().chain(headers.iter().copied().filter(|(_, value)| !value.is_empty())).collect();
        let body =
            format!(r#"{{"topic":"rules/t/things/twin/commands/{action}","path":"{path}","value":{value}}}"#);
        let reply = ask(&engine.base, "POST", "/api/2/cloudevents", &all, Some(body.as_bytes()));
        (reply.status, code(&reply))
    };
    let rows: [Event<'_>; 9] = [
        (&[], "modify", "/attributes/a", "7", 202, ""),
        (&[], "merge", "/attributes", r#"{"b":8}"#, 202, ""),
        (&[], "create", "/", "{}", 409, "things:thing.conflict"),
        (&[], "modify", "/features/zz/properties/a", "7", 404, "things:feature.notfound"),
        (&[], "explode", "/", "{}", 400, "protocoladapter:unknown.command"),
        (&[("ce-id", "")], "modify", "/attributes/a", "9", 400, "cloudevent.unparsable"),
        (&[("ce-specversion", "7")], "modify", "/attributes/a", "9", 400, "cloudevent.unparsable"),
        (
            &[("ce-dataschema", "https://x")],
            "modify",
            "/attributes/a",
            "9",
            400,
            "cloudevent.dataschema.unsupported",
        ),
        (&[("content-type", "text/plain")], "modify", "/attributes/a", "9", 415, "mediatype.unsupported"),
    ];
    for (headers, action, path, value, status, error) in rows {
        assert_eq!(
            event(headers, action, path, value),
            (status, error.to_owned()),
            "{headers:?} {action} {path}"
        );
    }
    let kept = ask(&engine.base, "GET", &format!("{THING}/attributes"), &[], None);
    assert_eq!(kept.text, r#"{"a":7,"o":{"x":1},"b":8}"#);
}
