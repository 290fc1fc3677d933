//! A node in a process of its own: this test binary, started again. It and its parent talk in lines.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::driver::Driver;
use crate::event::Event;
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
    end: JoinHandle<()>,
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
        let end = tokio::spawn(async move {
            let mut is_quiet = Some(is_quiet);
            while let Ok(Some(line)) = lines.next_line().await {
                let Some((_, line)) = line.split_once(MARK) else {
                    continue;
                };
                if let Some(event) = line.strip_prefix("E ") {
                    let _ = events.send(Event::decode(event).expect("an event"));
                } else if line == "quiet" {
                    let _ = is_quiet.take().map(|sender| sender.send(()));
                } else if let (Some(answer), Some(commands)) =
                    (answer(&source, line), answers.upgrade())
                {
                    let _ = commands.send(answer);
                }
            }
            let status = child.wait().await.unwrap();
            assert!(status.success(), "a node ended with {status}");
        });
        Self {
            commands,
            quiet,
            end,
        }
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
