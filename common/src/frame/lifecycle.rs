//! When to look, when to move, and what the cluster is told: the only place
//! that decides.

use crate::frame::agent::{Extras, Plan, Role, Status};
use crate::frame::explain;
use crate::frame::fault::{self, code};
use crate::frame::instance_lock::{self, InstanceLock};
use crate::frame::invocation::{Dialect, Invocation, Verb};
use crate::frame::output::{complain, one_line};
use crate::frame::report::Report;
use crate::frame::{log, trace};
use crate::host::clock::Deadline;
use crate::host::floor;
use crate::host::journal::{Journal, Level};
use crate::host::system::{System, View, ViewOptions};
use anyhow::{Result, anyhow, bail};
use ocf_meta::{Code, Meta, Params, Reading};
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

mod migration;
mod roles;
mod unfinished;

/// A start that fails has at the longest this much of its time left to take
/// down what it had begun.
const CLEARING_UP: Duration = Duration::from_secs(10);

/// Carries out one call.
pub(crate) fn run<A: Extras>(call: &Invocation) -> Report {
    log::init(A::META.name, &call.request.resource, &call.env);
    let view = view(A::META.name, call);
    let report = match read::<A>(call, &view) {
        Ok(agent) => Action { agent: &agent, call, view }.run(),
        Err(err) => misconfigured(call, &view, &err),
    };
    if call.verb == Verb::Monitor && call.dialect != Dialect::Ocf {
        return report.asked(&call.action);
    }
    report
}

/// Ends our waits before the cluster loses patience, with time to say why.
fn deadline(timeout: Duration) -> Deadline {
    let margin = (timeout / 20).max(Duration::from_secs(2)).min(timeout / 2);
    Deadline::after(timeout - margin)
}

fn view(name: &str, call: &Invocation) -> View {
    let value = |wanted: &str| {
        let found = call.env.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
    };
    let run_dir = value("HA_RSCTMP").unwrap_or_else(|| "/run/resource-agents".into());
    let trace = trace::sink(name, call);
    let traced = trace.is_some();
    let sink = move |level: Level, line: &str| {
        log::line(level, line);
        if let Some(trace) = &trace {
            trace(line);
        }
    };
    View::new(ViewOptions {
        deadline: deadline(call.request.timeout),
        journal: Journal::to(sink, traced),
        run_dir: PathBuf::from(run_dir),
        owner: instance_lock::owner(name, &call.request.instance),
        without_programs: value("OCF_TESTER_FAIL_HAVE_BINARY").is_some(),
    })
}

/// Reads the parameters: strictly where they are about to be used for the
/// first time, leniently where the resource may exist already.
fn read<A: Extras>(call: &Invocation, view: &View) -> Result<A> {
    let strict = matches!(
        call.verb,
        Verb::Start
            | Verb::Restart
            | Verb::Validate
            | Verb::Promote
            | Verb::Reload
            | Verb::MigrateTo
    );
    let mut reading =
        if strict { Reading::strict(&call.given) } else { Reading::lenient(&call.given) };
    let params = A::Params::read(&mut reading)?;
    if call.verb == Verb::Stop {
        for invalid in &reading.passed_over {
            view.warn(format_args!("{invalid}; the stop goes on without it"));
        }
    }
    if matches!(call.verb, Verb::Start | Verb::Validate) {
        for name in call.given.names().filter(|name| A::META.param(name).is_none()) {
            let name = one_line(name);
            view.warn(format_args!("parameter {name} is not one of {}'s; ignored", A::META.name));
        }
    }
    A::new(params, &call.request)
}

/// What to say when it is not even known which resource is meant.
fn misconfigured(call: &Invocation, view: &View, err: &anyhow::Error) -> Report {
    if call.verb == Verb::Stop {
        // Nothing can have been started with these parameters, so nothing is
        // there to be stopped. Failing here would have the node fenced.
        view.warn(format_args!("{err:#}; nothing can have been started with that"));
        return Report::new(call.dialect, Code::Success);
    }
    if call.verb == Verb::Notify {
        return Report::new(call.dialect, Code::Success);
    }
    // Codes that blame the configuration would take the resource down on every
    // node, and a monitor is asked what is there, not what is written.
    if call.verb == Verb::Monitor && (call.request.probe || call.dialect != Dialect::Ocf) {
        view.info(format_args!("{err:#}; nothing can have been started with that"));
        return Report::new(call.dialect, Code::NotRunning);
    }
    Report::new(call.dialect, code(call.verb, err)).because(format!("{err:#}"))
}

/// One call to one agent.
struct Action<'a, A: Extras> {
    agent: &'a A,
    call: &'a Invocation,
    view: View,
}

impl<A: Extras> Action<'_, A> {
    const META: &'static Meta = A::META;

    fn run(self) -> Report {
        let dialect = self.call.dialect;
        let done = match self.call.verb {
            Verb::Monitor => return self.monitor(),
            Verb::Explain => return self.explain(),
            Verb::Notify => {
                if let Err(err) = self.notify() {
                    self.view.warn(format_args!("notify: {err:#}"));
                }
                return Report::new(dialect, Code::Success);
            }
            Verb::Validate => self.validate(),
            Verb::Start => self.start(),
            Verb::Stop => self.stop(),
            Verb::Restart => self.stop().and_then(|_| self.start()),
            Verb::Promote => self.promote(),
            Verb::Demote => self.demote(),
            Verb::Reload => self.reload(),
            Verb::MigrateTo => self.migrate_to(),
            Verb::MigrateFrom => self.migrate_from(),
        };
        match done {
            Ok(code) => Report::new(dialect, code),
            Err(err) => {
                self.view.note(format_args!("failed: {err:#}"));
                Report::new(dialect, code(self.call.verb, &err)).because(format!("{err:#}"))
            }
        }
    }

    /// The name of the instance's files.
    fn owner(&self) -> String {
        instance_lock::owner(Self::META.name, &self.call.request.instance)
    }

    fn observe(&self) -> Result<(A::State, Status)> {
        let begun = Instant::now();
        let state = self.agent.observe(&self.view)?;
        let status = self.agent.status(&state);
        self.view.note(format_args!("sees {state:?}: {status}, after {:.1?}", begun.elapsed()));
        Ok((state, status))
    }

    fn validate(&self) -> Result<Code> {
        floor::check_kernel()?;
        self.agent.validate()?;
        if self.call.request.level >= 10 {
            self.agent.suits(&self.view)?;
        }
        Ok(Code::Success)
    }

    fn monitor(&self) -> Report {
        let (dialect, request) = (self.call.dialect, &self.call.request);
        if dialect != Dialect::Ocf
            && self.call.action == "status"
            && let Some((exit, why)) = self.agent.no_status()
        {
            return Report::new(dialect, Code::ErrArgs).because(why).exit(exit);
        }
        let doubtful = |err: &anyhow::Error| {
            // Whoever is not root may simply not be told.
            let code = if is_denied() { Code::ErrPerm } else { code(Verb::Monitor, err) };
            Report::new(dialect, code).because(format!("{err:#}"))
        };
        let under_way = instance_lock::let_finish(&self.view, &self.owner());
        let (state, status) = match self.observe() {
            Ok(seen) => seen,
            Err(err) => return doubtful(&err),
        };
        // What is not there yet may be about to come.
        if status.is_stopped()
            && let Err(err) = match under_way {
                Some(held) => Err(anyhow!(held)),
                None => unfinished::by_now(&self.view, &self.owner()),
            }
        {
            return doubtful(&err);
        }
        if dialect == Dialect::ByHand && std::io::stderr().is_terminal() {
            for fact in self.agent.facts(&state) {
                complain(&format!("{}: {}\n", fact.what, fact.seen));
            }
        }
        let failed = |role, reason: String| {
            let promoted = role == Role::Promoted;
            let code = if promoted { Code::FailedPromoted } else { Code::ErrGeneric };
            Report::new(dialect, code).because(reason).word(self.agent.word(&state))
        };
        let well = |role| match role {
            Role::Promoted => Code::RunningPromoted,
            _ => Code::Success,
        };
        let (role, code, reason) = match status {
            Status::Stopped(_) => {
                if !request.probe {
                    let _ = self.carry_out_all(self.agent.found_stopped(&self.view, &state));
                }
                return Report::new(dialect, Code::NotRunning).word(self.agent.word(&state));
            }
            Status::Failed(role, reason) => return failed(role, reason),
            Status::Running(role) => (role, well(role), None),
            Status::Degraded(role, reason)
                if dialect == Dialect::Ocf && !request.knows_degraded =>
            {
                self.view.warn(format_args!("degraded: {reason}"));
                (role, well(role), None)
            }
            Status::Degraded(Role::Promoted, reason) => {
                (Role::Promoted, Code::DegradedPromoted, Some(reason))
            }
            Status::Degraded(role, reason) => (role, Code::Degraded, Some(reason)),
        };
        let upkeep = self.agent.upkeep(&self.view, &state, request.level);
        if let Err(err) = upkeep.and_then(|plan| self.carry_out(plan)) {
            return failed(role, format!("{err:#}"));
        }
        let report = Report::new(dialect, code).word(self.agent.word(&state));
        match reason {
            Some(reason) => report.because(reason),
            None => report,
        }
    }

    fn explain(&self) -> Report {
        // Read leniently up to here, so that what is there is told in any case.
        let refused = A::Params::read(&mut Reading::strict(&self.call.given)).map(drop);
        match explain::explain(self.agent, &self.view, &self.call.request.resource, refused) {
            Ok(explanation) => {
                let text = if self.call.json { explanation.json() } else { explanation.text() };
                Report::new(self.call.dialect, Code::Success).text(text)
            }
            Err(err) => Report::new(self.call.dialect, code(Verb::Explain, &err))
                .because(format!("{err:#}")),
        }
    }

    fn start(&self) -> Result<Code> {
        floor::check_kernel()?;
        self.agent.validate()?;
        let for_clearing_up = (self.view.deadline().left() / 5).min(CLEARING_UP);
        self.view.keep_back(for_clearing_up);
        let _lock = self.lock()?;
        self.carry_out(self.agent.uncover(&self.view))?;
        let (mut found, mut status) = self.observe()?;
        if !status.is_active() && unfinished::end(&self.view, &self.owner())? {
            // It may have done its work in the end.
            (found, status) = self.observe()?;
        }
        if status.is_active() {
            return self.started(&found);
        }
        let plan = self.agent.start(&self.view, &found)?;
        let ended = self.carry_out(plan).and_then(|()| match self.observe()?.1 {
            status if status.is_active() => Ok(()),
            status => bail!("after start the resource is {status}"),
        });
        if let Err(err) = ended {
            self.view.keep_back(Duration::ZERO);
            return Err(match self.clear_up() {
                Ok(()) => err,
                Err(left) => fault::besides(err, Verb::Start, &format!("not cleared up: {left:#}")),
            });
        }
        self.view.info(format_args!("started"));
        Ok(Code::Success)
    }

    /// Whatever is left for a start to do where the resource runs already. One
    /// that fails leaves it running: it is not this start's to take down.
    fn started(&self, found: &A::State) -> Result<Code> {
        let plan = self.agent.started(&self.view, found)?;
        if plan.is_empty() {
            return Ok(Code::Success);
        }
        self.carry_out(plan)?;
        match self.observe()?.1 {
            status if status.is_active() => Ok(Code::Success),
            status => bail!("after start the resource is {status}"),
        }
    }

    /// Takes down what a failed start has left. The start's own error is what
    /// the cluster hears of; a stop will follow in any case.
    fn clear_up(&self) -> Result<()> {
        let (found, _) = self.observe()?;
        self.carry_out_all(self.agent.stop(&self.view, &found)?)?;
        match self.observe()?.1 {
            Status::Stopped(_) => unfinished::by_now(&self.view, &self.owner()),
            status => bail!("the resource is {status}"),
        }
    }

    /// Takes the resource down and proves it: by a look that finds it absent,
    /// made while no other action and no program of one could change that.
    fn stop(&self) -> Result<Code> {
        let mut lock = match self.lock_for(self.view.deadline().left() / 3) {
            Ok(lock) => Some(lock),
            Err(err) if is_denied() => return Err(err),
            // What is stuck may be so because of what a stop can take away.
            Err(err) => {
                self.view.warn(format_args!("{err:#}; going on without the lock"));
                None
            }
        };
        loop {
            // Before anything is ended: what is there may be served by a
            // program of the start's, as a file system in user space is.
            let done = self.take_down();
            if lock.is_some() && !unfinished::end_at_once(&self.view, &self.owner())? {
                match done {
                    Ok(true) => return Ok(Code::Success),
                    // A step has failed, and has left nothing behind.
                    Ok(false) if self.observe()?.1.is_stopped() => return Ok(Code::Success),
                    Ok(false) => {}
                    Err(err) => return Err(err),
                }
            }
            if let Err(at_work) = self.be_alone(&mut lock) {
                // A step that has failed knows what it waits for, and the program
                // that waits does not.
                return Err(match done {
                    Ok(_) => at_work,
                    Err(err) => fault::besides(err, self.call.verb, &format!("{at_work:#}")),
                });
            }
            // It may have done its work in the end, or have been in the way.
            if done.is_ok() && self.observe()?.1.is_stopped() {
                return Ok(Code::Success);
            }
            if self.view.deadline().has_passed() {
                done?;
                bail!("it has come back after it was taken down");
            }
        }
    }

    /// Waits until nothing else is at work on the resource, and has the lock then.
    fn be_alone(&self, lock: &mut Option<InstanceLock>) -> Result<()> {
        if lock.is_none() {
            *lock = Some(self.lock()?);
        }
        unfinished::end(&self.view, &self.owner()).map(drop)
    }

    /// Carries out what a stop takes. Whether all of it was done: what is
    /// stopped all the same is no error.
    fn take_down(&self) -> Result<bool> {
        let uncovered = self.carry_out(self.agent.uncover(&self.view));
        let (found, status) = self.observe().map_err(|look| match uncovered {
            Ok(()) => look,
            Err(err) => fault::besides(look, self.call.verb, &format!("{err:#}")),
        })?;
        let plan = match self.agent.stop(&self.view, &found) {
            Ok(plan) => plan,
            Err(err) if status.is_stopped() => {
                self.view.warn(format_args!("stopped already, but: {err:#}"));
                return Ok(true);
            }
            Err(err) => return Err(err),
        };
        if plan.is_empty() && status.is_stopped() {
            return Ok(true);
        }
        let done = self.carry_out_all(plan);
        let is_done = done.is_ok();
        let (after, done) = match (self.observe(), done) {
            (Ok((_, status)), done) => (status, done),
            // What has failed before says more of why the look does.
            (Err(look), Err(err)) => {
                return Err(fault::besides(err, self.call.verb, &format!("{look:#}")));
            }
            (Err(look), Ok(())) => return Err(look),
        };
        match (after, done) {
            (Status::Stopped(_), Ok(())) => {}
            (Status::Stopped(_), Err(err)) => {
                self.view.warn(format_args!("stopped, but: {err:#}"));
            }
            (_, Err(err)) => return Err(err),
            (status, Ok(())) => bail!("after stop the resource is {status}"),
        }
        if !status.is_stopped() {
            self.view.info(format_args!("stopped"));
        }
        Ok(is_done)
    }

    fn lock(&self) -> Result<InstanceLock> {
        self.lock_for(self.view.deadline().left())
    }

    fn lock_for(&self, patience: Duration) -> Result<InstanceLock> {
        if is_denied() {
            return Err(fault::denied(&self.call.action));
        }
        InstanceLock::take(&self.view, &self.owner(), self.view.deadline().at_most(patience))
    }

    /// Does the steps up to the first that fails.
    fn carry_out(&self, plan: Plan<'_>) -> Result<()> {
        plan.steps.into_iter().try_for_each(|step| self.step(step))
    }

    /// Does all the steps; the error holds what all of those that failed said.
    fn carry_out_all(&self, plan: Plan<'_>) -> Result<()> {
        let failed: Vec<anyhow::Error> =
            plan.steps.into_iter().filter_map(|step| self.step(step).err()).collect();
        match failed.len() {
            0 => Ok(()),
            1 => Err(failed.into_iter().next().expect("there is one")),
            _ => {
                let all: Vec<String> = failed.iter().map(|err| format!("{err:#}")).collect();
                Err(anyhow!(all.join("; ")))
            }
        }
    }

    fn step(&self, step: crate::frame::agent::Step<'_>) -> Result<()> {
        let begun = Instant::now();
        self.view.note(format_args!("step: {}", step.what));
        // A step gets its write access here and nowhere else.
        let done = self.view.with_write_access(|system: &System<'_>| (step.act)(system));
        let outcome = done.as_ref().err().map_or("done".into(), |err| format!("{err:#}"));
        self.view.note(format_args!("step: {} = {outcome}, {:.1?}", step.what, begun.elapsed()));
        done
    }
}

fn is_denied() -> bool {
    !nix::unistd::geteuid().is_root()
}
