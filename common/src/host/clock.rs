//! Time that ends: every wait has a deadline.

mod local;

use std::time::{Duration, Instant, SystemTime};

/// The instant by which an action has to have said what it has to say.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// This much from now.
    pub fn after(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    /// What is left; zero once it has passed.
    pub fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Whether nothing is left.
    pub fn has_passed(self) -> bool {
        self.left().is_zero()
    }

    /// The earlier of this one and `time` from now.
    pub fn at_most(self, time: Duration) -> Self {
        Instant::now().checked_add(time).map_or(self, |end| Self(self.0.min(end)))
    }

    /// The deadline this much before this one.
    pub fn sooner(self, time: Duration) -> Self {
        Self(self.0.checked_sub(time).unwrap_or(self.0))
    }

    /// The later of this one and `time` from now: for what takes next to
    /// nothing and without which nothing can be said at the end.
    pub fn at_least(self, time: Duration) -> Self {
        Self(self.0.max(Instant::now() + time))
    }

    /// What is left in milliseconds, as poll(2) takes it; at least 0.
    pub fn left_ms(self) -> i32 {
        i32::try_from(self.left().as_millis()).unwrap_or(i32::MAX)
    }
}

/// Pauses between two looks at something that changes by itself: short at
/// first, since most things are quick, then up to half a second.
#[derive(Debug)]
pub struct Pace {
    pause: Duration,
}

impl Pace {
    const FIRST: Duration = Duration::from_millis(2);
    const LONGEST: Duration = Duration::from_millis(500);

    /// A pace that begins with two milliseconds.
    pub fn new() -> Self {
        Self { pause: Self::FIRST }
    }

    /// Sleeps the next pause, but never beyond the deadline.
    pub fn rest(&mut self, deadline: Deadline) {
        std::thread::sleep(self.pause.min(deadline.left()));
        self.pause = (self.pause * 3 / 2).min(Self::LONGEST);
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self::new()
    }
}

/// The local time in a strftime(3) format, as far as [`local`] knows its words.
pub fn local_time(format: &str) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    local::formatted(now, local::offset(now), format)
}

/// The processor's time that this thread has had: what something costs, however
/// busy the machine is.
pub fn spent() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID)
        .map(Duration::from)
        .unwrap_or_default()
}

/// The time since the machine was booted, suspended or not.
pub fn since_boot() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME)
        .map(Duration::from)
        .unwrap_or_default()
}
