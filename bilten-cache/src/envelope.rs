//! The bytes of an entry in the second level.
//!
//! ```text
//!  0  4  magic and version: B L T 1       12  4  CRC-32 of everything from byte 16
//!  4  8  log position, big endian         16  8  incarnation of the log
//! 24  8  created, server milliseconds     32  8  fresh for, milliseconds
//! 40  4  schema version of the region     44  4  load time, milliseconds
//! 48  2  length of the region's name      50  2  length of the key
//! 52  2  number of tags                   54  2  format of the payload, then flags
//! 56  .. region, key, tags (2 bytes length each), etag and last-modified if flagged, payload
//! ```
//!
//! The position stands outside the checksum because it is filled in last: a write has one only after its claim. Its
//! highest byte, which no position reaches, is set when the entry was expired: its value may still be served stale.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::entry::Validators;

const MAGIC: &[u8; 4] = b"BLT1";
const HEADER: usize = 56;
const CHECKED_FROM: usize = 16;

/// What `expire` puts into the first byte of the position.
pub(crate) const EXPIRED_BYTE: u8 = 0x80;
const EXPIRED: u64 = (EXPIRED_BYTE as u64) << 56;

/// Flag: the validators follow the tags.
const HAS_VALIDATORS: u16 = 1;
/// Flag: the payload is a zstd frame.
const COMPRESSED: u16 = 2;

/// In what format a payload is. Bytes of one must never be read as another: the JSON `7` is the MessagePack 55.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format {
    /// What stands in the envelope; 0 was there before there was a choice.
    pub(crate) code: u8,
    pub(crate) name: &'static str,
}

/// Where the log position stands in the envelope: eight bytes, big endian.
pub(crate) const POSITION_OFFSET: usize = 4;

/// The same envelope at another position of the log.
pub(crate) fn placed_at(position: u64, envelope: Bytes) -> Bytes {
    let mut bytes = BytesMut::from(envelope);
    bytes[POSITION_OFFSET..POSITION_OFFSET + 8].copy_from_slice(&position.to_be_bytes());
    bytes.freeze()
}

/// An entry as the second level keeps it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Envelope<'a> {
    pub(crate) position: u64,
    pub(crate) expired: bool,
    pub(crate) incarnation: u64,
    pub(crate) created_millis: u64,
    pub(crate) fresh_millis: u64,
    pub(crate) load_millis: u32,
    pub(crate) schema: u32,
    pub(crate) region: &'a str,
    pub(crate) key: &'a str,
    pub(crate) tags: Vec<Arc<str>>,
    pub(crate) validators: Option<Validators>,
    /// The code of the payload's [`Format`].
    pub(crate) format: u8,
    pub(crate) compressed: bool,
    pub(crate) payload: Bytes,
}

impl<'a> Envelope<'a> {
    pub(crate) fn encode(&self) -> Bytes {
        let tags: usize = self.tags.iter().map(|tag| 2 + tag.len()).sum();
        let mut size = HEADER + self.region.len() + self.key.len() + tags + self.payload.len();
        for text in self.validators.iter().flat_map(Validators::texts) {
            size += 2 + text.len();
        }
        let mut out = BytesMut::with_capacity(size);
        out.put_slice(MAGIC);
        out.put_u64(self.position | if self.expired { EXPIRED } else { 0 });
        out.put_u32(0);
        out.put_u64(self.incarnation);
        out.put_u64(self.created_millis);
        out.put_u64(self.fresh_millis);
        out.put_u32(self.schema);
        out.put_u32(self.load_millis);
        out.put_u16(length(self.region));
        out.put_u16(length(self.key));
        out.put_u16(u16::try_from(self.tags.len()).unwrap_or(u16::MAX));
        out.put_u16(self.flags());
        out.put_slice(self.region.as_bytes());
        out.put_slice(self.key.as_bytes());
        for tag in &self.tags {
            out.put_u16(length(tag));
            out.put_slice(tag.as_bytes());
        }
        for text in self.validators.iter().flat_map(Validators::texts) {
            out.put_u16(length(text));
            out.put_slice(text.as_bytes());
        }
        out.put_slice(&self.payload);
        let checksum = crc32fast::hash(&out[CHECKED_FROM..]);
        out[12..16].copy_from_slice(&checksum.to_be_bytes());
        out.freeze()
    }

    fn flags(&self) -> u16 {
        let mut flags = u16::from(self.format) << 8;
        if self.validators.is_some() {
            flags |= HAS_VALIDATORS;
        }
        if self.compressed {
            flags |= COMPRESSED;
        }
        flags
    }

    /// Reads an envelope that must belong to this region and key. Anything else, from any version, cut
    /// short, swapped or damaged, is `None`: a miss.
    pub(crate) fn decode(bytes: &Bytes, region: &'a str, key: &'a str) -> Option<Self> {
        if bytes.get(..4)? != MAGIC || bytes.len() < HEADER {
            return None;
        }
        if crc32fast::hash(bytes.get(CHECKED_FROM..)?) != u32_at(bytes, 12)? {
            return None;
        }
        let mut at = HEADER;
        let region_there = take(bytes, &mut at, u16_at(bytes, 48)?.into())?;
        let key_there = take(bytes, &mut at, u16_at(bytes, 50)?.into())?;
        let [format, flags] = u16_at(bytes, 54)?.to_be_bytes();
        let flags = u16::from(flags);
        if region_there != region.as_bytes()
            || key_there != key.as_bytes()
            || flags & !(HAS_VALIDATORS | COMPRESSED) != 0
        {
            return None;
        }
        let mut tags = Vec::new();
        for _ in 0..u16_at(bytes, 52)? {
            tags.push(text(bytes, &mut at)?.into());
        }
        let mut validators = None;
        if flags & HAS_VALIDATORS != 0 {
            let etag = text(bytes, &mut at)?;
            validators = Some(Validators::of(etag, text(bytes, &mut at)?));
        }
        let position = u64_at(bytes, POSITION_OFFSET)?;
        Some(Self {
            position: position & !EXPIRED,
            expired: position & EXPIRED != 0,
            incarnation: u64_at(bytes, 16)?,
            created_millis: u64_at(bytes, 24)?,
            fresh_millis: u64_at(bytes, 32)?,
            schema: u32_at(bytes, 40)?,
            load_millis: u32_at(bytes, 44)?,
            region,
            key,
            tags,
            validators,
            format,
            compressed: flags & COMPRESSED != 0,
            payload: bytes.slice(at..),
        })
    }
}

/// What the beginning of an envelope tells, if it is one of this version. Its checksum is not looked at.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) position: u64,
    pub(crate) incarnation: u64,
    /// Those that are whole in the bytes at hand.
    pub(crate) tags: Vec<Arc<str>>,
}

impl Head {
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.get(..4)? != MAGIC || bytes.len() < HEADER {
            return None;
        }
        let names = usize::from(u16_at(bytes, 48)?) + usize::from(u16_at(bytes, 50)?);
        let mut at = HEADER + names;
        let tags = (0..u16_at(bytes, 52)?).map_while(|_| {
            let length = u16_at(bytes, at)?;
            at += 2;
            let tag = take(bytes, &mut at, length.into())?;
            std::str::from_utf8(tag).ok().map(Arc::from)
        });
        Some(Self {
            tags: tags.collect(),
            position: u64_at(bytes, POSITION_OFFSET)? & !EXPIRED,
            incarnation: u64_at(bytes, 16)?,
        })
    }
}

fn length(text: &str) -> u16 {
    // Regions, keys and tags are all limited to far less when they are made.
    u16::try_from(text.len()).unwrap_or(u16::MAX)
}

fn take<'b>(bytes: &'b [u8], at: &mut usize, length: usize) -> Option<&'b [u8]> {
    let end = at.checked_add(length)?;
    let slice = bytes.get(*at..end)?;
    *at = end;
    Some(slice)
}

fn text<'b>(bytes: &'b [u8], at: &mut usize) -> Option<&'b str> {
    let length = u16_at(bytes, *at)?;
    *at += 2;
    std::str::from_utf8(take(bytes, at, length.into())?).ok()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
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
            payload: Bytes::from_static(br#"{"id":42}"#),
        }
    }

    /// Every form in which an envelope was ever written, made by another program, and what is read of it. A file that was once
    /// in here stays, and what it says does not change.
    fn snapshots() -> [(&'static str, Option<Envelope<'static>>); 8] {
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
        [
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
    fn every_damaged_byte_and_every_cut_is_a_miss_or_a_newer_position() {
        let whole = sample().encode();
        for at in 0..whole.len() {
            assert!(
                Envelope::decode(&whole.slice(..at), "event", "event:42").is_none(),
                "cut at {at}"
            );
            for damage in [0x01, 0x80, 0xff] {
                let mut bytes = whole.to_vec();
                bytes[at] ^= damage;
                let read = Envelope::decode(&bytes.into(), "event", "event:42");
                let in_position = (POSITION_OFFSET..POSITION_OFFSET + 8).contains(&at);
                assert_eq!(read.is_some(), in_position, "byte {at} with {damage}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_at_all_never_panic(mut bytes: Vec<u8>, with_magic: bool) {
            if with_magic && bytes.len() >= HEADER {
                bytes[..4].copy_from_slice(MAGIC);
                let checksum = crc32fast::hash(&bytes[CHECKED_FROM..]).to_be_bytes();
                bytes[12..16].copy_from_slice(&checksum);
            }
            let _ = Envelope::decode(&bytes.into(), "event", "event:42");
        }

        #[test]
        fn what_is_written_is_read(position in 0..1_u64 << 53, payload: Vec<u8>, tags in proptest::collection::vec(".{0,20}", 0..5)) {
            let tags = tags.iter().map(|tag| Arc::from(tag.as_str())).collect();
            let envelope = Envelope { position, payload: payload.into(), tags, ..sample() };
            prop_assert_eq!(Envelope::decode(&envelope.encode(), "event", "event:42"), Some(envelope));
        }
    }
}
