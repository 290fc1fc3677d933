//! A table for the terminal.

use super::Table;

/// The table in aligned columns, with its remarks.
pub(crate) fn text(table: &Table) -> String {
    let mut lines = vec![[vec!["peer".to_owned()], table.headings()].concat()];
    for row in &table.rows {
        lines.push([vec![row.name.to_owned()], table.cells(row)].concat());
    }
    let widths: Vec<usize> = (0..lines[0].len())
        .map(|column| {
            lines
                .iter()
                .map(|line| line[column].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut out = format!("\n{}: {}\n\n", table.scenario.name(), table.about);
    for line in &lines {
        let padded = line
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:<width$}"));
        out.push_str(&format!(
            "  {}\n",
            padded.collect::<Vec<_>>().join("   ").trim_end()
        ));
    }
    for remark in table.remarks() {
        out.push_str(&format!("  · {remark}\n"));
    }
    out
}
