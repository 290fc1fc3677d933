//! Runs scenarios over peers in interleaved rounds.

use std::io::{IsTerminal, Write};
use std::sync::Arc;

use crate::contenders::{Contender, MEMORY_BASELINE, REDIS_BASELINE};
use crate::measure::Spread;
use crate::peer::Failure;
use crate::report::{Row, Table};
use crate::scenarios::{Plan, Round, Sample, Scenario, Stand};
use crate::server::Server;

/// A peer within one scenario, with the figures of its rounds so far.
struct Entry {
    name: &'static str,
    state: State,
}

enum State {
    Running { round: Round, samples: Vec<Sample> },
    Failed(String),
}

/// Readies every peer, then lets them take turns, so that a slow minute of the machine meets
/// all of them.
pub(crate) async fn run(
    scenario: Scenario,
    contenders: &[Contender],
    server: &Arc<Server>,
    plan: Plan,
) -> Result<Table, Failure> {
    server.flush().await?;
    let name = scenario.name();
    let mut entries = Vec::new();
    for (number, contender) in contenders.iter().enumerate() {
        let redis_url = server.url(number);
        let stand = Stand {
            server: Arc::clone(server),
            redis_url,
            plan,
        };
        progress(format_args!("{name}: {} gets ready", contender.name));
        let state = match contender.prepare(scenario, stand).await {
            Ok(Some(round)) => State::Running {
                round,
                samples: Vec::new(),
            },
            Ok(None) => continue,
            Err(failure) => State::Failed(failure.to_string()),
        };
        entries.push(Entry {
            name: contender.name,
            state,
        });
    }
    let rounds = scenario.rounds(&plan);
    for number in 0..rounds {
        // Each round begins with another peer: nobody is always first after a pause.
        let first = number % entries.len().max(1);
        entries.rotate_left(first);
        for entry in &mut entries {
            let round = number + 1;
            progress(format_args!(
                "{name}: round {round} of {rounds}, {}",
                entry.name
            ));
            entry.turn().await;
        }
        entries.rotate_right(first);
    }
    progress(format_args!(""));
    let rows = entries
        .into_iter()
        .map(|entry| entry.row(scenario.columns().len()))
        .collect();
    Ok(Table {
        scenario,
        about: scenario.about(&plan),
        baseline: if scenario.is_about_redis() {
            REDIS_BASELINE
        } else {
            MEMORY_BASELINE
        },
        rows,
    })
}

/// Says what is going on, in one line that the next one replaces: a whole run takes minutes. Nothing where nobody looks.
fn progress(what: std::fmt::Arguments<'_>) {
    let mut out = std::io::stderr();
    if out.is_terminal() {
        // It is only for people.
        let _ = write!(out, "\r\x1b[2K{what}").and_then(|()| out.flush());
    }
}

impl Entry {
    async fn turn(&mut self) {
        if let State::Running { round, samples } = &mut self.state {
            match round().await {
                Ok(sample) => samples.push(sample),
                Err(failure) => self.state = State::Failed(failure.to_string()),
            }
        }
    }

    fn row(self, columns: usize) -> Row {
        match self.state {
            State::Failed(failure) => Row {
                name: self.name,
                figures: Vec::new(),
                remark: None,
                failure: Some(failure),
            },
            State::Running { mut samples, .. } => {
                let column = |index| Spread::of(samples.iter().map(|s: &Sample| s.figures[index]));
                let figures = (0..columns).map(column).collect();
                let remark = samples.pop().and_then(|sample| sample.remark);
                Row {
                    name: self.name,
                    figures,
                    remark,
                    failure: None,
                }
            }
        }
    }
}
