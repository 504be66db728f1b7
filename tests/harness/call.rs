//! One call of a resource agent, in the dialect of the one who calls.

use super::older::Version;
use super::place::{AGENTS, HARESOURCES};
use super::program::{Output, Program, Running};
use std::ffi::{OsStr, OsString};
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the action's time limit is unless the case says otherwise.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Where a machine's agents log what they are called for by Pacemaker.
const LOG: &str = "/var/log/agents.log";

/// What the agents of this machine have logged.
pub fn logged() -> String {
    std::fs::read_to_string(LOG).unwrap_or_default()
}

/// A call being put together. It can be used many times.
///
/// ```ignore
/// let filesystem = machine.agent("Filesystem").set("device", disk.path());
/// assert_eq!(filesystem.action("start").code, Some(0));
/// assert_eq!(filesystem.probe().code, Some(0));
/// ```
#[derive(Clone)]
pub struct Call {
    path: PathBuf,
    environment: Vec<(OsString, OsString)>,
    timeout: Duration,
    instance: String,
    bare: bool,
    limit: Duration,
    user: Option<u32>,
    closed_stdin: bool,
    kernel: Option<Version>,
    without_nf_tables: bool,
}

/// How a call ended.
#[derive(Clone, Debug)]
pub struct Outcome(Output);

impl Call {
    /// A call of the agent that lies at `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            path,
            environment: Vec::new(),
            timeout: TIMEOUT,
            instance: "test".into(),
            bare: false,
            limit: TIMEOUT + Duration::from_secs(5),
            user: None,
            closed_stdin: false,
            kernel: None,
            without_nf_tables: false,
        }
    }

    /// Sets a parameter: `OCF_RESKEY_<name>`.
    pub fn set(self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env(format!("OCF_RESKEY_{name}"), value)
    }

    /// Sets several parameters.
    pub fn with(self, parameters: &[(&str, &str)]) -> Self {
        parameters.iter().fold(self, |call, (name, value)| call.set(name, value))
    }

    /// Sets a meta attribute: `OCF_RESKEY_CRM_meta_<name>`.
    pub fn meta(self, name: &str, value: &str) -> Self {
        self.set(&format!("CRM_meta_{name}"), value)
    }

    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// The resource's id in the cluster; `test` unless set.
    pub fn instance(mut self, id: &str) -> Self {
        id.clone_into(&mut self.instance);
        self
    }

    /// The operation's timeout as the cluster passes it on.
    ///
    /// The call itself is cut off five seconds later, which no agent that
    /// keeps its deadline ever sees.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self.limit = timeout + Duration::from_secs(5);
        self
    }

    /// Cuts the call off when its time is up, as execd does.
    pub fn killed_at_its_timeout(mut self) -> Self {
        self.limit = self.timeout;
        self
    }

    /// The operation's timeout.
    pub fn time_limit(&self) -> Duration {
        self.timeout
    }

    /// Where the agent lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The check level of the operation.
    pub fn depth(self, level: &str) -> Self {
        self.env("OCF_CHECK_LEVEL", level)
    }

    /// Sets only the parameters, as a tester or a person might: no version, no
    /// instance, no timeout.
    pub fn bare(mut self) -> Self {
        self.bare = true;
        self
    }

    pub fn user(mut self, uid: u32) -> Self {
        self.user = Some(uid);
        self
    }

    pub fn closed_stdin(mut self) -> Self {
        self.closed_stdin = true;
        self
    }

    /// Calls it as on an older kernel.
    pub fn on_kernel(mut self, version: Version) -> Self {
        self.kernel = Some(version);
        self
    }

    /// Calls it as on a kernel that was built without nf_tables.
    pub fn without_nf_tables(mut self) -> Self {
        self.without_nf_tables = true;
        self
    }

    /// Calls an action as execd does. A `monitor` is a recurring one;
    /// [`Call::probe`] is the other.
    pub fn action(&self, action: &str) -> Outcome {
        Outcome(self.ocf(action).run())
    }

    /// A `monitor` that asks whether it runs here.
    pub fn probe(&self) -> Outcome {
        Outcome(self.pacemaker("monitor", None).run())
    }

    /// Starts an action and lets the case go on.
    pub fn spawn(&self, action: &str) -> Running {
        self.ocf(action).spawn()
    }

    /// Calls as heartbeat does: our agents through the link in
    /// `/etc/ha.d/resource.d`, a script where it lies. The last word is the
    /// action.
    pub fn heartbeat(&self, words: &[&str]) -> Outcome {
        let name = self.path.file_name().expect("an agent's name");
        let ours = self.path.starts_with(AGENTS);
        let link = if ours { Path::new(HARESOURCES).join(name) } else { self.path.clone() };
        let mut program = Program::new(link).args(words).limit(self.limit);
        let heartbeat = [
            ("HA_CURHOST", "node1"),
            ("HA_DIR", "/etc/ha.d"),
            ("HA_FUNCS", "/etc/ha.d/shellfuncs"),
            ("HA_RESOURCEDIR", HARESOURCES),
            ("HA_LOGFILE", "/var/log/ha-log"),
            ("HA_DEBUGLOG", "/var/log/ha-debug"),
            ("HA_LOGFACILITY", "none"),
        ];
        for (name, value) in heartbeat {
            program = program.env(name, value);
        }
        Outcome(self.surroundings(program).run())
    }

    /// Calls by hand, the agent's own path and words.
    pub fn by_hand(&self, words: &[&str]) -> Outcome {
        let program = Program::new(&self.path).args(words).limit(self.limit);
        Outcome(self.surroundings(program).run())
    }

    fn ocf(&self, action: &str) -> Program {
        let recurring = action == "monitor" || action == "status";
        self.pacemaker(action, recurring.then_some("10000"))
    }

    fn pacemaker(&self, action: &str, interval: Option<&str>) -> Program {
        let mut program = Program::new(&self.path).args([action]).limit(self.limit);
        program = program.env("OCF_ROOT", "/usr/lib/ocf");
        if !self.bare {
            let name = self.path.file_name().expect("an agent's name").to_string_lossy();
            let provider = self.path.parent().and_then(Path::file_name).unwrap_or_default();
            let timeout = self.timeout.as_millis().to_string();
            let execd = [
                ("OCF_RA_VERSION_MAJOR", "1"),
                ("OCF_RA_VERSION_MINOR", "1"),
                ("OCF_EXIT_REASON_PREFIX", "ocf-exit-reason:"),
                ("OCF_OUTPUT_FORMAT", "text"),
                ("OCF_RESOURCE_INSTANCE", &self.instance),
                ("OCF_RESOURCE_TYPE", &name),
                ("OCF_RESKEY_CRM_meta_timeout", &timeout),
                ("OCF_RESKEY_CRM_meta_on_node", "node1"),
                ("OCF_RESKEY_CRM_meta_on_node_uuid", "1"),
                ("OCF_RESKEY_crm_feature_set", "3.17.4"),
                ("HA_LOGFACILITY", "none"),
                ("HA_LOGFILE", LOG),
                ("HA_debug", "0"),
            ];
            for (name, value) in execd {
                program = program.env(name, value);
            }
            program = program.env("OCF_RESOURCE_PROVIDER", provider);
        }
        if let Some(interval) = interval {
            program = program.env("OCF_RESKEY_CRM_meta_interval", interval);
        }
        self.surroundings(program)
    }

    fn surroundings(&self, mut program: Program) -> Program {
        for (name, value) in &self.environment {
            program = program.env(name, value);
        }
        if let Some(version) = self.kernel {
            program = program.on_kernel(version);
        }
        if self.without_nf_tables {
            program = program.without_nf_tables();
        }
        if let Some(uid) = self.user {
            program = program.user(uid);
        }
        if self.closed_stdin { program.closed_stdin() } else { program }
    }
}

impl Outcome {
    /// What the cluster would show: the last exit reason on stderr.
    pub fn exit_reason(&self) -> Option<&str> {
        let (_, rest) = self.0.stderr.rsplit_once("ocf-exit-reason:")?;
        rest.lines().next().map(str::trim).filter(|reason| !reason.is_empty())
    }

    /// Asserts the exit code; the failure shows everything that was said.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert!(self.code == Some(code), "wanted exit {code}, got {}", self.0);
        self
    }

    /// Asserts a part of the exit reason.
    #[track_caller]
    pub fn because(self, part: &str) -> Self {
        let reason = self.exit_reason().unwrap_or_default();
        assert!(reason.contains(part), "wanted a reason with {part:?}, got {}", self.0);
        self
    }
}

impl Deref for Outcome {
    type Target = Output;

    fn deref(&self) -> &Output {
        &self.0
    }
}
