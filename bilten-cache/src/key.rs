//! How keys become text.

use std::borrow::Cow;
use std::cell::Cell;
use std::sync::Arc;

/// The longest key that is cached, in bytes of its encoded form and with its region's name.
///
/// Loads of longer keys run without the cache; changes of longer keys are an
/// [`Error::KeyTooLong`](crate::Error::KeyTooLong).
pub const MAX_KEY_BYTES: usize = 1024;

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// A value that names an entry of a region.
///
/// Text, integers, `bool` and `char` are keys, and so are tuples of them, whose parts are joined by `:`. A
/// key of your own writes its parts in order:
///
/// ```
/// use bilten_cache::Key;
/// use bilten_cache::key::KeyWriter;
///
/// struct Seat { row: char, number: u16 }
///
/// impl Key for Seat {
///     fn write(&self, out: &mut KeyWriter<'_>) {
///         out.part(&self.row);
///         out.part(&self.number);
///     }
/// }
/// assert_eq!(bilten_cache::key::encode("seat", &Seat { row: 'C', number: 7 }), "seat:C:7");
/// ```
///
/// Two different values must not write the same parts.
pub trait Key: Send + Sync {
    /// Writes the parts of the key.
    fn write(&self, out: &mut KeyWriter<'_>);
}

/// Takes the parts of a key, escapes them and joins them.
///
/// Characters that mean something in a glob or in a Redis hash tag (`* ? [ ] \ { } ^ %`),
/// spaces and control characters become `%XX`, so that text from outside can be neither. Inside a
/// tuple `:` is escaped as well, so `("a:b", "c")` and `("a", "b:c")` differ; a key that is
/// one string keeps its colons.
#[derive(Debug)]
pub struct KeyWriter<'a> {
    out: &'a mut String,
    parts: usize,
    nested: bool,
}

impl KeyWriter<'_> {
    /// Adds one part of a compound key.
    pub fn part<K: Key + ?Sized>(&mut self, part: &K) {
        if self.parts > 0 {
            self.out.push(':');
        }
        self.parts += 1;
        part.write(&mut KeyWriter {
            out: self.out,
            parts: 0,
            nested: true,
        });
    }

    /// Writes text, escaped.
    pub fn text(&mut self, text: &str) {
        escape(text, self.nested, self.out);
    }

    fn integer<I: itoa::Integer>(&mut self, value: I) {
        self.out.push_str(itoa::Buffer::new().format(value));
    }
}

/// The text of a key as patterns, Redis and logs see it: `region:key`.
#[must_use]
pub fn encode<K: Key + ?Sized>(region: &str, key: &K) -> String {
    let mut out = String::new();
    encode_into(region, key, &mut out);
    out
}

fn encode_into<K: Key + ?Sized>(region: &str, key: &K, out: &mut String) {
    out.push_str(region);
    out.push(':');
    key.write(&mut KeyWriter {
        out,
        parts: 0,
        nested: false,
    });
}

thread_local! {
    static BUFFER: Cell<String> = const { Cell::new(String::new()) };
}

/// Calls `f` with the encoded key, in a buffer that each thread keeps: a hit allocates nothing.
pub(crate) fn with_encoded<K: Key + ?Sized, R>(
    region: &str,
    key: &K,
    f: impl FnOnce(&str) -> R,
) -> R {
    // Taken out of its cell, so that a `Key` that calls the cache itself only finds an empty buffer.
    let mut buffer = BUFFER.take();
    buffer.clear();
    encode_into(region, key, &mut buffer);
    let result = f(&buffer);
    if buffer.capacity() <= 4 * MAX_KEY_BYTES {
        BUFFER.set(buffer);
    }
    result
}

/// Which bytes stay as they are: at the top, and inside of a tuple. Every hit looks at every byte of its key.
const PLAIN: [[bool; 256]; 2] = {
    let mut plain = [[false; 256]; 2];
    let mut byte = 0;
    while byte < 256 {
        plain[0][byte] = is_left_alone(byte as u8, false);
        plain[1][byte] = is_left_alone(byte as u8, true);
        byte += 1;
    }
    plain
};

fn is_plain(byte: u8, nested: bool) -> bool {
    PLAIN[usize::from(nested)][usize::from(byte)]
}

const fn is_left_alone(byte: u8, nested: bool) -> bool {
    match byte {
        b'*' | b'?' | b'[' | b']' | b'\\' | b'{' | b'}' | b'^' | b'%' | 0x7f => false,
        b':' => !nested,
        byte => byte > b' ',
    }
}

pub(crate) fn escape(text: &str, nested: bool, out: &mut String) {
    if text.bytes().all(|byte| is_plain(byte, nested)) {
        return out.push_str(text);
    }
    for c in text.chars() {
        match u8::try_from(c) {
            Ok(byte) if byte < 0x80 && !is_plain(byte, nested) => {
                out.push('%');
                out.push(char::from(HEX[usize::from(byte >> 4)]));
                out.push(char::from(HEX[usize::from(byte & 15)]));
            }
            _ => out.push(c),
        }
    }
}

/// The first character of an encoded key and what follows it. An escaped colon is `None`, because it is
/// part of a text and never a separator.
pub(crate) fn next_unit(text: &str) -> Option<(Option<char>, &str)> {
    let first = text.chars().next()?;
    let escaped = text
        .as_bytes()
        .get(1..3)
        .filter(|_| first == '%')
        .and_then(|hex| {
            let hex = std::str::from_utf8(hex).ok()?;
            u8::from_str_radix(hex, 16).ok()
        });
    match escaped {
        Some(b':') => Some((None, &text[3..])),
        Some(byte) => Some((Some(char::from(byte)), &text[3..])),
        None => Some((Some(first), &text[first.len_utf8()..])),
    }
}

impl Key for str {
    fn write(&self, out: &mut KeyWriter<'_>) {
        out.text(self);
    }
}

impl Key for char {
    fn write(&self, out: &mut KeyWriter<'_>) {
        out.text(self.encode_utf8(&mut [0; 4]));
    }
}

impl Key for bool {
    fn write(&self, out: &mut KeyWriter<'_>) {
        out.text(if *self { "true" } else { "false" });
    }
}

impl Key for String {
    fn write(&self, out: &mut KeyWriter<'_>) {
        out.text(self);
    }
}

impl Key for Cow<'_, str> {
    fn write(&self, out: &mut KeyWriter<'_>) {
        out.text(self);
    }
}

impl<K: Key + ?Sized> Key for &K {
    fn write(&self, out: &mut KeyWriter<'_>) {
        (**self).write(out);
    }
}

impl<K: Key + ?Sized> Key for Box<K> {
    fn write(&self, out: &mut KeyWriter<'_>) {
        (**self).write(out);
    }
}

impl<K: Key + ?Sized> Key for Arc<K> {
    fn write(&self, out: &mut KeyWriter<'_>) {
        (**self).write(out);
    }
}

macro_rules! integers {
    ($($integer:ty)*) => { $(
        impl Key for $integer {
            fn write(&self, out: &mut KeyWriter<'_>) {
                out.integer(*self);
            }
        }
    )* };
}
integers!(u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize);

macro_rules! tuples {
    ($($name:ident)*) => {
        impl<$($name: Key),*> Key for ($($name,)*) {
            fn write(&self, out: &mut KeyWriter<'_>) {
                #[allow(non_snake_case)]
                let ($($name,)*) = self;
                $(out.part($name);)*
            }
        }
    };
}
tuples!(A);
tuples!(A B);
tuples!(A B C);
tuples!(A B C D);
tuples!(A B C D E);
tuples!(A B C D E F);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_readable_and_escaped() {
        assert_eq!(encode("event", &42_i64), "event:42");
        assert_eq!(encode("event", &-1_i8), "event:-1");
        assert_eq!(encode("events", "list:berlin:1"), "events:list:berlin:1");
        assert_eq!(
            encode("events", &("list", 7_u32, true)),
            "events:list:7:true"
        );
        assert_eq!(
            encode("e", "*{a}[b]?\\^%"),
            "e:%2A%7Ba%7D%5Bb%5D%3F%5C%5E%25"
        );
        assert_eq!(encode("e", "a b\n\0\u{7f}"), "e:a%20b%0A%00%7F");
        assert_eq!(encode("e", "Zürich/7"), "e:Zürich/7");
        assert_eq!(encode("e", ""), "e:");
    }

    #[test]
    fn different_tuples_never_write_the_same_key() {
        assert_ne!(encode("e", &("a:b", "c")), encode("e", &("a", "b:c")));
        assert_ne!(encode("e", &("", "a")), encode("e", &("a", "")));
        assert_ne!(encode("e", &("a%3Ab", "c")), encode("e", &("a:b", "c")));
        assert_ne!(encode("e", &(("a", "b"), "c")), encode("e", &("a", "b:c")));
    }

    #[test]
    fn a_hit_reuses_the_threads_buffer() {
        let first = with_encoded("event", &1, |key| key.as_ptr());
        assert_eq!(with_encoded("event", &2, |key| key.as_ptr()), first);
    }

    #[test]
    fn units_undo_the_escape() {
        assert_eq!(next_unit("%2Ab"), Some((Some('*'), "b")));
        assert_eq!(next_unit("%3Ab"), Some((None, "b")));
        assert_eq!(next_unit("üb"), Some((Some('ü'), "b")));
        assert_eq!(next_unit("%"), Some((Some('%'), "")));
        assert_eq!(next_unit("%ü"), Some((Some('%'), "ü")));
        assert_eq!(next_unit(""), None);
    }
}
