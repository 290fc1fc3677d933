use std::sync::Arc;
use std::time::Duration;

use super::asks::Ask;
use super::{ANYTHING, Found, Nodes, Violation, rule, same};
use crate::remote::{Author, Demand, Lease, PAGE, Position, Remote, RemoteError, Scope, Wanted};

/// More than any log has, and still exact in a script.
const EVERYTHING: u64 = (1 << 53) - 1;
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(60);

pub(super) async fn check(nodes: Nodes<'_>) -> Result<(), Violation> {
    if keeps_demands(nodes).await {
        rule("a lease tells what a load must reflect", leased(nodes)).await?;
        rule("a demand is told in the log and in snapshots", told(nodes)).await?;
        rule("a demand is kept for its time", forgotten(nodes)).await?;
    }
    if nodes
        .one
        .begin_write("w", 1, LONG)
        .await
        .is_ok_and(|alone| alone)
    {
        rule("writes that overlap know of each other", overlapping(nodes)).await?;
        let interrupted = interrupted(nodes);
        rule("a write knows of a removal meanwhile", interrupted).await?;
        let overtaken = overtaken(nodes);
        rule("a write knows of a value that was set meanwhile", overtaken).await?;
    }
    Ok(())
}

async fn keeps_demands(nodes: Nodes<'_>) -> bool {
    let Ok(known) = author(nodes).await else {
        return true;
    };
    let wanted = key("s:none", "none", 0);
    !matches!(nodes.one.demand(&wanted, known).await, Ok(None))
}

async fn author(nodes: Nodes<'_>) -> Result<Author, RemoteError> {
    let at = nodes.one.snapshot().await?.position;
    Ok(Author::new(1, at.incarnation, at.number))
}

fn key(key: &str, token: &str, known: u64) -> Wanted {
    let (here, everywhere) = (Demand::of(token), Demand::of([token, "!"].concat()));
    Wanted::new(Scope::Key(key.into()), here, everywhere)
        .knowing(known)
        .kept_for(LONG)
}

async fn demand(node: &dyn Remote, wanted: &Wanted, by: Author) -> Result<Position, Found> {
    let at = node.demand(wanted, by).await?;
    at.ok_or_else(|| Found("a demand is not kept".into()))
}

/// What the lease of a key tells, in any order, however it is asked for.
async fn lease(node: &dyn Remote, key: &str) -> Result<Vec<String>, Found> {
    let told = told_by(Ask::First, node, key).await?;
    let again = told_by(Ask::Again, node, key).await?;
    same("what a second question is told", &again, &told)?;
    Ok(told)
}

async fn told_by(ask: Ask, node: &dyn Remote, key: &str) -> Result<Vec<String>, Found> {
    let lease = ask.lease(node, key, 7, LONG, ANYTHING).await?;
    node.release(key, 7).await?;
    let mut told: Vec<String> = match lease {
        Lease::Owned => Vec::new(),
        Lease::OwnedAfter(demands) => demands.iter().map(Demand::encode).collect(),
        other => return Err(Found(format!("a lease is {other:?}"))),
    };
    told.sort_unstable();
    Ok(told)
}

async fn leased(nodes: Nodes<'_>) -> Result<(), Found> {
    let words = |tokens: &[&str]| -> Vec<String> {
        tokens
            .iter()
            .map(|token| Demand::of(token).encode())
            .collect()
    };
    same(
        "what no change demanded",
        &lease(nodes.two, "s:1").await?,
        &words(&[]),
    )?;
    let by = author(nodes).await?;
    let first = demand(nodes.one, &key("s:1", "a", by.seen), by).await?;
    let at = demand(nodes.two, &key("s:1", "b", by.seen), by)
        .await?
        .number;
    same(
        "what two demanded",
        &lease(nodes.two, "s:1").await?,
        &words(&["a", "b"]),
    )?;
    same(
        "what another key demands",
        &lease(nodes.one, "s:2").await?,
        &words(&[]),
    )?;
    let scope = Scope::Key("s:1".into());
    nodes.one.invalidate(&scope, by).await?;
    nodes.one.claim("s:1", 1, LONG, by).await?;
    nodes.one.release("s:1", 1).await?;
    same(
        "what is left after a change",
        &lease(nodes.one, "s:1").await?,
        &words(&["a", "b"]),
    )?;
    demand(nodes.one, &key("s:1", "c", first.number), by).await?;
    same(
        "what an author of the first record takes in",
        &lease(nodes.one, "s:1").await?,
        &words(&["b", "c"]),
    )?;
    demand(nodes.one, &key("s:1", "d", at + 10), by).await?;
    same(
        "what an author of all records takes in",
        &lease(nodes.one, "s:1").await?,
        &words(&["d"]),
    )?;
    for n in 0..100 {
        demand(nodes.one, &key("s:3", &n.to_string(), 0), by).await?;
    }
    let told = lease(nodes.two, "s:3").await?;
    let safe = told.len() == 100 || told.contains(&Demand::Newest.encode());
    same("whether one of many demands was forgotten", &safe, &true)
}

async fn told(nodes: Nodes<'_>) -> Result<(), Found> {
    let by = author(nodes).await?;
    let wide = [Scope::Tag("s:tag".into()), Scope::All];
    let wide =
        wide.map(|scope| Wanted::new(scope, Demand::of("e"), Demand::of("f")).knowing(EVERYTHING));
    let mut last = by.seen;
    for wanted in [&key("s:4", "e", EVERYTHING), &wide[0], &wide[1]] {
        let at = demand(nodes.one, &wanted.clone().kept_for(LONG), by).await?;
        same("the position of a demand", &at.number, &(last + 1))?;
        last = at.number;
        let records = nodes.two.tail(last - 1, Duration::ZERO, PAGE).await?;
        let found = records.first().map(|r| (r.scope.clone(), r.demand.clone()));
        let due = (Some(wanted.scope.clone()), Some(Demand::of("e")));
        same("its record", &found, &Some(due))?;
    }
    let snapshot = nodes.two.snapshot().await?;
    same(
        "the demands of a snapshot",
        &snapshot.demands,
        &vec![Demand::of("f")],
    )?;
    let mut markers = snapshot.markers.iter().filter(|(_, at)| *at > by.seen);
    same("a marker of a demand", &markers.next().is_some(), &false)
}

async fn forgotten(nodes: Nodes<'_>) -> Result<(), Found> {
    let by = author(nodes).await?;
    let wanted = key("s:5", "g", EVERYTHING);
    demand(nodes.one, &wanted.clone().kept_for(LONG), by).await?;
    demand(nodes.one, &wanted.kept_for(SHORT), by).await?;
    tokio::time::sleep(SHORT * 2).await;
    // Whether it is forgotten after its time is up to the store; that it does no harm is not.
    let told = lease(nodes.two, "s:5").await?;
    same(
        "more than what was demanded",
        &told
            .into_iter()
            .any(|word| word != Demand::of("g").encode()),
        &false,
    )
}

async fn interrupted(nodes: Nodes<'_>) -> Result<(), Found> {
    let Nodes { one, two } = nodes;
    let own: Arc<str> = "w3".into();
    for (token, scope) in (1..).zip([Scope::Key(Arc::clone(&own)), Scope::Expired(own)]) {
        one.begin_write("w3", token, LONG).await?;
        two.invalidate(&scope, author(nodes).await?).await?;
        let alone = one.end_write("w3", token).await?;
        same("whether a write was alone", &alone, &false)?;
    }
    // The writer's own claim is no other write.
    let alone = one.begin_write("w3", 3, LONG).await?;
    one.claim("w3", 3, LONG, author(nodes).await?).await?;
    let both = [alone, one.end_write("w3", 3).await?];
    same("whether the next one was alone", &both, &[true, true])
}

async fn overtaken(nodes: Nodes<'_>) -> Result<(), Found> {
    let Nodes { one, two } = nodes;
    one.begin_write("w4", 1, LONG).await?;
    two.claim("w4", 2, LONG, author(nodes).await?).await?;
    let by_one = one.end_write("w4", 1).await?;
    one.begin_write("w4", 3, LONG).await?;
    two.claim_many(&[("w4".into(), 4)], LONG, author(nodes).await?)
        .await?;
    let alone = [by_one, one.end_write("w4", 3).await?];
    same("whether they were alone", &alone, &[false, false])
}

async fn overlapping(nodes: Nodes<'_>) -> Result<(), Found> {
    let Nodes { one, two } = nodes;
    same(
        "whether a write was alone",
        &one.end_write("w", 1).await?,
        &true,
    )?;
    let alone = [
        one.begin_write("w", 2, LONG).await?,
        two.begin_write("w", 3, LONG).await?,
    ];
    same("whether they seem alone", &alone, &[true, false])?;
    same(
        "whether another key's is alone",
        &two.begin_write("w2", 4, LONG).await?,
        &true,
    )?;
    same(
        "whether the second was alone",
        &two.end_write("w", 3).await?,
        &false,
    )?;
    same(
        "whether a third seems alone",
        &two.begin_write("w", 5, LONG).await?,
        &false,
    )?;
    same(
        "whether the first was alone",
        &one.end_write("w", 2).await?,
        &false,
    )?;
    same(
        "whether the third was alone",
        &two.end_write("w", 5).await?,
        &false,
    )?;
    same(
        "whether a write that never began was alone",
        &one.end_write("w", 6).await?,
        &false,
    )?;
    same(
        "whether the other key's was alone",
        &two.end_write("w2", 4).await?,
        &true,
    )?;
    same(
        "whether they are forgotten",
        &one.begin_write("w", 7, LONG).await?,
        &true,
    )?;
    same(
        "whether the last was alone",
        &one.end_write("w", 7).await?,
        &true,
    )
}
