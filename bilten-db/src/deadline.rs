//! The longest time for a whole call, all its tries together.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sea_orm::DbErr;
use tokio::time::timeout;

use crate::Error;
use crate::pool_config::LONGEST;

tokio::task_local! {
    static DEADLINE: Deadline;
    /// Whether something may have changed by the call that runs under a limit.
    static CHANGES: Arc<AtomicBool>;
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
/// have changed then, as [`may_change`] does later.
pub(crate) async fn within<T>(
    limit: Option<Duration>,
    write: bool,
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
    let changes = Arc::new(AtomicBool::new(write));
    match timeout(left, CHANGES.scope(Arc::clone(&changes), call)).await {
        Ok(outcome) => outcome,
        Err(_) => {
            let write = changes.load(Ordering::Relaxed);
            Err(Error::Deadline { limit, write }.into())
        }
    }
}

/// Whether the present call has a limit.
pub(crate) fn is_set() -> bool {
    CHANGES.try_with(|_| ()).is_ok()
}

/// What began as a read may write from here on.
pub(crate) fn may_change() {
    // An error: no limit will be told.
    let _ = CHANGES.try_with(|changes| changes.store(true, Ordering::Relaxed));
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
        let turns = |writes: bool| async move {
            if writes {
                may_change();
            }
            std::future::pending::<Result<(), DbErr>>().await
        };
        for writes in [false, true] {
            let limit = Some(Duration::from_millis(70));
            let ended = within(limit, false, turns(writes)).await.unwrap_err();
            assert_eq!(Error::outcome_is_unknown(&ended), writes);
        }
        assert!(!is_set());
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_too_long_ends_with_the_limit_that_it_broke() {
        let slow = || std::future::pending::<Result<(), DbErr>>();
        let hour = Some(Duration::from_secs(3600));
        let ended = until(Duration::from_millis(70), within(hour, true, slow())).await;
        assert!(ended.unwrap_err().to_string().contains("deadline of 70ms"));
        let spent = until(Duration::ZERO, within(None, true, async { Ok(()) })).await;
        assert!(spent.is_err(), "nothing is begun when no time is left");
        let inner = until(
            Duration::from_secs(1),
            until(Duration::from_secs(60), within(None, false, slow())),
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
