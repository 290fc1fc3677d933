use std::panic::Location;
use std::time::{Duration, Instant};

/// Waits until the condition holds, looking every 5 ms of tokio's clock; the limit is in real time.
///
/// With a paused clock the pauses cost nothing, so only the limit bounds the looking.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// use std::time::Duration;
///
/// let mut looks = 0;
/// bilten_testbed::eventually_async(Duration::from_secs(5), || {
///     looks += 1;
///     std::future::ready(looks == 3)
/// })
/// .await;
/// assert_eq!(looks, 3);
/// # }
/// ```
///
/// # Panics
/// When the limit passes; the message names the limit and the place of the call.
#[track_caller]
pub fn eventually_async<C: Future<Output = bool>>(
    limit: Duration,
    mut condition: impl FnMut() -> C,
) -> impl Future<Output = ()> {
    let caller = Location::caller();
    async move {
        let deadline = Instant::now() + limit;
        loop {
            let late = Instant::now() >= deadline;
            if condition().await {
                return;
            }
            assert!(
                !late,
                "the condition at {caller} did not hold within {limit:?}"
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    #[should_panic(expected = "wait_async.rs")]
    async fn a_condition_that_never_holds_panics_with_its_place() {
        eventually_async(Duration::from_millis(20), || std::future::ready(false)).await;
    }
}
