//! One virtual machine: its disks, its QEMU, and the verbs that QEMU knows.

use super::debian::{self, Debian};
use super::hypervisor;
use super::image::{self, Extra, Image};
use super::place::Place;
use super::qemu::Qemu;
use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// What a machine is made of.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Its name, which is also its host name.
    pub name: &'static str,
    /// Its place in the MAC addresses.
    pub number: u8,
    /// Megabytes.
    pub memory: u32,
    /// Its address on the public network, with the prefix.
    pub public: &'static str,
    /// Its address on the private network; a client is not on it.
    pub private: Option<&'static str>,
    /// Megabytes of each disk besides the root.
    pub disks: &'static [u64],
}

/// The machines of the lab.
pub const PLANS: &[Plan] = &[
    Plan {
        name: "node1",
        number: 1,
        memory: 640,
        public: "10.10.1.251/24",
        private: Some("10.10.2.251/24"),
        disks: &[256, 256, 64],
    },
    Plan {
        name: "node2",
        number: 2,
        memory: 640,
        public: "10.10.1.252/24",
        private: Some("10.10.2.252/24"),
        disks: &[256, 256, 64],
    },
    Plan {
        name: "client",
        number: 3,
        memory: 320,
        public: "10.10.1.1/24",
        private: None,
        disks: &[],
    },
];

/// Those of them that are the cluster's nodes.
pub const NODES: [&str; 2] = ["node1", "node2"];

/// The machines that are to run, and how.
#[derive(Clone, Debug)]
pub struct Choice {
    /// One or more of them.
    pub plans: Vec<&'static Plan>,
    /// Whether an emulated machine's clock counts its instructions, one for each
    /// nanosecond, instead of going with the host's.
    pub counted: bool,
    /// What runs in them.
    pub debian: Debian,
    /// What they have besides.
    pub extra: Extra,
}

/// Says so in words.
pub const COUNTED: &str = "--counted";

impl Choice {
    /// The machines of these names; all of them where none is named.
    pub fn read(words: &[&str]) -> Result<Self> {
        let (mut counted, mut names) = (false, Vec::new());
        let (mut debian, mut extra) = (Debian::default(), Extra::default());
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            match word {
                COUNTED => counted = true,
                debian::OPTION => debian = Debian::read(words.next())?,
                image::OPTION => extra = Extra::read(words.next())?,
                name if PLANS.iter().any(|plan| plan.name == name) => names.push(name),
                name => bail!("no machine {name}"),
            }
        }
        let is_meant = |plan: &&Plan| names.is_empty() || names.contains(&plan.name);
        Ok(Self { plans: PLANS.iter().filter(is_meant).collect(), counted, debian, extra })
    }

    /// The machines of these names, with that release in them and what it has besides.
    pub fn of(names: &[&str], debian: Debian, extra: Extra) -> Result<Self> {
        Ok(Self { debian, extra, ..Self::read(names)? })
    }

    /// Read again, these words make the same choice.
    pub fn words(&self) -> impl Iterator<Item = &'static str> {
        let names = self.plans.iter().map(|plan| plan.name);
        let extra = self.extra.word().map(|word| [image::OPTION, word]);
        names
            .chain(self.counted.then_some(COUNTED))
            .chain([debian::OPTION, self.debian.number()])
            .chain(extra.into_iter().flatten())
    }
}

/// One of the networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Between the nodes and the client; the first two cards.
    Public,
    /// Between the nodes; the other two.
    Private,
}

impl Network {
    /// Both.
    pub const ALL: [Network; 2] = [Network::Public, Network::Private];

    /// Its name in verbs and reports.
    pub fn name(self) -> &'static str {
        match self {
            Network::Public => "public",
            Network::Private => "private",
        }
    }

    /// The numbers of its cards in a machine.
    pub fn cards(self) -> [u8; 2] {
        match self {
            Network::Public => [0, 1],
            Network::Private => [2, 3],
        }
    }
}

impl Plan {
    /// The networks this machine is on.
    pub fn networks(&self) -> &'static [Network] {
        if self.private.is_some() { &Network::ALL } else { &[Network::Public] }
    }

    /// The socket of one of its cards.
    pub fn card(&self, place: &Place, card: u8) -> PathBuf {
        place.socket(&format!("{}.eth{card}", self.name))
    }

    fn file(&self, place: &Place, suffix: &str) -> PathBuf {
        place.machines().join(format!("{}.{suffix}", self.name))
    }

    /// What the kernel of the machine printed.
    pub fn console(&self, place: &Place) -> PathBuf {
        self.file(place, "console")
    }

    /// Fresh disks; whatever was on the old ones is gone.
    pub fn make_disks(&self, image: &Image, qemu: &Qemu, place: &Place) -> Result<()> {
        let root = self.file(place, "root");
        let made = qemu
            .img()
            .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
            .arg(image.root())
            .arg(&root)
            .status()
            .context("cannot run qemu-img")?;
        ensure!(made.success(), "cannot make {}", root.display());
        for (index, megabytes) in self.disks.iter().enumerate() {
            let disk = fs::File::create(self.file(place, &format!("disk{index}")))?;
            disk.set_len(megabytes << 20)?;
        }
        let _ = fs::remove_file(self.console(place));
        Ok(())
    }

    /// Switches the power on.
    pub fn boot(&self, image: &Image, qemu: &Qemu, place: &Place) -> Result<Child> {
        let mut command = qemu.system();
        let mut append = format!(
            "quiet panic=1 mitigations=off nokaslr audit=0 net.ifnames=0 lab.name={} lab.public={}",
            self.name, self.public
        );
        if let Some(private) = self.private {
            append += &format!(" lab.private={private}");
        }
        // A restart of the guest ends QEMU: each boot is a new process, with
        // new ends of every socket.
        command.args(["-name", self.name, "-smp", "1", "-no-reboot"]);
        let is_node = NODES.contains(&self.name);
        if image.extra == Extra::Xen && is_node {
            hypervisor::boot(&mut command, image, self.memory, &append);
        } else {
            let khz = if qemu.counts() { COUNTED_KHZ } else { tsc_khz() };
            let append = format!(
                "console=ttyS0 pci=noacpi tsc=reliable tsc_early_khz={khz} no_timer_check {append}"
            );
            let more = if is_node { image.extra.memory() } else { 0 };
            command.args(["-m", &(self.memory + more).to_string(), "-append", &append]);
            command.arg("-kernel").arg(image.kernel()).arg("-initrd").arg(image.initrd());
        }
        command.args([
            "-chardev",
            &format!("file,id=console,append=on,path={}", self.console(place).display()),
        ]);
        command.args(["-serial", "chardev:console"]);
        for (name, device) in [
            ("qmp", "-mon chardev=qmp,mode=control"),
            ("port", "-device virtio-serial-pci -device virtserialport,chardev=port,name=lab"),
        ] {
            let socket = place.socket(&format!("{}.{name}", self.name));
            let _ = fs::remove_file(&socket);
            command.args([
                "-chardev",
                &format!("socket,id={name},server=on,wait=off,path={}", socket.display()),
            ]);
            command.args(device.split(' '));
        }
        self.add_disks(&mut command, place);
        self.add_cards(&mut command, place);
        command.args(["-device", "virtio-rng-pci"]);
        let log = fs::File::create(self.file(place, "qemu.log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        die_with_parent(&mut command);
        command.spawn().with_context(|| format!("cannot start QEMU for {}", self.name))
    }

    fn add_disks(&self, command: &mut std::process::Command, place: &Place) {
        let root = self.file(place, "root");
        let mut drives = vec![format!("format=qcow2,cache=unsafe,file={}", root.display())];
        for index in 0..self.disks.len() {
            let disk = self.file(place, &format!("disk{index}"));
            drives.push(format!("format=raw,cache=writeback,file={}", disk.display()));
        }
        for (index, drive) in drives.iter().enumerate() {
            command.args(["-drive", &format!("if=none,id=drive{index},{drive}")]);
            command.args(["-device", &format!("virtio-blk-pci,id=disk{index},drive=drive{index}")]);
        }
    }

    fn add_cards(&self, command: &mut std::process::Command, place: &Place) {
        for card in self.networks().iter().flat_map(|network| network.cards()) {
            let socket = self.card(place, card);
            command.args([
                "-netdev",
                &format!(
                    "stream,id=net{card},server=off,addr.type=unix,addr.path={}",
                    socket.display()
                ),
            ]);
            command.args(["-device", &format!(
                "virtio-net-pci,id=eth{card},netdev=net{card},romfile=,mac=52:54:00:4c:{:02x}:{card:02x}",
                self.number
            )]);
        }
    }
}

/// The kernel ends the child when this process ends, however it ends.
fn die_with_parent(command: &mut std::process::Command) {
    #[allow(unsafe_code)]
    // SAFETY: between fork and exec the closure makes one system call and
    // neither allocates nor takes a lock.
    unsafe {
        command.pre_exec(|| {
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).map_err(Into::into)
        });
    }
}

/// The processor's counter, where it counts nanoseconds.
const COUNTED_KHZ: u64 = 1_000_000;

/// How fast the processor's counter runs. An emulated machine counts with the
/// host's; left to measure it on a busy host, its clock would go wrong.
fn tsc_khz() -> u64 {
    #[allow(unsafe_code)]
    // SAFETY: every processor that runs x86-64 code has the instruction.
    let read = || unsafe { std::arch::x86_64::_rdtsc() };
    let (start, before) = (Instant::now(), read());
    std::thread::sleep(Duration::from_millis(50));
    let (passed, after) = (start.elapsed(), read());
    (after - before) * 1000 / (passed.as_micros() as u64).max(1)
}

/// QEMU's own control channel.
pub struct Monitor {
    stream: BufReader<UnixStream>,
}

impl Monitor {
    /// Connects to the machine that was just started.
    pub fn connect(plan: &Plan, place: &Place) -> Result<Self> {
        let stream = connect(&place.socket(&format!("{}.qmp", plan.name)))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut monitor = Self { stream: BufReader::new(stream) };
        monitor.line()?;
        monitor.tell("qmp_capabilities", json!({}))?;
        Ok(monitor)
    }

    /// Carries out one command.
    pub fn tell(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let request = json!({"execute": command, "arguments": arguments});
        writeln!(self.stream.get_mut(), "{request}")
            .with_context(|| format!("cannot tell QEMU to {command}"))?;
        loop {
            let answer = self.line()?;
            if let Some(value) = answer.get("return") {
                return Ok(value.clone());
            }
            if let Some(error) = answer.get("error") {
                bail!("QEMU refuses {command}: {}", error["desc"]);
            }
        }
    }

    fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        let count = self.stream.read_line(&mut line).context("no answer from QEMU")?;
        ensure!(count > 0, "QEMU has ended");
        Ok(serde_json::from_str(&line)?)
    }
}

/// Connects to a socket QEMU is about to open.
pub fn connect(path: &std::path::Path) -> Result<UnixStream> {
    let start = Instant::now();
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return Ok(stream),
            Err(err) if start.elapsed() > Duration::from_secs(10) => {
                return Err(err).with_context(|| format!("cannot connect to {}", path.display()));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}
