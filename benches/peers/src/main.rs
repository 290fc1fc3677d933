//! The same cache work through bilten and what people would pick instead, in one run.

#![allow(clippy::print_stdout)]

mod contenders;
mod measure;
mod options;
mod peer;
mod report;
mod run;
mod scenarios;
mod server;
mod workload;

use std::fs::OpenOptions;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use contenders::{Contender, MEMORY_BASELINE, REDIS_BASELINE};
use options::{HELP, Options};
use peer::Failure;
use report::Setting;
use scenarios::{PANIC, Plan, Scenario};
use server::Server;

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1))
        .map_err(Failure::from)
        .and_then(|options| begin(&options))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn begin(options: &Options) -> Result<(), Failure> {
    if options.help {
        print!("{HELP}");
        return Ok(());
    }
    if options.list {
        list();
        return Ok(());
    }
    if let Some((peer, entries)) = &options.resident {
        return resident(peer, *entries);
    }
    let contenders = chosen_contenders(&options.only)?;
    let scenarios = chosen_scenarios(&options.scenarios)?;
    let mut plan = if options.quick {
        Plan::quick()
    } else {
        Plan::full()
    };
    plan.rounds = options.rounds.unwrap_or(plan.rounds);
    for file in options.markdown.iter().chain(&options.json) {
        can_be_written(file)?;
    }
    silence_intended_panics();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(compare(options, &contenders, &scenarios, plan))
}

/// What the scenario `resident` lets a process of its own do.
fn resident(peer: &str, entries: usize) -> Result<(), Failure> {
    let peer = contenders::all()
        .into_iter()
        .find(|contender| contender.name == peer);
    let peer = peer.ok_or("no such peer")?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    println!("{}", runtime.block_on(peer.resident(entries))?);
    Ok(())
}

async fn compare(
    options: &Options,
    contenders: &[Contender],
    scenarios: &[Scenario],
    plan: Plan,
) -> Result<(), Failure> {
    let started = Instant::now();
    let server = Arc::new(Server::start().await?);
    let setting = Setting {
        machine: machine(),
        redis: server.version().await?,
        unix_time: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
        rounds: plan.rounds,
        is_quick: options.quick,
        peers: contenders
            .iter()
            .map(|peer| (peer.name, peer.about))
            .collect(),
    };
    let mut tables = Vec::new();
    for &scenario in scenarios {
        let table = run::run(scenario, contenders, &server, plan).await?;
        print!("{}", report::text(&table));
        tables.push(table);
    }
    println!("\n{:.0} s in all", started.elapsed().as_secs_f64());
    if let Some(path) = &options.markdown {
        std::fs::write(path, report::markdown(&setting, &tables))?;
    }
    if let Some(path) = &options.json {
        std::fs::write(path, format!("{:#}\n", report::json(&setting, &tables)))?;
    }
    Ok(())
}

fn list() {
    println!("peers:");
    for peer in contenders::all() {
        println!("  {:<18} {:?}: {}", peer.name, peer.levels, peer.about);
    }
    println!("scenarios:");
    for scenario in Scenario::ALL {
        println!(
            "  {:<18} {}",
            scenario.name(),
            scenario.about(&Plan::full())
        );
    }
}

/// All peers, or the named ones with the two baselines.
fn chosen_contenders(only: &[String]) -> Result<Vec<Contender>, Failure> {
    let all = contenders::all();
    if let Some(unknown) = only
        .iter()
        .find(|name| all.iter().all(|peer| peer.name != **name))
    {
        return Err(format!("no peer is called {unknown}; see --list").into());
    }
    let is_chosen = |peer: &Contender| {
        let is_baseline = [MEMORY_BASELINE, REDIS_BASELINE].contains(&peer.name);
        only.is_empty() || is_baseline || only.iter().any(|name| name == peer.name)
    };
    Ok(all.into_iter().filter(is_chosen).collect())
}

fn chosen_scenarios(named: &[String]) -> Result<Vec<Scenario>, Failure> {
    if named.is_empty() {
        return Ok(Scenario::ALL.to_vec());
    }
    let find = |name: &String| {
        let found = Scenario::ALL
            .into_iter()
            .find(|scenario| scenario.name() == name);
        found.ok_or_else(|| format!("no scenario is called {name}; see --list").into())
    };
    named.iter().map(find).collect()
}

/// Told before minutes are spent on what goes there. What is in the file stays until then.
fn can_be_written(file: &Path) -> Result<(), Failure> {
    let open = OpenOptions::new().append(true).create(true).open(file);
    let unwritable = |error| format!("{} cannot be written: {error}", file.display());
    Ok(open.map(drop).map_err(unwritable)?)
}

/// One scenario lets loaders panic; their messages would drown the tables.
fn silence_intended_panics() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload_as_str() != Some(PANIC) {
            usual(info);
        }
    }));
}

/// Processor, number of cores and operating system, as far as Linux tells.
fn machine() -> String {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, model)| model.trim());
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{model}, {cores} cores, {} {}",
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_cannot_be_written_is_named_before_anything_runs() {
        let nowhere = std::env::temp_dir().join("bilten-no-such-folder/table.md");
        let failure = can_be_written(&nowhere).unwrap_err().to_string();
        assert!(
            failure.contains("table.md cannot be written: "),
            "{failure}"
        );
    }
}
