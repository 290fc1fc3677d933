//! Two processes' caches over one second level: who answers, and how a change on one side reaches the other.
//!
//! Without servers the second level is the one in memory that bilten-cache ships for tests. With Redis:
//! `REDIS_URL=redis://127.0.0.1:6379 cargo run -p bilten-examples --example two_level_cache`

#![allow(clippy::print_stdout)]

use std::time::Duration;

use bilten_cache::test_util::FaultyRemote;
use bilten_cache::{Cache, Error, Pattern, Region, events::Event, remote::Scope};

type Prices = Region<str, u32>;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let store = FaultyRemote::new();
    let (cache, here) = process(store.clone()).await?;
    let (other, there) = process(store.another_node()).await?;
    println!("{}", cache.status());
    cache.clear().await;

    println!("here  {}", price(&here, 3).await?); // loads
    println!("here  {}", price(&here, 0).await?); // from this process's memory
    here.set("coffee", 4).await?; // into both levels
    println!("there {:?}", there.get("coffee").await); // from the second level

    // One append to a log, whether three keys match or three million; the news take about a millisecond.
    let mut news = other.events();
    let ack = cache.invalidate_pattern(&Pattern::glob("price:*")?).await;
    println!("{ack:?}");
    while !news.next().await.is_some_and(is_of_a_pattern) {}
    println!("there {:?}", there.get("coffee").await);
    println!("there {}", price(&there, 5).await?); // loads
    Ok(())
}

fn is_of_a_pattern(event: Event) -> bool {
    matches!(event, Event::Invalidated { scope, .. } if matches!(scope, Scope::Pattern(_)))
}

async fn process(store: FaultyRemote) -> Result<(Cache, Prices), Error> {
    let cache = Cache::builder("shop").memory_bytes(8 << 20);
    let cache = match std::env::var("REDIS_URL") {
        Ok(url) => cache.redis(url).build().await?,
        Err(_) => cache.remote(store).build().await?,
    };
    let prices = cache
        .region("price")
        .time_to_live(Duration::from_secs(300))
        .build()?;
    Ok((cache, prices))
}

/// The price of tea, from wherever it is quickest; `database` is what the database would say.
async fn price(prices: &Prices, database: u32) -> Result<u32, Error> {
    let load = async move |_| Ok::<_, std::io::Error>(database);
    Ok(*prices.get_or_load("tea", load).await?)
}
