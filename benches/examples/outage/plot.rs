//! The picture.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use plotters::prelude::*;

use crate::reader::Plan;

const OURS: RGBColor = RGBColor(29, 78, 216);
const THEIRS: RGBColor = RGBColor(194, 65, 12);
const INK: RGBColor = RGBColor(55, 65, 81);

/// Draws both lines over time, on a logarithmic scale.
pub(crate) fn draw(
    file: &Path,
    plan: &Plan,
    theirs: &[Duration],
    ours: &[Duration],
) -> Result<(), Box<dyn Error>> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let root = SVGBackend::new(file, (860, 340)).into_drawing_area();
    root.fill(&WHITE)?;
    let font = |size: u32| ("sans-serif", size).into_font().color(&INK);
    let mut chart = ChartBuilder::on(&root)
        .caption(
            "Redis is frozen for ten seconds: the slowest 1 % of reads",
            font(19),
        )
        .margin(14)
        .x_label_area_size(38)
        .y_label_area_size(74)
        .build_cartesian_2d(0.0..plan.seconds as f64, (1.0..1_500.0).log_scale())?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .bold_line_style(RGBColor(229, 231, 235))
        .axis_style(INK)
        .label_style(font(14))
        .x_desc("seconds")
        .y_desc("p99 of a read, ms")
        .x_label_formatter(&|second| format!("{second:.0}"))
        .y_label_formatter(&|ms| format!("{ms}"))
        .draw()?;
    let away = (plan.away.start as f64, plan.away.end as f64);
    let shade = Rectangle::new([(away.0, 1.0), (away.1, 1_500.0)], INK.mix(0.08).filled());
    chart.draw_series([shade])?;
    chart.draw_series([Text::new(
        "Redis does not answer",
        (away.0 + 0.3, 900.0),
        font(14),
    )])?;
    for (name, color, times) in [
        ("moka + fred by hand", THEIRS, theirs),
        ("bilten-cache", OURS, ours),
    ] {
        let line = times.iter().enumerate().map(|(second, time)| {
            // The middle of the second; what got no value is drawn at the upper edge.
            (
                second as f64 + 0.5,
                (time.as_secs_f64() * 1e3).clamp(1.0, 1_500.0),
            )
        });
        chart
            .draw_series(LineSeries::new(line, color.stroke_width(3)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], color.stroke_width(3)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .legend_area_size(34)
        .background_style(WHITE)
        .border_style(INK.mix(0.3))
        .label_font(font(14))
        .draw()?;
    root.present()?;
    Ok(())
}
