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
    /// Judges a result; the error type is the last part of the type's name (`DbErr`, `Error`).
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

/// The last path segment of a type's name, without its generic arguments.
pub(crate) fn short_type_name<T: ?Sized>() -> &'static str {
    let full = type_name::<T>();
    let plain = full.split('<').next().unwrap_or(full);
    let short = plain.rsplit("::").next().unwrap_or(plain);
    if short.is_empty() { "error" } else { short }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_name_loses_its_path_and_its_generics() {
        assert_eq!(short_type_name::<std::io::Error>(), "Error");
        assert_eq!(short_type_name::<String>(), "String");
        assert_eq!(short_type_name::<&str>(), "&str");
        assert_eq!(
            short_type_name::<Box<dyn std::error::Error + Send>>(),
            "Box"
        );
    }

    #[test]
    fn only_errors_and_panics_have_an_error_type() {
        assert_eq!(Outcome::Success.error_type(), None);
        assert_eq!(Outcome::Cancelled.error_type(), None);
        assert_eq!(Outcome::Error("DbErr").error_type(), Some("DbErr"));
        assert_eq!(Outcome::Panicked.error_type(), Some("panic"));
    }
}
