//! A request that the store cannot answer: on its key's flight, its own or that of somebody else.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::sync::oneshot;
use tower_service::Service;

use super::body::Answer;
use super::fill::{Fill, Reply};
use super::page::Stored;
use super::reader::Reader;
use super::shared::Found;
use crate::error::{BoxError, Error};
use crate::loader::Loaded;
use crate::region_state::{Landed, Level};
use crate::single_flight::Passenger;

/// A request, and who can answer it.
pub(super) struct Ask<S, Q> {
    pub(super) service: S,
    pub(super) request: Request<Q>,
}

/// Taken by the load, or taken back by whoever waited for a load that was not his own.
type Ticket<S, Q, B, E> = Arc<Mutex<Option<Fill<S, Q, B, E>>>>;

pub(super) struct InFlight<S, Q, B: Body, E> {
    ticket: Ticket<S, Q, B, E>,
    reply: oneshot::Receiver<Reply<B, E>>,
    passenger: Passenger<Landed<Stored>>,
    is_pilot: bool,
}

/// How waiting ended.
pub(super) enum End<S, Q, B: Body, E> {
    Answered(Answer<B, E>),
    /// What the flight brought is for somebody else.
    Alone(Ask<S, Q>),
    OtherVariant(Ask<S, Q>),
}

impl<S, Q, B> Ask<S, Q>
where
    S: Service<Request<Q>, Response = Response<B>> + Send + 'static,
    S::Future: Send,
    S::Error: Send + 'static,
    Q: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError> + Send,
{
    /// Boards the flight of the key, or starts it.
    ///
    /// # Errors
    ///
    /// [`Error::Recursive`] for a handler that asks for what it is answering.
    pub(super) fn take_off(
        self,
        reader: &Reader,
        found: &Found,
    ) -> Result<InFlight<S, Q, B, S::Error>, Error> {
        let (send, reply) = oneshot::channel();
        let fill = Fill {
            shared: Arc::clone(&reader.shared),
            service: self.service,
            request: self.request,
            first_key: reader.key.clone(),
            key: found.key.clone(),
            old: found.held.as_ref().map(|held| Arc::clone(&held.value)),
            is_known: found.than.is_some() || found.key != reader.key,
            reply: send,
        };
        let ticket: Ticket<S, Q, B, S::Error> = Arc::new(Mutex::new(Some(fill)));
        let mine = Arc::clone(&ticket);
        let load = move |cx| async move {
            match taken(&mine) {
                Some(fill) => fill.run(cx).await,
                None => Ok(Loaded::new(Stored::Pass).uncached()),
            }
        };
        let pages = &reader.shared.pages;
        let (passenger, is_pilot) = pages.reload(found.key.as_str(), found.than, load)?;
        Ok(InFlight {
            ticket,
            reply,
            passenger,
            is_pilot,
        })
    }
}

impl<S, Q, B, E> InFlight<S, Q, B, E>
where
    B: Body<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    pub(super) async fn end(self, reader: &Reader, found: &Found) -> End<S, Q, B, E> {
        let Self {
            ticket,
            mut reply,
            passenger,
            is_pilot,
        } = self;
        let mut arrival = Box::pin(passenger.arrive());
        let landed = tokio::select! {
            biased;
            Ok(own) = &mut reply => {
                let landing = Box::pin(async move { drop(arrival.await) });
                return End::Answered(reader.replied(own, landing, found).await);
            }
            landed = &mut arrival => landed,
        };
        // It is sent before the landing, and may have come between the two looks.
        if let Ok(own) = reply.try_recv() {
            let landed = Box::pin(std::future::ready(()));
            return End::Answered(reader.replied(own, landed, found).await);
        }
        let (stored, level) = match landed {
            Ok(landed) => landed,
            Err(error) => return End::Answered(Ok(reader.lost(&error, found).await)),
        };
        let back = taken(&ticket).map(|fill| Ask {
            service: fill.service,
            request: fill.request,
        });
        match (&*stored, back) {
            (Stored::Page(page), Some(ask)) if reader.is_barred(page) => End::Alone(ask),
            (Stored::Page(page), back) if page.selecting.matches(&reader.headers) => {
                let asked_about = is_pilot && back.is_none() && level == Level::Loader;
                End::Answered(Ok(reader
                    .landed(page, level, !is_pilot, asked_about, found)
                    .await))
            }
            (Stored::Page(_), Some(ask)) => End::OtherVariant(ask),
            (Stored::Failed, Some(ask)) => match reader.stand_in().await {
                Some(response) => End::Answered(Ok(response)),
                None => End::Alone(ask),
            },
            (Stored::Pass, Some(ask)) => End::Alone(ask),
            // Somebody who ran the load and got no reply from it: there is none such.
            (_, None) => End::Answered(Ok(reader.lost(&reader.shared.abandoned(), found).await)),
        }
    }
}

fn taken<S, Q, B: Body, E>(ticket: &Mutex<Option<Fill<S, Q, B, E>>>) -> Option<Fill<S, Q, B, E>> {
    ticket.lock().unwrap_or_else(PoisonError::into_inner).take()
}
