//! The checks that are registered and the groups they form.

use crate::error::BuildError;
use crate::group::Group;
use crate::slot::Slot;
use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

/// Readers take a snapshot, so a change at run time never tears a report.
#[derive(Debug)]
pub(crate) struct Registry {
    slots: RwLock<Arc<Vec<Arc<Slot>>>>,
    groups: Vec<NamedGroup>,
}

/// Its members by their names in lower case.
#[derive(Clone, Debug)]
pub(crate) struct NamedGroup {
    pub(crate) name: &'static str,
    pub(crate) members: HashSet<String>,
}

impl Registry {
    pub(crate) fn new(slots: Vec<Arc<Slot>>, groups: Vec<NamedGroup>) -> Self {
        Self {
            slots: RwLock::new(Arc::new(slots)),
            groups,
        }
    }

    pub(crate) fn snapshot(&self) -> Arc<Vec<Arc<Slot>>> {
        Arc::clone(&self.slots.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn select(&self, wanted: impl Fn(&Slot) -> bool) -> Vec<Arc<Slot>> {
        self.snapshot()
            .iter()
            .filter(|slot| wanted(slot))
            .cloned()
            .collect()
    }

    pub(crate) fn members(&self, group: Group) -> Vec<Arc<Slot>> {
        let Group::Named(name) = group else {
            return self.select(|slot| slot.is_in(group));
        };
        let Some(found) = self.groups.iter().find(|group| group.name == name) else {
            return Vec::new();
        };
        self.select(|slot| found.members.contains(&slot.name.to_ascii_lowercase()))
    }

    /// The group of this name, built in or your own.
    #[cfg_attr(not(feature = "axum"), allow(dead_code))]
    pub(crate) fn group_named(&self, name: &str) -> Option<Group> {
        let built_in = [
            Group::All,
            Group::Liveness,
            Group::Readiness,
            Group::Startup,
        ];
        let own = self.groups.iter().map(|group| Group::Named(group.name));
        built_in
            .into_iter()
            .chain(own)
            .find(|group| group.to_string() == name)
    }

    pub(crate) fn add(&self, slot: Arc<Slot>) -> Result<(), BuildError> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        if slots
            .iter()
            .any(|other| other.name.eq_ignore_ascii_case(&slot.name))
        {
            return Err(BuildError::DuplicateName {
                name: slot.name.to_string(),
            });
        }
        Arc::make_mut(&mut slots).push(slot);
        Ok(())
    }

    pub(crate) fn remove(&self, name: &str) -> Option<Arc<Slot>> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let at = slots
            .iter()
            .position(|slot| slot.name.eq_ignore_ascii_case(name))?;
        Some(Arc::make_mut(&mut slots).remove(at))
    }
}
