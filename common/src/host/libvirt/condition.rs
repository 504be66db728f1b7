//! What a guest does, in libvirt's words and in its numbers.

use std::fmt;

/// What a guest does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It runs. One that waits for something of its own, which some
    /// hypervisors tell apart, runs too.
    Running,
    /// Its processors stand still, and why.
    Paused(Pause),
    /// It shuts down, or is being started anew by its own wish.
    ShuttingDown,
    /// It is off.
    Off,
    /// It has crashed, and what is left of it is kept.
    Crashed,
    /// It has gone to sleep by its own wish.
    Asleep,
    /// Something that libvirt has no word for, or a word that is not known
    /// here.
    Unknown,
}

/// Why a guest's processors stand still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pause {
    /// Somebody has asked for it.
    User,
    /// It is moved to another machine, or from one.
    Migration,
    /// A disk of it has failed.
    IoError,
    /// It has not answered its watchdog.
    Watchdog,
    /// Its system has panicked.
    Panicked,
    /// It is about to be started.
    Starting,
    /// It has been moved in part, and the rest cannot be had.
    Torn,
    /// libvirt works on it: it is saved, dumped, or a snapshot is made.
    Work,
    /// A reason that is not known here.
    Other,
}

impl Condition {
    /// By the words of the daemon's own files.
    pub(super) fn of_words(state: &str, reason: &str) -> Self {
        match state {
            "running" | "blocked" | "idle" => Self::Running,
            "paused" => Self::Paused(Pause::of_word(reason)),
            "shutdown" | "in shutdown" => Self::ShuttingDown,
            "shutoff" | "shut off" => Self::Off,
            "crashed" => Self::Crashed,
            "pmsuspended" => Self::Asleep,
            _ => Self::Unknown,
        }
    }

    /// By the numbers of its answers.
    pub(super) fn of_numbers(state: i32, reason: i32) -> Self {
        match state {
            1 | 2 => Self::Running,
            3 => Self::Paused(Pause::of_number(reason)),
            4 => Self::ShuttingDown,
            5 => Self::Off,
            6 => Self::Crashed,
            7 => Self::Asleep,
            _ => Self::Unknown,
        }
    }
}

impl Pause {
    fn of_word(word: &str) -> Self {
        match word {
            "user" => Self::User,
            "migration" | "post-copy" => Self::Migration,
            "ioerror" => Self::IoError,
            "watchdog" => Self::Watchdog,
            "panicked" => Self::Panicked,
            "starting up" => Self::Starting,
            "post-copy failed" => Self::Torn,
            "save" | "dump" | "from snapshot" | "snapshot" | "shutdown" => Self::Work,
            _ => Self::Other,
        }
    }

    fn of_number(number: i32) -> Self {
        match number {
            1 => Self::User,
            2 | 12 => Self::Migration,
            5 => Self::IoError,
            6 => Self::Watchdog,
            10 => Self::Panicked,
            11 => Self::Starting,
            13 => Self::Torn,
            3 | 4 | 7 | 8 | 9 => Self::Work,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "it runs",
            Self::Paused(Pause::User) => "somebody has paused it",
            Self::Paused(Pause::Migration) => "it is paused in a migration",
            Self::Paused(Pause::IoError) => "it is paused by an I/O error of a disk",
            Self::Paused(Pause::Watchdog) => "its watchdog has paused it",
            Self::Paused(Pause::Panicked) => "it is paused since its system has panicked",
            Self::Paused(Pause::Starting) => "it is about to be started",
            Self::Paused(Pause::Torn) => "it is paused, and a part of it stays on another machine",
            Self::Paused(Pause::Work) => "it is paused while libvirt works on it",
            Self::Paused(Pause::Other) => "it is paused",
            Self::ShuttingDown => "it shuts down",
            Self::Off => "it is off",
            Self::Crashed => "it has crashed",
            Self::Asleep => "it has gone to sleep",
            Self::Unknown => "libvirt has no word for what it does",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_numbers_mean_the_same() {
        for (state, number) in [
            ("running", 1),
            ("shutdown", 4),
            ("shutoff", 5),
            ("crashed", 6),
            ("pmsuspended", 7),
            ("nostate", 0),
        ] {
            assert_eq!(Condition::of_words(state, ""), Condition::of_numbers(number, 0), "{state}");
        }
        let words = [
            "unknown",
            "user",
            "migration",
            "save",
            "dump",
            "ioerror",
            "watchdog",
            "from snapshot",
            "shutdown",
            "snapshot",
            "panicked",
            "starting up",
            "post-copy",
            "post-copy failed",
            "api error",
        ];
        for (number, word) in (0..).zip(words) {
            let by_word = Condition::of_words("paused", word);
            assert_eq!(by_word, Condition::of_numbers(3, number), "{word}");
        }
    }
}
