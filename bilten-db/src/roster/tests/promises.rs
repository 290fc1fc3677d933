//! What a replica's lag is worth, and who keeps the writes.

use super::*;
use crate::freshness::Want;

/// What the replica's lag is, and whether it keeps a promise of little lag.
fn lag_of(replica: &Node, primary: &Node) -> (Option<Duration>, bool) {
    let want = Want {
        group: None,
        max_lag: Some(Duration::from_secs(60)),
        at_least: None,
    };
    let lag = replica.last_seen().and_then(|seen| seen.lag);
    (lag.map(|lag| lag.time), replica.meets(&want, primary))
}

#[test]
fn a_replica_on_an_older_timeline_stays_in_rotation_but_keeps_no_promise() {
    let (roster, [primary, replica], _) = pair(true);
    roster.observe(&primary, Instant::now(), on(2, false));
    let ahead = |timeline| Sample {
        position: Some(1000),
        ..on(timeline, true)
    };
    // It may have more of the old history than the new one began with, and follow or not.
    roster.observe(&replica, Instant::now(), ahead(1));
    assert_eq!(lag_of(&replica, &primary), (Some(Duration::ZERO), false));
    roster.observe(&replica, Instant::now(), ahead(2));
    assert_eq!(lag_of(&replica, &primary), (Some(Duration::ZERO), true));
    roster.observe(&replica, Instant::now(), ahead(3));
    assert_eq!(lag_of(&replica, &primary), (None, false));
}

#[test]
fn a_primary_in_doubt_makes_no_lag_unknown() {
    let limit = Duration::from_secs(1);
    let (roster, [primary, replica]) = in_step(limit);
    primary.doubt();
    assert!(primary.seen().is_none(), "the test proves nothing");
    roster.observe(&replica, Instant::now(), node(7, true));
    assert!(!replica.is_lagging());
    assert_eq!(lag_of(&replica, &primary), (Some(Duration::ZERO), true));
}

#[test]
fn a_server_that_never_led_takes_no_writes_however_much_it_has() {
    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const B: &str = "4e11fa47-71ca-11e1-9e33-c80aa9429563";
    let has = |own: &str, in_recovery| {
        let executed = format!("{A}:1-10,{B}:1-3");
        with_gtids(Gtids::of_mysql(own, &executed).unwrap(), in_recovery)
    };
    let (roster, [primary, replica], _) = pair(true);
    roster.observe(&primary, Instant::now(), has(A, false));
    // Without read_only from the beginning: a rival.
    roster.observe(&replica, Instant::now(), has(B, false));
    assert!(!replica.health.is_up());
    // For a backup, say.
    roster.observe(&primary, Instant::now(), has(A, true));
    roster.observe(&replica, Instant::now(), has(B, false));
    assert!(roster.topology().is_primary(&primary));
}

#[test]
fn a_process_that_stood_still_gives_the_writes_to_nobody_else() {
    let (roster, [primary, replica], _) = pair(true);
    let long_ago = Instant::now() - STALE - Duration::from_secs(1);
    roster.observe(&primary, long_ago, node(7, false));
    roster.observe(&replica, long_ago, node(7, true));
    // Its answer comes first, and the primary's is as old as the pause.
    roster.observe(&replica, Instant::now(), node(7, false));
    assert!(roster.topology().is_primary(&primary));
    // Only a probe that is missed says that the primary is gone.
    let slow = Fault::ConnectTimeout(Duration::from_secs(2));
    roster.missed(&primary, &slow, false);
    roster.observe(&replica, Instant::now(), node(7, false));
    assert!(roster.topology().is_primary(&replica));
}

#[test]
fn a_primary_in_doubt_makes_no_replica_lag() {
    let [primary, replica] = ["primary", "r1"].map(|id| made(id, &Arc::default()));
    let topology = Topology {
        primary: Arc::clone(&primary),
        replicas: vec![Arc::clone(&replica)],
    };
    let roster = Roster::new(topology, true, Some(Duration::from_secs(5)), None);
    roster.observe(&primary, Instant::now(), on(1, false));
    roster.observe(&replica, Instant::now(), on(1, true));
    assert!(!replica.is_lagging());
    // A connection broke under a write, and the replica's probe is answered before the primary's.
    primary.doubt();
    roster.observe(&replica, Instant::now(), on(1, true));
    assert!(!replica.is_lagging());
    assert!(replica.seen().unwrap().lag.is_some());
}
