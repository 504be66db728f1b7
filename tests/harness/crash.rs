//! SIGKILL at instants that look random and can be repeated, and what has to
//! hold after each.

use super::call::Call;
use super::machine::Machine;
use super::program::Output;
use super::tier::{Case, Cases};
use std::time::{Duration, Instant};

/// How often each action of an agent is killed, unless its trial or the caller
/// says otherwise.
const TIMES: u32 = 200;

/// How many cases share the kills of an action, so that one that waits most of
/// its time does not hold up a whole tier.
const PARTS: u32 = 4;

/// The least share of the kills that has to come while the action still runs,
/// as one of so many. Instants that all come too late would prove nothing.
const ONE_IN: u32 = 4;

/// As often as usual, or as `STURDY_KILLS` says, for a long run by hand.
pub fn kills(usual: u32) -> u32 {
    number("STURDY_KILLS").unwrap_or(usual)
}

/// The number in a variable of the environment, if that is set.
///
/// # Panics
/// When it is no number: a run that was asked for is not exchanged for another.
fn number<T: std::str::FromStr>(variable: &str) -> Option<T> {
    let value = std::env::var_os(variable)?;
    let number = value.to_str().and_then(|value| value.parse().ok());
    Some(number.unwrap_or_else(|| panic!("{variable} is no number: {}", value.display())))
}

/// A sequence of instants within a span, the same for the same seed.
pub struct Instants {
    state: u64,
    span: Duration,
}

/// What became of a call that was to be killed.
pub enum Killed {
    /// It was killed after this time.
    After(Duration),
    /// It had ended on its own.
    TooLate(Output),
}

impl Instants {
    /// The seed is printed when a case fails, and taken from `STURDY_SEED`
    /// when it is set.
    pub fn within(span: Duration) -> Self {
        Self { state: number("STURDY_SEED").unwrap_or_else(clock_seed), span }
    }

    /// The seed to repeat this sequence from here on.
    pub fn seed(&self) -> u64 {
        self.state
    }

    /// The next instant, counted from the start of a call.
    pub fn next(&mut self) -> Duration {
        // splitmix64, by Sebastiano Vigna; in the public domain.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let span = u64::try_from(self.span.as_nanos()).unwrap_or(u64::MAX).max(1);
        Duration::from_nanos(mixed % span)
    }

    /// The action was over by this instant: a busy machine has become quicker
    /// than it was when the span was measured.
    fn too_late(&mut self, instant: Duration) {
        self.span = (self.span + instant) / 2;
    }

    /// The action still ran: the machine may have become slower.
    fn in_time(&mut self) {
        self.span = self.span * 51 / 50;
    }
}

fn clock_seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(1, |now| now.subsec_nanos().into())
}

impl Call {
    /// Starts `action` and kills its process group after `instant`, as execd
    /// does when the time is up.
    pub fn killed(&self, action: &str, instant: Duration) -> Killed {
        let since = Instant::now();
        let mut running = self.spawn(action);
        // Sleeping is too coarse for a call that takes a millisecond.
        while since.elapsed() < instant {
            std::hint::spin_loop();
        }
        if running.has_ended() {
            return Killed::TooLate(running.wait(Duration::ZERO));
        }
        running.kill();
        Killed::After(instant)
    }

    /// Starts `action` and kills its process group once something is so. What
    /// the kernel has of the group may live on.
    ///
    /// # Panics
    /// When the action ends, or it is not so within its time limit.
    #[track_caller]
    pub fn killed_once(&self, action: &str, what: &str, mut is_so: impl FnMut() -> bool) {
        let mut running = self.spawn(action);
        let end = Instant::now() + self.time_limit();
        while !is_so() {
            assert!(!running.has_ended(), "{action} has ended before {what}");
            assert!(Instant::now() < end, "not before the time limit of {action}: {what}");
            std::thread::sleep(Duration::from_millis(1));
        }
        running.abandon();
    }
}

/// An agent that is killed, and the kernel's word on whether its resource is
/// whole.
pub struct Trial {
    agent: Call,
    runs: fn(&Machine) -> bool,
    times: u32,
    idle: Duration,
}

impl Cases {
    /// Cases of one agent: killed at any instant of a start, and of a stop, the
    /// next monitor tells the truth, the next stop ends well, and nothing stays
    /// behind. `prepare` makes the machine ready.
    pub fn killed(&mut self, who: &str, prepare: fn(&Machine) -> Trial) {
        self.killed_with(&[], who, prepare);
    }

    /// The same of an agent that needs these programs.
    pub fn killed_with(
        &mut self,
        needs: &[&'static str],
        who: &str,
        prepare: fn(&Machine) -> Trial,
    ) {
        for action in ["start", "stop"] {
            for part in 1..=PARTS {
                let name = format!(
                    "{who} killed at any instant of a {action} is recovered from, {part} of {PARTS}"
                );
                let run = move |machine: &Machine| prepare(machine).go_through(machine, action);
                self.push_first(Case::new(name, run).needs(needs));
            }
        }
    }
}

impl Trial {
    pub fn of(agent: Call, runs: fn(&Machine) -> bool) -> Self {
        Self { agent, runs, times: TIMES, idle: Duration::ZERO }
    }

    /// For an agent that takes long.
    pub fn times(self, times: u32) -> Self {
        Self { times, ..self }
    }

    /// For an agent whose start begins with so long a time in which there is
    /// nothing that a kill could cut in two.
    pub fn idle(self, idle: Duration) -> Self {
        Self { idle, ..self }
    }

    fn go_through(&self, machine: &Machine, action: &str) {
        let before = machine.state();
        let idle = if action == "start" { self.idle } else { Duration::ZERO };
        let usual = self.duration(action).saturating_sub(idle);
        let mut instants = Instants::within(usual * 5 / 4);
        let (mut killed, times) = (0, kills(self.times).div_ceil(PARTS));
        for round in 1..=times {
            let (seed, instant) = (instants.seed(), idle + instants.next());
            let at =
                format!("round {round}, {action} killed after {instant:?}, STURDY_SEED={seed}");
            if action == "stop" {
                self.agent.action("start").exits(0);
            }
            match self.agent.killed(action, instant) {
                Killed::After(_) => {
                    killed += 1;
                    instants.in_time();
                }
                Killed::TooLate(output) => {
                    assert_eq!(output.code, Some(0), "{at}: {output}");
                    instants.too_late(instant.saturating_sub(idle));
                }
            }
            self.monitor_is_right(machine, &at);
            let stop = self.agent.action("stop");
            assert_eq!(stop.code, Some(0), "{at}: {}", *stop);
            let changes = before.changes(&machine.state());
            assert!(changes.is_empty(), "{at}: stop left {changes:#?}");
            assert_eq!(self.agent.probe().code, Some(7), "{at}");
        }
        assert!(killed * ONE_IN > times, "only {killed} of {times} were killed");
    }

    /// What the kernel says is asked before and after: an address may become
    /// usable in between, with nobody's help.
    fn monitor_is_right(&self, machine: &Machine, at: &str) {
        let before = (self.runs)(machine);
        let monitor = self.agent.action("monitor");
        let after = (self.runs)(machine);
        match monitor.code {
            Some(0) => {
                assert!(before || after, "{at}: monitor says running, the kernel does not");
            }
            // Stopped, or neither whole nor gone.
            Some(7 | 1) => {
                assert!(!before || !after, "{at}: the kernel says running, monitor: {}", *monitor);
            }
            _ => panic!("{at}: {}", *monitor),
        }
    }

    /// The usual time of the action, from a few of them.
    fn duration(&self, action: &str) -> Duration {
        let mut times: Vec<_> = (0..5)
            .map(|_| {
                let started = self.agent.action("start").exits(0).took;
                let stopped = self.agent.action("stop").exits(0).took;
                if action == "start" { started } else { stopped }
            })
            .collect();
        times.sort_unstable();
        times[2]
    }
}
