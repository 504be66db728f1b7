//! The mark in the environment of each program that changes the machine: which
//! instance it works for, and in which process group. [`stuck`](super::stuck)
//! looks for it.

/// The variable that carries the mark.
pub(crate) const VARIABLE: &str = "STURDY_WORKS_FOR";

/// The mark of a program that works for this instance.
pub(crate) fn of(instance: &str) -> String {
    format!("{instance} in {}", nix::unistd::getpgrp())
}
