//! The checks that are registered and the groups they form.

use crate::error::BuildError;
use crate::group::Group;
use crate::slot::Slot;
use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

/// Readers take a snapshot, so a change at run time never tears a report.
#[derive(Debug)]
pub(crate) struct Registry {
    members: RwLock<Members>,
    groups: Vec<NamedGroup>,
}

#[derive(Debug)]
struct Members {
    /// In the order of registration.
    slots: Arc<Vec<Arc<Slot>>>,
    /// In lower case, so that thousands of registrations need not each look at all the others.
    names: HashSet<String>,
}

/// Its members by their names in lower case.
#[derive(Clone, Debug)]
pub(crate) struct NamedGroup {
    pub(crate) name: &'static str,
    pub(crate) members: HashSet<String>,
}

impl Registry {
    pub(crate) fn new(slots: Vec<Arc<Slot>>, groups: Vec<NamedGroup>) -> Self {
        let names = slots.iter().map(|slot| slot.name.to_ascii_lowercase());
        let members = Members {
            names: names.collect(),
            slots: Arc::new(slots),
        };
        Self {
            members: RwLock::new(members),
            groups,
        }
    }

    pub(crate) fn snapshot(&self) -> Arc<Vec<Arc<Slot>>> {
        let members = self.members.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&members.slots)
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
        let mut groups = self.groups.iter();
        let Some(found) = groups.find(|group| group.name.eq_ignore_ascii_case(name)) else {
            return Vec::new();
        };
        self.select(|slot| found.members.contains(&slot.name.to_ascii_lowercase()))
    }

    /// The group of this name, built in or your own, whatever the case.
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
            .find(|group| group.as_str().eq_ignore_ascii_case(name))
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Slot>> {
        let slots = self.snapshot();
        let mut slots = slots.iter();
        slots
            .find(|slot| slot.name.eq_ignore_ascii_case(name))
            .cloned()
    }

    pub(crate) fn add(&self, slot: Arc<Slot>) -> Result<(), BuildError> {
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        if !members.names.insert(slot.name.to_ascii_lowercase()) {
            return Err(BuildError::DuplicateName {
                name: slot.name.to_string(),
            });
        }
        Arc::make_mut(&mut members.slots).push(slot);
        Ok(())
    }

    pub(crate) fn remove(&self, name: &str) -> Option<Arc<Slot>> {
        let mut members = self.members.write().unwrap_or_else(PoisonError::into_inner);
        if !members.names.remove(&name.to_ascii_lowercase()) {
            return None;
        }
        let mut slots = members.slots.iter();
        let at = slots.position(|slot| slot.name.eq_ignore_ascii_case(name))?;
        Some(Arc::make_mut(&mut members.slots).remove(at))
    }
}
