//! Looking up addresses without leaving threads behind.

use crate::check::CheckContext;
use crate::thread::wait_for;
use std::io::{Error, ErrorKind};
use std::net::{SocketAddr, ToSocketAddrs};

/// The addresses of `host:port`; at least one.
///
/// The system's resolver blocks a thread, for many seconds when no server answers. That thread keeps the run alive, so that no
/// second one is sent after it.
pub(super) async fn resolve(
    context: &CheckContext,
    target: String,
) -> Result<Vec<SocketAddr>, Error> {
    if let Ok(address) = target.parse() {
        return Ok(vec![address]);
    }
    let alive = context.clone();
    let lookup = wait_for(move || {
        let _alive = alive;
        target.to_socket_addrs().map(Iterator::collect::<Vec<_>>)
    });
    match lookup.await {
        Ok(Ok(addresses)) if addresses.is_empty() => {
            Err(Error::new(ErrorKind::NotFound, "the name has no address"))
        }
        Ok(result) => result,
        Err(error) => Err(error),
    }
}
