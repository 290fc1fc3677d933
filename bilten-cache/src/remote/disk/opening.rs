//! From a folder to a database that can be trusted, or to an empty one.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Instant;

use redb::{Database, ReadableTable, ReadableTableMetadata};

use super::backend::Backend;
use super::failure::Failure;
use super::folder::Folder;
use super::tables::{DEMANDS, ENDS, MARKERS, META, Meta, VALUES};
use super::time::Time;
use crate::error::panic_message;

/// Memory for pages. The system keeps those of the file as well.
const PAGES: usize = 8 << 20;

/// A database, and what it says about itself.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) db: Database,
    pub(super) meta: Meta,
    pub(super) time: Time,
}

/// Opens what is there, if it is whole. Otherwise it begins anew: what is in a cache can be loaded again.
pub(super) fn open(folder: &Folder, sync: bool) -> Result<Opened, Failure> {
    let began = Instant::now();
    let file = folder.database();
    if !folder.is_whole() && file.exists() {
        tracing::info!(
            file = %file.display(),
            "the cache on disk begins empty: the machine went down while it was open, or its state is not known"
        );
        folder.discard()?;
    }
    folder.opened(sync)?;
    let opened = match guarded(|| start(&file, sync)) {
        Err(Failure::Damaged(why)) => {
            tracing::warn!(file = %file.display(), %why, "the cache on disk begins empty");
            folder.discard()?;
            guarded(|| start(&file, sync))?
        }
        opened => opened?,
    };
    let (took, used) = (began.elapsed(), opened.meta.used);
    tracing::debug!(file = %file.display(), ?took, used, "the cache on disk is open");
    Ok(opened)
}

fn start(file: &Path, sync: bool) -> Result<Opened, Failure> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(file)?;
    let db = Database::builder()
        .set_cache_size(PAGES)
        // A page that changed behind our back may hold a removed value, or hide a marker.
        .set_check_integrity_on_open(true)
        .create_with_backend(Backend::new(file, sync)?)
        .map_err(damage)?;
    let txn = db.begin_write()?;
    let known = txn.open_table(META)?.get(())?.map(|row| row.value());
    let noted = known.map_or(0, |row| Meta::of(row).millis);
    let clock = "the machine's clock went back, so nobody knows how old its values are";
    let time = Time::after(noted).ok_or_else(|| Failure::Damaged(clock.to_owned()))?;
    let meta = known.map_or_else(|| Meta::new(time.millis()), Meta::of);
    txn.open_table(META)?.insert((), meta.row())?;
    let (values, ends) = (txn.open_table(VALUES)?.len()?, txn.open_table(ENDS)?.len()?);
    txn.open_table(MARKERS)?;
    txn.open_table(DEMANDS)?;
    if values != ends {
        let why = format!("{values} values have {ends} ends");
        return Err(Failure::Damaged(why));
    }
    txn.commit()?;
    Ok(Opened { db, meta, time })
}

/// What is no database fails in many ways, and only some of them are trouble of the disk.
fn damage(error: redb::DatabaseError) -> Failure {
    match Failure::from(error) {
        Failure::Io(error)
            if matches!(
                error.kind(),
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            ) =>
        {
            Failure::Damaged(error.to_string())
        }
        other => other,
    }
}

/// Runs what may meet a page that makes no sense, at which redb panics now and then.
pub(super) fn guarded<T>(run: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let message = panic_message(&*panic);
        Err(Failure::Damaged(message.to_owned()))
    })
}
