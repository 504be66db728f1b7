//! The programs that change DRBD: `drbdadm`, and `drbdsetup` where the
//! configuration is broken.

use super::{DrbdRole, Resource, config, node};
use crate::host::program::Output;
use crate::host::system::{System, View};
use anyhow::{Result, anyhow};
use std::path::Path;
use std::time::{Duration, Instant};

pub use super::complaint::complaint;

/// DRBD's programs: the configuration is broken, or lacks the resource.
const NOT_CONFIGURED: i32 = 10;
/// The kernel refuses the change: the device is in use, or the peer is Primary.
const REFUSED: i32 = 11;
/// There is no disk with up-to-date data, or the peer could not be fenced.
const NO_DATA: i32 = 17;

/// Why a change was refused.
#[derive(Debug)]
pub struct Refusal {
    code: i32,
    reason: String,
    words: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.words, self.reason)
    }
}

impl std::error::Error for Refusal {}

impl Refusal {
    /// Whether someone has the device open.
    pub fn is_held_open(&self) -> bool {
        self.code == REFUSED && (self.reason.contains("-12") || self.reason.contains("held open"))
    }

    /// Whether no amount of trying gets at good data.
    pub fn is_without_data(&self) -> bool {
        self.code == NO_DATA
    }

    /// Whether the program failed before it asked the kernel.
    fn is_about_the_configuration(&self) -> bool {
        matches!(self.code, 1 | NOT_CONFIGURED)
    }
}

/// `drbdadm`, for one resource of one configuration.
#[derive(Clone, Debug)]
pub struct Admin {
    name: String,
    options: Vec<String>,
}

impl Admin {
    /// For the resource of this name, by DRBD's own configuration.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), options: Vec::new() }
    }

    /// For the resource of this name, by the configuration file or by DRBD's
    /// own, and as that has it here: one that is stacked on another is not
    /// known to `drbdadm` without being told so. Where the configuration
    /// cannot be read, `drbdadm` will say why.
    pub fn of(view: &View, name: &str, file: Option<&Path>) -> Self {
        let admin = match file {
            Some(file) => Self::new(name).by(file),
            None => Self::new(name),
        };
        match lower(view, name, file) {
            Ok(Some(_)) => admin.stacked(),
            Ok(None) => admin,
            Err(err) => {
                view.note(format_args!("{err:#}; {name} is taken for not stacked"));
                admin
            }
        }
    }

    fn by(mut self, file: &Path) -> Self {
        self.options.extend(["-c".into(), file.to_string_lossy().into_owned()]);
        self
    }

    /// For a resource that is stacked on another.
    pub fn stacked(mut self) -> Self {
        if !self.is_stacked() {
            self.options.push("--stacked".into());
        }
        self
    }

    /// Whether it is for a resource that is stacked on another.
    pub fn is_stacked(&self) -> bool {
        self.options.iter().any(|option| option == "--stacked")
    }

    /// The name of the resource.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn words<'a>(&'a self, verb: &[&'a str], object: &'a str) -> Vec<&'a str> {
        let options = self.options.iter().map(String::as_str);
        options.chain(verb.iter().copied()).chain([object]).collect()
    }

    /// Asks for something that changes nothing.
    pub fn query(&self, view: &View, verb: &[&str]) -> Result<Output> {
        view.query("drbdadm", &self.words(verb, &self.name))
    }

    /// Asks for something about the whole configuration.
    pub fn query_all(&self, view: &View, verb: &[&str]) -> Result<Output> {
        view.query("drbdadm", &self.words(verb, "all"))
    }

    /// Tells to do something. What it says no to is a [`Refusal`].
    pub fn change(&self, system: &System<'_>, verb: &[&str]) -> Result<()> {
        run(system, "drbdadm", &self.words(verb, &self.name))
    }

    /// Tells to do something that may take this long and no longer; the
    /// answer is the program's.
    pub fn change_within(
        &self,
        system: &System<'_>,
        limit: Duration,
        env: &[(&str, &str)],
        verb: &[&str],
    ) -> Result<Output> {
        system.change_within(limit, env, "drbdadm", &self.words(verb, &self.name))
    }

    /// Tells to do something to the connection with one peer.
    pub fn change_peer(&self, system: &System<'_>, verb: &str, peer: &str) -> Result<()> {
        run(system, "drbdadm", &self.words(&[verb], &format!("{}:{peer}", self.name)))
    }

    /// Sets the role through the configuration, or past it where that is broken
    /// and the kernel has the resource.
    pub fn set_role(
        &self,
        system: &System<'_>,
        role: DrbdRole,
        known: Option<&Resource>,
    ) -> Result<()> {
        let verb = if role == DrbdRole::Primary { "primary" } else { "secondary" };
        self.or_past(system, verb, |system| match known {
            Some(known) => past_the_configuration(system, known, verb),
            None => Ok(Vec::new()),
        })
    }

    /// Takes the resource out of the kernel, in either way.
    pub fn down(&self, system: &System<'_>) -> Result<()> {
        self.or_past(system, "down", |_| Ok(vec![["down".into(), self.name.clone()]]))
    }

    fn or_past(
        &self,
        system: &System<'_>,
        verb: &str,
        past: impl FnOnce(&System<'_>) -> Result<Vec<[String; 2]>>,
    ) -> Result<()> {
        // It may hang over a name that nobody resolves. A promotion has the
        // kernel wait for a handler, which must not be cut short; the ways down
        // leave time for the way past it.
        let limit = match verb {
            "primary" => system.deadline().left(),
            _ => system.deadline().left() / 2,
        };
        let words = self.words(&[verb], &self.name);
        let Err(err) = run_within(system, limit, "drbdadm", &words) else { return Ok(()) };
        let refusal = err.downcast_ref::<Refusal>();
        let is_the_kernels = refusal.is_some_and(|refusal| !refusal.is_about_the_configuration());
        if is_the_kernels || system.deadline().has_passed() {
            return Err(err);
        }
        let past = past(system)?;
        if past.is_empty() {
            return Err(err);
        }
        system.warn(format_args!("{err:#}; going past the configuration"));
        past.iter()
            .try_for_each(|words| run(system, "drbdsetup", &words.each_ref().map(String::as_str)))
            .map_err(|past| anyhow!("{past:#}, and before that {err:#}"))
    }
}

/// What the configuration has the resource stacked on, on this node.
pub fn lower(view: &View, name: &str, file: Option<&Path>) -> Result<Option<String>> {
    let (config, node) = (config::read(view, file)?, node(view)?);
    let here = config
        .here(name, &node)
        .ok_or_else(|| anyhow!("resource {name} is not in the configuration"))?;
    Ok(here.lower().map(str::to_owned))
}

fn run(system: &System<'_>, program: &str, words: &[&str]) -> Result<()> {
    run_within(system, system.deadline().left(), program, words)
}

fn run_within(system: &System<'_>, limit: Duration, program: &str, words: &[&str]) -> Result<()> {
    let said = system.change_within(limit, &[], program, words)?;
    if said.success() {
        return Ok(());
    }
    let words = format!("{program} {}", words.join(" "));
    Err(Refusal { code: said.code, reason: complaint(&said), words }.into())
}

/// The words that make `drbdsetup` do it, for each object it takes: the resource
/// since 9, its minors in 8.4.
fn past_the_configuration(
    system: &System<'_>,
    resource: &Resource,
    verb: &str,
) -> Result<Vec<[String; 2]>> {
    if super::version(system)? >= (9, 0) {
        return Ok(vec![[verb.into(), resource.name.clone()]]);
    }
    let minors = resource.volumes.iter().filter_map(|volume| volume.minor);
    Ok(minors.map(|minor| [verb.into(), minor.to_string()]).collect())
}

/// Tries up to `times`, a second apart, for as long as the deadline lets it
/// and `worthwhile` is of the opinion that it may help.
pub fn persist(
    system: &System<'_>,
    times: u32,
    mut attempt: impl FnMut() -> Result<()>,
    mut worthwhile: impl FnMut(&anyhow::Error) -> Result<bool>,
) -> Result<()> {
    /// Long enough for DRBD to notice that a peer is gone.
    const PAUSE: Duration = Duration::from_secs(1);
    let mut tried = 1;
    let mut refusal = None;
    loop {
        let begun = Instant::now();
        let Err(err) = attempt() else { return Ok(()) };
        // An attempt that would be cut short says less than this one.
        let is_over = tried == times || system.deadline().left() <= PAUSE + 2 * begun.elapsed();
        let err = match err.is::<Refusal>() {
            true => err,
            false => refusal.take().unwrap_or(err),
        };
        if is_over || !worthwhile(&err)? {
            return Err(match tried {
                1 => err,
                _ => err.context(format!("gave up after {tried} tries")),
            });
        }
        refusal = err.is::<Refusal>().then_some(err);
        tried += 1;
        system.pause(PAUSE);
    }
}
