//! The lifecycle, tried on a lamp: a resource that is a file in a directory of
//! the test's own.

use crate::frame::agent::{Agent, Extras, Fact, Plan, Role, Status};
use crate::frame::call::Call;
use crate::frame::dialect;
use crate::frame::fault::configured;
use crate::frame::invocation::{Dialect, Environment, Invocation};
use crate::frame::lifecycle;
use crate::frame::report::Report;
use crate::frame::request::Request;
use crate::host::absence::Absent;
use crate::host::system::View;
use anyhow::{Result, bail};
use ocf_meta::{Code, Examples, Meta, Params, Words, action, params};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

params! {
    /// A lamp.
    pub(crate) struct LampParams {
        /// Where the lamp hangs.
        [required, names, unique, position = 1] lamp: PathBuf,
        /// How bright it is to be.
        [position = 2] watts: u32 = "40",
        /// What to break: `start`, `stop`, `look`.
        [] fault: Option<String>,
    }
}

struct Lamp(LampParams);

static META: Meta = Meta {
    name: "Lamp",
    shortdesc: "Keeps a lamp lit",
    longdesc: "A file that says on.",
    params: LampParams::TABLE,
    words: Words::Positions,
    actions: &[
        action::START,
        action::STOP,
        action::MONITOR,
        action::MIGRATE_TO,
        action::MIGRATE_FROM,
        action::VALIDATE_ALL,
    ],
    examples: Examples { pacemaker: "", haresources: "", by_hand: "" },
    differences: &[],
};

impl Lamp {
    fn is_broken(&self, what: &str) -> bool {
        self.0.fault.as_deref() == Some(what)
    }
}

impl Agent for Lamp {
    const META: &'static Meta = &META;
    type Params = LampParams;
    type State = String;

    fn new(params: LampParams, _: &Request) -> Result<Self> {
        Ok(Self(params))
    }

    fn observe(&self, view: &View) -> Result<String> {
        if self.is_broken("look") {
            bail!("it is dark in here");
        }
        Ok(view.read(&self.0.lamp).unwrap_or_default())
    }

    fn status(&self, state: &String) -> Status {
        match state.as_str() {
            "" => Status::Stopped(Absent::in_a_test()),
            "on" | "dim" => Status::Running(Role::Started),
            other => Status::Failed(Role::Started, format!("it is {other}")),
        }
    }

    fn facts(&self, state: &String) -> Vec<Fact> {
        vec![Fact::new("light", state.clone())]
    }

    fn start<'a>(&'a self, _: &View, _: &String) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        plan.step("switch it on", |_| {
            let word = if self.is_broken("start") { "flickering" } else { "on" };
            Ok(std::fs::write(&self.0.lamp, word)?)
        });
        Ok(plan)
    }

    fn stop<'a>(&'a self, _: &View, from: &String) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        if self.is_broken("stop") {
            plan.step("jam", |_| bail!("the switch is stuck"));
        } else if !from.is_empty() {
            plan.step("switch it off", |_| Ok(std::fs::remove_file(&self.0.lamp)?));
        }
        Ok(plan)
    }
}

impl Extras for Lamp {
    fn validate(&self) -> Result<()> {
        if self.0.watts > 100 {
            return Err(configured("no lamp is that bright"));
        }
        Ok(())
    }

    fn migrate_to<'a>(&'a self, _: &View, _: &String) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        if !self.is_broken("move") {
            plan.step("hand it over", |_| Ok(std::fs::remove_file(&self.0.lamp)?));
        }
        Ok(plan)
    }

    fn migrate_from<'a>(&'a self, _: &View, _: &String) -> Result<Plan<'a>> {
        Ok(Plan::new())
    }

    fn started<'a>(&'a self, _: &View, state: &String) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        if state == "dim" {
            plan.step("turn it up", |_| match self.is_broken("start") {
                true => bail!("the knob is stuck"),
                false => Ok(std::fs::write(&self.0.lamp, "on")?),
            });
        }
        Ok(plan)
    }
}

/// One lamp and a way to call its agent.
struct Room {
    dir: tempfile::TempDir,
}

impl Room {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn lamp(&self) -> PathBuf {
        self.dir.path().join("lamp")
    }

    /// Holds what an action holds that is under way. There is one after a start.
    fn lock(&self) -> std::fs::File {
        let name = format!("Lamp-{}.lock", Request::NAMELESS);
        let lock = std::fs::File::open(self.dir.path().join("run").join(name)).unwrap();
        lock.lock().unwrap();
        lock
    }

    fn call(&self, name: &str, words: &[&str], env: &[(&str, &str)]) -> Call {
        let mut environment: Vec<(OsString, OsString)> =
            vec![("HA_RSCTMP".into(), self.dir.path().join("run").into())];
        environment.extend(env.iter().map(|(name, value)| ((*name).into(), (*value).into())));
        let args: Vec<_> = [name].iter().chain(words).map(Into::into).collect();
        let environment: Environment = environment.into();
        dialect::read(&META, &args, &environment)
    }

    /// Carries out an OCF action with parameters besides the lamp's place.
    fn ocf(&self, action: &str, params: &[(&str, &str)]) -> Report {
        let lamp = self.lamp();
        let mut env = vec![("OCF_RESKEY_lamp", lamp.to_str().unwrap())];
        env.extend(params);
        self.act(self.call("/usr/lib/ocf/resource.d/sturdy/Lamp", &[action], &env))
    }

    fn act(&self, call: Call) -> Report {
        match call {
            Call::Act(invocation) => lifecycle::run::<Lamp>(&invocation),
            Call::Refuse(report) => report,
            Call::Print(text) => panic!("printed {text}"),
        }
    }
}

fn invocation(call: Call) -> Box<Invocation> {
    match call {
        Call::Act(invocation) => invocation,
        other => panic!("{other:?}"),
    }
}

#[test]
fn start_and_stop_change_once_and_then_nothing() {
    let room = Room::new();
    assert_eq!(room.ocf("monitor", &[]).code(), Code::NotRunning);
    for _ in 0..2 {
        assert_eq!(room.ocf("start", &[]).code(), Code::Success);
        assert_eq!(room.ocf("monitor", &[]).code(), Code::Success);
    }
    for _ in 0..2 {
        assert_eq!(room.ocf("stop", &[]).code(), Code::Success);
        assert_eq!(room.ocf("monitor", &[]).code(), Code::NotRunning);
    }
}

#[test]
fn a_start_that_does_not_light_the_lamp_fails_and_leaves_it_dark() {
    let room = Room::new();
    let report = room.ocf("start", &[("OCF_RESKEY_fault", "start")]);
    assert_eq!(report.code(), Code::ErrGeneric);
    assert_eq!(report.reason(), Some("after start the resource is failed: it is flickering"));
    assert!(!room.lamp().exists());
}

#[test]
fn a_start_of_what_runs_does_the_rest_and_takes_nothing_down() {
    let room = Room::new();
    std::fs::write(room.lamp(), "dim").unwrap();
    let report = room.ocf("start", &[("OCF_RESKEY_fault", "start")]);
    assert_eq!((report.code(), report.reason()), (Code::ErrGeneric, Some("the knob is stuck")));
    assert_eq!(std::fs::read_to_string(room.lamp()).unwrap(), "dim");
    assert_eq!(room.ocf("start", &[]).code(), Code::Success);
    assert_eq!(std::fs::read_to_string(room.lamp()).unwrap(), "on");
}

#[test]
fn a_stop_that_fails_says_why_and_is_no_success() {
    let room = Room::new();
    room.ocf("start", &[]);
    let report = room.ocf("stop", &[("OCF_RESKEY_fault", "stop")]);
    assert_eq!((report.code(), report.reason()), (Code::ErrGeneric, Some("the switch is stuck")));
}

#[test]
fn what_was_moved_is_gone_here_and_runs_there() {
    let room = Room::new();
    let reason = |action, fault: &str| {
        let report = room.ocf(action, &[("OCF_RESKEY_fault", fault)]);
        (report.code(), report.reason().map(str::to_owned))
    };
    let failed = |words: &str| (Code::ErrGeneric, Some(words.to_owned()));
    assert_eq!(reason("migrate_to", ""), failed("cannot be moved: the resource is stopped"));
    let late = "after migrate_from the resource is stopped";
    assert_eq!(reason("migrate_from", ""), failed(late));
    room.ocf("start", &[]);
    assert_eq!(reason("migrate_from", ""), (Code::Success, None));
    let stayed = "after migrate_to the resource is still here: running";
    assert_eq!(reason("migrate_to", "move"), failed(stayed));
    assert_eq!(reason("migrate_to", ""), (Code::Success, None));
    assert!(!room.lamp().exists());
}

#[test]
fn a_migration_by_bad_parameters_blames_nobody_for_what_runs() {
    let room = Room::new();
    room.ocf("start", &[]);
    let report = room.ocf("migrate_to", &[("OCF_RESKEY_watts", "many")]);
    assert_eq!(report.code(), Code::ErrGeneric);
    assert!(room.lamp().exists());
}

#[test]
fn doubt_is_never_stopped() {
    let room = Room::new();
    for action in ["monitor", "stop", "start", "migrate_to", "migrate_from"] {
        let report = room.ocf(action, &[("OCF_RESKEY_fault", "look")]);
        assert_eq!(report.code(), Code::ErrGeneric, "{action}");
        assert_eq!(report.reason(), Some("it is dark in here"));
    }
}

#[test]
fn what_only_start_needs_is_no_reason_not_to_stop() {
    let room = Room::new();
    room.ocf("start", &[]);
    let bad = [("OCF_RESKEY_watts", "many")];
    assert_eq!(room.ocf("start", &bad).code(), Code::ErrConfigured);
    assert_eq!(room.ocf("monitor", &bad).code(), Code::Success);
    assert_eq!(room.ocf("stop", &bad).code(), Code::Success);
    assert!(!room.lamp().exists());
}

#[test]
fn a_stop_of_nobody_knows_what_is_done_at_once() {
    let room = Room::new();
    let stop = room.call("/x/Lamp", &["stop"], &[]);
    assert_eq!(room.act(stop).code(), Code::Success);
    let start = room.call("/x/Lamp", &["start"], &[]);
    let report = room.act(start);
    assert_eq!(report.code(), Code::ErrConfigured);
    assert_eq!(report.reason(), Some("parameter lamp is required and not set"));
}

#[test]
fn rules_between_parameters_matter_to_start_alone() {
    let room = Room::new();
    let bright = [("OCF_RESKEY_watts", "400")];
    assert_eq!(room.ocf("validate-all", &bright).code(), Code::ErrConfigured);
    assert_eq!(room.ocf("start", &bright).code(), Code::ErrConfigured);
    assert_eq!(room.ocf("monitor", &bright).code(), Code::NotRunning);
    assert_eq!(room.ocf("stop", &bright).code(), Code::Success);
}

#[test]
fn a_held_lock_ends_every_change_in_time_and_lets_none_succeed() {
    let room = Room::new();
    room.ocf("start", &[]);
    let lock = room.lock();
    let short = [("OCF_RESKEY_CRM_meta_timeout", "400")];
    for action in ["start", "stop"] {
        let report = room.ocf(action, &short);
        assert_eq!(report.code(), Code::ErrGeneric);
        assert!(report.reason().unwrap().contains("still under way"), "{report:?}");
    }
    // What could be taken down was, and a look finds nothing; that is no proof.
    assert!(!room.lamp().exists());
    let report = room.ocf("monitor", &short);
    assert_eq!(report.code(), Code::ErrGeneric, "{report:?}");
    drop(lock);
    assert_eq!(room.ocf("stop", &short).code(), Code::Success);
    assert_eq!(room.ocf("monitor", &short).code(), Code::NotRunning);
}

#[test]
fn a_stop_that_something_is_still_at_says_what_it_could_not_take_down_first() {
    let room = Room::new();
    room.ocf("start", &[]);
    let _lock = room.lock();
    let broken = [("OCF_RESKEY_CRM_meta_timeout", "400"), ("OCF_RESKEY_fault", "stop")];
    let report = room.ocf("stop", &broken);
    assert_eq!(report.code(), Code::ErrGeneric);
    let reason = report.reason().unwrap();
    assert!(reason.starts_with("the switch is stuck; "), "{reason}");
    assert!(reason.contains("still under way"), "{reason}");
}

#[test]
fn the_name_it_is_called_by_decides_the_dialect() {
    let room = Room::new();
    let dialect = |name: &str, words: &[&str], env: &[(&str, &str)]| {
        invocation(room.call(name, words, env)).dialect
    };
    let major = [("OCF_RA_VERSION_MAJOR", "1"), ("OCF_RESOURCE_INSTANCE", "l")];
    assert_eq!(dialect("/etc/ha.d/resource.d/Lamp", &["/l", "start"], &[]), Dialect::Heartbeat);
    assert_eq!(dialect("/etc/init.d/Lamp", &["status"], &major), Dialect::Heartbeat);
    assert_eq!(dialect("/usr/lib/ocf/resource.d/sturdy/Lamp", &["start"], &[]), Dialect::Ocf);
    assert_eq!(dialect("Lamp", &["start", "ignored"], &major), Dialect::Ocf);
    assert_eq!(dialect("Lamp", &["/l", "start"], &[]), Dialect::ByHand);
    assert_eq!(dialect("Lamp", &["--lamp", "/l", "start"], &[]), Dialect::ByHand);
}

#[test]
fn one_word_alone_is_a_persons_unless_a_cluster_has_set_something() {
    let room = Room::new();
    let dialect =
        |name: &str, env: &[(&str, &str)]| invocation(room.call(name, &["status"], env)).dialect;
    for name in ["Lamp", "./Lamp", "/usr/sbin/Lamp"] {
        assert_eq!(dialect(name, &[]), Dialect::ByHand, "{name}");
        assert_eq!(dialect(name, &[("OCF_TRACE_RA", "1")]), Dialect::ByHand, "{name}");
        for set in ["OCF_ROOT", "OCF_RESOURCE_INSTANCE", "OCF_RESKEY_lamp", "OCF_RA_VERSION_MAJOR"]
        {
            let env = [("OCF_RESOURCE_INSTANCE", "l"), (set, "1")];
            let env = if set == "OCF_RA_VERSION_MAJOR" { &env[..] } else { &env[1..] };
            assert_eq!(dialect(name, env), Dialect::Ocf, "{name} with {set}");
        }
    }
    assert_eq!(dialect("/usr/lib/ocf/resource.d/sturdy/Lamp", &[]), Dialect::Ocf);
    assert_eq!(dialect("/usr/lib/sturdy/ha.d/resource.d/Lamp", &[]), Dialect::Heartbeat);
}

#[test]
fn words_and_options_fill_the_same_table() {
    let room = Room::new();
    let watts = |words: &[&str]| {
        let call = invocation(room.call("Lamp", words, &[]));
        let value = |name: &str| {
            let param = META.param(name).unwrap();
            call.given.value(param).map(|value| value.to_str().unwrap().to_owned())
        };
        (value("lamp"), value("watts"))
    };
    let both = (Some("/l".to_owned()), Some("60".to_owned()));
    assert_eq!(watts(&["/l", "60", "start"]), both);
    assert_eq!(watts(&["watts=60", "/l", "start"]), both);
    assert_eq!(watts(&["/l", "start", "--watts", "60"]), both);
    assert_eq!(watts(&["/l", "-", "start"]), (both.0, None));
}

#[test]
fn a_call_that_makes_no_sense_ends_with_the_code_for_that() {
    let room = Room::new();
    let code = |words: &[&str]| room.act(room.call("Lamp", words, &[])).code();
    assert_eq!(code(&[]), Code::ErrArgs);
    assert_eq!(code(&["dance"]), Code::ErrUnimplemented);
    assert_eq!(code(&["/l", "60", "surplus", "start"]), Code::ErrArgs);
    assert_eq!(code(&["/l", "start", "--colour", "red"]), Code::ErrArgs);
    assert_eq!(code(&["promote"]), Code::ErrUnimplemented);
    let next = [("OCF_RA_VERSION_MAJOR", "2"), ("OCF_RESOURCE_INSTANCE", "l")];
    assert_eq!(room.act(room.call("Lamp", &["start"], &next)).code(), Code::ErrGeneric);
    let nameless = [("OCF_RA_VERSION_MAJOR", "1")];
    assert_eq!(room.act(room.call("Lamp", &["start"], &nameless)).code(), Code::ErrArgs);
}

#[test]
fn a_trace_tells_what_was_done_and_keeps_secrets() {
    let room = Room::new();
    let trace = room.dir.path().join("sub/trace");
    std::fs::create_dir(room.dir.path().join("sub")).unwrap();
    let asked = [
        ("OCF_RESKEY_trace_ra", "1"),
        ("OCF_RESKEY_trace_file", trace.to_str().unwrap()),
        ("OCF_RESKEY_password", "hunter2"),
    ];
    room.ocf("start", &asked);
    let text = std::fs::read_to_string(&trace).unwrap();
    assert!(text.contains("step: switch it on = done"), "{text}");
    assert!(text.contains("OCF_RESKEY_password=***") && !text.contains("hunter2"), "{text}");
}

#[test]
fn an_explanation_tells_and_does_nothing() {
    let room = Room::new();
    let lamp = room.lamp();
    let call = room.call("Lamp", &["explain", lamp.to_str().unwrap()], &[]);
    let report = room.act(call);
    let text = report.printed().unwrap();
    assert!(text.contains("start would\n  1. switch it on"), "{text}");
    assert!(!Path::new(&lamp).exists());
}

#[test]
fn a_caller_that_names_no_time_limit_is_answered_before_systemd_kills() {
    static SLOW: Meta = Meta {
        name: "Lamp",
        shortdesc: "Takes its time",
        longdesc: "A lamp far away.",
        params: LampParams::TABLE,
        words: Words::Positions,
        actions: &[action::START.timeout(240), action::STOP.timeout(20), action::MONITOR],
        examples: Examples { pacemaker: "", haresources: "", by_hand: "" },
        differences: &[],
    };
    let limit = |env: &[(&str, &str)], action: &str| {
        let named = |(name, value): &(&str, &str)| (OsString::from(name), OsString::from(value));
        let env: Environment = env.iter().map(named).collect();
        let args: Vec<OsString> = vec!["/usr/lib/ocf/resource.d/x/Lamp".into(), action.into()];
        match dialect::read(&SLOW, &args, &env) {
            Call::Act(call) => call.request.timeout.as_secs(),
            other => panic!("{other:?}"),
        }
    };
    let reactor = [("OCF_RESOURCE_TYPE", "Lamp"), ("OCF_RESOURCE_INSTANCE", "a\\x2db")];
    assert_eq!((limit(&reactor, "start"), limit(&reactor, "monitor")), (80, 20));
    assert_eq!(limit(&reactor, "stop"), 80, "20 s are declared");
    let told = [reactor[0], reactor[1], ("OCF_RESKEY_CRM_meta_timeout", "240000")];
    assert_eq!(limit(&told, "start"), 240);
}
