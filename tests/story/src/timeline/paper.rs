//! What the panels of the SVG are drawn on: its size, colours and shapes.

use super::Hue;
use std::fmt::Write;
use std::time::Duration;

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

/// The place of a moment within a window drawn over the plot's width.
pub(super) fn across(at: Duration, window: (Duration, Duration)) -> f64 {
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

    pub(super) fn finish(self, height: f64) -> String {
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
