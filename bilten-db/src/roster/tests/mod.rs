use std::sync::atomic::AtomicBool;
use std::sync::{OnceLock, Weak};

use super::*;
use crate::call::ExecuteUnprepared;
use crate::driver::nowhere::{Nowhere, Part};
use crate::gtid::Gtids;
use crate::metrics::{Names, NodeMetrics, Reason};
use crate::traits::Traits;

fn node(system_id: u64, in_recovery: bool) -> Sample {
    Sample {
        in_recovery: Some(in_recovery),
        position: Some(1),
        system_id: Some(system_id),
        timeline: Some(1),
        started: None,
        gtids: None,
        database: Some("shop".into()),
    }
}

/// Notes whether it was the primary already when it was told to take writes.
#[derive(Debug, Default)]
struct Told {
    roster: OnceLock<Weak<Roster>>,
    too_late: OnceLock<bool>,
    discards: AtomicU32,
    /// Whose start is looked at when its connections are given up, and whether it was known by then.
    node: OnceLock<Weak<Node>>,
    knew: AtomicBool,
}

impl Part for Told {
    fn discard(&self) {
        self.discards.fetch_add(1, Ordering::Relaxed);
        if let Some(node) = self.node.get().and_then(Weak::upgrade) {
            self.knew.store(node.past.knows(0), Ordering::Relaxed);
        }
    }

    fn set_read_only(&self, read_only: bool) {
        let Some(roster) = self.roster.get().and_then(Weak::upgrade) else {
            return;
        };
        if !read_only {
            let is_primary = &*roster.topology().primary.id == "r1";
            self.too_late.set(is_primary).unwrap();
        }
    }
}

fn made(id: &str, backend: &Arc<Told>) -> Arc<Node> {
    let id = Arc::from(id);
    let metrics = NodeMetrics::new(&id, &Names::default());
    let backend = Arc::new(Nowhere(Arc::clone(backend)));
    let [suspicion, changed] = [(); 2].map(|()| Arc::default());
    let traits = Traits::default();
    Arc::new(Node::new(id, backend, metrics, suspicion, changed, traits))
}

#[test]
fn a_new_primary_takes_writes_before_anybody_sends_it_one() {
    let [old, new] = [(); 2].map(|()| Arc::new(Told::default()));
    let (primary, replica) = (made("primary", &old), made("r1", &new));
    let topology = Topology {
        primary: Arc::clone(&primary),
        replicas: vec![Arc::clone(&replica)],
    };
    let roster = Arc::new(Roster::new(topology, true, None, None));
    new.roster.set(Arc::downgrade(&roster)).unwrap();
    roster.observe(&primary, Instant::now(), node(7, false));
    roster.observe(&replica, Instant::now(), node(7, true));
    let promoted = Sample {
        timeline: Some(2),
        ..node(7, false)
    };
    roster.observe(&replica, Instant::now(), promoted);
    assert!(roster.topology().is_primary(&replica));
    assert_eq!(new.too_late.get(), Some(&false));
}

#[test]
fn a_replica_that_always_took_writes_is_not_promoted_by_a_blip() {
    for was_standby in [false, true] {
        let [primary, replica] = ["primary", "r1"].map(|id| made(id, &Arc::default()));
        let topology = Topology {
            primary: Arc::clone(&primary),
            replicas: vec![Arc::clone(&replica)],
        };
        let roster = Roster::new(topology, true, None, None);
        let writes = || node(7, false);
        roster.observe(&primary, Instant::now(), writes());
        if was_standby {
            roster.observe(&replica, Instant::now(), node(7, true));
        }
        roster.observe(&replica, Instant::now(), writes());
        assert!(roster.topology().is_primary(&primary));
        roster.missed(&primary, &Fault::Silent(Duration::from_secs(1)), false);
        roster.observe(&replica, Instant::now(), writes());
        // Whoever made a standby writable meant it.
        assert_eq!(roster.topology().is_primary(&replica), was_standby);
    }
}

fn on(timeline: u32, in_recovery: bool) -> Sample {
    Sample {
        timeline: Some(timeline),
        ..node(7, in_recovery)
    }
}

/// A primary and so many replicas, of which the first was promoted.
fn failed_over(replicas: usize) -> (Roster, Vec<Arc<Node>>) {
    let ids = ["primary", "r1", "r2"];
    let nodes: Vec<_> = ids[..=replicas]
        .iter()
        .map(|id| made(id, &Arc::default()))
        .collect();
    let topology = Topology {
        primary: Arc::clone(&nodes[0]),
        replicas: nodes[1..].to_vec(),
    };
    let roster = Roster::new(topology, true, None, None);
    roster.observe(&nodes[0], Instant::now(), on(1, false));
    for replica in &nodes[1..] {
        roster.observe(replica, Instant::now(), on(1, true));
    }
    roster.missed(&nodes[0], &Fault::Silent(Duration::from_secs(1)), false);
    roster.observe(&nodes[1], Instant::now(), on(2, false));
    assert!(roster.topology().is_primary(&nodes[1]));
    (roster, nodes)
}

#[test]
fn an_old_primary_that_comes_back_while_the_new_one_is_unseen_takes_no_writes() {
    let (roster, nodes) = failed_over(1);
    roster.missed(&nodes[1], &Fault::Silent(Duration::from_secs(1)), false);
    roster.observe(&nodes[0], Instant::now(), on(1, false));
    assert!(roster.topology().is_primary(&nodes[1]), "a dead history");
    // Only once it was a standby, it may be promoted again.
    roster.observe(&nodes[0], Instant::now(), on(2, true));
    roster.observe(&nodes[0], Instant::now(), on(3, false));
    assert!(roster.topology().is_primary(&nodes[0]));
}

#[test]
fn an_old_primary_that_was_promoted_again_unseen_takes_the_writes_once_the_other_stands_by() {
    let (roster, nodes) = failed_over(1);
    // Rebuilt, started as a standby and promoted between two probes.
    roster.observe(&nodes[0], Instant::now(), on(3, false));
    assert!(roster.topology().is_primary(&nodes[1]), "both take writes");
    roster.observe(&nodes[1], Instant::now(), on(2, true));
    roster.observe(&nodes[0], Instant::now(), on(3, false));
    assert!(roster.topology().is_primary(&nodes[0]));
    // The other way round it is as before.
    roster.observe(&nodes[1], Instant::now(), on(3, true));
    roster.observe(&nodes[1], Instant::now(), on(4, false));
    assert!(roster.topology().is_primary(&nodes[1]));
}

#[test]
fn an_old_history_takes_no_writes_although_the_primary_stands_by() {
    let (roster, nodes) = failed_over(1);
    roster.observe(&nodes[1], Instant::now(), on(2, true));
    for timeline in [1, 2] {
        roster.observe(&nodes[0], Instant::now(), on(timeline, false));
        assert!(roster.topology().is_primary(&nodes[1]), "{timeline}");
    }
}

#[test]
fn a_node_that_was_ordered_out_is_up_once_it_is_the_primary() {
    let (roster, nodes) = failed_over(2);
    nodes[2].health.order(Rotation::Out);
    roster.observe(&nodes[2], Instant::now(), on(3, false));
    assert!(roster.topology().is_primary(&nodes[2]));
    assert!(nodes[2].health.is_in_rotation());
}

#[test]
fn an_old_primary_of_a_kind_without_timelines_takes_no_writes_either() {
    let [primary, replica] = ["primary", "r1"].map(|id| made(id, &Arc::default()));
    let topology = Topology {
        primary: Arc::clone(&primary),
        replicas: vec![Arc::clone(&replica)],
    };
    let roster = Roster::new(topology, true, None, None);
    let sample = |in_recovery| Sample {
        timeline: None,
        ..node(7, in_recovery)
    };
    roster.observe(&primary, Instant::now(), sample(false));
    roster.observe(&replica, Instant::now(), sample(true));
    roster.missed(&primary, &Fault::Silent(Duration::from_secs(1)), false);
    roster.observe(&replica, Instant::now(), sample(false));
    roster.missed(&replica, &Fault::Silent(Duration::from_secs(1)), false);
    roster.observe(&primary, Instant::now(), sample(false));
    assert!(roster.topology().is_primary(&replica));
}

#[test]
fn a_primary_that_was_seen_first_gives_way_to_a_newer_history_that_is_away_now() {
    let [primary, replica] = ["primary", "r1"].map(|id| made(id, &Arc::default()));
    let topology = Topology {
        primary: Arc::clone(&primary),
        replicas: vec![Arc::clone(&replica)],
    };
    let roster = Roster::new(topology, true, None, None);
    roster.missed(&primary, &Fault::Silent(Duration::from_secs(1)), false);
    roster.observe(&replica, Instant::now(), on(2, false));
    roster.missed(&replica, &Fault::Silent(Duration::from_secs(1)), false);
    roster.observe(&primary, Instant::now(), on(1, false));
    assert!(roster.topology().is_primary(&replica));
}

#[tokio::test]
async fn one_broken_connection_of_the_primary_moves_no_writes_to_a_fenced_node() {
    let (roster, nodes) = failed_over(2);
    roster.observe(&nodes[2], Instant::now(), on(2, false));
    assert!(
        roster.topology().is_primary(&nodes[1]),
        "the other is fenced"
    );
    let write = ExecuteUnprepared("insert into event (name) values ('a')");
    nodes[1].run(&write, Reason::Write).await.unwrap_err();
    assert!(nodes[1].seen().is_none(), "its position proves nothing now");
    roster.observe(&nodes[2], Instant::now(), on(2, false));
    assert!(roster.topology().is_primary(&nodes[1]));
}

#[test]
fn the_position_in_a_log_of_its_own_is_no_lag() {
    for (system_id, in_recovery, known) in [(7, true, true), (7, false, false), (8, true, false)] {
        let [primary, replica] = ["primary", "r1"].map(|id| made(id, &Arc::default()));
        let topology = Topology {
            primary: Arc::clone(&primary),
            replicas: vec![Arc::clone(&replica)],
        };
        let roster = Roster::new(topology, false, None, None);
        roster.observe(&primary, Instant::now(), node(7, false));
        let ahead = Sample {
            position: Some(900),
            ..node(system_id, in_recovery)
        };
        roster.observe(&replica, Instant::now(), ahead);
        let lag = replica.seen().and_then(|seen| seen.lag);
        assert_eq!(lag.is_some(), known, "{system_id} {in_recovery}");
    }
}

/// A node of MySQL or MariaDB, by whether it takes writes and what it has.
fn with_gtids(gtids: Gtids, in_recovery: bool) -> Sample {
    Sample {
        in_recovery: Some(in_recovery),
        gtids: Some(Arc::new(gtids)),
        database: Some("shop".into()),
        ..Sample::default()
    }
}

/// A primary whose place a replica took while it was away, and the roster of both.
fn replaced(first: &Sample, standby: &Sample) -> (Roster, [Arc<Node>; 2]) {
    let nodes = ["primary", "r1"].map(|id| made(id, &Arc::default()));
    let topology = Topology {
        primary: Arc::clone(&nodes[0]),
        replicas: vec![Arc::clone(&nodes[1])],
    };
    let roster = Roster::new(topology, true, None, None);
    let now = Instant::now();
    roster.observe(&nodes[0], now, first.clone());
    roster.observe(&nodes[1], now, standby.clone());
    roster.missed(&nodes[0], &Fault::Silent(Duration::from_secs(1)), false);
    let writes = Sample {
        in_recovery: Some(false),
        ..standby.clone()
    };
    roster.observe(&nodes[1], now, writes);
    assert!(roster.topology().is_primary(&nodes[1]));
    (roster, nodes)
}

#[test]
fn an_old_primary_without_timelines_is_back_when_it_has_all_that_the_last_one_wrote() {
    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const B: &str = "4e11fa47-71ca-11e1-9e33-c80aa9429563";
    let has = |own: &str, a: u32, b: u32, in_recovery| {
        let executed = match b {
            0 => format!("{A}:1-{a}"),
            b => format!("{A}:1-{a},{B}:1-{b}"),
        };
        with_gtids(Gtids::of_mysql(own, &executed).unwrap(), in_recovery)
    };
    let (roster, [old, new]) = replaced(&has(A, 10, 0, false), &has(B, 10, 0, true));
    roster.observe(&new, Instant::now(), has(B, 10, 5, false));
    // The primary stands by, and the other never heard of what it wrote.
    roster.observe(&new, Instant::now(), has(B, 10, 5, true));
    roster.observe(&old, Instant::now(), has(A, 12, 0, false));
    assert!(roster.topology().is_primary(&new));
    let reason = old.health.reason().unwrap();
    assert!(reason.contains("remove_replica()"), "{reason}");
    roster.observe(&old, Instant::now(), has(A, 12, 5, false));
    assert!(roster.topology().is_primary(&old));
}

#[test]
fn numbers_of_mariadb_do_not_bring_a_fenced_node_back_but_the_operator_does() {
    let has =
        |position, in_recovery| with_gtids(Gtids::of_mariadb(0, position).unwrap(), in_recovery);
    let (roster, [old, new]) = replaced(&has("0-1-10", false), &has("0-1-10", true));
    roster.observe(&new, Instant::now(), has("0-2-15", true));
    roster.observe(&old, Instant::now(), has("0-1-20", false));
    assert!(roster.topology().is_primary(&new), "two histories, perhaps");
    let reason = old.health.reason().unwrap();
    assert!(reason.contains("add_replica()"), "{reason}");

    let removed = roster.remove("primary").unwrap();
    assert!(Arc::ptr_eq(&removed, &old));
    let again = made("primary", &Arc::default());
    roster.add(&again).unwrap();
    roster.observe(&again, Instant::now(), has("0-1-20", false));
    assert!(roster.topology().is_primary(&again));
}

#[test]
fn a_second_name_of_the_primary_is_no_rival() {
    let (roster, nodes) = failed_over(2);
    let at = |timeline, started| Sample {
        started: Some(started),
        ..on(timeline, false)
    };
    roster.observe(&nodes[1], Instant::now(), at(2, 100));
    // Its name leads to the new primary now, and to the next one after that.
    roster.observe(&nodes[0], Instant::now(), at(2, 100));
    assert!(roster.topology().is_primary(&nodes[1]));
    roster.missed(&nodes[1], &Fault::Silent(Duration::from_secs(1)), false);
    roster.observe(&nodes[0], Instant::now(), at(3, 200));
    assert!(roster.topology().is_primary(&nodes[0]));
}

/// A primary and a replica without lag; `limit` is how much it may have.
fn in_step(limit: Duration) -> (Roster, [Arc<Node>; 2]) {
    let nodes = ["primary", "r1"].map(|id| made(id, &Arc::default()));
    let topology = Topology {
        primary: Arc::clone(&nodes[0]),
        replicas: vec![Arc::clone(&nodes[1])],
    };
    let roster = Roster::new(topology, true, Some(limit), Some(1));
    let second_ago = Instant::now() - Duration::from_secs(1);
    for _ in 0..3 {
        roster.observe(&nodes[0], second_ago, node(7, false));
        roster.observe(&nodes[1], second_ago, node(7, true));
    }
    assert!(!nodes[1].is_lagging());
    (roster, nodes)
}

#[test]
fn one_missed_probe_makes_no_lag_where_there_was_none() {
    let (roster, [_, replica]) = in_step(Duration::from_millis(500));
    roster.missed(
        &replica,
        &Fault::ConnectTimeout(Duration::from_secs(2)),
        true,
    );
    assert!(replica.health.is_up() && !replica.is_lagging());
}

#[test]
fn a_replica_that_comes_back_without_lag_serves_at_once() {
    let (roster, [_, replica]) = in_step(Duration::from_millis(500));
    for _ in 0..5 {
        roster.missed(&replica, &Fault::Silent(Duration::from_secs(1)), false);
    }
    assert!(!replica.health.is_up());
    // What it had against it is not the lag.
    replica.judge_lag(None, Duration::from_secs(1));
    roster.observe(&replica, Instant::now(), node(7, true));
    assert!(!replica.is_lagging());
}

/// A primary and a replica, which knows nothing yet.
fn pair(strict: bool) -> (Roster, [Arc<Node>; 2], Arc<Told>) {
    let backend = Arc::new(Told::default());
    let nodes = [made("primary", &Arc::default()), made("r1", &backend)];
    let topology = Topology {
        primary: Arc::clone(&nodes[0]),
        replicas: vec![Arc::clone(&nodes[1])],
    };
    let roster = Roster::new(topology, strict, None, None);
    (roster, nodes, backend)
}

#[test]
fn a_name_that_spreads_over_several_servers_does_not_lose_its_connections_with_each_probe() {
    for (strict, discards) in [(true, 5), (false, 1)] {
        let (roster, [primary, replica], backend) = pair(strict);
        roster.observe(&primary, Instant::now(), node(7, false));
        for started in [100, 200, 100, 200, 100, 200] {
            let told = Sample {
                started: Some(started),
                ..node(7, true)
            };
            roster.observe(&replica, Instant::now(), told);
        }
        assert_eq!(backend.discards.load(Ordering::Relaxed), discards);
    }
}

/// Whoever finds that its start is known goes on with its connections.
#[test]
fn a_start_is_known_only_when_the_connections_of_before_were_given_up() {
    let (roster, [_, replica], backend) = pair(true);
    let look = |started| {
        let told = Sample {
            started: Some(started),
            ..node(7, true)
        };
        replica.past.asks(0);
        roster.observe(&replica, Instant::now(), told);
    };
    look(100);
    backend.node.set(Arc::downgrade(&replica)).unwrap();
    replica.past.doubt();
    look(200);
    assert_eq!(backend.discards.load(Ordering::Relaxed), 1);
    assert!(!backend.knew.load(Ordering::Relaxed));
    assert!(replica.past.knows(0));
}

#[test]
fn a_replica_that_joins_later_may_be_many_servers_too() {
    let (roster, _, _) = pair(false);
    let backend = Arc::new(Told::default());
    let late = made("r2", &backend);
    roster.add(&late).unwrap();
    for started in [200, 100, 200, 100] {
        let told = Sample {
            started: Some(started),
            ..node(7, true)
        };
        roster.observe(&late, Instant::now(), told);
    }
    assert_eq!(backend.discards.load(Ordering::Relaxed), 0);
}

mod fenced;
mod promises;
