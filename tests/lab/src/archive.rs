//! The initial memory disk: a cpio archive in the "newc" form the kernel
//! unpacks, with this binary as `/init` and the drivers of the root disk.

use anyhow::{Context, Result};
use std::path::Path;

/// An archive under construction.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    count: u32,
}

impl Archive {
    /// Adds a directory.
    pub fn directory(&mut self, path: &str) {
        self.entry(path, 0o040_755, &[], (0, 0));
    }

    /// Adds a file, executable if `mode` says so.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entry(path, 0o100_000 | mode, content, (0, 0));
    }

    /// Adds a character device.
    pub fn device(&mut self, path: &str, major: u32, minor: u32) {
        self.entry(path, 0o020_600, &[], (major, minor));
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.entry(path, 0o120_777, target.as_bytes(), (0, 0));
    }

    /// Ends the archive and writes it.
    pub fn write(mut self, to: &Path) -> Result<()> {
        self.entry("TRAILER!!!", 0, &[], (0, 0));
        std::fs::write(to, self.bytes).with_context(|| format!("cannot write {}", to.display()))
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8], device: (u32, u32)) {
        self.count += 1;
        let (length, name) = (content.len() as u32, path.len() as u32 + 1);
        let (major, minor) = device;
        self.bytes.extend(b"070701");
        for field in [self.count, mode, 0, 0, 1, 0, length, 0, 0, major, minor, name, 0] {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(path.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}
