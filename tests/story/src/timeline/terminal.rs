//! The story in a terminal, by characters that say as much without colour.

use super::{Action, Chapter, Kind, Lane, Story, clipped, human, rate, scale, wrapped};
use std::fmt::Write;
use std::time::Duration;

const NAME: usize = 10;
const WHAT: usize = 26;
const HEIGHTS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

pub(super) fn draw(story: &Story, width: usize, colour: bool) -> String {
    let pen = Pen { colour, plot: width.clamp(72, 132) - NAME - 4 };
    let mut out = format!("\n  {}\n", pen.bold(&story.title));
    paragraph(&story.subject, pen, &mut out);
    out.push('\n');
    overview(story, pen, &mut out);
    for (chapter, number) in story.chapters.iter().zip(1..) {
        waterfall(story, chapter, number, pen, &mut out);
    }
    facts(story, pen, &mut out);
    for note in &story.notes {
        paragraph(note, pen, &mut out);
    }
    let (kept, sentence) = &story.verdict;
    let (code, sign) = if *kept { ("1;32", '✔') } else { ("1;31", '✘') };
    let _ = writeln!(out, "\n  {}", pen.ink(code, &format!("{sign} {sentence}")));
    out
}

fn paragraph(text: &str, pen: Pen, out: &mut String) {
    for line in wrapped(text, pen.plot + NAME) {
        let _ = writeln!(out, "  {}", pen.dim(&line));
    }
}

/// How to write, and how wide the plot of the overview is.
#[derive(Clone, Copy)]
struct Pen {
    colour: bool,
    plot: usize,
}

impl Pen {
    fn ink(self, code: &str, text: &str) -> String {
        if self.colour && !text.trim().is_empty() {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_string()
        }
    }

    fn bold(self, text: &str) -> String {
        self.ink("1", text)
    }

    fn dim(self, text: &str) -> String {
        self.ink("2", text)
    }
}

/// A row of cells, each with a colour, joined at the end.
struct Row(Vec<(char, &'static str)>);

impl Row {
    fn new(width: usize) -> Row {
        Row(vec![(' ', ""); width])
    }

    fn fill(&mut self, from: usize, to: usize, cell: char, code: &'static str) {
        let end = (to + 1).min(self.0.len());
        for place in &mut self.0[from.min(end)..end] {
            *place = (cell, code);
        }
    }

    fn text(&self, pen: Pen) -> String {
        let same = |a: &(char, &str), b: &(char, &str)| a.1 == b.1;
        self.0
            .chunk_by(same)
            .map(|run| {
                let text: String = run.iter().map(|(cell, _)| *cell).collect();
                if run[0].1.is_empty() { text } else { pen.ink(run[0].1, &text) }
            })
            .collect()
    }
}

/// The column of `at` in a window drawn `width` columns wide.
fn column(at: Duration, from: Duration, to: Duration, width: usize) -> usize {
    let part = at.saturating_sub(from).as_secs_f64() / (to - from).as_secs_f64().max(1e-9);
    ((part * width as f64) as usize).min(width - 1)
}

fn overview(story: &Story, pen: Pen, out: &mut String) {
    let place = |at| column(at, Duration::ZERO, story.length, pen.plot);
    let mut axis = vec![' '; pen.plot + 8];
    for at in scale(story.length, pen.plot / 9) {
        let label = format!("{} s", at.as_secs_f64());
        for (offset, letter) in label.chars().enumerate() {
            axis[place(at) + offset] = letter;
        }
    }
    let axis: String = axis.into_iter().collect();
    let _ = writeln!(out, "  {:NAME$}{}", "", pen.dim(axis.trim_end()));
    for lane in &story.lanes {
        let name = pen.ink(lane.hue.code(), &format!("{:<NAME$}", lane.name));
        let _ = writeln!(out, "  {name}{}", lane_row(lane, story, pen).text(pen));
    }
    for mark in &story.marks {
        let sign = if mark.grave { "1;31" } else { "2" };
        let text = format!("↑ {} {}", human(mark.at), mark.label);
        let shift = place(mark.at).min(pen.plot.saturating_sub(text.chars().count()));
        let _ = writeln!(out, "  {:1$}{2}", "", NAME + shift, pen.ink(sign, &text));
    }
}

fn lane_row(lane: &Lane, story: &Story, pen: Pen) -> Row {
    let place = |at| column(at, Duration::ZERO, story.length, pen.plot);
    let mut row = Row::new(pen.plot);
    let counts = rate(&lane.pulse, Duration::ZERO, story.length, pen.plot);
    let most = counts.iter().copied().max().unwrap_or(0).max(1);
    for (at, count) in counts.into_iter().enumerate() {
        row.fill(at, at, HEIGHTS[(count * 8).div_ceil(most)], lane.hue.code());
    }
    for band in &lane.bands {
        let (cell, ink) = match band.kind {
            Kind::Up => ('─', lane.hue.code()),
            Kind::Holds => ('█', lane.hue.code()),
            Kind::Moving => ('▒', lane.hue.code()),
            Kind::Off => ('·', "2"),
            Kind::Silence => ('×', "31"),
        };
        row.fill(place(band.from), place(band.to), cell, ink);
    }
    for tick in &lane.ticks {
        row.fill(place(tick.at), place(tick.at), '▲', tick.hue.code());
    }
    row
}

fn waterfall(story: &Story, chapter: &Chapter, number: usize, pen: Pen, out: &mut String) {
    let length = human(chapter.to.saturating_sub(chapter.from));
    let title = format!("{number}  {}", chapter.title);
    let _ = writeln!(out, "\n  {}  {}", pen.bold(&title), pen.dim(&format!("({length} shown)")));
    let _ = writeln!(out, "     {}", pen.dim(&chapter.about));
    let plot = (pen.plot + NAME).saturating_sub(WHAT + 30).max(16);
    for actions in story.rows(chapter) {
        let lane = &story.lanes[actions[0].lane];
        let mut row = Row::new(plot);
        for action in &actions {
            let ends =
                [action.from, action.to].map(|at| column(at, chapter.from, chapter.to, plot));
            let quiet = action.verb == "status";
            let ink = if action.succeeded { lane.hue.code() } else { "1;31" };
            row.fill(ends[0], ends[1], if quiet { '░' } else { '█' }, ink);
        }
        let what = clipped(&format!("{} {}", lane.name, actions[0].what), WHAT - 1);
        let label = pen.ink(lane.hue.code(), &format!("{what:<WHAT$}"));
        let said: Vec<String> = actions.iter().map(|action| said(action)).collect();
        let _ = writeln!(out, "     {label}{}  {}", row.text(pen), said.join(", "));
    }
    for lane in &story.lanes {
        client_row(lane, chapter, plot, pen, out);
    }
}

/// The rate and the events of a lane within the window of a chapter.
fn client_row(lane: &Lane, chapter: &Chapter, plot: usize, pen: Pen, out: &mut String) {
    let inside = |at: Duration| (chapter.from..chapter.to).contains(&at);
    let ticks: Vec<_> = lane.ticks.iter().filter(|tick| inside(tick.at)).collect();
    if ticks.is_empty() && lane.pulse.is_empty() {
        return;
    }
    let mut row = Row::new(plot);
    for (at, count) in rate(&lane.pulse, chapter.from, chapter.to, plot).into_iter().enumerate() {
        let silent = !lane.pulse.is_empty() && count == 0;
        let (cell, ink) = if silent { ('×', "31") } else { ('▄', lane.hue.code()) };
        if silent || count > 0 {
            row.fill(at, at, cell, ink);
        }
    }
    for tick in &ticks {
        let at = column(tick.at, chapter.from, chapter.to, plot);
        row.fill(at, at, '▲', tick.hue.code());
    }
    let what = clipped(&format!("{} {}", lane.name, lane.about), WHAT - 1);
    let label = pen.ink(lane.hue.code(), &format!("{what:<WHAT$}"));
    let said = if ticks.is_empty() { String::new() } else { format!("{} seen", ticks.len()) };
    let _ = writeln!(out, "     {label}{}  {said}", row.text(pen));
}

fn said(action: &Action) -> String {
    let took = human(action.took());
    if action.succeeded {
        format!("{} {took}", action.verb)
    } else {
        format!("{} {took} ({})", action.verb, action.answer)
    }
}

fn facts(story: &Story, pen: Pen, out: &mut String) {
    out.push('\n');
    let width = story.facts.iter().map(|fact| fact.value.chars().count()).max().unwrap_or(0);
    for fact in &story.facts {
        let value = pen.bold(&format!("{:>width$}", fact.value));
        let _ = writeln!(out, "  {value}  {}", fact.name);
    }
    if !story.notes.is_empty() {
        out.push('\n');
    }
}
