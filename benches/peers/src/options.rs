//! The command line.

use std::path::PathBuf;

pub(crate) const HELP: &str = "\
The same cache work through several caches, in interleaved rounds.

usage: bilten-peers [--quick] [--only PEER]... [--scenario NAME]... [--rounds N]
                    [--markdown FILE] [--json FILE]

  --quick            fewer keys and rounds: under a minute, ratios are rough
  --only PEER        run this peer only (and the baselines); may be repeated
  --scenario NAME    run this scenario only; may be repeated
  --rounds N         rounds per figure (7, with --quick 3)
  --markdown FILE    write the tables as Markdown as well
  --json FILE        write every figure as JSON as well
  --list             names of peers and scenarios
";

/// Asked of a process of our own, with a peer and a number of entries; see the scenario of that name.
pub(crate) const RESIDENT: &str = "--resident";

/// What to run and where to write it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) quick: bool,
    pub(crate) list: bool,
    pub(crate) help: bool,
    pub(crate) only: Vec<String>,
    pub(crate) scenarios: Vec<String>,
    pub(crate) rounds: Option<usize>,
    pub(crate) markdown: Option<PathBuf>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) resident: Option<(String, usize)>,
}

impl Options {
    /// # Errors
    ///
    /// An unknown option, a missing value, or a number of rounds that is not one.
    pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        let mut args = args.into_iter();
        while let Some(arg) = args.next() {
            let mut value = || {
                args.next()
                    .ok_or_else(|| format!("{arg} needs a value; see --help"))
            };
            match arg.as_str() {
                "--quick" => options.quick = true,
                "--list" => options.list = true,
                "--help" | "-h" => options.help = true,
                "--only" => options.only.push(value()?),
                "--scenario" => options.scenarios.push(value()?),
                "--rounds" => options.rounds = Some(rounds(&value()?)?),
                "--markdown" => options.markdown = Some(value()?.into()),
                RESIDENT => {
                    let (peer, entries) = (value()?, value()?);
                    let entries = entries
                        .parse()
                        .map_err(|_| format!("{entries} is no number"))?;
                    options.resident = Some((peer, entries));
                }
                "--json" => options.json = Some(value()?.into()),
                other => return Err(format!("unknown option {other}; see --help")),
            }
        }
        Ok(options)
    }
}

fn rounds(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(rounds) if rounds > 0 => Ok(rounds),
        _ => Err(format!(
            "--rounds takes a whole number above zero, not {text}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_read_in_any_order() {
        let options = parse("--only moka --quick --rounds 5 --only diy --json out.json").unwrap();
        assert!(options.quick);
        assert_eq!(options.only, ["moka", "diy"]);
        assert_eq!(options.rounds, Some(5));
        assert_eq!(options.json, Some("out.json".into()));
    }

    #[test]
    fn mistakes_are_named() {
        assert!(parse("--fast").unwrap_err().contains("--fast"));
        assert!(parse("--only").unwrap_err().contains("needs a value"));
        assert!(parse("--rounds 0").unwrap_err().contains("above zero"));
    }
}
