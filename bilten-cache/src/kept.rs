use std::fmt;
use std::ops::Deref;

use triomphe::ThinArc;

use crate::entry::Entry;

/// An entry with the key it was made for, shared and in one allocation: a hit finds both in lines of memory that lie side
/// by side.
#[derive(Clone)]
pub(crate) struct Kept(ThinArc<Entry, u8>);

impl Kept {
    pub(crate) fn new(key: &str, entry: Entry) -> Self {
        Self(ThinArc::from_header_and_slice(entry, key.as_bytes()))
    }

    pub(crate) fn key(&self) -> &[u8] {
        &self.0.slice
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.0.ptr() == other.0.ptr()
    }
}

impl Deref for Kept {
    type Target = Entry;

    fn deref(&self) -> &Entry {
        &self.0.header.header
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
