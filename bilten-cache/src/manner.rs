//! What one call does in another way than its region. Pure.

use std::time::Duration;

use crate::loader::Loaded;

/// How one call uses the two levels. All that is not said is as the region does it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Manner {
    skips: u8,
    pub(crate) time_to_live: Option<Duration>,
}

/// A use of a level.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(crate) enum Use {
    MemoryRead = 1,
    MemoryWrite = 2,
    RemoteRead = 4,
    RemoteWrite = 8,
}

impl Manner {
    pub(crate) fn without(self, uses: &[Use]) -> Self {
        let skips = uses
            .iter()
            .fold(self.skips, |skips, one| skips | *one as u8);
        Self { skips, ..self }
    }

    pub(crate) fn uses(self, one: Use) -> bool {
        self.skips & one as u8 == 0
    }

    /// Whether what it brings home is kept in fewer places than others expect: then nobody may wait for it.
    pub(crate) fn is_private(self) -> bool {
        !self.uses(Use::MemoryWrite) || !self.uses(Use::RemoteWrite)
    }

    /// Whether it loads whatever is there.
    pub(crate) fn is_anew(self) -> bool {
        !self.uses(Use::MemoryRead) && !self.uses(Use::RemoteRead)
    }

    /// Whether a load that began before the call will do.
    pub(crate) fn may_join(self) -> bool {
        self.uses(Use::MemoryRead) && self.uses(Use::RemoteRead) && !self.is_private()
    }

    /// The loader's own word on the time to live counts more.
    pub(crate) fn applied_to<V>(self, mut loaded: Loaded<V>) -> Loaded<V> {
        if let (None, Some(time_to_live)) = (loaded.time_to_live, self.time_to_live) {
            loaded = loaded.time_to_live(time_to_live);
        }
        loaded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_a_load_that_is_kept_in_fewer_places() {
        let plain = Manner::default();
        assert!(plain.may_join() && !plain.is_private());
        for (one, private) in [
            (Use::MemoryRead, false),
            (Use::RemoteRead, false),
            (Use::MemoryWrite, true),
            (Use::RemoteWrite, true),
        ] {
            let manner = plain.without(&[one]);
            assert_eq!(
                (manner.may_join(), manner.is_private()),
                (false, private),
                "{one:?}"
            );
            assert!(!manner.uses(one));
        }
        let longer = Manner {
            time_to_live: Some(Duration::from_secs(9)),
            ..plain
        };
        assert!(longer.may_join());
        assert_eq!(
            longer.applied_to(Loaded::new(1)).time_to_live,
            longer.time_to_live
        );
        let own = Loaded::new(1).time_to_live(Duration::from_secs(1));
        assert_eq!(
            longer.applied_to(own).time_to_live,
            Some(Duration::from_secs(1))
        );
    }
}
