//! `cargo xtask test`: every tier, with what it needs set up first.
//!
//! What is built is built as the user who called; what needs namespaces and
//! loop devices is run as root.

mod tally;

use anyhow::{Context, Result, bail, ensure};
use packaging::{dist, host, quiet};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use tally::{Running, Tally};

/// What the tiers run on besides the kernel: witness, package, reason.
const NEEDS: &[(&str, &str, &str)] = &[
    ("ip", "iproute2", "namespaces, and the witness for addresses"),
    ("ping", "iputils-ping", "whether a neighbour reaches an address"),
    ("losetup", "mount", "disks made of files"),
    ("mkfs.ext4", "e2fsprogs", "file systems to mount"),
    ("mkfs.xfs", "xfsprogs", "file systems to mount"),
    ("mkfs.btrfs", "btrfs-progs", "file systems to mount"),
    ("mkfs.vfat", "dosfstools", "file systems to mount"),
    ("strace", "strace", "what a monitor starts"),
    ("xmllint", "libxml2-utils", "meta-data against its schema"),
    ("crm_resource", "pacemaker-cli-utils", "Pacemaker's own view of the agents"),
    ("crm", "crmsh", "crmsh's view of the agents"),
    ("pcs", "pcs", "pcs's view of the agents, and the OCF 1.1 schema"),
    ("ocf-tester", "resource-agents", "the standard tester, and the shell agents to compare with"),
    ("/usr/share/heartbeat/ResourceManager", "heartbeat", "a takeover as haresources does it"),
    ("nft", "nftables", "an address that several nodes share, and the witness for blocked ports"),
    ("iptables-legacy", "iptables", "what the shell portblock leaves"),
    ("ss", "iproute2", "the witness for connections"),
    ("lvm", "lvm2", "volume groups on disks made of files"),
    ("vblade", "vblade", "devices exported by ATA over Ethernet"),
    ("drbdadm", "drbd-utils", "the drbddisk script to compare with"),
    ("arping", "iputils-arping", "the shell IPaddr2 announces with it"),
    ("ifconfig", "net-tools", "the shell IPaddr sets addresses with it"),
    ("fuser", "psmisc", "the shell Filesystem finds users with it"),
    ("ps", "procps", "what an action has left behind"),
    ("exportfs", "nfs-kernel-server", "the table of exports, on a kernel without a server"),
    ("modprobe", "kmod", "the shell Filesystem asks for it"),
    ("virsh", "libvirt-clients", "guests of libvirt's"),
    ("libvirtd", "libvirt-daemon", "guests of libvirt's"),
    ("qemu-system-x86_64", "qemu-system-x86", "guests, emulated"),
    ("qemu-img", "qemu-utils", "images of guests"),
    ("tgtd", "tgt", "the iSCSI target that is a program"),
    ("iscsi-inq", "libiscsi-bin", "an initiator that is a program, the witness for targets"),
    ("corosync", "corosync", "a cluster of our own, in namespaces"),
    ("pacemakerd", "pacemaker", "a cluster of our own, in namespaces"),
];

/// Services the packages above bring; none of them is wanted here.
const SERVICES: &[&str] = &[
    "corosync",
    "drbd",
    "heartbeat",
    "libvirtd",
    "libvirtd.socket",
    "libvirtd-admin.socket",
    "libvirtd-ro.socket",
    "nfs-server",
    "pacemaker",
    "pcsd",
    "pcsd-ruby",
    "tgt",
    "vblade",
    "xfs_scrub_all.timer",
];

/// The tiers in the order of the time they take to fail.
const TIERS: &[&str] =
    &["unit", "contract", PACKAGE, "kernel", OLDER, "differential", "truth", "lab"];

/// The tiers that are test programs of their own.
const PROGRAMS: &[&str] = &["contract", PACKAGE, "kernel", OLDER, "differential", "truth"];

/// The tier of packages, and what it needs of its own: witness, package, reason.
const PACKAGE: &str = "package";
const PACKAGE_NEEDS: &[(&str, &str, &str)] = &[
    ("mmdebstrap", "mmdebstrap", "clean roots to install packages in"),
    ("nsenter", "util-linux", "to enter copies of them"),
    ("lintian", "lintian", "what Debian thinks of the packages"),
    ("rpmlint", "rpmlint", "what distributions with rpm think of theirs"),
];

/// The kernel tier once more, on a kernel that has none of the calls that came
/// after Enterprise Linux 8 did.
const OLDER: &str = "kernel-old";
const OLDEST: &str = "4.18";

/// What the tier of the older kernel leaves out: cases that have daemons of
/// the distribution's run, whose calls are not ours, for a minute each.
const NOT_OLDER: &[&str] = &["Pacemaker"];

/// The tier of virtual machines; a filter names scenarios there.
const LAB: &str = "lab";

/// The tiers that go on while the lab is played: like these it waits most of the
/// time, and it judges no times.
const BESIDE_LAB: &[&str] = &["kernel", OLDER, "differential", "truth"];

/// Marks the words that carry what was built over to root.
const BUILT: &str = "--built";

struct Wish {
    tiers: Vec<&'static str>,
    /// Passed on to each tier: a filter and options of the test program.
    rest: Vec<String>,
}

/// What was built as the user, and what the unit tests said.
struct Built {
    agents: PathBuf,
    programs: Vec<(&'static str, PathBuf)>,
    lab: bool,
    tally: Tally,
}

/// Runs the tiers named, or all of them.
pub fn run(words: &[String]) -> Result<()> {
    if let [first, built, rest @ ..] = words
        && first == BUILT
    {
        return run_as_root(Built::from_word(built)?, rest);
    }
    if words.iter().any(|word| matches!(word.as_str(), "-h" | "--help" | "help")) {
        eprintln!("Usage: cargo xtask test [{}]... [FILTER] [-- OPTION...]", TIERS.join("|"));
        return Ok(());
    }
    let wish = Wish::parse(words);
    if wish.rest.iter().any(|word| word == "--list") {
        return list(&wish);
    }
    let mut tally = Tally::default();
    if wish.tiers.contains(&"unit") {
        tally.add("unit", unit(&wish)?);
    }
    let lab = wish.tiers.contains(&LAB);
    let tiers: Vec<_> = wish.tiers.iter().copied().filter(|tier| PROGRAMS.contains(tier)).collect();
    if tiers.is_empty() && !lab {
        return tally.finish();
    }
    let programs = build(&tiers)?;
    let built = Built { agents: host::build_agents()?, programs, lab, tally };
    let words: Vec<_> = [BUILT.to_owned(), built.to_word()].into_iter().chain(wish.rest).collect();
    host::become_root("test", &words, "namespaces, loop devices and mounts")?;
    run_as_root(built, &words[2..])
}

/// Shows the names of the cases, for which nothing has to be there but the
/// programs of the tiers.
fn list(wish: &Wish) -> Result<()> {
    let tiers: Vec<_> = wish.tiers.iter().copied().filter(|tier| PROGRAMS.contains(tier)).collect();
    for (_, program) in build(&tiers)? {
        let status = Command::new(program).args(&wish.rest).status()?;
        ensure!(status.success(), "a test program ended with {status}");
    }
    if wish.tiers.contains(&"unit") {
        let (filter, options) = wish.halves();
        let mut command = unit_tests();
        command.args(filter).arg("--").args(options);
        ensure!(command.status()?.success(), "the unit tests do not build");
    }
    Ok(())
}

fn run_as_root(built: Built, rest: &[String]) -> Result<()> {
    let Built { agents, programs, lab, mut tally } = built;
    if programs.iter().any(|(tier, _)| *tier != PACKAGE) {
        install()?;
    }
    let play = || Running::begin(LAB, &mut in_the_lab(rest)?);
    let mut machines = None;
    for (tier, program) in programs {
        if lab && machines.is_none() && BESIDE_LAB.contains(&tier) {
            eprintln!("the lab is played meanwhile");
            machines = Some(play()?);
        }
        let mut command = Command::new(program);
        if tier == PACKAGE {
            host::install(PACKAGE_NEEDS)?;
            command.env("STURDY_PACKAGES", dist::of_work_tree(&agents)?);
        }
        command.args(rest).env("STURDY_AGENTS", &agents).current_dir(host::workspace());
        if tier == OLDER {
            command.env("STURDY_KERNEL", OLDEST);
            command.args(NOT_OLDER.iter().flat_map(|case| ["--skip", case]));
        }
        tally.add(tier, tally::watch(tier, &mut command)?);
    }
    if lab {
        tally.add(LAB, machines.map_or_else(play, Ok)?.finish()?);
    }
    tally.finish()
}

/// The bounded set of scenarios under our agents, or those a filter names. The
/// stock agents beside them are there to compare with, by `lab run core`.
fn in_the_lab(rest: &[String]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["lab", "run", "--as-tests"]).args(rest);
    if rest.is_empty() {
        command.args(["core", "--agents", "sturdy"]);
    }
    Ok(command)
}

fn install() -> Result<()> {
    let had_daemons = std::path::Path::new("/usr/sbin/pacemakerd").exists();
    host::install(NEEDS)?;
    if !had_daemons {
        quiet::disable(SERVICES);
    }
    Ok(())
}

/// The agents' binaries have no main of Rust's, and nothing to test in them.
fn unit_tests() -> Command {
    let mut command = cargo();
    command.args(["test", "--workspace", "--lib", "--bin", "xtask", "--no-fail-fast"]);
    command
}

fn unit(wish: &Wish) -> Result<tally::Count> {
    let mut command = unit_tests();
    let (filter, options) = wish.halves();
    command.args(&filter).arg("--").args(&options);
    let mut count = tally::watch("unit", &mut command)?;
    // What must not compile stands in the documentation.
    let mut examples = cargo();
    examples.args(["test", "--package", "common", "--package", "ocf-meta", "--doc"]);
    examples.args(filter).arg("--").args(options);
    count += tally::watch("unit", &mut examples)?;
    Ok(count)
}

/// Builds the tiers' programs and finds out where cargo put them.
fn build(tiers: &[&'static str]) -> Result<Vec<(&'static str, PathBuf)>> {
    if tiers.is_empty() {
        return Ok(Vec::new());
    }
    let mut command = cargo();
    command.args(["test", "--no-run", "--package", "agents"]);
    command.arg("--message-format=json-render-diagnostics");
    let mut programs: Vec<&str> = tiers.iter().map(|tier| program_of(tier)).collect();
    programs.dedup();
    command.args(programs.iter().flat_map(|program| ["--test", program]));
    let output = command.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    ensure!(output.status.success(), "the tests do not build");
    let messages = String::from_utf8_lossy(&output.stdout);
    let built: Vec<serde_json::Value> =
        messages.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let program = |tier: &&'static str| {
        let of_tier = |message: &&serde_json::Value| {
            message["target"]["name"] == program_of(tier) && message["executable"].is_string()
        };
        let message = built.iter().find(of_tier).with_context(|| format!("no program {tier}"))?;
        Ok((*tier, PathBuf::from(message["executable"].as_str().unwrap_or_default())))
    };
    tiers.iter().map(program).collect()
}

fn program_of(tier: &str) -> &str {
    if tier == OLDER { "kernel" } else { tier }
}

fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(host::workspace()).stdin(Stdio::null());
    command
}

impl Wish {
    fn parse(words: &[String]) -> Self {
        let mut tiers = Vec::new();
        let mut rest = Vec::new();
        for word in words {
            match TIERS.iter().find(|tier| *tier == word) {
                Some(tier) => tiers.push(*tier),
                None => rest.push(word.clone()),
            }
        }
        rest.retain(|word| word != "--");
        if tiers.is_empty() {
            tiers = TIERS.to_vec();
            // A filter of cases is no name of a scenario.
            tiers.retain(|tier| *tier != LAB || rest.is_empty());
        }
        Self { tiers, rest }
    }

    fn halves(&self) -> (Vec<&String>, Vec<&String>) {
        self.rest.iter().partition(|word| !word.starts_with('-'))
    }
}

impl Built {
    fn to_word(&self) -> String {
        let programs: Vec<_> =
            self.programs.iter().map(|(tier, path)| serde_json::json!([tier, path])).collect();
        serde_json::json!([self.agents, programs, self.lab, self.tally]).to_string()
    }

    fn from_word(word: &str) -> Result<Self> {
        let (agents, programs, lab, tally): (PathBuf, Vec<(String, PathBuf)>, bool, Tally) =
            serde_json::from_str(word).context("not a word of this program's own")?;
        let known = |(name, path): (String, PathBuf)| match TIERS.iter().find(|tier| **tier == name)
        {
            Some(tier) => Ok((*tier, path)),
            None => bail!("no tier {name}"),
        };
        let programs = programs.into_iter().map(known).collect::<Result<_>>()?;
        Ok(Self { agents, programs, lab, tally })
    }
}
