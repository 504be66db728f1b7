//! A machine made of files, for the tests of the agents for DRBD.

#![allow(clippy::disallowed_methods, reason = "makes a machine out of files")]

use common::View;
use common::testing::Files;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

/// A machine with DRBD 8.4, on which `drbdadm` does what the test says.
pub(crate) struct Fake(Files);

impl Fake {
    pub(crate) fn new(rows: &str) -> Self {
        let fake = Self(Files::new());
        fake.file("/proc/self/comm", "x").file("/sys/module/drbd/version", "8.4.11");
        fake.file("/proc/sys/kernel/hostname", "node1\n");
        fake.file("/etc/drbd.conf", "resource r1 { on node1 { device /dev/drbd1; } }");
        fake.rows(rows);
        fake
    }

    pub(crate) fn rows(&self, rows: &str) -> &Self {
        self.file("/proc/drbd", &format!("version: 8.4.11 (api:1/proto:86-101)\n{rows}"))
    }

    /// A machine with DRBD 9, whose `drbdsetup` tells of its events.
    pub(crate) fn nine(events: &str) -> Self {
        let fake = Self::new("");
        fake.file("/proc/drbd", include_str!("../../../tests/data/drbd/proc-9.0.28"));
        fake.program("drbdsetup", "[ $1 = events2 ] && cat events").events(events);
        fake
    }

    pub(crate) fn events(&self, events: &str) -> &Self {
        self.file("/events", events)
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.0.path(path)
    }

    pub(crate) fn file(&self, path: &str, text: &str) -> &Self {
        self.0.file(path, text);
        self
    }

    pub(crate) fn link(&self, path: &str, to: &str) -> &Self {
        self.0.link(path, to);
        self
    }

    /// A program that writes down its words and does what the shell says.
    pub(crate) fn program(&self, name: &str, shell: &str) -> &Self {
        let (path, root) = (self.path(&format!("/usr/sbin/{name}")), self.0.root().display());
        let text = format!("#!/bin/sh\ncd {root}\necho {name} $* >> called\n{shell}\n");
        // Whoever has a file open for writing, if only between fork and exec in
        // another test's thread, keeps it from being run: another process writes.
        let text_file = path.with_extension("text");
        fs::write(&text_file, text).unwrap();
        fs::set_permissions(&text_file, fs::Permissions::from_mode(0o755)).unwrap();
        let copied = std::process::Command::new("cp").arg(&text_file).arg(&path).status().unwrap();
        assert!(copied.success());
        self
    }

    /// `drbdadm` as it is where the kernel does as told.
    pub(crate) fn obedient(&self) -> &Self {
        self.program("drbdadm", "case $1 in primary) ro=Primary;; secondary|down) ro=Secondary;; *) exit;; esac\nsed -i s,ro:[A-Za-z]*/,ro:$ro/, proc/drbd")
    }

    /// What was called to change something, or to learn of the configuration.
    pub(crate) fn called(&self) -> Vec<String> {
        let called = fs::read_to_string(self.path("/called")).unwrap_or_default();
        let looks = |line: &&str| line.starts_with("drbdsetup events2");
        called.lines().filter(|line| !looks(line)).map(str::to_owned).collect()
    }

    /// As if nothing had been called yet.
    pub(crate) fn forget(&self) -> &Self {
        self.file("/called", "")
    }

    pub(crate) fn view(&self, limit: Duration) -> View {
        self.0.view_for(limit)
    }
}
