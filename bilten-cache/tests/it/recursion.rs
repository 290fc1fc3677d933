//! Loaders that ask the cache for what they are loading, by themselves or in a circle, and loaders that never return.

use std::io;
use std::time::Duration;

use bilten_cache::test_util::{Call, FaultyRemote};
use bilten_cache::{Cache, Error, Region};

use crate::harness::{Node, eventually};

const LIMIT: Duration = Duration::from_secs(3);

type Stock = Region<str, u32>;

async fn stock() -> (Cache, Stock) {
    let cache = Cache::builder("shop").build().await.unwrap();
    let stock = cache.region("stock").load_timeout(LIMIT).build().unwrap();
    (cache, stock)
}

fn is_recursive(error: &Error, name: &str) -> bool {
    matches!(error, Error::Recursive { key, .. } if **key == *name)
}

/// Each loader hands on the error of the next one.
fn at_the_bottom(error: &Error, name: &str) -> bool {
    is_recursive(error, name)
        || error
            .source_as()
            .is_some_and(|inner| at_the_bottom(inner, name))
}

#[tokio::test]
async fn a_circle_of_two_keys_is_an_error_that_names_the_first() {
    let (_cache, stock) = stock().await;
    let (outer, inner) = (stock.clone(), stock.clone());
    let error = stock
        .get_or_load("tea", async move |_| {
            outer
                .get_or_load("jam", async move |_| {
                    let error = inner
                        .get_or_load("tea", async |_| Ok::<_, io::Error>(1))
                        .await;
                    let error = error.unwrap_err();
                    assert!(is_recursive(&error, "stock:tea"), "{error}");
                    Err::<u32, _>(error)
                })
                .await
                .map(|value| *value)
        })
        .await
        .unwrap_err();
    assert!(at_the_bottom(&error, "stock:tea"), "{error:?}");
    assert_eq!(
        *stock
            .get_or_load("tea", async |_| Ok::<_, io::Error>(2))
            .await
            .unwrap(),
        2
    );
}

#[tokio::test]
async fn a_circle_through_a_load_of_many_is_an_error_too() {
    let (_cache, stock) = stock().await;
    let (outer, inner) = (stock.clone(), stock.clone());
    let error = stock
        .get_or_load_many(["tea".to_owned()], move |_| {
            let (outer, inner) = (outer.clone(), inner.clone());
            async move {
                let jam = outer.get_or_load("jam", async move |_| {
                    let found = inner
                        .get_or_load("tea", async |_| Ok::<_, io::Error>(1))
                        .await;
                    found.map(|value| *value)
                });
                jam.await.map(|value| vec![("tea".to_owned(), *value)])
            }
        })
        .await
        .unwrap_err();
    assert!(at_the_bottom(&error, "stock:tea"), "{error:?}");
}

/// Two loads that wait for each other are no recursion that one of them could see.
#[tokio::test(start_paused = true)]
async fn two_loads_that_wait_for_each_other_end_at_their_limit_and_leave_nothing_behind() {
    let (_cache, stock) = stock().await;
    let meet = std::sync::Arc::new(tokio::sync::Barrier::new(2));
    let crossed = |own: &'static str, other: &'static str| {
        let (stock, inner, meet) = (stock.clone(), stock.clone(), meet.clone());
        tokio::spawn(async move {
            let load = async move |_| {
                meet.wait().await;
                let found = inner
                    .get_or_load(other, async |_| Ok::<_, io::Error>(9))
                    .await;
                found.map(|value| *value)
            };
            stock.get_or_load(own, load).await
        })
    };
    let (tea, jam) = (crossed("tea", "jam"), crossed("jam", "tea"));
    let begun = tokio::time::Instant::now();
    for caller in [tea, jam] {
        let error = caller.await.unwrap().unwrap_err();
        assert!(
            matches!(error, Error::LoadTimeout { .. } | Error::Load { .. }),
            "{error}"
        );
    }
    assert!(begun.elapsed() <= LIMIT * 2, "{:?}", begun.elapsed());
    for key in ["tea", "jam"] {
        let load = async |_| Ok::<_, io::Error>(2);
        assert_eq!(*stock.get_or_load(key, load).await.unwrap(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_of_a_loader_that_asks_for_its_key_ends_with_the_load() {
    let (_cache, stock) = stock().await;
    let inner = stock.clone();
    let error = stock
        .get_or_load("tea", async move |_| {
            let asked = tokio::spawn(async move {
                inner
                    .get_or_load("tea", async |_| Ok::<_, io::Error>(1))
                    .await
            });
            asked.await.unwrap().map(|value| *value)
        })
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::LoadTimeout { after, .. } if after == LIMIT),
        "{error}"
    );
    assert_eq!(
        *stock
            .get_or_load("tea", async |_| Ok::<_, io::Error>(2))
            .await
            .unwrap(),
        2
    );
}

#[tokio::test(start_paused = true)]
async fn a_loader_of_many_that_never_returns_leaves_its_place_and_its_leases() {
    let store = FaultyRemote::new();
    let node = Node::on(&store).await;
    let stock: Stock = node
        .cache
        .region("slow")
        .load_timeout(LIMIT)
        .max_concurrent_loads(1)
        .build()
        .unwrap();
    let keys = || ["tea".to_owned(), "jam".to_owned()];
    let never = |_: Vec<String>| std::future::pending::<Result<Vec<(String, u32)>, io::Error>>();
    let begun = tokio::time::Instant::now();
    let error = stock.get_or_load_many(keys(), never).await.unwrap_err();
    assert!(
        matches!(error, Error::LoadTimeout { after, .. } if after == LIMIT),
        "{error}"
    );
    assert!(begun.elapsed() < LIMIT * 2, "{:?}", begun.elapsed());
    eventually("the leases were given back", || {
        store.calls(Call::Release) >= 2
    })
    .await;
    let found = stock
        .get_or_load_many(keys(), |missing| async move {
            Ok::<_, io::Error>(missing.into_iter().map(|key| (key, 5)).collect::<Vec<_>>())
        })
        .await
        .unwrap();
    assert!(
        found.iter().all(|value| value.as_deref() == Some(&5)),
        "{found:?}"
    );
}
