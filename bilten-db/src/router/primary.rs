//! What the primary does: its own work, and reads that no replica serves.

use std::sync::Arc;

use sea_orm::DbErr;

use super::Router;
use crate::Error;
use crate::access::Access;
use crate::attempt::Attempt;
use crate::call::{Call, Wants};
use crate::deadline;
use crate::failover::{Step, step};
use crate::fallback::{Place, no_such_group};
use crate::fault::Trouble;
use crate::metrics::Reason;
use crate::roster::Topology;
use crate::scope::{self, Route};

impl Router {
    /// The statement hid a write, which the replica refused before any effect.
    pub(crate) async fn learn<C: Call>(
        &self,
        call: &C,
        attempt: Attempt,
    ) -> Result<C::Output, DbErr> {
        deadline::may_change();
        if let Wants::Statement(sql) = call.wants() {
            self.learned.insert(sql);
            self.topology().primary.metrics.misread();
            tracing::debug!(
                "a statement that looked like a read writes; it runs on the primary from now on"
            );
        }
        // Boxed, as all that is rare: its room would be carried through every read.
        Box::pin(self.on_primary(call, attempt.again(Reason::Retry), true)).await
    }

    /// Whether the primary may serve reads for lack of a replica.
    pub(crate) fn primary_stands_in(&self) -> bool {
        self.policy.fallback.max_in_flight().is_some()
    }

    /// The primary serves a read, for lack of a replica; `group` is what a session asks for.
    pub(crate) async fn stand_in<C: Call>(
        &self,
        call: &C,
        mut attempt: Attempt,
        group: Option<&str>,
    ) -> Result<C::Output, DbErr> {
        let topology = self.topology();
        let hint = scope::route();
        let group = group.or_else(|| hint.and_then(Route::group));
        let replicas_only = group.is_some() || hint.is_some_and(Route::is_replicas_only);
        if !topology.has_replicas(group) {
            attempt.reason = Reason::Read;
            return match group {
                Some(name) => Err(no_such_group(name).into()),
                None if replicas_only => Err(Error::NoReplica.into()),
                None => Box::pin(self.read_on_primary(call, attempt)).await,
            };
        }
        let place = match self.policy.fallback.max_in_flight() {
            Some(limit) if !replicas_only => self.place(&topology, limit)?,
            _ => return Err(Error::NoReplica.into()),
        };
        scope::pin(self.id(), &topology.primary);
        let output = Box::pin(self.read_on_primary(call, attempt)).await?;
        Ok(C::standing_in(output, Some(place)))
    }

    /// The primary serves a read that no replica may, whatever the fallback: a promise was made.
    pub(crate) async fn keep_promise<C: Call>(
        &self,
        call: &C,
        attempt: Attempt,
    ) -> Result<C::Output, DbErr> {
        let topology = self.topology();
        // Without replicas every read is the primary's own, and none stands in.
        let place = match topology.has_replicas(None) {
            true => Some(self.place(&topology, self.most_promised(&topology))?),
            false => None,
        };
        scope::pin(self.id(), &topology.primary);
        let output = Box::pin(self.read_on_primary(call, attempt)).await?;
        Ok(C::standing_in(output, place))
    }

    /// Also where the primary stands in for nobody a promise is not a way to flood it.
    fn most_promised(&self, topology: &Topology) -> u32 {
        let named = self.policy.fallback.max_in_flight();
        named.unwrap_or_else(|| topology.primary.backend.load().max.saturating_mul(2))
    }

    fn place(&self, topology: &Topology, limit: u32) -> Result<Place, Error> {
        Place::take(&self.standing_in, limit).inspect_err(|_| topology.primary.metrics.overloaded())
    }

    /// A read may run a second time, on a fresh connection: after a restart the old ones are all dead. One that may hide a
    /// write is not sent twice.
    pub(crate) async fn read_on_primary<C: Call>(
        &self,
        call: &C,
        attempt: Attempt,
    ) -> Result<C::Output, DbErr> {
        let primary = Arc::clone(&self.topology().primary);
        deadline::sent_to_primary();
        self.policy.retries.deposit();
        let fault = match primary.run(call, attempt).await {
            // A stream that breaks later leaves doubt where a write may be hidden.
            Ok(output) if C::GOES_ON && self.may_write(call.wants()) => {
                return Ok(C::writing(output));
            }
            Ok(output) => return Ok(output),
            Err(fault) => fault,
        };
        let in_doubt = fault.leaves_doubt() && self.may_write(call.wants());
        if in_doubt {
            self.roster.suspect_all();
            return Err(primary.in_doubt(primary.db_err(fault)));
        }
        let again = step(Access::Read, false, fault.trouble()) == Step::Elsewhere;
        if again && self.may_try_again(&primary, &fault) {
            let again = attempt.again(Reason::Retry);
            let write = self.may_write(call.wants());
            return Box::pin(self.on_primary(call, again, write)).await;
        }
        Err(primary.db_err(fault))
    }

    pub(super) async fn on_primary<C: Call>(
        &self,
        call: &C,
        attempt: Attempt,
        write: bool,
    ) -> Result<C::Output, DbErr> {
        let primary = Arc::clone(&self.topology().primary);
        let outcome = primary.run(call, attempt).await;
        let outcome = outcome.map(|output| match write {
            true => C::writing(output),
            false => output,
        });
        outcome.map_err(|fault| {
            if matches!(
                fault.trouble(),
                Trouble::ReadOnly
                    | Trouble::Unreachable
                    | Trouble::Lost
                    | Trouble::Slow
                    | Trouble::Silent
                    | Trouble::Unanswered
            ) {
                self.roster.suspect_all();
            }
            let in_doubt = write && fault.leaves_doubt() && call.wants().is_statement();
            let error = primary.db_err(fault);
            match in_doubt {
                true => primary.in_doubt(error),
                false => error,
            }
        })
    }
}
