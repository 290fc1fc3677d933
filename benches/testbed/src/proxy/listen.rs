use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc as blocking;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::connection::{Counts, Faults, carry};

/// What the proxy's thread is asked for; it answers when it is done, so that faults are in force on return.
pub(super) enum Order {
    /// Close the listening socket.
    Refuse(blocking::Sender<()>),
    /// Listen again on the same port.
    Listen(blocking::Sender<()>),
    /// Reset all connections of now and wait until they have ended. Here, so that none is accepted in between.
    Reset(blocking::Sender<()>),
}

/// Accepts until the orders end.
pub(super) async fn listen(
    listener: std::net::TcpListener,
    target: SocketAddr,
    mut orders: mpsc::UnboundedReceiver<Order>,
    faults: Arc<watch::Sender<Faults>>,
    counts: Arc<Counts>,
) {
    let Ok(address) = listener.local_addr() else {
        return;
    };
    let mut listener = TcpListener::from_std(listener).ok();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            order = orders.recv() => match order {
                None => return,
                Some(Order::Refuse(done)) => {
                    listener = None;
                    let _ = done.send(());
                }
                Some(Order::Listen(done)) => {
                    if listener.is_none() {
                        listener = TcpListener::bind(address).await.ok();
                    }
                    // Without a listener the channel closes unanswered, which the caller reports.
                    if listener.is_some() {
                        let _ = done.send(());
                    }
                }
                Some(Order::Reset(done)) => {
                    faults.send_modify(|faults| faults.resets += 1);
                    while connections.join_next().await.is_some() {}
                    let _ = done.send(());
                }
            },
            Some(client) = accept(listener.as_ref()), if listener.is_some() => {
                counts.accepted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let (faults, counts) = (faults.subscribe(), counts.clone());
                // Now, and not when its task runs: a fault in between must not miss it.
                let before = faults.borrow().events();
                connections.spawn(async move { carry(client, target, faults, before, &counts).await });
            }
            Some(_) = connections.join_next(), if !connections.is_empty() => {}
            // A failed accept (too many open files) must not end the proxy.
            else => tokio::task::yield_now().await,
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> Option<TcpStream> {
    Some(listener?.accept().await.ok()?.0)
}
