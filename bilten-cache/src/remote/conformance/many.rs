use std::sync::Arc;
use std::time::Duration;

use super::{ANYTHING, Found, Nodes, Violation, rule, same};
use crate::remote::{Author, Each, Lease, PAGE, Parcel, Position};

const LONG: Duration = Duration::from_secs(60);

pub(super) async fn check(nodes: Nodes<'_>) -> Result<(), Violation> {
    rule("many claims are as many records", claimed(nodes)).await?;
    rule("of many values each needs its claim", stored(nodes)).await?;
    rule("many removals are as many records", removed(nodes)).await
}

fn author() -> Author {
    Author::new(1, 0, 0)
}

fn keys(about: &str) -> [Arc<str>; 3] {
    ["a", "b", "c"].map(|key| format!("many:{about} {key}").into())
}

/// Each answer, and that no number comes twice.
fn numbers(answers: Each<Position>) -> Result<Vec<u64>, Found> {
    let positions: Result<Vec<Position>, _> = answers.into_iter().collect();
    let numbers: Vec<u64> = positions?.iter().map(|position| position.number).collect();
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    sorted.dedup();
    same("how many records there are", &sorted.len(), &3)?;
    Ok(numbers)
}

/// That the log has exactly these keys at these numbers.
async fn logged(nodes: Nodes<'_>, keys: &[Arc<str>], numbers: &[u64]) -> Result<(), Found> {
    let first = numbers.iter().min().copied().unwrap_or_default();
    let records = nodes.two.tail(first - 1, Duration::ZERO, PAGE).await?;
    for (key, number) in keys.iter().zip(numbers) {
        let record = records.iter().find(|record| record.number == *number);
        let scope = record.and_then(|record| record.scope.as_ref());
        same(
            "the key of a record",
            &scope.and_then(|scope| scope.key()),
            &Some(key),
        )?;
    }
    Ok(())
}

async fn claimed(nodes: Nodes<'_>) -> Result<(), Found> {
    let Nodes { one, two } = nodes;
    let keys = keys("claimed");
    let parcel = Parcel::new(Arc::clone(&keys[1]), 5, "old", LONG);
    one.claim(&keys[1], 5, LONG, author()).await?;
    same(
        "the store of one",
        &one.store_many(&[parcel])
            .await?
            .into_iter()
            .flatten()
            .next(),
        &Some(true),
    )?;
    let claims: Vec<_> = keys.iter().cloned().zip(6..).collect();
    let numbers = numbers(one.claim_many(&claims, LONG, author()).await?)?;
    for key in &keys {
        same("the old value", &two.read(key).await?, &None)?;
        let lease = two.lease(key, 9, LONG, ANYTHING).await?;
        same("a lease beside the claim", &lease, &Lease::Busy)?;
    }
    logged(nodes, &keys, &numbers).await
}

async fn stored(nodes: Nodes<'_>) -> Result<(), Found> {
    let Nodes { one, two } = nodes;
    let keys = keys("stored");
    let claims: Vec<_> = keys.iter().cloned().zip(6..).collect();
    numbers(one.claim_many(&claims, LONG, author()).await?)?;
    two.claim(&keys[1], 99, LONG, author()).await?;
    let parcel = |(key, token): &(Arc<str>, u64)| {
        Parcel::new(Arc::clone(key), *token, format!("value {token}"), LONG)
    };
    let parcels: Vec<Parcel> = claims.iter().map(parcel).collect();
    let stored: Result<Vec<bool>, _> = one.store_many(&parcels).await?.into_iter().collect();
    same("which were stored", &stored?, &vec![true, false, true])?;
    for (at, parcel) in parcels.iter().enumerate() {
        let due = (at != 1).then(|| parcel.envelope.clone());
        same("a value", &two.read(&parcel.key).await?, &due)?;
    }
    let again: Result<Vec<bool>, _> = one.store_many(&parcels).await?.into_iter().collect();
    same("a second time", &again?, &vec![false; 3])
}

async fn removed(nodes: Nodes<'_>) -> Result<(), Found> {
    let Nodes { one, two } = nodes;
    let keys = keys("removed");
    one.claim(&keys[0], 5, LONG, author()).await?;
    one.store(&keys[0], 5, "old".into(), LONG).await?;
    two.lease(&keys[1], 6, LONG, None).await?;
    let numbers = numbers(one.remove_many(&keys, author()).await?)?;
    same("the value", &two.read(&keys[0]).await?, &None)?;
    let late = two.store(&keys[1], 6, "late".into(), LONG).await?;
    same("a store under the lease of before", &late, &false)?;
    logged(nodes, &keys, &numbers).await
}
