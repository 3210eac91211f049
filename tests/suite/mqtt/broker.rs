//! What brokers do: a small window, rules against commands, connections that break in the middle.
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use mqtt5::broker::MqttBroker;
use mqtt5::broker::config::{AuthConfig, BrokerConfig, RateLimitConfig, StorageBackend, StorageConfig};
use serde_json::json;

use super::{USER, becomes, create};
use crate::support::ditto::{Engine, RUNTIME, folder, write};
use crate::support::mqtt::{Bridge, Device, Mosquitto, SOON};
use crate::support::wait_for;

const T: &str = "devices/org.t:a/telemetry";
const CONNECT: u8 = 0x10;
const SUBSCRIBE: u8 = 0x82;

/// Kind and body of the next packet.
fn packet(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("a packet");
    let (mut length, mut byte, mut shift) = (usize::from(head[1] & 0x7f), head[1], 7);
    while byte & 0x80 != 0 {
        let mut next = [0];
        stream.read_exact(&mut next).expect("a length");
        byte = next[0];
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("a body");
    (head[0], body)
}

#[test]
fn f35_a_subscription_that_broke_is_made_again_although_the_session_is_there() {
    let folder = folder(&[]);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let broker = format!("mqtt://{}", listener.local_addr().expect("an address"));
    let flags = ["--mqtt-version", "3.1.1"];
    let _bridge = Bridge::starting("bridge", folder.path(), &broker, "http://127.0.0.1:9", &flags);
    // With or without a session, and whether the subscription is agreed to.
    let connection = |has_session: bool| {
        let (mut stream, _) = listener.accept().expect("a connection");
        assert_eq!(packet(&mut stream).0, CONNECT);
        stream.write_all(&[0x20, 2, has_session.into(), 0]).expect("the bridge reads");
        stream
    };
    let agree = |stream: &mut TcpStream| {
        let (kind, body) = packet(stream);
        assert_eq!(kind, SUBSCRIBE);
        // Three filters with the packet's id.
        stream.write_all(&[0x90, 5, body[0], body[1], 1, 1, 1]).expect("the bridge reads");
    };
    let nothing = |stream: &mut TcpStream| {
        stream.set_read_timeout(Some(std::time::Duration::from_millis(300))).expect("a timeout");
        let error = stream.read(&mut [0]).expect_err("nothing is said").kind();
        assert!(matches!(error, std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut), "{error}");
    };
    // The broker has no session; it breaks before it agrees, and has then kept the session and nothing in it.
    let made_again = || {
        let mut stream = connection(false);
        assert_eq!(packet(&mut stream).0, SUBSCRIBE);
        drop(stream);
        let mut stream = connection(true);
        agree(&mut stream);
        nothing(&mut stream);
    };
    made_again();
    // Once it is made it is there.
    nothing(&mut connection(true));
    // The broker has lost the session.
    made_again();
}

/// The crate behind the broker of `dev`, with a window of its own. Mosquitto 2.0.11 cannot stand for a broker with a small
/// window: it sends more for every acknowledgement.
fn broker(window: u16) -> (u16, tokio::task::JoinHandle<()>) {
    let config = BrokerConfig {
        bind_addresses: vec![(Ipv4Addr::LOCALHOST, 0).into()],
        max_outbound_inflight: window,
        client_channel_capacity: 2 * FLOOD as usize,
        auth_config: AuthConfig {
            allow_anonymous: true,
            rate_limit: RateLimitConfig { enabled: false, ..RateLimitConfig::default() },
            ..AuthConfig::default()
        },
        storage_config: StorageConfig {
            backend: StorageBackend::Memory,
            max_queued_messages_per_client: 2 * FLOOD as usize,
            ..StorageConfig::default()
        },
        ..BrokerConfig::default()
    };
    RUNTIME.block_on(async {
        let mut broker = MqttBroker::with_config(config).await.expect("a broker");
        let port = broker.local_addr().expect("an address").port();
        (port, tokio::spawn(async move { drop(broker.run().await) }))
    })
}

/// As many as keep a window full for a while.
const FLOOD: u32 = 4_000;

#[test]
fn a_broker_with_a_small_window_is_told_of_and_one_with_a_wide_window_is_not() {
    const LINE: &str = "raise its window";
    for (window, is_small) in [(20, true), (16_384, false)] {
        let folder = folder(&[]);
        let engine = Engine::start(folder.path(), None);
        let (port, running) = broker(window);
        // A window shows when the bridge does not acknowledge at once.
        let bridge = Bridge::start(folder.path(), port, &engine.ditto.url, &["--max-rate", "100"]);
        create(&engine.ditto, "org.t:a");
        let mut device = Device::connect(port, "flood").expect("a broker");
        for number in 1..=FLOOD {
            device.send(T, format!("{{\"t\": {number}}}").as_bytes()).expect("the broker takes it");
        }
        device.settle().expect("the broker takes everything");
        becomes(&engine.ditto, "org.t:a", "t", &json!(FLOOD));
        let log = bridge.child.log();
        assert_eq!(log.matches(LINE).count(), usize::from(is_small), "{window}:\n{log}");
        assert!(!is_small || log.contains("most=20"), "{log}");
        running.abort();
    }
}

#[test]
fn a_command_that_the_broker_does_not_take_is_counted_and_told_of() {
    let folder = folder(&[]);
    let acl = write(folder.path(), "acl", "topic read devices/#\ntopic write devices/+/telemetry\n");
    let engine = Engine::start(folder.path(), None);
    let mosquitto = Mosquitto::start(folder.path(), &format!("acl_file {}\n", acl.display()));
    let bridge = Bridge::start(folder.path(), mosquitto.port, &engine.ditto.url, &[]);
    create(&engine.ditto, "org.t:a");
    for number in 0..3 {
        let ask = "/things/org.t:a/inbox/messages/hello?timeout=0";
        assert_eq!(engine.ditto.call(USER, "POST", ask, Some(&json!(number))).0, 202);
    }
    bridge.reaches(r#"mqtt_commands_total{kind="refused"}"#, 3);
    let log = bridge.child.log();
    assert_eq!(log.matches("the broker does not take a command").count(), 1, "{log}");
    assert!(log.contains("devices/org.t:a/commands"), "{log}");
    wait_for("nothing to be sent again", SOON, || {
        (bridge.metric(r#"mqtt_waiting{what="commands"}"#) == 0).then_some(())
    });
}
