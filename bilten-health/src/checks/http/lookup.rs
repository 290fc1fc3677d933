//! Names to addresses for connections: on a thread of the check's own, one for each check.

use crate::check::CheckContext;
use crate::checks::resolve::resolve;
use hyper_util::client::legacy::connect::dns::Name;
use std::future::Future;
use std::io::Error;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::vec::IntoIter;
use tower_service::Service;

/// Looks names up for one run, which goes on for as long as a lookup does.
///
/// The client's own way is a task of the pool for blocking work, which the whole process shares: where no server of names answers, a
/// check would leave one thread of it behind at each run.
#[derive(Clone)]
pub(super) struct Lookup(pub(super) CheckContext);

impl Service<Name> for Lookup {
    type Response = IntoIter<SocketAddr>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let context = self.0.clone();
        Box::pin(async move {
            // The connector puts in the port.
            let addresses = resolve(&context, format!("{}:0", name.as_str())).await?;
            Ok(addresses.into_iter())
        })
    }
}
