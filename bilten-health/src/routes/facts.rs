//! The details of a check as lines for people: pure.

use serde_json::{Map, Value};

/// One line per detail, and one per item of a list of things.
pub(super) fn facts(details: &Map<String, Value>) -> Vec<String> {
    let mut lines = Vec::with_capacity(details.len());
    for (name, value) in details {
        match value {
            Value::Array(things) if things.iter().any(Value::is_object) => {
                lines.extend(things.iter().map(thing));
            }
            _ => lines.push(format!("{name} {}", text(value))),
        }
    }
    lines
}

/// `primary: pool (idle 3, max 20), state up`: what identifies it comes first.
fn thing(value: &Value) -> String {
    match value {
        Value::Object(fields) => match fields.get("id").or_else(|| fields.get("name")) {
            Some(id) => format!("{}: {}", text(id), pairs(fields)),
            None => pairs(fields),
        },
        _ => text(value),
    }
}

fn pairs(fields: &Map<String, Value>) -> String {
    let named = fields
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "id" | "name"));
    let pairs: Vec<_> = named
        .map(|(name, value)| format!("{name} {}", text(value)))
        .collect();
    pairs.join(", ")
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => "not known".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => {
            format!("{:.1}", number.as_f64().unwrap_or_default())
        }
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => format!("({})", pairs(fields)),
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::facts;
    use serde_json::json;

    #[test]
    fn details_become_lines() {
        let details = json!({
            "addresses": ["10.0.0.1", "10.0.0.2"],
            "late_ms": 16.822_606,
            "nodes": [
                { "id": "primary", "pool": { "idle": 3, "max": 20 }, "state": "up" },
                { "state": "lagging", "lag_ms": null },
                "odd",
            ],
            "role": "replica",
        });
        let lines = facts(details.as_object().expect("an object"));
        assert_eq!(
            lines,
            [
                "addresses 10.0.0.1, 10.0.0.2",
                "late_ms 16.8",
                "primary: pool (idle 3, max 20), state up",
                "lag_ms not known, state lagging",
                "odd",
                "role replica",
            ]
        );
    }
}
