//! What goes wrong, chosen by a seed. Whatever lasts is mended before the next.

use std::thread::sleep;
use std::time::{Duration, Instant};

use bilten_testbed::{Postgres, PostgresNode};
use fastrand::Rng;

const END_ALL: &str = "select pg_terminate_backend(pid) from pg_stat_activity
    where backend_type = 'client backend' and pid <> pg_backend_pid()";

/// Harms the servers until the time is over. Afterwards everything is well again. Blocks.
pub(crate) fn harm(postgres: &Postgres, mut rng: Rng, until: Instant) -> Vec<String> {
    let begun = Instant::now();
    let mut log = Vec::new();
    while Instant::now() < until {
        sleep(Duration::from_millis(rng.u64(50..600)));
        let lasts = Duration::from_millis(rng.u64(100..2_500));
        let replica = &postgres.replicas()[rng.usize(..postgres.replicas().len())];
        let fault = rng.u32(..10);
        let name = match fault {
            0..3 => "replay paused",
            3 => "killed, started again",
            4 => "frozen",
            5 => "its primary silent to it",
            6 => "sessions ended",
            7 => "shut down, started again",
            8 => "primary frozen",
            _ => "primary killed, started again",
        };
        log.push(format!(
            "{:?} {} {name} ({lasts:?})",
            begun.elapsed(),
            replica.name()
        ));
        match fault {
            0..3 => between(
                replica,
                PostgresNode::pause_replay,
                lasts,
                PostgresNode::resume_replay,
            ),
            3 => between(
                replica,
                PostgresNode::kill,
                lasts / 4,
                PostgresNode::restart,
            ),
            4 => between(replica, PostgresNode::pause, lasts, PostgresNode::resume),
            5 => between(
                replica,
                PostgresNode::stop_walsender,
                lasts,
                PostgresNode::continue_walsender,
            ),
            6 => drop(replica.psql(END_ALL).unwrap()),
            7 => between(
                replica,
                PostgresNode::stop,
                lasts / 4,
                PostgresNode::restart,
            ),
            8 => between(
                postgres.primary(),
                PostgresNode::pause,
                lasts,
                PostgresNode::resume,
            ),
            _ => between(
                postgres.primary(),
                PostgresNode::kill,
                lasts / 4,
                PostgresNode::restart,
            ),
        }
    }
    log
}

/// Shuts the primary down in order, so that its replicas have all that was written, and promotes one of them. Blocks.
pub(crate) fn switch_over(postgres: &Postgres, to: &PostgresNode) {
    postgres.wait_streaming().unwrap();
    postgres.primary().stop().unwrap();
    to.promote().unwrap();
}

type Act = fn(&PostgresNode) -> Result<(), bilten_testbed::Error>;

fn between(node: &PostgresNode, begin: Act, lasts: Duration, end: Act) {
    begin(node).unwrap();
    sleep(lasts);
    end(node).unwrap();
}
