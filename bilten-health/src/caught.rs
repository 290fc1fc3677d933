//! Panics of other people's code that end where they were caught.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `call` gives, or nothing when it panics.
pub(crate) fn caught<T>(call: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).map_err(discard).ok()
}

/// Drops what a panic carried, which may panic in turn.
pub(crate) fn discard(payload: Box<dyn Any + Send>) {
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        // Whoever panics twice may do so for ever; a few bytes are lost instead.
        std::mem::forget(again);
    }
}

#[cfg(test)]
mod tests {
    use super::caught;

    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            std::panic::panic_any(Self);
        }
    }

    #[test]
    fn a_payload_that_panics_for_ever_when_dropped_is_dropped_once() {
        assert_eq!(caught(|| 1), Some(1));
        assert_eq!(caught(|| -> u8 { std::panic::panic_any(Bomb) }), None);
    }
}
