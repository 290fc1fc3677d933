use bilten_testbed::{RedisCluster, RedisSentinel};

#[test]
fn a_cluster_is_whole_and_survives_the_loss_of_a_primary() {
    let cluster = RedisCluster::start().unwrap();
    for key in ["a", "b", "c", "user:{1}"] {
        assert_eq!(
            cluster.owner(key).unwrap().cli(&["SET", key, "v"]).unwrap(),
            "OK"
        );
    }
    let places: Vec<_> = cluster
        .nodes()
        .iter()
        .map(|node| node.addr().to_string())
        .collect();
    assert_eq!(
        cluster.url(),
        format!(
            "redis-cluster://{}?node={}",
            places[0],
            places[1..].join("&node=")
        )
    );
    let old = cluster.owner("a").unwrap();
    old.wait_for_replicas().unwrap();
    old.kill().unwrap();
    let new = cluster.wait_for_new_owner("a", old).unwrap();
    assert_eq!(new.cli(&["GET", "a"]).unwrap(), "v");
    old.restart().unwrap();
    cluster.wait_whole().unwrap();
    assert!(
        old.cli(&["ROLE"]).unwrap().starts_with("slave"),
        "it remembers the others and follows the new owner"
    );
}

#[test]
fn a_cluster_fails_over_in_order() {
    let cluster = RedisCluster::start().unwrap();
    let old = cluster.owner("a").unwrap();
    let new = cluster.fail_over("a").unwrap();
    assert_ne!(old.port(), new.port());
    let moved = old.cli(&["SET", "a", "v"]).unwrap_err().to_string();
    assert!(moved.contains("MOVED"), "{moved}");
}

#[test]
fn sentinels_replace_a_dead_primary() {
    let group = RedisSentinel::start().unwrap();
    let old = group.primary().unwrap();
    old.cli(&["SET", "k", "v"]).unwrap();
    old.wait_for_replicas().unwrap();
    old.kill().unwrap();
    let new = group.wait_for_new_primary(old).unwrap();
    assert_eq!(new.cli(&["GET", "k"]).unwrap(), "v");
    assert!(
        group.url().ends_with("&sentinelServiceName=main"),
        "{}",
        group.url()
    );
    assert!(group.url().starts_with(&format!(
        "redis-sentinel://{}?node=",
        group.sentinels()[0].addr()
    )));
}

#[test]
fn sentinels_fail_over_in_order() {
    let group = RedisSentinel::start().unwrap();
    let old = group.primary().unwrap().port();
    assert_ne!(group.fail_over().unwrap().port(), old);
    assert_eq!(group.nodes().len(), 3);
}
