use std::cell::Cell;
use std::io;
use std::sync::Arc;

use serde::Serialize;
use serde_json::ser::Formatter;

use super::finite::Finite;
use super::limited::Limited;
use super::look::Look;
use crate::envelope::Format;
use crate::error::SharedError;

pub(super) const FORMAT: Format = Format {
    code: 0,
    name: "JSON",
};

/// How deep serde_json reads; it writes deeper.
const DEEPEST: u32 = 127;

/// Compact JSON, as serde_json writes it, that notices whether a `null` was written, and ends where nobody could read on.
struct Watching<'n> {
    null: &'n Cell<bool>,
    /// Noted here too: a `Serialize` may make another error of that, or none, and what was written until there is no JSON.
    deep: &'n Cell<bool>,
    depth: u32,
}

fn too_deep() -> String {
    format!("it is nested more than {DEEPEST} times, which is not read again")
}

impl Watching<'_> {
    fn open<W: io::Write + ?Sized>(&mut self, writer: &mut W, with: u8) -> io::Result<()> {
        self.depth += 1;
        if self.depth > DEEPEST {
            self.deep.set(true);
            return Err(io::Error::other(too_deep()));
        }
        writer.write_all(&[with])
    }

    fn close<W: io::Write + ?Sized>(&mut self, writer: &mut W, with: u8) -> io::Result<()> {
        self.depth -= 1;
        writer.write_all(&[with])
    }
}

impl Formatter for Watching<'_> {
    fn write_null<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.null.set(true);
        writer.write_all(b"null")
    }

    fn begin_array<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b'[')
    }

    fn end_array<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b']')
    }

    fn begin_object<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.open(writer, b'{')
    }

    fn end_object<W: io::Write + ?Sized>(&mut self, writer: &mut W) -> io::Result<()> {
        self.close(writer, b'}')
    }
}

/// A value as JSON.
///
/// # Errors
///
/// What its `Serialize` says, a float that is NaN or infinite, a `Some` that is written as null, and more nesting than can be read.
pub(super) fn encode<V: Serialize>(value: &V, out: &mut Limited) -> Result<(), SharedError> {
    let (null, deep) = (Cell::new(false), Cell::new(false));
    let watching = Watching {
        null: &null,
        deep: &deep,
        depth: 0,
    };
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, watching);
    let written = value.serialize(&mut serializer);
    if deep.get() {
        return Err(Arc::new(io::Error::other(too_deep())));
    }
    written.map_err(|error| Arc::new(error) as SharedError)?;
    // Only then can something be lost, so most values are walked once.
    if null.get() {
        let eye = Finite {
            is_null: out.written() == "null".len(),
            human_readable: true,
        };
        value
            .serialize(Look(eye))
            .map_err(|error| Arc::new(error) as SharedError)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;

    use super::*;

    fn encode<V: Serialize>(value: &V) -> Result<Bytes, SharedError> {
        let mut out = Limited::new(1 << 20);
        super::encode(value, &mut out)?;
        Ok(out.into_bytes())
    }

    #[derive(Serialize)]
    enum Shape {
        Unit,
        New(f32),
        Tuple(u8, Option<f64>),
        Struct { x: Vec<f64>, y: Option<()> },
    }

    #[test]
    fn it_is_the_same_json_as_everybodys() {
        let value = (1, Some("a\"\u{1}"), None::<u8>, Shape::Unit, [1.5, -0.0]);
        let same = serde_json::to_vec(&value).unwrap();
        assert_eq!(encode(&value).unwrap(), same);
    }

    #[test]
    fn a_float_that_is_not_finite_is_found_wherever_it_is() {
        let found = |error: SharedError| assert!(error.to_string().contains("NaN"), "{error}");
        found(encode(&f64::NAN).unwrap_err());
        found(encode(&Some(f32::INFINITY)).unwrap_err());
        found(encode(&Shape::New(f32::NEG_INFINITY)).unwrap_err());
        found(encode(&Shape::Tuple(1, Some(f64::NAN))).unwrap_err());
        let (x, y) = (vec![1.0, f64::NAN], None);
        found(encode(&Shape::Struct { x, y }).unwrap_err());
        found(encode(&BTreeMap::from([("a", (1, f64::NAN))])).unwrap_err());
    }

    #[test]
    fn what_is_nested_deeper_than_can_be_read_is_found() {
        let nested = |depth| {
            (0..depth).fold(serde_json::json!(1), |value, n| match n % 2 {
                0 => serde_json::json!([value, [], {}]),
                _ => serde_json::json!({ "in": value }),
            })
        };
        let deepest = DEEPEST - 1; // with the brackets beside it
        let bytes = encode(&nested(deepest)).unwrap();
        assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
        let error = encode(&nested(DEEPEST + 1)).unwrap_err().to_string();
        assert!(error.contains("nested more than 127 times"), "{error}");
    }

    /// Makes another error of what was wrong within it, or says nothing of it.
    struct Veiled {
        inner: serde_json::Value,
        says: bool,
    }

    impl Serialize for Veiled {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::{Error, SerializeSeq};
            let mut parts = serializer.serialize_seq(Some(1))?;
            if parts.serialize_element(&self.inner).is_err() && self.says {
                return Err(S::Error::custom("something is wrong"));
            }
            parts.end()
        }
    }

    #[test]
    fn what_is_nested_too_deep_is_found_also_where_its_own_serialize_makes_another_error_of_that() {
        for says in [true, false] {
            let inner = (0..=DEEPEST).fold(serde_json::json!(1), |value, _| {
                serde_json::Value::Array(vec![value])
            });
            let error = encode(&Veiled { inner, says }).unwrap_err().to_string();
            assert!(error.contains("nested more than 127 times"), "{error}");
        }
    }

    #[test]
    fn a_null_that_is_meant_is_fine() {
        let (x, y) = (vec![0.5], Some(()));
        for value in [
            Shape::Unit,
            Shape::New(1.0),
            Shape::Tuple(1, None),
            Shape::Struct { x, y },
        ] {
            assert!(encode(&value).is_ok());
        }
        assert!(encode(&(u128::MAX, i128::MIN, None::<f64>)).is_ok());
        assert!(encode(&()).is_ok() && encode(&None::<()>).is_ok());
        assert!(
            encode(&[Some(())]).is_ok(),
            "further within it is the type's own"
        );
    }

    #[test]
    fn a_some_that_would_come_back_as_none_is_found() {
        #[derive(Serialize)]
        struct Unit;
        #[derive(Serialize)]
        struct Own<T>(T);
        let found = |error: SharedError| assert!(error.to_string().contains("`None`"), "{error}");
        found(encode(&Some(())).unwrap_err());
        found(encode(&Some(Unit)).unwrap_err());
        found(encode(&Some(None::<u8>)).unwrap_err());
        found(encode(&Own(Some(Own(serde_json::Value::Null)))).unwrap_err());
        assert!(encode(&Some(Some(1))).is_ok() && encode(&Some([()])).is_ok());
    }
}
