//! Single calls that do something in another way than their region.

pub use crate::region::Call;
