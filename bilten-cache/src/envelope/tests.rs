use proptest::prelude::*;

use super::*;

fn sample() -> Envelope<'static> {
    Envelope {
        position: 7,
        expired: false,
        incarnation: 0x0102_0304_0506_0708,
        created_millis: 1_700_000_000_000,
        fresh_millis: 60_000,
        load_millis: 12,
        schema: 3,
        region: "event",
        key: "event:42",
        tags: vec!["city:berlin".into(), "".into()],
        validators: None,
        format: 0,
        compressed: false,
        placed: false,
        claim: None,
        payload: Bytes::from_static(br#"{"id":42}"#),
    }
}

/// As it is written today.
fn placed() -> Envelope<'static> {
    Envelope {
        placed: true,
        ..sample()
    }
}

/// Every form in which an envelope was ever written, made by another program, and what is read of it. A file that was once
/// in here stays, and what it says does not change.
fn snapshots() -> [(&'static str, Option<Envelope<'static>>); 11] {
    let plain = sample();
    let expired = Envelope {
        expired: true,
        ..sample()
    };
    let validators = Envelope {
        validators: Some(Validators::of(
            "\"33a64df\"",
            "Sun, 06 Nov 1994 08:49:37 GMT",
        )),
        ..sample()
    };
    let message_pack = Envelope {
        format: 1,
        payload: Bytes::from_static(b"\x81\xa2id\x2a"),
        ..sample()
    };
    // One frame of three blocks: the value, a hundred blanks, one blank.
    let compressed = Envelope {
        compressed: true,
        payload: Bytes::from_static(
            b"\x28\xb5\x2f\xfd\x20\x6e\x48\0\0{\"id\":42}\x22\x03\0 \x09\0\0 ",
        ),
        ..sample()
    };
    // Not of this format's own: the region decides what it can read.
    let unknown_format = Envelope {
        format: 9,
        ..sample()
    };
    // With the position under the checksum: marked by the server, and of a write that was claimed later than it began.
    let placed_expired = Envelope {
        expired: true,
        ..placed()
    };
    let claimed = Envelope {
        claim: Some(9),
        ..placed()
    };
    [
        ("v1_placed.bin", Some(placed())),
        ("v1_placed_expired.bin", Some(placed_expired)),
        ("v1_claimed.bin", Some(claimed)),
        ("v1_plain.bin", Some(plain)),
        ("v1_expired.bin", Some(expired)),
        ("v1_validators.bin", Some(validators)),
        ("v1_messagepack.bin", Some(message_pack)),
        ("v1_zstd.bin", Some(compressed)),
        ("v1_unknown_format.bin", Some(unknown_format)),
        ("v1_unknown_flag.bin", None),
        ("v2_future.bin", None),
    ]
}

const SNAPSHOTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/envelopes");

#[test]
fn every_envelope_that_was_ever_written_is_read_as_it_was_meant() {
    for (file, due) in snapshots() {
        let bytes = std::fs::read(format!("{SNAPSHOTS}/{file}")).unwrap();
        let bytes = Bytes::from(bytes);
        let read = Envelope::decode(&bytes, "event", "event:42");
        assert_eq!(read, due, "{file}");
        if let Some(due) = due {
            assert_eq!(due.encode(), bytes, "{file}");
        }
    }
}

#[test]
fn no_snapshot_is_left_out() {
    let known = snapshots().map(|(file, _)| file.to_owned());
    for file in std::fs::read_dir(SNAPSHOTS).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(known.contains(&name), "{name}");
    }
}

#[test]
fn validators_and_expiry_survive_the_way_through_the_store() {
    let validators = Validators::of("\"33a64df\"", "");
    assert_eq!(validators.last_modified, None);
    let envelope = Envelope {
        validators: Some(validators),
        ..sample()
    };
    let mut bytes = envelope.encode().to_vec();
    let read = |bytes: &[u8]| {
        let bytes = Bytes::copy_from_slice(bytes);
        Envelope::decode(&bytes, "event", "event:42")
    };
    assert_eq!(read(&bytes), Some(envelope.clone()));
    bytes[POSITION_OFFSET] = EXPIRED_BYTE;
    let expired = Envelope {
        expired: true,
        ..envelope
    };
    assert_eq!(read(&bytes), Some(expired.clone()));
    assert_eq!(expired.encode(), bytes);
}

#[test]
fn another_entrys_bytes_are_a_miss() {
    let bytes = sample().encode();
    assert!(Envelope::decode(&bytes, "event", "event:43").is_none());
    assert!(Envelope::decode(&bytes, "even", "event:42").is_none());
}

#[test]
fn a_head_tells_what_is_whole_in_it() {
    let (sample, whole) = (sample(), sample().encode());
    for cut in 0..whole.len() {
        let head = Head::decode(&whole[..cut]);
        assert_eq!(head.is_some(), cut >= HEADER, "cut at {cut}");
        let Some(head) = head else { continue };
        let known = (head.position, head.incarnation);
        assert_eq!(known, (sample.position, sample.incarnation));
        assert!(sample.tags.starts_with(&head.tags));
    }
    let head = Head::decode(&whole).unwrap();
    assert_eq!(head.tags, sample.tags);
    assert_eq!(Head::decode(&[0; 100]), None);
}

#[test]
fn every_damaged_byte_and_every_cut_is_a_miss_or_an_expiry() {
    let claimed = Envelope {
        claim: Some(9),
        ..placed()
    };
    for whole in [placed().encode(), claimed.encode()] {
        for at in 0..whole.len() {
            assert!(
                Envelope::decode(&whole.slice(..at), "event", "event:42").is_none(),
                "cut at {at}"
            );
            for damage in [0x01, 0x40, 0x80, 0xff] {
                let mut bytes = whole.to_vec();
                bytes[at] ^= damage;
                let read = Envelope::decode(&bytes.into(), "event", "event:42");
                // What the server sets, and nothing else.
                let expires = at == POSITION_OFFSET && damage == EXPIRED_BYTE;
                let read = read.map(|read| (read.position, read.expired));
                assert_eq!(
                    read,
                    expires.then_some((7, true)),
                    "byte {at} with {damage}"
                );
            }
        }
    }
}

#[test]
fn a_position_and_a_claim_that_come_later_are_read_as_written() {
    let read = |bytes: &Bytes| Envelope::decode(bytes, "event", "event:42");
    let moved = placed().draft().placed_at(1_760_000_000_000_000);
    let due = Envelope {
        position: 1_760_000_000_000_000,
        ..placed()
    };
    assert_eq!(
        (read(&moved), due.follows()),
        (Some(due), 1_760_000_000_000_000)
    );
    let claimed = placed().draft().claimed_at(12);
    let due = Envelope {
        claim: Some(12),
        ..placed()
    };
    assert_eq!((due.position, due.follows()), (7, 12));
    assert_eq!((due.encode(), read(&claimed)), (claimed, Some(due)));
    assert_eq!(read(&sample().draft().placed_at(LAST_POSITION)), None);
}

proptest! {
    #[test]
    fn any_bytes_at_all_never_panic(mut bytes: Vec<u8>, with_magic: bool) {
        if with_magic && bytes.len() >= HEADER {
            bytes[..4].copy_from_slice(MAGIC);
            let checksum = checksum(&bytes).unwrap().to_be_bytes();
            bytes[12..16].copy_from_slice(&checksum);
        }
        let _ = Envelope::decode(&bytes.into(), "event", "event:42");
    }

    #[test]
    fn what_is_written_is_read(position in 0..1_u64 << 53, payload: Vec<u8>, tags in proptest::collection::vec(".{0,20}", 0..5), placed: bool, claim: Option<u64>) {
        let tags = tags.iter().map(|tag| Arc::from(tag.as_str())).collect();
        let envelope = Envelope { position, payload: payload.into(), tags, placed, claim, ..sample() };
        prop_assert_eq!(Envelope::decode(&envelope.encode(), "event", "event:42"), Some(envelope));
    }
}
