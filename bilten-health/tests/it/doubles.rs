//! Checks that do what a test needs, and count.

use bilten_health::{BuildError, CheckBuilder, CheckReport, Health, HealthBuilder, Report, check};
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// How often something happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Count(Arc<AtomicUsize>);

impl Count {
    pub(crate) fn add(&self) -> usize {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(crate) fn get(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// A check that works or not, as the test says.
#[derive(Clone, Debug)]
pub(crate) struct Switch {
    works: Arc<AtomicBool>,
    pub(crate) runs: Count,
}

impl Switch {
    pub(crate) fn new(works: bool) -> Self {
        Self {
            works: Arc::new(works.into()),
            runs: Count::default(),
        }
    }

    pub(crate) fn set(&self, works: bool) {
        self.works.store(works, Ordering::SeqCst);
    }

    pub(crate) fn check(&self, name: &str) -> CheckBuilder {
        let Self { works, runs } = self.clone();
        check(name, move || {
            runs.add();
            let works = works.load(Ordering::SeqCst);
            async move {
                if works {
                    Ok(())
                } else {
                    Err("it is switched off")
                }
            }
        })
    }
}

pub(crate) fn passing(name: &str) -> CheckBuilder {
    check(name, || async {})
}

pub(crate) fn failing(name: &str) -> CheckBuilder {
    check(name, || async { Err::<(), _>("it does not work") })
}

/// Takes its time, then works.
pub(crate) fn slow(name: &str, duration: Duration) -> CheckBuilder {
    check(name, move || tokio::time::sleep(duration))
}

/// Never answers, but can be dropped.
pub(crate) fn hanging(name: &str) -> CheckBuilder {
    check(name, pending::<()>)
}

pub(crate) fn health<const N: usize>(checks: [CheckBuilder; N]) -> Health {
    built(checks).expect("these checks fit together")
}

/// For checks that do real work in real time on a machine that may be busy.
pub(crate) fn patient<const N: usize>(checks: [CheckBuilder; N]) -> Health {
    let builder = checks.into_iter().fold(patience(), HealthBuilder::check);
    builder.build().expect("these checks fit together")
}

/// The same for sets with more than checks: no run is too slow for it.
pub(crate) fn patience() -> HealthBuilder {
    Health::builder()
        .deadline(ms(30_000))
        .default_timeout(ms(20_000))
}

/// The same for checks that use their time up: they have to notice it themselves before the runner does.
#[cfg(any(feature = "mysql", feature = "postgres", feature = "sqlite"))]
pub(crate) fn unhurried<const N: usize>(checks: [CheckBuilder; N]) -> Health {
    let builder = patience().default_timeout(ms(2000));
    let builder = checks.into_iter().fold(builder, HealthBuilder::check);
    builder.build().expect("these checks fit together")
}

pub(crate) fn built<const N: usize>(checks: [CheckBuilder; N]) -> Result<Health, BuildError> {
    checks
        .into_iter()
        .fold(Health::builder(), |builder, check| builder.check(check))
        .build()
}

pub(crate) fn of<'a>(report: &'a Report, name: &str) -> &'a CheckReport {
    report
        .checks
        .iter()
        .find(|check| &*check.name == name)
        .expect("the check is in the report")
}

/// A payload that panics with itself for ever when it is dropped.
pub(crate) struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        std::panic::panic_any(Self);
    }
}

/// Leaves a [`Bomb`] where it is dropped.
pub(crate) struct BombInDrop;

impl Drop for BombInDrop {
    fn drop(&mut self) {
        std::panic::panic_any(Bomb);
    }
}
