use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU32, Ordering};

use triomphe::ThinArc;

use crate::entry::Entry;

/// An entry with the key it was made for, shared and in one allocation: a hit finds both in lines of memory that lie side
/// by side.
#[derive(Clone)]
pub(crate) struct Kept(ThinArc<Header, u8>);

struct Header {
    entry: Entry,
    /// The era in which the policy was told last that somebody reads it.
    told: AtomicU32,
}

impl Kept {
    pub(crate) fn new(key: &str, entry: Entry) -> Self {
        let header = Header {
            entry,
            told: AtomicU32::new(0),
        };
        Self(ThinArc::from_header_and_slice(header, key.as_bytes()))
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.0.slice
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.0.ptr() == other.0.ptr()
    }

    pub(crate) fn was_told_in(&self, era: u32) -> bool {
        self.0.header.header.told.load(Ordering::Relaxed) == era
    }

    pub(crate) fn told_in(&self, era: u32) {
        self.0.header.header.told.store(era, Ordering::Relaxed);
    }
}

impl Deref for Kept {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.0.header.header.entry
    }
}

impl fmt::Debug for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kept")
            .field("key", &String::from_utf8_lossy(self.key()))
            .field("entry", &**self)
            .finish()
    }
}
