use std::time::{Duration, Instant};

use bytes::Bytes;

use super::asks::Ask;
use super::{ANYTHING, Found, Nodes, Violation, rule, same};
use crate::envelope::{EXPIRED_BYTE, POSITION_OFFSET};
use crate::remote::{Author, Lease, Remote, Scope};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(60);

pub(super) async fn check(nodes: Nodes<'_>) -> Result<(), Violation> {
    rule("a key that nobody wrote has no value", absent(nodes)).await?;
    rule("what one node writes the other reads", written(nodes)).await?;
    rule("many keys are read in their order", read_together(nodes)).await?;
    for ask in Ask::BOTH {
        rule("a lease goes to one load", exclusive(nodes, ask)).await?;
        rule("a lease runs out by itself", expiring(nodes, ask)).await?;
        rule("only its holder lengthens a lease", renewed(nodes, ask)).await?;
        rule("only its holder gives a lease back", released(nodes, ask)).await?;
        rule("a value is stored only under its lease", stored(nodes, ask)).await?;
        rule("a claim takes value and lease", claimed(nodes, ask)).await?;
        rule(
            "a claim that was taken over stores nothing",
            taken_over(nodes, ask),
        )
        .await?;
        rule(
            "an invalidation removes value and lease",
            invalidated(nodes, ask),
        )
        .await?;
        rule(
            "an expiry marks the value and breaks the lease",
            expired(nodes, ask),
        )
        .await?;
        rule(
            "a lease over a value is over the one that was seen",
            over_a_value(nodes, ask),
        )
        .await?;
    }
    rule("of two claims the last one stores", claimed_twice(nodes)).await
}

/// Envelopes longer than the header, with bytes that no text has.
fn envelope(length: usize) -> Bytes {
    (0..=u8::MAX).cycle().take(length).collect()
}

fn author(node: u64) -> Author {
    Author::new(node, 0, 0)
}

/// A whole write.
pub(super) async fn write(node: &dyn Remote, key: &str, envelope: Bytes) -> Result<(), Found> {
    let token = 77;
    node.claim(key, token, LONG, author(1)).await?;
    let stored = node.store(key, token, envelope, LONG).await?;
    same("the store after a claim", &stored, &true)
}

async fn absent(nodes: Nodes<'_>) -> Result<(), Found> {
    same("the value", &nodes.one.read("absent").await?, &None)
}

async fn written(nodes: Nodes<'_>) -> Result<(), Found> {
    // Encoded keys carry percent signs and any letters.
    for (key, length) in [("w:%7B1%7D", 64), ("w:é", 256), ("w:large", 1 << 20)] {
        let sent = envelope(length);
        write(nodes.one, key, sent.clone()).await?;
        same("the value", &nodes.two.read(key).await?, &Some(sent))?;
    }
    Ok(())
}

async fn read_together(nodes: Nodes<'_>) -> Result<(), Found> {
    for (key, length) in [("m:1", 64), ("m:3", 80)] {
        write(nodes.one, key, envelope(length)).await?;
    }
    let keys = ["m:3", "m:2", "m:1", "m:3"].map(std::sync::Arc::from);
    let found = nodes.two.read_many(&keys).await?;
    let lengths = found.iter().map(|value| value.as_ref().map(Bytes::len));
    let due = [Some(80), None, Some(64), Some(80)];
    same("the lengths", &lengths.collect::<Vec<_>>(), &due.to_vec())
}

async fn exclusive(nodes: Nodes<'_>, ask: Ask) -> Result<(), Found> {
    let key = &*ask.key("l");
    let first = ask.lease(nodes.one, key, 1, LONG, None).await?;
    same("the first try", &first, &Lease::Owned)?;
    let second = ask.lease(nodes.two, key, 2, LONG, None).await?;
    same("the second try", &second, &Lease::Busy)?;
    let other = ask.lease(nodes.two, &ask.key("l2"), 2, LONG, None).await?;
    same("the lease of another key", &other, &Lease::Owned)
}

async fn expiring(nodes: Nodes<'_>, ask: Ask) -> Result<(), Found> {
    let key = &*ask.key("e");
    ask.lease(nodes.one, key, 1, SHORT, None).await?;
    while ask.lease(nodes.two, key, 2, LONG, None).await? != Lease::Owned {
        tokio::time::sleep(SHORT / 4).await;
    }
    let late = nodes.one.store(key, 1, envelope(64), LONG).await?;
    same("a store under the lease that ran out", &late, &false)
}

async fn renewed(nodes: Nodes<'_>, ask: Ask) -> Result<(), Found> {
    let key = &*ask.key("r");
    let hold = Duration::from_millis(250);
    loop {
        let begun = Instant::now();
        ask.lease(nodes.one, key, 1, hold, None).await?;
        let foreign = nodes.two.renew(key, 2, LONG).await?;
        same("the renewal of somebody else", &foreign, &false)?;
        let own = nodes.one.renew(key, 1, LONG).await?;
        // A machine that stood still for a while may have lost the lease in time.
        if own || begun.elapsed() < hold {
            same("the holder's renewal", &own, &true)?;
            break;
        }
    }
    tokio::time::sleep(hold).await;
    let later = ask.lease(nodes.two, key, 2, LONG, None).await?;
    same("a try after the first time", &later, &Lease::Busy)?;
    let never = nodes.one.renew(&ask.key("never leased"), 1, LONG).await?;
    same("the renewal of no lease", &never, &false)
}

async fn released(nodes: Nodes<'_>, ask: Ask) -> Result<(), Found> {
    let key = &*ask.key("g");
    ask.lease(nodes.one, key, 1, LONG, None).await?;
    nodes.two.release(key, 2).await?;
    let still = ask.lease(nodes.two, key, 2, LONG, None).await?;
    same("a try after a foreign release", &still, &Lease::Busy)?;
    nodes.one.release(key, 1).await?;
    let free = ask.lease(nodes.two, key, 2, LONG, None).await?;
    same("a try after the holder's release", &free, &Lease::Owned)
}

async fn stored(nodes: Nodes<'_>, ask: Ask) -> Result<(), Found> {
    let key = &*ask.key("s");
    let value = envelope(64);
    let without = nodes.one.store(key, 1, value.clone(), LONG).await?;
    same("a store without a lease", &without, &false)?;
    ask.lease(nodes.one, key, 1, LONG, None).await?;
    let foreign = nodes.two.store(key, 2, value.clone(), LONG).await?;
    same("a store under somebody else's lease", &foreign, &false)?;
    same("the value", &nodes.two.read(key).await?, &None)?;
    let own = nodes.one.store(key, 1, value.clone(), LONG).await?;
    same("the holder's store", &own, &true)?;
    let found = ask.lease(nodes.two, key, 2, LONG, None).await?;
    same("the next try", &found, &Lease::Value(value.clone()))?;
    let free = ask.lease(nodes.two, key, 3, LONG, ANYTHING).await?;
    same("a try after one that found a value", &free, &Lease::Owned)?;
    nodes.two.release(key, 3).await?;
    let again = nodes.one.store(key, 1, envelope(80), LONG).await?;
    same("a second store under the same lease", &again, &false)?;
    same("the value", &nodes.two.read(key).await?, &Some(value))
}

async fn claimed(nodes: Nodes<'_>, ask: Ask) -> Result<(), Found> {
    let key = &*ask.key("b");
    write(nodes.one, key, envelope(64)).await?;
    ask.lease(nodes.one, key, 1, LONG, ANYTHING).await?;
    nodes.two.claim(key, 2, LONG, author(2)).await?;
    same("the value", &nodes.one.read(key).await?, &None)?;
    let busy = ask.lease(nodes.one, key, 3, LONG, None).await?;
    same("a try after somebody's claim", &busy, &Lease::Busy)?;
    let late = nodes.one.store(key, 1, envelope(80), LONG).await?;
    same("a store under the lease before the claim", &late, &false)?;
    let own = nodes.two.store(key, 2, envelope(64), LONG).await?;
    same("the claimant's store", &own, &true)?;
    let length = nodes.one.read(key).await?.map(|value| value.len());
    same("the length of the value", &length, &Some(64))
}

async fn claimed_twice(nodes: Nodes<'_>) -> Result<(), Found> {
    nodes.one.claim("c", 1, LONG, author(1)).await?;
    nodes.two.claim("c", 2, LONG, author(2)).await?;
    let last = nodes.two.store("c", 2, envelope(64), LONG).await?;
    same("the store of the last claim", &last, &true)?;
    // As if it had been on its way for a long time.
    let late = nodes.one.store("c", 1, envelope(80), LONG).await?;
    same("the store of the first claim", &late, &false)?;
    let length = nodes.one.read("c").await?.map(|value| value.len());
    same("the length of the value", &length, &Some(64))
}

async fn taken_over(nodes: Nodes<'_>, ask: Ask) -> Result<(), Found> {
    let key = &*ask.key("t");
    nodes.one.claim(key, 1, LONG, author(1)).await?;
    let scope = Scope::Key(key.into());
    nodes.two.invalidate(&scope, author(2)).await?;
    let late = nodes.one.store(key, 1, envelope(64), LONG).await?;
    same("a store after an invalidation", &late, &false)?;
    nodes.one.claim(key, 1, SHORT, author(1)).await?;
    while ask.lease(nodes.two, key, 2, LONG, None).await? != Lease::Owned {
        tokio::time::sleep(SHORT / 4).await;
    }
    let late = nodes.one.store(key, 1, envelope(64), LONG).await?;
    same("a store after the claim ran out", &late, &false)?;
    same("the value", &nodes.two.read(key).await?, &None)
}

async fn invalidated(nodes: Nodes<'_>, ask: Ask) -> Result<(), Found> {
    let key = &*ask.key("i");
    write(nodes.one, key, envelope(64)).await?;
    ask.lease(nodes.one, key, 1, LONG, ANYTHING).await?;
    let scope = Scope::Key(key.into());
    nodes.two.invalidate(&scope, author(2)).await?;
    same("the value", &nodes.one.read(key).await?, &None)?;
    let late = nodes.one.store(key, 1, envelope(64), LONG).await?;
    same("a store after the invalidation", &late, &false)
}

async fn expired(nodes: Nodes<'_>, ask: Ask) -> Result<(), Found> {
    let key = &*ask.key("x");
    let scope = Scope::Expired(key.into());
    nodes.one.invalidate(&scope, author(1)).await?;
    same("the value of no key", &nodes.two.read(key).await?, &None)?;
    write(nodes.one, key, envelope(64)).await?;
    let before = nodes.one.read(key).await?.unwrap_or_default();
    ask.lease(nodes.one, key, 1, LONG, ANYTHING).await?;
    nodes.two.invalidate(&scope, author(2)).await?;
    let mut due = before.to_vec();
    due[POSITION_OFFSET] = EXPIRED_BYTE;
    same("the value", &nodes.one.read(key).await?, &Some(due.into()))?;
    let late = nodes.one.store(key, 1, envelope(80), LONG).await?;
    same("a store after the expiry", &late, &false)
}

async fn over_a_value(nodes: Nodes<'_>, ask: Ask) -> Result<(), Found> {
    let key = &*ask.key("o");
    let (old, new) = (envelope(64), Bytes::from_static(&[0xFF; 80]));
    write(nodes.one, key, old.clone()).await?;
    let seen = Some(&old[..56]);
    let over = ask.lease(nodes.one, key, 1, LONG, seen).await?;
    same("a try over the value", &over, &Lease::Owned)?;
    let second = ask.lease(nodes.two, key, 2, LONG, seen).await?;
    same("the second try over the value", &second, &Lease::Busy)?;
    let stored = nodes.one.store(key, 1, new.clone(), LONG).await?;
    same("the store over the value", &stored, &true)?;
    let late = ask.lease(nodes.two, key, 2, LONG, seen).await?;
    let due = Lease::Value(new.clone());
    same("a try over the value that was there before", &late, &due)?;
    let short = ask
        .lease(nodes.two, key, 2, LONG, Some(&[0xFF; 81]))
        .await?;
    same("a try over a longer value", &short, &due)?;
    let any = ask.lease(nodes.two, key, 2, LONG, ANYTHING).await?;
    same("a try over any value", &any, &Lease::Owned)?;
    nodes
        .two
        .invalidate(&Scope::Key(key.into()), author(2))
        .await?;
    let none = ask.lease(nodes.two, key, 3, LONG, seen).await?;
    same("a try over a value that has gone", &none, &Lease::Owned)
}
