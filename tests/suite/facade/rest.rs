//! The requests that users send, and what comes back.
use serde_json::{Value, json};

use super::Facade;

const SENSOR: &str = "/things/com.example:temperature-sensor-01";
const NEW_SENSOR: &str = r#"{"thing_id":"com.example:temperature-sensor-01","attributes":{"type":"temperature-sensor","location":"warehouse-1","manufacturer":"Example Corp"},"features":{"temperature":{"properties":{"value":22.5,"unit":"celsius"}}}}"#;
const POLICY: &str = r#"{"policy_id":"com.example:shared","entries":{"owner":{"subjects":{"nginx:ditto":{"type":"t"}},"resources":{"thing:/":{"grant":["READ","WRITE"],"revoke":[]},"policy:/":{"grant":["READ","WRITE"],"revoke":[]}}}}}"#;

/// Asks until the search index has caught up; the engine's always has.
fn found(facade: &Facade, path: &str) -> Value {
    crate::support::wait_for(path, super::PATIENCE, || {
        let items = facade.get(path).json()["items"].clone();
        (!items.as_array()?.is_empty()).then_some(items)
    })
}

/// Waits until it is gone: at once before the engine, whose search is never behind.
fn gone(facade: &Facade, path: &str) {
    crate::support::wait_for(path, super::PATIENCE, || (facade.get(path).status == 404).then_some(()));
}

#[test]
fn the_requests_users_send_work_and_work_again_from_the_top() {
    let facade = Facade::open();
    for round in ["first", "second"] {
        let status =
            |method: &str, path: &str, body: Option<&str>| facade.ask(method, path, &[], body).status;
        assert_eq!(status("POST", "/things/", Some(NEW_SENSOR)), 201, "{round}");
        assert_eq!(status("GET", "/things/", None), 200, "{round}");
        assert_eq!(status("GET", SENSOR, None), 200, "{round}");
        assert_eq!(
            status("PATCH", SENSOR, Some(r#"{"attributes":{"location":"warehouse-1"}}"#)),
            204,
            "{round}"
        );
        assert_eq!(status("GET", &format!("{SENSOR}/features/temperature"), None), 200, "{round}");
        let put = Some(r#"{"properties":{"value":24.0,"unit":"celsius"}}"#);
        assert_eq!(status("PUT", &format!("{SENSOR}/features/temperature"), put), 204, "{round}");
        for query in [
            "?q=eq(attributes/location,%22warehouse-1%22)",
            "?q=gt(features/temperature/properties/value,20)",
            "",
        ] {
            let items = found(&facade, &format!("/search/things{query}"));
            assert_eq!(items[0]["thing_id"], "com.example:temperature-sensor-01", "{round} {query}");
        }
        assert_eq!(status("POST", "/policies/", Some(POLICY)), 201, "{round}");
        assert_eq!(status("GET", "/policies/com.example:shared", None), 200, "{round}");
        assert_eq!(status("DELETE", "/policies/com.example:shared", None), 204, "{round}");
        assert_eq!(status("DELETE", SENSOR, None), 204, "{round}");
        gone(&facade, "/policies/com.example:temperature-sensor-01");
        assert_eq!(status("GET", "/health", None), 200, "{round}");
    }
}

/// Or telemetry for a thing that was made here would be one for an unknown twin.
#[test]
fn a_thing_that_is_made_here_lets_operator_and_bridge_in() {
    use crate::contract::engine::Engine;
    use crate::support::ditto::Ditto;
    let engine = Engine::in_memory();
    let facade = Facade::with(twinops::settings::Facade {
        operator_subject: Some("pre:operator".to_owned()),
        bridge_subject: Some("pre:bridge".to_owned()),
        ..super::settings(&engine.base, super::anybody())
    });
    assert_eq!(facade.ask("POST", "/things/", &[], Some(NEW_SENSOR)).status, 201);
    let ditto = Ditto { url: engine.base.clone() };
    let write =
        |subject, path: &str| ditto.call(subject, "PUT", &format!("{SENSOR}{path}"), Some(&json!({}))).0;
    assert_eq!(write("pre:bridge", "/features/temperature/properties"), 204);
    assert_eq!(write("pre:bridge", "/attributes"), 403, "what it is stays its maker's");
    assert_eq!(write("pre:operator", "/attributes"), 204);
    assert_eq!(write("pre:anybody", "/features/temperature/properties"), 403);
}

#[test]
fn a_thing_is_shown_in_the_names_of_the_facade() {
    let facade = Facade::open();
    let made = facade.ask("POST", "/things/", &[], Some(NEW_SENSOR));
    assert_eq!(made.header("location"), SENSOR);
    // It goes on where an earlier thing of this id ended.
    let revision = made.revision();
    assert_eq!(made.json()["policy_id"], "com.example:temperature-sensor-01");
    let feature = r#"{"desired_properties":{"interval":30,"policyId":1}}"#;
    assert_eq!(facade.ask("PUT", &format!("{SENSOR}/features/heater"), &[], Some(feature)).status, 201);
    let thing = facade.get(SENSOR).json();
    assert_eq!(thing["features"]["heater"], json!({"desired_properties": {"interval": 30, "policyId": 1}}));
    assert_eq!(
        (&thing["thing_id"], &thing["revision"]),
        (&json!("com.example:temperature-sensor-01"), &json!(revision + 1))
    );
    assert!(thing["created"].is_string() && thing["modified"].is_string(), "{thing}");
    assert_eq!(facade.get(&format!("{SENSOR}/features")).json()["heater"], thing["features"]["heater"]);
    let some =
        facade.get(&format!("{SENSOR}?fields=thing_id,features/heater/desired_properties/interval")).json();
    assert_eq!(
        some,
        json!({"thing_id": "com.example:temperature-sensor-01", "features": {"heater": {"desired_properties": {"interval": 30}}}})
    );
    assert_eq!(
        facade.ask("PUT", SENSOR, &[], Some(&thing.to_string())).status,
        204,
        "what was read may be written back"
    );
}

#[test]
fn every_route_is_there_with_and_without_a_slash_at_its_end() {
    let facade = Facade::open();
    for path in [
        "/things",
        "/policies",
        "/search/things",
        "/search/things/count",
        "/health",
        "/livez",
        "/readyz",
        "/openapi.json",
        "/docs",
    ] {
        assert_eq!((facade.get(path).status, facade.get(&format!("{path}/")).status), (200, 200), "{path}");
    }
    assert_eq!(facade.ask("POST", "/things", &[], Some(NEW_SENSOR)).status, 201);
    assert_eq!(facade.get(&format!("{SENSOR}/")).status, 200);
    let missing = facade.get("/nothing/here");
    assert_eq!((missing.status, missing.code().as_str()), (404, "facade:route.notfound"));
}

/// What it is, method, path, headers, body, status, code.
type Row = (
    &'static str,
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
    Option<&'static str>,
    u16,
    &'static str,
);

#[test]
#[expect(clippy::too_many_lines, reason = "one table")]
fn clients_are_told_what_they_need_to_act_on() {
    let facade = Facade::open();
    assert_eq!(facade.ask("POST", "/things/", &[], Some(NEW_SENSOR)).status, 201);
    let rows: &[Row] = &[
        ("made twice", "POST", "/things/", &[], Some(NEW_SENSOR), 409, "things:thing.conflict"),
        ("not there", "GET", "/things/com.example:none", &[], None, 404, "things:thing.notfound"),
        (
            "a patch makes nothing",
            "PATCH",
            "/things/com.example:none",
            &[],
            Some("{\"attributes\":{}}"),
            404,
            "things:thing.notfound",
        ),
        ("nothing to delete", "DELETE", "/things/com.example:none", &[], None, 404, "things:thing.notfound"),
        ("an id without a colon", "GET", "/things/none", &[], None, 400, "things:id.invalid"),
        (
            "an old tag",
            "PUT",
            SENSOR,
            &[("if-match", "\"rev:7\"")],
            Some("{}"),
            412,
            "things:precondition.failed",
        ),
        (
            "an old tag of a patch",
            "PATCH",
            SENSOR,
            &[("if-match", "\"rev:7\"")],
            Some("{\"attributes\":{}}"),
            412,
            "things:precondition.failed",
        ),
        (
            "only if it is not there",
            "PUT",
            SENSOR,
            &[("if-none-match", "*")],
            Some("{}"),
            412,
            "things:precondition.failed",
        ),
        (
            "another id inside",
            "PUT",
            SENSOR,
            &[],
            Some("{\"thing_id\":\"com.example:other\"}"),
            400,
            "things:id.notsettable",
        ),
        ("no id", "POST", "/things/", &[], Some("{}"), 400, "json.field.missing"),
        ("no JSON", "POST", "/things/", &[], Some("{"), 400, "json.invalid"),
        ("no object", "POST", "/things/", &[], Some("[]"), 400, "json.invalid"),
        ("a filter that is none", "GET", "/search/things?q=eq(", &[], None, 400, "rql.expression.invalid"),
        ("no such method", "DELETE", "/things/", &[], None, 405, "facade:method.notallowed"),
        (
            "a policy that is not there",
            "GET",
            "/policies/com.example:none",
            &[],
            None,
            404,
            "policies:policy.notfound",
        ),
        (
            "a policy for nobody",
            "POST",
            "/policies/",
            &[],
            Some("{\"policy_id\":\"com.example:p\",\"entries\":{}}"),
            403,
            "policies:policy.notcreatable",
        ),
    ];
    for (name, method, path, headers, body, status, code) in rows {
        let reply = facade.ask(method, path, headers, *body);
        assert_eq!((reply.status, reply.code().as_str()), (*status, *code), "{name}: {reply:?}");
    }
    let etag = facade.get(SENSOR).header("etag").to_owned();
    let same = facade.ask("GET", SENSOR, &[("if-none-match", &etag)], None);
    assert_eq!((same.status, same.text.as_str(), same.header("etag")), (304, "", etag.as_str()));
    assert_eq!(facade.ask("DELETE", "/things/", &[], None).header("allow"), "GET,HEAD,POST");
}

#[test]
fn pages_follow_each_other_by_their_links() {
    let facade = Facade::open();
    for n in 0..5 {
        let thing = json!({"thing_id": format!("com.pages:t-{n}"), "attributes": {"n": n}});
        assert_eq!(facade.ask("POST", "/things/", &[], Some(&thing.to_string())).status, 201);
    }
    crate::support::wait_for("all to be found", super::PATIENCE, || {
        let count = facade.get("/search/things/count?namespace=com.pages&q=exists(attributes/n)").json();
        (count == json!({"count": 5})).then_some(())
    });
    let starts = [
        "/things/?limit=2&namespace=com.pages",
        "/search/things?limit=2&namespace=com.pages&sort=thing_id&fields=thing_id",
        "/policies/?limit=2",
    ];
    for start in starts {
        let (mut next, mut ids, mut pages) = (start.to_owned(), vec![], 0);
        loop {
            let page = facade.get(&next);
            assert_eq!(page.status, 200, "{next} {page:?}");
            pages += 1;
            let body = page.json();
            for item in body["items"].as_array().unwrap() {
                let id = item.get("thing_id").or(item.get("policy_id")).unwrap();
                ids.push(id.as_str().unwrap().to_owned());
            }
            let Some(link) = body["next"].as_str() else { break };
            assert_eq!(page.header("link"), format!("<{link}>; rel=\"next\""));
            assert_eq!(body["items"].as_array().unwrap().len(), 2);
            next = link.to_owned();
        }
        assert_eq!(ids, (0..5).map(|n| format!("com.pages:t-{n}")).collect::<Vec<_>>(), "{start}");
        assert_eq!(pages, 3, "{start}");
    }
}

#[test]
fn things_of_one_policy_are_listed_as_one() {
    let facade = Facade::open();
    assert_eq!(facade.ask("POST", "/policies/", &[], Some(POLICY)).status, 201);
    for n in 0..3 {
        let thing =
            json!({"thing_id": format!("com.example:t-{n}"), "policy_id": "com.example:shared"}).to_string();
        assert_eq!(facade.ask("POST", "/things/", &[], Some(&thing)).status, 201);
    }
    found(&facade, "/policies/");
    assert_eq!(facade.get("/policies/").json(), json!({"items": [{"policy_id": "com.example:shared"}]}));
}

#[test]
fn a_policy_made_with_a_thing_goes_with_the_last_that_uses_it_and_no_other_goes() {
    let facade = Facade::open();
    let made = |id: &str, policy: Option<&str>| {
        let mut thing = json!({"thing_id": id});
        if let Some(policy) = policy {
            thing["policy_id"] = json!(policy);
        }
        facade.ask("POST", "/things/", &[], Some(&thing.to_string())).status
    };
    let deleted = |id: &str| facade.ask("DELETE", &format!("/things/{id}"), &[], None).status;
    let policy = |id: &str| facade.get(&format!("/policies/{id}")).status;
    assert_eq!((made("com.example:a", None), made("com.example:b", Some("com.example:a"))), (201, 201));
    assert_eq!((deleted("com.example:a"), policy("com.example:a")), (204, 200), "b still uses it");
    assert_eq!(made("com.example:a", None), 201, "an existing policy of that id is used");
    assert_eq!((deleted("com.example:a"), deleted("com.example:b")), (204, 204));
    gone(&facade, "/policies/com.example:a");
    assert_eq!(facade.ask("POST", "/policies/", &[], Some(POLICY)).status, 201);
    assert_eq!((made("com.example:c", Some("com.example:shared")), deleted("com.example:c")), (201, 204));
    assert_eq!(policy("com.example:shared"), 200, "somebody else made it");
}

#[test]
fn a_put_of_a_feature_replaces_what_it_names_and_keeps_the_rest() {
    let facade = Facade::open();
    assert_eq!(facade.ask("POST", "/things/", &[], Some(NEW_SENSOR)).status, 201);
    let path = format!("{SENSOR}/features/lamp");
    let rows = [
        (
            "a new feature",
            "",
            r#"{"properties":{"on":true,"hue":1}}"#,
            201,
            json!({"properties": {"on": true, "hue": 1}}),
        ),
        ("one part", "", r#"{"properties":{"on":false}}"#, 204, json!({"properties": {"on": false}})),
        (
            "a part that was not there",
            "",
            r#"{"desired_properties":{"on":true}}"#,
            204,
            json!({"properties": {"on": false}, "desired_properties": {"on": true}}),
        ),
        (
            "two parts",
            "",
            r#"{"definition":["a:b:1"],"properties":{"hue":2}}"#,
            204,
            json!({"definition": ["a:b:1"], "properties": {"hue": 2}, "desired_properties": {"on": true}}),
        ),
        (
            "a part that goes",
            "",
            r#"{"definition":null}"#,
            204,
            json!({"properties": {"hue": 2}, "desired_properties": {"on": true}}),
        ),
        ("all of it", "?replace=true", r#"{"properties":{"hue":3}}"#, 204, json!({"properties": {"hue": 3}})),
        (
            "a number of any size",
            "",
            r#"{"properties":{"hue":1.50}}"#,
            204,
            json!({"properties": {"hue": 1.5}}),
        ),
    ];
    for (name, query, body, status, expected) in rows {
        let put = facade.ask("PUT", &format!("{path}{query}"), &[], Some(body));
        assert_eq!(put.status, status, "{name}: {put:?}");
        let mut feature = facade.get(&path).json();
        feature.sort_all_objects();
        let mut expected = expected;
        expected.sort_all_objects();
        assert_eq!(feature, expected, "{name}");
    }
    let etag = facade.get(&path).header("etag").to_owned();
    let put = |etag: &str| {
        facade.ask("PUT", &path, &[("if-match", etag)], Some(r#"{"properties":{"hue":4}}"#)).status
    };
    assert_eq!((put(&etag), put(&etag)), (204, 412), "the tag of the feature is what it was read with");
    assert_eq!(facade.ask("PATCH", &path, &[], Some(r#"{"properties":{"hue":null,"on":true}}"#)).status, 204);
    assert_eq!(facade.get(&path).json(), json!({"properties": {"on": true}}));
    assert_eq!((facade.ask("DELETE", &path, &[], None).status, facade.get(&path).status), (204, 404));
}

#[test]
fn a_message_without_a_listener_is_sent_or_waited_for() {
    let facade = Facade::open();
    assert_eq!(facade.ask("POST", "/things/", &[], Some(NEW_SENSOR)).status, 201);
    let send = |path: &str, body: &str| facade.ask("POST", &format!("{SENSOR}/{path}"), &[], Some(body));
    assert_eq!(send("messages/restart?timeout=0", "{}").status, 202);
    assert_eq!(send("commands?timeout=0", r#"{"subject":"restart","value":5}"#).status, 202);
    let late = send("commands?timeout=1", r#"{"subject":"restart"}"#);
    assert_eq!((late.status, late.code().as_str()), (408, "command.timeout"));
    assert_eq!(send("commands?timeout=61", r#"{"subject":"restart"}"#).code(), "facade:timeout.invalid");
    assert_eq!(send("commands", r#"{"value":1}"#).code(), "messages:subject.invalid");
}

#[test]
fn a_write_to_an_owned_path_names_the_resource_that_owns_it() {
    let ditto = crate::contract::engine::Engine::in_memory();
    let auth = twinops::settings::FacadeAuth::None(twinops::settings::Credentials::PreAuthenticated(
        "nginx:ditto".to_owned(),
    ));
    let facade = Facade::with(super::settings(&ditto.base, auth));
    let mark = r#"[{"key":"/twinops","value":{"v":1,"owner":"o","uid":"u","generation":1,"namespace":"plant-7","name":"pump","origin":"Created","hash":"h"}}]"#;
    let headers = [("x-ditto-pre-authenticated", "nginx:ditto"), ("put-metadata", mark)];
    let managed = "/api/2/things/com.example:pump";
    let made = super::ask(&facade.runtime, &ditto.base, "PUT", managed, &headers, Some("{}"));
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(facade.ask("POST", "/things/", &[], Some(NEW_SENSOR)).status, 201);
    let owner = |path: &str, body: &str| {
        let reply = facade.ask("PATCH", path, &[], Some(body));
        assert_eq!(reply.status, 204, "{reply:?}");
        reply.header("twinops-owner").to_owned()
    };
    assert_eq!(owner("/things/com.example:pump", r#"{"attributes":{"colour":2}}"#), "plant-7/pump");
    assert_eq!(owner("/things/com.example:pump", r#"{"features":{"t":{"properties":{"v":2}}}}"#), "");
    assert_eq!(owner(SENSOR, r#"{"attributes":{"location":"x"}}"#), "", "nobody owns it");
}
