//! The table of what was seen, and whether the published one is the same.

use crate::suite::{Fell, Seen};
use std::path::Path;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

/// Longer than the slowest run of all cases.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

const PUBLISHED: &str = include_str!("../../docs/truth.md");

/// Where the table is put that was seen.
const SEEN: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/truth.md");

/// One case.
pub struct Row {
    pub sentence: &'static str,
    pub ours: Seen,
    pub shell: Seen,
}

/// The rows in the order of the cases, and how many have yet to come.
pub struct Table {
    rows: Mutex<Rows>,
    ended: Condvar,
}

struct Rows {
    seen: Vec<Option<Row>>,
    pending: usize,
}

impl Table {
    pub fn of(cases: usize) -> Self {
        let seen = std::iter::repeat_with(|| None).take(cases).collect();
        Self { rows: Mutex::new(Rows { seen, pending: cases }), ended: Condvar::new() }
    }

    /// Writes a row down; an error where ours does not hold.
    pub fn fill(&self, place: usize, row: Result<Row, String>) -> Result<(), String> {
        let told = match &row {
            Ok(Row { ours: Err(Fell(seen)), .. }) => Err(seen.clone()),
            Ok(_) => Ok(()),
            Err(err) => Err(err.clone()),
        };
        let mut rows = self.rows.lock().unwrap();
        rows.seen[place] = row.ok();
        rows.pending -= 1;
        self.ended.notify_all();
        told
    }

    /// Waits for all rows, then compares.
    pub fn is_published(&self) -> Result<(), String> {
        let rows = self.rows.lock().unwrap();
        let wait = self.ended.wait_timeout_while(rows, PATIENCE, |rows| rows.pending > 0);
        let (rows, waited) = wait.unwrap();
        if waited.timed_out() {
            return Err(format!("some cases have not ended after {PATIENCE:?}"));
        }
        let seen = rows.text();
        if seen == PUBLISHED {
            return Ok(());
        }
        // The difference is shown below also where it cannot be written.
        let kept = std::fs::create_dir_all(Path::new(SEEN).parent().unwrap_or(Path::new("/")))
            .and_then(|()| std::fs::write(SEEN, &seen));
        let kept = kept.map_or_else(|err| err.to_string(), |()| format!("cp {SEEN} docs/truth.md"));
        Err(format!("docs/truth.md is not what was seen:\n{}{kept}", difference(PUBLISHED, &seen)))
    }
}

impl Rows {
    fn text(&self) -> String {
        let seen: Vec<_> = self.seen.iter().flatten().collect();
        let held = |of: fn(&Row) -> &Seen| seen.iter().filter(|row| of(row).is_ok()).count();
        let (ours, shell) = (held(|row| &row.ours), held(|row| &row.shell));
        let mut text = format!("{}\n", include_str!("preface.md").trim_end());
        text += &format!(
            "\nOf {} cases ours hold in {ours}, the shell agents in {shell}.\n\n",
            seen.len()
        );
        text += "| what has to be true | ours | the shell agent |\n|---|---|---|\n";
        for row in seen {
            let Row { sentence, ours, shell } = row;
            text += &format!("| {sentence} | {} | {} |\n", cell(ours), cell(shell));
        }
        text
    }
}

fn cell(seen: &Seen) -> String {
    match seen {
        Ok(()) => "holds".into(),
        Err(Fell(seen)) => format!("falls: {seen}").replace('|', "\\|"),
    }
}

fn difference(published: &str, seen: &str) -> String {
    let lacks = |text: &str, line: &str| !text.lines().any(|other| other == line);
    let gone = published.lines().filter(|line| lacks(seen, line)).map(|line| format!("- {line}\n"));
    let come = seen.lines().filter(|line| lacks(published, line)).map(|line| format!("+ {line}\n"));
    gone.chain(come).collect()
}
