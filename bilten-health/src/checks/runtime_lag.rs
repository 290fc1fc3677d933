//! Whether the runtime gets round to its tasks.

use crate::check::{CheckBuilder, Verdict, check};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long the check sleeps to see how late it is woken.
const NAP: Duration = Duration::from_millis(20);

/// A task that sleeps for 20 ms may be woken at most `max` late: something that blocks the runtime's threads shows here.
///
/// It is local and so fit for liveness. Choose `max` well above what a busy moment costs, some 100 ms, and below the check's
/// timeout; a runtime whose threads are all blocked cannot answer at all, which a probe notices by itself. A `max` below 1 ms and a timeout of
/// 20 ms or less are refused at build; with a `max` above the timeout, the timeout alone counts.
///
/// ```
/// use bilten_health::{Health, checks};
/// use std::time::Duration;
///
/// let lag = checks::runtime_lag("runtime", Duration::from_millis(300)).in_liveness();
/// assert!(Health::builder().check(lag).build().is_ok());
/// ```
pub fn runtime_lag(name: impl Into<String>, max: Duration) -> CheckBuilder {
    let nap = move || async move {
        let asleep = Instant::now();
        sleep(NAP).await;
        judge(asleep.elapsed().saturating_sub(NAP), max)
    };
    check(name, nap)
        .local()
        .shortest_run(NAP)
        .refuse_short("max", max, "some 100 ms")
}

fn judge(late: Duration, max: Duration) -> Verdict {
    let verdict = if late > max {
        Verdict::down(format!("woken {late:?} late, more than {max:?}"))
    } else {
        Verdict::up()
    };
    verdict.detail("late_ms", late.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::judge;
    use crate::status::Status;
    use std::time::Duration;

    #[test]
    fn more_than_the_limit_is_down() {
        let limit = Duration::from_millis(100);
        assert_eq!(judge(limit, limit).status, Status::Up);
        assert_eq!(
            judge(limit + Duration::from_millis(1), limit).status,
            Status::Down
        );
    }
}
