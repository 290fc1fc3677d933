use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use super::{Alert, AlertSink, Refused};

/// Hands alerts to the program itself through a bounded channel.
///
/// ```
/// use bilten_monitor::{Monitor, alert::ChannelSink};
///
/// let (sink, alerts) = ChannelSink::new(16);
/// let monitor = Monitor::builder().alert_sink(sink).build()?;
/// assert!(alerts.try_next().is_none());
/// # Ok::<(), bilten_monitor::Error>(())
/// ```
#[derive(Debug)]
pub struct ChannelSink(SyncSender<Alert>);

/// The receiving end of a [`ChannelSink`].
#[derive(Debug)]
pub struct AlertReceiver(Receiver<Alert>);

impl ChannelSink {
    /// A sink and its receiver with room for `capacity` alerts; a full channel refuses, and that is counted.
    #[must_use]
    pub fn new(capacity: usize) -> (Self, AlertReceiver) {
        let (sender, receiver) = sync_channel(capacity);
        (Self(sender), AlertReceiver(receiver))
    }
}

impl AlertReceiver {
    /// The next alert, if one is there.
    #[must_use]
    pub fn try_next(&self) -> Option<Alert> {
        self.0.try_recv().ok()
    }

    /// Waits for the next alert, at most this long. Blocks the thread.
    #[must_use]
    pub fn next_within(&self, limit: Duration) -> Option<Alert> {
        self.0.recv_timeout(limit).ok()
    }
}

impl AlertSink for ChannelSink {
    fn deliver(&self, alert: &Alert) -> Result<(), Refused> {
        self.0
            .try_send(alert.clone())
            .map_err(|refused| refused.to_string().into())
    }
}
