use super::*;
use crate::test_util::FaultyRemote;

#[tokio::test(start_paused = true)]
async fn what_is_left_behind_waits_for_both_of_its_places_as_long_as_one_call_may_take() {
    let budget = Duration::from_secs(1);
    let limits = Limits {
        budget,
        concurrent: 2,
        crowd: 0,
    };
    let (cache, clock) = (Arc::from("shop"), Clock::system());
    let meters = CacheMeters::new("shop");
    let remote = Arc::new(FaultyRemote::new());
    let on_breaker = OnBreaker::new(|_| {});
    let gate = Gate::new(&cache, remote, limits, clock, meters, on_breaker);
    let others = gate.permits.acquire_many(2).await;
    let aside = gate.aside.acquire().await;
    let leaves = async {
        tokio::time::sleep(budget * 9 / 10).await;
        drop(aside);
    };
    let begun = Instant::now();
    let (turn, ()) = tokio::join!(gate.aside(), leaves);
    assert!(matches!(turn, Err(RemoteError::Overloaded)));
    assert_eq!(begun.elapsed(), budget);
    drop(others);
    assert!(gate.aside().await.is_ok());
}
