use std::fs::File;
use std::io;

use redb::StorageBackend;
use redb::backends::FileBackend;

/// A file of which redb thinks that it is on the disk as soon as the system has it.
///
/// redb writes in an order that leaves a whole database behind wherever it stops, provided that what was written earlier is there as well.
/// Whoever reads through the same system sees all writes in their order, so this holds for a process that ends without warning.
/// For a machine that does, [`Folder`](super::folder::Folder) keeps account.
#[derive(Debug)]
pub(super) struct Backend {
    file: FileBackend,
    sync: bool,
}

impl Backend {
    pub(super) fn new(file: File, sync: bool) -> Result<Self, redb::DatabaseError> {
        let file = FileBackend::new(file)?;
        Ok(Self { file, sync })
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.sync {
            self.file.sync_data()?;
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }
}
