//! What keeps a store small. One that keeps everything breaks none of these rules.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::try_join_all;

use super::values::write;
use super::{Found, Nodes, Violation, rule, same};
use crate::remote::{Author, PAGE, Remote, Scope, Snapshot};

/// Records of a log that no page takes in at once has to.
const MANY: u64 = 1_500;
/// More than any walk of these keys takes.
const PAGES: usize = 100_000;
/// How long entries live.
const SHORT: Duration = Duration::from_secs(60);
const LONG: Duration = Duration::from_secs(120);

pub(super) async fn check(nodes: Nodes<'_>) -> Result<(), Violation> {
    rule(
        "a long log comes in the pages that are asked for",
        paged(nodes),
    )
    .await?;
    rule(
        "markers that were forgotten leave one on everything",
        forgotten(nodes),
    )
    .await?;
    rule(
        "no marker is forgotten before the longest life of an entry",
        outlived(nodes),
    )
    .await?;
    rule("a walk that knows keys finds every one", walked(nodes)).await?;
    rule("the head of a value is how it begins", begun(nodes)).await?;
    rule("only what begins so is discarded", discarded(nodes)).await
}

/// Comes last: the handles are of no use afterwards.
pub(super) async fn check_the_end(nodes: Nodes<'_>) -> Result<(), Violation> {
    rule("what is asked after a close ends", closed(nodes)).await
}

async fn author(nodes: Nodes<'_>) -> Result<Author, Found> {
    let at = nodes.one.snapshot().await?.position;
    Ok(Author::new(1, at.incarnation, at.number))
}

async fn paged(nodes: Nodes<'_>) -> Result<(), Found> {
    let known = author(nodes).await?;
    let key = Scope::Key("paged".into());
    for _ in 0..MANY / 100 {
        let some = (0..100).map(|_| nodes.one.invalidate(&key, known));
        try_join_all(some).await?;
    }
    let end = known.seen + MANY;
    read_through(nodes, known.seen, end, PAGE).await?;
    // As whoever has a slow link reads them.
    read_through(nodes, end - MANY / 10, end, 7).await
}

async fn read_through(nodes: Nodes<'_>, mut at: u64, end: u64, most: u16) -> Result<(), Found> {
    while at < end {
        let records = nodes.two.tail(at, Duration::ZERO, most).await?;
        let numbers: Vec<u64> = records.iter().map(|record| record.number).collect();
        let count = u64::try_from(numbers.len()).unwrap_or(0);
        // A store may keep fewer than there were: who reads on there finds the gap.
        at = at.max(numbers.first().map_or(0, |first| first - 1));
        same("a page", &numbers, &(at + 1..=at + count).collect())?;
        if count > u64::from(most) {
            return Err(Found(format!("{count} records are more than {most}")));
        }
        at += count;
        // Who reads fewer believes to be at the end.
        if at < end && count < u64::from(most) {
            return Err(Found(format!("{count} records are not all that there are")));
        }
    }
    same("the last record", &at, &end)
}

/// Leaves three markers of tags behind. Their names and positions.
async fn mark(nodes: Nodes<'_>, name: &str) -> Result<Vec<(String, u64)>, Found> {
    let mut marked = Vec::new();
    for n in 0..3 {
        let tag = Scope::Tag(format!("{name}-{n}").into());
        let known = author(nodes).await?;
        let at = nodes.one.invalidate(&tag, known).await?;
        marked.push((tag.encode(), at.number));
    }
    Ok(marked)
}

fn position_of(snapshot: &Snapshot, name: &str) -> u64 {
    let mut markers = snapshot.markers.iter();
    let found = markers.find(|(scope, _)| scope.encode() == name);
    found.map_or(0, |(_, at)| *at)
}

async fn prune(node: &dyn Remote, position: u64, life: Duration) -> Result<Duration, Found> {
    let mut cursor = 0;
    for _ in 0..PAGES {
        let pruned = node.prune(position, life, cursor).await?;
        cursor = pruned.cursor;
        if cursor == 0 {
            return Ok(pruned.life);
        }
    }
    Err(Found("it has no end".into()))
}

async fn forgotten(nodes: Nodes<'_>) -> Result<(), Found> {
    let marked = mark(nodes, "forgotten").await?;
    let until = marked[1].1;
    prune(nodes.two, until, SHORT).await?;
    let snapshot = nodes.one.snapshot().await?;
    let everything = position_of(&snapshot, &Scope::All.encode());
    for (name, at) in &marked {
        let there = position_of(&snapshot, name);
        let covered = everything >= *at;
        if there != *at && !covered {
            return Err(Found(format!(
                "{name} at {at} is at {there}, and everything at {everything}"
            )));
        }
    }
    let end = snapshot.position.number;
    if everything > end {
        return Err(Found(format!(
            "everything is at {everything}, beyond {end}"
        )));
    }
    Ok(())
}

async fn outlived(nodes: Nodes<'_>) -> Result<(), Found> {
    let marked = mark(nodes, "outlived").await?;
    // One node keeps its entries for longer than the other one knows.
    let life = prune(nodes.one, 0, LONG).await?;
    if life < LONG {
        return Err(Found(format!("the longest life is {life:?}, not {LONG:?}")));
    }
    prune(nodes.two, marked[2].1, SHORT).await?;
    let snapshot = nodes.one.snapshot().await?;
    for (name, at) in &marked {
        same(name, &position_of(&snapshot, name), at)?;
    }
    Ok(())
}

async fn walked(nodes: Nodes<'_>) -> Result<(), Found> {
    let keys = ["walked:a", "walked:b%7B", "walked:c"];
    for key in keys {
        write(nodes.one, key, Bytes::from_static(b"a value")).await?;
    }
    let (mut found, mut place) = (Vec::new(), Some(String::new()));
    for _ in 0..PAGES {
        let Some(after) = place else { break };
        let page = nodes.two.scan(&after).await?;
        found.extend(page.keys);
        place = page.next;
    }
    if place.is_some() {
        return Err(Found("it has no end".into()));
    }
    if found.is_empty() {
        return Ok(());
    }
    let missed = keys.iter().filter(|key| !found.iter().any(|f| f == *key));
    same("the number of keys it missed", &missed.count(), &0)
}

async fn begun(nodes: Nodes<'_>) -> Result<(), Found> {
    let value = Bytes::from_static(b"a value of some length");
    write(nodes.one, "begun", value.clone()).await?;
    for (bytes, due) in [(7, value.slice(..7)), (1_000, value)] {
        same("a head", &nodes.two.head("begun", bytes).await?, &due)?;
    }
    let nothing = nodes.two.head("begun:not", 7).await?;
    same("the head of no value", &nothing, &Bytes::new())
}

async fn discarded(nodes: Nodes<'_>) -> Result<(), Found> {
    let value = Bytes::from_static(b"a value");
    write(nodes.one, "discarded", value.clone()).await?;
    for head in ["b", "a value and more"] {
        let gone = nodes.two.discard("discarded", head.into()).await?;
        same("whether another one was discarded", &gone, &false)?;
        let there = nodes.one.read("discarded").await?;
        same("what is there then", &there, &Some(value.clone()))?;
    }
    let gone = nodes.two.discard("discarded", value.slice(..3)).await?;
    let there = nodes.one.read("discarded").await?.is_some();
    same("whether it is still there", &there, &!gone)
}

async fn closed(nodes: Nodes<'_>) -> Result<(), Found> {
    for node in [nodes.one, nodes.two, nodes.one] {
        // They may be two names of one thing.
        let _ = node.close().await;
    }
    for node in [nodes.one, nodes.two] {
        // An error where it has connections, whatever else where it has none.
        let _ = node.read("closed").await;
        let _ = node.invalidate(&Scope::All, Author::new(1, 0, 0)).await;
        let _ = node.tail(0, Duration::ZERO, 1).await;
    }
    Ok(())
}
