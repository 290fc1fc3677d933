use bilten_testbed::{Origin, Service, shared, source, sources};

#[test]
fn a_shared_redis_is_the_same_for_all_who_ask() {
    assert_eq!(shared::redis().unwrap(), shared::redis().unwrap());
}

#[test]
fn a_shared_database_is_fresh_and_on_the_replicas_too() {
    let postgres = shared::postgres().unwrap();
    let (one, two) = (
        postgres.database("one").unwrap(),
        postgres.database("one").unwrap(),
    );
    assert_ne!(one.name(), two.name());
    assert!(one.primary_url().ends_with(one.name()));
    assert_eq!(one.replica_urls().len(), postgres.replica_urls().len());
    assert_eq!(one.psql("select current_database()").unwrap(), one.name());
    for url in one.replica_urls() {
        let output = std::process::Command::new("psql")
            .args([&url, "-Atc", "select current_database()"])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), one.name());
    }
}

#[test]
fn sources_say_for_each_service_where_it_comes_from() {
    let rows = sources();
    assert_eq!(
        rows.iter().map(|row| row.service()).collect::<Vec<_>>(),
        [
            Service::Redis,
            Service::Postgres,
            Service::MariaDb,
            Service::Prometheus
        ]
    );
    for row in &rows {
        assert_eq!(row, &source(row.service()));
        assert_eq!(row.is_available(), row.origin() != Origin::Missing);
        assert!(
            row.to_string().starts_with(&row.service().to_string()) && !row.detail().is_empty(),
            "{row}"
        );
    }
}
