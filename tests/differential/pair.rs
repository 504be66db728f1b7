//! One case: a scene, parameters, steps, and the two agents that go through it.

use crate::harness::{self, Call, LIBVIRT, Machine, Outcome, STOCK, STOCK_HARESOURCES};
use crate::intended::List;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Makes a machine what the case needs; returns what is called differently on
/// each machine and what to call it in a transcript.
pub type Scene = fn(&Machine) -> Vec<(String, String)>;

/// What is left out of the kernel's state, and what is seen instead.
#[derive(Clone, Copy)]
pub struct Sight {
    /// What the lines begin with that are left out.
    pub instead_of: &'static str,
    pub see: fn(&Machine) -> String,
}

/// How the agents are called.
#[derive(Clone)]
pub enum Dialect {
    Ocf,
    /// heartbeat, with these words before the action.
    Words(Vec<String>),
}

/// One case of the comparison.
#[derive(Clone)]
pub struct Pair {
    pub name: String,
    /// The stock agent's name; with [`Dialect::Words`], the stock script's.
    pub theirs: &'static str,
    pub ours: &'static str,
    pub dialect: Dialect,
    pub parameters: Vec<(String, String)>,
    pub scene: Scene,
    /// What is seen of the resource besides, where the kernel's state is not to be
    /// the same: in another table, by another program.
    pub sight: Option<Sight>,
    /// `start`, `probe`, `monitor`, `monitor@20`, ... or `! ` and a shell line.
    pub steps: Vec<String>,
}

enum Side {
    Theirs,
    Ours,
}

impl Pair {
    /// A case in the OCF dialect.
    pub fn new(name: impl Into<String>, theirs: &'static str, ours: &'static str) -> Self {
        Self {
            name: name.into(),
            theirs,
            ours,
            dialect: Dialect::Ocf,
            parameters: Vec::new(),
            scene: |_| Vec::new(),
            sight: None,
            steps: Vec::new(),
        }
    }

    pub fn scene(mut self, scene: Scene) -> Self {
        self.scene = scene;
        self
    }

    pub fn sight(mut self, sight: Sight) -> Self {
        self.sight = Some(sight);
        self
    }

    pub fn words(mut self, words: &[&str]) -> Self {
        self.dialect = Dialect::Words(words.iter().map(ToString::to_string).collect());
        self
    }

    /// Sets parameters; a value that is `None` in a table is left out there.
    pub fn with(mut self, parameters: &[(&str, &str)]) -> Self {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        self.parameters.extend(parameters.iter().map(owned));
        self
    }

    pub fn steps(mut self, steps: &[&str]) -> Self {
        self.steps = steps.iter().map(ToString::to_string).collect();
        self
    }

    /// What has to be installed.
    pub fn needs(&self) -> impl Iterator<Item = &'static str> + use<> {
        let program = match (&self.dialect, self.theirs) {
            (Dialect::Words(_), "drbddisk") => "/etc/ha.d/resource.d/drbddisk",
            (Dialect::Words(_), _) => "/etc/ha.d/resource.d/hto-mapfuncs",
            (_, "exportfs") => "exportfs",
            (_, "portblock") => "iptables",
            (_, "VirtualDomain") => return LIBVIRT.to_vec().into_iter(),
            _ => "/usr/lib/ocf/resource.d/heartbeat/IPaddr2",
        };
        vec![program].into_iter()
    }

    /// Compares the two.
    pub fn run(self, intended: &List) -> Result<(), String> {
        let compared = self.compare(intended);
        intended.one_less();
        compared
    }

    fn compare(self, intended: &List) -> Result<(), String> {
        let on = |side| {
            let pair = self.clone();
            harness::on_its_own_machine(move |machine| pair.transcript(machine, &side))
        };
        let (theirs, ours) = (on(Side::Theirs)?, on(Side::Ours)?);
        if std::env::var_os("STURDY_SHOW").is_some() {
            eprintln!("{}\n  theirs: {}\n  ours:   {}", self.name, theirs.short(), ours.short());
        }
        let differs = |((step, theirs), (_, ours)): &(&Step, &Step)| {
            theirs != ours && !intended.has(&self.name, step, theirs, ours)
        };
        // Every step is looked up, so that every entry that is needed is seen.
        let steps = theirs.steps.iter().zip(&ours.steps);
        let differing: Vec<_> = steps.filter(differs).collect();
        if differing.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        for (name, value) in &self.parameters {
            text += &format!("{name}={value:?} ");
        }
        for ((step, theirs), (_, ours)) in differing {
            text += &format!("\n{step}\n  theirs: {theirs}\n  ours:   {ours}");
        }
        Err(format!("{text}\ntheirs said:\n{}ours said:\n{}", theirs.said, ours.said))
    }

    fn transcript(&self, machine: &Machine, side: &Side) -> Transcript {
        let names = (self.scene)(machine);
        let call = self.call(side, &names);
        let mut transcript = Transcript::default();
        let mut before = machine.state();
        for step in &self.steps {
            let result = match step.strip_prefix("! ") {
                Some(line) => {
                    let line = replace(line, &names, |(real, called)| (called, real));
                    machine.must("sh", &["-c", &line]);
                    before = machine.state();
                    continue;
                }
                None => self.step(&call, step, &names),
            };
            let after = machine.state();
            let mut changes = before.changes(&after);
            let mut judged = self.judge(step, &result);
            if let Some(Sight { instead_of, see }) = self.sight {
                changes.retain(|change| !change[2..].starts_with(instead_of));
                judged += &format!(", {}", see(machine));
            }
            transcript.add(step, &judged, &changes, &names);
            transcript.hear(step, &result);
            before = after;
        }
        transcript
    }

    fn call(&self, side: &Side, names: &[(String, String)]) -> Call {
        let call = Call::new(self.program(side)).timeout(Duration::from_secs(20));
        let set = |call: Call, (name, value): &(String, String)| {
            let value = replace(value, names, |(real, called)| (called, real));
            match name.strip_prefix("OCF_") {
                Some(_) => call.env(name, value),
                None => call.set(name, value),
            }
        };
        self.parameters.iter().fold(call, set)
    }

    fn program(&self, side: &Side) -> PathBuf {
        match (side, &self.dialect) {
            (Side::Ours, _) if std::env::var_os("STURDY_ITSELF").is_none() => {
                Path::new(harness::AGENTS).join(self.ours)
            }
            (_, Dialect::Ocf) => Path::new(STOCK).join(self.theirs),
            (_, Dialect::Words(_)) => stock_script(self.theirs),
        }
    }

    fn step(&self, call: &Call, step: &str, names: &[(String, String)]) -> Outcome {
        let (action, level) = step.split_once('@').unwrap_or((step, ""));
        let call = if level.is_empty() { call.clone() } else { call.clone().depth(level) };
        match &self.dialect {
            Dialect::Ocf if action == "probe" => call.probe(),
            Dialect::Ocf => call.action(action),
            Dialect::Words(words) => {
                let real = |word| replace(word, names, |(real, called)| (called, real));
                let words: Vec<_> = words.iter().map(|word| real(word)).collect();
                let words: Vec<_> = words.iter().map(String::as_str).chain([action]).collect();
                call.heartbeat(&words)
            }
        }
    }

    /// What the caller makes of it: the exit code, or for heartbeat's `status`
    /// the words that it looks for.
    fn judge(&self, step: &str, result: &Outcome) -> String {
        if result.timed_out {
            return "hangs".into();
        }
        let code = result.code.map_or("signal".into(), |code| code.to_string());
        match (&self.dialect, step) {
            (Dialect::Words(_), "status") => heartbeat_reads(&result.stdout).into(),
            // To heartbeat a start or a stop has worked or not.
            (Dialect::Words(_), _) if code == "0" => "ok".into(),
            (Dialect::Words(_), _) => "fails".into(),
            _ => code,
        }
    }
}

/// How heartbeat's ResourceManager reads the output of `status`.
fn heartbeat_reads(output: &str) -> &'static str {
    let lower = output.to_ascii_lowercase();
    let denied = lower.find("not").is_some_and(|at| lower[at..].contains(" running"));
    if denied {
        "stopped"
    } else if output.contains("running") || output.contains("Running") || output.contains("OK") {
        "running"
    } else {
        "stopped"
    }
}

fn stock_script(name: &str) -> PathBuf {
    let moved = Path::new(STOCK_HARESOURCES).join(name);
    if moved.exists() { moved } else { Path::new("/etc/ha.d/resource.d").join(name) }
}

fn replace<'a>(
    text: &str,
    names: &'a [(String, String)],
    order: impl Fn(&'a (String, String)) -> (&'a String, &'a String),
) -> String {
    names.iter().map(order).fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// What happened, step by step: what was asked, and what came of it.
#[derive(Default)]
struct Transcript {
    steps: Vec<Step>,
    said: String,
}

type Step = (String, String);

impl Transcript {
    fn add(&mut self, step: &str, result: &str, changes: &[String], names: &[(String, String)]) {
        let mut result = result.to_owned();
        if !changes.is_empty() {
            let changes = changes.iter().map(|change| replace(change, names, |(a, b)| (a, b)));
            // In the order of the names, not of the devices behind them.
            let changes: BTreeSet<_> = changes.collect();
            let changes = changes.into_iter().collect::<Vec<_>>().join(", ");
            result += &format!(" {{{changes}}}");
        }
        self.steps.push((step.to_owned(), result));
    }

    fn hear(&mut self, step: &str, result: &Outcome) {
        self.said += &format!("  {step}: {}\n", **result);
    }

    fn short(&self) -> String {
        let steps = self.steps.iter().map(|(step, result)| format!("{step} {result}"));
        steps.collect::<Vec<_>>().join("; ")
    }
}
