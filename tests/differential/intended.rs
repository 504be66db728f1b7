//! The differences that are meant to be, read from `intended.txt`.
//!
//! An entry is a paragraph of `name: value` lines, and speaks of one step of a
//! case: `case`, `step`, `theirs` and `ours` are patterns. In a pattern `*` is
//! any text, and `<A>` is a text that is the same wherever it stands in the
//! entry's `theirs` and `ours`. `why` is for people. A line that begins with
//! `#` is a heading, one that begins with a blank goes on with the last.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

/// Longer than the slowest run of all cases.
const PATIENCE: Duration = Duration::from_secs(20 * 60);

/// All entries, and how many cases have yet to end.
pub struct List {
    entries: Vec<Entry>,
    pending: Mutex<usize>,
    ended: Condvar,
}

#[derive(Default)]
struct Entry {
    case: String,
    step: String,
    theirs: String,
    ours: String,
    why: String,
    occurred: AtomicBool,
}

impl List {
    /// # Panics
    /// When the file is not as it should be: it is part of the test.
    pub fn read(text: &str, cases: usize) -> Self {
        let entries = text.split("\n\n").filter_map(Entry::read).collect();
        Self { entries, pending: Mutex::new(cases), ended: Condvar::new() }
    }

    /// Whether somebody has meant this difference to be.
    pub fn has(&self, case: &str, step: &str, theirs: &str, ours: &str) -> bool {
        let mut fitting = self.entries.iter().filter(|e| e.fits(case, step, theirs, ours));
        let Some(entry) = fitting.next() else { return false };
        entry.occurred.store(true, Ordering::Relaxed);
        true
    }

    /// A case has ended, well or not.
    pub fn one_less(&self) {
        *self.pending.lock().unwrap() -= 1;
        self.ended.notify_all();
    }

    /// Waits for all cases, then fails with the entries that none has needed.
    pub fn all_occur(&self) -> Result<(), String> {
        let pending = self.pending.lock().unwrap();
        let wait = self.ended.wait_timeout_while(pending, PATIENCE, |pending| *pending > 0);
        if wait.unwrap().1.timed_out() {
            return Err(format!("some cases have not ended after {PATIENCE:?}"));
        }
        let idle = self.entries.iter().filter(|entry| !entry.occurred.load(Ordering::Relaxed));
        let idle: Vec<_> =
            idle.map(|e| format!("  {}, {}: {} / {}", e.case, e.step, e.theirs, e.ours)).collect();
        match idle.as_slice() {
            [] => Ok(()),
            _ => Err(format!("listed, but no difference any more:\n{}", idle.join("\n"))),
        }
    }
}

impl Entry {
    fn read(paragraph: &str) -> Option<Self> {
        let mut entry = Self::default();
        let lines = paragraph.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let mut last: Option<&mut String> = None;
        for line in lines {
            if line.starts_with(' ') {
                let field = last.as_mut().expect("a line goes on after a first one");
                field.push(' ');
                field.push_str(line.trim());
                continue;
            }
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no name: {line}"));
            let field = match name {
                "case" => &mut entry.case,
                "step" => &mut entry.step,
                "theirs" => &mut entry.theirs,
                "ours" => &mut entry.ours,
                "why" => &mut entry.why,
                _ => panic!("no such field: {line}"),
            };
            value.trim().clone_into(field);
            last = Some(field);
        }
        let fields = [&entry.case, &entry.step, &entry.theirs, &entry.ours, &entry.why];
        if fields.iter().all(|field| field.is_empty()) {
            return None;
        }
        assert!(fields.iter().all(|field| !field.is_empty()), "incomplete: {paragraph}");
        Some(entry)
    }

    fn fits(&self, case: &str, step: &str, theirs: &str, ours: &str) -> bool {
        let mut bound = BTreeMap::new();
        fits(&self.case, case, &mut bound, &mut |_| true)
            && fits(&self.step, step, &mut bound, &mut |_| true)
            && fits(&self.theirs, theirs, &mut bound, &mut |bound| {
                fits(&self.ours, ours, bound, &mut |_| true)
            })
    }
}

type Bound<'t> = BTreeMap<String, &'t str>;

/// Whether `text` fits the pattern, and `then` the names it has bound.
fn fits<'t>(
    pattern: &str,
    text: &'t str,
    bound: &mut Bound<'t>,
    then: &mut dyn FnMut(&mut Bound<'t>) -> bool,
) -> bool {
    let Some(special) = pattern.find(['*', '<']) else {
        return pattern == text && then(bound);
    };
    let Some(text) = text.strip_prefix(&pattern[..special]) else { return false };
    let rest = &pattern[special..];
    if let Some(rest) = rest.strip_prefix('*') {
        return ends(text).any(|end| fits(rest, &text[end..], bound, then));
    }
    let (name, rest) = rest[1..].split_once('>').expect("a name in a pattern ends with >");
    if let Some(known) = bound.get(name).copied() {
        return text.strip_prefix(known).is_some_and(|text| fits(rest, text, bound, then));
    }
    for end in ends(text) {
        bound.insert(name.to_owned(), &text[..end]);
        if fits(rest, &text[end..], bound, then) {
            return true;
        }
    }
    bound.remove(name);
    false
}

fn ends(text: &str) -> impl Iterator<Item = usize> {
    (0..=text.len()).filter(|end| text.is_char_boundary(*end))
}
