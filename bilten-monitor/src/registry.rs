//! Which recorder observations go to, and handles that survive its late arrival and its forgetting.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwapOption;
use metrics::{Key, KeyName, Label, Level, Metadata, Recorder, SharedString};

use crate::lasting::{self, Reach};
use crate::names::{Family, Kind, Naming, Pair, Spec};
use crate::table::hash_text;

static METADATA: Metadata<'static> =
    Metadata::new("bilten_monitor", Level::INFO, Some("bilten_monitor"));

/// A label before it has been given the name of a family.
pub(crate) type LabelPair = (Pair, SharedString);

/// One series as it is registered: its name, kind and labels.
#[derive(Debug)]
pub(crate) struct SeriesId {
    pub(crate) kind: Kind,
    pub(crate) key: Key,
    unit: Option<metrics::Unit>,
    help: &'static str,
}

impl SeriesId {
    pub(crate) fn new(kind: Kind, name: &'static str, labels: Vec<Label>) -> Self {
        let clean = |label: Label| {
            let (name, value) = label.into_parts();
            Label::new(name, clean(value))
        };
        let labels: Vec<_> = labels.into_iter().map(clean).collect();
        Self {
            kind,
            key: Key::from_parts(name, labels),
            unit: None,
            help: "Recorded by the application.",
        }
    }
}

/// The recorder of a monitor: the one it was given, or the process's.
pub(crate) struct Registry {
    recorder: Option<Arc<dyn Recorder + Send + Sync>>,
    naming: Naming,
    refresh_nanos: u64,
    /// The address of the process's recorder, once the watchdog has seen it.
    process: AtomicUsize,
    /// How often a recorder panicked when it was asked for a handle or given a value, since somebody last counted.
    panics: AtomicU64,
    told_of_panic: AtomicBool,
    described: Mutex<HashSet<String>>,
}

impl Registry {
    pub(crate) fn new(
        recorder: Option<Arc<dyn Recorder + Send + Sync>>,
        naming: Naming,
        refresh_nanos: u64,
    ) -> Self {
        Self {
            recorder,
            naming,
            refresh_nanos,
            process: AtomicUsize::new(NOBODY),
            panics: AtomicU64::new(0),
            told_of_panic: AtomicBool::new(false),
            described: Mutex::default(),
        }
    }

    /// The series of a metric: one for each family of names in use.
    pub(crate) fn ids(&self, spec: &Spec, labels: &[LabelPair]) -> Box<[Arc<SeriesId>]> {
        let id = |family: Family| {
            let labels = labels
                .iter()
                .map(|(name, value)| Label::new(name.of(family), clean(value.clone())));
            Arc::new(SeriesId {
                kind: spec.kind,
                key: Key::from_parts(spec.name.of(family), labels.collect::<Vec<_>>()),
                unit: spec.unit,
                help: spec.help,
            })
        };
        let mut ids: Vec<_> = self.naming.families().iter().copied().map(id).collect();
        // A name that both families share is one series, and counts once.
        ids.dedup_by(|one, other| one.key == other.key);
        ids.into()
    }

    /// Calls `f` with the recorder and its address.
    fn with<T>(&self, f: impl FnOnce(&dyn Recorder, usize) -> T) -> T {
        match &self.recorder {
            // One that was given is asked, whether it looks like the no-op one or not.
            Some(recorder) => f(recorder.as_ref(), addr(recorder.as_ref())),
            None => metrics::with_recorder(|recorder| f(recorder, address(recorder))),
        }
    }

    /// What a recorder has to say for its handles to be kept for good.
    const fn needed(&self) -> Option<Reach> {
        Some(match self.recorder {
            Some(_) => Reach::Given,
            None => Reach::Process,
        })
    }

    /// Whether there is a recorder that keeps anything.
    pub(crate) fn is_live(&self) -> bool {
        self.recorder.is_some() || metrics::with_recorder(|recorder| !is_noop(recorder))
    }

    /// Remembers the process's recorder. Called by the watchdog, on whose thread no other one is in its place.
    pub(crate) fn meet_process(&self) {
        self.process
            .store(metrics::with_recorder(address), Ordering::Relaxed);
    }

    /// Whether handles from this recorder are good for every thread: the process's stays where it is, and one that
    /// a thread has in its place may be gone tomorrow, with another one at its address.
    fn is_for_all(&self, from: usize) -> bool {
        self.recorder.is_some() || from == NOBODY || from == self.process.load(Ordering::Relaxed)
    }

    /// A recorder panicked when it was asked for a handle or given a value: it is told once, and counted.
    #[cold]
    pub(crate) fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
        if !self.told_of_panic.swap(true, Ordering::Relaxed) {
            tracing::error!(
                target: "bilten_monitor",
                "the metrics recorder panicked when it was asked for a handle or given a value: what it does not take is \
                 counted, and it is asked again",
            );
        }
    }

    /// Gives a recorder something; whether it did not panic.
    #[inline]
    pub(crate) fn guard(&self, give: impl FnOnce()) -> bool {
        let is_done = catch_unwind(AssertUnwindSafe(give)).is_ok();
        if !is_done {
            self.panicked();
        }
        is_done
    }

    /// The panics that were not counted yet; they are the caller's to count.
    pub(crate) fn take_panics(&self) -> u64 {
        self.panics.swap(0, Ordering::Relaxed)
    }

    /// Tells the recorder the unit and the help text, once for each name; one that panics is told again.
    fn describe(&self, recorder: &dyn Recorder, id: &SeriesId) {
        let mut described = self
            .described
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if described.contains(id.key.name()) {
            return;
        }
        let name: KeyName = id.key.name().to_owned().into();
        match id.kind {
            Kind::Counter => recorder.describe_counter(name, id.unit, id.help.into()),
            Kind::Gauge => recorder.describe_gauge(name, id.unit, id.help.into()),
            Kind::Histogram => recorder.describe_histogram(name, id.unit, id.help.into()),
        }
        described.insert(id.key.name().to_owned());
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry")
            .field("naming", &self.naming)
            .finish_non_exhaustive()
    }
}

/// A label value is cut to so many bytes, and the rest of it becomes a hash.
const MAX_LABEL_BYTES: usize = 200;

/// A value that every exporter writes unambiguously.
///
/// The Prometheus exporter takes `\\` and `\\\\` for the same text, so two series would get one name. What looks like
/// an escape already is escaped as well: no two values become one.
fn clean(value: SharedString) -> SharedString {
    let is_plain = !["\\", "%5C", "%25"].iter().any(|mark| value.contains(mark));
    if value.len() <= MAX_LABEL_BYTES && is_plain {
        return value;
    }
    let mut cut: String = if is_plain {
        value.to_string()
    } else {
        value.replace('%', "%25").replace('\\', "%5C")
    };
    if cut.len() > MAX_LABEL_BYTES {
        cut = shortened(&cut, &value);
    }
    cut.into()
}

/// The value as it is, or what a long one begins with and a hash of it.
#[cfg_attr(
    not(feature = "dashboard"),
    expect(dead_code, reason = "only the live page shows labels of others")
)]
pub(crate) fn cut(value: &str) -> Cow<'_, str> {
    if value.len() <= MAX_LABEL_BYTES {
        value.into()
    } else {
        shortened(value, value).into()
    }
}

fn shortened(text: &str, value: &str) -> String {
    let is_end = |at: &usize| text.is_char_boundary(*at);
    let end = (0..=MAX_LABEL_BYTES).rev().find(is_end).unwrap_or(0);
    let kept = text.get(..end).unwrap_or_default();
    format!("{kept}~{:016x}", hash_text(value))
}

/// The address of a recorder that keeps nothing.
const NOBODY: usize = 0;

fn address(recorder: &dyn Recorder) -> usize {
    if is_noop(recorder) {
        NOBODY
    } else {
        addr(recorder)
    }
}

fn addr(recorder: &dyn Recorder) -> usize {
    std::ptr::from_ref(recorder).cast::<()>().addr()
}

/// The facade's own no-op recorder has no size; every recorder that keeps something has one.
fn is_noop(recorder: &dyn Recorder) -> bool {
    size_of_val(recorder) == 0
}

/// A kind of handle that a recorder gives out.
pub(crate) trait Handle: Sized {
    fn register(recorder: &dyn Recorder, id: &SeriesId) -> Self;
    /// One that keeps nothing.
    fn nothing() -> Self;
}

impl Handle for metrics::Counter {
    fn register(recorder: &dyn Recorder, id: &SeriesId) -> Self {
        recorder.register_counter(&id.key, &METADATA)
    }

    fn nothing() -> Self {
        Self::noop()
    }
}

impl Handle for metrics::Gauge {
    fn register(recorder: &dyn Recorder, id: &SeriesId) -> Self {
        recorder.register_gauge(&id.key, &METADATA)
    }

    fn nothing() -> Self {
        Self::noop()
    }
}

impl Handle for metrics::Histogram {
    fn register(recorder: &dyn Recorder, id: &SeriesId) -> Self {
        recorder.register_histogram(&id.key, &METADATA)
    }

    fn nothing() -> Self {
        Self::noop()
    }
}

struct Resolved<H> {
    at: u64,
    from: usize,
    /// Whether the handles keep anything.
    is_live: bool,
    handles: Box<[H]>,
}

/// The handles of one series, asked for on first use and again when they may have gone stale.
///
/// A handle taken before a recorder is installed does nothing for ever, and an exporter with an idle timeout
/// forgets a series whose handle somebody still holds. So handles are kept only while the recorder is the one they
/// came from, and at most for the refresh period; those of a recorder that only one thread has are never kept.
pub(crate) struct Cached<H> {
    pub(crate) ids: Box<[Arc<SeriesId>]>,
    resolved: ArcSwapOption<Resolved<H>>,
    /// From a recorder that keeps what somebody holds: these need no second look.
    lasting: OnceLock<Box<[H]>>,
}

impl<H: Handle> Cached<H> {
    pub(crate) fn new(ids: Box<[Arc<SeriesId>]>) -> Self {
        Self {
            ids,
            resolved: ArcSwapOption::const_empty(),
            lasting: OnceLock::new(),
        }
    }

    /// Gives something to the handle of each series, by its place among `ids`, and says whether a recorder was there
    /// and took all of it. `now` is a reading of the monitor's clock.
    ///
    /// A handle is somebody else's code, and this may be in the middle of a request or in a drop: its panic ends here, and
    /// the others get theirs.
    #[inline]
    pub(crate) fn each(&self, registry: &Registry, now: u64, give: impl Fn(&H, usize)) -> bool {
        let mut is_taken = true;
        let is_live = self.with(registry, now, |handles, _| {
            for (at, handle) in handles.iter().enumerate() {
                is_taken &= registry.guard(|| give(handle, at));
            }
        });
        is_live && is_taken
    }

    /// Calls `f` with the handles, in the order of `ids`, and with whether a recorder is there to take anything, which it
    /// returns. `f` guards each.
    #[inline]
    pub(crate) fn with(&self, registry: &Registry, now: u64, f: impl FnOnce(&[H], bool)) -> bool {
        match self.lasting.get() {
            Some(handles) => {
                f(handles, true);
                true
            }
            None => self.with_resolved(registry, now, f),
        }
    }

    fn with_resolved(&self, registry: &Registry, now: u64, f: impl FnOnce(&[H], bool)) -> bool {
        let current = self.resolved.load();
        let fresh = |resolved: &&Resolved<H>| is_fresh(resolved, registry, now);
        if let Some(resolved) = current.as_deref().filter(fresh) {
            f(&resolved.handles, resolved.is_live);
            resolved.is_live
        } else {
            self.ask_again(registry, now, f)
        }
    }

    #[cold]
    fn ask_again(&self, registry: &Registry, now: u64, f: impl FnOnce(&[H], bool)) -> bool {
        let (resolved, lasts) = self.resolve(registry, now);
        if lasts {
            f(self.lasting.get_or_init(|| resolved.handles), true);
            return true;
        }
        let is_live = resolved.is_live;
        f(&resolved.handles, is_live);
        if registry.is_for_all(resolved.from) {
            self.resolved.store(Some(Arc::new(resolved)));
        }
        is_live
    }

    /// The handles, and whether they last.
    fn resolve(&self, registry: &Registry, now: u64) -> (Resolved<H>, bool) {
        registry.with(|recorder, from| {
            let is_somebody = from != NOBODY;
            let mut lasts = is_somebody;
            let register = |id: &Arc<SeriesId>| {
                if is_somebody {
                    registry.describe(recorder, id);
                }
                let handle = H::register(recorder, id);
                lasts &= lasting::said_by(recorder) >= registry.needed();
                handle
            };
            let asked = AssertUnwindSafe(|| self.ids.iter().map(register).collect());
            // Somebody else's code, and perhaps in the middle of a request that would go with it.
            let given: Option<Box<[H]>> = catch_unwind(asked).ok();
            if given.is_none() {
                registry.panicked();
            }
            let resolved = Resolved {
                at: now,
                from,
                is_live: is_somebody && given.is_some(),
                handles: given.unwrap_or_else(|| self.ids.iter().map(|_| H::nothing()).collect()),
            };
            let lasts = lasts && resolved.is_live;
            (resolved, lasts)
        })
    }
}

fn is_fresh<H>(resolved: &Resolved<H>, registry: &Registry, now: u64) -> bool {
    let is_young = now.saturating_sub(resolved.at) <= registry.refresh_nanos;
    if registry.recorder.is_some() {
        return is_young;
    }
    let here = metrics::with_recorder(address);
    here == resolved.from && (here == NOBODY || (is_young && registry.is_for_all(here)))
}

impl<H> fmt::Debug for Cached<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.ids.iter().map(|id| &id.key))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_label_values_stay_apart_and_short() {
        assert_eq!(&*clean("plain \"quoted\"\n".into()), "plain \"quoted\"\n");
        assert_ne!(clean("a\\b".into()), clean("a\\\\b".into()));
        let alike = ["a\\b", "a%5Cb", "a%255Cb", "a%25b", "a%b", "a%25255Cb"];
        let written: HashSet<_> = alike.iter().map(|value| clean((*value).into())).collect();
        assert_eq!(written.len(), alike.len(), "{written:?}");
        let long = |last: char| SharedString::from("é".repeat(500_000) + &last.to_string());
        assert!(clean(long('x')).len() <= MAX_LABEL_BYTES + 17);
        assert_ne!(clean(long('x')), clean(long('y')));
    }

    #[test]
    fn the_no_op_recorder_is_told_from_a_real_one() {
        struct Real(#[expect(dead_code, reason = "gives it a size")] u8);
        impl Recorder for Real {
            fn describe_counter(&self, _: KeyName, _: Option<metrics::Unit>, _: SharedString) {}
            fn describe_gauge(&self, _: KeyName, _: Option<metrics::Unit>, _: SharedString) {}
            fn describe_histogram(&self, _: KeyName, _: Option<metrics::Unit>, _: SharedString) {}
            fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> metrics::Counter {
                metrics::Counter::noop()
            }
            fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> metrics::Gauge {
                metrics::Gauge::noop()
            }
            fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> metrics::Histogram {
                metrics::Histogram::noop()
            }
        }
        assert!(is_noop(&metrics::NoopRecorder));
        assert!(!is_noop(&Real(0)));
    }
}
