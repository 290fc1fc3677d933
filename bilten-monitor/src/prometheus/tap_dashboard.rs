use metrics::Recorder;

use crate::dashboard::Tap;

/// The recorder as it is installed: the live page sees what the other crates record.
pub(super) fn tapped<R: Recorder>(recorder: R) -> Tap<R> {
    Tap::new(recorder)
}
