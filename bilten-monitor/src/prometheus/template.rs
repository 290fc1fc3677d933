//! Expressions that name metrics and labels as the table does.
//!
//! `[[http.server.request.duration]]_count` is written as Prometheus shows that metric under the naming in use,
//! and `[[http.route]]` as the label of a metric that the same expression names. What the table does not have
//! cannot be written, and a test resolves every expression there is.

use crate::names::{Naming, Spec, all, exported, shown};

/// The expression with every name filled in, or the name that the table does not have.
pub(super) fn resolved(template: &str, naming: Naming) -> Result<String, String> {
    written(template, naming, None)
}

/// The same with every metric asked for under this condition, such as `job="shop"`.
pub(super) fn selected(template: &str, naming: Naming, which: &str) -> Result<String, String> {
    written(template, naming, Some(which))
}

fn written(template: &str, naming: Naming, which: Option<&str>) -> Result<String, String> {
    let mut text = String::new();
    let specs: Vec<&Spec> = names(template).filter_map(metric).collect();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("[[") {
        let (name, after) = after.split_once("]]").ok_or_else(|| rest.to_owned())?;
        text += before;
        text += &name_of(name, &specs, naming).ok_or_else(|| name.to_owned())?;
        rest = after;
        if let Some(which) = which.filter(|_| metric(name).is_some()) {
            let suffix = rest.find(|c: char| c != '_' && !c.is_ascii_alphanumeric());
            let (suffix, after) = rest.split_at(suffix.unwrap_or(rest.len()));
            let inner = after.strip_prefix('{');
            let end = if inner.is_some() { "," } else { "}" };
            text += &format!("{suffix}{{{which}{end}");
            rest = inner.unwrap_or(after);
        }
    }
    Ok(text + rest)
}

fn names(template: &str) -> impl Iterator<Item = &str> {
    template
        .split("[[")
        .skip(1)
        .filter_map(|part| part.split("]]").next())
}

fn metric(name: &str) -> Option<&'static Spec> {
    all().find(|spec| spec.name.otel == name)
}

fn name_of(name: &str, specs: &[&Spec], naming: Naming) -> Option<String> {
    // During a migration both are there, and the new names are the ones to stay with.
    let family = *naming.families().first()?;
    if let Some(spec) = metric(name) {
        return Some(shown(spec.name.of(family), spec.kind, spec.unit));
    }
    let mut labels = specs.iter().flat_map(|spec| spec.labels);
    let label = labels.find(|label| label.otel == name)?;
    Some(exported(label.of(family)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_that_of_the_metric_beside_it() {
        let query = r#"[[db.client.operation.duration]]_count{[[outcome]]="error"}"#;
        let request =
            r#"sum by ([[http.route]]) ([[http.server.request.duration]]_count{[[outcome]]="x"})"#;
        let short = |template| resolved(template, Naming::Short).expect("known");
        assert_eq!(
            short(query),
            r#"database_query_duration_seconds_count{status="error"}"#
        );
        assert_eq!(
            short(request),
            r#"sum by (path) (http_request_duration_seconds_count{outcome="x"})"#
        );
        assert_eq!(
            resolved(query, Naming::Both).expect("known"),
            r#"db_client_operation_duration_seconds_count{outcome="error"}"#
        );
    }

    #[test]
    fn every_metric_is_asked_for_under_the_condition_and_no_label_is() {
        let template = r#"sum by ([[http.route]]) (rate([[http.server.request.duration]]_count{[[outcome]]="x"}[5m])) / [[bilten.runtime.queue]]"#;
        assert_eq!(
            selected(template, Naming::OpenTelemetry, r#"job="a""#).expect("known"),
            r#"sum by (http_route) (rate(http_server_request_duration_seconds_count{job="a",outcome="x"}[5m])) / bilten_runtime_queue{job="a"}"#
        );
    }

    #[test]
    fn a_name_that_the_table_does_not_have_is_told() {
        assert_eq!(
            resolved("rate([[no.such.metric]][5m])", Naming::Short),
            Err("no.such.metric".to_owned())
        );
        assert_eq!(
            resolved("[[bilten_db_node_up]]{[[http.route]]=1}", Naming::Short),
            Err("http.route".to_owned())
        );
    }
}
