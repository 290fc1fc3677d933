//! The source of truth: a version for every key.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{mpsc, oneshot};

use crate::event::{KEYS, now};

/// A key became this version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) key: u32,
    pub(crate) version: u64,
    pub(crate) at: u64,
}

#[derive(Debug)]
pub(crate) struct Source {
    rows: Mutex<(Vec<u64>, Vec<Commit>)>,
}

impl Source {
    pub(crate) fn new() -> Self {
        Self {
            rows: Mutex::new((vec![1; KEYS as usize], Vec::new())),
        }
    }

    pub(crate) fn read(&self, key: u32) -> u64 {
        self.rows.lock().unwrap().0[key as usize]
    }

    pub(crate) fn bump(&self, key: u32) -> u64 {
        let mut rows = self.rows.lock().unwrap();
        rows.0[key as usize] += 1;
        let version = rows.0[key as usize];
        // Stamped before anybody can see it, and in the order of the list.
        rows.1.push(Commit {
            key,
            version,
            at: now(),
        });
        version
    }

    pub(crate) fn commits(&self) -> Vec<Commit> {
        self.rows.lock().unwrap().1.clone()
    }
}

/// The source as a node sees it.
#[derive(Debug, Clone)]
pub(crate) enum Truth {
    Here(Arc<Source>),
    There(Arc<Questions>),
}

impl Truth {
    pub(crate) async fn read(&self, key: u32) -> io::Result<u64> {
        match self {
            Self::Here(source) => Ok(source.read(key)),
            Self::There(questions) => questions.ask('R', key).await,
        }
    }

    pub(crate) async fn bump(&self, key: u32) -> io::Result<u64> {
        match self {
            Self::Here(source) => Ok(source.bump(key)),
            Self::There(questions) => questions.ask('B', key).await,
        }
    }
}

/// What a child process has asked its parent and not heard of yet.
#[derive(Debug)]
pub(crate) struct Questions {
    out: mpsc::UnboundedSender<String>,
    open: Mutex<HashMap<u64, oneshot::Sender<u64>>>,
    next: AtomicU64,
}

impl Questions {
    pub(crate) fn new(out: mpsc::UnboundedSender<String>) -> Self {
        Self {
            out,
            open: Mutex::default(),
            next: AtomicU64::new(0),
        }
    }

    async fn ask(&self, kind: char, key: u32) -> io::Result<u64> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        self.open.lock().unwrap().insert(number, sender);
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.out
            .send(format!("{kind} {number} {key}"))
            .map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
        answer.await.map_err(gone)
    }

    /// Takes an answer (`number version`) in.
    pub(crate) fn answered(&self, line: &str) {
        let Some((number, version)) = line.split_once(' ') else {
            return;
        };
        let (Ok(number), Ok(version)) = (number.parse(), version.parse()) else {
            return;
        };
        if let Some(waiting) = self.open.lock().unwrap().remove(&number) {
            let _ = waiting.send(version);
        }
    }
}

/// Answers a child's question, if it is one.
pub(crate) fn answer(source: &Source, line: &str) -> Option<String> {
    let (kind, rest) = line.split_once(' ')?;
    let (number, key) = rest.split_once(' ')?;
    let key = key.parse().ok()?;
    let version = match kind {
        "R" => source.read(key),
        "B" => source.bump(key),
        _ => return None,
    };
    Some(format!("{number} {version}"))
}
