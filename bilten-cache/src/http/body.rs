use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::error::BoxError;

pin_project! {
    /// The body of a response that went through an [`HttpCache`](super::HttpCache): one that was stored, one that is being stored
    /// while the client reads it, or the handler's own.
    pub struct CachedBody<B: Body> {
        #[pin]
        source: Source<B>,
    }
}

pin_project! {
    #[project = SourceProjection]
    enum Source<B: Body> {
        Whole { bytes: Option<Bytes> },
        Nothing,
        Own { #[pin] body: B },
        Filling { filling: Filling<B> },
    }
}

/// A body that is being stored, on its way to the client who asked for it.
struct Filling<B: Body> {
    pieces: UnboundedReceiver<Piece<B>>,
    rest: Option<Pin<Box<B>>>,
    hint: SizeHint,
    /// The last bytes, held back until the page can be found: who has read all of it finds it stored.
    last: Option<Bytes>,
    landing: Option<Landing>,
    over: bool,
}

/// Ends when the page can be found, or will not be.
pub(super) type Landing = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What a request is answered with.
pub(super) type Answer<B, E> = Result<Response<CachedBody<B>>, E>;

/// A piece of a body that is being stored, for the client who asked for it.
pub(super) enum Piece<B: Body> {
    Data(Bytes),
    /// The last ones.
    Last(Bytes),
    /// It will not be stored: the client reads on by itself.
    Rest(Pin<Box<B>>),
    Trailers(HeaderMap),
    Error(B::Error),
}

/// Where the pieces go in. Bounded by the largest body that is stored: they share its bytes.
pub(super) type Pieces<B> = UnboundedSender<Piece<B>>;

#[derive(Debug, thiserror::Error)]
#[error(
    "the response was cut short: its time to be stored was over, or the program is shutting down"
)]
struct CutShort;

impl<B: Body> CachedBody<B> {
    pub(super) fn whole(bytes: Bytes) -> Self {
        let bytes = (!bytes.is_empty()).then_some(bytes);
        Self {
            source: Source::Whole { bytes },
        }
    }

    /// The response with its body whole. A 304 has none, of no length: a server that adds one would say that the page is empty.
    pub(super) fn of(response: Response<Bytes>) -> Response<Self> {
        match response.status() {
            StatusCode::NOT_MODIFIED => response.map(|_| Self {
                source: Source::Nothing,
            }),
            _ => response.map(Self::whole),
        }
    }

    pub(super) fn own(body: B) -> Self {
        Self {
            source: Source::Own { body },
        }
    }

    pub(super) fn filling(hint: SizeHint) -> (Pieces<B>, Self) {
        let (send, pieces) = unbounded_channel();
        let filling = Filling {
            pieces,
            rest: None,
            hint,
            last: None,
            landing: None,
            over: false,
        };
        let source = Source::Filling { filling };
        (send, Self { source })
    }

    /// Ends after this has.
    pub(super) fn after(mut self, landing: Landing) -> Self {
        if let Source::Filling { filling } = &mut self.source {
            filling.landing = Some(landing);
        }
        self
    }
}

impl<B> Body for CachedBody<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.project().source.project() {
            SourceProjection::Whole { bytes } => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))))
            }
            SourceProjection::Nothing => Poll::Ready(None),
            SourceProjection::Own { body } => body.poll_frame(cx).map_err(Into::into),
            SourceProjection::Filling { filling } => filling.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Whole { bytes } => bytes.is_none(),
            Source::Nothing => true,
            Source::Own { body } => body.is_end_stream(),
            Source::Filling { filling } => filling.over,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Whole { bytes } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Source::Nothing => SizeHint::default(),
            Source::Own { body } => body.size_hint(),
            Source::Filling { filling } => filling.hint,
        }
    }
}

type Polled = Poll<Option<Result<Frame<Bytes>, BoxError>>>;

impl<B> Filling<B>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Polled {
        if self.over {
            return Poll::Ready(None);
        }
        // From the first piece on only the end tells how much there is left.
        self.hint = SizeHint::default();
        if self.last.is_none() && self.rest.is_none() {
            match ready!(self.pieces.poll_recv(cx)) {
                Some(Piece::Data(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Some(Piece::Trailers(trailers)) => {
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Some(Piece::Error(error)) => return self.ends(Some(Err(error.into()))),
                // Without a last word nobody may take it for whole.
                None => return self.ends(Some(Err(CutShort.into()))),
                Some(Piece::Last(bytes)) => self.last = Some(bytes),
                Some(Piece::Rest(body)) => self.rest = Some(body),
            }
        }
        if let Some(body) = &mut self.rest {
            return body.as_mut().poll_frame(cx).map_err(Into::into);
        }
        if let Some(landing) = &mut self.landing {
            ready!(landing.as_mut().poll(cx));
        }
        let last = self.last.take().filter(|bytes| !bytes.is_empty());
        self.ends(last.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn ends(&mut self, with: Option<Result<Frame<Bytes>, BoxError>>) -> Polled {
        self.over = true;
        Poll::Ready(with)
    }
}

impl<B: Body> fmt::Debug for CachedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match &self.source {
            Source::Whole { .. } => "stored",
            Source::Nothing => "nothing",
            Source::Own { .. } => "own",
            Source::Filling { .. } => "filling",
        };
        f.debug_tuple("CachedBody").field(&source).finish()
    }
}
