//! The files that are written from the table of metrics: stale ones fail, and `BILTEN_WRITE=1` writes them anew.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use bilten_monitor::metric::listed;
use bilten_monitor::prometheus::{Objectives, alert_rules, dashboard, rules};
use bilten_monitor::{Error, Naming};

fn objectives() -> Objectives {
    Objectives::default().latency(Duration::from_secs(1), 0.95)
}

fn up_to_date(path: &str, wanted: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(path);
    if std::env::var_os("BILTEN_WRITE").is_some() {
        std::fs::write(&path, wanted).expect("the file can be written");
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "{} is stale: run BILTEN_WRITE=1 cargo test -p bilten-monitor --all-features --test it generated",
        path.display()
    );
}

#[test]
fn the_alert_rules_of_the_example_are_up_to_date() -> Result<(), Error> {
    let text = rules(Naming::OpenTelemetry, objectives())?;
    up_to_date("examples/observability/rules.yml", &text);
    Ok(())
}

#[test]
fn the_dashboard_of_the_example_is_up_to_date() {
    let path = "examples/observability/grafana/dashboards/bilten.json";
    up_to_date(path, &dashboard(Naming::OpenTelemetry));
}

#[test]
fn the_reference_of_the_guide_is_up_to_date() -> Result<(), Error> {
    let mut page = "# Metrics and alerts\n\nEvery metric as Prometheus shows it. This page is written from the table in the code; \
        a test fails when it is stale.\nIn brackets is the name under `Naming::Short`, where it differs.\n"
        .to_owned();
    let short = listed(Naming::Short);
    let mut emitted_by = "";
    for (metric, short) in listed(Naming::OpenTelemetry).iter().zip(&short) {
        if metric.emitted_by != emitted_by {
            emitted_by = metric.emitted_by;
            let head = "| metric | kind | labels | meaning |\n|---|---|---|---|";
            writeln!(page, "\n## {emitted_by}\n\n{head}").expect("a String");
        }
        let both = |own: &str, short: &str| {
            if own == short {
                format!("`{own}`")
            } else {
                format!("`{own}` (`{short}`)")
            }
        };
        let labels = metric.labels.iter().zip(&short.labels);
        let labels: Vec<_> = labels.map(|(own, short)| both(own, short)).collect();
        writeln!(
            page,
            "| {} | {} | {} | {} |",
            both(&metric.name, &short.name),
            metric.kind,
            labels.join(", "),
            metric.help
        )
        .expect("a String");
    }
    page += "\n## Alert rules\n\nWhat `prometheus::rules` writes for Prometheus, with what to do when one fires.\n\n\
        | alert | urgency | what is wrong | what to do |\n|---|---|---|---|\n";
    for rule in alert_rules(Naming::OpenTelemetry, objectives())? {
        let summary = rule.summary.replace("{{ $labels.", "<").replace(" }}", ">");
        let summary = summary.replace(['<', '>'], "*");
        let (name, severity, remedy) = (rule.name, rule.severity, rule.remedy);
        writeln!(page, "| `{name}` | {severity} | {summary} | {remedy} |").expect("a String");
    }
    up_to_date("docs/metrics.md", &page);
    Ok(())
}
