//! The lease of a key by plain commands, sent at once: `SET NX PX` of the lease, then `GET` of the value, then `GET` of what the load must
//! reflect. They cost a server a third of the script that does the same, which is left to what is unusual.
//!
//! Between them others may come to their turn, which the script does not allow. That does no harm because the lease comes **first**:
//!
//! - What was done before it is seen by the two reads behind it: a value that was stored, a demand that was kept.
//! - From then on nobody can store but who takes the lease away: [`store`](Remote::store) asks for its token, and each change of the key
//!   removes it or puts another one in its place. So whatever comes between (a write, a removal, the end of the lease, `FLUSHALL`) is either
//!   seen by the reads, or leaves us without the lease, and what we load is stored nowhere. It is as if the script had been run at the moment of `SET`
//!   and its answer had been on its way while the change was made.
//! - The other way round it would be wrong: nothing would be read, then somebody would store and give the lease back, then we would get it,
//!   load once more and put an older value in place of a newer one; and a demand that was kept meanwhile would be missed.
//!
//! Where there was a value the lease was taken for nothing, and goes back before the value is handed on. Who asks meanwhile waits a moment, as for any load. An
//! answer that never arrives leaves the lease until whoever asked has loaded and gives it back, or until its time is over, as that of the script does. `SET NX` that a client sent twice is refused
//! by itself the second time: the script knows the token again.
//!
//! All of this needs their order, so it is for one server, with one connection. On a cluster each command that a server redirects is sent
//! again by itself, and no client says in which order: there it stays with the script.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::reply::{self, Answer, digits, hex};
use super::{Arg, Link, Scripted, millis, whole_millis};
use crate::remote::{Lease, Remote, RemoteError};

/// What the three commands said.
#[derive(Debug, PartialEq)]
enum Taken {
    /// All there is to know.
    Told(Lease),
    /// There is a value, and we have the lease of its key for nothing.
    ForNothing(Bytes),
    /// The script has to say, and whether the lease may be ours already.
    Unclear { is_ours: bool },
}

/// A lease that somebody has is unclear: it may be ours, sent twice, and one that never runs out is none. So is what has another type.
fn taken(answers: Vec<Answer>) -> Taken {
    let Ok([lease, value, demand]) = <[Answer; 3]>::try_from(answers) else {
        return Taken::Unclear { is_ours: false };
    };
    let is_ours = matches!(&lease, Answer::Bytes(word) if **word == *b"OK");
    match (value, demand) {
        (Answer::Bytes(value), _) if is_ours => Taken::ForNothing(value),
        (Answer::Bytes(value), _) => Taken::Told(Lease::Value(value)),
        (Answer::Nothing, Answer::Nothing) if is_ours => Taken::Told(Lease::Owned),
        (Answer::Nothing, demand @ Answer::Bytes(_)) if is_ours => {
            Taken::Told(Lease::OwnedAfter(reply::demands(&demand, 0)))
        }
        _ => Taken::Unclear { is_ours },
    }
}

impl<L: Link> Scripted<L> {
    /// Takes the lease by the cheapest question that can be asked.
    pub(super) async fn take(
        &self,
        key: &str,
        token: u64,
        hold: Duration,
        over: Option<&[u8]>,
    ) -> Result<Lease, RemoteError> {
        // Over which value, only a script can ask.
        if over.is_some() || self.link.is_clustered() {
            return self.take_by_script(key, token, hold, over).await;
        }
        let [value, lease] = self.pair(key);
        let reads = [value, self.names.demand(key)];
        let begun = Instant::now();
        let answers = self
            .link
            .take(lease, digits(token), whole_millis(hold), reads);
        let is_ours = match taken(answers.await?) {
            Taken::Told(lease) => return Ok(lease),
            Taken::ForNothing(value) => {
                self.give_back(key, token, begun).await;
                return Ok(Lease::Value(value));
            }
            Taken::Unclear { is_ours } => is_ours,
        };
        let answer = self.take_by_script(key, token, hold, None).await;
        if is_ours && !matches!(answer, Ok(Lease::Owned | Lease::OwnedAfter(_))) {
            self.give_back(key, token, begun).await;
        }
        answer
    }

    /// Gives back what was taken for nothing, which must not cost the answer: it is sent where the server knows the script, and not waited for as
    /// long as a call may take. If it fails the lease runs out by itself, and whoever reads meanwhile finds the value.
    async fn give_back(&self, key: &str, token: u64, begun: Instant) {
        let left = self.limit.saturating_sub(begun.elapsed());
        let release = self.release(key, token);
        let _ = tokio::time::timeout(left.min(self.limit / 8), release).await;
    }

    pub(super) async fn take_by_script(
        &self,
        key: &str,
        token: u64,
        hold: Duration,
        over: Option<&[u8]>,
    ) -> Result<Lease, RemoteError> {
        // Nothing at all is not the same as a beginning of no bytes.
        let over = over.map_or_else(Bytes::new, |head| [b"=", head].concat().into());
        let what = || {
            let [value, lease] = self.pair(key);
            let args = [hex(token), millis(hold), Arg::Bytes(over.clone())];
            ([value, lease, self.names.demand(key)], args)
        };
        let answer = self.link.eval(&self.scripts.lease, what).await?;
        reply::lease(&answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::Demand;

    fn some(text: &'static str) -> Answer {
        Answer::Bytes(Bytes::from_static(text.as_bytes()))
    }

    #[test]
    fn a_lease_without_a_value_is_the_load_s() {
        let told = taken(vec![some("OK"), Answer::Nothing, Answer::Nothing]);
        assert_eq!(told, Taken::Told(Lease::Owned));
        let told = taken(vec![some("OK"), Answer::Nothing, some("9 7:00")]);
        let after = Lease::OwnedAfter(vec![Demand::of([0])]);
        assert_eq!(told, Taken::Told(after));
    }

    #[test]
    fn a_value_is_the_answer_whoever_has_the_lease() {
        for value in ["", "x"] {
            let bytes = Bytes::from_static(value.as_bytes());
            let told = taken(vec![some("OK"), some(value), Answer::Nothing]);
            assert_eq!(told, Taken::ForNothing(bytes.clone()), "it goes back");
            for lease in [Answer::Nothing, Answer::Other] {
                let told = taken(vec![lease, some(value), Answer::Other]);
                assert_eq!(told, Taken::Told(Lease::Value(bytes.clone())));
            }
        }
    }

    #[test]
    fn whatever_else_is_said_the_script_is_asked() {
        let odd = || [Answer::Other, Answer::Int(1), Answer::Array(vec![])];
        for lease in [Answer::Nothing, some("ok"), some("")]
            .into_iter()
            .chain(odd())
        {
            let told = taken(vec![lease, Answer::Nothing, Answer::Nothing]);
            assert_eq!(told, Taken::Unclear { is_ours: false });
        }
        let few = taken(vec![some("OK"), Answer::Nothing]);
        assert_eq!(few, Taken::Unclear { is_ours: false });
        for answer in odd() {
            let told = taken(vec![some("OK"), answer.clone(), Answer::Nothing]);
            assert_eq!(told, Taken::Unclear { is_ours: true }, "the value");
            let told = taken(vec![some("OK"), Answer::Nothing, answer]);
            assert_eq!(told, Taken::Unclear { is_ours: true }, "the demand");
        }
    }
}
