use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::Error;
use crate::options::Options;
use crate::region_state::RegionState;
use crate::stats::{RegionMeters, Stats};

/// The regions of a cache by name: two handles of one region share everything.
#[derive(Debug)]
pub(crate) struct Registry {
    cache: Arc<str>,
    regions: Mutex<BTreeMap<Arc<str>, Known>>,
}

#[derive(Debug)]
struct Known {
    state: Arc<dyn Any + Send + Sync>,
    meters: Arc<RegionMeters>,
}

impl Registry {
    pub(crate) fn new(cache: Arc<str>) -> Self {
        Self {
            cache,
            regions: Mutex::default(),
        }
    }

    /// The region of this name, made if need be.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when the name means something else already.
    pub(crate) fn get_or_insert<V: Send + Sync + 'static>(
        &self,
        name: &str,
        options: &Options,
        make: impl FnOnce(Arc<str>, Arc<RegionMeters>) -> RegionState<V>,
    ) -> Result<Arc<RegionState<V>>, Error> {
        let mut regions = self.regions();
        if let Some(other) = regions.keys().find(|other| overlap(name, other)) {
            return Err(Error::config(
                "region name",
                format!(
                    "`{name}` overlaps with the region `{other}`: their keys could not be told apart"
                ),
                "choose a name that does not begin with the other one and a `:`",
            ));
        }
        let meters = Arc::new(RegionMeters::new(&self.cache, name));
        let made = make(name.into(), Arc::clone(&meters));
        if let Some(known) = regions.get(name) {
            return known.same_as(&made, options).ok_or_else(|| {
                Error::config(
                    "region name",
                    format!("`{name}` exists already with other types or settings"),
                    "clone the first handle, or choose another name",
                )
            });
        }
        let state = Arc::new(made);
        let known = Known {
            state: Arc::clone(&state) as Arc<dyn Any + Send + Sync>,
            meters,
        };
        regions.insert(Arc::clone(&state.name), known);
        Ok(state)
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut sum = Stats::default();
        for known in self.regions().values() {
            sum.add(&known.meters.snapshot());
        }
        sum
    }

    fn regions(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Known>> {
        self.regions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn same_as<V: Send + Sync + 'static>(
        &self,
        made: &RegionState<V>,
        options: &Options,
    ) -> Option<Arc<RegionState<V>>> {
        let state = Arc::clone(&self.state).downcast::<RegionState<V>>().ok()?;
        let same = state.options == *options
            && state.key_type == made.key_type
            && state.codec.map(|codec| codec.format) == made.codec.map(|codec| codec.format);
        same.then_some(state)
    }
}

fn overlap(a: &str, b: &str) -> bool {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    long.strip_prefix(short)
        .is_some_and(|rest| rest.starts_with(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_overlap_when_one_could_hold_the_others_keys() {
        for (a, b, expected) in [
            ("events", "events:list", true),
            ("events:list", "events", true),
            ("event", "events:list", false),
            ("events", "events", false),
            ("a", "ab", false),
        ] {
            assert_eq!(overlap(a, b), expected, "{a} {b}");
        }
    }
}
