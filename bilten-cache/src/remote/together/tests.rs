use std::future::Future;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::test_util::{Call, FaultyRemote, Moment};

const BUDGET: Duration = Duration::from_millis(160);

/// Its clock stands still while there is work, however slow the machine is.
fn runtime() -> Runtime {
    let mut builder = Builder::new_current_thread();
    let builder = builder.enable_all().start_paused(true);
    builder.build().expect("a runtime")
}

fn together() -> (FaultyRemote, Arc<Together>) {
    let store = FaultyRemote::new();
    for n in 0..300 {
        store.put_bytes(&n.to_string(), n.to_string());
    }
    (store.clone(), Together::new(Arc::new(store), BUDGET, true))
}

fn seven() -> Option<Bytes> {
    Some(Bytes::from("7"))
}

fn begun<'a>(read: impl Future<Output = Answer> + 'a) -> impl Future<Output = Answer> + Unpin + 'a {
    let mut read = Box::pin(read);
    let mut nobody = Context::from_waker(Waker::noop());
    assert!(matches!(read.as_mut().poll(&mut nobody), Poll::Pending));
    read
}

#[test]
fn each_hears_the_answer_to_its_own_key_also_beyond_one_call() {
    let (_, together) = together();
    let keys: Vec<Arc<str>> = (0..301).map(|n| n.to_string().into()).collect();
    let reads = join_all(keys.iter().map(|key| together.read(key)));
    let answers: Vec<_> = runtime().block_on(reads);
    for (n, answer) in answers.into_iter().enumerate() {
        let expected = (n < 300).then(|| Bytes::from(n.to_string()));
        assert_eq!(answer.expect("it is there"), expected);
    }
    assert!(together.waiting().all.is_empty());
}

/// The first caller's runtime stands still after its first poll.
#[test]
fn a_runtime_that_nobody_drives_costs_others_a_part_of_their_budget_and_no_answer() {
    let ((store, together), key, still) = (together(), Arc::from("7"), runtime());
    let first = {
        let _entered = still.enter();
        begun(together.read(&key))
    };
    let others = runtime();
    others.block_on(async {
        let began = Instant::now();
        let keys: Vec<Arc<str>> = (0..50).map(|n| n.to_string().into()).collect();
        let reads = join_all(keys.iter().map(|key| together.read(key)));
        assert!(reads.await.iter().all(Result::is_ok));
        assert_eq!(began.elapsed(), together.patience());
        assert_eq!(store.calls(Call::Read), 1, "one of them asks for all");
        assert_eq!(together.read(&key).await.expect("it is there"), seven());
        assert_eq!(
            began.elapsed(),
            together.patience(),
            "the next ones wait for nothing"
        );
    });
    drop(first);
    // What the first one's runtime does at last disturbs nobody.
    still.block_on(tokio::task::yield_now());
    assert_eq!(
        others.block_on(together.read(&key)).expect("it is there"),
        seven()
    );
}

#[test]
fn reads_that_leave_before_anybody_asks_are_not_kept_and_stand_in_nobodys_way() {
    let ((_, together), key, still) = (together(), Arc::from("7"), runtime());
    {
        let _entered = still.enter();
        drop(begun(together.read(&key)));
    }
    runtime().block_on(async {
        let step = together.patience() / 10;
        for _ in 0..100 {
            drop(begun(together.read(&key)));
            let waiting = together.waiting().all.len();
            assert!(waiting <= 20, "{waiting}");
            tokio::time::advance(step).await;
        }
        assert_eq!(together.read(&key).await.expect("it is there"), seven());
        assert!(together.waiting().all.is_empty());
    });
}

#[test]
fn a_runtime_that_ends_takes_no_answer_with_it() {
    let ((_, together), key) = (together(), Arc::from("7"));
    let (gone, others) = (runtime(), runtime());
    {
        let _entered = gone.enter();
        drop(begun(together.read(&key)));
    }
    let waits = {
        let _entered = others.enter();
        begun(together.read(&key))
    };
    drop(gone);
    others.block_on(async {
        let began = Instant::now();
        assert_eq!(waits.await.expect("it is there"), seven());
        assert_eq!(together.read(&key).await.expect("it is there"), seven());
        assert_eq!(began.elapsed(), Duration::ZERO, "nobody waits for it");
    });
}

/// Polls the task that is to ask until it has asked, and no further.
fn asks_and_stands_still(runtime: &Runtime, store: &FaultyRemote) {
    runtime.block_on(async {
        while store.calls(Call::Read) == 0 {
            tokio::task::yield_now().await;
        }
    });
}

/// The first caller's runtime stands still after it has asked for all.
#[test]
fn a_runtime_that_stands_still_when_it_has_asked_keeps_no_answer_from_others() {
    let ((store, together), key, still) = (together(), Arc::from("7"), runtime());
    let trap = store.trap(Call::Read, Moment::After);
    let first = {
        let _entered = still.enter();
        begun(together.read(&key))
    };
    let others = runtime();
    let second = {
        let _entered = others.enter();
        begun(together.read(&key))
    };
    asks_and_stands_still(&still, &store);
    trap.release();
    others.block_on(async {
        let began = Instant::now();
        assert_eq!(second.await.expect("it is there"), seven());
        assert_eq!(began.elapsed(), together.patience());
        assert_eq!(store.calls(Call::Read), 1, "it was asked once");
    });
    assert_eq!(still.block_on(first).expect("it is there"), seven());
    still.block_on(async {
        while !together.waiting().under_way.is_empty() {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_runtime_that_ends_when_it_has_asked_takes_no_answer_with_it_either() {
    let ((store, together), key) = (together(), Arc::from("7"));
    let (gone, others) = (runtime(), runtime());
    let trap = store.trap(Call::Read, Moment::After);
    {
        let _entered = gone.enter();
        drop(begun(together.read(&Arc::from("8"))));
    }
    let waits = {
        let _entered = others.enter();
        begun(together.read(&key))
    };
    asks_and_stands_still(&gone, &store);
    drop(gone);
    trap.release();
    assert_eq!(others.block_on(waits).expect("it is there"), seven());
    assert!(together.waiting().under_way.is_empty());
}

#[test]
fn a_call_ends_with_the_last_of_its_callers() {
    let (store, together) = together();
    let lost = store.hold_back(Call::Read);
    runtime().block_on(async {
        let begun = Instant::now();
        let (asked, _hear): (Vec<_>, Vec<_>) = [BUDGET / 4, BUDGET / 2]
            .map(|rest| {
                let (hears, hear) = oneshot::channel();
                let (key, until) = ("7".into(), begun + rest);
                (Asks { key, until, hears }, hear)
            })
            .into_iter()
            .unzip();
        let call = call::Call::new(&together.remote, 0, asked);
        together.see_to(&call).await;
        assert_eq!(begun.elapsed(), BUDGET / 2);
    });
    drop(lost);
}

#[test]
fn reads_that_nobody_answers_are_asked_for_once() {
    let (store, together) = together();
    let lost = store.hold_back(Call::Read);
    runtime().block_on(async {
        let keys: Vec<Arc<str>> = (0..20).map(|n| n.to_string().into()).collect();
        let begun = Instant::now();
        let answers = join_all(keys.iter().map(|key| together.read(key))).await;
        let timeout = |answer: &Answer| matches!(answer, Err(RemoteError::Timeout));
        assert!(answers.iter().all(timeout));
        assert_eq!(begun.elapsed(), BUDGET);
        tokio::task::yield_now().await;
        assert!(together.waiting().under_way.is_empty());
        assert_eq!(store.calls(Call::Read), 1);
    });
    drop(lost);
}

#[test]
fn a_link_that_does_not_bring_many_values_in_time_is_asked_for_fewer() {
    let (store, together) = together();
    runtime().block_on(async {
        let keys: Vec<Arc<str>> = (0..300).map(|n| n.to_string().into()).collect();
        let read =
            async |most: usize| join_all(keys[..most].iter().map(|key| together.read(key))).await;
        let lost = store.hold_back(Call::Read);
        assert!(read(100).await.iter().all(Result::is_err));
        drop(lost);
        assert!(together.portion.asked() < MOST, "less after it");
        for _ in 0..8 {
            assert!(read(300).await.iter().all(Result::is_ok));
        }
        assert_eq!(together.portion.asked(), MOST, "and more again");
    });
}

/// redis-rs gives a call up by itself, a little before its callers do.
#[test]
fn a_store_that_gives_up_by_itself_is_asked_for_fewer_too() {
    let (store, together) = together();
    runtime().block_on(async {
        let keys: Vec<Arc<str>> = (0..300).map(|n| n.to_string().into()).collect();
        let read = async |most: usize| {
            let answers = join_all(keys[..most].iter().map(|key| together.read(key))).await;
            while !together.waiting().under_way.is_empty() {
                tokio::task::yield_now().await;
            }
            answers
        };
        store.takes(Call::Read, BUDGET * 9 / 10);
        store.fails_with(Call::Read, Some(RemoteError::Timeout));
        assert!(read(100).await.iter().all(Result::is_err));
        let less = together.portion.asked();
        assert!(less < MOST, "{less}");
        // What fails at once says nothing about its size, neither way.
        store.takes(Call::Read, Duration::ZERO);
        for error in [
            RemoteError::Timeout,
            RemoteError::ConnectionRefused,
            RemoteError::Refused("made to refuse".to_owned()),
        ] {
            store.fails_with(Call::Read, Some(error));
            assert!(read(100).await.iter().all(Result::is_err));
            assert_eq!(together.portion.asked(), less);
        }
        store.fails_with(Call::Read, None);
        assert!(read(100).await.iter().all(Result::is_ok));
        assert!(together.portion.asked() > less, "and more again");
    });
}

#[test]
fn nothing_is_read_together_before_it_is_known_how_large_values_are() {
    let store = Arc::new(FaultyRemote::new().reading_together());
    let together = Together::new(store, BUDGET, false);
    assert!(!together.is_better(100));
    together.saw(Some(100));
    assert!(together.is_better(100));
    together.saw(Some(100_000));
    assert!(!together.is_better(100));
}
