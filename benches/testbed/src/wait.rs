use std::panic::Location;
use std::thread;
use std::time::{Duration, Instant};

use crate::Error;

/// How long to rest between two looks at a condition.
const PAUSE: Duration = Duration::from_millis(5);

/// Waits until the condition holds, looking every 5 ms; it is looked at once more after the limit.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// let start = Instant::now();
/// bilten_testbed::eventually(Duration::from_secs(5), || start.elapsed() > Duration::from_millis(20));
/// ```
///
/// # Panics
/// When the limit passes; the message names the limit and the place of the call.
#[track_caller]
pub fn eventually(limit: Duration, mut condition: impl FnMut() -> bool) {
    let caller = Location::caller();
    let outcome = until("the condition", limit, || {
        if condition() {
            Ok(())
        } else {
            Err(String::new())
        }
    });
    assert!(
        outcome.is_ok(),
        "the condition at {caller} did not hold within {limit:?}"
    );
}

/// Waits until the closure answers `Ok` and hands the value over.
///
/// # Errors
/// [`Error::TimedOut`] with the last answer when the limit passes.
pub(crate) fn until<T>(
    waiting_for: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<T, String>,
) -> Result<T, Error> {
    let deadline = Instant::now() + limit;
    loop {
        let late = Instant::now() >= deadline;
        match look() {
            Ok(value) => return Ok(value),
            Err(last) if late => {
                let waiting_for = if last.is_empty() {
                    waiting_for.to_owned()
                } else {
                    format!("{waiting_for} (last: {last})")
                };
                return Err(Error::TimedOut { waiting_for, limit });
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_holds_late_is_seen() {
        let mut looks = 0;
        eventually(Duration::from_secs(5), || {
            looks += 1;
            looks == 3
        });
        assert_eq!(looks, 3);
    }

    #[test]
    #[should_panic(expected = "wait.rs")]
    fn a_condition_that_never_holds_panics_with_its_place() {
        eventually(Duration::from_millis(20), || false);
    }

    #[test]
    fn the_last_answer_is_in_the_error() {
        let error = until("a reply", Duration::ZERO, || {
            Err::<(), _>("refused".to_owned())
        })
        .unwrap_err();
        assert!(
            error.to_string().contains("a reply (last: refused)"),
            "{error}"
        );
    }
}
