//! All tables as one Markdown page.

use super::{Setting, Table};

/// A page with the setting, the legend and one section per scenario.
pub(crate) fn markdown(setting: &Setting, tables: &[Table]) -> String {
    let mut out = format!("# Peers, measured\n\n{}.\n", setting.sentence());
    out.push_str(
        "Medians with [min–max]; ratios hold within a table, absolute times do not travel.\n\n",
    );
    for (name, about) in &setting.peers {
        out.push_str(&format!("- `{name}`: {about}\n"));
    }
    for table in tables {
        section(&mut out, table);
    }
    out
}

fn section(out: &mut String, table: &Table) {
    let headings = table.headings();
    out.push_str(&format!(
        "\n## {}\n\n{}.\n\n",
        table.scenario.name(),
        table.about
    ));
    out.push_str(&format!("| peer | {} |\n", headings.join(" | ")));
    out.push_str(&format!("|---|{}\n", "---:|".repeat(headings.len())));
    for row in &table.rows {
        out.push_str(&format!(
            "| {} | {} |\n",
            row.name,
            table.cells(row).join(" | ")
        ));
    }
    let remarks: Vec<String> = table
        .remarks()
        .map(|remark| format!("- {remark}\n"))
        .collect();
    if !remarks.is_empty() {
        out.push_str(&format!("\n{}", remarks.concat()));
    }
}
