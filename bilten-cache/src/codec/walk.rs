//! A look at MessagePack before it is read. rmp-serde counts how deep arrays and maps are nested, but not the variants of an enum
//! in each other, so that bytes from elsewhere could exhaust the stack of whoever reads a recursive type.

/// How deep a value may be nested, as with JSON.
pub(super) const DEEPEST: usize = 128;

/// Why bytes are no value that can be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unsound {
    #[error("the value is cut short")]
    Short,
    #[error("it is nested more than {DEEPEST} times")]
    Deep,
    #[error("{0} bytes are left over after the value")]
    Leftover(usize),
    #[error("it has a byte that means nothing")]
    Unknown,
}

/// Whether the bytes are one value that is not too deep.
pub(super) fn check(mut bytes: &[u8]) -> Result<(), Unsound> {
    // How many values each of the open arrays and maps still has.
    let mut open = [0_u64; DEEPEST];
    let mut depth = 0;
    loop {
        let parts = step(&mut bytes)?;
        if parts > 0 {
            *open.get_mut(depth).ok_or(Unsound::Deep)? = parts;
            depth += 1;
            continue;
        }
        while depth > 0 {
            open[depth - 1] -= 1;
            if open[depth - 1] > 0 {
                break;
            }
            depth -= 1;
        }
        if depth == 0 {
            break;
        }
    }
    match bytes.len() {
        0 => Ok(()),
        left => Err(Unsound::Leftover(left)),
    }
}

/// Steps over one value; how many values are within it.
fn step(bytes: &mut &[u8]) -> Result<u64, Unsound> {
    let marker = number(bytes, 1)?;
    let (skipped, parts) = match marker {
        0x00..=0x7f | 0xe0..=0xff | 0xc0 | 0xc2 | 0xc3 => (0, 0),
        0x80..=0x8f => (0, (marker & 0xf) * 2),
        0x90..=0x9f => (0, marker & 0xf),
        0xa0..=0xbf => (marker & 0x1f, 0),
        // Bytes, then extensions, which have their type besides.
        0xc4..=0xc6 => (number(bytes, 1 << (marker - 0xc4))?, 0),
        0xc7..=0xc9 => (number(bytes, 1 << (marker - 0xc7))? + 1, 0),
        0xca | 0xcb => (4 << (marker - 0xca), 0),
        0xcc..=0xcf => (1 << (marker - 0xcc), 0),
        0xd0..=0xd3 => (1 << (marker - 0xd0), 0),
        0xd4..=0xd8 => ((1 << (marker - 0xd4)) + 1, 0),
        0xd9..=0xdb => (number(bytes, 1 << (marker - 0xd9))?, 0),
        0xdc | 0xdd => (0, number(bytes, 2 << (marker - 0xdc))?),
        0xde | 0xdf => (0, number(bytes, 2 << (marker - 0xde))? * 2),
        _ => return Err(Unsound::Unknown),
    };
    let skipped = usize::try_from(skipped).map_err(|_| Unsound::Short)?;
    *bytes = bytes.get(skipped..).ok_or(Unsound::Short)?;
    Ok(parts)
}

/// A number of so many bytes, big endian.
fn number(bytes: &mut &[u8], width: usize) -> Result<u64, Unsound> {
    let (digits, rest) = bytes.split_at_checked(width).ok_or(Unsound::Short)?;
    *bytes = rest;
    Ok(digits.iter().fold(0, |n, digit| n << 8 | u64::from(*digit)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn every_marker_is_stepped_over() {
        let of = |marker: u8, rest: &[u8]| check(&[&[marker], rest].concat());
        for plain in (0x00..=0x7f).chain(0xe0..=0xff).chain([0xc0, 0xc2, 0xc3]) {
            assert_eq!(of(plain, &[]), Ok(()), "{plain:#x}");
        }
        for (marker, length) in [
            (0xca, 4),
            (0xcb, 8),
            (0xcc, 1),
            (0xcd, 2),
            (0xce, 4),
            (0xcf, 8),
        ] {
            assert_eq!(of(marker, &vec![1; length]), Ok(()), "{marker:#x}");
            assert_eq!(of(marker, &vec![1; length - 1]), Err(Unsound::Short));
        }
        for (marker, length) in [(0xd0, 1), (0xd3, 8), (0xd4, 2), (0xd8, 17), (0xa5, 5)] {
            assert_eq!(of(marker, &vec![1; length]), Ok(()), "{marker:#x}");
        }
        for (marker, rest) in [
            (0xc4, &[1, 9][..]),
            (0xc5, &[0, 1, 9]),
            (0xc6, &[0, 0, 0, 1, 9]),
            (0xc7, &[1, 9, 9]),
            (0xc9, &[0, 0, 0, 1, 9, 9]),
            (0xd9, &[1, 9]),
            (0xdb, &[0, 0, 0, 1, 9]),
            (0x91, &[9]),
            (0x81, &[9, 9]),
            (0xdc, &[0, 1, 9]),
            (0xdd, &[0, 0, 0, 1, 9]),
            (0xde, &[0, 1, 9, 9]),
            (0xdf, &[0, 0, 0, 1, 9, 9]),
        ] {
            assert_eq!(of(marker, rest), Ok(()), "{marker:#x}");
            assert!(of(marker, &rest[1..]).is_err(), "{marker:#x}");
        }
        assert_eq!(of(0xc1, &[]), Err(Unsound::Unknown));
        assert_eq!(check(&[]), Err(Unsound::Short));
    }

    #[test]
    fn the_depth_of_json_is_allowed_and_no_more() {
        let nested = |times: usize| [vec![0x91; times], vec![0xc0]].concat();
        assert_eq!(check(&nested(DEEPEST)), Ok(()));
        assert_eq!(check(&nested(DEEPEST + 1)), Err(Unsound::Deep));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,40}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 64, 20, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
                proptest::collection::hash_map(".{0,9}", inner, 0..20).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_rmp_serde_writes_is_one_value_and_no_beginning_of_it_is(value in value(), cut: prop::sample::Index) {
            let bytes = rmp_serde::to_vec_named(&value).unwrap();
            prop_assert_eq!(check(&bytes), Ok(()));
            let cut = cut.index(bytes.len());
            prop_assert_eq!(check(&bytes[..cut]), Err(Unsound::Short));
        }
    }
}
