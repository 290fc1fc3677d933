use std::sync::Arc;

#[cfg(feature = "quick-cache")]
use super::clock_pro::ClockPro;
use super::index::{Index, Spot};
use super::policy::{Change, Policy};
use super::tiny_lfu::TinyLfu;
use crate::kept::Kept;

/// Which policy a cache has.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Eviction {
    #[default]
    TinyLfu,
    #[cfg(feature = "quick-cache")]
    ClockPro,
}

/// The policy that was chosen.
#[derive(Debug)]
pub(crate) enum Chosen {
    TinyLfu(TinyLfu),
    #[cfg(feature = "quick-cache")]
    ClockPro(ClockPro),
}

impl Chosen {
    /// `no_room` hears of each key that was given up, or not taken, because memory is full.
    pub(super) fn new(
        eviction: Eviction,
        bytes: u64,
        index: Arc<Index>,
        no_room: impl Fn(&[u8]) + Send + Sync + 'static,
    ) -> Self {
        match eviction {
            Eviction::TinyLfu => Self::TinyLfu(TinyLfu::new(bytes, index, no_room)),
            #[cfg(feature = "quick-cache")]
            Eviction::ClockPro => Self::ClockPro(ClockPro::new(bytes, index, no_room)),
        }
    }
}

macro_rules! ask {
    ($chosen:expr, $policy:ident => $answer:expr) => {
        match $chosen {
            Chosen::TinyLfu($policy) => $answer,
            #[cfg(feature = "quick-cache")]
            Chosen::ClockPro($policy) => $answer,
        }
    };
}

impl Policy for Chosen {
    fn change(&self, spot: Spot, change: impl FnOnce() -> Change) {
        ask!(self, policy => policy.change(spot, change));
    }

    fn drop_if(&self, spot: Spot, is_stray: impl FnOnce(&Kept) -> bool) {
        ask!(self, policy => policy.drop_if(spot, is_stray));
    }

    fn has_room_for(&self, kept: &Kept) -> bool {
        ask!(self, policy => policy.has_room_for(kept))
    }

    fn not_taken(&self, key: &[u8]) {
        ask!(self, policy => policy.not_taken(key));
    }

    fn touch(&self, spot: Spot) {
        ask!(self, policy => policy.touch(spot));
    }

    fn missed(&self, spot: Spot) {
        ask!(self, policy => policy.missed(spot));
    }

    fn clear(&self) {
        ask!(self, policy => policy.clear());
    }

    fn entries(&self) -> u64 {
        ask!(self, policy => policy.entries())
    }

    fn bytes(&self) -> u64 {
        ask!(self, policy => policy.bytes())
    }

    fn overhead(&self) -> u64 {
        ask!(self, policy => policy.overhead())
    }

    #[cfg(any(test, feature = "test-util"))]
    fn each(&self, f: impl FnMut(Spot, &Kept)) {
        ask!(self, policy => policy.each(f));
    }
}
