//! The panel of the SVG that shows the whole story on one scale.

use super::paper::{LEFT, PLOT, Paper, RIGHT, across, shades, wide};
use super::{Band, Kind, Lane, Mark, Story, rate, scale};
use std::time::Duration;

const LANE: f64 = 50.0;

pub(super) fn draw(story: &Story, paper: &mut Paper, y: f64) -> f64 {
    let top = y + 62.0;
    let bottom = top + story.lanes.len() as f64 * LANE;
    let end = bottom + if story.chapters.is_empty() { 36.0 } else { 62.0 };
    paper.rect(LEFT, y, RIGHT - LEFT, end - y, 10.0, "#ffffff");
    let window = (Duration::ZERO, story.length);
    chapters(story, paper, window, (top, bottom));
    grid(paper, window, (top, bottom), 12);
    marks(paper, &story.marks, window, (top, bottom), 2);
    for (place, lane) in story.lanes.iter().enumerate() {
        let y = top + place as f64 * LANE;
        name(paper, lane, y + LANE / 2.0);
        pulse(paper, lane, window, (y + 8.0, y + LANE - 8.0));
        for band in &lane.bands {
            draw_band(paper, lane, band, window, (y + 13.0, LANE - 26.0));
        }
        for tick in &lane.ticks {
            triangle(paper, across(tick.at, window), y + LANE / 2.0, shades(tick.hue)[0]);
        }
    }
    end + 18.0
}

/// A lane's name and what it is, left of its plot.
pub(super) fn name(paper: &mut Paper, lane: &Lane, middle: f64) {
    let [strong, ..] = shades(lane.hue);
    paper.rect(LEFT + 18.0, middle - 15.0, 4.0, 30.0, 2.0, strong);
    paper.text(LEFT + 32.0, middle - 1.5, "lane", &lane.name);
    paper.text(LEFT + 32.0, middle + 13.5, "tiny soft", &lane.about);
}

/// The time scale below a plot and its lines through it.
pub(super) fn grid(
    paper: &mut Paper,
    window: (Duration, Duration),
    (top, bottom): (f64, f64),
    most: usize,
) {
    let length = window.1.saturating_sub(window.0);
    for at in scale(length, most) {
        let x = across(window.0 + at, window);
        paper.line((x, top), (x, bottom), "#e6e9ed", r#"stroke-width="1""#);
        let label = if length < Duration::from_secs(3) {
            format!("{} ms", (at.as_secs_f64() * 1e4).round() / 10.0)
        } else {
            format!("{} s", at.as_secs_f64())
        };
        paper.styled(x, bottom + 18.0, "tiny soft", "text-anchor:middle", &label);
    }
}

/// The windows that have a panel of their own, with its number.
fn chapters(
    story: &Story,
    paper: &mut Paper,
    window: (Duration, Duration),
    (top, bottom): (f64, f64),
) {
    for (chapter, number) in story.chapters.iter().zip(1..) {
        let (from, to) = (across(chapter.from, window), across(chapter.to, window));
        let (x, width) = (from.min(to - 5.0), (to - from).max(5.0));
        paper.rect(x, top - 6.0, width, bottom - top + 30.0, 3.0, "#eef1f5");
        badge(paper, x + width / 2.0, bottom + 38.0, number);
    }
}

/// The number of a chapter in its circle.
pub(super) fn badge(paper: &mut Paper, x: f64, y: f64, number: usize) {
    paper.raw(&format!(r##"<circle cx="{x:.2}" cy="{y:.2}" r="11" fill="#1f2933"/>"##));
    paper.styled(x, y + 4.5, "small bold white", "text-anchor:middle", &number.to_string());
}

fn draw_band(
    paper: &mut Paper,
    lane: &Lane,
    band: &Band,
    window: (Duration, Duration),
    (y, high): (f64, f64),
) {
    let (from, to) = (across(band.from, window), across(band.to, window));
    let width = (to - from).max(2.0);
    let [strong, soft, _] = shades(lane.hue);
    let middle = y + high / 2.0;
    let class = match band.kind {
        Kind::Up => {
            paper.rect(from, middle - 2.0, width, 4.0, 2.0, soft);
            return;
        }
        Kind::Holds => {
            paper.rect(from, y, width, high, 5.0, strong);
            "small bold white"
        }
        Kind::Moving => {
            paper.rect(from, y, width, high, 2.0, soft);
            ""
        }
        Kind::Off => {
            paper.rect(from, y, width, high, 5.0, "url(#off)");
            "small soft"
        }
        Kind::Silence => {
            paper.rect(from, y - 5.0, width, high + 10.0, 3.0, "#f9d8d8");
            "small bold grave"
        }
    };
    if !class.is_empty() && width > wide(&band.label, 12.0) + 10.0 {
        let style = "text-anchor:middle";
        paper.styled(from + width / 2.0, middle + 4.0, class, style, &band.label);
    }
}

/// The rate of frequent events as an area.
fn pulse(paper: &mut Paper, lane: &Lane, window: (Duration, Duration), (top, bottom): (f64, f64)) {
    if lane.pulse.is_empty() {
        return;
    }
    let bins = 240;
    let counts = rate(&lane.pulse, window.0, window.1, bins);
    let most = counts.iter().copied().max().unwrap_or(1).max(1) as f64;
    let step = (PLOT.1 - PLOT.0) / bins as f64;
    let mut path = format!("M{:.1} {bottom:.1}", PLOT.0);
    for (bin, count) in counts.iter().enumerate() {
        let y = bottom - (bottom - top) * *count as f64 / most;
        let x = PLOT.0 + bin as f64 * step;
        path.push_str(&format!(" L{x:.1} {y:.1} L{:.1} {y:.1}", x + step));
    }
    let [strong, _, faint] = shades(lane.hue);
    paper.raw(&format!(
        r#"<path d="{path} L{:.1} {bottom:.1} Z" fill="{faint}" stroke="{strong}" stroke-width="1.2" stroke-linejoin="round"/>"#,
        PLOT.1
    ));
}

/// A single event.
pub(super) fn triangle(paper: &mut Paper, x: f64, y: f64, fill: &str) {
    paper.raw(&format!(
        r#"<path d="M{x:.2} {:.2} l5.5 11 h-11 Z" fill="{fill}" stroke="white" stroke-width="1"/>"#,
        y - 6.0
    ));
}

/// The marks as lines through a plot, their labels above it on `levels` rows.
pub(super) fn marks(
    paper: &mut Paper,
    marks: &[Mark],
    window: (Duration, Duration),
    (top, bottom): (f64, f64),
    levels: usize,
) {
    let within = |mark: &&Mark| mark.at >= window.0 && mark.at <= window.1;
    let mut ends = vec![f64::MIN; levels.max(1)];
    for mark in marks.iter().filter(within) {
        let x = across(mark.at, window);
        let width = wide(&mark.label, 13.2);
        let level = ends.iter().position(|end| *end < x - width / 2.0).unwrap_or(levels - 1);
        let shift = (x + width / 2.0 - RIGHT + 8.0).max(0.0);
        ends[level] = x + width / 2.0 - shift + 8.0;
        let y = top - 13.0 - level as f64 * 17.0;
        let (stroke, class) = if mark.grave { ("#c2333b", "grave") } else { ("#7b8794", "soft") };
        let dash = r#"stroke-width="1.4" stroke-dasharray="4 3""#;
        paper.line((x, y + 5.0), (x, bottom), stroke, dash);
        let class = format!("small bold {class}");
        paper.styled(x - shift, y, &class, "text-anchor:middle", &mark.label);
    }
}
