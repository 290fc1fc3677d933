#![allow(clippy::unwrap_used)]

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use redb::{ReadableDatabase, ReadableTableMetadata};

use super::*;
use crate::remote::{Author, Demand, Pruned, Remote, Scope, Wanted, conformance};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_keeps_the_rules_of_every_second_level() {
    for sync in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let options = DiskOptions::folder(folder.path()).sync(sync);
        let disk = Disk::open("shop", options).await.unwrap();
        conformance::check(&disk, &disk.clone()).await.unwrap();
    }
}

async fn write(disk: &Disk, key: &str, bytes: usize, keep: Duration) -> bool {
    let author = Author::new(1, 0, 0);
    let hold = Duration::from_secs(60);
    disk.claim(key, 1, hold, author).await.unwrap();
    let envelope = Bytes::from(vec![b'x'; bytes]);
    disk.store(key, 1, envelope, keep).await.is_ok()
}

/// What the file really takes, holes left out.
#[cfg(unix)]
fn on_disk(folder: &std::path::Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(folder.join("shop.redb"))
        .unwrap()
        .blocks()
        * 512
}

#[cfg(unix)]
#[tokio::test]
async fn the_disk_keeps_to_its_budget_and_lets_go_what_ends_first() {
    let folder = tempfile::tempdir().unwrap();
    let budget = 4 << 20;
    let options = DiskOptions::folder(folder.path()).bytes(budget);
    let disk = Disk::open("shop", options).await.unwrap();
    let (long, short) = (Duration::from_secs(3_600), Duration::from_secs(600));
    assert!(write(&disk, "long", 3_000, long).await);
    for n in (0..3_000_usize).step_by(100) {
        // Of all sizes, so that the pages do not fit one after the other.
        let some = (n..n + 100).map(|n| {
            let disk = &disk;
            async move { write(disk, &format!("k{n}"), 100 + n * 37 % 9_000, short).await }
        });
        let stored = futures_util::future::join_all(some).await;
        assert!(stored.into_iter().all(|stored| stored));
    }
    let took = on_disk(folder.path());
    // "Up to about twice the budget", as the documentation has it: a quarter of it for "about".
    assert!((budget / 4..budget * 9 / 4).contains(&took), "{took}");
    assert!(disk.read("long").await.unwrap().is_some());
    assert!(disk.read("k0").await.unwrap().is_none());
    assert!(disk.read("k2999").await.unwrap().is_some());
    assert!(
        !write(&disk, "large", (1 << 20) + 1, long).await,
        "its share"
    );
    assert!(disk.read("large").await.unwrap().is_none());
}

#[tokio::test]
async fn values_whose_time_is_over_go_by_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::open("shop", folder.path().into()).await.unwrap();
    for n in 0..500 {
        write(&disk, &format!("k{n}"), 100, Duration::from_millis(1)).await;
    }
    write(&disk, "stays", 100, Duration::from_secs(60)).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while disk.scan("").await.unwrap().keys != ["stays"] {
        assert!(tokio::time::Instant::now() < deadline, "they stay");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(disk.read("k1").await.unwrap(), None);
}

#[tokio::test]
async fn demands_whose_time_is_over_go_by_themselves_however_many_stay() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::open("shop", folder.path().into()).await.unwrap();
    let (hour, moment) = (Duration::from_secs(3_600), Duration::from_millis(1));
    let demand = |name: String, keep| {
        let (one, disk) = (Demand::of("1"), &disk);
        let wanted = Wanted::new(Scope::Key(name.into()), one.clone(), one).kept_for(keep);
        async move { disk.demand(&wanted, Author::new(1, 0, 0)).await.unwrap() }
    };
    let stay = (0..2_500).map(|n| demand(format!("a{n:04}"), hour));
    let go = (0..10).map(|n| demand(format!("z{n}"), moment));
    let mut stay = stay.map(Box::pin).collect::<Vec<_>>();
    for some in stay.chunks_mut(500) {
        futures_util::future::join_all(some.iter_mut().map(Pin::new)).await;
    }
    futures_util::future::join_all(go).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let kept = async || {
        let count = |db: &Database, _| {
            let txn = db.begin_read()?;
            Ok(txn.open_table(tables::DEMANDS)?.len()?)
        };
        disk.look(count).await.unwrap()
    };
    // With the one for all keys.
    while kept().await != 2_501 {
        assert!(tokio::time::Instant::now() < deadline, "they stay");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Before where it was looked last.
    demand("0".to_owned(), moment).await;
    while kept().await != 2_501 {
        assert!(tokio::time::Instant::now() < deadline, "it stays");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn demands_count_towards_the_bytes_of_the_disk_and_make_room_for_themselves() {
    let folder = tempfile::tempdir().unwrap();
    let options = DiskOptions::folder(folder.path()).bytes(1 << 20);
    let disk = Disk::open("shop", options.clone()).await.unwrap();
    let used = || disk.bytes_here().unwrap();
    assert_eq!(used(), 0);
    let hour = Duration::from_secs(3_600);
    let demand = async |disk: &Disk, name: &str, keep| {
        let one = Demand::of([7; 200]);
        let scope = Scope::Key(name.into());
        let wanted = Wanted::new(scope, one.clone(), one).knowing(u64::MAX);
        let author = Author::new(1, 0, 0);
        disk.demand(&wanted.kept_for(keep), author).await.unwrap();
    };
    demand(&disk, "a", hour).await;
    let one = used();
    assert!((400..4_000).contains(&one), "{one}");
    demand(&disk, "a", hour).await;
    assert_eq!(used(), one, "it takes the place of the one before");
    demand(&disk, "b", Duration::from_millis(1)).await;
    assert!(used() > one);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while used() != one {
        assert!(tokio::time::Instant::now() < deadline, "{} stay", used());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for n in 0..200 {
        write(&disk, &format!("k{n}"), 4_000, hour).await;
    }
    let values = async |disk: &Disk| disk.scan("").await.unwrap().keys.len();
    let before = values(&disk).await;
    for n in 0..500 {
        demand(&disk, &format!("d{n}"), hour).await;
    }
    assert!(values(&disk).await < before && used() <= 1 << 20);
    let stays = used();
    disk.close().await.unwrap();
    let again = Disk::open("shop", options).await.unwrap();
    assert_eq!(again.bytes_here(), Some(stays));
}

#[tokio::test]
async fn markers_are_forgotten_after_one_on_everything() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::open("shop", folder.path().into()).await.unwrap();
    let author = Author::new(1, 0, 0);
    let tag = |n: u64| Scope::Tag(format!("tag {n}").into());
    for n in 0..10 {
        disk.invalidate(&tag(n), author).await.unwrap();
    }
    let at = disk.snapshot().await.unwrap().position.number - 3;
    let minute = Duration::from_secs(60);
    let pruned = disk.prune(at, minute, 0).await.unwrap();
    assert_eq!(pruned, Pruned::new(0, minute));
    let markers = disk.snapshot().await.unwrap().markers;
    assert_eq!(markers.len(), 4);
    assert!(markers.contains(&(Scope::All, at)));
    // Another node keeps its entries for longer than that.
    let shorter = disk.prune(at + 3, minute / 2, 0).await.unwrap();
    assert_eq!(shorter, Pruned::new(0, minute));
    assert_eq!(disk.snapshot().await.unwrap().markers.len(), 4);
}

#[tokio::test]
async fn what_is_asked_after_the_end_fails_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::open("shop", folder.path().into()).await.unwrap();
    disk.close().await.unwrap();
    let error = disk.read("k").await.unwrap_err();
    assert!(matches!(error, RemoteError::Unavailable(_)), "{error}");
    assert!(disk.snapshot().await.is_err() && disk.pulse(0).await.is_err());
    assert!(disk.tail(0, Duration::from_secs(60), 1).await.is_err());
    let again = Disk::open("shop", folder.path().into()).await;
    assert!(again.is_ok(), "the folder is free");
}
