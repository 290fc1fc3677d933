//! Users who read and write at random, every answer recorded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bilten_db::sea_orm::{
    ConnectionTrait, DbBackend, DbErr, QueryResult, Statement, TransactionTrait,
};
use bilten_db::{Cluster, Session, Token};
use fastrand::Rng;
use tokio::task::JoinSet;

use crate::checker::Event;

const KEYS: i32 = 6;
const USERS: u64 = 8;
const READ: &str = "select version, inet_server_port() from item where key = $1";
const WRITE: &str = "update item set version = version + 1 where key = $1 returning version";

pub(crate) const TABLE: &str =
    "create table item (key int primary key, version bigint not null default 1);
    insert into item (key) select n from generate_series(0, 6) n";

/// A promise that is broken on purpose, to show that the checker finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    /// A session forgets that it wrote.
    ForgetsWrites,
    /// A session does not stay with its replica.
    ChangesReplicas,
    /// A token is not handed to the next session.
    LosesToken,
    /// A token is made before the write that it should cover.
    EarlyToken,
}

/// The histories of all users.
pub(crate) type Histories = Vec<Vec<Event>>;

pub(crate) struct Users {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Vec<Event>>,
}

impl Users {
    pub(crate) fn start(db: &Cluster, seed: u64, flaw: Flaw) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        for number in 0..USERS {
            let user = User {
                db: db.clone(),
                flaw,
                rng: Rng::with_seed(seed ^ (number << 32)),
                history: Vec::new(),
                token: None,
            };
            let stop = Arc::clone(&stop);
            tasks.spawn(user.live(stop));
        }
        Self { stop, tasks }
    }

    pub(crate) async fn stop(self) -> Histories {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.join_all().await
    }
}

struct User {
    db: Cluster,
    flaw: Flaw,
    rng: Rng,
    history: Vec<Event>,
    token: Option<Token>,
}

impl User {
    async fn live(mut self, stop: Arc<AtomicBool>) -> Vec<Event> {
        while !stop.load(Ordering::Relaxed) {
            self.request().await;
            tokio::time::sleep(Duration::from_micros(self.rng.u64(..5_000))).await;
        }
        self.history
    }

    /// Some reads and writes in one session, which may begin with what an earlier one left.
    async fn request(&mut self) {
        let token = self.token.filter(|_| self.rng.u32(..4) > 0);
        self.history.push(Event::Begin {
            token: token.is_some(),
        });
        let mut session = self.session(token);
        let early = match self.flaw {
            Flaw::EarlyToken => self.early_token().await,
            _ => None,
        };
        for _ in 0..self.rng.u32(1..9) {
            let key = self.rng.i32(0..KEYS);
            match self.rng.u32(..10) {
                0 => tokio::time::sleep(Duration::from_millis(self.rng.u64(..40))).await,
                1 | 2 => self.note_write(key, &write(&session, key).await),
                3 => self.note_write(key, &write_in_transaction(&session, key).await),
                _ => self.read(&session, key).await,
            }
            if self.flaw == Flaw::ChangesReplicas && !session.wrote() {
                session = self.session(token);
            }
        }
        if session.wrote()
            && let Ok(token) = session.token().await
        {
            self.token = early.or(token);
            self.history.push(Event::Token);
        }
    }

    fn session(&mut self, token: Option<Token>) -> Session {
        let session = match token {
            Some(token) if self.flaw != Flaw::LosesToken => self.db.session_with(token),
            _ => self.db.session(),
        };
        session.wait(Duration::from_millis([0, 50, 500][self.rng.usize(..3)]))
    }

    /// A token of now.
    async fn early_token(&self) -> Option<Token> {
        let session = self.db.session();
        write(&session, KEYS).await.ok();
        session.token().await.ok().flatten()
    }

    async fn read(&mut self, session: &Session, key: i32) {
        let stmt = statement(READ, key);
        let found = match self.flaw {
            Flaw::ForgetsWrites => self.db.query_one_raw(stmt).await,
            _ => session.query_one_raw(stmt).await,
        };
        // An error promises nothing.
        if let Ok(Some(row)) = found {
            self.history.push(Event::Read {
                key,
                version: row.try_get_by_index(0).unwrap(),
                port: row.try_get_by_index(1).unwrap(),
            });
        }
    }

    /// A write that failed may have been done or not.
    fn note_write(&mut self, key: i32, written: &Result<i64, DbErr>) {
        if let Ok(version) = *written {
            self.history.push(Event::Write { key, version });
        }
    }
}

fn statement(sql: &str, key: i32) -> Statement {
    Statement::from_sql_and_values(DbBackend::Postgres, sql, [key.into()])
}

async fn write(db: &impl ConnectionTrait, key: i32) -> Result<i64, DbErr> {
    version(db.query_one_raw(statement(WRITE, key)).await?)
}

async fn write_in_transaction(session: &Session, key: i32) -> Result<i64, DbErr> {
    // On a server that freezes it ends by itself.
    let tx = session.begin().await?;
    let version = write(&tx, key).await?;
    tx.commit().await?;
    Ok(version)
}

fn version(row: Option<QueryResult>) -> Result<i64, DbErr> {
    row.ok_or_else(|| DbErr::RecordNotFound("the row of a key".to_owned()))?
        .try_get_by_index(0)
}
