//! Whether the server refuses the client's user name and password, as far as the client tells.

use fred::clients::{Client, Pool};
use fred::error::{Error, ErrorKind};
use fred::interfaces::EventInterface;
use fred::types::config::Server;
use std::any::Any;
use std::sync::{Mutex, PoisonError};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;

/// Listens to what a client or the clients of a pool say of their connections, without a task of its own.
///
/// A command on a client without a connection only says that there is none; why it cannot be made is told here.
pub(super) struct Refusal(Mutex<Heard>);

struct Heard {
    ears: Vec<Ear>,
    /// What the last failure was, if it was a refusal; in the server's words.
    refused: Option<String>,
}

struct Ear {
    client: Client,
    errors: Receiver<(Error, Option<Server>)>,
}

impl Refusal {
    /// Clients of other types tell nothing.
    pub(super) fn of(client: &dyn Any) -> Self {
        let one = client.downcast_ref::<Client>().map(std::slice::from_ref);
        let pool = client.downcast_ref::<Pool>().map(Pool::clients);
        let clients = one.or(pool).unwrap_or_default();
        Self(Mutex::new(Heard {
            ears: clients.iter().map(Ear::of).collect(),
            refused: None,
        }))
    }

    /// The server's words, when the last try to connect ended with them.
    pub(super) fn last(&self) -> Option<String> {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Heard { ears, refused } = &mut *heard;
        for error in ears.iter_mut().filter_map(Ear::newest) {
            *refused = words(&error);
        }
        refused.clone()
    }

    /// There was an answer: what was said before is over.
    pub(super) fn forget(&self) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.ears.iter_mut().for_each(|ear| drop(ear.newest()));
        heard.refused = None;
    }
}

impl Ear {
    fn of(client: &Client) -> Self {
        Self {
            client: client.clone(),
            errors: client.error_rx(),
        }
    }

    /// The newest of the errors that have come since the last time.
    fn newest(&mut self) -> Option<Error> {
        let mut newest = None;
        loop {
            match self.errors.try_recv() {
                Ok((error, _)) => newest = Some(error),
                // Older ones were lost: the newest are still to come.
                Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty) => return newest,
                Err(TryRecvError::Closed) => {
                    // After `quit`; the client may be connected again.
                    self.errors = self.client.error_rx();
                    return newest;
                }
            }
        }
    }
}

/// What the server said, if it was about user name and password.
pub(super) fn words(error: &Error) -> Option<String> {
    (*error.kind() == ErrorKind::Auth).then(|| error.details().to_owned())
}

#[cfg(test)]
mod tests {
    use super::words;
    use fred::error::{Error, ErrorKind};

    #[test]
    fn only_what_is_about_the_password_is_a_refusal() {
        let refused = Error::new(ErrorKind::Auth, "WRONGPASS invalid username-password pair");
        assert_eq!(
            words(&refused).as_deref(),
            Some("WRONGPASS invalid username-password pair")
        );
        assert_eq!(
            words(&Error::new(ErrorKind::IO, "Connection closed.")),
            None
        );
    }
}
