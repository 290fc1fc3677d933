//! A node in a process of its own: this test binary, started again. It and its parent talk in lines.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::driver::Driver;
use crate::event::{Event, What, now};
use crate::source::{Questions, Source, Truth, answer};
use crate::{DEADLINE, on_redis};

/// Set in a child: its number, the number of nodes, the seed, the client, the server's URL.
pub(crate) const CHILD: &str = "BILTEN_CHAOS_NODE";

/// Before each of the child's lines, because the test runner writes to the same place.
const MARK: char = '~';

/// A child, seen from its parent.
pub(crate) struct Process {
    commands: mpsc::UnboundedSender<String>,
    quiet: oneshot::Receiver<()>,
    kill: oneshot::Sender<()>,
    undone: Undone,
    end: JoinHandle<()>,
}

/// Keys whose source a child has changed, and when, as long as it has not said that everybody knows.
#[derive(Clone, Default)]
struct Undone(Arc<Mutex<HashMap<u32, u64>>>);

impl Undone {
    /// Looks for a change of the source in what the child asks, which has no answer yet.
    fn asked(&self, question: &str) {
        let mut words = question.split(' ');
        if let (Some("B"), Some(_), Some(key)) = (words.next(), words.next(), words.next()) {
            let key = key.parse().expect("a key");
            self.0.lock().unwrap().insert(key, now());
        }
    }

    fn done(&self, event: &Event) {
        if let What::Change {
            takes,
            everywhere: true,
        } = event.what
        {
            let mut undone = self.0.lock().unwrap();
            undone.retain(|key, changed| !takes.takes(*key) || event.start < *changed);
        }
    }
}

impl Process {
    pub(crate) fn start(
        test: &str,
        settings: String,
        source: Arc<Source>,
        events: mpsc::UnboundedSender<Event>,
    ) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture", "--test-threads=1"])
            .env(CHILD, settings)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (commands, mut to_child) = mpsc::unbounded_channel::<String>();
        let (is_quiet, quiet) = oneshot::channel();
        tokio::spawn(async move {
            while let Some(line) = to_child.recv().await {
                if stdin
                    .write_all(format!("{line}\n").as_bytes())
                    .await
                    .is_err()
                {
                    return;
                }
            }
        });
        let answers = commands.downgrade();
        let (kill, mut killed) = oneshot::channel();
        let undone = Undone::default();
        let noted = undone.clone();
        let end = tokio::spawn(async move {
            let (mut is_quiet, mut is_killed, mut may_be) = (Some(is_quiet), false, true);
            loop {
                let line = tokio::select! {
                    told = &mut killed, if may_be => {
                        may_be = false;
                        if told.is_ok() {
                            is_killed = true;
                            child.start_kill().unwrap();
                        }
                        continue;
                    }
                    line = lines.next_line() => line,
                };
                let Ok(Some(line)) = line else { break };
                let Some((_, line)) = line.split_once(MARK) else {
                    continue;
                };
                if let Some(event) = line.strip_prefix("E ") {
                    let event = Event::decode(event).expect("an event");
                    noted.done(&event);
                    let _ = events.send(event);
                } else if line == "quiet" {
                    let _ = is_quiet.take().map(|sender| sender.send(()));
                } else {
                    noted.asked(line);
                    let answer = answer(&source, line);
                    if let (Some(answer), Some(commands)) = (answer, answers.upgrade()) {
                        let _ = commands.send(answer);
                    }
                }
            }
            let status = child.wait().await.unwrap();
            assert!(status.success() || is_killed, "a node ended with {status}");
        });
        Self {
            commands,
            quiet,
            kill,
            undone,
            end,
        }
    }

    /// `kill -9`, in the middle of whatever it does. The keys whose source it had changed and of which not everybody knows.
    pub(crate) async fn kill(self) -> Vec<u32> {
        self.kill.send(()).expect("it lives");
        tokio::time::timeout(DEADLINE, self.end)
            .await
            .expect("a node dies")
            .unwrap();
        let undone = self.undone.0.lock().unwrap();
        undone.keys().copied().collect()
    }

    pub(crate) fn stop(&self) {
        self.commands.send("stop".into()).unwrap();
    }

    /// Waits until it has stopped and nothing waits in it.
    pub(crate) async fn quiet(&mut self) {
        // Longer than the child's own, which says what it waits for.
        tokio::time::timeout(DEADLINE + DEADLINE / 4, &mut self.quiet)
            .await
            .expect("a node becomes quiet")
            .expect("a node lives");
    }

    /// Lets it read everything until then and end.
    pub(crate) async fn finish(self, settled: u64) {
        self.commands.send(format!("settled {settled}")).unwrap();
        tokio::time::timeout(DEADLINE, self.end)
            .await
            .expect("a node ends")
            .unwrap();
    }
}

/// The life of a child.
pub(crate) async fn live(settings: &str) {
    let words: Vec<&str> = settings.split(' ').collect();
    let [node, nodes, seed, client, url] = words[..] else {
        panic!("{CHILD} is `{settings}`");
    };
    let (out, lines) = mpsc::unbounded_channel();
    let questions = Arc::new(Questions::new(out.clone()));
    let (events, mut happened) = mpsc::unbounded_channel::<Event>();
    let writer = tokio::spawn(write(lines));
    let forward = tokio::spawn({
        let out = out.clone();
        async move {
            while let Some(event) = happened.recv().await {
                let _ = out.send(format!("E {}", event.encode()));
            }
        }
    });
    let node = node.parse().unwrap();
    let driver = Driver::new(
        (node, nodes.parse().unwrap()),
        on_redis(node, client, url.to_owned()),
        Truth::There(Arc::clone(&questions)),
        events,
    )
    .await;
    let mut workers = Some(driver.start(seed.parse().unwrap(), true));
    let mut commands = BufReader::new(tokio::io::stdin()).lines();
    while let Ok(Some(line)) = commands.next_line().await {
        if line == "stop" {
            let (driver, out, workers) = (Arc::clone(&driver), out.clone(), workers.take());
            tokio::spawn(async move {
                driver.stop();
                workers.expect("stopped once").join_all().await;
                become_quiet(&driver).await;
                let _ = out.send("quiet".into());
            });
        } else if let Some(settled) = line.strip_prefix("settled ") {
            driver.read_until(settled.parse().unwrap()).await;
            break;
        } else {
            questions.answered(&line);
        }
    }
    drop((driver, workers));
    forward.await.unwrap();
    drop((out, questions));
    writer.await.unwrap();
}

async fn write(mut lines: mpsc::UnboundedReceiver<String>) {
    let mut stdout = tokio::io::stdout();
    while let Some(line) = lines.recv().await {
        let line = format!("{MARK}{line}\n");
        if stdout.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
    let _ = stdout.flush().await;
}

/// Waits until a node has been connected, with nothing waiting, for longer than a call on its way can take.
pub(crate) async fn become_quiet(driver: &Driver) {
    let begun = tokio::time::Instant::now();
    let mut seen = 0;
    while seen < 20 {
        let passed = begun.elapsed();
        assert!(
            passed < DEADLINE,
            "does not become quiet: after {passed:?} {}",
            driver.state()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
        seen = if driver.is_quiet() { seen + 1 } else { 0 };
    }
    eprintln!("quiet after {:?}: {}", begun.elapsed(), driver.state());
}
