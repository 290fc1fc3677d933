use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bilten_cache::test_util::FaultyRemote;
use bilten_cache::{Cache, Error, Region};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Far longer than anything here takes; only reached when a test fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// How long a call may take to a server or store that is well: a busy machine is no reason to give it up. What was claimed for one is free
/// again within [`DEADLINE`] all the same.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);

/// One process of a service, as far as the cache can tell.
#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) cache: Cache,
    pub(crate) stock: Region<str, u32>,
}

impl Node {
    pub(crate) async fn on(store: &FaultyRemote) -> Self {
        Self::of(
            Cache::builder("shop")
                .remote(store.another_node())
                .build()
                .await
                .unwrap(),
        )
    }

    /// The same for a test that holds calls back itself: none is given up before it is let go.
    pub(crate) async fn patient(store: &FaultyRemote) -> Self {
        let cache = Cache::builder("shop").remote(store.another_node());
        Self::of(cache.remote_budget(DEADLINE * 3).build().await.unwrap())
    }

    pub(crate) async fn alone() -> Self {
        Self::of(Cache::builder("shop").build().await.unwrap())
    }

    pub(crate) fn of(cache: Cache) -> Self {
        let stock = cache.region::<str, u32>("stock").build().unwrap();
        Self { cache, stock }
    }

    /// Starts a load that lasts until [`Held::finish`].
    pub(crate) fn start_load(
        &self,
        key: &'static str,
    ) -> (Held, JoinHandle<Result<Arc<u32>, Error>>) {
        let (load, held) = held();
        let stock = self.stock.clone();
        (
            held,
            tokio::spawn(async move { stock.get_or_load(key, move |_| load.run()).await }),
        )
    }

    /// The value of a load that answers at once.
    pub(crate) async fn load(&self, key: &str, value: u32) -> u32 {
        *self
            .stock
            .get_or_load(key, async move |_| Ok::<_, io::Error>(value))
            .await
            .unwrap()
    }
}

/// A loader that waits for the test.
pub(crate) struct HeldLoad {
    started: oneshot::Sender<()>,
    value: oneshot::Receiver<u32>,
}

impl HeldLoad {
    pub(crate) async fn run(self) -> Result<u32, io::Error> {
        let _ = self.started.send(());
        self.value
            .await
            .map_err(|_| io::Error::other("the test let go"))
    }
}

/// The test's end of a held load.
pub(crate) struct Held {
    started: Option<oneshot::Receiver<()>>,
    value: oneshot::Sender<u32>,
}

impl Held {
    pub(crate) async fn started(&mut self) {
        if let Some(started) = self.started.take() {
            tokio::time::timeout(DEADLINE, started)
                .await
                .expect("the load starts")
                .unwrap();
        }
    }

    pub(crate) fn finish(self, value: u32) {
        let _ = self.value.send(value);
    }
}

pub(crate) fn held() -> (HeldLoad, Held) {
    let (started, has_started) = oneshot::channel();
    let (value, gets) = oneshot::channel();
    (
        HeldLoad {
            started,
            value: gets,
        },
        Held {
            started: Some(has_started),
            value,
        },
    )
}

/// A name that no other test has, on the Redis that all of them share.
pub(crate) fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "test-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// Until everything that either one knows of has come to both.
pub(crate) async fn in_step(one: &Node, two: &Node) {
    eventually("everything came", || {
        let (here, there) = (one.cache.status(), two.cache.status());
        here.log_lag == 0 && there.log_lag == 0 && here.log_position == there.log_position
    })
    .await;
}

/// Polls until it is so.
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while !is_so() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "still not so: {what}"
        );
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Runs each test with each client: what is promised does not depend on the library below.
macro_rules! with_each_client {
    ($($name:ident),* $(,)?) => {
        mod fred {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(bilten_cache::RedisClient::Fred).await;
                }
            )*
        }

        mod redis_rs {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $name() {
                    super::$name(bilten_cache::RedisClient::RedisRs).await;
                }
            )*
        }
    };
}
pub(crate) use with_each_client;
