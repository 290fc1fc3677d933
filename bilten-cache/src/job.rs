//! One load: who asks for it, and its end, whatever the loader does.

use std::collections::HashSet;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::sync::SemaphorePermit;
use tokio::time::Instant;

use crate::error::{BoxError, Error, panic_message};
use crate::loader::{Load, LoadContext, Loaded, Stale};
use crate::manner::Manner;
use crate::remote::Demand;
use crate::running::Running;
use crate::single_flight::Hurry;
use crate::turns::{TooLate, Turns};

tokio::task_local! {
    static LOADING: Loading;
}

/// The load that the current task runs.
#[derive(Debug, Clone, Default)]
struct Loading {
    /// What it and the loads around it are loading, innermost first.
    keys: Option<Arc<Chain>>,
    at_least: Option<Demand>,
}

/// What the load that the current task runs must reflect.
pub(crate) fn at_least() -> Option<Demand> {
    LOADING.try_with(|loading| loading.at_least.clone()).ok()?
}

/// The keys of one load, and the load around it.
#[derive(Debug)]
pub(crate) struct Chain {
    cache: u64,
    keys: Keys,
    around: Option<Arc<Self>>,
}

#[derive(Debug)]
enum Keys {
    One(Arc<str>),
    /// With what finds one of them, made when somebody first looks: most loads call no other.
    Many(Arc<[Arc<str>]>, OnceLock<HashSet<Arc<str>>>),
}

impl Keys {
    fn contain(&self, key: &Arc<str>) -> bool {
        match self {
            Self::One(one) => one == key,
            Self::Many(keys, set) => set
                .get_or_init(|| keys.iter().cloned().collect())
                .contains(key),
        }
    }
}

impl Drop for Chain {
    /// One after the other: however deep loads were nested, the stack does not grow with it.
    fn drop(&mut self) {
        let mut around = self.around.take();
        while let Some(mut chain) = around.and_then(Arc::into_inner) {
            around = chain.around.take();
        }
    }
}

/// Told when a load has to wait for another process that loads the same key.
pub(crate) type OnWait = Arc<dyn Fn() + Send + Sync>;

/// A load of many keys has asked the second level for this one a moment ago.
#[derive(Clone)]
pub(crate) struct Asked {
    pub(crate) on_wait: OnWait,
    /// The call that loads all of them may wait for a place.
    pub(crate) hurry: Arc<Hurry>,
    /// How its value begins there, which was of no use.
    pub(crate) over: Option<Bytes>,
    /// In which they ask the second level.
    pub(crate) turns: Arc<Turns>,
    /// Whether the call that loads this one has its place. Others of the same batch may have theirs before it.
    pub(crate) runs: Arc<Running>,
}

/// The loads that the current task runs.
///
/// # Errors
///
/// [`Error::Recursive`] when one of them is of one of these keys.
pub(crate) fn around(
    cache: u64,
    region: &Arc<str>,
    keys: &[Arc<str>],
) -> Result<Option<Arc<Chain>>, Error> {
    let around = LOADING.try_with(|loading| loading.keys.clone());
    let around = around.unwrap_or_default();
    let mut outer = around.as_ref();
    while let Some(chain) = outer {
        let mut keys = keys.iter().filter(|_| chain.cache == cache);
        if let Some(key) = keys.find(|key| chain.keys.contain(key)) {
            return Err(Error::Recursive {
                region: Arc::clone(region),
                key: Arc::clone(key),
            });
        }
        outer = chain.around.as_ref();
    }
    Ok(around)
}

/// How a caller asks for a load.
#[derive(Clone, Default)]
pub(crate) struct How {
    pub(crate) asked: Option<Asked>,
    pub(crate) manner: Manner,
}

impl How {
    /// Whether its loader is at work, as far as that is known.
    pub(crate) fn runs(&self) -> bool {
        let asked = self.asked.as_ref();
        asked.is_none_or(|asked| asked.runs.has_begun())
    }

    /// How long its loader has been at work, which was asked for then.
    pub(crate) fn worked(&self, asked: Instant) -> Duration {
        let began = match &self.asked {
            Some(of_many) => of_many.runs.since(),
            None => Some(asked),
        };
        began.map_or(Duration::ZERO, |began| began.elapsed())
    }

    /// When its loader begins its work.
    pub(crate) async fn begins(&self) {
        if let Some(asked) = &self.asked {
            asked.runs.begins().await;
        }
    }

    /// To be held during a call to the second level.
    pub(crate) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.asked.as_ref()?.turns.next().await
    }

    /// The same for a lease: until then, or as long as a call of many keys has for that. One key needs no turn.
    pub(crate) async fn turn_before(
        &self,
        until: Option<Instant>,
    ) -> Result<Option<SemaphorePermit<'_>>, TooLate> {
        match &self.asked {
            Some(asked) => asked.turns.before(until).await,
            None => Ok(None),
        }
    }
}

/// One load: whose it is and how long it may take.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) region: Arc<str>,
    pub(crate) key: Arc<str>,
    pub(crate) timeout: Duration,
    pub(crate) how: How,
    /// What the loader's source must reflect.
    pub(crate) at_least: Option<Demand>,
    keys: Option<Arc<Chain>>,
    nested: bool,
}

impl Job {
    /// A load that the current task asks for.
    ///
    /// # Errors
    ///
    /// [`Error::Recursive`] when the current task is itself loading this key, and would wait for itself.
    pub(crate) fn new(
        cache: u64,
        region: &Arc<str>,
        key: &Arc<str>,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let around = around(cache, region, std::slice::from_ref(key))?;
        let chain = Chain {
            cache,
            keys: Keys::One(Arc::clone(key)),
            around,
        };
        Ok(Self::of(chain, region, key, timeout))
    }

    /// The same for several keys at once.
    pub(crate) fn many(
        cache: u64,
        region: &Arc<str>,
        keys: &Arc<[Arc<str>]>,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let around = around(cache, region, keys)?;
        let chain = Chain {
            cache,
            keys: Keys::Many(Arc::clone(keys), OnceLock::new()),
            around,
        };
        let first = keys.first().cloned().unwrap_or_else(|| "".into());
        Ok(Self::of(chain, region, &first, timeout))
    }

    fn of(chain: Chain, region: &Arc<str>, key: &Arc<str>, timeout: Duration) -> Self {
        Self {
            region: Arc::clone(region),
            key: Arc::clone(key),
            timeout,
            nested: chain.around.is_some(),
            how: How::default(),
            at_least: None,
            keys: Some(Arc::new(chain)),
        }
    }

    /// Whether the loader was called by another one.
    pub(crate) fn is_nested(&self) -> bool {
        self.nested
    }

    /// The same load with less time, because some was spent on waiting.
    pub(crate) fn until(&self, deadline: Instant) -> Self {
        let timeout = deadline.saturating_duration_since(Instant::now());
        Self {
            timeout: timeout.max(Duration::from_millis(1)),
            ..self.clone()
        }
    }

    /// When its time is over.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout.min(Duration::from_secs(1 << 30))
    }

    /// Runs the loader to its end, its panic or its time limit.
    pub(crate) async fn run<V>(
        &self,
        stale: Option<Stale<V>>,
        load: Load<V>,
    ) -> Result<Loaded<V>, Error> {
        let context = LoadContext::new(self.deadline(), stale, self.at_least.clone());
        self.guard(load(context)).await
    }

    /// The same for any future.
    pub(crate) async fn guard<R, E: Into<BoxError>>(
        &self,
        load: impl Future<Output = Result<R, E>>,
    ) -> Result<R, Error> {
        let loading = Loading {
            keys: self.keys.clone(),
            at_least: self.at_least.clone(),
        };
        // Its error is converted inside the guard too: that is somebody's code as well.
        let load = async { load.await.map_err(Into::<BoxError>::into) };
        let load = LOADING.scope(loading, AssertUnwindSafe(load).catch_unwind());
        let region = || Arc::clone(&self.region);
        match tokio::time::timeout(self.timeout, load).await {
            Err(_) => Err(Error::LoadTimeout {
                region: region(),
                after: self.timeout,
            }),
            Ok(Err(panic)) => Err(Error::LoadPanicked {
                region: region(),
                message: panic_message(&*panic).into(),
            }),
            Ok(Ok(Err(error))) => Err(match error.downcast::<Outcome>() {
                Ok(outcome) => outcome.into_error(region()),
                Err(source) => Error::Load {
                    region: region(),
                    source: Arc::from(source),
                },
            }),
            Ok(Ok(Ok(value))) => Ok(value),
        }
    }
}

/// How a load of many keys ended for one of them, if not with a value.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Outcome {
    /// The loader said nothing about it.
    #[error("a load of many keys did not return this one")]
    Absent,
    /// It ended before anybody heard of this one.
    #[error("a load of many keys was given up")]
    Lost,
    #[error(transparent)]
    Failed(Error),
}

impl Outcome {
    fn into_error(self, region: Arc<str>) -> Error {
        match self {
            Self::Failed(error) => error,
            Self::Lost => Error::LoadAbandoned { region },
            Self::Absent => Error::Load {
                region,
                source: Arc::new(self),
            },
        }
    }

    /// Whether an error says no more than that there is no value.
    pub(crate) fn is_absent(error: &Error) -> bool {
        matches!(error.source_as(), Some(Self::Absent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loader::erased;

    fn job(timeout: Duration) -> Job {
        Job::new(1, &"event".into(), &"event:1".into(), timeout).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_loader_that_never_returns_is_given_up() {
        let limit = Duration::from_secs(3);
        let never = job(limit)
            .run::<u8>(
                None,
                erased(|_| std::future::pending::<Result<u8, BoxError>>()),
            )
            .await;
        assert!(matches!(never, Err(Error::LoadTimeout { after, .. }) if after == limit));
    }

    #[tokio::test]
    async fn a_panic_is_an_error_wherever_it_happens() {
        let job = job(Duration::MAX);
        let panics = |_| -> std::future::Ready<Result<u8, BoxError>> { panic!("at once") };
        let at_once = job.run::<u8>(None, erased(panics));
        assert!(at_once.await.unwrap_err().to_string().ends_with("at once"));
        let panics = |_| async {
            tokio::task::yield_now().await;
            panic!("{}", "late")
        };
        let late = job.run::<u8>(None, erased::<u8, u8, BoxError, _, _>(panics));
        assert!(late.await.unwrap_err().to_string().ends_with("late"));
    }

    #[tokio::test]
    async fn a_key_inside_its_own_load_is_recursion_and_another_is_not() {
        let job = job(Duration::MAX);
        let nest = |_| async {
            assert!(Job::new(1, &"event".into(), &"event:2".into(), Duration::MAX).is_ok());
            assert!(Job::new(2, &"event".into(), &"event:1".into(), Duration::MAX).is_ok());
            Job::new(1, &"event".into(), &"event:1".into(), Duration::MAX)?;
            Ok(1)
        };
        let nested = job.run(None, erased::<u8, u8, BoxError, _, _>(nest));
        let error = nested.await.unwrap_err();
        assert!(matches!(
            error.source_as::<Error>(),
            Some(Error::Recursive { .. })
        ));
    }

    #[tokio::test]
    async fn keys_inside_a_load_of_many_are_recursion_if_they_are_among_them() {
        let keys = |names: [u32; 3]| names.map(|n| Arc::from(format!("event:{n}"))).into();
        let region = "event".into();
        let many = |keys: &Arc<[Arc<str>]>| Job::many(1, &region, keys, Duration::MAX);
        let outer = many(&keys([1, 2, 3])).unwrap();
        let nested = async { Ok::<_, Error>((many(&keys([4, 5, 6])), many(&keys([7, 3, 8])))) };
        let (others, again) = outer.guard(nested).await.unwrap();
        assert!(others.is_ok_and(|job| job.is_nested()));
        let again = again.err().unwrap();
        assert!(
            matches!(&again, Error::Recursive { key, .. } if &**key == "event:3"),
            "{again}"
        );
    }

    #[test]
    fn loads_nested_as_deep_as_you_like_end_on_a_small_stack() {
        let nest = |around, n: u32| {
            Some(Arc::new(Chain {
                cache: 1,
                keys: Keys::One(n.to_string().into()),
                around,
            }))
        };
        let deep = (0..200_000).fold(None, nest);
        std::thread::spawn(move || drop(deep)).join().unwrap();
    }
}
