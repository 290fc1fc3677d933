use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::extent::{Extent, Seen};
use super::finite::Finite;
use super::limited::Limited;
use super::look::{Look, Lost};
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
/// What its `Serialize` says, a `Some` that is written as nil, and more nesting than can be read. That it has no room, before anything of
/// it is written.
pub(super) fn encode<V: Serialize>(value: &V, out: &mut Limited) -> Result<(), SharedError> {
    let shared = |error| Arc::new(error) as SharedError;
    let seen = Seen::with_room(out.room());
    let looked = value.serialize(Look(Extent::of(&seen)));
    let Some(left) = seen.room.get() else {
        out.give_up();
        return looked.map_err(shared);
    };
    if seen.deep.get() {
        // To the serializer nothing is too deep, not even what has no end: its stack would be over before.
        out.spare(out.room() - left);
        return Err(shared(Lost::Deep(walk::DEEPEST)));
    }
    // Also where the look has failed: what is written of it is what it weighs.
    let mut serializer = rmp_serde::Serializer::new(&mut *out).with_struct_map();
    value
        .serialize(&mut serializer)
        .map_err(|error| Arc::new(error) as SharedError)?;
    looked.map_err(shared)?;
    if out.is_all(NIL) {
        let eye = Finite {
            is_null: true,
            human_readable: false,
        };
        value.serialize(Look(eye)).map_err(shared)?;
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

    /// Does not say how many it has, and has no end.
    struct Endless;

    impl Serialize for Endless {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.collect_seq(std::iter::from_fn(|| Some("tea")))
        }
    }

    #[derive(Serialize)]
    struct Flat<T> {
        id: u64,
        #[serde(flatten)]
        rest: T,
    }

    #[test]
    fn what_does_not_know_its_length_ends_at_the_limit() {
        let mut out = Limited::new(1 << 20);
        assert!(encode(&(1, Some([Endless])), &mut out).is_err());
        assert!(out.is_over() && out.written() == 0);
        let mut out = Limited::new(1 << 20);
        let (id, rest) = (1, std::collections::BTreeMap::from([("rest", Endless)]));
        assert!(encode(&Flat { id, rest }, &mut out).is_err());
        assert!(out.is_over());
    }

    #[test]
    fn what_fits_exactly_is_taken_whatever_it_is() {
        let fits = |value: &dyn Fn(&mut Limited) -> bool| {
            let least = (0..200).find(|limit| value(&mut Limited::new(*limit)));
            least.unwrap()
        };
        let rest = std::collections::BTreeMap::from([("a", Some(1.5)), ("b", None)]);
        let flat = Flat { id: 300, rest };
        let bin = serde_bytes(&[7; 9]);
        let shapes = (
            (
                Rose::Branch(Box::new(Rose::Leaf)),
                'ü',
                "",
                "tea",
                u128::MAX,
            ),
            (1_i8, -70_000, 0.5_f32, (), true),
        );
        for (length, encodes) in [
            (
                rmp_serde::to_vec_named(&flat).unwrap().len(),
                &(|out: &mut Limited| encode(&flat, out).is_ok()) as &dyn Fn(&mut Limited) -> bool,
            ),
            (
                rmp_serde::to_vec_named(&shapes).unwrap().len(),
                &|out: &mut Limited| encode(&shapes, out).is_ok(),
            ),
            (
                rmp_serde::to_vec_named(&bin).unwrap().len(),
                &|out: &mut Limited| encode(&bin, out).is_ok(),
            ),
        ] {
            assert_eq!(fits(encodes), length);
        }
    }

    fn serde_bytes(bytes: &'static [u8]) -> impl Serialize {
        struct Bytes(&'static [u8]);
        impl Serialize for Bytes {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_bytes(self.0)
            }
        }
        Bytes(bytes)
    }

    #[test]
    fn what_is_nested_deeper_than_can_be_read_is_found() {
        let nested = |times| (0..times).fold(Deep(vec![]), |deep, _| Deep(vec![deep]));
        let most = nested(walk::DEEPEST);
        assert_eq!(decode::<Deep>(&bytes(&most)).unwrap(), most);
        let error = encode(&nested(walk::DEEPEST + 1), &mut Limited::new(1 << 20));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("nested more than 128 times"), "{error}");
        let rose = |times| (0..times).fold(Rose::Leaf, |rose, _| Rose::Branch(Box::new(rose)));
        assert_eq!(decode::<Rose>(&bytes(&rose(128))).unwrap(), rose(128));
        assert!(encode(&rose(129), &mut Limited::new(1 << 20)).is_err());
    }

    /// Nested as often as you like, which its end does not show.
    #[derive(Serialize)]
    struct Chain(Vec<Self>);

    impl Drop for Chain {
        fn drop(&mut self) {
            let mut rest = std::mem::take(&mut self.0);
            while let Some(mut link) = rest.pop() {
                rest.append(&mut link.0);
            }
        }
    }

    #[test]
    fn what_is_nested_deeper_than_any_stack_is_an_error_and_weighs_what_was_seen_of_it() {
        let encoded = || {
            let chain = (0..200_000).fold(Chain(vec![]), |chain, _| Chain(vec![chain]));
            let mut out = Limited::new(1 << 20);
            let error = encode(&chain, &mut out).unwrap_err().to_string();
            assert!(error.contains("nested more than 128 times"), "{error}");
            assert!(!out.is_over());
            assert!((walk::DEEPEST..200).contains(&out.written()));
        };
        let thread = std::thread::Builder::new().stack_size(2 << 20);
        thread.spawn(encoded).unwrap().join().unwrap();
    }

    /// Hides what was wrong, as trait objects do that are serialised through an error of their own; or says nothing of it.
    struct Veiled<T> {
        inner: T,
        says: bool,
    }

    impl<T: Serialize> Serialize for Veiled<T> {
        fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            use serde::ser::{Error, SerializeSeq};
            let mut parts = serializer.serialize_seq(Some(1))?;
            let part = parts.serialize_element(&self.inner);
            if let (Err(error), true) = (part, self.says) {
                return Err(S::Error::custom(error));
            }
            parts.end()
        }
    }

    #[test]
    fn what_is_nested_too_deep_is_an_error_also_where_its_own_serialize_makes_another_one_of_that()
    {
        let encoded = |says| {
            let inner = (0..200_000).fold(Chain(vec![]), |chain, _| Chain(vec![chain]));
            let mut out = Limited::new(1 << 20);
            let error = encode(&Veiled { inner, says }, &mut out).unwrap_err();
            assert!(error.to_string().contains("nested more than 128 times"));
            assert!(!out.is_over());
        };
        for says in [true, false] {
            let thread = std::thread::Builder::new().stack_size(2 << 20);
            thread.spawn(move || encoded(says)).unwrap().join().unwrap();
        }
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
