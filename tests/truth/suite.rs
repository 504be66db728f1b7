//! A scene, the suite that is tried in it, and what it told.

use crate::harness::{Call, Machine, Outcome, Program};
use std::cell::RefCell;
use std::path::Path;
use std::time::Duration;

/// What all cases need besides the kernel: the other suite.
pub const NEEDS: &[&str] = &["/usr/lib/ocf/resource.d/heartbeat/Filesystem", "mkfs.ext4"];

/// What Debian's drbd-utils bring for Pacemaker.
const LINBIT: &str = "/usr/lib/ocf/resource.d/linbit";

/// Whose agents are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Suite {
    Ours,
    Shell,
}

/// A case: what has to be true of an agent, and how it is tried.
#[derive(Clone, Copy)]
pub struct Scene {
    pub sentence: &'static str,
    pub run: fn(&Machine, Suite) -> Seen,
    /// Programs besides those that all cases need.
    pub needs: &'static [&'static str],
}

/// What was seen: that it held, or what instead.
pub type Seen = Result<(), Fell>;

/// What was seen where the sentence is false.
#[derive(Debug)]
pub struct Fell(pub String);

/// A scene that needs nothing more.
pub fn scene(sentence: &'static str, run: fn(&Machine, Suite) -> Seen) -> Scene {
    Scene { sentence, run, needs: &[] }
}

impl Suite {
    /// The agent that keeps what ours of this name does.
    pub fn agent(self, machine: &Machine, ours: &str) -> Resource {
        let call = match (self, ours) {
            (Self::Ours, _) => machine.agent(ours),
            (Self::Shell, "IPaddr") => machine.stock("IPaddr2"),
            (Self::Shell, "drbd") => Call::new(Path::new(LINBIT).join("drbd")),
            (Self::Shell, _) => machine.stock(ours),
        };
        Resource { call, told: RefCell::default() }
    }
}

/// A resource of one suite, and what was said of it so far.
pub struct Resource {
    call: Call,
    told: RefCell<Vec<String>>,
}

impl Resource {
    pub fn set(self, name: &str, value: &str) -> Self {
        self.with(|call| call.set(name, value))
    }

    /// The time limit of all its actions, at which the cluster kills them.
    pub fn within(self, seconds: u64) -> Self {
        self.with(|call| call.timeout(Duration::from_secs(seconds)).killed_at_its_timeout())
    }

    pub fn with(self, change: impl FnOnce(Call) -> Call) -> Self {
        Self { call: change(self.call), ..self }
    }

    /// The call behind it, for what the cluster does not do.
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// A start that the scene needs.
    pub fn started(&self) -> Seen {
        let start = self.start();
        self.claim(start.code == Some(0), "")?;
        self.told.borrow_mut().clear();
        Ok(())
    }

    pub fn start(&self) -> Outcome {
        self.tell("start", self.call.action("start"))
    }

    pub fn monitor(&self) -> Outcome {
        self.tell("monitor", self.call.action("monitor"))
    }

    pub fn monitor_at(&self, depth: &str) -> Outcome {
        self.tell("monitor", self.call.clone().depth(depth).action("monitor"))
    }

    pub fn probe(&self) -> Outcome {
        self.tell("probe", self.call.probe())
    }

    pub fn stop(&self) -> Outcome {
        self.tell("stop", self.call.action("stop"))
    }

    fn tell(&self, action: &str, outcome: Outcome) -> Outcome {
        if std::env::var_os("STURDY_SHOW").is_some() {
            eprintln!("{action} of {}: {}", self.call.path().display(), *outcome);
        }
        let how = match outcome.code {
            _ if outcome.timed_out => "hangs".into(),
            Some(code) => code.to_string(),
            None => "is killed".into(),
        };
        self.told.borrow_mut().push(format!("{action} {how}"));
        outcome
    }

    /// Goes on where it is so; else the sentence is false, and this was seen.
    pub fn claim(&self, holds: bool, seen: &str) -> Seen {
        let told = self.told.borrow().join(", ");
        match (holds, told.as_str(), seen) {
            (true, ..) => Ok(()),
            (false, "", seen) => Err(Fell(seen.to_owned())),
            (false, told, "") => Err(Fell(told.to_owned())),
            (false, told, seen) => Err(Fell(format!("{told}: {seen}"))),
        }
    }

    /// A stop that has to end well, and then there has to be nothing.
    pub fn stops(&self, is_there: impl FnOnce() -> bool, left: &str) -> Seen {
        let stop = self.stop();
        self.claim(!is_there(), left)?;
        self.claim(stop.code == Some(0), "")
    }

    /// A stop that may fail, but must not end well while something is there.
    pub fn stops_or_says_so(&self, is_there: impl FnOnce() -> bool, left: &str) -> Seen {
        let stop = self.stop();
        self.claim(stop.code.is_some() && !stop.timed_out, "")?;
        self.claim(stop.code != Some(0) || !is_there(), left)
    }
}

/// What an agent has told anywhere where a person reads it.
pub fn everything_told(outcome: &Outcome) -> String {
    let log = std::fs::read_to_string("/var/log/agents.log").unwrap_or_default();
    format!("{}{}{log}", outcome.stdout, outcome.stderr)
}

/// A process of the machine that does what the script says, once it does.
pub fn process(machine: &Machine, script: &str) -> crate::harness::Running {
    let script = script.replace("READY", "touch /tmp/ready");
    let running = Program::new("sh").args(["-c", &script]).spawn();
    let is_ready = || std::fs::exists("/tmp/ready").unwrap_or_default();
    assert!(wait_for(Duration::from_secs(5), is_ready), "{script} is not ready");
    machine.must("rm", &["/tmp/ready"]);
    running
}

/// Whether it is so before the time is over.
pub fn wait_for(time: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let end = std::time::Instant::now() + time;
    while !is_so() {
        if std::time::Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    true
}
