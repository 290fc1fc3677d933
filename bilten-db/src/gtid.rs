//! Global transaction ids of MySQL and MariaDB: which transactions a server has, as values that compare.
//!
//! MariaDB tells the last transaction of each domain (`0-1-1042`: domain, server that wrote it, number), and everything
//! before it is there too. MySQL tells runs of numbers for each server that ever wrote
//! (`3e11fa47-71ca-11e1-9e33-c80aa9429562:1-77:80`), with gaps. Both become runs of numbers by origin.

/// The line in which a primary numbers its own transactions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line {
    /// MariaDB: the domain. MySQL: the first half of the server's UUID.
    pub(crate) source: u64,
    /// MariaDB: the server that wrote last, so that a line changes with the primary. MySQL: the end of the UUID.
    pub(crate) writer: u32,
}

/// The transactions that a server has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gtids {
    /// Where the server itself writes; `None` when it never did, or when that is not clear.
    own: Option<Line>,
    origins: Vec<Origin>,
    flavour: Flavour,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flavour {
    /// Numbers go on in a domain when another server takes over.
    MariaDb,
    /// Each server counts for itself.
    MySql,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin {
    line: Line,
    /// In order, neither overlapping nor touching.
    runs: Vec<Run>,
}

/// Numbers from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Run {
    first: u64,
    last: u64,
}

impl Gtids {
    /// From `gtid_current_pos` or `gtid_slave_pos`, and the domain in which this server would write. `None` when the
    /// text is not understood.
    pub(crate) fn of_mariadb(domain: u64, position: &str) -> Option<Self> {
        let entries = position.split(',').map(str::trim);
        let origins = entries
            .filter(|entry| !entry.is_empty())
            .map(mariadb_origin)
            .collect::<Option<Vec<_>>>()?;
        let mut lines = origins.iter().map(|origin| origin.line);
        Some(Self {
            own: lines.find(|line| line.source == domain),
            origins,
            flavour: Flavour::MariaDb,
        })
    }

    /// From `gtid_executed` and `server_uuid`. `None` when the text is not understood.
    pub(crate) fn of_mysql(server_uuid: &str, executed: &str) -> Option<Self> {
        let mut origins = Vec::new();
        let entries = executed.split(',').map(str::trim);
        for entry in entries.filter(|entry| !entry.is_empty()) {
            mysql_origins(entry, &mut origins)?;
        }
        for Origin { runs, .. } in &mut origins {
            *runs = merged(std::mem::take(runs));
        }
        let server = uuid_line(server_uuid)?;
        let mut named = origins
            .iter()
            .map(|origin| origin.line)
            .filter(|line| line.source == server.source);
        // With tags a server writes several lines, and one point cannot stand for all of them.
        let own = match (named.next(), named.next()) {
            (Some(only), None) => Some(only),
            _ => None,
        };
        Some(Self {
            own,
            origins,
            flavour: Flavour::MySql,
        })
    }

    /// The last transaction of the server's own line.
    pub(crate) fn point(&self) -> Option<(Line, u64)> {
        let own = self.own?;
        let last = self.origin(own)?.runs.last()?.last;
        Some((own, last))
    }

    /// Whether everything is here that `primary` had when its own line had come to `position`, perhaps after it was seen: what
    /// it wrote since then is in one line with what it had.
    pub(crate) fn has(&self, primary: &Self, line: Line, position: u64) -> bool {
        if primary.own != Some(line) {
            return false;
        }
        let (Some(wanted), Some(here)) = (primary.origin(line), self.origin(line)) else {
            return false;
        };
        let mut runs = wanted.runs.iter().filter(|run| run.first <= position);
        let Some(newest) = runs.next_back() else {
            return false;
        };
        let last = match wanted.runs.last() == Some(newest) {
            true => position,
            false => newest.last.min(position),
        };
        let newest = Run { last, ..*newest };
        let reached = here.runs.last().is_some_and(|run| run.last >= position);
        reached && here.covers_all(runs.chain([&newest]).copied())
    }

    /// Whether the position is that of all transactions of the server, wherever they came from. MariaDB tells a standby's by
    /// what it replicated.
    pub(crate) fn are_executed(&self) -> bool {
        self.flavour == Flavour::MySql
    }

    /// Whether all transactions of `other` are here too, whatever its history. Never known with MariaDB, whose numbers do not
    /// tell two histories apart.
    pub(crate) fn has_all_of(&self, other: &Self) -> bool {
        self.flavour == Flavour::MySql && self.covers(other)
    }

    /// Whether all transactions of `other` are here too, of a server of the same history.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let has = |origin: &Origin| {
            let here = self.origins.iter().find(|here| self.is_same(here, origin));
            here.is_some_and(|here| here.covers_all(origin.runs.iter().copied()))
        };
        other.origins.iter().all(has)
    }

    /// How many transactions of `primary` are here.
    pub(crate) fn share_of(&self, primary: &Self) -> u64 {
        let shared = |origin: &Origin| {
            let here = self.origins.iter().find(|here| self.is_same(here, origin));
            here.map_or(0, |here| common(&here.runs, &origin.runs))
        };
        let shares = primary.origins.iter().map(shared);
        shares.fold(0, u64::saturating_add)
    }

    fn is_same(&self, one: &Origin, other: &Origin) -> bool {
        match self.flavour {
            Flavour::MariaDb => one.line.source == other.line.source,
            Flavour::MySql => one.line == other.line,
        }
    }

    fn origin(&self, line: Line) -> Option<&Origin> {
        self.origins.iter().find(|origin| origin.line == line)
    }
}

impl Origin {
    /// `wanted` in order, as the own runs are: both are walked once.
    fn covers_all(&self, mut wanted: impl Iterator<Item = Run>) -> bool {
        let mut runs = self.runs.iter().peekable();
        wanted.all(|wanted| {
            while runs.next_if(|run| run.last < wanted.first).is_some() {}
            let run = runs.peek();
            run.is_some_and(|run| run.first <= wanted.first && wanted.last <= run.last)
        })
    }
}

/// `domain-server-number`
fn mariadb_origin(entry: &str) -> Option<Origin> {
    let mut parts = entry.split('-');
    let source = parts.next()?.parse().ok()?;
    let writer = parts.next()?.parse().ok()?;
    let last = parts.next()?.parse().ok()?;
    parts.next().is_none().then(|| Origin {
        line: Line { source, writer },
        runs: vec![Run { first: 1, last }],
    })
}

/// `uuid:1-5:7`, and since MySQL 8.3 `uuid:1-5:tag:1-3`.
fn mysql_origins(entry: &str, origins: &mut Vec<Origin>) -> Option<()> {
    let mut parts = entry.split(':').map(str::trim);
    let server = uuid_line(parts.next()?)?;
    let mut line = server;
    for part in parts {
        if part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            line.writer = server.writer ^ tag_number(part);
            continue;
        }
        let run = run(part)?;
        match origins.iter_mut().find(|origin| origin.line == line) {
            Some(origin) => origin.runs.push(run),
            None => origins.push(Origin {
                line,
                runs: vec![run],
            }),
        }
    }
    Some(())
}

/// `7` or `1-5`.
fn run(text: &str) -> Option<Run> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (1 <= first && first <= last).then_some(Run { first, last })
}

/// A server by its UUID; half of it and the end of the rest tell servers apart.
fn uuid_line(uuid: &str) -> Option<Line> {
    let digits: String = uuid.chars().filter(|c| *c != '-').collect();
    if digits.len() != 32 || !digits.is_ascii() {
        return None;
    }
    Some(Line {
        source: u64::from_str_radix(&digits[..16], 16).ok()?,
        writer: u32::from_str_radix(&digits[24..], 16).ok()?,
    })
}

/// FNV-1a over the lower case.
fn tag_number(tag: &str) -> u32 {
    let bytes = tag.bytes().map(|byte| byte.to_ascii_lowercase());
    bytes.fold(0x811c_9dc5, |number: u32, byte| {
        (number ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

fn merged(mut runs: Vec<Run>) -> Vec<Run> {
    runs.sort_unstable();
    let mut merged: Vec<Run> = Vec::with_capacity(runs.len());
    for run in runs {
        match merged.last_mut() {
            Some(before) if run.first <= before.last.saturating_add(1) => {
                before.last = before.last.max(run.last);
            }
            _ => merged.push(run),
        }
    }
    merged
}

/// How many numbers are in both.
fn common(one: &[Run], other: &[Run]) -> u64 {
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    let mut count: u64 = 0;
    while let (Some(a), Some(b)) = (one.peek(), other.peek()) {
        let (first, last) = (a.first.max(b.first), a.last.min(b.last));
        if first <= last {
            count = count.saturating_add((last - first).saturating_add(1));
        }
        if a.last <= b.last {
            one.next();
        } else {
            other.next();
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: &str = "3E11FA47-71CA-11E1-9E33-C80AA9429562";
    const B: &str = "4f22fa47-71ca-11e1-9e33-c80aa9429562";

    fn maria(position: &str) -> Gtids {
        Gtids::of_mariadb(0, position).unwrap()
    }

    fn mysql(executed: &str) -> Gtids {
        Gtids::of_mysql(
            A,
            &executed
                .replace("A:", &format!("{A}:"))
                .replace("B:", &format!("{B}:")),
        )
        .unwrap()
    }

    fn reaches(replica: &Gtids, primary: &Gtids) -> bool {
        let (line, position) = primary.point().unwrap();
        replica.has(primary, line, position)
    }

    #[test]
    fn mariadb_is_reached_by_number_within_the_line_of_one_writer() {
        let table = [
            ("0-1-100", "0-1-100", true),
            ("0-1-100", "0-1-101", true),
            ("0-1-100", "0-1-99", false),
            ("0-1-100", "", false),
            // Another server wrote last: the numbers may mean other transactions.
            ("0-1-100", "0-2-100", false),
            ("0-1-100,5-3-7", "5-3-7,0-1-100", true),
            ("0-1-100", "5-1-100", false),
        ];
        for (primary, replica, reached) in table {
            assert_eq!(
                reaches(&maria(replica), &maria(primary)),
                reached,
                "{replica} of {primary}"
            );
        }
    }

    #[test]
    fn mysql_is_reached_when_nothing_of_the_own_line_is_missing() {
        let table = [
            ("A:1-100", "A:1-100", true),
            ("A:1-100", "A:1-100, B:1-3", true),
            ("A:1-100", "A:1-50:52-100", false),
            ("A:1-50:52-100", "A:1-50:52-100", true),
            ("A:1-50:52-100", "A:1-50", false),
            ("A:1-100", "B:1-100", false),
            ("A:1-100,\nB:1-7", "A:1-100", true),
        ];
        for (primary, replica, reached) in table {
            assert_eq!(
                reaches(&mysql(replica), &mysql(primary)),
                reached,
                "{replica} of {primary}"
            );
        }
        // The primary was seen before it wrote what the token stands for.
        let (seen, gap) = (mysql("A:1-100"), mysql("A:1-100:150"));
        let (line, _) = seen.point().unwrap();
        assert!(!gap.has(&seen, line, 150) && gap.has(&seen, line, 100));
        assert!(mysql("A:1-150").has(&seen, line, 150));
        assert!(!mysql("A:1-149").has(&seen, line, 150));
        let (primary, replica) = (mysql("A:1-100"), mysql("A:1-60"));
        let (line, _) = primary.point().unwrap();
        assert!(replica.has(&primary, line, 60) && !replica.has(&primary, line, 61));
    }

    #[test]
    fn a_server_that_never_wrote_has_no_point() {
        assert_eq!(maria("").point(), None);
        assert_eq!(maria("7-1-5").point(), None);
        assert_eq!(mysql("").point(), None);
        assert_eq!(mysql("B:1-5").point(), None);
        assert_eq!(mysql("A:1-5").point().map(|(_, last)| last), Some(5));
        // Two lines of one server: neither stands for both.
        assert_eq!(mysql("A:1-5:nightly:1-3").point(), None);
    }

    #[test]
    fn the_share_counts_what_both_have() {
        let maria_table = [
            ("0-1-100", "0-1-90", 90),
            // After a promotion the numbers go on.
            ("0-2-104", "0-1-103", 103),
            ("0-1-100", "0-1-120", 100),
            ("0-1-100,1-1-5", "0-1-100", 100),
            ("0-1-100", "", 0),
        ];
        for (primary, replica, share) in maria_table {
            assert_eq!(
                maria(replica).share_of(&maria(primary)),
                share,
                "{replica} of {primary}"
            );
        }
        let mysql_table = [
            ("A:1-100", "A:1-90", 90),
            ("A:1-100, B:1-10", "A:1-90:95, B:1-20", 101),
            // What the primary has not is no progress.
            ("A:1-100", "A:1-90, B:1-50", 90),
            ("A:1-3:5-7", "A:2-6", 4),
        ];
        for (primary, replica, share) in mysql_table {
            assert_eq!(
                mysql(replica).share_of(&mysql(primary)),
                share,
                "{replica} of {primary}"
            );
        }
        let all = mysql("A:1-3:5-7, B:9");
        assert_eq!(all.share_of(&all), 7);
    }

    #[test]
    fn tags_are_lines_of_their_own() {
        let primary = mysql("A:1-5:nightly:1-3");
        assert_eq!(mysql("A:1-5").share_of(&primary), 5);
        assert_eq!(mysql("A:NIGHTLY:1-2:1-1").share_of(&primary), 2);
        assert_eq!(mysql("A:1-5:weekly:1-3").share_of(&primary), 5);
    }

    #[test]
    fn runs_are_merged_whatever_their_order() {
        assert_eq!(mysql("A:7-9:1-3:4:5-8"), mysql("A:1-9"));
    }

    #[test]
    fn what_is_not_understood_is_unknown() {
        for position in [
            "0-1",
            "0-1-2-3",
            "x",
            "0-1-",
            "-",
            "0--1-2",
            "0-1-18446744073709551616",
        ] {
            assert_eq!(Gtids::of_mariadb(0, position), None, "{position}");
        }
        for executed in ["x", "A", "A:1-", "A:5-1", "A:0", "A:1:-", "A:1é"] {
            let executed = executed.replace('A', A);
            let parsed = Gtids::of_mysql(A, &executed);
            let is_bare = executed == A;
            assert_eq!(parsed.is_none(), !is_bare, "{executed}");
        }
        assert_eq!(Gtids::of_mysql("no uuid", ""), None);
    }

    proptest! {
        #[test]
        fn any_text_is_understood_or_unknown(text in "[-0-9a-f:, ]{0,60}|.{0,40}") {
            let _ = Gtids::of_mariadb(0, &text);
            let _ = Gtids::of_mysql(A, &text);
        }

        /// Walking both once finds what looking up each finds.
        #[test]
        fn what_is_covered_is_covered_one_by_one(here in runs(), wanted in runs()) {
            let line = Line { source: 1, writer: 1 };
            let holds = |wanted: &Run| {
                here.iter().any(|run| run.first <= wanted.first && wanted.last <= run.last)
            };
            let slow = wanted.iter().all(holds);
            let origin = Origin { line, runs: here.clone() };
            prop_assert_eq!(origin.covers_all(wanted.into_iter()), slow);
        }

        /// The quick count is the count one by one.
        #[test]
        fn common_numbers_are_counted(one in runs(), other in runs()) {
            let is_in = |runs: &[Run], n| runs.iter().any(|run| (run.first..=run.last).contains(&n));
            let slow = (1..=60).filter(|n| is_in(&one, *n) && is_in(&other, *n)).count();
            prop_assert_eq!(common(&one, &other), u64::try_from(slow).unwrap());
        }
    }

    fn runs() -> impl Strategy<Value = Vec<Run>> {
        let run = (1_u64..50, 0_u64..10).prop_map(|(first, more)| Run {
            first,
            last: first + more,
        });
        prop::collection::vec(run, 0..8).prop_map(merged)
    }
}
