//! A second level that does what a test says.
