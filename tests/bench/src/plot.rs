//! The comparison as a picture: one bar for each command, on a scale of
//! decades, since the two kinds of agent lie two of them apart.

use super::measure::Row;
use super::sheet::Report;
use super::table::{ms, times};
use std::fmt::Write;
use std::time::Duration;

const WIDTH: f64 = 920.0;
const LEFT: f64 = 250.0;
const RIGHT: f64 = 110.0;
const TOP: f64 = 84.0;
const ROW: f64 = 52.0;
const HEADING: f64 = 28.0;

/// The scale's ends, in milliseconds.
const LEAST: f64 = 0.1;
const MOST: f64 = 10_000.0;

/// The whole picture.
pub fn svg(report: &Report) -> String {
    let sheets: Vec<_> = [&report.host, &report.lab].into_iter().flatten().collect();
    let rows: usize = sheets.iter().map(|sheet| sheet.rows.len()).sum();
    let height = TOP + rows as f64 * ROW + sheets.len() as f64 * HEADING + 40.0;
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="system-ui, sans-serif" font-size="13">
<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>
<text x="24" y="34" font-size="19" font-weight="600" fill="#1c2733">What one action costs</text>
<text x="24" y="56" fill="#5b6b7b">wall time, median; one step of the scale is ten times as long</text>"##
    );
    legend(&mut out);
    let mut decade = LEAST;
    while decade <= MOST {
        let x = place(decade);
        let label =
            if decade < 1000.0 { format!("{decade} ms") } else { format!("{} s", decade / 1e3) };
        let _ = writeln!(
            out,
            r##"<line x1="{x:.1}" x2="{x:.1}" y1="{TOP}" y2="{:.1}" stroke="#e3e8ed"/><text x="{x:.1}" y="{:.1}" text-anchor="middle" fill="#8494a3" font-size="11">{label}</text>"##,
            height - 34.0,
            height - 16.0,
        );
        decade *= 10.0;
    }
    let mut y = TOP;
    for sheet in sheets {
        let _ = writeln!(
            out,
            r##"<rect x="16" y="{:.1}" width="{:.1}" height="20" rx="3" fill="#eef2f5"/><text x="24" y="{:.1}" fill="#33424f" font-size="12">{}</text>"##,
            y + 4.0,
            WIDTH - 32.0,
            y + 18.0,
            sheet.machine,
        );
        y += HEADING;
        for row in &sheet.rows {
            bars(&mut out, row, y + 8.0);
            y += ROW;
        }
    }
    out + "</svg>\n"
}

const OURS: &str = "#0f766e";
const NOOP: &str = "#a8b5c1";
const SHELL: &str = "#d97706";

fn legend(out: &mut String) {
    for (number, (colour, name)) in
        [(OURS, "sturdy"), (NOOP, "a process that does nothing"), (SHELL, "shell agent")]
            .iter()
            .enumerate()
    {
        let x = WIDTH - 420.0 + [0.0, 80.0, 290.0][number];
        let _ = writeln!(
            out,
            r##"<rect x="{x}" y="45" width="12" height="12" rx="2" fill="{colour}"/><text x="{}" y="56" fill="#5b6b7b">{name}</text>"##,
            x + 18.0,
        );
    }
}

fn bars(out: &mut String, row: &Row, y: f64) {
    let case = &row.case;
    let load = if case.load > 0 { format!(", {} busy loops", case.load) } else { String::new() };
    let _ = writeln!(
        out,
        r##"<text x="24" y="{:.1}" fill="#1c2733" font-weight="600">{} {}</text><text x="24" y="{:.1}" fill="#5b6b7b" font-size="11">{} {}{load}</text>"##,
        y + 13.0,
        case.agent,
        case.action,
        y + 29.0,
        case.scale,
        case.objects,
    );
    let gain = row.gain().map_or(String::new(), |gain| format!("  {}x", times(gain)));
    bar(out, y, OURS, row.ours.median, "");
    bar(out, y + 12.0, NOOP, row.noop, "");
    if let Some(shell) = &row.shell {
        bar(out, y + 24.0, SHELL, shell.median, &gain);
    }
}

fn bar(out: &mut String, y: f64, colour: &str, time: Duration, note: &str) {
    let end = place(in_ms(time));
    let _ = writeln!(
        out,
        r##"<rect x="{LEFT}" y="{y:.1}" width="{:.1}" height="10" rx="2" fill="{colour}"/><text x="{:.1}" y="{:.1}" fill="#33424f" font-size="11">{} ms<tspan font-weight="600">{note}</tspan></text>"##,
        end - LEFT,
        end + 6.0,
        y + 9.0,
        ms(time),
    );
}

fn in_ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn place(ms: f64) -> f64 {
    let share = (ms.clamp(LEAST, MOST) / LEAST).log10() / (MOST / LEAST).log10();
    LEFT + share * (WIDTH - LEFT - RIGHT)
}
