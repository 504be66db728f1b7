//! Which QEMU starts the machines, and whether the processor's help can be
//! used. QEMU is the host's own where it is recent enough; otherwise one is
//! unpacked beside the image, so that nothing of the host is changed.

use super::debian;
use super::image::Image;
use super::place::Place;
use super::progress::Progress;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A QEMU that can be started.
#[derive(Clone, Debug)]
pub struct Qemu {
    /// The directory the distribution was unpacked in; none for the host's.
    root: Option<PathBuf>,
    /// Whether machines run on the processor itself.
    pub kvm: bool,
    /// Whether the clocks of emulated machines count instructions.
    pub counted: bool,
}

impl Qemu {
    /// `qemu-system-x86_64` without any argument yet.
    pub fn system(&self) -> Command {
        let mut command = self.program("qemu-system-x86_64");
        if let Some(root) = &self.root {
            for data in ["usr/share/qemu", "usr/share/seabios"] {
                command.arg("-L").arg(root.join(data));
            }
        }
        let (accelerator, processor) = match (self.kvm, self.counted) {
            (true, _) => ("kvm", "host"),
            (false, false) => ("tcg,thread=multi", "Nehalem"),
            (false, true) => ("tcg,thread=single", "Nehalem"),
        };
        command.args(["-accel", accelerator, "-cpu", processor]);
        if self.counts() {
            command.args(["-icount", "shift=0"]);
        }
        command.args(["-machine", "pc", "-nodefaults", "-no-user-config", "-display", "none"]);
        command
    }

    /// Whether a machine's clock counts its instructions, one for each
    /// nanosecond: then what a program costs depends neither on how busy the
    /// host is nor on how good QEMU is at translating.
    pub fn counts(&self) -> bool {
        self.counted && !self.kvm
    }

    /// `qemu-img`.
    pub fn img(&self) -> Command {
        self.program("qemu-img")
    }

    fn program(&self, name: &str) -> Command {
        let Some(root) = &self.root else { return Command::new(name) };
        let libraries = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"]
            .map(|dir| root.join(dir).display().to_string())
            .join(":");
        let mut command = Command::new(root.join("lib64/ld-linux-x86-64.so.2"));
        command
            .args(["--library-path", &libraries])
            .arg(root.join("usr/bin").join(name))
            .env("QEMU_MODULE_DIR", root.join("usr/lib/x86_64-linux-gnu/qemu"));
        command
    }
}

/// Finds a QEMU or unpacks one.
pub fn ready(place: &Place, progress: &mut Progress) -> Result<Qemu> {
    let own = Qemu { root: None, kvm: false, counted: false };
    if which::which("qemu-img").is_ok() && own.version().is_some_and(|version| version >= (7, 2)) {
        return Ok(own);
    }
    let root = place.files.join("tools");
    if !root.exists() {
        debian::unpack(&root, &["qemu-system-x86", "qemu-utils"], "unpacking QEMU", progress)?;
    }
    let unpacked = Qemu { root: Some(root.clone()), kvm: false, counted: false };
    if unpacked.version().is_none() {
        bail!("the QEMU unpacked in {} does not start; remove that directory", root.display());
    }
    Ok(unpacked)
}

impl Qemu {
    /// The version; streams over sockets, which the networks need, came in 7.2.
    fn version(&self) -> Option<(u32, u32)> {
        let output = self.program("qemu-system-x86_64").arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut numbers = text.split("version ").nth(1)?.split('.');
        Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
    }

    /// Boots the kernel with the processor's help once, with a time limit:
    /// the device node says little, a nested one may be there and hang. The
    /// finding is kept until the host's next boot.
    pub fn probe(&mut self, image: &Image, place: &Place, progress: &Progress) -> Result<()> {
        if !Path::new("/dev/kvm").exists() {
            progress.done("processor", "no /dev/kvm here: machines are emulated, which is slower");
            return Ok(());
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let note = place.files.join("kvm");
        let known = fs::read_to_string(&note).unwrap_or_default();
        if let Some(answer) = known.strip_prefix(boot.trim()) {
            self.kvm = answer.trim() == "works";
            return Ok(());
        }
        progress.show("processor", "trying /dev/kvm with a small boot (at most 10 s)");
        self.kvm = true;
        self.kvm = self.boots(image, place)?;
        let answer = if self.kvm { "works" } else { "fails" };
        fs::write(&note, format!("{} {answer}\n", boot.trim()))?;
        progress.done(
            "processor",
            if self.kvm {
                "/dev/kvm works: machines run on the processor"
            } else {
                "/dev/kvm is there but no kernel boots with it: machines are emulated"
            },
        );
        Ok(())
    }

    fn boots(&self, image: &Image, place: &Place) -> Result<bool> {
        let console = place.files.join("probe.console");
        let mut child = self
            .system()
            .args(["-m", "256", "-no-reboot", "-append", "console=ttyS0 quiet panic=-1 lab.probe"])
            .arg("-kernel")
            .arg(image.kernel())
            .arg("-initrd")
            .arg(image.initrd())
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot run QEMU")?;
        let start = Instant::now();
        while child.try_wait()?.is_none() {
            if start.elapsed() > Duration::from_secs(10) {
                child.kill()?;
                child.wait()?;
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let said = fs::read(&console).unwrap_or_default();
        Ok(String::from_utf8_lossy(&said).contains("lab: the kernel runs"))
    }
}
