//! Label values that cannot hold a user's data.

/// A label's value: a constant text, a truth value or a small number.
///
/// ```
/// use bilten_monitor::metric::LabelValue;
///
/// assert_eq!(LabelValue::from("web"), "web".into());
/// assert_ne!(LabelValue::from(true), LabelValue::from(404));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LabelValue(Value);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Value {
    Text(&'static str),
    Flag(bool),
    Number(u16),
}

impl LabelValue {
    pub(crate) const EMPTY: Self = Self(Value::Text(""));

    pub(crate) fn text(self) -> metrics::SharedString {
        match self.0 {
            Value::Text(text) => text.into(),
            Value::Flag(true) => "true".into(),
            Value::Flag(false) => "false".into(),
            Value::Number(number) => number.to_string().into(),
        }
    }
}

impl From<&'static str> for LabelValue {
    fn from(text: &'static str) -> Self {
        Self(Value::Text(text))
    }
}

impl From<bool> for LabelValue {
    fn from(flag: bool) -> Self {
        Self(Value::Flag(flag))
    }
}

impl From<u16> for LabelValue {
    fn from(number: u16) -> Self {
        Self(Value::Number(number))
    }
}
