//! Looks for what a written value has lost. serde_json writes NaN and infinity as `null`, which no reader takes for a
//! float again, so a value with one of them would be stored for nobody. And serde has no form of its own for `Some`: one
//! of something that is written as nothing would come back as `None`, in a region of `Option` what does not exist.

use std::fmt;

use serde::ser::{self, Serialize};

/// A serializer that keeps nothing and fails at the first float that is not finite.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finite {
    /// Whether all that was written is one null: then the value must not be a `Some`. Further within, a type may have its own way to read
    /// what is null.
    pub(super) is_null: bool,
}

/// Why a value does not survive.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error("it has a float that is NaN or infinite, which JSON cannot hold")]
    Float,
    #[error("it is a `Some` of something that is written as null, and would come back as `None`")]
    Presence,
    #[error("{0}")]
    Own(String),
}

impl ser::Error for Lost {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Own(message.to_string())
    }
}

type Found = Result<(), Lost>;

macro_rules! harmless {
    ($($method:ident($($value:ty),*)),* $(,)?) => {
        $(fn $method(self, $(_: $value),*) -> Found { Ok(()) })*
    };
}

impl ser::Serializer for Finite {
    type Ok = ();
    type Error = Lost;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    harmless! {
        serialize_bool(bool), serialize_char(char), serialize_str(&str), serialize_bytes(&[u8]),
        serialize_i8(i8), serialize_i16(i16), serialize_i32(i32), serialize_i64(i64), serialize_i128(i128),
        serialize_u8(u8), serialize_u16(u16), serialize_u32(u32), serialize_u64(u64), serialize_u128(u128),
        serialize_none(), serialize_unit(), serialize_unit_struct(&'static str),
        serialize_unit_variant(&'static str, u32, &'static str),
    }

    fn serialize_f32(self, value: f32) -> Found {
        self.serialize_f64(value.into())
    }

    fn serialize_f64(self, value: f64) -> Found {
        if value.is_finite() {
            Ok(())
        } else {
            Err(Lost::Float)
        }
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Found {
        value.serialize(self)?;
        match self.is_null {
            true => Err(Lost::Presence),
            false => Ok(()),
        }
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Found {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Found {
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, Lost> {
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Lost> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Lost> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Lost> {
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, Lost> {
        Ok(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Lost> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Lost> {
        Ok(self)
    }
}

/// Sequences, tuples and structs: each part is looked at.
macro_rules! parts {
    ($($kind:ident::$method:ident($($name:ty)?)),* $(,)?) => {
        $(impl ser::$kind for Finite {
            type Ok = ();
            type Error = Lost;

            fn $method<T: Serialize + ?Sized>(&mut self, $(_: $name,)? value: &T) -> Found {
                value.serialize(*self)
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
    SerializeStruct::serialize_field(&'static str),
    SerializeStructVariant::serialize_field(&'static str),
}

impl ser::SerializeMap for Finite {
    type Ok = ();
    type Error = Lost;

    // serde_json itself refuses a key that is no finite float.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, _: &T) -> Found {
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Found {
        value.serialize(*self)
    }

    fn end(self) -> Found {
        Ok(())
    }
}
