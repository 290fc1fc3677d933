//! A socket with room for a rush.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// How many connections may wait to be accepted; the kernel cuts it down to `net.core.somaxconn`, 4096 on Linux since
/// 5.4. `TcpListener::bind` asks for 128: when tickets go on sale, Linux resets those who find no room.
const BACKLOG: u32 = 4096;

/// Listens here.
///
/// # Errors
/// When the address is taken, or not ours to take.
pub fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // On Unix a restart must not wait for the last run's connections; on Windows it would let two services share a port.
    if cfg!(unix) {
        socket.set_reuseaddr(true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
