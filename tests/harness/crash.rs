//! SIGKILL at instants that look random and can be repeated.

use super::call::Call;
use super::program::Output;
use std::time::{Duration, Instant};

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
        let seed = std::env::var_os("STURDY_SEED").and_then(|seed| seed.to_str()?.parse().ok());
        Self { state: seed.unwrap_or_else(clock_seed), span }
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
}
