//! What of a foreign value is kept until it is masked.

use super::{LEFT_OUT, MAX_BYTES, MAX_DEPTH, cut};
use serde_json::{Map, Value};

/// What each value of a detail takes beside its text.
const VALUE_BYTES: usize = 16;

/// `name` and `value` as far as they find `room`, in bytes as they will be shown. Each text is cut to what masking looks at.
pub(crate) fn bounded(name: &str, value: Value, room: &mut usize) -> Option<(String, Value)> {
    let name = text(name, room)?;
    Some((name, nested(value, 0, room)))
}

fn nested(value: Value, depth: usize, room: &mut usize) -> Value {
    if !takes(room, VALUE_BYTES) {
        return LEFT_OUT.into();
    }
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => value,
        Value::String(long) => text(&long, room).map_or(LEFT_OUT.into(), Value::from),
        Value::Array(_) | Value::Object(_) if depth == MAX_DEPTH => LEFT_OUT.into(),
        Value::Array(items) => list(items, depth + 1, room),
        Value::Object(fields) => object(fields, depth + 1, room),
    }
}

fn list(items: Vec<Value>, depth: usize, room: &mut usize) -> Value {
    let mut kept = Vec::new();
    for item in items {
        if *room == 0 {
            kept.push(LEFT_OUT.into());
            break;
        }
        kept.push(nested(item, depth, room));
    }
    kept.into()
}

fn object(fields: Map<String, Value>, depth: usize, room: &mut usize) -> Value {
    let mut kept = Map::new();
    for (name, value) in fields {
        if let Some(name) = text(&name, room) {
            kept.insert(name, nested(value, depth, room));
        }
        if *room == 0 {
            kept.insert(LEFT_OUT.to_owned(), LEFT_OUT.into());
            break;
        }
    }
    kept.into()
}

fn text(text: &str, room: &mut usize) -> Option<String> {
    takes(room, text.len().min(MAX_BYTES)).then(|| cut(text).to_owned())
}

/// Takes so many bytes of the room; when there are fewer, none is left.
fn takes(room: &mut usize, bytes: usize) -> bool {
    let left = room.checked_sub(bytes);
    *room = left.unwrap_or(0);
    left.is_some()
}
