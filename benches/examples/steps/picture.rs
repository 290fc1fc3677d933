//! The picture of one step. Its colours are of middling lightness and its ground is clear, so that it can be read on white and on black.

use std::error::Error;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::source::{PER_SECOND, Plan};
use crate::tally::{Bin, Tally};

const INK: RGBColor = RGBColor(125, 133, 146);
const NOW: RGBColor = RGBColor(59, 130, 246);
const GOOD: RGBColor = RGBColor(34, 160, 90);
const SLOW: RGBColor = RGBColor(234, 160, 20);
const BAD: RGBColor = RGBColor(226, 62, 62);
const WIDTH: u32 = 860;
const LEFT: u32 = 52;

type Sheet<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws a step, with the one before it in grey.
pub(crate) fn draw(
    file: &Path,
    plan: &Plan,
    name: &str,
    tally: &Tally,
    before: Option<&Tally>,
) -> Result<(), Box<dyn Error>> {
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let root = SVGBackend::new(file, (WIDTH, 500)).into_drawing_area();
    let (head, rest) = root.split_vertically(58);
    let (strip, rest) = rest.split_vertically(44);
    let (upper, rest) = rest.split_vertically(156);
    let (middle, lower) = rest.split_vertically(108);
    head.draw(&Text::new(
        name.to_owned(),
        (LEFT.cast_signed(), 10),
        font(20),
    ))?;
    head.draw(&Text::new(
        tally.sentence(),
        (LEFT.cast_signed(), 36),
        font(14),
    ))?;
    colours(&strip, plan, &tally.bins)?;

    let line =
        |of: fn(&Bin) -> f64| move |tally: &Tally| tally.bins.iter().map(of).collect::<Vec<_>>();
    let p99 = line(|bin| (bin.p99.as_secs_f64() * 1e3).clamp(0.05, 3_000.0));
    let panel = Panel {
        title: "slowest 1 % of reads, milliseconds",
        range: 0.05..3_000.0,
        is_log: true,
        has_seconds: false,
    };
    panel.draw(&upper, plan, &p99(tally), before.map(&p99))?;
    let calls = line(|bin| bin.calls_per_second as f64);
    let panel = Panel {
        title: "calls of the source, per second",
        range: 0.0..520.0,
        is_log: false,
        has_seconds: false,
    };
    panel.draw(&middle, plan, &calls(tally), before.map(&calls))?;
    let oldest = line(|bin| bin.oldest.as_secs_f64().min(6.0));
    let panel = Panel {
        title: "oldest answer, seconds since it was replaced",
        range: 0.0..6.0,
        is_log: false,
        has_seconds: true,
    };
    panel.draw(&lower, plan, &oldest(tally), before.map(&oldest))?;
    root.present()?;
    Ok(())
}

fn font(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

/// How each half second was for its readers.
fn colours(strip: &Sheet<'_>, plan: &Plan, bins: &[Bin]) -> Result<(), Box<dyn Error>> {
    let width = f64::from(WIDTH - LEFT - 16) / bins.len() as f64;
    for (n, bin) in bins.iter().enumerate() {
        let colour = match bin {
            _ if bin.failed * 100 > bin.reads => BAD,
            _ if bin.p99 > Duration::from_millis(100) => SLOW,
            _ => GOOD,
        };
        let left = f64::from(LEFT) + n as f64 * width;
        let corners = [(left as i32, 18), ((left + width) as i32 - 1, 36)];
        strip.draw(&Rectangle::new(corners, colour.filled()))?;
    }
    for (range, words) in [
        (&plan.slow, "the source is slow"),
        (&plan.failing, "the source fails"),
    ] {
        let left = f64::from(LEFT) + f64::from(range.start * PER_SECOND) * width;
        strip.draw(&Text::new(words, (left as i32, 2), font(13)))?;
    }
    Ok(())
}

struct Panel {
    title: &'static str,
    range: Range<f64>,
    is_log: bool,
    has_seconds: bool,
}

impl Panel {
    fn draw(
        &self,
        area: &Sheet<'_>,
        plan: &Plan,
        now: &[f64],
        before: Option<Vec<f64>>,
    ) -> Result<(), Box<dyn Error>> {
        let seconds = 0.0..f64::from(plan.seconds);
        // Decades on a linear axis: one kind of chart serves all three.
        let up = |value: f64| if self.is_log { value.log10() } else { value };
        let mut chart = ChartBuilder::on(area)
            .margin_right(16)
            .margin_top(24)
            .x_label_area_size(if self.has_seconds { 36 } else { 4 })
            .y_label_area_size(LEFT)
            .build_cartesian_2d(seconds, up(self.range.start)..up(self.range.end))?;
        let under = |second: &f64| match self.has_seconds {
            true => format!("{second:.0}"),
            false => String::new(),
        };
        let decades = |value: &f64| format!("{}", 10_f64.powf(*value));
        let mut mesh = chart.configure_mesh();
        mesh.disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(INK.mix(0.25))
            .axis_style(INK)
            .label_style(font(13))
            .y_labels(5)
            .x_labels(13)
            .x_label_formatter(&under)
            .y_label_formatter(&|value| format!("{value}"));
        if self.is_log {
            mesh.y_label_formatter(&decades);
        }
        if self.has_seconds {
            mesh.x_desc("seconds");
        }
        mesh.draw()?;
        area.draw(&Text::new(self.title, (LEFT.cast_signed(), 6), font(13)))?;
        for range in [&plan.slow, &plan.failing] {
            let corners = [
                (f64::from(range.start), up(self.range.start)),
                (f64::from(range.end), up(self.range.end)),
            ];
            chart.draw_series([Rectangle::new(corners, INK.mix(0.12).filled())])?;
        }
        let points = |values: &[f64]| -> Vec<(f64, f64)> {
            let middle =
                |(n, value): (usize, &f64)| ((n as f64 + 0.5) / f64::from(PER_SECOND), up(*value));
            values.iter().enumerate().map(middle).collect()
        };
        if let Some(before) = before {
            chart.draw_series(LineSeries::new(
                points(&before),
                INK.mix(0.6).stroke_width(2),
            ))?;
        }
        chart.draw_series(LineSeries::new(points(now), NOW.stroke_width(3)))?;
        Ok(())
    }
}
