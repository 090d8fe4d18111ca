//! Charts as SVG: bars for a group of lines, curves for what grows.

use std::path::Path;

use anyhow::{Context as _, Result};
use plotters::coord::Shift;
use plotters::prelude::*;

use crate::line::{Outcome, Score};
use crate::report::{OURS, THEIRS};
use crate::stats::short;

const WIDTH: u32 = 760;
const ROW: u32 = 46;
const FONT: &str = "sans-serif";

const fn color(peer: &str) -> RGBColor {
    match peer.as_bytes() {
        b"dormouse" => RGBColor(196, 90, 38),
        b"workerd" => RGBColor(70, 110, 170),
        b"native" => RGBColor(130, 130, 130),
        _ => RGBColor(190, 190, 190),
    }
}

/// How many times better than workerd, one bar a line; the scale is logarithmic.
pub(crate) fn ratios(path: &Path, outcomes: &[&Outcome]) -> Result<()> {
    let rows: Vec<_> = outcomes
        .iter()
        .filter_map(|outcome| Some((&outcome.title, outcome.ratio(OURS, THEIRS)?)))
        .collect();
    let height = ROW * rows.len() as u32 + 30;
    let area = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    paint(&area)?;
    let most = rows.iter().map(|(_, ratio)| ratio.ln()).fold(1.0, f64::max);
    let least = rows.iter().map(|(_, ratio)| ratio.ln()).fold(0.0, f64::min);
    let room = f64::from(WIDTH - 90);
    let x = |ratio: f64| (10.0 + room * (ratio.ln() - least) / (most - least)) as i32;
    for (at, (title, ratio)) in rows.iter().enumerate() {
        let top = 8 + ROW as i32 * at as i32;
        let text = (FONT, 14).into_font().color(&BLACK);
        area.draw(&Text::new((*title).clone(), (10, top), text.clone()))
            .map_err(failed)?;
        let (from, to) = (x(1.0).min(x(*ratio)), x(1.0).max(x(*ratio)));
        let bar = [(from, top + 18), (to.max(from + 1), top + 34)];
        area.draw(&Rectangle::new(bar, color(OURS).filled()))
            .map_err(failed)?;
        let label = format!("{}×", short(*ratio));
        area.draw(&Text::new(label, (to + 6, top + 19), text))
            .map_err(failed)?;
    }
    let line = [(x(1.0), 4), (x(1.0), height as i32 - 22)];
    area.draw(&PathElement::new(line, color(THEIRS).stroke_width(2)))
        .map_err(failed)?;
    let text = (FONT, 13).into_font().color(&color(THEIRS));
    let at = (x(1.0) + 4, height as i32 - 20);
    area.draw(&Text::new(format!("{THEIRS} = 1"), at, text))
        .map_err(failed)?;
    area.present().map_err(failed)
}

/// How a cost grows, one curve a peer; both scales are logarithmic.
pub(crate) fn curves(path: &Path, outcome: &Outcome) -> Result<()> {
    let area = SVGBackend::new(path, (WIDTH, 300)).into_drawing_area();
    paint(&area)?;
    let points = || outcome.scores.iter().flat_map(|score| &score.points);
    let sizes = range(points().map(|(size, _)| *size)).context("a curve without points")?;
    let costs = range(points().map(|(_, cost)| *cost)).context("a curve without points")?;
    let mut chart = ChartBuilder::on(&area)
        .caption(&outcome.title, (FONT, 16))
        .margin(12)
        .x_label_area_size(38)
        .y_label_area_size(70)
        .build_cartesian_2d(
            (sizes.0..sizes.1 * 1.1).log_scale(),
            (costs.0 / 2.0..costs.1 * 2.0).log_scale(),
        )
        .map_err(failed)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc(outcome.grows.as_deref().unwrap_or_default())
        .y_desc(&outcome.unit)
        .x_label_formatter(&|size| short(*size))
        .y_label_formatter(&|cost| short(*cost))
        .draw()
        .map_err(failed)?;
    for Score { peer, points, .. } in &outcome.scores {
        let style = color(peer).stroke_width(2);
        let series = LineSeries::new(points.iter().copied(), style).point_size(3);
        let drawn = chart.draw_series(series).map_err(failed)?;
        drawn
            .label(peer)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()
        .map_err(failed)?;
    area.present().map_err(failed)
}

fn paint(area: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<()> {
    area.fill(&WHITE).map_err(failed)
}

fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let values: Vec<_> = values.filter(|value| *value > 0.0).collect();
    let least = values.iter().copied().reduce(f64::min)?;
    let most = values.into_iter().reduce(f64::max)?;
    Some((least, most))
}

fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow::anyhow!("cannot draw a chart: {error}")
}
