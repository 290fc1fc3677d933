//! Tables of figures, as text for the terminal, Markdown and JSON.

mod json;
mod markdown;
mod text;

use crate::measure::Spread;
use crate::scenarios::{Column, Scenario};

pub(crate) use json::json;
pub(crate) use markdown::markdown;
pub(crate) use text::text;

/// The figures of one scenario.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) scenario: Scenario,
    pub(crate) about: String,
    /// The peer that ratios are to.
    pub(crate) baseline: &'static str,
    pub(crate) rows: Vec<Row>,
}

/// One peer in one scenario.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// One per column; `None` where the figure does not apply to this peer.
    pub(crate) figures: Vec<Option<Spread>>,
    pub(crate) remark: Option<String>,
    pub(crate) failure: Option<String>,
}

/// Where and when a run took place.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) machine: String,
    pub(crate) redis: String,
    /// Seconds since 1970.
    pub(crate) unix_time: u64,
    pub(crate) rounds: usize,
    pub(crate) is_quick: bool,
    /// Name and set-up of each peer.
    pub(crate) peers: Vec<(&'static str, &'static str)>,
}

impl Setting {
    /// The date in UTC, `2026-11-23`.
    fn date(&self) -> String {
        let (year, month, day) = civil(self.unix_time / 86_400);
        format!("{year}-{month:02}-{day:02}")
    }

    fn sentence(&self) -> String {
        let length = if self.is_quick { "quick run, " } else { "" };
        let Self {
            machine,
            redis,
            rounds,
            ..
        } = self;
        let date = self.date();
        format!("{length}{date}, {machine}, Redis {redis}, {rounds} interleaved rounds")
    }
}

impl Table {
    /// The heading of each column after the peer's name.
    fn headings(&self) -> Vec<String> {
        let heading = |column: &Column| match column.compared {
            true => format!("{} (× {})", column.title, self.baseline),
            false => column.title.to_owned(),
        };
        self.scenario.columns().iter().map(heading).collect()
    }

    /// The cells of `row`, one per heading.
    fn cells(&self, row: &Row) -> Vec<String> {
        let columns = self.scenario.columns().iter().enumerate();
        columns
            .map(|(index, column)| self.cell(row, index, column))
            .collect()
    }

    fn cell(&self, row: &Row, index: usize, column: &Column) -> String {
        let Some(Some(spread)) = row.figures.get(index) else {
            return if row.failure.is_some() {
                "failed"
            } else {
                "–"
            }
            .to_owned();
        };
        let digits = column.decimals;
        let Spread { median, min, max } = spread;
        let mut cell = format!("{median:.digits$}");
        if format!("{min:.digits$}") != format!("{max:.digits$}") {
            cell.push_str(&format!(" [{min:.digits$}–{max:.digits$}]"));
        }
        if let Some(ratio) = self.ratio(row, index).filter(|_| column.compared) {
            cell.push_str(&format!(" {ratio:.2}×"));
        }
        cell
    }

    /// Median over the baseline's median.
    fn ratio(&self, row: &Row, index: usize) -> Option<f64> {
        let baseline = self.rows.iter().find(|row| row.name == self.baseline)?;
        let below = (*baseline.figures.get(index)?)?;
        let above = (*row.figures.get(index)?)?;
        (below.median > 0.0).then(|| above.median / below.median)
    }

    /// `peer: remark` for what the cells do not say.
    fn remarks(&self) -> impl Iterator<Item = String> {
        self.rows.iter().filter_map(|row| {
            let remark = row.failure.as_ref().or(row.remark.as_ref())?;
            Some(format!("{}: {remark}", row.name))
        })
    }
}

/// Year, month and day of a number of days since 1970-01-01, by Howard Hinnant's
/// `civil_from_days` (<https://howardhinnant.github.io/date_algorithms.html>).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &'static str, rounds: &[f64]) -> Row {
        let figures = vec![Spread::of(rounds.iter().copied()), Spread::of([0.0])];
        Row {
            name,
            figures,
            remark: None,
            failure: None,
        }
    }

    fn table(rows: Vec<Row>) -> Table {
        Table {
            scenario: Scenario::L1Hit,
            about: String::new(),
            baseline: "base",
            rows,
        }
    }

    #[test]
    fn a_cell_has_median_extremes_and_ratio() {
        let table = table(vec![
            row("base", &[100.0]),
            row("peer", &[150.0, 250.0, 400.0]),
        ]);
        assert_eq!(table.cells(&table.rows[0]), ["100 1.00×", "0.00"]);
        assert_eq!(table.cells(&table.rows[1]), ["250 [150–400] 2.50×", "0.00"]);
    }

    #[test]
    fn a_failed_peer_is_shown_with_its_reason() {
        let failed = Row {
            name: "peer",
            figures: vec![],
            remark: None,
            failure: Some("broke".into()),
        };
        let table = table(vec![failed]);
        assert_eq!(table.cells(&table.rows[0]), ["failed", "failed"]);
        assert_eq!(table.remarks().collect::<Vec<_>>(), ["peer: broke"]);
    }

    #[test]
    fn days_become_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(20_780), (2026, 11, 23));
    }
}
