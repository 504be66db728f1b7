//! The story as an SVG document: head, overview, one panel for each chapter,
//! figures and notes.

use super::paper::{LEFT, Paper, RIGHT, shades, wide};
use super::{Hue, Story, overview, waterfall, wrapped};

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
