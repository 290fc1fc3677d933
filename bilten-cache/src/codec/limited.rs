use std::io;

use bytes::Bytes;

/// Bytes up to a limit: a value that is too large is given up while it is written, before it has taken the memory.
#[derive(Debug)]
pub(crate) struct Limited {
    bytes: Vec<u8>,
    limit: usize,
    over: bool,
    /// What would have been written too.
    unwritten: usize,
}

impl Limited {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(limit.min(512)),
            limit,
            over: false,
            unwritten: 0,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// What it still takes.
    #[cfg(feature = "messagepack")]
    pub(super) fn room(&self) -> usize {
        self.limit - self.bytes.len()
    }

    /// More would come than it takes.
    #[cfg(feature = "messagepack")]
    pub(super) fn give_up(&mut self) {
        self.over = true;
    }

    /// So many bytes are known of what is not written at all.
    #[cfg(feature = "messagepack")]
    pub(super) fn spare(&mut self, bytes: usize) {
        self.unwritten = bytes;
    }

    /// With what was spared.
    pub(super) fn written(&self) -> usize {
        self.bytes.len() + self.unwritten
    }

    /// Whether these are all that was written.
    #[cfg(feature = "messagepack")]
    pub(super) fn is_all(&self, bytes: &[u8]) -> bool {
        self.bytes == bytes
    }

    pub(super) fn into_bytes(self) -> Bytes {
        self.bytes.into()
    }

    #[cold]
    fn refuse(&mut self) -> io::Result<()> {
        self.over = true;
        Err(io::ErrorKind::FileTooLarge.into())
    }
}

impl io::Write for Limited {
    #[inline]
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        self.write_all(more).map(|()| more.len())
    }

    /// Of its own, because it is called for every few bytes.
    #[inline]
    fn write_all(&mut self, more: &[u8]) -> io::Result<()> {
        if self.over || more.len() > self.limit - self.bytes.len() {
            return self.refuse();
        }
        self.bytes.extend_from_slice(more);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn what_goes_over_the_limit_is_not_written_and_stays_over() {
        let mut out = Limited::new(4);
        out.write_all(b"abcd").unwrap();
        assert!(!out.is_over());
        out.write_all(b"e").unwrap_err();
        // Whoever swallows the error does not get a value with a hole.
        out.write_all(b"f").unwrap_err();
        assert!(out.is_over());
        assert_eq!(out.into_bytes(), "abcd");
    }
}
