use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use bilten_testbed::{Postgres, Redis, eventually};

/// A guardian lets PostgreSQL end politely for a second and a half before it kills.
const LIMIT: Duration = Duration::from_secs(20);

/// A process of its own with a Redis and a PostgreSQL with a replica.
struct Holder {
    child: Child,
    servers: Vec<(u32, PathBuf)>,
}

/// A place of a test's own: other tests sweep the usual one and would hide what is left.
struct Place(PathBuf);

impl Place {
    fn make(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("bilten-leftovers-{}-{name}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Holder {
    fn start(way: &str, place: &Place) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_testbed-holder"))
            .arg(way)
            .env("BILTEN_TEST_DIR", &place.0)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut servers = Vec::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let Some((pid, directory)) = line.split_once(' ') else {
                break;
            };
            servers.push((pid.parse().unwrap(), PathBuf::from(directory)));
        }
        let expected = if way == "mariadb" { 1 } else { 3 };
        assert_eq!(
            servers.len(),
            expected,
            "the holder did not start its servers"
        );
        Self { child, servers }
    }

    fn assert_nothing_is_left(mut self, expect: impl Fn(ExitStatus) -> bool) {
        let status = self.child.wait().unwrap();
        assert!(expect(status), "{status}");
        for (pid, directory) in &self.servers {
            eventually(LIMIT, || {
                !runs(*pid) && working_in(directory).is_empty() && !directory.exists()
            });
        }
    }
}

fn send(signal: &str, target: &str) {
    let sent = Command::new("sh")
        .args(["-c", &format!("kill -s {signal} -- {target}")])
        .status()
        .unwrap();
    assert!(sent.success(), "could not send {signal} to {target}");
}

fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// The processes below a directory, which is how backends and orphans are found too.
fn working_in(directory: &Path) -> Vec<PathBuf> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .map(|entry| entry.path())
        .filter(|path| fs::read_link(path.join("cwd")).is_ok_and(|cwd| cwd.starts_with(directory)))
        .collect()
}

#[test]
fn nothing_is_left_after_a_drop() {
    let (redis, postgres) = (
        Redis::start().unwrap(),
        Postgres::builder().replicas(1).start().unwrap(),
    );
    let nodes = [postgres.primary(), postgres.replica(0)];
    let mut servers: Vec<_> = nodes
        .iter()
        .map(|node| (node.pid().unwrap(), node.directory().unwrap()))
        .collect();
    servers.push((redis.pid().unwrap(), redis.directory().unwrap()));
    assert!(
        servers
            .iter()
            .all(|(pid, directory)| runs(*pid) && !working_in(directory).is_empty())
    );
    drop((redis, postgres));
    for (pid, directory) in servers {
        assert!(
            !runs(pid) && working_in(&directory).is_empty() && !directory.exists(),
            "drop waits for the end"
        );
    }
}

#[test]
fn nothing_is_left_after_a_drop_of_killed_and_paused_servers() {
    let (redis, postgres) = (
        Redis::start().unwrap(),
        Postgres::builder().replicas(1).start().unwrap(),
    );
    let directories = [
        redis.directory().unwrap(),
        postgres.primary().directory().unwrap(),
        postgres.replica(0).directory().unwrap(),
    ];
    redis.pause().unwrap();
    postgres.primary().kill().unwrap();
    postgres.replica(0).pause().unwrap();
    drop((redis, postgres));
    for directory in directories {
        assert!(working_in(&directory).is_empty() && !directory.exists());
    }
}

#[test]
fn nothing_is_left_after_the_end_of_main() {
    let place = Place::make("the_end_of_main");
    Holder::start("return", &place).assert_nothing_is_left(|status| status.success());
}

#[test]
fn nothing_is_left_after_a_panic() {
    let place = Place::make("a_panic");
    Holder::start("panic", &place).assert_nothing_is_left(|status| status.code() == Some(101));
}

#[test]
fn nothing_is_left_after_process_exit() {
    let place = Place::make("process_exit");
    Holder::start("exit", &place).assert_nothing_is_left(|status| status.code() == Some(3));
}

#[test]
fn nothing_is_left_after_kill_9() {
    let place = Place::make("kill_9");
    let holder = Holder::start("wait", &place);
    send("KILL", &holder.child.id().to_string());
    holder.assert_nothing_is_left(|status| status.code().is_none());
}

#[test]
fn nothing_is_left_after_kill_9_of_the_whole_group() {
    let place = Place::make("kill_9_of_the_whole_group");
    let holder = Holder::start("wait", &place);
    send("KILL", &format!("-{}", holder.child.id()));
    holder.assert_nothing_is_left(|status| status.code().is_none());
}

#[test]
fn nothing_is_left_after_kill_9_while_servers_are_stopped() {
    let place = Place::make("kill_9_while_servers_are_stopped");
    let holder = Holder::start("paused", &place);
    send("KILL", &holder.child.id().to_string());
    holder.assert_nothing_is_left(|status| status.code().is_none());
}

/// It writes until the end, so its directory must stay until then.
#[test]
fn nothing_is_left_of_a_stopped_mariadb_after_kill_9() {
    let place = Place::make("mariadb");
    let holder = Holder::start("mariadb", &place);
    send("KILL", &holder.child.id().to_string());
    holder.assert_nothing_is_left(|status| status.code().is_none());
}

#[test]
fn what_a_killed_guardian_leaves_is_swept_by_the_next_process() {
    let place = Place::make("sweep");
    let holder = Holder::start("wait", &place);
    for (_, directory) in &holder.servers {
        let guardian = fs::read_to_string(directory.join("guardian")).unwrap();
        send("KILL", guardian.trim());
    }
    send("KILL", &holder.child.id().to_string());
    eventually(LIMIT, || !runs(holder.child.id()));
    assert!(
        holder
            .servers
            .iter()
            .all(|(pid, directory)| runs(*pid) && directory.exists()),
        "nobody is there to clean up"
    );
    Holder::start("return", &place).assert_nothing_is_left(|status| status.success());
    holder.assert_nothing_is_left(|status| status.code().is_none());
}
