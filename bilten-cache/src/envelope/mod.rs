//! The bytes of an entry in the second level.
//!
//! ```text
//!  0  4  magic and version: B L T 1       12  4  CRC-32 of bytes 5 to 11 and of everything from byte 16
//!  4  8  log position, big endian         16  8  incarnation of the log
//! 24  8  created, server milliseconds     32  8  fresh for, milliseconds
//! 40  4  schema version of the region     44  4  load time, milliseconds
//! 48  2  length of the region's name      50  2  length of the key
//! 52  2  number of tags                   54  2  format of the payload, then flags
//! 56  .. region, key, tags (2 bytes length each), etag and last-modified if flagged, payload, claim (8 bytes) if flagged
//! ```
//!
//! The position is filled in last, and the checksum with it: a write has one only after its claim. Its highest byte, which no
//! position reaches, is set when the entry was expired: its value may still be served stale. The server does that, so the
//! checksum leaves this byte out. The first envelopes had their whole position outside of it.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::entry::Validators;

const MAGIC: &[u8; 4] = b"BLT1";
const HEADER: usize = 56;
const CHECKED_FROM: usize = 16;
/// The largest number that a log counts to.
const LAST_POSITION: u64 = 1 << 53;
const FLAGS_OFFSET: usize = 55;

/// What `expire` puts into the first byte of the position.
pub(crate) const EXPIRED_BYTE: u8 = 0x80;
const EXPIRED: u64 = (EXPIRED_BYTE as u64) << 56;

/// Flag: the validators follow the tags.
const HAS_VALIDATORS: u16 = 1;
/// Flag: the payload is a zstd frame.
const COMPRESSED: u16 = 2;
/// Flag: the checksum takes the position in.
const PLACED: u16 = 8;
/// Flag: the number of the claim stands at the end.
const CLAIMED: u16 = 16;
const KNOWN_FLAGS: u16 = HAS_VALIDATORS | COMPRESSED | PLACED | CLAIMED;

/// In what format a payload is. Bytes of one must never be read as another: the JSON `7` is the MessagePack 55.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format {
    /// What stands in the envelope; 0 was there before there was a choice.
    pub(crate) code: u8,
    pub(crate) name: &'static str,
}

/// How a value begins, in which no two of one key are alike: what they were loaded after, when they were made, and a checksum.
pub(crate) fn beginning(value: &Bytes) -> Bytes {
    Bytes::copy_from_slice(&value[..value.len().min(HEADER)])
}

/// Where the log position stands in the envelope: eight bytes, big endian.
pub(crate) const POSITION_OFFSET: usize = 4;

/// An envelope whose checksum is still to come: that is computed once, when all the rest is in its place.
#[derive(Debug)]
pub(crate) struct Draft(BytesMut);

impl Draft {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// As it is.
    pub(crate) fn sealed(mut self) -> Bytes {
        let checksum = checksum(&self.0).unwrap_or_default();
        self.0[12..16].copy_from_slice(&checksum.to_be_bytes());
        self.0.freeze()
    }

    /// At another position of the log.
    pub(crate) fn placed_at(mut self, position: u64) -> Bytes {
        let place = POSITION_OFFSET..POSITION_OFFSET + 8;
        self.0[place].copy_from_slice(&position.to_be_bytes());
        self.sealed()
    }

    /// With the number of the record of its claim. Its value is older than that, as its position says.
    pub(crate) fn claimed_at(mut self, number: u64) -> Bytes {
        self.0[FLAGS_OFFSET] |= CLAIMED.to_be_bytes()[1];
        self.0.put_u64(number);
        self.sealed()
    }
}

pub(crate) fn checksum(bytes: &[u8]) -> Option<u32> {
    let mut checksum = crc32fast::Hasher::new();
    if u16::from(*bytes.get(FLAGS_OFFSET)?) & PLACED != 0 {
        checksum.update(bytes.get(POSITION_OFFSET + 1..POSITION_OFFSET + 8)?);
    }
    checksum.update(bytes.get(CHECKED_FROM..)?);
    Some(checksum.finalize())
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
    /// Whether damage to the position would be noticed.
    pub(crate) placed: bool,
    /// The record of the claim under which it was stored, where that is not its position.
    pub(crate) claim: Option<u64>,
    pub(crate) payload: Bytes,
}

impl<'a> Envelope<'a> {
    /// The record of its own key that it is known to follow.
    pub(crate) fn follows(&self) -> u64 {
        self.claim.unwrap_or(self.position)
    }

    #[cfg(test)]
    pub(crate) fn encode(&self) -> Bytes {
        self.draft().sealed()
    }

    pub(crate) fn draft(&self) -> Draft {
        let tags: usize = self.tags.iter().map(|tag| 2 + tag.len()).sum();
        // With room for a claim.
        let mut size = HEADER + self.region.len() + self.key.len() + tags + self.payload.len() + 8;
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
        if let Some(claim) = self.claim {
            out.put_u64(claim);
        }
        Draft(out)
    }

    fn flags(&self) -> u16 {
        let mut flags = u16::from(self.format) << 8;
        if self.validators.is_some() {
            flags |= HAS_VALIDATORS;
        }
        if self.compressed {
            flags |= COMPRESSED;
        }
        if self.placed {
            flags |= PLACED;
        }
        if self.claim.is_some() {
            flags |= CLAIMED;
        }
        flags
    }

    /// Reads an envelope that must belong to this region and key. Anything else, from any version, cut
    /// short, swapped or damaged, is `None`: a miss.
    pub(crate) fn decode(bytes: &Bytes, region: &'a str, key: &'a str) -> Option<Self> {
        if bytes.get(..4)? != MAGIC || bytes.len() < HEADER {
            return None;
        }
        if checksum(bytes)? != u32_at(bytes, 12)? {
            return None;
        }
        let mut at = HEADER;
        let region_there = take(bytes, &mut at, u16_at(bytes, 48)?.into())?;
        let key_there = take(bytes, &mut at, u16_at(bytes, 50)?.into())?;
        let [format, flags] = u16_at(bytes, 54)?.to_be_bytes();
        let flags = u16::from(flags);
        if region_there != region.as_bytes()
            || key_there != key.as_bytes()
            || flags & !KNOWN_FLAGS != 0
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
        if position & !EXPIRED >= LAST_POSITION {
            return None;
        }
        let mut end = bytes.len();
        let mut claim = None;
        if flags & CLAIMED != 0 {
            end = end.checked_sub(8).filter(|end| *end >= at)?;
            claim = Some(u64_at(bytes, end)?);
        }
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
            placed: flags & PLACED != 0,
            claim,
            payload: bytes.slice(at..end),
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
mod tests;
