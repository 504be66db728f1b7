//! The story as an SVG document: head, overview, one panel for each chapter,
//! figures and notes.

use super::{Hue, Story, overview, waterfall, wrapped};
use std::fmt::Write;

pub(super) const WIDTH: f64 = 1280.0;
/// The panels' left and right edge.
pub(super) const LEFT: f64 = 40.0;
pub(super) const RIGHT: f64 = WIDTH - 40.0;
/// Where the plots within the panels begin and end.
pub(super) const PLOT: (f64, f64) = (LEFT + 196.0, RIGHT - 32.0);

const STYLE: &str = r#"
text { font-family: Inter, "Segoe UI", "Helvetica Neue", "DejaVu Sans", sans-serif; fill: #1f2933; }
.title { font-size: 27px; font-weight: 700; letter-spacing: -0.3px; }
.mono { font-family: "JetBrains Mono", "SF Mono", "DejaVu Sans Mono", monospace; font-size: 12.5px; }
.soft { fill: #66717f; }
.panel { font-size: 16px; font-weight: 700; }
.lane { font-size: 14px; font-weight: 700; }
.small { font-size: 12px; }
.tiny { font-size: 11px; }
.value { font-size: 25px; font-weight: 700; letter-spacing: -0.3px; }
.white { fill: #ffffff; }
.bold { font-weight: 700; }
.grave { fill: #c2333b; }
.kept { fill: #17724b; }
"#;

/// Strong, soft and faint, as three values of one colour.
pub(super) fn shades(hue: Hue) -> [&'static str; 3] {
    match hue {
        Hue::Blue => ["#2c62c9", "#8fb2f0", "#e3ecfb"],
        Hue::Amber => ["#d9741a", "#f3bb84", "#fcecdb"],
        Hue::Violet => ["#7049c4", "#bda7ea", "#eee8fa"],
        Hue::Green => ["#1d8a5f", "#8ed0b3", "#def2e9"],
        Hue::Slate => ["#52606d", "#b3bcc6", "#e9edf1"],
    }
}

pub(super) fn draw(story: &Story) -> String {
    let mut paper = Paper::default();
    let mut y = head(story, &mut paper);
    y = facts(story, &mut paper, y);
    y = overview::draw(story, &mut paper, y);
    for (chapter, number) in story.chapters.iter().zip(1..) {
        y = waterfall::draw(story, chapter, number, &mut paper, y);
    }
    y = notes(story, &mut paper, y);
    paper.finish(y + 14.0)
}

fn head(story: &Story, paper: &mut Paper) -> f64 {
    paper.text(LEFT, 60.0, "title", &story.title);
    let (kept, sentence) = &story.verdict;
    let colours = if *kept { ["#17724b", "#dcf3e7"] } else { ["#c2333b", "#fbe0e0"] };
    let mut y = 90.0;
    for line in wrapped(&story.subject, 148) {
        paper.text(LEFT, y, "mono soft", &line);
        y += 19.0;
    }
    let width = 64.0 + wide(sentence, 16.2);
    paper.rect(LEFT, y, width, 38.0, 19.0, colours[1]);
    let (x, middle) = (LEFT + 21.0, y + 19.0);
    let sign = if *kept { "m-6 0 l4 5 l8 -10" } else { "m-5 -5 l10 10 m0 -10 l-10 10" };
    paper.raw(&format!(
        r#"<circle cx="{x}" cy="{middle}" r="12" fill="{}"/><path d="M{x} {middle} {sign}" fill="none" stroke="white" stroke-width="2.4" stroke-linecap="round" stroke-linejoin="round"/>"#,
        colours[0]
    ));
    let class = if *kept { "bold kept" } else { "bold grave" };
    paper.styled(LEFT + 44.0, middle + 5.5, class, "font-size:15px", sentence);
    y + 60.0
}

fn facts(story: &Story, paper: &mut Paper, y: f64) -> f64 {
    if story.facts.is_empty() {
        return y;
    }
    let count = story.facts.len() as f64;
    let gap = 14.0;
    let width = (RIGHT - LEFT - gap * (count - 1.0)) / count;
    for (place, fact) in story.facts.iter().enumerate() {
        let x = LEFT + place as f64 * (width + gap);
        paper.rect(x, y, width, 92.0, 10.0, "#ffffff");
        paper.text(x + 18.0, y + 37.0, "value", &fact.value);
        for (line, text) in wrapped(&fact.name, (width / 7.0) as usize - 4).iter().enumerate() {
            paper.text(x + 18.0, y + 59.0 + line as f64 * 16.0, "small soft", text);
        }
    }
    y + 112.0
}

fn notes(story: &Story, paper: &mut Paper, mut y: f64) -> f64 {
    y = legend(paper, y + 8.0);
    for note in &story.notes {
        for line in wrapped(note, 178) {
            paper.text(LEFT, y, "small soft", &line);
            y += 17.0;
        }
    }
    y
}

/// What the shapes of the panels mean.
fn legend(paper: &mut Paper, y: f64) -> f64 {
    let [strong, soft, _] = shades(Hue::Slate);
    let mut x = LEFT;
    let mut shape = |fill: &str, text: &str| {
        paper.rect(x, y - 9.0, 18.0, 10.0, 2.5, fill);
        paper.text(x + 25.0, y, "small", text);
        x += 25.0 + wide(text, 12.0) + 22.0;
    };
    shape(soft, "an agent asked for its status");
    shape(strong, "an agent at work");
    shape("#f9d8d8", "the client waits in vain");
    shape("url(#off)", "no power");
    overview::triangle(paper, x + 6.0, y - 4.0, strong);
    paper.text(x + 18.0, y, "small", "an announcement of the address, in its sender's colour");
    y + 26.0
}

/// The place of a moment within a window drawn over the plot's width.
pub(super) fn across(
    at: std::time::Duration,
    window: (std::time::Duration, std::time::Duration),
) -> f64 {
    let part = at.saturating_sub(window.0).as_secs_f64()
        / window.1.saturating_sub(window.0).as_secs_f64().max(1e-9);
    PLOT.0 + part.clamp(0.0, 1.0) * (PLOT.1 - PLOT.0)
}

/// About how wide a text is at a font size, both in pixels.
pub(super) fn wide(text: &str, size: f64) -> f64 {
    text.chars().count() as f64 * size * 0.6
}

/// The document as far as it is written.
#[derive(Default)]
pub(super) struct Paper {
    body: String,
}

impl Paper {
    pub(super) fn raw(&mut self, element: &str) {
        self.body.push_str(element);
        self.body.push('\n');
    }

    pub(super) fn rect(&mut self, x: f64, y: f64, wide: f64, high: f64, round: f64, fill: &str) {
        let _ = writeln!(
            self.body,
            r#"<rect x="{x:.2}" y="{y:.2}" width="{wide:.2}" height="{high:.2}" rx="{round}" fill="{fill}"/>"#
        );
    }

    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), stroke: &str, more: &str) {
        let _ = writeln!(
            self.body,
            r#"<line x1="{:.2}" y1="{:.2}" x2="{:.2}" y2="{:.2}" stroke="{stroke}" {more}/>"#,
            from.0, from.1, to.0, to.1
        );
    }

    /// Text of a style class, from `x` to the right.
    pub(super) fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        self.styled(x, y, class, "", text);
    }

    /// Text with a style of its own, such as `text-anchor:end`.
    pub(super) fn styled(&mut self, x: f64, y: f64, class: &str, style: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let _ = writeln!(
            self.body,
            r#"<text x="{x:.2}" y="{y:.2}" class="{class}" style="{style}">{text}</text>"#
        );
    }

    fn finish(self, height: f64) -> String {
        format!(
            r##"<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height:.0}" viewBox="0 0 {WIDTH} {height:.0}">
<style>{STYLE}</style>
<defs><pattern id="off" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="7" height="7" fill="#eceff2"/><rect width="2" height="7" fill="#cfd6dd"/></pattern></defs>
<rect width="{WIDTH}" height="{height:.0}" rx="14" fill="#f3f4f6"/>
{}</svg>
"##,
            self.body
        )
    }
}
