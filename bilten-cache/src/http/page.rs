//! A response as it is kept, and the bytes of one in the second level.
//!
//! ```text
//! 0  1  version, 1                     1  1  flags: 1 strict, 2 always validated
//! 2  2  status                         4  8  generation
//! 12 8  lifetime, seconds             20  8  age when it came, seconds
//! 28 8  stale while revalidate        36  8  stale if error
//! 44 2  number of selecting fields    46  2  number of headers
//! 48 2  number of tags
//! 50 .. fields and headers (2 bytes length and name, 4 bytes length and value each), tags (2 bytes length), body
//! ```
//!
//! Numbers are big endian. The envelope around it has a checksum, so this needs to be safe against other versions, not against
//! chance.

use std::io::Write;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::policy::Policy;
use super::vary::Selecting;
use crate::codec::{Codec, Limited};
use crate::envelope::Format;
use crate::error::SharedError;

const VERSION: u8 = 1;
const STRICT: u8 = 1;
const ALWAYS_VALIDATED: u8 = 2;

/// A response that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) policy: Policy,
    pub(super) selecting: Selecting,
    pub(super) tags: Vec<Arc<str>>,
    /// Part of the keys of the other variants: a new one makes all of them unreachable.
    pub(super) generation: u64,
}

/// What a load of a page comes to. Only pages are ever kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // always behind an `Arc`, and nearly always a page
pub(super) enum Stored {
    Page(Page),
    /// The response is for one request only.
    Pass,
    /// The origin failed.
    Failed,
}

impl Stored {
    pub(super) fn page(&self) -> Option<&Page> {
        match self {
            Self::Page(page) => Some(page),
            Self::Pass | Self::Failed => None,
        }
    }

    /// What it has on the heap.
    pub(super) fn weight(&self) -> usize {
        let Some(page) = self.page() else { return 0 };
        let headers: usize = page
            .headers
            .iter()
            .map(|(name, value)| 64 + name.as_str().len() + value.len())
            .sum();
        let tags: usize = page.tags.iter().map(|tag| tag.len()).sum();
        page.body.len() + headers + page.selecting.bytes() + tags
    }
}

/// How pages get into the second level.
pub(super) fn codec() -> Codec<Stored> {
    let format = Format {
        code: 2,
        name: "an HTTP response",
    };
    Codec::own(format, encode, decode)
}

#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("only whole responses are kept")]
    NotAPage,
    #[error("the bytes are not a response of this version")]
    NotOurs,
}

#[allow(clippy::cast_possible_truncation)]
fn encode(stored: &Stored, all: &mut Limited) -> Result<(), SharedError> {
    let page = stored.page().ok_or(Unreadable::NotAPage).map_err(shared)?;
    let mut out = BytesMut::with_capacity(256 + stored.weight() - page.body.len());
    let policy = &page.policy;
    out.put_u8(VERSION);
    out.put_u8(
        u8::from(policy.strict) * STRICT + u8::from(policy.always_validate) * ALWAYS_VALIDATED,
    );
    out.put_u16(page.status.as_u16());
    out.put_u64(page.generation);
    out.put_u64(policy.lifetime);
    out.put_u64(policy.initial_age);
    out.put_u64(policy.while_revalidate);
    out.put_u64(policy.if_error);
    // All three are bounded where a page is made, far below.
    out.put_u16(page.selecting.0.len() as u16);
    out.put_u16(page.headers.len() as u16);
    out.put_u16(page.tags.len() as u16);
    for (name, value) in &page.selecting.0 {
        put(&mut out, name, value);
    }
    for (name, value) in &page.headers {
        put(&mut out, name, value.as_bytes());
    }
    for tag in &page.tags {
        out.put_u16(tag.len() as u16);
        out.put_slice(tag.as_bytes());
    }
    all.write_all(&out)
        .and_then(|()| all.write_all(&page.body))
        .map_err(|error| Arc::new(error) as SharedError)
}

#[allow(clippy::cast_possible_truncation)]
fn put(out: &mut BytesMut, name: &HeaderName, value: &[u8]) {
    out.put_u16(name.as_str().len() as u16);
    out.put_slice(name.as_str().as_bytes());
    out.put_u32(value.len() as u32);
    out.put_slice(value);
}

fn decode(bytes: &[u8]) -> Result<Stored, SharedError> {
    read(bytes)
        .map(Stored::Page)
        .ok_or(Unreadable::NotOurs)
        .map_err(shared)
}

fn shared(error: Unreadable) -> SharedError {
    Arc::new(error)
}

fn read(mut bytes: &[u8]) -> Option<Page> {
    let rest = &mut bytes;
    if number::<1>(rest)? != u64::from(VERSION) {
        return None;
    }
    let flags = u8::try_from(number::<1>(rest)?).ok()?;
    if flags & !(STRICT | ALWAYS_VALIDATED) != 0 {
        return None;
    }
    let status = StatusCode::from_u16(u16::try_from(number::<2>(rest)?).ok()?).ok()?;
    let generation = number::<8>(rest)?;
    let policy = Policy {
        lifetime: number::<8>(rest)?,
        initial_age: number::<8>(rest)?,
        while_revalidate: number::<8>(rest)?,
        if_error: number::<8>(rest)?,
        strict: flags & STRICT != 0,
        always_validate: flags & ALWAYS_VALIDATED != 0,
    };
    let (fields, lines, words) = (number::<2>(rest)?, number::<2>(rest)?, number::<2>(rest)?);
    let mut selecting = Vec::new();
    for _ in 0..fields {
        let (name, value) = field(rest)?;
        selecting.push((name, value.to_vec()));
    }
    let mut headers = HeaderMap::new();
    for _ in 0..lines {
        let (name, value) = field(rest)?;
        headers
            .try_append(name, HeaderValue::from_bytes(value).ok()?)
            .ok()?;
    }
    let mut tags = Vec::new();
    for _ in 0..words {
        let length = usize::try_from(number::<2>(rest)?).ok()?;
        tags.push(std::str::from_utf8(take(rest, length)?).ok()?.into());
    }
    Some(Page {
        status,
        tags,
        headers,
        body: Bytes::copy_from_slice(rest),
        policy,
        selecting: Selecting(selecting),
        generation,
    })
}

fn field<'a>(rest: &mut &'a [u8]) -> Option<(HeaderName, &'a [u8])> {
    let length = usize::try_from(number::<2>(rest)?).ok()?;
    let name = HeaderName::from_bytes(take(rest, length)?).ok()?;
    let length = usize::try_from(number::<4>(rest)?).ok()?;
    Some((name, take(rest, length)?))
}

fn number<const N: usize>(rest: &mut &[u8]) -> Option<u64> {
    let bytes = take(rest, N)?;
    Some(
        bytes
            .iter()
            .fold(0, |number, byte| number << 8 | u64::from(*byte)),
    )
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

/// Reads a page, writes it and reads it again: what the fuzzing runs promise of any bytes. Returns what kind of page it was.
#[cfg(all(test, feature = "json", feature = "messagepack", feature = "zstd"))]
pub(crate) fn reread(bytes: &[u8]) -> u64 {
    let Some(page) = read(bytes) else { return 0 };
    let kind = u64::from(page.status.as_u16()) << 8
        | (page.headers.len() + page.selecting.0.len() + page.tags.len()) as u64;
    let stored = Stored::Page(page);
    let written = codec()
        .encode(&stored, usize::MAX)
        .expect("what was read is written");
    assert_eq!(
        codec().decode(&written).expect("what was written is read"),
        stored
    );
    kind
}

#[cfg(test)]
mod tests {
    use http::header::{ACCEPT, CONTENT_TYPE, LINK};
    use proptest::prelude::*;

    use super::*;

    fn page() -> Stored {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        headers.append(LINK, HeaderValue::from_static("</a>"));
        headers.append(LINK, HeaderValue::from_bytes(b"</\xfc>").unwrap());
        Stored::Page(Page {
            status: StatusCode::NOT_FOUND,
            headers,
            body: Bytes::from_static(b"nobody here"),
            policy: Policy {
                lifetime: 60,
                initial_age: 1,
                while_revalidate: 2,
                if_error: u64::MAX,
                strict: true,
                always_validate: false,
            },
            selecting: Selecting(vec![(ACCEPT, b"=text/*".to_vec())]),
            tags: vec!["event:7".into()],
            generation: 7,
        })
    }

    #[test]
    fn a_page_comes_back_as_it_was() {
        let page = page();
        let bytes = codec().encode(&page, 1 << 20).unwrap();
        assert_eq!(codec().decode(&bytes).unwrap(), page);
        assert!(codec().encode(&Stored::Pass, 1 << 20).is_err());
    }

    #[test]
    fn a_page_cut_short_in_its_head_is_none() {
        let bytes = codec().encode(&page(), 1 << 20).unwrap();
        let head = bytes.len() - b"nobody here".len();
        for cut in 0..head {
            assert!(decode(&bytes[..cut]).is_err(), "{cut}");
        }
        assert!(decode(&[2]).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_at_all_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200), begins_like_ours: bool) {
            let mut bytes = bytes;
            if begins_like_ours && bytes.len() > 3 {
                bytes[..4].copy_from_slice(&[VERSION, 0, 0, 200]);
            }
            if let Ok(page) = decode(&bytes) {
                prop_assert!(codec().encode(&page, 1 << 20).is_ok());
            }
        }
    }
}
