//! The parentheses that are open while a statement is read.

use std::ops::Range;

use super::words::KEPT;

/// The groups that are open, from the outermost on, which is the statement.
#[derive(Debug)]
pub(super) struct Groups {
    open: Vec<Group>,
    /// Groups whose beginning was folded: they lie between those that begin among the first words and those that
    /// begin among the last ones.
    lost: usize,
}

#[derive(Clone, Copy, Debug)]
struct Group {
    start: usize,
    /// Where the last item of its list begins.
    item: usize,
}

impl Default for Groups {
    fn default() -> Self {
        let statement = Group { start: 0, item: 0 };
        Self {
            open: vec![statement],
            lost: 0,
        }
    }
}

impl Groups {
    /// A group opens with the word at this place.
    pub(super) fn enter(&mut self, start: usize) {
        let item = start + 1;
        self.open.push(Group { start, item });
    }

    /// The innermost group ends: the place where it opened, if that is known.
    pub(super) fn leave(&mut self) -> Option<usize> {
        if self.is_lost() {
            self.lost -= 1;
            return None;
        }
        let is_group = self.open.len() > 1;
        is_group.then(|| self.open.pop())?.map(|group| group.start)
    }

    /// Where the last item of the innermost list begins.
    pub(super) fn item(&self) -> Option<usize> {
        let known = self.open.last().filter(|_| !self.is_lost());
        known.map(|group| group.item)
    }

    /// The same, but not of a list in no parentheses: nothing says where its last item ends.
    pub(super) fn item_inside(&self) -> Option<usize> {
        self.item().filter(|_| self.open.len() > 1)
    }

    /// Whether a group is open whose beginning is known.
    pub(super) fn is_inside(&self) -> bool {
        self.item_inside().is_some()
    }

    /// An item of the innermost list begins here.
    pub(super) fn begin_item(&mut self, at: usize) {
        if !self.is_lost()
            && let Some(group) = self.open.last_mut()
        {
            group.item = at;
        }
    }

    fn is_lost(&self) -> bool {
        self.lost > 0 && self.open.last().is_some_and(|group| group.start < KEPT)
    }

    /// These words are no more, and those behind them have moved up.
    pub(super) fn forget(&mut self, gone: Range<usize>) {
        let is_first = |group: &Group| group.start < gone.start;
        let first = self.open.iter().rposition(is_first).unwrap_or(0);
        let last = self.open.split_off(first + 1);
        if let Some(group) = self.open.last_mut() {
            group.item = moved(group.item, &gone);
        }
        let many = last.len();
        let left = last.into_iter().filter(|group| group.start >= gone.end);
        let open = self.open.len();
        self.open.extend(left.map(|group| Group {
            start: moved(group.start, &gone),
            item: moved(group.item, &gone),
        }));
        self.lost += many - (self.open.len() - open);
    }
}

/// Where the word of this place is now; nowhere if it is gone.
fn moved(at: usize, gone: &Range<usize>) -> usize {
    match at {
        _ if at < gone.start => at,
        _ if at < gone.end => usize::MAX,
        _ => at - (gone.end - gone.start),
    }
}
