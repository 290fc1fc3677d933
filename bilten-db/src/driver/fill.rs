//! Opens the connections that a pool should have even when nobody uses them.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use sqlx::{ConnectOptions as _, Connection as _, Pool};
use tokio::time::timeout;

use super::{ConnectOptions, Driver};
use crate::PoolConfig;
use crate::fault::Fault;

/// Adds connections one after another until there are `config.min`.
///
/// Connections of its own stand by meanwhile. When the server has no place left they make room for others: with none,
/// not even an operator could log in.
///
/// # Cancellation
///
/// What is open stays in the pool, and no more is opened.
pub(super) async fn fill<D: Driver>(
    pool: &Pool<D>,
    options: &ConnectOptions<D>,
    config: &PoolConfig,
) -> Result<(), Fault> {
    let limit = config.connect_timeout;
    let mut room = Vec::new();
    let mut outcome = Ok(());
    while outcome.is_ok() && pool.size() < config.min && !pool.is_closed() {
        // Asked directly: the pool would hide a refusal behind a long wait.
        match connect::<D>(options, limit).await {
            Ok(spare) if room.len() < room_for(config.min) => room.push(spare),
            Ok(spare) => {
                close::<D>(spare, limit).await;
                outcome = add_one(pool, limit).await;
            }
            Err(fault) => outcome = Err(fault),
        }
    }
    for spare in room {
        close::<D>(spare, limit).await;
    }
    outcome
}

/// A tenth of what the pool wants for itself.
fn room_for(min: u32) -> usize {
    usize::try_from(min.div_ceil(10)).unwrap_or(usize::MAX)
}

async fn connect<D: Driver>(
    options: &ConnectOptions<D>,
    limit: Duration,
) -> Result<D::Connection, Fault> {
    match timeout(limit, options.connect()).await {
        Ok(connected) => connected.map_err(Fault::Unreachable),
        Err(_) => Err(Fault::ConnectTimeout(limit)),
    }
}

async fn close<D: Driver>(conn: D::Connection, limit: Duration) {
    drop(timeout(limit, conn.close()).await);
}

/// Has the pool open a connection, unless one came back meanwhile.
async fn add_one<D: Driver>(pool: &Pool<D>, limit: Duration) -> Result<(), Fault> {
    // With its idle connections out of sight the pool opens a new one; once it has begun to, they go back.
    let idle: Vec<_> = std::iter::from_fn(|| pool.try_acquire()).collect();
    let mut opening = pin!(pool.acquire());
    let begun = poll_fn(|context| Poll::Ready(opening.as_mut().poll(context))).await;
    drop(idle);
    let opened = match begun {
        Poll::Ready(opened) => Ok(opened),
        Poll::Pending => timeout(limit, opening).await,
    };
    match opened {
        Ok(opened) => opened.map(drop).map_err(Fault::Unreachable),
        Err(_) => Err(Fault::ConnectTimeout(limit)),
    }
}
