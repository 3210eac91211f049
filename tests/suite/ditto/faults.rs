//! Every way a call can break, and what the caller learns from it.
use secrecy::SecretString;
use serde_json::json;
use tokio::net::TcpListener;
use twinops::ditto::{BODY_BYTES_MAX, Connection, Credentials, DittoClient, Outcome, Verb};
use twinops::ports::{Expect, Metadata, Policies, Refused, ThingPatch, Things};

use super::fake::{Fake, raw, reply};
use super::{client, connection, hasty, is_unavailable, policy, thing};

fn patch() -> ThingPatch {
    let metadata = Metadata::Put(json!({"uid": "u"}));
    ThingPatch { body: json!({"attributes": {"a": 1}}), metadata, ..ThingPatch::default() }
}

/// An address where nobody listens.
async fn deserted() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn f25_slow_ditto_does_not_hang() {
    let client = hasty(&raw("", false).await);
    let refused = client.find_thing(&thing("a:b"), &[]).await.unwrap_err();
    assert!(matches!(refused, Refused::Unavailable(_)), "{refused}");
    assert!(refused.to_string().contains("no answer within 200ms"), "{refused}");

    let drip = raw("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"thingId\":", false).await;
    assert!(is_unavailable(&hasty(&drip).find_thing(&thing("a:b"), &[]).await), "a body that never ends");
}

#[tokio::test]
async fn f23_a_write_without_an_answer_is_unavailable() {
    let (silent, closed) = (raw("", false).await, raw("", true).await);
    let broken = raw("HTTP/1.1 201 Created\r\ncontent-length: 100\r\n\r\n{\"thingId\":", true).await;
    let no_revision = raw("HTTP/1.1 204 No Content\r\n\r\n", true).await;
    let promised = raw("HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n", true).await;
    let rows = [
        ("no answer in time", silent),
        ("closed without an answer", closed),
        ("closed in the middle of the answer", broken),
        ("an answer that only promises", promised),
        ("an answer without a revision", no_revision),
    ];
    for (name, url) in rows {
        let (client, body) = (hasty(&url), json!({"entries": {}}));
        let (id, pid) = (thing("a:b"), policy("a:p"));
        assert!(is_unavailable(&client.create_thing(&id, &json!({}), &json!({})).await), "{name}");
        assert!(is_unavailable(&client.patch_thing(&id, &patch()).await), "{name}");
        assert!(is_unavailable(&client.put_policy(&pid, &body, Expect::Absent).await), "{name}");
        assert_eq!(client.calls().total(), 3, "{name}: nothing is sent twice");
        assert_eq!(client.calls().writes(), 3, "{name}");
    }
    let timeout = json!({"status": 408, "error": "command.timeout", "message": "m"});
    let ditto = Fake::start([reply(408, timeout)]).await;
    assert!(is_unavailable(&client(&ditto.url()).patch_thing(&thing("a:b"), &patch()).await));
    assert_eq!(ditto.asked().len(), 1, "nothing is sent twice");
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    let ditto = Fake::start([reply(200, "x".repeat(BODY_BYTES_MAX + 1))]).await;
    let client = client(&ditto.url());
    let refused = client.find_thing(&thing("a:b"), &[]).await.unwrap_err();
    assert!(matches!(refused, Refused::TooLarge(_)), "{refused}");
    assert_eq!(client.calls().oversized(), 1);
    assert_eq!(client.calls().get(Verb::Get, Outcome::TooLarge), 1);
}

#[tokio::test]
async fn a_wrong_url_says_what_to_check() {
    let nobody = deserted().await;
    let stranger = Fake::start([reply(404, "404 page not found")]).await.url();
    let page = Fake::start([reply(200, "<html>welcome</html>")]).await.url();
    let other_api = Fake::start([reply(200, json!({"status": "UP"}))]).await.url();
    let rows = [
        ("nobody listens", nobody.as_str(), "cannot connect"),
        ("something else listens", &stranger, "check the Ditto URL"),
        ("a web page", &page, "check the Ditto URL"),
        ("another API", &other_api, "names no subject"),
    ];
    for (name, url, part) in rows {
        let refused = client(url).probe().await.unwrap_err();
        assert!(matches!(refused, Refused::Unavailable(_)), "{name}: {refused}");
        let message = refused.to_string();
        assert!(message.contains(part), "{name}: {message}");
    }
    let message = client(&nobody).probe().await.unwrap_err().to_string();
    assert!(message.contains(&format!("{nobody}/api/2")) && message.contains("--ditto-url"), "{message}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let target = Fake::start([reply(204, "")]).await;
    let to = vec![("location", format!("{}/api/2/things/a:b", target.url()))];
    let ditto = Fake::start([(307, to, String::new())]).await;
    let result = client(&ditto.url()).delete_thing(&thing("a:b"), "").await;
    assert!(is_unavailable(&result), "{result:?}");
    assert!(target.asked().is_empty());
}

#[tokio::test]
async fn what_is_gone_is_only_what_ditto_says_is_gone() {
    let ditto = Fake::start([reply(404, "default backend - 404")]).await;
    let client = client(&ditto.url());
    assert!(is_unavailable(&client.delete_thing(&thing("a:b"), "").await));
    assert!(is_unavailable(&client.find_thing(&thing("a:b"), &[]).await));
    assert!(is_unavailable(&client.find_policy(&policy("a:p")).await));
}

#[tokio::test]
async fn a_limit_on_the_rate_says_how_long_to_wait() {
    let body = json!({"status": 429, "error": "things:thing.toomanymodifyingrequests", "message": "m"});
    let ditto = Fake::start([(429, vec![("retry-after", "2".to_owned())], body.to_string())]).await;
    let refused = client(&ditto.url()).patch_thing(&thing("a:b"), &patch()).await.unwrap_err();
    assert!(matches!(refused, Refused::RateLimited { after_ms: Some(2_000), .. }), "{refused:?}");
    assert_eq!(refused.said().correlation_id, "twinops-test-1", "ours, when the answer names none");
}

#[tokio::test]
async fn s45_secrets_stay_out_of_debug_and_errors() {
    let password = SecretString::from("s3cret");
    let credentials = Credentials::Basic { username: "ditto".into(), password };
    let wire = "ZGl0dG86czNjcmV0";
    let echo = format!("<text> bad header: authorization: Basic {wire}");
    let ditto = Fake::start([reply(401, &echo), reply(503, json!({"message": echo}))]).await;
    let connection = Connection { credentials, ..connection(&ditto.url()) };
    let mut shown = vec![format!("{connection:?}")];
    let client = DittoClient::new(connection.clone()).unwrap();
    shown.push(format!("{client:?}"));
    for _ in 0..2 {
        let refused = client.whoami().await.unwrap_err();
        shown.extend([refused.to_string(), format!("{refused:?}")]);
    }
    let nobody = DittoClient::new(Connection { url: deserted().await, ..connection }).unwrap();
    let refused = nobody.whoami().await.unwrap_err();
    shown.extend([refused.to_string(), format!("{refused:?}")]);
    assert_eq!(ditto.asked()[0].header("authorization"), format!("Basic {wire}"), "it is really sent");
    for text in shown {
        assert!(!text.contains("s3cret") && !text.contains(wire), "{text}");
    }
}
