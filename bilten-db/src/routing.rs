//! Whether reads are sent to replicas at all: decided for the whole cluster, and changed while it runs.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::freshness::Freshness;
use crate::scope::Route;

/// Which reads may leave the primary.
///
/// Set with [`ClusterBuilder::route_reads`](crate::ClusterBuilder::route_reads), changed at any time with
/// [`Cluster::set_read_routing`](crate::Cluster::set_read_routing).
///
/// ```
/// use bilten_db::{Cluster, ReadRouting};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), bilten_db::Error> {
/// # let builder = Cluster::builder().primary("sqlite::memory:");
/// let db = builder.route_reads(ReadRouting::OptIn).connect().await?;
/// db.set_read_routing(ReadRouting::PrimaryOnly); // the replicas show something odd: leave them at once
/// assert_eq!(db.read_routing(), ReadRouting::PrimaryOnly);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ReadRouting {
    /// Every statement that is proven to read. The default.
    #[default]
    Auto,
    /// Only the reads of a [`Session`](crate::Session), and those in the scope of a
    /// [`Route`](crate::scope::Route): existing code keeps reading from the primary until it asks for replicas.
    OptIn,
    /// None, not even those that ask for replicas: a switch for emergencies.
    PrimaryOnly,
}

/// Where a read begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Course {
    Primary,
    Replicas,
}

/// `in_session` counts as asking for replicas.
pub(crate) fn course(
    mode: ReadRouting,
    hint: Option<Route>,
    wanted: Freshness,
    in_session: bool,
) -> Course {
    if wanted == Freshness::Primary {
        return Course::Primary;
    }
    match (mode, hint) {
        (ReadRouting::PrimaryOnly, _) | (_, Some(Route::Primary)) => Course::Primary,
        (ReadRouting::OptIn, None) if !in_session => Course::Primary,
        (ReadRouting::OptIn | ReadRouting::Auto, _) => Course::Replicas,
    }
}

/// The mode at this moment.
#[derive(Debug)]
pub(crate) struct Mode(AtomicU8);

impl Mode {
    pub(crate) fn new(mode: ReadRouting) -> Self {
        Self(AtomicU8::new(mode as u8))
    }

    pub(crate) fn load(&self) -> ReadRouting {
        let known = [
            ReadRouting::Auto,
            ReadRouting::OptIn,
            ReadRouting::PrimaryOnly,
        ];
        known[usize::from(self.0.load(Ordering::Relaxed))]
    }

    pub(crate) fn store(&self, mode: ReadRouting) {
        self.0.store(mode as u8, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_decides_before_the_hint() {
        use Course::{Primary, Replicas};
        // mode, then the course without a hint, in a session, and for each hint
        let table = [
            (
                ReadRouting::Auto,
                [Replicas, Replicas, Primary, Replicas, Replicas],
            ),
            (
                ReadRouting::OptIn,
                [Primary, Replicas, Primary, Replicas, Replicas],
            ),
            (ReadRouting::PrimaryOnly, [Primary; 5]),
        ];
        for (mode, expected) in table {
            let any = Freshness::Any;
            let hint = |hint| course(mode, Some(hint), any, false);
            let courses = [
                course(mode, None, any, false),
                course(mode, None, any, true),
                hint(Route::Primary),
                hint(Route::Replica),
                hint(Route::Group("reports")),
            ];
            assert_eq!(courses, expected, "{mode:?}");
            assert_eq!(Mode::new(mode).load(), mode);
            let fresh = course(mode, Some(Route::Replica), Freshness::Primary, true);
            assert_eq!(fresh, Primary);
        }
    }
}
