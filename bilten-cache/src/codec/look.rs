//! A walk over a value that writes nothing.

use std::fmt;

use serde::ser::{self, Serialize};

/// What a walk looks for.
pub(super) trait Eye: Copy {
    /// Whether the format asks for the forms that people read.
    fn is_human_readable(self) -> bool;

    /// So many bytes at least are written here.
    fn bytes(self, least: usize) -> Found {
        let _ = least;
        Ok(())
    }

    fn float(self, value: f64) -> Found;

    /// After what is within.
    fn some(self) -> Found {
        Ok(())
    }

    /// For the parts of what it looks at.
    fn deeper(self) -> Result<Self, Lost> {
        Ok(self)
    }
}

/// Why a value does not survive.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error("it has a float that is NaN or infinite, which JSON cannot hold")]
    Float,
    #[error("it is a `Some` of something that is written as null, and would come back as `None`")]
    Presence,
    #[cfg(feature = "messagepack")]
    #[error("it is longer than allowed")]
    Long,
    #[cfg(feature = "messagepack")]
    #[error("it is nested more than {0} times, which is not read again")]
    Deep(usize),
    #[error("{0}")]
    Own(String),
}

impl ser::Error for Lost {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Own(message.to_string())
    }
}

pub(super) type Found = Result<(), Lost>;

/// The walk: a serializer that keeps nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look<E>(pub(super) E);

impl<E: Eye> Look<E> {
    fn part<T: Serialize + ?Sized>(self, value: &T) -> Found {
        value.serialize(Self(self.0.deeper()?))
    }

    fn begun(self) -> Result<Self, Lost> {
        self.0.bytes(1)?;
        Ok(self)
    }

    /// An enum's variant, whose parts are within one more.
    fn variant(self, name: &str) -> Result<Self, Lost> {
        self.0.bytes(name.len() + 2)?;
        Ok(Self(self.0.deeper()?))
    }
}

macro_rules! short {
    ($($method:ident($($value:ty),*)),* $(,)?) => {
        $(fn $method(self, $(_: $value),*) -> Found { self.0.bytes(1) })*
    };
}

impl<E: Eye> ser::Serializer for Look<E> {
    type Ok = ();
    type Error = Lost;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    short! {
        serialize_bool(bool), serialize_char(char),
        serialize_i8(i8), serialize_i16(i16), serialize_i32(i32), serialize_i64(i64), serialize_i128(i128),
        serialize_u8(u8), serialize_u16(u16), serialize_u32(u32), serialize_u64(u64), serialize_u128(u128),
        serialize_none(), serialize_unit(), serialize_unit_struct(&'static str),
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }

    fn serialize_str(self, value: &str) -> Found {
        self.0.bytes(value.len() + 1)
    }

    fn serialize_bytes(self, value: &[u8]) -> Found {
        self.0.bytes(value.len())
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, name: &'static str) -> Found {
        self.0.bytes(name.len() + 1)
    }

    fn serialize_f32(self, value: f32) -> Found {
        self.0.bytes(1)?;
        self.0.float(value.into())
    }

    fn serialize_f64(self, value: f64) -> Found {
        self.0.bytes(1)?;
        self.0.float(value)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Found {
        value.serialize(self)?;
        self.0.some()
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Found {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        value: &T,
    ) -> Found {
        value.serialize(self.variant(name)?)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, Lost> {
        self.begun()
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Lost> {
        self.begun()
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Lost> {
        self.begun()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Self, Lost> {
        self.variant(name)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, Lost> {
        self.begun()
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Lost> {
        self.begun()
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        name: &'static str,
        _: usize,
    ) -> Result<Self, Lost> {
        self.variant(name)
    }
}

/// Sequences, tuples and structs: each part is looked at.
macro_rules! parts {
    ($($kind:ident::$method:ident($($name:ident: $type:ty)?)),* $(,)?) => {
        $(impl<E: Eye> ser::$kind for Look<E> {
            type Ok = ();
            type Error = Lost;

            fn $method<T: Serialize + ?Sized>(&mut self, $($name: $type,)? value: &T) -> Found {
                $(self.0.bytes($name.len() + 1)?;)?
                self.part(value)
            }

            fn end(self) -> Found {
                Ok(())
            }
        })*
    };
}

parts! {
    SerializeSeq::serialize_element(),
    SerializeTuple::serialize_element(),
    SerializeTupleStruct::serialize_field(),
    SerializeTupleVariant::serialize_field(),
    SerializeStruct::serialize_field(name: &'static str),
    SerializeStructVariant::serialize_field(name: &'static str),
}

impl<E: Eye> ser::SerializeMap for Look<E> {
    type Ok = ();
    type Error = Lost;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Found {
        self.part(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Found {
        self.part(value)
    }

    fn end(self) -> Found {
        Ok(())
    }
}
