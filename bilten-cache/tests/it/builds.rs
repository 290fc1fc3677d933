use std::process::Command;

/// The dependencies of a build, as `cargo tree` sees them.
fn tree(features: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--edges", "normal", "--prefix", "none"])
        .args([
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ])
        .args(features)
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn a_memory_only_build_has_no_redis_client() {
    let memory_only = tree(&["--no-default-features"]);
    assert!(memory_only.contains("moka v"));
    for client in [
        "fred v",
        "redis v",
        "redis-protocol v",
        "socket2 v",
        "url v",
        "tower-service v",
    ] {
        assert!(!memory_only.contains(client), "{client}");
    }
}

#[test]
fn a_build_has_the_clients_of_its_features_only() {
    for (features, fred, redis) in [
        (&[][..], true, false),
        (
            &["--no-default-features", "--features", "fred"],
            true,
            false,
        ),
        (
            &["--no-default-features", "--features", "redis"],
            false,
            true,
        ),
        (&["--features", "redis"], true, true),
    ] {
        let tree = tree(features);
        let found = (tree.contains("fred v"), tree.contains("redis v"));
        assert_eq!(found, (fred, redis), "{features:?}");
    }
}
