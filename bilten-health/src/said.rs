//! What a check said, kept as it came and masked when somebody is to see it.
//!
//! Masking takes time, and a thousand checks may fail at the same moment: so none of it is done while a run is timed or a
//! question waits for the status alone. What is kept is cut first, and nothing but the masked text comes out, not even through `Debug`.

use crate::redact::{RAW_BYTES, cut, redact, redact_value};
use serde_json::{Map, Value};
use std::fmt;
use std::sync::{Arc, OnceLock};

/// A text that may hold credentials.
#[derive(Clone)]
pub(crate) struct Said(Arc<Text>);

struct Text {
    raw: Box<str>,
    masked: OnceLock<Arc<str>>,
}

impl Said {
    pub(crate) fn new(text: &str) -> Self {
        Self(Arc::new(Text {
            raw: cut(text).into(),
            masked: OnceLock::new(),
        }))
    }

    /// A text of our own, in which there is nothing to mask.
    pub(crate) fn told(text: impl Into<Arc<str>>) -> Self {
        let text = text.into();
        Self(Arc::new(Text {
            raw: Box::default(),
            masked: OnceLock::from(text),
        }))
    }

    /// The text without credentials, at most 1 KiB; found once.
    pub(crate) fn shown(&self) -> Arc<str> {
        let masked = self.0.masked.get_or_init(|| redact(&self.0.raw).into());
        Arc::clone(masked)
    }

    /// Whether [`Said::shown`] has nothing left to do.
    pub(crate) fn is_masked(&self) -> bool {
        self.0.masked.get().is_some()
    }
}

impl PartialEq for Said {
    fn eq(&self, other: &Self) -> bool {
        // One of our own has no raw text and is compared as it is.
        self.0.raw == other.0.raw && (!self.0.raw.is_empty() || self.shown() == other.shown())
    }
}

impl fmt::Debug for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.shown(), f)
    }
}

/// Details, which may hold credentials at any depth.
#[derive(Clone, Default)]
pub(crate) struct Facts(Option<Arc<Fields>>);

#[derive(Clone, Default)]
struct Fields {
    raw: Map<String, Value>,
    masked: OnceLock<Map<String, Value>>,
}

impl Facts {
    /// `name` and `value` are bounded already.
    pub(crate) fn add(&mut self, name: String, value: Value) {
        let fields = Arc::make_mut(self.0.get_or_insert_default());
        fields.masked.take();
        fields.raw.insert(name, value);
    }

    /// The details without credentials; found once.
    pub(crate) fn shown(&self) -> Map<String, Value> {
        let Some(fields) = &self.0 else {
            return Map::new();
        };
        let mask =
            |(name, value): (&String, &Value)| (redact(name), redact_value(name, value.clone()));
        let masked = fields
            .masked
            .get_or_init(|| fields.raw.iter().map(mask).collect());
        masked.clone()
    }

    /// Whether [`Facts::shown`] has nothing left to do.
    pub(crate) fn is_masked(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|fields| fields.masked.get().is_some())
    }
}

impl PartialEq for Facts {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(two)) => Arc::ptr_eq(one, two) || one.raw == two.raw,
            _ => false,
        }
    }
}

impl fmt::Debug for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.shown(), f)
    }
}

/// A text that takes no more than may be kept of it, however much is written: a foreign `Display` has no end of its own.
#[derive(Debug, Default)]
pub(crate) struct Window(String);

impl Window {
    /// What `value` writes, as far as it fits.
    pub(crate) fn of(value: &(impl fmt::Display + ?Sized)) -> Self {
        let mut window = Self::default();
        // An error says that it is full, or is the value's own; what came before it stays.
        let _ = fmt::write(&mut window, format_args!("{value}"));
        window
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Write for Window {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // The `cut` of both together, without putting them together.
        let room = RAW_BYTES.saturating_sub(self.0.len());
        let mut end = room.min(text.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.0.push_str(&text[..end]);
        (end == text.len()).then_some(()).ok_or(fmt::Error)
    }
}

#[cfg(test)]
mod tests {
    use super::{Facts, Said, Window};
    use std::fmt;

    struct Endless(bool);

    impl fmt::Display for Endless {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            for _ in 0..100_000 {
                let written = f.write_str("0123456789ä");
                if !self.0 {
                    written?;
                }
            }
            Ok(())
        }
    }

    #[test]
    fn a_display_without_end_is_not_stored_even_when_it_ignores_errors() {
        for ignores in [false, true] {
            let window = Window::of(&Endless(ignores));
            assert!(window.0.len() <= crate::redact::RAW_BYTES && window.0.capacity() < 32 << 10);
            assert!(Said::new(window.as_str()).shown().ends_with('…'));
        }
    }

    #[test]
    fn nothing_is_masked_before_it_is_shown_and_nothing_else_comes_out() {
        let said = Said::new("password=hunter2");
        let mut facts = Facts::default();
        facts.add("dbPassword".to_owned(), "hunter2".into());
        assert!(!said.is_masked() && !facts.is_masked());
        let debug = format!("{said:?} {facts:?}");
        assert!(
            !debug.contains("hunter2") && debug.contains("***"),
            "{debug}"
        );
        assert!(said.is_masked() && facts.is_masked());
        facts.add("more".to_owned(), 1.into());
        assert!(!facts.is_masked() && facts.shown().len() == 2);
    }
}
