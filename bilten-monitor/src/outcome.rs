//! How an operation ended.

use std::any::type_name;

/// How a monitored operation ended. Every started operation has exactly one.
///
/// ```
/// use bilten_monitor::Outcome;
///
/// let failed: Result<(), std::fmt::Error> = Err(std::fmt::Error);
/// assert_eq!(Outcome::of(&failed), Outcome::Error("Error"));
/// assert_eq!(Outcome::Cancelled.label(), "cancelled");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It returned, and not an error.
    Success,
    /// It returned an error of this type. The name is static, so an error's text never becomes a label.
    Error(&'static str),
    /// Its future was dropped before it was ready: a client went away, a timeout fired, a `select!` lost.
    Cancelled,
    /// It panicked; the panic went on its way.
    Panicked,
}

impl Outcome {
    /// Judges a result; the error type is the last part of the type's name (`DbErr`, `Error`, `Box`), and `tuple`,
    /// `array`, `fn` or `closure` for a type without one.
    #[must_use]
    pub fn of<T, E>(result: &Result<T, E>) -> Self {
        match result {
            Ok(_) => Self::Success,
            Err(_) => Self::Error(short_type_name::<E>()),
        }
    }

    /// The label value: `success`, `error`, `cancelled` or `panicked`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error(_) => "error",
            Self::Cancelled => "cancelled",
            Self::Panicked => "panicked",
        }
    }

    /// The error's type, when it ended in one; `panic` for a panic.
    ///
    /// A cancelled operation has none: OpenTelemetry counts an intended cancellation as no error.
    #[must_use]
    pub const fn error_type(self) -> Option<&'static str> {
        match self {
            Self::Error(kind) => Some(kind),
            Self::Panicked => Some("panic"),
            Self::Success | Self::Cancelled => None,
        }
    }
}

/// The name of a type without its path and its generics; a kind of type that has no name of its own is told by the kind.
///
/// Never anything else than the letters of a name, and always the same for one type: it becomes a label.
pub(crate) fn short_type_name<T: ?Sized>() -> &'static str {
    short_name(type_name::<T>())
}

fn short_name(full: &'static str) -> &'static str {
    let mut name = full;
    while let Some(inner) = ["&", "*", "mut ", "const ", "dyn "]
        .iter()
        .find_map(|mark| name.strip_prefix(mark))
    {
        name = inner;
    }
    if name.starts_with('(') {
        return "tuple";
    }
    if name.starts_with('[') {
        return "array";
    }
    if ["fn(", "unsafe fn(", "extern ", "unsafe extern ", "for<"]
        .iter()
        .any(|mark| name.starts_with(mark))
    {
        return "fn";
    }
    let is_path = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '{' | '}');
    let path = name
        .find(|c| !is_path(c))
        .and_then(|end| name.get(..end))
        .unwrap_or(name);
    match path.rsplit("::").find(|part| !part.is_empty()) {
        Some(short) if short.contains(['{', '}', ':']) => "closure",
        Some(short) => short,
        None => "error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_name_loses_its_path_and_its_generics() {
        assert_eq!(short_type_name::<std::io::Error>(), "Error");
        assert_eq!(short_type_name::<String>(), "String");
        assert_eq!(short_type_name::<Vec<Vec<std::io::Error>>>(), "Vec");
        assert_eq!(
            short_type_name::<Box<dyn std::error::Error + Send>>(),
            "Box"
        );
    }

    #[test]
    fn a_type_without_a_name_is_told_by_its_kind() {
        type Callback = dyn Fn(i32) -> Result<(), std::fmt::Error>;
        let named = [
            (short_type_name::<()>(), "tuple"),
            (
                short_type_name::<(std::io::Error, std::fmt::Error)>(),
                "tuple",
            ),
            (short_type_name::<[u8; 3]>(), "array"),
            (short_type_name::<&[std::io::Error]>(), "array"),
            (short_type_name::<fn(i32) -> String>(), "fn"),
            (short_type_name::<for<'a> fn(&'a str) -> &'a str>(), "fn"),
            (short_type_name::<&str>(), "str"),
            (short_type_name::<&mut String>(), "String"),
            (short_type_name::<*const String>(), "String"),
            (short_type_name::<Box<Callback>>(), "Box"),
            (short_type_name::<Callback>(), "Fn"),
            (
                short_type_name::<dyn std::error::Error + Send + Sync>(),
                "Error",
            ),
            (
                short_type_name::<<Vec<u8> as IntoIterator>::IntoIter>(),
                "IntoIter",
            ),
        ];
        for (name, expected) in named {
            assert_eq!(name, expected);
        }
        let closure = |_: ()| {};
        fn name_of<T>(_: &T) -> &'static str {
            short_type_name::<T>()
        }
        assert_eq!(name_of(&closure), "closure");
        for odd in ["", "<", "a::", "::", "{{closure}}", "<T as a::B>::C"] {
            let name = short_name(odd);
            let is_name = name.chars().all(|c| c.is_alphanumeric() || c == '_');
            assert!(is_name && !name.is_empty(), "{odd}: {name}");
        }
    }

    #[test]
    fn only_errors_and_panics_have_an_error_type() {
        assert_eq!(Outcome::Success.error_type(), None);
        assert_eq!(Outcome::Cancelled.error_type(), None);
        assert_eq!(Outcome::Error("DbErr").error_type(), Some("DbErr"));
        assert_eq!(Outcome::Panicked.error_type(), Some("panic"));
    }
}
