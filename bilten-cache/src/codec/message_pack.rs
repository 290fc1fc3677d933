use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::finite::Finite;
use super::limited::Limited;
use super::walk;
use crate::envelope::Format;
use crate::error::SharedError;

pub(super) const FORMAT: Format = Format {
    code: 1,
    name: "MessagePack",
};

const NIL: &[u8] = &[0xc0];

/// A value as MessagePack, structs as maps. Without the names a changed struct would be read into wrong fields without an
/// error.
///
/// # Errors
///
/// What its `Serialize` says, and a `Some` that is written as nil.
pub(super) fn encode<V: Serialize>(value: &V, out: &mut Limited) -> Result<(), SharedError> {
    let mut serializer = rmp_serde::Serializer::new(&mut *out).with_struct_map();
    value
        .serialize(&mut serializer)
        .map_err(|error| Arc::new(error) as SharedError)?;
    if out.is_all(NIL) {
        value
            .serialize(Finite { is_null: true })
            .map_err(|error| Arc::new(error) as SharedError)?;
    }
    Ok(())
}

/// # Errors
///
/// What the format or the type says; that the bytes are more than one value, or nested too deep for a stack.
pub(super) fn decode<V: DeserializeOwned>(bytes: &[u8]) -> Result<V, SharedError> {
    walk::check(bytes).map_err(|e| Arc::new(e) as SharedError)?;
    rmp_serde::from_slice(bytes).map_err(|e| Arc::new(e) as SharedError)
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Old {
        id: u64,
        name: String,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct New {
        name: String,
        #[serde(default)]
        price: Option<f64>,
        id: u64,
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Deep(Vec<Self>);

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Rose {
        Leaf,
        Branch(Box<Self>),
    }

    fn bytes<V: Serialize>(value: &V) -> Vec<u8> {
        let mut out = Limited::new(1 << 20);
        encode(value, &mut out).unwrap();
        out.into_bytes().to_vec()
    }

    #[test]
    fn fields_are_known_by_their_names() {
        let old = Old {
            id: 1,
            name: "tea".into(),
        };
        let read: New = decode(&bytes(&old)).unwrap();
        let (name, id) = ("tea".into(), 1);
        let price = None;
        assert_eq!(read, New { name, price, id });
        let back: Old = decode(&bytes(&read)).unwrap();
        assert_eq!(back, old, "a field that is not known is skipped");
    }

    #[test]
    fn what_json_cannot_hold_is_held() {
        let read: [f64; 3] = decode(&bytes(&[f64::NAN, f64::INFINITY, -0.0])).unwrap();
        assert!(read[0].is_nan() && read[1].is_infinite() && read[2].is_sign_negative());
        let read: Option<f64> = decode(&bytes(&Some(f64::NAN))).unwrap();
        assert!(read.is_some_and(f64::is_nan));
        let wide = (u128::MAX, i128::MIN, u64::MAX);
        assert_eq!(decode::<(u128, i128, u64)>(&bytes(&wide)).unwrap(), wide);
    }

    #[test]
    fn a_some_that_would_come_back_as_none_is_found() {
        let found = |result: Result<(), SharedError>| {
            let error = result.unwrap_err().to_string();
            assert!(error.contains("`None`"), "{error}");
        };
        found(encode(&Some(()), &mut Limited::new(9)));
        found(encode(&Some(None::<u8>), &mut Limited::new(9)));
        assert_eq!((bytes(&()), bytes(&None::<()>)), (NIL.into(), NIL.into()));
        assert!(bytes(&Some(Some(f64::NAN))).len() > 1);
    }

    #[test]
    fn bytes_that_are_left_over_are_an_error() {
        let mut bytes = bytes(&7_u32);
        assert_eq!(decode::<u32>(&bytes).unwrap(), 7);
        bytes.push(0xc0);
        let error = decode::<u32>(&bytes).unwrap_err();
        assert!(error.to_string().starts_with("1 bytes"), "{error}");
        // The JSON `7` and a line end: more than the MessagePack 55.
        assert!(decode::<u32>(b"7\n").is_err());
    }

    #[test]
    fn arrays_nested_a_million_times_are_an_error_and_no_overflow() {
        let bomb = vec![0x91; 1_000_000];
        assert!(decode::<Deep>(&bomb).is_err());
        // Each variant in the one before it.
        let rose = b"\x81\xa6Branch".repeat(200_000);
        assert!(decode::<Rose>(&rose).is_err());
        assert!(decode::<serde::de::IgnoredAny>(&bomb).is_err());
        // An array that claims four thousand million elements takes no memory for them.
        assert!(decode::<Vec<u64>>(&[0xdd, 0xff, 0xff, 0xff, 0xff, 1]).is_err());
        assert!(decode::<Vec<u8>>(&[0xc6, 0xff, 0xff, 0xff, 0xff, 1]).is_err());
    }
}
