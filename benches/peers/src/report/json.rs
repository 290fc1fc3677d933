//! Every figure as JSON, for comparing two runs by program.

use serde_json::{Value, json};

use super::{Row, Setting, Table};

/// One object: the setting and a list of scenarios with their rows.
pub(crate) fn json(setting: &Setting, tables: &[Table]) -> Value {
    json!({
        "machine": setting.machine,
        "redis": setting.redis,
        "unix_time": setting.unix_time,
        "date": setting.date(),
        "rounds": setting.rounds,
        "quick": setting.is_quick,
        "scenarios": tables.iter().map(scenario).collect::<Vec<_>>(),
    })
}

fn scenario(table: &Table) -> Value {
    json!({
        "name": table.scenario.name(),
        "about": table.about,
        "baseline": table.baseline,
        "rows": table.rows.iter().map(|row| self::row(table, row)).collect::<Vec<_>>(),
    })
}

fn row(table: &Table, row: &Row) -> Value {
    let columns = table.scenario.columns().iter().enumerate();
    let figures = columns.filter_map(|(index, column)| {
        let spread = (*row.figures.get(index)?)?;
        Some(json!({
            "column": column.title,
            "median": spread.median,
            "min": spread.min,
            "max": spread.max,
            "ratio": table.ratio(row, index).filter(|_| column.compared),
        }))
    });
    json!({
        "peer": row.name,
        "figures": figures.collect::<Vec<_>>(),
        "remark": row.remark,
        "failure": row.failure,
    })
}
