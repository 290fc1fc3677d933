//! Looks for what a written value has lost. serde_json writes NaN and infinity as `null`, which no reader takes for a
//! float again, so a value with one of them would be stored for nobody. And serde has no form of its own for `Some`: one
//! of something that is written as nothing would come back as `None`, in a region of `Option` what does not exist.

use super::look::{Eye, Found, Lost};

/// Finds the first float that is not finite.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finite {
    /// Whether all that was written is one null: then the value must not be a `Some`. Further within, a type may have its own way to read
    /// what is null.
    pub(super) is_null: bool,
    pub(super) human_readable: bool,
}

impl Eye for Finite {
    fn is_human_readable(self) -> bool {
        self.human_readable
    }

    fn float(self, value: f64) -> Found {
        if value.is_finite() {
            Ok(())
        } else {
            Err(Lost::Float)
        }
    }

    fn some(self) -> Found {
        match self.is_null {
            true => Err(Lost::Presence),
            false => Ok(()),
        }
    }
}
