use super::*;
use proptest::prelude::*;

const BOTH: [Wire; 2] = [Wire { version: MqttVersion::V5 }, Wire { version: MqttVersion::V311 }];

#[test]
fn messages_are_read_however_the_bytes_are_cut() {
    for wire in BOTH {
        let mut bytes = BytesMut::new();
        let payload = Bytes::from_static(b"{\"a\": 1}");
        wire.publish(Some(7), true, "devices/a:b/telemetry", &payload, &mut bytes).unwrap();
        wire.publish(None, false, "x", &Bytes::new(), &mut bytes).unwrap();
        let all = bytes.to_vec();
        for size in 1..=all.len() {
            let (mut found, mut buffer) = (vec![], BytesMut::new());
            for chunk in all.chunks(size) {
                buffer.extend_from_slice(chunk);
                while let Some((packet, skip)) = wire.read(&mut buffer).unwrap() {
                    found.push(packet);
                    assert_eq!(skip, 0);
                }
            }
            let [Packet::Publish(first), Packet::Publish(second)] = found.as_slice() else {
                panic!("{found:?}")
            };
            assert_eq!((first.id, first.is_duplicate, &first.payload), (Some(7), true, &payload), "{size}");
            assert_eq!((second.id, &second.topic[..]), (None, &b"x"[..]));
        }
    }
}

#[test]
fn s48_of_a_message_that_is_too_long_only_the_head_is_taken() {
    for wire in BOTH {
        let mut bytes = BytesMut::new();
        let payload = Bytes::from(vec![b'x'; 10_000_000]);
        wire.publish(Some(9), false, "devices/a:b/telemetry", &payload, &mut bytes).unwrap();
        Wire::acknowledge(3, &mut bytes);
        let mut some = bytes.split_to(100);
        let Some((Packet::Publish(publish), skip)) = wire.read(&mut some).unwrap() else {
            panic!("no message")
        };
        assert_eq!((publish.id, &publish.topic[..]), (Some(9), &b"devices/a:b/telemetry"[..]));
        // MQTT 5 has properties before the payload.
        assert!(publish.skipped.is_some_and(|length| length >= 10_000_000));
        some.unsplit(bytes);
        let _ = some.split_to(skip);
        assert_eq!(wire.read(&mut some).unwrap(), Some((Packet::PubAck { id: 3, refused: None }, 0)));
    }
}

#[test]
fn what_a_broker_answers_is_understood() {
    let read = |wire: Wire, bytes: &[u8]| wire.read(&mut BytesMut::from(bytes)).unwrap().unwrap().0;
    let [five, four] = BOTH;
    let welcome = Welcome {
        refused: None,
        session_present: true,
        receive_maximum: u16::MAX,
        packet_max: None,
        keep_alive: None,
    };
    assert_eq!(read(four, &[0x20, 2, 1, 0]), Packet::Welcome(welcome.clone()));
    let limited = Welcome { receive_maximum: 20, ..welcome.clone() };
    assert_eq!(read(five, &[0x20, 6, 1, 0, 3, 0x21, 0, 20]), Packet::Welcome(limited));
    let small = Welcome { packet_max: Some(2_000), ..welcome };
    assert_eq!(read(five, &[0x20, 8, 1, 0, 5, 0x27, 0, 0, 7, 0xd0]), Packet::Welcome(small));
    let Packet::Welcome(refused) = read(five, &[0x20, 3, 0, 0x87, 0]) else { panic!() };
    assert_eq!(refused.refused.as_deref(), Some("NotAuthorized"));
    let Packet::Welcome(refused) = read(four, &[0x20, 2, 0, 5]) else { panic!() };
    assert_eq!(refused.refused.as_deref(), Some("NotAuthorized"));
    assert_eq!(read(four, &[0x90, 4, 0, 1, 1, 0x80]), Packet::SubAck(vec![true, false]));
    assert_eq!(read(five, &[0x90, 5, 0, 1, 0, 1, 0x87]), Packet::SubAck(vec![true, false]));
    assert_eq!(read(five, &[0xe0, 2, 0x8e, 0]), Packet::Disconnect("SessionTakenOver".to_owned()));
    assert_eq!(read(five, &[0xd0, 0]), Packet::Pong);
}

#[test]
fn a_broker_that_does_not_take_a_message_says_why() {
    let [five, four] = BOTH;
    let refused = |wire: Wire, bytes: &[u8]| match wire.read(&mut BytesMut::from(bytes)) {
        Ok(Some((Packet::PubAck { id: 7, refused }, 0))) => refused,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(five, &[0x40, 2, 0, 7]), None);
    assert_eq!(refused(five, &[0x40, 3, 0, 7, 0x10]), None, "nobody hears it, and that is all");
    assert_eq!(refused(five, &[0x40, 3, 0, 7, 0x87]).as_deref(), Some("NotAuthorized"));
    let told = [0x40, 9, 0, 7, 0x97, 5, 0x1f, 0, 2, b'n', b'o'];
    assert_eq!(refused(five, &told).as_deref(), Some("no"));
    assert_eq!(refused(four, &[0x40, 2, 0, 7]), None);
}

proptest! {
    #[test]
    fn no_bytes_of_a_broker_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        for wire in BOTH {
            let mut buffer = BytesMut::from(&bytes[..]);
            while let Ok(Some((_, skip))) = wire.read(&mut buffer) {
                if skip > 0 {
                    break;
                }
            }
        }
    }
}
