//! Two ways to the same answer, the second begun late.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::time::timeout;

/// The answer of `first`, or of what `second` begins when there is none after `delay`, whichever comes earlier.
///
/// A failure of one leaves the other to answer, unless `is_final` says that the first's is meant for the caller. When
/// both fail it is the first's failure that counts.
///
/// # Cancellation
///
/// Whichever is not needed any more is dropped at once.
pub(crate) async fn race<T, E, S>(
    first: impl Future<Output = Result<T, E>>,
    delay: Duration,
    second: impl FnOnce() -> Option<S>,
    is_final: impl Fn(&E) -> bool,
) -> Result<T, E>
where
    S: Future<Output = Result<T, E>>,
{
    let mut first = pin!(first);
    if let Ok(answer) = timeout(delay, &mut first).await {
        return answer;
    }
    let Some(second) = second() else {
        return first.await;
    };
    match select(first, pin!(second)).await {
        Either::Left((Err(error), second)) if !is_final(&error) => second.await.map_err(|_| error),
        Either::Left((answer, _)) | Either::Right((answer @ Ok(_), _)) => answer,
        Either::Right((Err(_), first)) => first.await,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    type Outcome = Result<&'static str, &'static str>;

    async fn at(millis: u64, outcome: Outcome) -> Outcome {
        tokio::time::sleep(Duration::from_millis(millis)).await;
        outcome
    }

    #[tokio::test(start_paused = true)]
    async fn the_earlier_answer_counts_and_a_failure_leaves_the_other() {
        // (when and what the first answers), the same of the second, the outcome and when
        let table = [
            ((5, Ok("a")), (0, Ok("b")), Ok("a"), 5),
            ((5, Err("a")), (0, Ok("b")), Err("a"), 5),
            ((50, Ok("a")), (10, Ok("b")), Ok("b"), 20),
            ((15, Ok("a")), (10, Ok("b")), Ok("a"), 15),
            ((50, Ok("a")), (10, Err("b")), Ok("a"), 50),
            ((15, Err("a")), (10, Ok("b")), Ok("b"), 20),
            ((15, Err("final")), (10, Ok("b")), Err("final"), 15),
            ((15, Err("a")), (10, Err("b")), Err("a"), 20),
            ((50, Err("a")), (10, Err("b")), Err("a"), 50),
        ];
        for (first, second, expected, end) in table {
            let begun = tokio::time::Instant::now();
            let race = race(
                at(first.0, first.1),
                Duration::from_millis(10),
                || Some(at(second.0, second.1)),
                |error| *error == "final",
            );
            assert_eq!(race.await, expected, "{first:?} {second:?}");
            let took = begun.elapsed().as_millis();
            assert!(
                (end..=end + 1).contains(&took),
                "{first:?} {second:?}: {took}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_second_way_the_first_goes_on() {
        let asked = Cell::new(0);
        let none = || {
            asked.set(asked.get() + 1);
            None::<std::future::Ready<Outcome>>
        };
        let race = race(at(50, Ok("a")), Duration::from_millis(10), none, |_| false);
        assert_eq!((race.await, asked.get()), (Ok("a"), 1));
    }
}
