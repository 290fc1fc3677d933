use std::thread;

use super::builder::MariaDbBuilder;
use super::launch::Material;
use super::node::MariaDbNode;
use crate::Error;
use crate::machine::port::Port;

/// A private MariaDB primary with replicas that follow it by GTID, each a process of its own on loopback; all end, with
/// their directories, when this is dropped or the process ends.
///
/// ```no_run
/// let maria = bilten_testbed::MariaDb::builder().replicas(1).start()?;
/// maria.primary().sql("create database shop; create table shop.event (id int)")?;
/// maria.wait_for_replicas()?;
/// assert_eq!(maria.replica(0).sql_in("shop", "select count(*) from event")?, "0");
/// # Ok::<(), bilten_testbed::Error>(())
/// ```
#[derive(Debug)]
pub struct MariaDb {
    primary: MariaDbNode,
    replicas: Vec<MariaDbNode>,
}

impl MariaDb {
    /// Starts a primary without replicas.
    ///
    /// # Errors
    /// When MariaDB is missing or not ready in 30 s; the message holds the remedy or the log's end.
    pub fn start() -> Result<Self, Error> {
        Self::builder().start()
    }

    /// Options for a cluster.
    #[must_use]
    pub fn builder() -> MariaDbBuilder {
        MariaDbBuilder::default()
    }

    pub(super) fn start_with(options: &MariaDbBuilder) -> Result<Self, Error> {
        let material = Material::find()?;
        let mut tries = 0;
        loop {
            match Self::attempt(&material, options) {
                Err(error) if error.is_port_taken() && tries < 5 => tries += 1,
                outcome => return outcome,
            }
        }
    }

    /// Copying takes longest, so all nodes are made at once.
    fn attempt(material: &Material, options: &MariaDbBuilder) -> Result<Self, Error> {
        let launch = |id| MariaDbNode::launch(material, options, Port::reserve()?, id);
        let launch = &launch;
        let nodes: Result<Vec<_>, Error> = thread::scope(|scope| {
            let each = 1..=options.replicas + 1;
            let started: Vec<_> = each.map(|id| scope.spawn(move || launch(id))).collect();
            started
                .into_iter()
                .map(|node| {
                    node.join()
                        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                })
                .collect()
        });
        let mut nodes = nodes?.into_iter();
        let Some(primary) = nodes.next() else {
            unreachable!("the primary is launched always");
        };
        let maria = Self {
            primary,
            replicas: nodes.collect(),
        };
        maria.primary.wait_ready()?;
        for replica in &maria.replicas {
            replica.wait_ready()?;
            replica.follow(&maria.primary)?;
        }
        Ok(maria)
    }

    /// The node that was started as the primary.
    #[must_use]
    pub fn primary(&self) -> &MariaDbNode {
        &self.primary
    }

    /// The node that was started as replica `i`, from 0.
    ///
    /// # Panics
    /// When there are not so many.
    #[must_use]
    pub fn replica(&self, i: usize) -> &MariaDbNode {
        &self.replicas[i]
    }

    /// All nodes that were started as replicas.
    #[must_use]
    pub fn replicas(&self) -> &[MariaDbNode] {
        &self.replicas
    }

    /// Waits until every replica has applied all that was committed on the primary when this was called.
    ///
    /// # Errors
    /// When one has not after 30 s, for example because its replay is paused.
    pub fn wait_for_replicas(&self) -> Result<(), Error> {
        let position = self.primary.sql("select @@global.gtid_current_pos")?;
        self.replicas.iter().try_for_each(|replica| {
            replica.until_answer(
                "the primary's position",
                &format!("select master_gtid_wait('{position}', 0)"),
                "0",
            )
        })
    }
}
