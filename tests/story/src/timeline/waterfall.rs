//! The panel of the SVG for one chapter: each subject of an agent's actions in
//! a row, and below what the client and the wire saw meanwhile.

use super::overview::{badge, grid, marks, name, triangle};
use super::paper::{LEFT, PLOT, Paper, RIGHT, across, shades, wide};
use super::{Action, Chapter, Kind, Lane, Story, Tick, clipped, human};
use std::time::Duration;

const ROW: f64 = 28.0;
const STRIP: f64 = 46.0;

pub(super) fn draw(
    story: &Story,
    chapter: &Chapter,
    number: usize,
    paper: &mut Paper,
    y: f64,
) -> f64 {
    let window = (chapter.from, chapter.to);
    let rows = story.rows(chapter);
    let strips: Vec<&Lane> = story.lanes.iter().filter(|lane| has_strip(lane, window)).collect();
    let marked = story.marks.iter().any(|mark| mark.at >= window.0 && mark.at <= window.1);
    let top = y + if marked { 86.0 } else { 58.0 };
    let bottom = top + rows.len() as f64 * ROW + strips.len() as f64 * STRIP + 8.0;
    let end = bottom + 34.0;
    paper.rect(LEFT, y, RIGHT - LEFT, end - y, 10.0, "#ffffff");
    badge(paper, LEFT + 28.0, y + 28.0, number);
    paper.text(LEFT + 48.0, y + 33.5, "panel", &chapter.title);
    let x = LEFT + 48.0 + wide(&chapter.title, 17.0) + 10.0;
    paper.text(x, y + 33.5, "small soft", &chapter.about);
    grid(paper, window, (top, bottom), 12);
    marks(paper, &story.marks, window, (top, bottom), 1);
    for (place, actions) in rows.iter().enumerate() {
        let lane = &story.lanes[actions[0].lane];
        row(paper, lane, actions, window, top + place as f64 * ROW);
    }
    for (place, lane) in strips.iter().enumerate() {
        let y = top + rows.len() as f64 * ROW + 8.0 + place as f64 * STRIP;
        strip(paper, lane, window, y);
    }
    end + 18.0
}

fn row(paper: &mut Paper, lane: &Lane, actions: &[&Action], window: (Duration, Duration), y: f64) {
    let [strong, soft, faint] = shades(lane.hue);
    let tag = wide(&lane.name, 12.0) + 14.0;
    paper.rect(LEFT + 18.0, y + 5.0, tag, 18.0, 9.0, faint);
    let style = format!("fill:{strong};font-weight:700");
    paper.styled(LEFT + 25.0, y + 18.0, "tiny", &style, &lane.name);
    let x = LEFT + 26.0 + tag;
    let what = clipped(&actions[0].what, ((PLOT.0 - x) / 7.6) as usize);
    paper.text(x, y + 18.5, "mono", &what);
    let mut ends = (f64::MAX, f64::MIN);
    for action in actions {
        let (from, to) = (across(action.from, window), across(action.to, window));
        let width = (to - from).max(2.0);
        let fill = match (action.succeeded, action.verb.as_str()) {
            (false, _) => "#c2333b",
            (true, "status") => soft,
            (true, _) => strong,
        };
        paper.rect(from, y + 6.0, width, ROW - 12.0, 3.0, fill);
        ends = (ends.0.min(from), ends.1.max(from + width));
    }
    let said: Vec<String> = actions.iter().map(|action| said(action)).collect();
    let said = said.join("  ·  ");
    let length = wide(&said, 12.0) + 10.0;
    let (x, style) = if ends.1 + length < PLOT.1 + 20.0 {
        (ends.1 + 8.0, "")
    } else if ends.0 - length > PLOT.0 {
        (ends.0 - 8.0, "text-anchor:end")
    } else {
        (ends.1 - 8.0, "text-anchor:end;fill:#ffffff")
    };
    let class = if actions.iter().all(|action| action.succeeded) { "small" } else { "small grave" };
    paper.styled(x, y + 18.5, class, style, &said);
}

fn said(action: &Action) -> String {
    let took = human(action.took());
    if action.succeeded {
        format!("{} {took}", action.verb)
    } else {
        format!("{} {took}: {}", action.verb, action.answer)
    }
}

fn has_strip(lane: &Lane, window: (Duration, Duration)) -> bool {
    !lane.pulse.is_empty()
        || lane.ticks.iter().any(|tick| tick.at >= window.0 && tick.at <= window.1)
}

/// Every single event of a lane within the window, and its silences.
fn strip(paper: &mut Paper, lane: &Lane, window: (Duration, Duration), y: f64) {
    let (middle, inside) = (y + STRIP / 2.0, |at: Duration| at >= window.0 && at <= window.1);
    paper.line((LEFT + 18.0, y), (PLOT.1, y), "#eef1f4", r#"stroke-width="1""#);
    name(paper, lane, middle);
    for band in lane.bands.iter().filter(|band| band.kind == Kind::Silence) {
        if band.to < window.0 || band.from > window.1 {
            continue;
        }
        let (from, to) = (across(band.from, window), across(band.to, window));
        paper.rect(from, y + 9.0, to - from, STRIP - 18.0, 3.0, "#f9d8d8");
        let label = format!("no acknowledgement for {}", human(band.to.saturating_sub(band.from)));
        if to - from > wide(&label, 12.0) + 12.0 {
            let class = "small bold grave";
            paper.styled((from + to) / 2.0, middle + 4.0, class, "text-anchor:middle", &label);
        }
    }
    let [strong, ..] = shades(lane.hue);
    let mut path = String::new();
    let mut drawn = f64::MIN;
    for at in lane.pulse.iter().filter(|at| inside(**at)) {
        let x = across(*at, window);
        // Closer ones could not be told apart.
        if x - drawn > 0.7 {
            path.push_str(&format!("M{x:.1} {:.1}v{:.1}", y + 12.0, STRIP - 24.0));
            drawn = x;
        }
    }
    if !path.is_empty() {
        paper.raw(&format!(
            r#"<path d="{path}" stroke="{strong}" stroke-width="1" stroke-opacity="0.55"/>"#
        ));
    }
    ticks(paper, lane, window, middle);
}

/// The events of a lane, those that lie close together with one label.
fn ticks(paper: &mut Paper, lane: &Lane, window: (Duration, Duration), middle: f64) {
    let inside = |tick: &&Tick| tick.at >= window.0 && tick.at <= window.1;
    let ticks: Vec<&Tick> = lane.ticks.iter().filter(inside).collect();
    let close = |one: &&Tick, other: &&Tick| {
        one.about == other.about && across(other.at, window) - across(one.at, window) < 60.0
    };
    let groups: Vec<&[&Tick]> = ticks.chunk_by(close).collect();
    let ends = |group: &[&Tick]| {
        (across(group[0].at, window) - 10.0, across(group[group.len() - 1].at, window) + 10.0)
    };
    let mut free = PLOT.0;
    for (place, group) in groups.iter().enumerate() {
        for tick in *group {
            triangle(paper, across(tick.at, window), middle, shades(tick.hue)[0]);
        }
        let (first, last) = ends(group);
        let next = groups.get(place + 1).map_or(PLOT.1 + 24.0, |group| ends(group).0);
        let names: Vec<&str> = group.iter().map(|tick| tick.label.as_str()).collect();
        let label = format!("{} {}", names.join(", "), group[0].about);
        let length = wide(&label, 11.0);
        if last + length < next {
            paper.text(last, middle + 4.0, "tiny soft", &label);
            free = last + length;
        } else {
            if first - length > free {
                let style = "text-anchor:end";
                paper.styled(first, middle + 4.0, "tiny soft", style, &label);
            }
            free = last;
        }
    }
}
