//! Starts Redis and PostgreSQL, or MariaDB, says where they run, and ends in the way the first argument names.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::io::{Read, Write};

use bilten_testbed::{MariaDb, Postgres, Redis};

fn main() -> Result<(), Box<dyn Error>> {
    let way = std::env::args().nth(1).unwrap_or_default();
    if way == "mariadb" {
        let maria = MariaDb::start()?;
        let node = maria.primary();
        node.pause()?;
        println!("{} {}\nready", node.pid(), node.directory().display());
        return until_killed();
    }
    // Started by a thread that ends, as each test of a test binary is.
    let redis = std::thread::spawn(Redis::start)
        .join()
        .expect("a thread that does not panic")?;
    let postgres = Postgres::builder().replicas(1).start()?;
    for node in [postgres.primary(), postgres.replica(0)] {
        println!(
            "{} {}",
            node.pid().unwrap_or_default(),
            node.directory().unwrap_or_default().display()
        );
    }
    println!(
        "{} {}",
        redis.pid().unwrap_or_default(),
        redis.directory().unwrap_or_default().display()
    );
    if way == "paused" {
        redis.pause()?;
        postgres.primary().pause()?;
    }
    println!("ready");
    std::io::stdout().flush()?;
    match way.as_str() {
        "return" => Ok(()),
        "exit" => std::process::exit(3),
        "panic" => panic!("asked for"),
        _ => until_killed(),
    }
}

fn until_killed() -> Result<(), Box<dyn Error>> {
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
