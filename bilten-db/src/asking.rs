//! What a node is asked between two probes, for one call.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use crate::driver::{Sample, Sifted};
use crate::node::Node;
use crate::past::Question;

impl Node {
    /// Whether the server that answered is the one that was asked about last: its start is asked for when it may have been
    /// started again unnoticed, because a connection was opened since, or one was found broken.
    ///
    /// On a connection of its own, because who asks may hold one of the pool and would wait for a second. One asks at a time,
    /// and what it hears goes for all who waited when it began, also that nobody knows: so nobody waits for more than two
    /// questions, and a server that is short of places or of breath is not asked by each of many.
    pub(crate) async fn is_sure_of_start(&self) -> bool {
        let knows = || self.past.knows(self.backend.opened());
        if !self.backend.is_watched() || knows() {
            return true;
        }
        let begun = Instant::now();
        let mut last = self.asking_start.lock().await;
        if knows() {
            return true;
        }
        if let Some(asked) = last.filter(|asked| asked.at >= begun) {
            return asked.was_answered;
        }
        // There is no answer to be had from one that was found to be away meanwhile.
        self.health.is_in_rotation() && self.ask_for_start(&mut last).await
    }

    async fn ask_for_start(&self, last: &mut Option<Question>) -> bool {
        let at = Instant::now();
        let mark = self.past.mark(self.backend.opened());
        let told = self.backend.prober().started().await;
        *last = Some(Question {
            at,
            was_answered: told.is_ok(),
        });
        let Ok(started) = told else {
            return false;
        };
        if self.past.restarted(started, self.backend.moves()) {
            self.outdate();
            self.backend.discard();
            self.suspicion.notify_one();
        }
        self.past.told_after(mark);
        true
    }

    /// Where it is now. Many who ask at once share one answer; whoever goes away does not end the question.
    pub(crate) async fn position(self: &Arc<Self>) -> Option<Sample> {
        let begun = Instant::now();
        let turn = Arc::clone(&self.asking).lock_owned().await;
        if let Some(seen) = self.seen().filter(|seen| seen.at >= begun) {
            return Some(seen.sample);
        }
        let node = Arc::clone(self);
        let asked = tokio::spawn(async move {
            let asked = Instant::now();
            let sample = node.backend.sample().await.ok()?;
            node.saw(asked, sample.clone());
            drop(turn);
            Some(sample)
        });
        asked.await.ok()?
    }

    /// Whether the connections of now work where a new one gets no answer: then a pooler on the way has none left to give, and
    /// otherwise its server is gone. One that is idle is asked; one that waits for an answer would have been cut with the
    /// server, while one that a transaction or a stream holds and does not wait on would not know yet.
    ///
    /// What it returns is to be waited for: the idle connections are in there.
    pub(crate) fn still_serves(&self) -> impl Future<Output = bool> + Send + '_ {
        let sifted = self.backend.is_watched().then(|| self.backend.sift());
        async move {
            let Some(sifted) = sifted else {
                return true;
            };
            let Sifted { answered, used } = sifted.await;
            let opened_since = self.past.opened_since(self.backend.opened());
            let at_rest = self.held().saturating_sub(self.backend.waits_inside());
            answered > 0 || u64::from(used) > opened_since + u64::from(at_rest)
        }
    }

    /// Asks the node itself, on a new connection.
    pub(crate) async fn answers(&self) -> bool {
        self.backend.prober().probe().await.is_ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
    use std::time::Duration;

    use async_trait::async_trait;
    use futures_util::FutureExt as _;
    use futures_util::future::join_all;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::driver::Prober;
    use crate::driver::nowhere::{Nowhere, Part};
    use crate::fault::Fault;
    use crate::freshness::Want;
    use crate::lag::Lag;
    use crate::metrics::{Names, NodeMetrics};
    use crate::seen::Seen;
    use crate::traits::Traits;

    /// Counts what it is asked, and answers each question when it is let.
    #[derive(Debug)]
    struct Asked {
        opened: AtomicU64,
        questions: AtomicU32,
        answers: Semaphore,
        started: Option<i64>,
    }

    struct Question(Arc<Asked>);

    #[async_trait]
    impl Prober for Question {
        async fn probe(&mut self) -> Result<Sample, Fault> {
            self.0.questions.fetch_add(1, Ordering::SeqCst);
            let _answer = self.0.answers.acquire().await;
            match self.0.started {
                Some(started) => Ok(Sample {
                    started: Some(started),
                    ..Sample::default()
                }),
                None => Err(Fault::Unreachable(sqlx::Error::PoolTimedOut)),
            }
        }
    }

    impl Part for Asked {
        fn opened(&self) -> u64 {
            self.opened.load(Ordering::SeqCst)
        }

        fn prober(self: Arc<Self>) -> Box<dyn Prober> {
            Box::new(Question(self))
        }
    }

    /// A node that opened a connection since it told its start.
    fn opened(started: Option<i64>) -> (Arc<Node>, Arc<Asked>) {
        let asked = Arc::new(Asked {
            opened: AtomicU64::new(1),
            questions: AtomicU32::new(0),
            answers: Semaphore::new(0),
            started,
        });
        let id = Arc::from("r1");
        let metrics = NodeMetrics::new(&id, &Names::default());
        let backend = Arc::new(Nowhere(Arc::clone(&asked)));
        let [suspicion, changed] = [(); 2].map(|()| Arc::default());
        let traits = Traits::default();
        let node = Node::new(id, backend, metrics, suspicion, changed, traits);
        (Arc::new(node), asked)
    }

    /// So many ask; `then` is done once all of them wait for the first.
    async fn many(node: &Arc<Node>, asked: &Asked, then: impl FnOnce()) -> Vec<bool> {
        let all = (0..50).map(|_| {
            let node = Arc::clone(node);
            tokio::spawn(async move { node.is_sure_of_start().await })
        });
        let all: Vec<_> = all.collect();
        while asked.questions.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        // One thread: the others have begun to wait.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        then();
        let ended = join_all(all).await;
        ended.into_iter().map(Result::unwrap).collect()
    }

    #[tokio::test]
    async fn what_nobody_knows_is_asked_twice_for_all_who_wait() {
        let (node, asked) = opened(None);
        let sure = many(&node, &asked, || asked.answers.add_permits(100)).await;
        assert_eq!(sure, [false; 50]);
        let questions = asked.questions.load(Ordering::SeqCst);
        assert_eq!(questions, 2, "one for who came first, one for the others");
        assert!(!node.is_sure_of_start().await);
        assert_eq!(asked.questions.load(Ordering::SeqCst), 3, "another time");
    }

    #[tokio::test]
    async fn a_start_that_is_told_is_told_to_all_who_wait() {
        let (node, asked) = opened(Some(7));
        // More are opened meanwhile: nobody who waits has one of those.
        let then = || {
            asked.opened.store(3, Ordering::SeqCst);
            asked.answers.add_permits(100);
        };
        let sure = many(&node, &asked, then).await;
        assert_eq!(sure, [true; 50]);
        assert_eq!(asked.questions.load(Ordering::SeqCst), 2);
        assert_eq!(node.past.started(), 7);
    }

    #[tokio::test]
    async fn nobody_asks_a_node_that_was_found_to_be_away_meanwhile() {
        let (node, asked) = opened(Some(7));
        let then = || {
            node.eject("silent");
            asked.opened.store(3, Ordering::SeqCst);
            asked.answers.add_permits(100);
        };
        let sure = many(&node, &asked, then).await;
        let told = sure.iter().filter(|sure| **sure).count();
        assert_eq!(told, 1, "who asked before heard it");
        assert_eq!(asked.questions.load(Ordering::SeqCst), 1);
    }

    /// A node that proved something when it told this start.
    fn proven(node: &Node, started: i64) {
        let now = Instant::now();
        let lag = Lag {
            bytes: 0,
            time: Duration::ZERO,
            as_of: now,
            is_proven: true,
        };
        let sample = Sample {
            started: Some(started),
            ..Sample::default()
        };
        node.past.restarted(sample.started, 0);
        node.set_seen(Some(Seen::new(now, sample, Some(lag))));
    }

    #[tokio::test]
    async fn what_a_server_proved_before_it_was_started_again_counts_no_more() {
        let want = Want {
            group: None,
            max_lag: Some(Duration::from_secs(3600)),
            at_least: None,
        };
        // Found out by a question of a read, or by anything else.
        let (node, asked) = opened(Some(8));
        asked.answers.add_permits(1);
        proven(&node, 7);
        assert!(node.meets(&want, &node));
        assert!(node.is_sure_of_start().await);
        assert!(!node.meets(&want, &node));
        assert!(node.seen().is_none(), "nobody goes by it");
        let asked_for = node.suspicion.notified().now_or_never();
        assert!(asked_for.is_some(), "it is looked at");
        proven(&node, 8);
        assert!(node.meets(&want, &node));
        node.past.restarted(Some(9), 0);
        assert!(!node.meets(&want, &node));
        // Several servers under one name tell now this one and now that one.
        node.past.may_be_many();
        assert!(node.meets(&want, &node));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_goes_away_leaves_the_question_to_the_next() {
        let (node, asked) = opened(Some(7));
        let first = node.is_sure_of_start();
        let ended = tokio::time::timeout(Duration::from_secs(1), first).await;
        assert!(ended.is_err(), "it has no answer");
        asked.answers.add_permits(1);
        assert!(node.is_sure_of_start().await);
        assert_eq!(asked.questions.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_doubt_is_asked_about_and_a_server_that_takes_no_more_logins_proves_nothing() {
        let (node, asked) = opened(Some(7));
        asked.answers.add_permits(100);
        assert!(node.is_sure_of_start().await && node.is_sure_of_start().await);
        assert_eq!(asked.questions.load(Ordering::SeqCst), 1);
        node.doubt();
        assert!(node.is_sure_of_start().await);
        assert_eq!(asked.questions.load(Ordering::SeqCst), 2);
        let (node, asked) = opened(None);
        asked.answers.add_permits(1);
        let busy = Fault::Unreachable(sqlx::Error::PoolTimedOut).trouble();
        assert_eq!(busy, crate::fault::Trouble::Busy);
        assert!(!node.is_sure_of_start().await);
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_for_a_start_waits_for_nobody_who_asks_for_the_position() {
        let (node, asked) = opened(Some(7));
        asked.answers.add_permits(1);
        // It waits for a connection of the pool, the last of which may be held here.
        let _position = Arc::clone(&node.asking).lock_owned().await;
        let sure = tokio::time::timeout(Duration::from_secs(1), node.is_sure_of_start());
        assert!(sure.await.expect("it is told"));
    }
}
