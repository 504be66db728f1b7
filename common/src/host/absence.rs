//! Proof that something is not there.
//!
//! "Stopped" is the one answer that nobody checks again: the cluster mounts
//! the disk elsewhere on the strength of it. An error, an empty default, a
//! program that is missing or a list that was cut short all look like
//! "nothing there" to code that only asks whether it has found something. So
//! [`Status::Stopped`](crate::Status::Stopped) takes an [`Absent`], and only
//! the looks of this module's siblings make one: those that have read a list
//! of the kernel's to its end ([`Whole`]), and those whose single question the
//! kernel has answered with a plain no.
//!
//! An agent cannot make one up:
//!
//! ```compile_fail,E0451
//! use common::{Absent, Status};
//!
//! // The look has failed, and the agent would like it to be stopped.
//! fn status(seen: anyhow::Result<bool>) -> Status {
//!     match seen {
//!         Ok(true) => Status::Running(common::Role::Started),
//!         _ => Status::Stopped(Absent { look: "nowhere".into() }),
//!     }
//! }
//! ```
//!
//! nor leave it out, nor read it from a list of its own:
//!
//! ```compile_fail,E0308
//! fn status() -> common::Status {
//!     common::Status::Stopped
//! }
//! ```
//!
//! ```compile_fail,E0624
//! let nothing: Vec<u8> = std::fs::read("/proc/mounts").unwrap_or_default();
//! let absent = common::host::absence::Whole::told("mounts", nothing).lacks(|_| true);
//! ```
//!
//! A facility of this module makes one by [`Whole::told`], once it has seen the
//! list's end, or by [`Absent::seen`], on a plain no. That a file is not there is
//! one only where what it would lie in has been seen to be there: an unmounted
//! /proc or /sys lacks everything.
//!
//! An agent gets one from a look, and hands it on:
//!
//! ```
//! use common::host::mount::Table;
//! use common::{Role, Status, View};
//!
//! fn status(view: &View) -> anyhow::Result<Status> {
//!     let table = Table::read(view)?; // an error stays one
//!     Ok(match table.lacks(|mount| mount.fstype == "zonefs") {
//!         Some(absent) => Status::Stopped(absent),
//!         None => Status::Running(Role::Started),
//!     })
//! }
//! ```

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

/// Proof that a look has been made to its end, and that what it was for is not
/// there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absent {
    look: Cow<'static, str>,
}

impl Absent {
    /// The look that proves it, as a noun: `no such device in the kernel's list`.
    pub(in crate::host) fn seen(look: impl Into<Cow<'static, str>>) -> Self {
        Self { look: look.into() }
    }

    /// Proof that neither is there.
    pub fn and(self, other: Self) -> Self {
        if self.look == other.look {
            return self;
        }
        Self { look: format!("{self}; {other}").into() }
    }

    /// For the frame's own tests, whose machine is a file.
    #[cfg(test)]
    pub(crate) fn in_a_test() -> Self {
        Self::seen("a test says so")
    }
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.look)
    }
}

/// A list as the kernel has told it, to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole<T> {
    of: &'static str,
    items: Vec<T>,
}

impl<T> Whole<T> {
    /// A list of what `of` says, in the plural: `addresses`. For readers that
    /// have seen the end of it.
    pub(in crate::host) fn told(of: &'static str, items: Vec<T>) -> Self {
        Self { of, items }
    }

    /// Proof that none of the list is meant; nothing where one is. What `is_meant`
    /// asks has to be true of what would be there: a question that nothing can
    /// answer with yes proves nothing.
    pub fn lacks(&self, is_meant: impl FnMut(&T) -> bool) -> Option<Absent> {
        let none = !self.items.iter().any(is_meant);
        none.then(|| Absent::seen(format!("none among {} {}", self.items.len(), self.of)))
    }

    /// Proof by what the list has instead: an entry that keeps what is meant from
    /// being there.
    pub fn excludes(&self, what: &str, is_in_its_place: impl FnMut(&T) -> bool) -> Option<Absent> {
        let held = self.items.iter().any(is_in_its_place);
        held.then(|| Absent::seen(format!("{what}, by one of {} {}", self.items.len(), self.of)))
    }

    /// The entries, of which the list is no proof any more.
    pub fn into_items(self) -> Vec<T> {
        self.items
    }
}

impl<T> Deref for Whole<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_proves_what_is_not_on_it() {
        let list = Whole::told("numbers", vec![1, 2, 3]);
        assert_eq!(list.lacks(|number| *number == 2), None);
        let absent = list.lacks(|number| *number == 4).unwrap();
        assert_eq!(absent.to_string(), "none among 3 numbers");
        assert_eq!(list.excludes("shut", |number| *number == 4), None);
        let shut = list.excludes("shut", |number| *number == 2).unwrap();
        assert_eq!(shut.to_string(), "shut, by one of 3 numbers");
        let both = absent.clone().and(Absent::seen("no module"));
        assert_eq!(both.to_string(), "none among 3 numbers; no module");
        assert_eq!(absent.clone().and(absent.clone()), absent);
    }
}
