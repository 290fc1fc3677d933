//! The longest time for a whole call, all its tries together.

use std::cell::Cell;
use std::future::Future;
use std::pin::pin;
use std::time::{Duration, Instant};

use sea_orm::DbErr;
use tokio::time::timeout;

use crate::Error;
use crate::pool_config::LONGEST;

tokio::task_local! {
    static DEADLINE: Deadline;
    /// What the call that runs under a limit has done so far.
    static EFFECT: Cell<Effect>;
}

/// What may have changed by a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Nothing,
    /// A read went to where writes are taken: what it hides.
    Hidden,
    Something,
}

#[derive(Clone, Copy)]
struct Deadline {
    limit: Duration,
    at: Instant,
}

/// Runs `future` with a limit for all its database calls together; an outer limit that ends earlier stays.
///
/// See [`scope::with_deadline`](crate::scope::with_deadline).
pub(crate) async fn until<F: Future>(limit: Duration, future: F) -> F::Output {
    let limit = limit.min(LONGEST);
    let at = Instant::now() + limit;
    let own = Deadline { limit, at };
    let outer = DEADLINE.try_with(|outer| *outer).ok();
    let earliest = outer.filter(|outer| outer.at < at).unwrap_or(own);
    DEADLINE.scope(earliest, future).await
}

/// Ends `call` after `limit` or at the deadline of the task, whichever comes first; `write` tells whether something may
/// have changed then, as [`may_change`] does later, and `hides` whether it does so where it only seems to read.
pub(crate) async fn within<T>(
    limit: Option<Duration>,
    write: bool,
    hides: impl FnOnce() -> bool,
    call: impl Future<Output = Result<T, DbErr>>,
) -> Result<T, DbErr> {
    let task = DEADLINE.try_with(|deadline| *deadline).ok();
    let Some((left, limit)) = shortest(limit, task, Instant::now()) else {
        return call.await;
    };
    if left.is_zero() {
        return Err(Error::Deadline {
            limit,
            write: false,
        }
        .into());
    }
    let before = match write {
        true => Effect::Something,
        false => Effect::Nothing,
    };
    let mut call = pin!(EFFECT.scope(Cell::new(before), call));
    if let Ok(outcome) = timeout(left, call.as_mut()).await {
        return outcome;
    }
    let effect = call.take_value().map(Cell::into_inner);
    let write = match effect {
        Some(Effect::Nothing) => false,
        Some(Effect::Hidden) => hides(),
        Some(Effect::Something) | None => true,
    };
    Err(Error::Deadline { limit, write }.into())
}

/// What began as a read may write from here on.
pub(crate) fn may_change() {
    // An error: no limit will be told.
    let _ = EFFECT.try_with(|effect| effect.set(Effect::Something));
}

/// It is sent to where writes are taken.
pub(crate) fn sent_to_primary() {
    let _ = EFFECT.try_with(|effect| {
        if effect.get() == Effect::Nothing {
            effect.set(Effect::Hidden);
        }
    });
}

/// The time left, and the limit that it is left of.
fn shortest(
    limit: Option<Duration>,
    task: Option<Deadline>,
    now: Instant,
) -> Option<(Duration, Duration)> {
    let own = limit.map(|limit| (limit, limit));
    let task = task.map(|task| (task.at.saturating_duration_since(now), task.limit));
    own.into_iter().chain(task).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earlier_end_counts() {
        let now = Instant::now();
        let second = Duration::from_secs;
        let task = |limit, left| {
            Some(Deadline {
                limit: second(limit),
                at: now + second(left),
            })
        };
        let table = [
            (None, None, None),
            (Some(2), None, Some((2, 2))),
            (None, task(9, 3), Some((3, 9))),
            (Some(2), task(9, 3), Some((2, 2))),
            (Some(5), task(9, 3), Some((3, 9))),
            (Some(5), task(9, 0), Some((0, 9))),
        ];
        for (limit, task, expected) in table {
            let expected = expected.map(|(left, of)| (second(left), second(of)));
            assert_eq!(shortest(limit.map(second), task, now), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_turned_out_to_write_leaves_doubt() {
        let turns = |step: fn()| async move {
            step();
            std::future::pending::<Result<(), DbErr>>().await
        };
        let both = || {
            may_change();
            sent_to_primary();
        };
        // What happens, whether it hides a write, and whether that leaves doubt.
        let table: [(fn(), bool, bool); 6] = [
            (|| (), true, false),
            (sent_to_primary, false, false),
            (sent_to_primary, true, true),
            (may_change, false, true),
            (both, false, true),
            (both, true, true),
        ];
        for (step, hides, doubt) in table {
            let limit = Some(Duration::from_millis(70));
            let ended = within(limit, false, || hides, turns(step)).await;
            assert_eq!(Error::outcome_is_unknown(&ended.unwrap_err()), doubt);
        }
        may_change();
        sent_to_primary();
    }

    /// Nothing but what the timer itself needs.
    #[tokio::test]
    async fn a_limit_allocates_nothing() {
        let limit = Some(Duration::from_secs(60));
        let count = || {
            use futures_util::FutureExt as _;
            let read = async {
                sent_to_primary();
                Ok(())
            };
            let ended = within(limit, false, || true, read).now_or_never();
            assert!(matches!(ended, Some(Ok(()))));
        };
        count();
        let counted = allocation_counter::measure(count);
        assert_eq!(counted.count_total, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_too_long_ends_with_the_limit_that_it_broke() {
        let slow = || std::future::pending::<Result<(), DbErr>>();
        let hour = Some(Duration::from_secs(3600));
        let ended = until(
            Duration::from_millis(70),
            within(hour, true, || false, slow()),
        )
        .await;
        assert!(ended.unwrap_err().to_string().contains("deadline of 70ms"));
        let spent = until(
            Duration::ZERO,
            within(None, true, || false, async { Ok(()) }),
        )
        .await;
        assert!(spent.is_err(), "nothing is begun when no time is left");
        let inner = until(
            Duration::from_secs(1),
            until(
                Duration::from_secs(60),
                within(None, false, || false, slow()),
            ),
        );
        assert!(
            inner
                .await
                .unwrap_err()
                .to_string()
                .contains("deadline of 1s")
        );
    }
}
