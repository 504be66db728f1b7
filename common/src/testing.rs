//! For unit tests: a machine made of files, and what the frame does with a plan,
//! without a frame.

use crate::host::clock::{Deadline, Pace};
use crate::{Plan, View};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Does the steps up to the first that fails.
pub fn carry_out(view: &View, plan: Plan<'_>) -> anyhow::Result<()> {
    plan.steps.into_iter().try_for_each(|step| view.with_write_access(step.act))
}

/// The DRBD resource of which the kernel told in messages that were captured
/// from DRBD 8.4.
#[cfg(feature = "testing")]
pub fn drbd_resource(messages: &str, name: &str) -> crate::host::drbd::Resource {
    crate::host::drbd::replayed(messages, name)
}

/// What the steps would do, in words.
pub fn words(plan: &Plan<'_>) -> Vec<String> {
    plan.steps.iter().map(|step| step.what.clone()).collect()
}

/// Whether it is so within five seconds. What a file that was closed held, a lock
/// above all, is let go a moment later where another test has just forked: until
/// its child runs a program, that one has the file open too.
pub fn soon(is_so: impl Fn() -> bool) -> bool {
    let end = Deadline::after(Duration::from_secs(5));
    let mut pace = Pace::new();
    while !is_so() {
        if end.has_passed() {
            return false;
        }
        pace.rest(end);
    }
    true
}

/// A machine made of files, empty at first, and gone with this value. What of it
/// cannot be made, a test ends with.
#[derive(Debug)]
pub struct Files(tempfile::TempDir);

#[allow(clippy::new_without_default, clippy::unwrap_used, reason = "for tests")]
impl Files {
    /// An empty machine.
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Where the machine's root lies.
    pub fn root(&self) -> &Path {
        self.0.path()
    }

    /// Where an absolute path of the machine lies.
    pub fn at(&self, path: &str) -> PathBuf {
        self.root().join(path.trim_start_matches('/'))
    }

    /// The same, with the directories above it.
    pub fn path(&self, path: &str) -> PathBuf {
        let path = self.at(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    /// Makes a file.
    pub fn file(&self, path: &str, text: &str) -> &Self {
        std::fs::write(self.path(path), text).unwrap();
        self
    }

    /// Makes a directory.
    pub fn dir(&self, path: &str) -> &Self {
        std::fs::create_dir_all(self.at(path)).unwrap();
        self
    }

    /// Makes a link; where it leads is taken as it is written.
    pub fn link(&self, path: &str, to: impl AsRef<Path>) -> &Self {
        std::os::unix::fs::symlink(to, self.path(path)).unwrap();
        self
    }

    /// A mapped device of the device-mapper, as /sys has it, and the devices
    /// beneath it: the name each has there, and its number.
    pub fn mapped(&self, name: &str, uuid: &str, minor: u32, beneath: &[(&str, &str)]) -> &Self {
        for home in [format!("/sys/block/dm-{minor}"), format!("/sys/dev/block/254:{minor}")] {
            self.file(&format!("{home}/dev"), &format!("254:{minor}\n"))
                .file(&format!("{home}/size"), "8192\n")
                .file(&format!("{home}/dm/name"), &format!("{name}\n"))
                .file(&format!("{home}/dm/uuid"), uuid)
                .file(&format!("{home}/dm/suspended"), "0\n");
            for (below, number) in beneath {
                self.file(&format!("{home}/slaves/{below}/dev"), &format!("{number}\n"));
            }
        }
        self
    }

    /// A look at the machine that has five seconds.
    pub fn view(&self) -> View {
        self.view_for(Duration::from_secs(5))
    }

    /// A look at it that has so long.
    pub fn view_for(&self, limit: Duration) -> View {
        View::below(self.root(), Deadline::after(limit))
    }
}

/// A kind of machine made of files, with all that [`Files`] can do.
#[macro_export]
macro_rules! machine_of_files {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        struct $name($crate::testing::Files);

        impl std::ops::Deref for $name {
            type Target = $crate::testing::Files;

            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }
    };
}
