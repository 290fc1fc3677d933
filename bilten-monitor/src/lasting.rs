//! How a recorder says that its handles never go stale; the facade has no word for it.
//!
//! The recorder says it while it gives a handle out, and whoever asked it looks afterwards, on the same thread. It
//! says it under its own address: a recorder of somebody else around it does not say it, whatever that one does.

use std::cell::Cell;
use std::ptr;

thread_local! {
    static SAID: Cell<Option<(usize, Reach)>> = const { Cell::new(None) };
}

/// For whom a recorder's handles last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reach {
    /// Those who were given this recorder.
    Given,
    /// Everybody: it is the process's, and no thread has another one in its place.
    Process,
}

/// Says it of this recorder.
#[cfg_attr(
    not(any(test, feature = "dashboard", feature = "prometheus")),
    expect(dead_code, reason = "only our exporter keeps what somebody holds")
)]
pub(crate) fn say<R: ?Sized>(recorder: &R, reach: Reach) {
    SAID.set(Some((address(recorder), reach)));
}

/// What the recorder has said since somebody last asked.
pub(crate) fn said_by<R: ?Sized>(recorder: &R) -> Option<Reach> {
    let said = SAID.take();
    said.filter(|said| said.0 == address(recorder))
        .map(|said| said.1)
}

fn address<R: ?Sized>(recorder: &R) -> usize {
    ptr::from_ref(recorder).cast::<()>().addr()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_recorder_itself_has_said_it_and_only_until_somebody_asks() {
        let (one, other) = ([1_u8], [2_u8]);
        say(&one, Reach::Given);
        assert_eq!(said_by(&other), None);
        assert_eq!(said_by(&one), None, "it was asked for already");
        say(&one, Reach::Process);
        assert_eq!(said_by(&one), Some(Reach::Process));
    }
}
