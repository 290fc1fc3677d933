//! The second level on disk: what survives the end of a process, in whatever way it ends.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use bilten_cache::remote::DiskOptions;
use bilten_cache::status::Connection;
use bilten_cache::{Ack, Cache, Error, Pattern, Region};
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::harness::{DEADLINE, eventually};

/// Set in a child: the folder.
const CHILD: &str = "BILTEN_DISK_CHILD";
/// Set in a child whose changes wait for the disk.
const SYNC: &str = "BILTEN_DISK_SYNC";
/// Before each of the child's lines, because the test runner writes to the same place.
const MARK: char = '~';

async fn cache(folder: &Path) -> Cache {
    synced(folder, false).await
}

async fn synced(folder: &Path, sync: bool) -> Cache {
    built(DiskOptions::folder(folder).sync(sync)).await.unwrap()
}

async fn built(options: DiskOptions) -> Result<Cache, Error> {
    let cache = Cache::builder("shop").disk(options);
    // A machine with other things to do is not what is tested here.
    cache.remote_budget(DEADLINE).build().await
}

fn stock(cache: &Cache) -> Region<str, u64> {
    let stock = cache.region("stock");
    stock
        .time_to_live(Duration::from_secs(3_600))
        .build()
        .unwrap()
}

#[tokio::test]
async fn values_and_invalidations_outlive_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let first = cache(folder.path()).await;
    let region = stock(&first);
    for (key, value) in [("tea", 1), ("jam", 2), ("list:1", 3), ("list:2", 4)] {
        assert_eq!(region.set(key, value).await.unwrap(), Ack::Everywhere);
    }
    assert_eq!(region.remove("jam").await.unwrap(), Ack::Everywhere);
    let lists = Pattern::glob("stock:list:*").unwrap();
    assert_eq!(first.invalidate_pattern(&lists).await, Ack::Everywhere);
    let loaded = region.get_or_load("milk", async |_| Ok::<_, io::Error>(5));
    assert_eq!(*loaded.await.unwrap(), 5);
    let _ = region.set("list:2", 6).await.unwrap();
    let report = first.shutdown(DEADLINE).await;
    assert!(report.is_clean(), "{report}");

    let second = cache(folder.path()).await;
    let region = stock(&second);
    let mut found = BTreeMap::new();
    for key in ["tea", "jam", "list:1", "list:2", "milk"] {
        found.insert(key, region.get(key).await.map(|value| *value));
    }
    let due = [
        ("tea", Some(1)),
        ("jam", None),
        ("list:1", None),
        ("list:2", Some(6)),
        ("milk", Some(5)),
    ];
    assert_eq!(found, due.into());
    assert_eq!(region.stats().hits_remote, 3);
    // Handles that are only dropped leave the folder too.
    drop((region, second));
    let third = cache(folder.path()).await;
    assert_eq!(stock(&third).get("tea").await.as_deref(), Some(&1));
}

#[tokio::test]
async fn time_goes_on_while_nobody_has_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let first = cache(folder.path()).await;
    let short = Duration::from_millis(300);
    let region = first
        .region::<str, u64>("stock")
        .time_to_live(short)
        .build()
        .unwrap();
    let begun = Instant::now();
    let _ = region.set("tea", 1).await.unwrap();
    first.shutdown(DEADLINE).await;
    tokio::time::sleep(short.saturating_sub(begun.elapsed())).await;
    let second = cache(folder.path()).await;
    assert_eq!(stock(&second).get("tea").await, None);
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_an_error_that_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let _first = cache(folder.path()).await;
    let in_use = built(folder.path().into()).await.unwrap_err().to_string();
    let path = folder.path().display().to_string();
    assert!(
        in_use.starts_with("disk: ") && in_use.contains(&path),
        "{in_use}"
    );
    assert!(
        in_use.contains("is in use") && in_use.contains("share a Redis"),
        "{in_use}"
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    let below = built(file.path().join("cache").into())
        .await
        .unwrap_err()
        .to_string();
    let path = file.path().join("cache").display().to_string();
    assert!(
        below.contains(&path) && below.contains("choose a path"),
        "{below}"
    );
}

#[tokio::test]
async fn damage_to_the_file_is_a_cache_that_begins_empty_or_reads_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let whole = cache(folder.path()).await;
    for n in 0..200 {
        let _ = stock(&whole).set(&n.to_string(), n).await.unwrap();
    }
    whole.shutdown(DEADLINE).await;
    let file = folder.path().join("shop.redb");
    let bytes = std::fs::read(&file).unwrap();
    for round in 0..24 {
        let mut damaged = bytes.clone();
        let at = fastrand::usize(..damaged.len());
        match round % 4 {
            0 => damaged.truncate(at),
            1 => damaged[at] ^= 1 << fastrand::u8(..8),
            2 => fastrand::Rng::new().fill(&mut damaged[at..]),
            // The first page says where everything is.
            _ => damaged[fastrand::usize(..320)] ^= 0xff,
        }
        std::fs::write(&file, &damaged).unwrap();
        let cache = cache(folder.path()).await;
        let region = stock(&cache);
        for n in 0..200 {
            let found = region.get(&n.to_string()).await.map(|value| *value);
            assert!(
                found.is_none() || found == Some(n),
                "round {round} at {at}: {found:?}"
            );
        }
        assert_eq!(region.set("tea", 7).await.unwrap(), Ack::Everywhere);
        cache.shutdown(DEADLINE).await;
    }
    std::fs::remove_dir_all(folder.path()).unwrap();
    std::fs::create_dir(folder.path()).unwrap();
    std::fs::write(&file, "a letter to the editor").unwrap();
    let cache = cache(folder.path()).await;
    assert_eq!(stock(&cache).set("tea", 7).await.unwrap(), Ack::Everywhere);
}

/// What the parent knows of a key: its value, or that there may be another one.
type Known = BTreeMap<u64, Option<u64>>;

/// One change of the child, as it stands in its lines.
#[derive(Debug, Clone, Copy)]
enum Step {
    Set(u64, u64),
    Remove(u64),
    /// All keys that begin with 1.
    Pattern,
    Clear,
}

impl Step {
    fn random(number: u64) -> Self {
        let key = fastrand::u64(..20);
        match fastrand::u64(..100) {
            0 => Self::Clear,
            1..=4 => Self::Pattern,
            5..=40 => Self::Remove(key),
            _ => Self::Set(key, number),
        }
    }

    fn decode(line: &str) -> Option<Self> {
        let mut words = line.split(' ');
        let kind = words.next()?;
        let mut number = || words.next()?.parse().ok();
        Some(match kind {
            "set" => Self::Set(number()?, number()?),
            "remove" => Self::Remove(number()?),
            "pattern" => Self::Pattern,
            "clear" => Self::Clear,
            _ => return None,
        })
    }

    fn encode(self) -> String {
        match self {
            Self::Set(key, value) => format!("set {key} {value}"),
            Self::Remove(key) => format!("remove {key}"),
            Self::Pattern => "pattern".to_owned(),
            Self::Clear => "clear".to_owned(),
        }
    }

    fn concerns(self, key: u64) -> bool {
        match self {
            Self::Set(own, _) | Self::Remove(own) => own == key,
            Self::Pattern => key.to_string().starts_with('1'),
            Self::Clear => true,
        }
    }

    fn result(self) -> Option<u64> {
        match self {
            Self::Set(_, value) => Some(value),
            _ => None,
        }
    }

    async fn make(self, cache: &Cache, stock: &Region<str, u64>) -> Ack {
        match self {
            Self::Set(key, value) => stock.set(&key.to_string(), value).await.unwrap(),
            Self::Remove(key) => stock.remove(&key.to_string()).await.unwrap(),
            Self::Pattern => {
                let ones = Pattern::glob("stock:1*").unwrap();
                cache.invalidate_pattern(&ones).await
            }
            Self::Clear => cache.clear().await,
        }
    }
}

fn say(line: &str) {
    let mut out = io::stdout().lock();
    writeln!(out, "{MARK}{line}").unwrap();
    out.flush().unwrap();
}

/// The life of a child: it changes things, and says so before and after, until it is killed.
async fn live(folder: &str) {
    let cache = synced(Path::new(folder), std::env::var(SYNC).is_ok()).await;
    let stock = stock(&cache);
    say("open");
    loop {
        let step = Step::random(fastrand::u64(..1 << 48));
        say(&step.encode());
        assert_eq!(step.make(&cache, &stock).await, Ack::Everywhere);
        say("done");
    }
}

/// Lets a child live for a while and kills it. What it had under way then.
async fn one_life(
    folder: &Path,
    known: &mut Known,
    test: &str,
    from_start: bool,
    sync: bool,
) -> Option<Step> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, folder)
        .envs(sync.then_some((SYNC, "")))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    if !from_start {
        let open = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.ends_with("~open") {
                    return true;
                }
            }
            false
        };
        assert!(
            tokio::time::timeout(DEADLINE, open).await.unwrap(),
            "the child ended"
        );
        let second = built(folder.into()).await.unwrap_err().to_string();
        assert!(second.contains("is in use by another process"), "{second}");
    }
    tokio::time::sleep(Duration::from_micros(fastrand::u64(..80_000))).await;
    child.kill().await.unwrap();
    let mut under_way = None;
    while let Ok(Some(line)) = lines.next_line().await {
        let Some((_, line)) = line.split_once(MARK) else {
            continue;
        };
        if line == "done" {
            let step: Step = under_way.take().expect("a step");
            for (key, value) in known.iter_mut().filter(|(key, _)| step.concerns(**key)) {
                (_, *value) = (key, step.result());
            }
        } else if let Some(step) = Step::decode(line) {
            under_way = Some(step);
        }
    }
    under_way
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_killed_at_any_moment_loses_nothing_and_brings_nothing_back() {
    const TEST: &str = "disk::a_process_killed_at_any_moment_loses_nothing_and_brings_nothing_back";
    if let Ok(folder) = std::env::var(CHILD) {
        return live(&folder).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut known: Known = (0..20).map(|key| (key, None)).collect();
    let mut there = 0;
    for round in 0..30 {
        // Two lives without and two with `sync`, in whatever way they begin.
        let sync = round / 2 % 2 == 1;
        let under_way = one_life(folder.path(), &mut known, TEST, round % 4 == 3, sync).await;
        let cache = synced(folder.path(), sync).await;
        let stock = stock(&cache);
        for (key, value) in &mut known {
            let found = stock.get(&key.to_string()).await.map(|value| *value);
            let step = under_way.filter(|step| step.concerns(*key));
            let due = found == *value
                || step.is_some() && (found.is_none() || found == step.and_then(Step::result));
            assert!(
                due,
                "round {round}, key {key}: {found:?}, not {value:?}; under way: {step:?}"
            );
            *value = found;
        }
        there += known.values().flatten().count();
        cache.shutdown(DEADLINE).await;
    }
    assert!(there > 100, "the children wrote {there} values only");
}

/// Runs a test of this file in a child that may write no file longer than this.
#[cfg(target_os = "linux")]
async fn with_small_files(test: &str, blocks: u32, folder: &Path) {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let output = Command::new("sh")
        .args(["-c", &script])
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, folder)
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(DEADLINE * 3, output)
        .await
        .unwrap()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_disk_without_room_is_an_error_of_build_that_says_what_to_do() {
    const TEST: &str = "disk::a_disk_without_room_is_an_error_of_build_that_says_what_to_do";
    if let Ok(folder) = std::env::var(CHILD) {
        let error = built(folder.as_str().into()).await.unwrap_err().to_string();
        assert!(
            error.contains(&folder) && error.contains("free some space"),
            "{error}"
        );
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    with_small_files(TEST, 0, folder.path()).await;
    // With room it works.
    cache(folder.path()).await;
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_runs_full_later_only_slows_and_begins_anew() {
    const TEST: &str = "disk::a_disk_that_runs_full_later_only_slows_and_begins_anew";
    let Ok(folder) = std::env::var(CHILD) else {
        let folder = tempfile::tempdir().unwrap();
        // Blocks of 512 bytes: 8 MiB.
        return with_small_files(TEST, 16_384, folder.path()).await;
    };
    let cache = Cache::builder("shop")
        .disk(DiskOptions::folder(folder))
        .build()
        .await
        .unwrap();
    let pages = cache.region::<u64, String>("page").build().unwrap();
    let mut refused = None;
    for n in 0..10_000 {
        if pages.set(&n, "x".repeat(60_000)).await.unwrap() == Ack::Deferred {
            refused = Some(n);
            break;
        }
    }
    let refused = refused.expect("it runs full");
    let load = async |_| Ok::<_, io::Error>("new".to_owned());
    assert_eq!(*pages.get_or_load(&20_000, load).await.unwrap(), "new");
    assert!(cache.stats().remote_failures > 0);
    // The removal waits and reaches the store that is begun anew; nothing of the old one comes back.
    let _ = pages.remove(&1).await.unwrap();
    eventually("it works again", || {
        let status = cache.status();
        status.waiting == 0 && status.connection == Connection::Connected
    })
    .await;
    assert_eq!(pages.get(&1).await, None);
    // It takes less room now, and so does not run full again.
    for n in 0..refused * 2 {
        assert_eq!(
            pages.set(&n, "x".repeat(60_000)).await.unwrap(),
            Ack::Everywhere,
            "{n}"
        );
    }
}

#[tokio::test]
async fn a_value_with_no_room_on_disk_is_kept_in_memory_and_told_as_that() {
    let folder = tempfile::tempdir().unwrap();
    let options = || DiskOptions::folder(folder.path()).bytes(1 << 20);
    let first = built(options()).await.unwrap();
    let pages = first.region::<str, String>("page").build().unwrap();
    let large = "x".repeat(300_000);
    assert_eq!(
        pages.set("set", "small".to_owned()).await.unwrap(),
        Ack::Everywhere
    );
    assert_eq!(
        pages.set("set", large.clone()).await.unwrap(),
        Ack::Everywhere
    );
    let own = large.clone();
    let loaded = pages.get_or_load("loaded", async move |_| Ok::<_, io::Error>(own));
    assert_eq!(*loaded.await.unwrap(), large);
    let write = std::future::ready(Ok::<_, io::Error>(large.clone()));
    pages.write_through("written", write).await.unwrap();
    for key in ["set", "loaded", "written"] {
        assert_eq!(pages.peek(key).as_deref(), Some(&large), "{key}");
    }
    eventually("all were counted", || pages.stats().too_large == 3).await;
    let stats = pages.stats();
    assert_eq!((stats.stores_refused, stats.fills_refused), (0, 0));
    assert_eq!(first.status().cause, None, "the disk works");
    assert!(first.shutdown(DEADLINE).await.is_clean());

    let second = built(options()).await.unwrap();
    let pages = second.region::<str, String>("page").build().unwrap();
    for key in ["set", "loaded", "written"] {
        assert_eq!(pages.get(key).await, None, "{key}");
    }
}

#[tokio::test]
async fn what_the_values_take_on_disk_is_in_the_status_and_a_gauge_and_goes_with_them() {
    let recorder = DebuggingRecorder::new();
    let (folder, snapshotter) = (tempfile::tempdir().unwrap(), recorder.snapshotter());
    // The task that shows gauges keeps those that it was given here.
    let _here = metrics::set_default_local_recorder(&recorder);
    let cache = cache(folder.path()).await;
    assert_eq!(cache.status().disk_bytes, Some(0));
    let stock = stock(&cache);
    stock.set("tea", 3).await.unwrap();
    let taken = cache.status().disk_bytes.unwrap();
    assert!((50..1_000).contains(&taken), "{taken}");
    #[allow(clippy::cast_precision_loss)]
    let due = taken as f64;
    let deadline = Instant::now() + DEADLINE;
    let shown = || {
        let all = snapshotter.snapshot().into_vec().into_iter();
        let mut all = all.map(|(key, _, _, value)| (key.key().name().to_owned(), value));
        all.find(|(name, _)| name == "bilten_cache_disk_bytes")
            .map(|(_, value)| value)
    };
    while shown() != Some(DebugValue::Gauge(due.into())) {
        assert!(Instant::now() < deadline, "{:?}", shown());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let _ = stock.remove("tea").await.unwrap();
    assert!(cache.status().disk_bytes.unwrap() < taken);
    cache.shutdown(Duration::from_secs(5)).await;
}
