//! Every statement and every named query timed, slow ones reported, all of it as Prometheus text.

#![allow(clippy::print_stdout)]

use std::time::Duration;

use bilten_monitor::Monitor;
use bilten_monitor::prometheus::{Exporter, Options};
use sea_orm::{ConnectionTrait, Database};
use tracing_subscriber::filter::LevelFilter;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Slow alerts are warnings of `tracing`, unless a sink takes them elsewhere.
    tracing_subscriber::fmt()
        .with_max_level(LevelFilter::WARN)
        .init();

    // A service installs one for the whole process: `prometheus::install(..)`.
    let metrics = Exporter::local(Options::default())?;
    let monitor = Monitor::builder()
        .slow_query(Duration::from_millis(20))
        .recorder(metrics.recorder())
        .build()?;

    // Statements get names by themselves: operation, table and a fingerprint, never a value.
    let db = monitor.observe(Database::connect("sqlite::memory:").await?);
    db.execute_unprepared("CREATE TABLE events (id integer primary key, title text)")
        .await?;
    db.execute_unprepared("INSERT INTO events (title) VALUES ('Opera')")
        .await?;
    let wrong = db.execute_unprepared("SELECT nothing FROM events").await;
    println!("the error comes back untouched: {}", wrong.is_err());

    // Any other future gets the name that you give it; its result comes back untouched as well.
    let slow = async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        Ok::<_, std::io::Error>("Opera")
    };
    let title = monitor.query("event_by_id").run(slow).await?;
    println!("found {title}");

    // A query whose caller goes away is counted too.
    let abandoned = monitor
        .query("event_by_id")
        .run(std::future::pending::<Result<(), std::io::Error>>());
    let _ = tokio::time::timeout(Duration::from_millis(5), abandoned).await;

    let _ = monitor.flush(Duration::from_secs(1)); // alerts have a thread of their own
    for line in metrics.render().lines() {
        if line.starts_with("db_client_operation_duration_seconds_count") {
            println!("{line}");
        }
    }
    Ok(())
}
