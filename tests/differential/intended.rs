//! The differences that are meant to be, read from `intended.txt`.
//!
//! An entry is a paragraph of `name:` lines. `case`, `theirs` and `ours` are
//! patterns in which `*` stands for anything; `why` is for people. Lines that
//! begin with `#` are headings.

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
    pub fn has(&self, case: &str, theirs: &str, ours: &str) -> bool {
        let mut matching = self.entries.iter().filter(|entry| entry.matches(case, theirs, ours));
        let Some(entry) = matching.next() else { return false };
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
        let idle: Vec<_> = idle.map(|entry| format!("  {}: {}", entry.case, entry.why)).collect();
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
            if let Some(more) = line.strip_prefix("    ") {
                let field = last.as_mut().expect("a line goes on after a first one");
                field.push(' ');
                field.push_str(more.trim());
                continue;
            }
            let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no name: {line}"));
            let field = match name {
                "case" => &mut entry.case,
                "theirs" => &mut entry.theirs,
                "ours" => &mut entry.ours,
                "why" => &mut entry.why,
                _ => panic!("no such field: {line}"),
            };
            value.trim().clone_into(field);
            last = Some(field);
        }
        if entry.case.is_empty() && entry.why.is_empty() {
            return None;
        }
        let fields = [&entry.case, &entry.theirs, &entry.ours, &entry.why];
        assert!(fields.iter().all(|field| !field.is_empty()), "incomplete: {paragraph}");
        Some(entry)
    }

    fn matches(&self, case: &str, theirs: &str, ours: &str) -> bool {
        fits(&self.case, case) && fits(&self.theirs, theirs) && fits(&self.ours, ours)
    }
}

/// Whether `text` fits the pattern, in which `*` stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(first) else { return false };
    let starts = (0..=text.len()).filter(|start| text.is_char_boundary(*start));
    starts.into_iter().any(|start| fits(rest, &text[start..]))
}
