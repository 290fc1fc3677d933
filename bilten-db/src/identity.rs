//! Which data a node has: of what cluster, and in which database of it.

use std::sync::Arc;

use crate::driver::Sample;

/// What two nodes must have in common to answer for each other. Unknown where a server has no such notion, and before
/// it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Identity {
    system_id: Option<u64>,
    database: Option<Arc<str>>,
}

impl Identity {
    pub(crate) fn of(sample: &Sample) -> Self {
        Self {
            system_id: sample.system_id,
            database: sample.database.clone(),
        }
    }

    /// Whether a node ever said who it is.
    pub(crate) fn is_known(&self) -> bool {
        self.system_id.is_some() || self.database.is_some()
    }

    /// Whether a node may become the primary of this `family`; of an unknown one only a node that never told either.
    pub(crate) fn may_replace(&self, family: &Self) -> bool {
        let database = family.database.is_none() || self.database == family.database;
        self.system_id == family.system_id && database
    }

    /// Whether a position that a replica told is one in the log of this family, and not in one that it writes itself. Where
    /// each transaction has a name of its own, names tell.
    pub(crate) fn has_the_log_of(&self, replica: &Sample) -> bool {
        let replays = replica.in_recovery == Some(true) && replica.system_id == self.system_id;
        replica.gtids.is_some() || replays
    }

    /// Why the node `id` cannot answer for `primary`; nothing when it can.
    pub(crate) fn differs(&self, id: &str, primary: &Self) -> Option<String> {
        if primary.system_id.is_some() && self.system_id != primary.system_id {
            return Some(
                "belongs to another cluster; name a replica of the primary, or call independent_replicas()"
                    .to_owned(),
            );
        }
        let theirs = primary.database.as_deref()?;
        if self.database.as_deref() == Some(theirs) {
            return None;
        }
        let ours = match &self.database {
            Some(name) => format!("the database `{name}`"),
            None => "no database".to_owned(),
        };
        Some(format!(
            "`{id}` opens {ours}, but the primary `{theirs}`; name `{theirs}` in the URL of `{id}`, or call independent_replicas()"
        ))
    }
}

/// Whether the node `id` may serve reads for a primary of this `family`, and why not.
pub(crate) fn standing(
    strict: bool,
    id: &str,
    replica: &Sample,
    family: &Identity,
) -> Result<(), String> {
    if !strict {
        return Ok(());
    }
    if let Some(difference) = Identity::of(replica).differs(id, family) {
        return Err(difference);
    }
    if replica.in_recovery == Some(false) {
        return Err(
            "takes writes, but another node is the primary; make it a standby again (MySQL and MariaDB: set read_only there)"
                .to_owned(),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(system_id: u64, database: &str) -> Identity {
        Identity {
            system_id: (system_id > 0).then_some(system_id),
            database: (!database.is_empty()).then(|| database.into()),
        }
    }

    #[test]
    fn another_cluster_or_another_database_is_named() {
        // The replica, the primary, and what the difference says.
        let table = [
            ((7, "shop"), (7, "shop"), ""),
            ((7, "shop"), (0, ""), ""),
            ((7, "shop"), (7, ""), ""),
            ((0, "shop"), (0, "shop"), ""),
            ((8, "shop"), (7, "shop"), "another cluster"),
            ((0, "shop"), (7, "shop"), "another cluster"),
            ((7, "test"), (7, "shop"), "`r1` opens the database `test`"),
            ((7, "test"), (7, "shop"), "name `shop` in the URL of `r1`"),
            ((0, ""), (0, "shop"), "`r1` opens no database"),
        ];
        for (replica, primary, expected) in table {
            let (ours, theirs) = (
                identity(replica.0, replica.1),
                identity(primary.0, primary.1),
            );
            let told = ours.differs("r1", &theirs).unwrap_or_default();
            assert_eq!(told.is_empty(), expected.is_empty(), "{told}");
            assert!(told.contains(expected), "{told}");
        }
        let may = |ours: Identity, theirs: Identity| ours.may_replace(&theirs);
        assert!(may(identity(7, "shop"), identity(7, "shop")));
        assert!(may(identity(0, "shop"), identity(0, "")));
        assert!(!may(identity(7, "test"), identity(7, "shop")));
        assert!(!may(identity(7, "shop"), Identity::default()));
        assert!(!Identity::default().is_known() && identity(0, "shop").is_known());
    }

    fn node(system_id: u64, in_recovery: bool) -> Sample {
        Sample {
            in_recovery: Some(in_recovery),
            system_id: Some(system_id),
            ..Sample::default()
        }
    }

    #[test]
    fn only_standbys_of_the_primary_serve_reads() {
        let primary = || Identity::of(&node(7, false));
        let unknown = Identity::default;
        let table = [
            (true, node(7, true), primary(), None),
            (true, node(8, true), primary(), Some("another cluster")),
            (true, node(7, false), primary(), Some("takes writes")),
            (true, node(7, true), unknown(), None),
            (true, Sample::default(), unknown(), None),
            (false, node(8, false), primary(), None),
        ];
        for (strict, replica, family, problem) in table {
            let standing = standing(strict, "r1", &replica, &family);
            assert_eq!(standing.is_err(), problem.is_some(), "{replica:?}");
            if let (Err(reason), Some(problem)) = (standing, problem) {
                assert!(reason.contains(problem), "{reason}");
            }
        }
    }
}
