//! The last so many values.

use std::collections::VecDeque;

use serde::Serialize;

/// Drops the oldest value when it is full.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Ring<T> {
    values: VecDeque<T>,
    #[serde(skip)]
    most: usize,
}

impl<T> Ring<T> {
    pub(super) fn new(most: usize) -> Self {
        Self {
            values: VecDeque::new(),
            most,
        }
    }

    pub(super) fn push(&mut self, value: T) {
        if self.values.len() >= self.most {
            self.values.pop_front();
        }
        self.values.push_back(value);
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.values.iter()
    }
}
