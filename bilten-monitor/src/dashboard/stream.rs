//! Server-sent events for one page (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{Stream, unfold};
use http_body::Frame;

use super::live::{Published, Seat};

/// A stream ends after so many seconds and the page asks again: then the authoriser is asked again too, and a server
/// that waits for its responses at shutdown and did not close the dashboard waits no longer than this.
const LIFE: u32 = 20;

/// After how many milliseconds the page asks again. A browser's own pause is longer than the page waits before it says that
/// it hears nothing.
const AGAIN: &[u8] = b"retry: 500\n\n";

/// What one page has got so far.
struct Told {
    seat: Seat,
    title: Arc<str>,
    details: bool,
    /// The number of the last second that was sent; nothing was sent at first.
    number: Option<u64>,
    alerts: u64,
    seconds: u32,
    ended: bool,
}

/// The page's stream: everything at once, then every second what is new, until it has lasted long enough.
pub(super) fn events(
    seat: Seat,
    title: Arc<str>,
    details: bool,
) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> + Send {
    let told = Told {
        seat,
        title,
        details,
        number: None,
        alerts: 0,
        seconds: 0,
        ended: false,
    };
    unfold(told, |mut told| async move {
        let chunk = told.next().await?;
        Some((Ok(Frame::data(chunk)), told))
    })
}

impl Told {
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        if self.number.is_none() {
            return Some(self.everything());
        }
        // An error means that nobody looks any more; then the stream simply ends.
        self.seat.published.changed().await.ok()?;
        let published = self.seat.published.borrow_and_update().clone();
        self.seconds += 1;
        self.ended = published.closed || self.seconds >= LIFE;
        if published.closed {
            return Some(event("closed", b"{}").into());
        }
        Some(self.second(&published))
    }

    fn everything(&mut self) -> Bytes {
        self.alerts = self.seat.live.alerts_version();
        let (number, text) = self.seat.live.full(&self.title, self.details);
        self.number = Some(number);
        let mut chunk = event("full", &text);
        chunk.extend(AGAIN);
        chunk.into()
    }

    /// The next second. A page that was too slow for the one before gets everything again.
    fn second(&mut self, published: &Published) -> Bytes {
        if self
            .number
            .is_none_or(|number| number + 1 < published.number)
        {
            return self.everything();
        }
        if self.number == Some(published.number) {
            return Bytes::from_static(b": still here\n\n");
        }
        self.number = Some(published.number);
        let mut chunk = event("tick", &published.tick);
        if self.seat.live.alerts_version() != self.alerts {
            let (version, text) = self.seat.live.alerts(self.details);
            self.alerts = version;
            chunk.extend(event("alerts", &text));
        }
        chunk.into()
    }
}

/// JSON has no line ends of its own, so one `data` line is enough.
fn event(name: &str, data: &[u8]) -> Vec<u8> {
    [b"event: ", name.as_bytes(), b"\ndata: ", data, b"\n\n"].concat()
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::super::live::Live;
    use super::*;
    use crate::Monitor;

    /// Without the thread: these tests look themselves, and how long they take is nobody's to say.
    fn page() -> (Arc<Live>, Told) {
        let monitor = Monitor::builder().build().expect("a monitor");
        let live = Live::new(Arc::clone(&monitor.inner().hub));
        let told = Told {
            seat: live.seat(1).expect("a place"),
            title: Arc::from("test"),
            details: false,
            number: None,
            alerts: 0,
            seconds: 0,
            ended: false,
        };
        (live, told)
    }

    /// The next message's name, `None` at the end; there must be one at once.
    fn name(told: &mut Told) -> Option<String> {
        let Poll::Ready(chunk) = pin!(told.next()).poll(&mut Context::from_waker(Waker::noop()))
        else {
            panic!("nothing to tell")
        };
        let text = String::from_utf8(chunk?.to_vec()).expect("text");
        Some(text.lines().next().unwrap_or_default().to_owned())
    }

    #[test]
    fn everything_comes_first_and_then_second_by_second() {
        let (live, mut told) = page();
        assert_eq!(name(&mut told).as_deref(), Some("event: full"));
        live.look();
        assert_eq!(name(&mut told).as_deref(), Some("event: tick"));
    }

    #[test]
    fn a_page_that_missed_a_second_gets_everything_again() {
        let (live, mut told) = page();
        name(&mut told);
        (0..3).for_each(|_| live.look());
        assert_eq!(name(&mut told).as_deref(), Some("event: full"));
        live.look();
        assert_eq!(name(&mut told).as_deref(), Some("event: tick"));
    }

    #[test]
    fn a_stream_ends_after_its_life_and_at_once_when_the_dashboard_closes() {
        let (live, mut told) = page();
        name(&mut told);
        for _ in 0..LIFE {
            live.look();
            assert_ne!(name(&mut told), None);
        }
        assert_eq!(name(&mut told), None, "after its life");

        let (live, mut told) = page();
        name(&mut told);
        live.close();
        assert_eq!(name(&mut told).as_deref(), Some("event: closed"));
        assert_eq!(name(&mut told), None);
        // Of a close that came before it, a stream would never hear.
        drop(told);
        assert!(live.seat(1).is_none());
        live.close();
        assert!(live.seat(1).is_none(), "and not once more");
    }

    #[test]
    fn a_page_that_is_gone_makes_room() {
        let (live, told) = page();
        assert!(live.seat(1).is_none());
        drop(told);
        assert!(live.seat(1).is_some());
    }
}
