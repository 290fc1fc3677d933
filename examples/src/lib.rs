//! Small examples of the bilten crates, one per idea.
