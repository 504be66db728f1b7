//! The machine, in two grades: [`View`] looks, [`System`] changes.

use crate::host::clock::{Deadline, Pace};
use crate::host::file;
use crate::host::journal::{Journal, Level};
use crate::host::mark;
use crate::host::program::{self, Missing, Output};
use anyhow::{Context, Result, bail};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

/// How a [`View`] is made.
#[derive(Debug)]
pub struct ViewOptions {
    /// When every wait ends.
    pub deadline: Deadline,
    /// Where the trace goes.
    pub journal: Journal,
    /// Directory for records: `/run/resource-agents`.
    pub run_dir: PathBuf,
    /// Whom programs that change the machine are started for.
    pub owner: String,
    /// Whether to find no program at all, as a tester may ask.
    pub without_programs: bool,
}

/// Read access to the machine. Nothing that takes only a `View` can change it.
#[derive(Debug)]
pub struct View {
    root: PathBuf,
    options: ViewOptions,
    deadline: Cell<Deadline>,
    lock: RefCell<Weak<File>>,
    /// The file systems that did not answer in time.
    silent: RefCell<BTreeSet<String>>,
    /// Whether one of them is worth most of the time.
    patient: Cell<bool>,
}

/// Write access. Only the frame makes one, and hands it only to the steps of a
/// plan.
#[derive(Debug)]
pub struct System<'a>(&'a View);

impl Deref for System<'_> {
    type Target = View;

    fn deref(&self) -> &View {
        self.0
    }
}

impl View {
    /// The machine this process runs on.
    pub fn new(options: ViewOptions) -> Self {
        Self::of(PathBuf::from("/"), options)
    }

    /// A machine made of files below `root`, for unit tests.
    pub fn below(root: &Path, deadline: Deadline) -> Self {
        let run_dir = root.join("run/resource-agents");
        let journal = Journal::default();
        let owner = String::new();
        let options = ViewOptions { deadline, journal, run_dir, owner, without_programs: false };
        Self::of(root.to_path_buf(), options)
    }

    fn of(root: PathBuf, options: ViewOptions) -> Self {
        let deadline = Cell::new(options.deadline);
        let (lock, silent, patient) = Default::default();
        Self { root, options, deadline, lock, silent, patient }
    }

    /// When every wait has to be over.
    pub fn deadline(&self) -> Deadline {
        self.deadline.get()
    }

    /// Whether waits end this much before their time, so that there is some
    /// left for clearing up.
    pub(crate) fn keep_back(&self, time: Duration) {
        self.deadline.set(self.options.deadline.sooner(time));
    }

    /// Adds a line to the trace.
    pub fn note(&self, line: std::fmt::Arguments<'_>) {
        self.options.journal.write(Level::Trace, line);
    }

    /// Tells the log that something has changed.
    pub fn info(&self, line: std::fmt::Arguments<'_>) {
        self.options.journal.write(Level::Info, line);
    }

    /// Tells the log of something that calls for a person.
    pub fn warn(&self, line: std::fmt::Arguments<'_>) {
        self.options.journal.write(Level::Warning, line);
    }

    /// Where the absolute path lies on this machine.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        match path.strip_prefix("/") {
            Ok(below) if self.root != Path::new("/") => self.root.join(below),
            _ => path.to_path_buf(),
        }
    }

    /// Reads a file of the kernel's, whole.
    pub fn read(&self, path: impl AsRef<Path>) -> io::Result<String> {
        let path = self.path(path);
        let read = file::read(&path);
        self.note(format_args!("read {} = {}", path.display(), outcome(&read)));
        read
    }

    /// The names in a directory, sorted, but for `.` and `..`.
    pub fn list(&self, path: impl AsRef<Path>) -> io::Result<Vec<String>> {
        let path = self.path(path);
        let listed = std::fs::read_dir(&path).and_then(|entries| {
            let mut names = entries
                .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
                .collect::<io::Result<Vec<_>>>()?;
            names.sort_unstable();
            Ok(names)
        });
        self.note(format_args!("list {} = {}", path.display(), outcome(&listed)));
        listed
    }

    /// Where a symbolic link of the kernel's or of udev's points, as it is
    /// written.
    pub fn read_link(&self, path: impl AsRef<Path>) -> io::Result<PathBuf> {
        let path = self.path(path);
        let read = std::fs::read_link(&path);
        self.note(format_args!("link {} = {read:?}", path.display()));
        read
    }

    /// Whether this is the machine that the process runs on. What is not a
    /// file, a socket of the kernel's, is there only then.
    pub fn is_real(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Where a program lies.
    pub fn program(&self, name: &str) -> Result<PathBuf, Missing> {
        if self.options.without_programs {
            return Err(Missing(name.to_owned()));
        }
        program::find(&self.root, name)
    }

    /// Runs a program that only reports. Its exit code is in the answer; an
    /// error means that it is missing, could not be run or did not end in time.
    pub fn query<S: AsRef<OsStr>>(&self, name: &str, args: &[S]) -> Result<Output> {
        self.run(name, args)
    }

    /// As [`query`](Self::query), for no longer than `limit`, also where the
    /// action's own time is over.
    pub fn query_within<S: AsRef<OsStr>>(
        &self,
        limit: Duration,
        name: &str,
        args: &[S],
    ) -> Result<Output> {
        self.run_until(Deadline::after(limit), &[], name, args)
    }

    fn run<S: AsRef<OsStr>>(&self, name: &str, args: &[S]) -> Result<Output> {
        self.run_until(self.deadline(), &[], name, args)
    }

    fn run_until<S: AsRef<OsStr>>(
        &self,
        deadline: Deadline,
        env: &[(&str, &str)],
        name: &str,
        args: &[S],
    ) -> Result<Output> {
        let path = self.program(name)?;
        let begun = Instant::now();
        let shown = program::shown(name, args);
        self.note(format_args!("run {shown}"));
        if deadline.has_passed() {
            bail!("no time is left to run {shown}");
        }
        let surroundings = program::Surroundings { env, kept: None };
        let output = program::run_with(&path, args, deadline, &surroundings)
            .with_context(|| format!("cannot run {shown}"))?;
        self.note(format_args!(
            "run {shown} = {} after {:.1?}{}{}",
            output.code,
            begun.elapsed(),
            if output.stderr.is_empty() { "" } else { "; " },
            output.stderr.trim_end(),
        ));
        Ok(output)
    }

    /// Looks until `look` finds something. The error names what was `wanted`
    /// and what `look` said last: what it found in time tells more than that a
    /// last look had no time left.
    pub fn until<T>(
        &self,
        wanted: &str,
        mut look: impl FnMut() -> Result<Result<T, String>>,
    ) -> Result<T> {
        let begun = Instant::now();
        let mut pace = Pace::new();
        let mut before = None;
        loop {
            let looked = look();
            let is_late = self.deadline().has_passed();
            let found = match (looked, before) {
                (Ok(Ok(found)), _) => return Ok(found),
                (Ok(Err(instead)), _) => instead,
                (Err(_), Some(before)) if is_late => before,
                (Err(err), _) => return Err(err),
            };
            if is_late {
                bail!("waited {:.1?} for {wanted}, found {found}", begun.elapsed());
            }
            before = Some(found);
            pace.rest(self.deadline());
        }
    }

    /// Lets time pass, but not beyond the deadline.
    pub fn pause(&self, time: Duration) {
        std::thread::sleep(time.min(self.deadline().left()));
    }

    /// Hands write access to `act`, and takes it back.
    pub(crate) fn with_write_access<T>(&self, act: impl FnOnce(&System<'_>) -> T) -> T {
        act(&System(self))
    }

    /// Lets children that work for this action share its lock.
    pub(crate) fn share_lock(&self, lock: &Rc<File>) {
        *self.lock.borrow_mut() = Rc::downgrade(lock);
    }

    /// The mark of what works for this action.
    pub(crate) fn mark(&self) -> String {
        mark::of(&self.options.owner)
    }

    /// The lock that this action holds, as long as it does.
    pub(crate) fn lock(&self) -> Option<Rc<File>> {
        self.lock.borrow().upgrade()
    }

    /// Whether this file system did not answer before.
    pub(crate) fn is_silent(&self, name: &str) -> bool {
        self.silent.borrow().contains(name)
    }

    /// Until when a file system is waited for that may not answer: for a third of the
    /// time that is left, so that as much is there for another try, and for what is
    /// to be said; see also [`patiently`](Self::patiently).
    pub(crate) fn patience(&self) -> Deadline {
        let left = self.deadline().left();
        let share = if self.patient.get() { left / 4 * 3 } else { left / 3 };
        self.deadline().at_most(share.max(Duration::from_secs(1)))
    }

    /// Has `look` wait longer for file systems that do not answer, and ask again those
    /// that have not: a cluster's file system keeps everybody waiting until what a node
    /// has left that is lost was put in order.
    pub fn patiently<T>(&self, look: impl FnOnce() -> T) -> T {
        self.silent.borrow_mut().clear();
        let before = self.patient.replace(true);
        let seen = look();
        self.patient.set(before);
        seen
    }

    /// It has not answered, and is not to be waited for again.
    pub(crate) fn remember_silent(&self, name: String) {
        self.silent.borrow_mut().insert(name);
    }

    /// Where records and locks lie.
    pub fn run_dir(&self) -> &Path {
        &self.options.run_dir
    }
}

impl System<'_> {
    /// Runs a program that changes the machine.
    pub fn change<S: AsRef<OsStr>>(&self, name: &str, args: &[S]) -> Result<Output> {
        self.change_within(Duration::MAX, &[], name, args)
    }

    /// Runs a program of the administrator's, which may leave others behind
    /// that are none of our business.
    pub fn script(&self, path: &Path) -> Result<Output> {
        self.run::<&str>(&path.to_string_lossy(), &[])
    }

    /// As [`change`](Self::change), for no longer than `limit`, and with these
    /// in the program's environment besides.
    pub fn change_within<S: AsRef<OsStr>>(
        &self,
        limit: Duration,
        env: &[(&str, &str)],
        name: &str,
        args: &[S],
    ) -> Result<Output> {
        let mark = self.mark();
        let env: Vec<_> = env.iter().copied().chain([(mark::VARIABLE, mark.as_str())]).collect();
        self.run_until(self.deadline().at_most(limit), &env, name, args)
    }

    /// Runs a program that changes the machine once for each of these, side by
    /// side.
    pub fn change_side_by_side<S: AsRef<OsStr>>(
        &self,
        name: &str,
        orders: &[impl AsRef<[S]>],
    ) -> Result<Vec<Result<Output>>> {
        let path = self.program(name)?;
        let mark = self.mark();
        let env = [(mark::VARIABLE, mark.as_str())];
        let surroundings = program::Surroundings { env: &env, kept: None };
        let done = program::run_side_by_side(&path, orders, self.deadline(), &surroundings);
        for (args, done) in orders.iter().zip(&done) {
            let shown = program::shown(name, args.as_ref());
            match done {
                Ok(done) => self.note(format_args!(
                    "run {shown} = {}; {}",
                    done.code,
                    done.stderr.trim_end()
                )),
                Err(err) => self.note(format_args!("run {shown} = {err:#}")),
            }
        }
        Ok(done)
    }

    /// Starts this binary again in a session of its own, as `--background WORD
    /// ...`. It keeps `handed` as its standard input and nothing else of ours.
    pub fn background(&self, words: &[String], handed: Option<OwnedFd>) -> Result<u32> {
        self.note(format_args!("background {}", words.join(" ")));
        program::background(words, handed).context("cannot start the background part")
    }

    /// Writes to a file of the kernel's that exists: /proc, /sys.
    pub fn write(&self, path: impl AsRef<Path>, text: &str) -> Result<()> {
        let path = self.path(path);
        let written = file::write_existing(&path, text);
        self.note(format_args!("write {} <- {text} = {}", path.display(), outcome(&written)));
        written.with_context(|| format!("cannot write to {}", path.display()))
    }
}

/// How it went, for the trace.
pub(crate) fn outcome<T>(result: &io::Result<T>) -> String {
    match result {
        Ok(_) => "ok".into(),
        Err(err) => err.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends_after(limit: Duration) -> View {
        View::new(ViewOptions {
            deadline: Deadline::after(limit),
            journal: Journal::default(),
            run_dir: "/nowhere".into(),
            owner: "test".into(),
            without_programs: false,
        })
    }

    #[test]
    fn what_was_found_in_time_counts_where_the_last_look_has_no_time() {
        let view = ends_after(Duration::from_millis(50));
        let waited = view.with_write_access(|system| {
            system.until::<()>("a guest to end", || match system.deadline().has_passed() {
                false => Ok(Err("that it runs".into())),
                true => bail!("the daemon does not answer"),
            })
        });
        let told = waited.unwrap_err().to_string();
        assert!(told.ends_with(" for a guest to end, found that it runs"), "{told}");
        let failed = view.with_write_access(|system| {
            system.until::<()>("a guest to end", || bail!("the daemon does not answer"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "the daemon does not answer");
    }

    #[test]
    fn no_program_is_started_when_the_time_is_over() {
        let late = ends_after(Duration::ZERO);
        let begun = Instant::now();
        let refused = late.query("sleep", &["5"]).unwrap_err();
        assert_eq!(refused.to_string(), "no time is left to run sleep 5");
        assert!(begun.elapsed() < Duration::from_secs(1));
        assert!(late.query_within(Duration::from_secs(5), "true", &[] as &[&str]).is_ok());
    }
}
