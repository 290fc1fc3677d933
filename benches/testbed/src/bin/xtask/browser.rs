//! The browser that the tests of pages need.

use bilten_testbed::Browser;

use crate::failure::Failure;
use crate::step::step;

/// Installs what is missing, or stops with the line to type.
pub(crate) fn make_ready() -> Result<(), Failure> {
    if Browser::is_ready() {
        return Ok(());
    }
    step("install the missing browser", "40 s", || {
        Browser::make_ready().map_err(|error| Failure::missing(error.to_string()))
    })
}
