//! A port of one's own, whether somebody listens there or not.

use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpSocket};

/// While this is there no other process gets the port, and nobody is let in unless a listener is there too.
pub(crate) struct Port {
    pub(crate) address: SocketAddr,
    _bound: TcpSocket,
}

impl Port {
    pub(crate) fn keep() -> Self {
        let bound = bind("127.0.0.1:0".parse().unwrap());
        Self {
            address: bound.local_addr().unwrap(),
            _bound: bound,
        }
    }

    pub(crate) fn listen(&self) -> TcpListener {
        bind(self.address).listen(1024).unwrap()
    }
}

fn bind(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(address).unwrap();
    socket
}
