//! What a run leaves to look at: one page with every scenario's timeline, and
//! a table that sets our agents beside the stock ones.

use super::article;
use super::chronicle::Figures;
use super::scenario::Scenario;
use super::setting::{Agents, Setting};
use anyhow::{Context, Result};
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;
use story::timeline::{Story, grouped, human};

/// What stands before the seed in a scenario's name.
const SEED: char = '#';

/// One scenario as it went.
pub struct Entry {
    /// Under which setting.
    pub setting: Setting,
    /// Which.
    pub scenario: Scenario,
    /// Drawn.
    pub story: Story,
    /// Measured.
    pub figures: Figures,
    /// The logs of the moment, if an invariant broke.
    pub logs: String,
}

impl Entry {
    /// Tells it from the same scenario with other moments of the faults.
    pub fn tag_seed(&mut self, seed: u64) {
        self.scenario.name += &format!("{SEED}{seed}");
        self.story.title += &format!(", seed {seed}");
    }

    /// Whether every invariant held.
    pub fn passed(&self) -> bool {
        self.story.verdict.0
    }
}

/// The page's look; figures are tabular so that they can be compared.
const STYLE: &str = "\
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem;
       color: #1c2733; background: #fbfbf9 }
h1, h2 { font-weight: 600; line-height: 1.2 } h2 { margin-top: 3rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .3rem .9rem .3rem 0; text-align: left; border-bottom: 1px solid #e3e3dc }
td.n, th.n { text-align: right } .bad { color: #b3261e; font-weight: 600 } .good { color: #1b7f4b }
pre { background: #f1f1ec; padding: .8rem; overflow-x: auto; font-size: 13px }
svg { max-width: 100%; height: auto } summary { cursor: pointer }";

/// Writes the page.
pub fn write(entries: &[Entry], title: &str, to: &Path) -> Result<()> {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title}</title>\n<style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n"
    );
    page += "<p>A client writes numbered records through what the group serves, \
             while this happens. Invariants decide whether a scenario \
             passed; times are reported and decide nothing.</p>\n";
    table(entries, &mut page);
    let played = |article: &&article::Article| {
        entries.iter().any(|entry| entry.setting.article.name == article.name)
    };
    for article in article::ALL.into_iter().filter(played) {
        let _ = writeln!(
            page,
            "<details><summary>What was changed in the {} set-up ({})</summary><pre>{}</pre></details>",
            article.name,
            escape(article.about),
            escape(&article.diff())
        );
    }
    for entry in entries {
        section(entry, &mut page);
    }
    page += "</body></html>\n";
    std::fs::write(to, page).with_context(|| format!("cannot write {}", to.display()))
}

fn table(entries: &[Entry], page: &mut String) {
    *page += "<table><tr><th>setting</th><th>scenario</th><th></th>\
              <th class=\"n\">longest gap</th><th class=\"n\">agents at work in it</th>\
              <th class=\"n\">stock agents' gap</th><th class=\"n\">at work</th>\
              <th class=\"n\">records</th></tr>\n";
    for entry in entries {
        let stock = yardstick(entry, entries);
        let cell = |value: Option<Duration>| value.map_or("".into(), human);
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td><a href=\"#{}\">{}</a></td><td class=\"{}\">{}</td>\
             <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td class=\"n\">{}</td></tr>",
            entry.setting.name(),
            anchor(entry),
            escape(&entry.scenario.name),
            if entry.passed() { "good" } else { "bad" },
            if entry.passed() { "holds" } else { "broken" },
            human(entry.figures.gap),
            human(entry.figures.agents),
            cell(stock.map(|stock| stock.gap)),
            cell(stock.map(|stock| stock.agents)),
            grouped(entry.figures.records as u64),
        );
    }
    *page += "</table>\n";
}

/// The same scenario with the stock agents in the same run.
fn yardstick<'a>(entry: &Entry, entries: &'a [Entry]) -> Option<&'a Figures> {
    let alike = |other: &&Entry| {
        other.setting.agents == Agents::Stock
            && other.setting.engine == entry.setting.engine
            && other.setting.article.name == entry.setting.article.name
            && other.scenario.name == entry.scenario.name
    };
    if entry.setting.agents == Agents::Stock {
        return None;
    }
    entries.iter().find(alike).map(|other| &other.figures)
}

fn section(entry: &Entry, page: &mut String) {
    let _ = writeln!(
        page,
        "<h2 id=\"{}\">{} · {}</h2>\n<p>{}</p>\n{}",
        anchor(entry),
        entry.setting.name(),
        escape(&entry.scenario.name),
        escape(&entry.scenario.about),
        entry.story.svg()
    );
    if !entry.logs.is_empty() {
        let _ = writeln!(
            page,
            "<p class=\"bad\">{}</p><pre>{}</pre>",
            escape(&entry.story.verdict.1),
            escape(&entry.logs)
        );
    }
}

fn anchor(entry: &Entry) -> String {
    format!("{}-{}", entry.setting.name(), entry.scenario.name).replace('/', "-")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// What broke, in the form of a test program's last words.
pub fn failures(entries: &[Entry]) -> String {
    let broken: Vec<&Entry> = entries.iter().filter(|entry| !entry.passed()).collect();
    let mut out = String::new();
    if !broken.is_empty() {
        out += "failures:\n";
    }
    for entry in &broken {
        let _ = writeln!(
            out,
            "\n---- {}: {} ----\n{}\n{}",
            entry.setting.name(),
            entry.scenario.name,
            entry.story.terminal(110, false),
            entry.logs
        );
    }
    let passed = entries.len() - broken.len();
    out + &format!("test result: {passed} passed, {} failed", broken.len())
}

/// The table of a run in a terminal.
pub fn summary(entries: &[Entry]) -> String {
    let mut out = String::new();
    let width = entries.iter().map(|entry| entry.setting.name().len()).max().unwrap_or(0);
    for entry in entries {
        let stock = yardstick(entry, entries)
            .map(|stock| format!("  (stock: {}, {})", human(stock.gap), human(stock.agents)))
            .unwrap_or_default();
        let _ = writeln!(
            out,
            "  {} {:width$}  {:<26} gap {:>8}, agents {:>8}{stock}",
            if entry.passed() { "✔" } else { "✘" },
            entry.setting.name(),
            entry.scenario.name,
            human(entry.figures.gap),
            human(entry.figures.agents),
        );
        if !entry.passed() {
            let _ = writeln!(out, "      {}", entry.story.verdict.1);
        }
    }
    out + &spreads(entries)
}

/// The gaps of what was played several times: the shortest, the middle one, the
/// longest.
fn spreads(entries: &[Entry]) -> String {
    let mut gaps: Vec<(String, Vec<Duration>)> = Vec::new();
    for entry in entries.iter().filter(|entry| entry.passed()) {
        let Some((name, _)) = entry.scenario.name.split_once(SEED) else { continue };
        let name = format!("{}/{name}", entry.setting.name());
        match gaps.iter_mut().find(|(known, _)| *known == name) {
            Some((_, all)) => all.push(entry.figures.gap),
            None => gaps.push((name, vec![entry.figures.gap])),
        }
    }
    let mut out = String::new();
    for (name, mut all) in gaps {
        all.sort_unstable();
        let [first, middle, last] = [0, all.len() / 2, all.len() - 1].map(|at| human(all[at]));
        let times = all.len();
        let _ =
            writeln!(out, "  {name}: gap {first} to {last}, {middle} in the middle, of {times}");
    }
    out
}
