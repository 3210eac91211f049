//! What the client sends, header by header.
use std::collections::BTreeSet;

use secrecy::SecretString;
use serde_json::json;
use twinops::ditto::{Connection, Credentials, DittoClient, HEADER_BYTES_MAX, Outcome, Verb, header_bytes};
use twinops::ports::{Expect, Metadata, Policies, Refused, Search, ThingPatch, Things};
use twinops::twin::id::ThingId;
use twinops::twin::json::Pointer;

use super::fake::{Asked, Fake, reply, wrote};
use super::{client, connection, policy, thing};

/// What a request carries beside what HTTP itself needs.
fn own_headers(asked: &Asked) -> Vec<(String, String)> {
    let transport = ["host", "accept", "content-length", "correlation-id"];
    let mut own: Vec<_> = asked.headers.keys().map(|name| name.as_str().to_owned()).collect();
    own.retain(|name| !transport.contains(&name.as_str()));
    own.sort();
    own.into_iter().map(|name| (name.clone(), asked.header(&name).to_owned())).collect()
}

fn expected(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let always = [
        ("user-agent", concat!("twinops/", env!("CARGO_PKG_VERSION"))),
        ("x-ditto-pre-authenticated", "nginx:ditto"),
    ];
    let mut all: Vec<_> =
        always.iter().chain(pairs).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    all.sort();
    all
}

#[tokio::test]
async fn a_create_never_replaces() {
    let ditto = Fake::start([wrote(201, 1)]).await;
    let body = json!({"policyId": "a:p", "attributes": {"n": 1}});
    let revision = client(&ditto.url()).create_thing(&thing("a:b c"), &body, &json!({"name": "泵"})).await;
    assert_eq!(revision, Ok(1));
    let asked = &ditto.asked()[0];
    assert_eq!((asked.method.as_str(), asked.uri.to_string().as_str()), ("PUT", "/api/2/things/a:b%20c"));
    let put_metadata = r#"[{"key":"/twinops","value":{"name":"\u6cf5"}}]"#;
    let headers =
        [("content-type", "application/json"), ("if-none-match", "*"), ("put-metadata", put_metadata)];
    assert_eq!(own_headers(asked), expected(&headers));
    assert_eq!(asked.json(), body);
}

#[tokio::test]
async fn a_patch_carries_fence_mark_and_guards() {
    let ditto = Fake::start([wrote(204, 8)]).await;
    let patch = ThingPatch {
        body: json!({"attributes": {"a": 1, "b": null}}),
        condition: r#"and(eq(_metadata/twinops/uid,"u+1"),le(_metadata/twinops/generation,7))"#.into(),
        guards: vec![(Pointer::parse("/features/f/properties"), "not(exists(features/f/properties))".into())],
        metadata: Metadata::Put(json!({"uid": "u"})),
    };
    let client = client(&ditto.url());
    assert_eq!(client.patch_thing(&thing("a:b"), &patch).await, Ok(8));
    let asked = &ditto.asked()[0];
    assert_eq!((asked.method.as_str(), asked.uri.path()), ("PATCH", "/api/2/things/a:b"));
    assert_eq!(asked.query("condition").as_ref(), Some(&patch.condition));
    let guards = r#"{"features/f/properties":"not(exists(features/f/properties))"}"#;
    let headers = [
        ("content-type", "application/merge-patch+json"),
        ("if-match", "*"),
        ("put-metadata", r#"[{"key":"/twinops","value":{"uid":"u"}}]"#),
        ("merge-thing-patch-conditions", guards),
    ];
    assert_eq!(own_headers(asked), expected(&headers));
    assert_eq!(asked.json(), patch.body);

    // What is said to be left for a patch must leave room for everything that is really sent.
    let sent: usize = asked.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    let of_the_patch = header_bytes(&patch) - "condition".len() - patch.condition.len();
    assert!(client.header_room() + sent - of_the_patch <= HEADER_BYTES_MAX);
    assert!(client.header_room() > 4_096, "{}", client.header_room());
}

#[tokio::test]
async fn a_release_deletes_the_mark_and_nothing_else() {
    let ditto = Fake::start([wrote(204, 2)]).await;
    let body = json!({"policyId": "a:p"});
    let patch = ThingPatch { body, metadata: Metadata::Delete, ..ThingPatch::default() };
    client(&ditto.url()).patch_thing(&thing("a:b"), &patch).await.unwrap();
    let asked = &ditto.asked()[0];
    assert_eq!(asked.uri.query(), None);
    let headers =
        [("content-type", "application/merge-patch+json"), ("if-match", "*"), ("delete-metadata", "twinops")];
    assert_eq!(own_headers(asked), expected(&headers));
}

#[tokio::test]
async fn a_delete_carries_its_fence() {
    let gone = json!({"status": 404, "error": "things:thing.notfound"});
    let ditto = Fake::start([reply(204, ""), reply(404, gone)]).await;
    let client = client(&ditto.url());
    let fence = r#"eq(_metadata/twinops/uid,"u")"#;
    assert_eq!(client.delete_thing(&thing("a:b"), fence).await, Ok(()));
    assert!(matches!(client.delete_thing(&thing("a:b"), fence).await, Err(Refused::Missing(_))));
    let asked = &ditto.asked()[0];
    assert_eq!((asked.method.as_str(), asked.query("condition").as_deref()), ("DELETE", Some(fence)));
    assert_eq!(own_headers(asked), expected(&[]));
    assert!(asked.body.is_empty());
}

#[tokio::test]
async fn a_thing_is_read_through_its_selector() {
    let body = json!({"thingId": "a:b", "policyId": "a:p", "_revision": 3, "attributes": {"a": 1},
        "_metadata": {"twinops": {"uid": "u"}}});
    let gone = json!({"status": 404, "error": "things:thing.notfound"});
    let ditto = Fake::start([reply(200, body), reply(404, gone)]).await;
    let client = client(&ditto.url());
    let fields = [Pointer::parse("/attributes/a"), Pointer::parse("/features/f/properties/p")];
    let found = client.find_thing(&thing("a:b"), &fields).await.unwrap().unwrap();
    assert_eq!((found.revision, found.mark), (3, Some(json!({"uid": "u"}))));
    assert_eq!(found.document, json!({"attributes": {"a": 1}}));
    assert_eq!(client.find_thing(&thing("a:b"), &[]).await, Ok(None));
    let asked = ditto.asked();
    let selector = "thingId,policyId,_revision,_metadata/twinops,attributes/a,features/f/properties/p";
    assert_eq!(asked[0].query("fields").as_deref(), Some(selector));
    assert_eq!(own_headers(&asked[0]), expected(&[]));
}

#[tokio::test]
async fn many_things_are_read_in_batches_that_fit_a_uri() {
    let ids: Vec<_> = (0..450).map(|i| thing(&format!("org.acme:thing-number-{i}"))).collect();
    let page = |from: usize, to: usize| {
        let item = |id: &ThingId| json!({"thingId": id.as_str(), "_revision": 1});
        reply(200, serde_json::Value::from(ids[from..to].iter().map(item).collect::<Vec<_>>()))
    };
    let ditto = Fake::start([page(0, 200), page(200, 400), page(400, 450)]).await;
    let found = client(&ditto.url()).find_things(&ids, &[Pointer::parse("/attributes")]).await.unwrap();
    assert!(found.iter().map(|thing| thing.id.as_str()).eq(ids.iter().map(ThingId::as_str)));
    let asked = ditto.asked();
    let sent: Vec<_> = asked.iter().map(|asked| asked.query("ids").unwrap()).collect();
    let all: Vec<_> = ids.iter().map(ThingId::as_str).collect();
    assert_eq!(sent.join(","), all.join(","));
    assert!(asked.iter().all(|asked| asked.uri.to_string().len() <= 7 * 1_024));
}

#[tokio::test]
async fn a_batch_whose_answer_is_too_large_is_read_in_halves() {
    let page = |ids: &[&str]| {
        let item = |id: &&str| json!({"thingId": id, "_revision": 1});
        reply(200, serde_json::Value::from(ids.iter().map(item).collect::<Vec<_>>()))
    };
    let huge = reply(200, "x".repeat(5 * 1_024 * 1_024));
    let ditto = Fake::start([huge, page(&["a:1", "a:2"]), page(&["a:3", "a:4"])]).await;
    let client = client(&ditto.url());
    let ids = ["a:1", "a:2", "a:3", "a:4"].map(thing);
    let found = client.find_things(&ids, &[]).await.unwrap();
    let found: Vec<_> = found.iter().map(|thing| thing.id.as_str()).collect();
    assert_eq!(found, ["a:1", "a:2", "a:3", "a:4"]);
    let sent: Vec<_> = ditto.asked().iter().map(|asked| asked.query("ids").unwrap()).collect();
    assert_eq!(sent, ["a:1,a:2,a:3,a:4", "a:1,a:2", "a:3,a:4"]);
    assert_eq!(client.calls().oversized(), 1);
}

#[tokio::test]
async fn an_id_with_a_comma_is_never_divided() {
    let one = |id: &str| reply(200, json!({"thingId": id, "_revision": 1}));
    let ditto = Fake::start([one("a:1"), one("a:x,y"), one("a:2")]).await;
    let found = client(&ditto.url()).find_things(&["a:1", "a:x,y", "a:2"].map(thing), &[]).await.unwrap();
    assert_eq!(found.len(), 3);
    assert_eq!(ditto.asked()[1].uri.path(), "/api/2/things/a:x%2Cy");
}

#[tokio::test]
async fn a_search_asks_for_one_page() {
    let page = json!({"items": [{"thingId": "a:b", "_revision": 1}, {"attributes": {}}], "cursor": "c-2"});
    let ditto = Fake::start([reply(200, page), reply(200, json!({"items": []}))]).await;
    let client = client(&ditto.url());
    let search = Search {
        filter: r#"eq(policyId,"a:p")"#.into(),
        namespaces: vec!["a".into(), "b.c".into()],
        fields: vec![Pointer::parse("/attributes/a")],
        size: 1_000,
        cursor: None,
    };
    let hits = client.search_things(&search).await.unwrap();
    assert_eq!((hits.items.len(), hits.cursor.as_deref()), (1, Some("c-2")), "a hidden hit is left out");
    let next = Search { size: 50, cursor: hits.cursor, ..Search::default() };
    assert_eq!(client.search_things(&next).await.unwrap().cursor, None);
    let asked = ditto.asked();
    assert_eq!(asked[0].uri.path(), "/api/2/search/things");
    assert_eq!(asked[0].query("filter").as_ref(), Some(&search.filter));
    assert_eq!(asked[0].query("namespaces").as_deref(), Some("a,b.c"));
    assert_eq!(asked[0].query("option").as_deref(), Some("size(200)"));
    assert_eq!(asked[1].query("option").as_deref(), Some("size(50),cursor(c-2)"));
    assert_eq!((asked[1].query("filter"), asked[1].query("namespaces")), (None, None));
}

#[tokio::test]
async fn a_policy_is_written_as_it_was_seen() {
    let body = json!({"policyId": "a:p", "imports": {}, "entries": {}});
    let seen = (200, vec![("etag", "\"rev:4\"".to_owned())], body.to_string());
    let stale = json!({"status": 412, "error": "policies:precondition.failed"});
    let gone = json!({"status": 404, "error": "policies:policy.notfound"});
    let script = [seen, wrote(204, 5), wrote(201, 1), reply(412, stale), reply(204, ""), reply(404, gone)];
    let ditto = Fake::start(script).await;
    let (client, id) = (client(&ditto.url()), policy("a:p"));
    let found = client.find_policy(&id).await.unwrap().unwrap();
    assert_eq!((found.revision, found.body), (4, body.clone()));
    assert_eq!(client.put_policy(&id, &body, Expect::Revision(4)).await, Ok(5));
    assert_eq!(client.put_policy(&id, &body, Expect::Absent).await, Ok(1));
    assert!(matches!(client.put_policy(&id, &body, Expect::Revision(4)).await, Err(Refused::Changed(_))));
    assert_eq!(client.delete_policy(&id, Expect::Revision(5)).await, Ok(()));
    assert_eq!(client.find_policy(&id).await, Ok(None));
    let asked = ditto.asked();
    let json = ("content-type", "application/json");
    assert!(asked.iter().all(|asked| asked.uri.path() == "/api/2/policies/a:p"));
    assert_eq!(own_headers(&asked[1]), expected(&[json, ("if-match", "\"rev:4\"")]));
    assert_eq!(own_headers(&asked[2]), expected(&[json, ("if-none-match", "*")]));
    assert_eq!(own_headers(&asked[4]), expected(&[("if-match", "\"rev:5\"")]));
    assert_eq!((client.calls().total(), client.calls().writes()), (6, 4));
    assert_eq!(client.calls().get(Verb::Put, Outcome::Changed), 1);
}

#[tokio::test]
async fn credentials_are_sent_in_three_ways() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, "t0ken\n").unwrap();
    let basic = Credentials::Basic { username: "ditto".into(), password: SecretString::from("p:w") };
    let pre = Credentials::PreAuthenticated("nginx:ditto".into());
    let rows = [
        (Credentials::None, "", ""),
        (pre, "", "nginx:ditto"),
        (basic, "Basic ZGl0dG86cDp3", ""),
        (Credentials::TokenFile(path), "Bearer t0ken", ""),
    ];
    for (credentials, authorization, pre_authenticated) in rows {
        let who = json!({"defaultSubject": "nginx:b", "subjects": ["nginx:a", "nginx:b"]});
        let ditto = Fake::start([reply(200, who)]).await;
        let name = format!("{credentials:?}");
        let client = DittoClient::new(Connection { credentials, ..connection(&ditto.url()) }).unwrap();
        assert_eq!(client.whoami().await.unwrap(), ["nginx:b", "nginx:a"], "{name}");
        let asked = &ditto.asked()[0];
        assert_eq!(asked.uri.path(), "/api/2/whoami");
        assert_eq!(asked.header("authorization"), authorization, "{name}");
        assert_eq!(asked.header("x-ditto-pre-authenticated"), pre_authenticated, "{name}");
    }
}

/// A token that was revoked before its time: the file is read again as soon as Ditto refuses the old one.
#[tokio::test]
async fn s45_a_token_that_was_replaced_is_sent_after_the_first_refusal() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, "first").unwrap();
    let who = reply(200, json!({"defaultSubject": "nginx:b", "subjects": ["nginx:b"]}));
    let revoked = reply(401, json!({"status": 401, "error": "gateway:authentication.failed"}));
    let ditto = Fake::start([who.clone(), revoked, who]).await;
    let credentials = Credentials::TokenFile(path.clone());
    let client = DittoClient::new(Connection { credentials, ..connection(&ditto.url()) }).unwrap();
    client.whoami().await.unwrap();
    std::fs::write(&path, "second").unwrap();
    assert!(matches!(client.whoami().await, Err(Refused::Unauthorized(_))));
    client.whoami().await.unwrap();
    let sent: Vec<_> = ditto.asked().iter().map(|asked| asked.header("authorization").to_owned()).collect();
    assert_eq!(sent, ["Bearer first", "Bearer first", "Bearer second"]);
}

#[tokio::test]
async fn a_hundred_calls_share_one_connection() {
    let ditto = Fake::start([reply(200, json!({"thingId": "a:b", "_revision": 1}))]).await;
    let client = client(&ditto.url());
    for _ in 0..100 {
        client.clone().find_thing(&thing("a:b"), &[]).await.unwrap();
    }
    assert_eq!((ditto.asked().len(), ditto.accepted()), (100, 1));
    let ids: BTreeSet<_> =
        ditto.asked().iter().map(|asked| asked.header("correlation-id").to_owned()).collect();
    assert_eq!(ids.len(), 100, "a correlation id names one call");
    assert!(ids.iter().all(|id| id.starts_with("twinops-test-")));
}
