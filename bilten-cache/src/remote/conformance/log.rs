use std::time::{Duration, Instant};

use super::{Found, Nodes, Violation, rule, same};
use crate::Pattern;
use crate::remote::{Author, PAGE, Position, RemoteError, Scope};

/// Longer than any answer takes: a tail that waits this long has missed its record.
const WAIT: Duration = Duration::from_secs(1);

pub(super) async fn check(nodes: Nodes<'_>) -> Result<(), Violation> {
    rule("positions are dense over all nodes", dense(nodes)).await?;
    rule("the log tells who changed what, in order", told(nodes)).await?;
    rule("a tail waits for the next record", awaited(nodes)).await?;
    rule("a dropped tail disturbs nobody", dropped(nodes)).await?;
    rule("wide scopes leave markers, keys do not", marked(nodes)).await?;
    rule("the pulse tells position, time and stamp", pulse(nodes)).await?;
    rule(
        "who has seen more begins a new incarnation",
        stepped_back(nodes),
    )
    .await
}

async fn position(nodes: Nodes<'_>) -> Result<Position, Found> {
    Ok(nodes.one.snapshot().await?.position)
}

/// An author who knows all of the log.
async fn author(nodes: Nodes<'_>, node: u64) -> Result<Author, Found> {
    let at = position(nodes).await?;
    Ok(Author::new(node, at.incarnation, at.number))
}

fn wide_scopes() -> Result<[Scope; 5], Found> {
    let glob = |text| Pattern::glob(text).map_err(|error| Found(error.to_string()));
    Ok([
        Scope::Tag("city:berlin %*".into()),
        Scope::all_of(["city:berlin %*", "jazz"]),
        Scope::Pattern(glob("events:list:*")?),
        Scope::Pattern(glob("events:*:[ab]")?),
        Scope::All,
    ])
}

async fn dense(nodes: Nodes<'_>) -> Result<(), Found> {
    let before = position(nodes).await?;
    let key = Scope::Key("dense".into());
    for (step, node) in (1..=4).zip([nodes.one, nodes.two].into_iter().cycle()) {
        let known = author(nodes, step).await?;
        let found = if step == 3 {
            node.claim("dense", 1, WAIT, known).await?
        } else {
            node.invalidate(&key, known).await?
        };
        let due = Position::new(before.incarnation, before.number + step);
        same("the position of a record", &found, &due)?;
    }
    Ok(())
}

async fn told(nodes: Nodes<'_>) -> Result<(), Found> {
    let start = position(nodes).await?.number;
    let [tag, tags, prefix, glob, all] = wide_scopes()?;
    let key = Scope::Key("told:%7B".into());
    let scopes = [key, tag, tags, prefix, glob, all];
    for (node, scope) in (10..).zip(&scopes) {
        nodes
            .one
            .invalidate(scope, author(nodes, node).await?)
            .await?;
    }
    let records = nodes.two.tail(start, Duration::ZERO, PAGE).await?;
    let due = (0..).zip(&scopes);
    let due = due.map(|(at, scope)| (start + 1 + at, 10 + at, Some(scope.encode())));
    let found = records.iter();
    let found = found.map(|record| {
        let scope = record.scope.as_ref();
        (record.number, record.node, scope.map(Scope::encode))
    });
    same(
        "the log",
        &found.collect::<Vec<_>>(),
        &due.collect::<Vec<_>>(),
    )?;
    if records.iter().any(|record| record.stamp == 0) {
        return Err(Found("a record has no stamp".into()));
    }
    let mut pairs = records.iter().zip(records.iter().skip(1));
    if pairs.any(|(before, record)| ![0, before.stamp].contains(&record.follows)) {
        return Err(Found(
            "a record names another before it than there is".into(),
        ));
    }
    let end = position(nodes).await?.number;
    let after = nodes.two.tail(end, Duration::ZERO, PAGE).await?;
    same("the log after its end", &after, &Vec::new())
}

async fn awaited(nodes: Nodes<'_>) -> Result<(), Found> {
    let known = author(nodes, 1).await?;
    let nothing = nodes.two.tail(known.seen, WAIT / 20, PAGE).await?;
    same("a log where nothing happens", &nothing, &Vec::new())?;
    let scope = Scope::Key("awaited".into());
    let append = async {
        // So that it usually comes while the other waits; the rule holds in either order.
        tokio::time::sleep(WAIT / 50).await;
        nodes.one.invalidate(&scope, known).await
    };
    let wait = async {
        loop {
            let begun = Instant::now();
            let records = nodes.two.tail(known.seen, WAIT, PAGE).await?;
            // On a machine that stands still for a while the record may come later than that.
            if !records.is_empty() || begun.elapsed() < WAIT / 2 {
                return Ok(records);
            }
        }
    };
    let (records, appended): (Result<_, RemoteError>, _) = tokio::join!(wait, append);
    let numbers: Vec<u64> = records?.iter().map(|record| record.number).collect();
    same("what the tail saw", &numbers, &vec![appended?.number])
}

async fn dropped(nodes: Nodes<'_>) -> Result<(), Found> {
    let known = author(nodes, 1).await?;
    let begun = Instant::now();
    let given_up = nodes.two.tail(known.seen, WAIT / 4, 1);
    let ended = tokio::time::timeout(WAIT / 50, given_up).await.is_ok();
    // On a machine that stands still for a while it may have ended by itself.
    if ended && begun.elapsed() < WAIT / 8 {
        return Err(Found("a tail of a log at rest did not wait".into()));
    }
    let scope = Scope::Key("dropped".into());
    let number = nodes.two.invalidate(&scope, known).await?.number;
    let records = nodes.two.tail(known.seen, WAIT, PAGE).await?;
    let numbers: Vec<u64> = records.iter().map(|record| record.number).collect();
    same("what the next tail saw", &numbers, &vec![number])
}

async fn marked(nodes: Nodes<'_>) -> Result<(), Found> {
    let scopes = wide_scopes()?;
    for scope in &scopes {
        // Twice: the last position counts.
        for node in [nodes.one, nodes.two] {
            let known = author(nodes, 1).await?;
            node.invalidate(scope, known).await?;
        }
        let snapshot = nodes.two.snapshot().await?;
        let mut markers = snapshot.markers.iter();
        let at = markers.find(|(marked, _)| marked.encode() == scope.encode());
        let at = at.map(|(_, at)| *at);
        same("a marker", &at, &Some(snapshot.position.number))?;
    }
    let markers = nodes.two.snapshot().await?.markers;
    let keys = markers.iter().filter(|(scope, _)| scope.key().is_some());
    same("the number of markers of keys", &keys.count(), &0)
}

async fn pulse(nodes: Nodes<'_>) -> Result<(), Found> {
    let known = author(nodes, 1).await?;
    let scope = Scope::Key("pulse".into());
    let at = nodes.one.invalidate(&scope, known).await?;
    let records = nodes.one.tail(known.seen, WAIT, PAGE).await?;
    let stamp = records.first().map(|record| record.stamp);
    let early = nodes.two.pulse(at.number).await?;
    same("the position", &early.position, &Some(at))?;
    same("the stamp", &early.stamp, &stamp)?;
    let late = nodes.two.pulse(at.number + 1_000).await?;
    same("the stamp of no record", &late.stamp, &None)?;
    if early.server_millis == 0 || late.server_millis < early.server_millis {
        return Err(Found(format!(
            "the clock goes from {} to {}",
            early.server_millis, late.server_millis
        )));
    }
    Ok(())
}

async fn stepped_back(nodes: Nodes<'_>) -> Result<(), Found> {
    let before = position(nodes).await?;
    let scope = Scope::Key("stepped".into());
    let stranger = Author::new(1, before.incarnation.wrapping_add(1), u64::MAX >> 16);
    let at = nodes.one.invalidate(&scope, stranger).await?;
    let due = Position::new(before.incarnation, before.number + 1);
    same("a record of who knows another incarnation", &at, &due)?;
    let ahead = Author::new(1, at.incarnation, at.number + 1_000);
    let at = nodes.one.invalidate(&scope, ahead).await?;
    if at.incarnation == before.incarnation || at.number == 0 {
        return Err(Found("the incarnation stays".into()));
    }
    let snapshot = nodes.two.snapshot().await?;
    same("the position of the snapshot", &snapshot.position, &at)?;
    same("the number of markers", &snapshot.markers.len(), &0)?;
    let records = nodes.two.tail(at.number - 1, Duration::ZERO, PAGE).await?;
    same("the number of records", &records.len(), &1)
}
