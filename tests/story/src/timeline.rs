//! What happened when: a story of lanes, actions and marks, drawn in the
//! terminal and as an SVG file from the same data.
//!
//! Whoever runs an experiment fills in a [`Story`]; all its times are measured
//! from one begin. The overview shows the whole length, each [`Chapter`] a
//! window of it on its own scale, since a start of 10 ms cannot be seen beside
//! ten seconds of waiting.

mod overview;
mod paper;
mod svg;
mod terminal;
mod waterfall;

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The time since boot, the same in every process and namespace of a kernel.
pub fn now() -> Duration {
    let clock = nix::time::ClockId::CLOCK_MONOTONIC;
    clock.now().map(Duration::from).expect("the monotonic clock can always be read")
}

/// Everything there is to draw.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Story {
    /// What this is, in a few words.
    pub title: String,
    /// What was run, as its user would have written it; drawn in monospace.
    pub subject: String,
    /// How long the story is; every other time lies in `0..=length`.
    pub length: Duration,
    /// From top to bottom.
    pub lanes: Vec<Lane>,
    /// In the order of their begin.
    pub actions: Vec<Action>,
    /// Moments that concern every lane.
    pub marks: Vec<Mark>,
    /// The windows worth a closer look.
    pub chapters: Vec<Chapter>,
    /// The figures to remember, the most telling first.
    pub facts: Vec<Fact>,
    /// What a reader must know to judge the figures.
    pub notes: Vec<String>,
    /// Whether the promise was kept, and that in one sentence.
    pub verdict: (bool, String),
}

/// One horizontal line of the story: a node, a client, a wire.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Lane {
    /// Its name, up to about 12 letters.
    pub name: String,
    /// What it is, in two or three words.
    pub about: String,
    /// Its colour, in all panels.
    pub hue: Hue,
    /// What held for a while; later ones are drawn over earlier ones.
    pub bands: Vec<Band>,
    /// Single events.
    pub ticks: Vec<Tick>,
    /// Frequent events, drawn as their rate.
    pub pulse: Vec<Duration>,
}

/// The colour of a lane and of all that happens on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Hue {
    #[default]
    Blue,
    Amber,
    Violet,
    Green,
    Slate,
}

/// Something that lasted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Band {
    /// When it began.
    pub from: Duration,
    /// When it ended.
    pub to: Duration,
    /// What it was.
    pub kind: Kind,
    /// A few words drawn into it where there is room; may be empty.
    pub label: String,
}

/// What a band stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// Up, without the resources.
    Up,
    /// Up, with the resources.
    Holds,
    /// Between the two, in either direction.
    Moving,
    /// Without power.
    Off,
    /// Waiting in vain.
    Silence,
}

/// A single event on a lane.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Tick {
    /// When.
    pub at: Duration,
    /// Whose colour it has.
    pub hue: Hue,
    /// What it was, in a word; those of events close together are joined.
    pub label: String,
    /// More of it, said once for events close together; may be empty.
    pub about: String,
}

/// One action of an agent.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Action {
    /// The index of its lane.
    pub lane: usize,
    /// What was acted on, such as `Filesystem`.
    pub what: String,
    /// Such as `start`; actions of one `what` in a row share a row.
    pub verb: String,
    /// When it began.
    pub from: Duration,
    /// When it ended.
    pub to: Duration,
    /// What it said, where that matters: `running`, `exit 1`.
    pub answer: String,
    /// Whether it did what was asked.
    pub succeeded: bool,
}

/// A moment that concerns every lane.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mark {
    /// When.
    pub at: Duration,
    /// What, in two or three words.
    pub label: String,
    /// Whether it is what the story is a story for, such as a loss of power.
    pub grave: bool,
}

/// A window of the story on a scale of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Chapter {
    /// Such as `node2 takes over`.
    pub title: String,
    /// What is to be seen, in one sentence.
    pub about: String,
    /// Where the window begins.
    pub from: Duration,
    /// Where the window ends.
    pub to: Duration,
}

/// A figure to remember.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fact {
    /// Such as `1.31 s`.
    pub value: String,
    /// Such as `the client's outage`.
    pub name: String,
}

impl Hue {
    /// The terminal's code for it.
    pub fn code(self) -> &'static str {
        match self {
            Hue::Blue => "38;5;33",
            Hue::Amber => "38;5;208",
            Hue::Violet => "38;5;98",
            Hue::Green => "38;5;35",
            Hue::Slate => "38;5;245",
        }
    }
}

impl Story {
    /// The story for a terminal of `width` columns.
    pub fn terminal(&self, width: usize, colour: bool) -> String {
        terminal::draw(self, width, colour)
    }

    /// The story as a stand-alone SVG document.
    pub fn svg(&self) -> String {
        svg::draw(self)
    }

    /// The actions of a window, those of one subject on one lane together:
    /// rows from top to bottom.
    fn rows(&self, chapter: &Chapter) -> Vec<Vec<&Action>> {
        let mut rows: Vec<Vec<&Action>> = Vec::new();
        let within = |action: &&Action| action.from >= chapter.from && action.from <= chapter.to;
        for action in self.actions.iter().filter(within) {
            let same = |row: &&mut Vec<&Action>| {
                row[0].lane == action.lane
                    && row[0].what == action.what
                    && row.iter().all(|other| other.verb != action.verb)
            };
            match rows.iter_mut().find(same) {
                Some(row) => row.push(action),
                None => rows.push(vec![action]),
            }
        }
        rows
    }
}

impl Action {
    fn took(&self) -> Duration {
        self.to.saturating_sub(self.from)
    }
}

/// A duration as people say it: `0.8 ms`, `43 ms`, `1.31 s`.
pub fn human(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1000.0;
    match ms {
        ..9.95 => format!("{ms:.1} ms"),
        ..999.5 => format!("{ms:.0} ms"),
        ..99_950.0 => format!("{:.2} s", ms / 1000.0),
        _ => format!("{:.0} s", ms / 1000.0),
    }
}

/// The text in lines of at most `most` letters, broken at blanks.
fn wrapped(text: &str, most: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last().map_or(0, |line| line.chars().count());
        if line > 0 && line + 1 + word.chars().count() > most {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// The text, or as much of it as fits into `most` letters.
fn clipped(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.into();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// A whole number with its thousands set apart.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// The places of a scale's ticks: a round step, at most `most` of them.
fn scale(length: Duration, most: usize) -> Vec<Duration> {
    let length = length.as_secs_f64();
    let rough = (length / most.max(1) as f64).max(1e-4);
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|step| *step >= rough * 0.999)
        .unwrap_or(rough);
    (0..=most)
        .map(|count| count as f64 * step)
        .take_while(|at| *at <= length)
        .map(Duration::from_secs_f64)
        .collect()
}

/// How many of `times` fall into each of `bins` equal parts of `from..to`.
fn rate(times: &[Duration], from: Duration, to: Duration, bins: usize) -> Vec<usize> {
    let mut counts = vec![0; bins];
    let length = to.saturating_sub(from).as_secs_f64();
    for at in times.iter().filter(|at| (from..to).contains(at)) {
        let place = (*at - from).as_secs_f64() / length * bins as f64;
        counts[(place as usize).min(bins - 1)] += 1;
    }
    counts
}

#[cfg(test)]
mod tests;
