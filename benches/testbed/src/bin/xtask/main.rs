//! `cargo xtask`: the developer commands of bilten, in Rust's standard library alone.
#![allow(clippy::print_stdout)]

mod ci;

mod bench;
mod check;
mod demo;
mod test;

mod browser;
mod doctor;
mod servers;

mod arguments;
mod failure;
mod machine;
mod step;
mod version;
mod workspace;

use std::process::ExitCode;

use arguments::Arguments;
use failure::Failure;
use workspace::Workspace;

/// One command of the list.
struct Command {
    usage: &'static str,
    summary: &'static str,
    usual: &'static str,
    /// One line for each word it takes.
    options: &'static str,
    run: fn(&Workspace, Arguments) -> Result<(), Failure>,
}

const COMMANDS: [Command; 7] = [
    Command {
        usage: demo::USAGE,
        summary: "build and run a service that uses all four crates",
        usual: "4 min the first time, 5 s later",
        options: demo::OPTIONS,
        run: demo::run,
    },
    Command {
        usage: test::USAGE,
        summary: "every test, on a real Redis and a real PostgreSQL with two replicas",
        usual: "10 min the first time, 4 min later",
        options: test::OPTIONS,
        run: test::run,
    },
    Command {
        usage: check::USAGE,
        summary: "format, lints, docs, module cycles, sizes, names, packages",
        usual: "7 min the first time, 1 min later",
        options: check::OPTIONS,
        run: check::run,
    },
    Command {
        usage: bench::USAGE,
        summary: "benchmarks; `peers` runs other caches on the same work, `outage` draws the readme's picture",
        usual: "10 min",
        options: bench::OPTIONS,
        run: bench::run,
    },
    Command {
        usage: servers::USAGE,
        summary: "Redis and PostgreSQL with two replicas for work by hand, until Ctrl-C",
        usual: "3 s to start",
        options: "",
        run: servers::run,
    },
    Command {
        usage: doctor::USAGE,
        summary: "what is missing on this machine, and the line that mends it",
        usual: "1 s",
        options: "",
        run: doctor::run,
    },
    Command {
        usage: ci::USAGE,
        summary: "what the hosted runs do: check, test, a minute of chaos and one of fuzzing, both smoke runs, every benchmark once",
        usual: "25 min the first time, 8 min later",
        options: "",
        run: ci::run,
    },
];

impl Command {
    /// The word after `cargo xtask`.
    fn name(&self) -> &'static str {
        self.usage.split(' ').nth(2).unwrap_or_default()
    }

    fn help(&self) -> String {
        let Self {
            usage,
            summary,
            usual,
            options,
            ..
        } = self;
        let text = format!("{usage}\n\n{summary} (usually {usual})\n");
        if options.is_empty() {
            text
        } else {
            // The first line of a text that goes on behind a backslash has lost its indent.
            format!("{text}\n  {options}\n")
        }
    }

    fn find(name: &str) -> Result<&'static Self, Failure> {
        let found = COMMANDS.iter().find(|command| command.name() == name);
        found.ok_or_else(|| {
            let names = COMMANDS.each_ref().map(Self::name).join(", ");
            Failure::usage(format!("no command is called `{name}`"))
                .remedy(format!("one of {names}; `cargo xtask` says what they do"))
        })
    }
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    match dispatch(words.next().as_deref(), words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_told() {
                eprintln!("\nxtask: {failure}");
            }
            ExitCode::from(failure.code())
        }
    }
}

fn dispatch(name: Option<&str>, words: impl Iterator<Item = String>) -> Result<(), Failure> {
    let mut arguments = Arguments::new(words);
    let name = match name {
        Some("help" | "-h" | "--help") => {
            let (names, _) = arguments.rest("cargo xtask help [COMMAND]")?;
            match names.first() {
                Some(name) => print!("{}", Command::find(name)?.help()),
                None => print!("{}", list()),
            }
            return Ok(());
        }
        Some(name) => name,
        None => {
            print!("{}", list());
            return Ok(());
        }
    };
    let command = Command::find(name)?;
    if arguments.flag("--help") || arguments.flag("-h") {
        print!("{}", command.help());
        return Ok(());
    }
    (command.run)(&Workspace::find()?, arguments)
}

fn list() -> String {
    let mut text = "The commands, with their usual time:\n\n".to_owned();
    for command in &COMMANDS {
        text += &format!(
            "  {}\n      {} ({})\n",
            command.usage, command.summary, command.usual
        );
    }
    text + "\n`cargo xtask help COMMAND` describes what one takes.\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_listed_once_with_its_time() {
        let list = list();
        for command in &COMMANDS {
            assert_eq!(list.matches(command.usage).count(), 1, "{}", command.usage);
            assert!(!command.usual.is_empty());
        }
    }

    #[test]
    fn the_help_of_a_command_describes_every_word_of_its_usage() {
        for command in &COMMANDS {
            let help = command.help();
            let options = help.lines().skip(4);
            assert!(options.clone().all(|line| line.starts_with("  ")), "{help}");
            let words = command.usage.split(['[', ']', '|', ' ', '.']);
            for word in words.skip(3).filter(|word| word.len() > 2) {
                assert!(command.options.contains(word), "{word}: {help}");
            }
        }
    }

    #[test]
    fn an_unknown_command_lists_the_names() {
        for words in [["tets"], ["help"]] {
            let after = ["tets".to_owned()].into_iter();
            let failure = dispatch(words.first().copied(), after).expect_err("unknown");
            assert_eq!(failure.code(), 2);
            assert!(
                failure.to_string().contains("demo, test, check"),
                "{failure}"
            );
        }
    }
}
