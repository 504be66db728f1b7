//! The differences that are meant to be, read from `intended.txt`.
//!
//! An entry is a paragraph. Its `case` lines name the cases it speaks of, one
//! pattern each; each `STEP: THEIRS => OURS` line is one difference in them;
//! `why` is for people. In a pattern `*` is any text, and `<A>` is a text that
//! is the same wherever it stands in the line. A line that begins with `#` is
//! a heading, one that begins with a blank goes on with the last.

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
    cases: Vec<String>,
    changes: Vec<Change>,
    why: String,
}

/// One difference in one step.
struct Change {
    step: String,
    theirs: String,
    ours: String,
    occurred: AtomicBool,
}

impl List {
    /// # Panics
    /// When the file is not as it should be: it is part of the test.
    pub fn read(text: &str, cases: usize) -> Self {
        let entries = text.split("\n\n").filter_map(Entry::read).collect();
        Self { entries, pending: Mutex::new(cases), ended: Condvar::new() }
    }

    /// Fails with the `case` lines that fit none of `cases`: one was renamed, or is gone.
    pub fn known(&self, cases: &[String]) -> Result<(), String> {
        let patterns = self.entries.iter().flat_map(|entry| &entry.cases);
        let is_stray = |pattern: &&String| !cases.iter().any(|case| names(pattern, case));
        match patterns.filter(is_stray).cloned().collect::<Vec<_>>().as_slice() {
            [] => Ok(()),
            stray => Err(format!("no case is named so: {}", stray.join("; "))),
        }
    }

    /// Whether somebody has meant this difference to be.
    pub fn has(&self, case: &str, step: &str, theirs: &str, ours: &str) -> bool {
        let of_case = self.entries.iter().filter(|entry| entry.speaks_of(case));
        let mut changes = of_case.flat_map(|entry| &entry.changes);
        let Some(change) = changes.find(|change| change.fits(step, theirs, ours)) else {
            return false;
        };
        change.occurred.store(true, Ordering::Relaxed);
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
        let idle: Vec<_> = self.entries.iter().flat_map(Entry::idle).collect();
        match idle.as_slice() {
            [] => Ok(()),
            _ => Err(format!("listed, but no difference any more:\n{}", idle.join("\n"))),
        }
    }
}

impl Entry {
    fn read(paragraph: &str) -> Option<Self> {
        let lines = paragraph.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let mut whole: Vec<String> = Vec::new();
        for line in lines {
            match whole.last_mut().filter(|_| line.starts_with(' ')) {
                Some(last) => *last += &format!(" {}", line.trim()),
                None => whole.push(line.to_owned()),
            }
        }
        let mut entry = Self::default();
        for line in &whole {
            match line.split_once(": ").unwrap_or_else(|| panic!("no name: {line}")) {
                ("case", pattern) => entry.cases.push(pattern.to_owned()),
                ("why", why) => why.clone_into(&mut entry.why),
                (step, change) => entry.changes.push(Change::read(step, change)),
            }
        }
        let is_whole =
            !entry.cases.is_empty() && !entry.changes.is_empty() && !entry.why.is_empty();
        assert!(is_whole || whole.is_empty(), "incomplete: {paragraph}");
        is_whole.then_some(entry)
    }

    fn speaks_of(&self, case: &str) -> bool {
        self.cases.iter().any(|pattern| names(pattern, case))
    }

    fn idle(&self) -> impl Iterator<Item = String> {
        let idle = self.changes.iter().filter(|change| !change.occurred.load(Ordering::Relaxed));
        idle.map(|c| format!("  {}: {}: {} => {}", self.cases[0], c.step, c.theirs, c.ours))
    }
}

impl Change {
    fn read(step: &str, change: &str) -> Self {
        let (theirs, ours) = change.split_once(" => ").unwrap_or_else(|| panic!("no =>: {change}"));
        Self {
            step: step.to_owned(),
            theirs: theirs.trim().to_owned(),
            ours: ours.trim().to_owned(),
            occurred: AtomicBool::new(false),
        }
    }

    fn fits(&self, step: &str, theirs: &str, ours: &str) -> bool {
        let mut bound = Bound::new();
        fits(&self.step, step, &mut bound, &mut |_| true)
            && fits(&self.theirs, theirs, &mut bound, &mut |bound| {
                fits(&self.ours, ours, bound, &mut |_| true)
            })
    }
}

/// Whether a `case` line speaks of this case.
fn names(pattern: &str, case: &str) -> bool {
    fits(pattern, case, &mut Bound::new(), &mut |_| true)
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
