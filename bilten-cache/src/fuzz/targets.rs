//! What is promised about any bytes at all. Each returns what kind of outcome it was.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::Pattern;
use crate::codec::{self, Codec};
use crate::envelope::{Envelope, Head, checksum};
use crate::key;
use crate::remote::Scope;

const LIMIT: usize = 1 << 16;

/// Something of everything that a format can hold.
#[derive(Debug, Serialize, Deserialize)]
struct Rich {
    id: u64,
    name: String,
    #[serde(default)]
    price: Option<f64>,
    kind: Kind,
    tags: Vec<String>,
    #[serde(default)]
    notes: BTreeMap<String, Self>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Kind {
    Unit,
    New(i32),
    Tuple(u8, bool),
    Struct { deep: Option<Box<Rich>> },
}

pub(super) fn envelope(input: &[u8]) -> u64 {
    let mut sealed = input.to_vec();
    if sealed.len() >= 16 {
        sealed[..4].copy_from_slice(b"BLT1");
        let checksum = checksum(&sealed).unwrap_or_default().to_be_bytes();
        sealed[12..16].copy_from_slice(&checksum);
    }
    opened(&input.to_vec().into()) << 32 | opened(&sealed.into())
}

fn opened(bytes: &Bytes) -> u64 {
    let head = Head::decode(bytes);
    let Some(envelope) = Envelope::decode(bytes, "event", "event:42") else {
        return u64::from(head.is_some());
    };
    let head = head.expect("what is whole has a head");
    assert_eq!(
        (head.position, head.incarnation, &head.tags),
        (envelope.position, envelope.incarnation, &envelope.tags)
    );
    let again = envelope.encode();
    let read = Envelope::decode(&again, "event", "event:42");
    assert_eq!(read.as_ref(), Some(&envelope));
    let kinds = [
        envelope.expired,
        envelope.compressed,
        envelope.validators.is_some(),
    ];
    let kinds = kinds
        .iter()
        .fold(1, |all, kind| all << 1 | u64::from(*kind));
    kinds << 16 | u64::from(envelope.format) << 8 | (envelope.tags.len() as u64).min(255)
}

pub(super) fn json(input: &[u8]) -> u64 {
    coded(Codec::json(), input)
}

pub(super) fn message_pack(input: &[u8]) -> u64 {
    coded(Codec::message_pack(), input)
}

fn coded(codec: Codec<Rich>, input: &[u8]) -> u64 {
    let read = match codec.decode(input) {
        Ok(read) => read,
        // The words without the place.
        Err(error) => {
            let words = error.to_string();
            assert!(!words.contains("panicked"), "{words}");
            let words = words.split(" at line").next().unwrap_or_default();
            return u64::from(crc32fast::hash(words.as_bytes()));
        }
    };
    // A float may be NaN, which is not equal to itself: the bytes are.
    let written = codec.encode(&read, LIMIT).expect("it serialises");
    let again = codec.decode(&written).expect("it comes back");
    assert_eq!(codec.encode(&again, LIMIT).expect("it serialises"), written);
    let shape = format!("{read:?}");
    shape.bytes().filter(|b| b"{}[](".contains(b)).count() as u64
}

pub(super) fn zstd(input: &[u8]) -> u64 {
    if let Some(frame) = codec::compress(input) {
        assert!(frame.len() < input.len());
        assert_eq!(
            codec::decompress(&frame, input.len()).expect("it comes back"),
            input
        );
        assert_eq!(codec::decompress(&frame, input.len() - 1), None);
    }
    let Some(payload) = codec::decompress(input, LIMIT) else {
        return 0;
    };
    assert!(payload.len() <= LIMIT);
    // A frame of nothing is a kind of its own.
    payload
        .len()
        .checked_ilog2()
        .map_or(1, |log| 2 + u64::from(log))
}

pub(super) fn pattern(input: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(input);
    let pattern = match Pattern::glob(&text) {
        Ok(pattern) => pattern,
        Err(error) => {
            let words = error.to_string();
            let end = words.rsplit(": ").next().unwrap_or_default();
            return u64::from(crc32fast::hash(end.as_bytes()));
        }
    };
    let sent = Scope::Pattern(pattern.clone()).encode();
    let Some(Scope::Pattern(received)) = Scope::decode(&sent) else {
        panic!("`{sent}` does not come back")
    };
    let literal = pattern.literal().to_string();
    // Keys are always in their escaped form.
    let mut source = String::new();
    key::escape(&text.replace('\\', ""), false, &mut source);
    let mut kind = u64::from(pattern.as_prefix().is_some());
    for key in [&literal, &source, &format!("{literal}x"), "", "event:42"] {
        let taken = pattern.matches(key);
        assert_eq!(received.matches(key), taken, "`{sent}` on {key:?}");
        assert!(
            !taken || key.starts_with(&literal),
            "{key:?} lacks {literal:?}"
        );
        kind = kind << 1 | u64::from(taken);
    }
    // What is literal takes itself alone, and what it begins.
    let prefix = Pattern::prefix(&text);
    assert!(prefix.matches(prefix.literal()));
    kind
}

pub(super) fn scope(input: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(input);
    let Some(scope) = Scope::decode(&text) else {
        return 0;
    };
    let again = scope.encode();
    let read = Scope::decode(&again).expect("what is written is read");
    assert_eq!(read.encode(), again);
    assert_eq!(scope.key(), read.key());
    u64::from(again.as_bytes()[0]) << 8 | (again.len() as u64).min(64)
}

#[cfg(feature = "http")]
pub(super) fn page(input: &[u8]) -> u64 {
    crate::http::reread(input)
}
