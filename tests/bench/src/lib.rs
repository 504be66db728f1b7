//! `cargo xtask bench`: what the agents cost, beside a process that does
//! nothing and beside the shell agents, in one run.
//!
//! On this machine everything happens in namespaces of this process's own: a
//! network with one pair of interfaces, a mount table, a directory for the
//! agents' records. What needs a kernel with DRBD and LVM is measured in a
//! machine of the lab. The commands that are compared take turns, so that what
//! disturbs one disturbs the other.

mod actions;
mod document;
pub mod guest;
mod guests;
mod in_lab;
mod measure;
mod plot;
mod sheet;
mod stage;
mod table;

use anyhow::{Context, Result, ensure};
use measure::{Effort, Row};
use packaging::host;
use sheet::Sheet;
use stage::{Stage, Subject};

const USAGE: &str = "Usage: cargo xtask bench [--lab] [--quick] [AGENT...]

  --lab    drbd, drbddisk, LVM, nfsserver and the kernel's targets, in a machine of the lab; without
           it IPaddr, Filesystem, exportfs, portblock, vblade, VirtualDomain and DomainGroup, on this
           machine
  --quick  fewer runs of each, for a first impression
  AGENT    these alone: an agent's name, and with --lab one of LVM, drbd, nfsserver, targets,
           target-start; the rows of the others stay as they were";

/// What the comparison needs besides the agents.
const NEEDS: &[(&str, &str, &str)] = &[
    ("ip", "iproute2", "to set up addresses"),
    ("mkfs.ext4", "e2fsprogs", "to make a file system"),
    ("losetup", "mount", "to make a block device"),
    ("strace", "strace", "to count system calls and processes"),
    ("/usr/lib/ocf/resource.d/heartbeat/IPaddr2", "resource-agents", "to compare with"),
    ("/etc/ha.d/resource.d/drbddisk", "drbd-utils", "to compare with"),
    ("arping", "iputils-arping", "what the shell agent for addresses calls"),
    ("fuser", "psmisc", "what the shell agent for file systems calls"),
    ("exportfs", "nfs-kernel-server", "what both agents for exports call"),
    ("modprobe", "kmod", "what the shell agent for file systems calls"),
    ("iptables", "iptables", "what the shell agent for ports calls"),
    ("vblade", "vblade", "what both agents for ATA over Ethernet call"),
    ("libvirtd", "libvirt-daemon", "to have a guest"),
    ("virsh", "libvirt-clients", "what both agents for guests call"),
    ("qemu-system-x86_64", "qemu-system-x86", "to have a guest"),
];

/// The task.
pub fn run(words: &[String]) -> Result<()> {
    let (mut in_lab, mut quick, mut names) = (false, false, Vec::new());
    for word in words {
        match word.as_str() {
            "--lab" => in_lab = true,
            "--quick" => quick = true,
            "-h" | "--help" => {
                println!("{USAGE}");
                return Ok(());
            }
            _ => names.push(word.clone()),
        }
    }
    let unknown = |name: &str| format!("{name}?\n{USAGE}");
    let mut wanted = Vec::new();
    for name in &names {
        if in_lab {
            ensure!(in_lab::PARTS.iter().any(|(part, _)| part == name), unknown(name));
        } else {
            let found = SUBJECTS.iter().find(|(subject, _)| subject.agent() == name);
            wanted.push(*found.with_context(|| unknown(name))?);
        }
    }
    let effort = match quick {
        false => Effort { ours: 400, shell: 25, under_load: 25 },
        true => Effort { ours: 60, shell: 5, under_load: 8 },
    };
    let mut report = document::read()?;
    let sheet = if in_lab {
        host::become_root("bench", words, "a machine is started, from an image that root owns")?;
        let new = in_lab::measure(effort, &names)?;
        renewed(&mut report.lab, new, names.is_empty())
    } else {
        host::become_root("bench", words, "it works in namespaces of its own")?;
        let all = wanted.is_empty();
        let new = here(effort, if all { SUBJECTS } else { &wanted })?;
        renewed(&mut report.host, new, all)
    };
    print!("{}", table::terminal(sheet));
    document::write(&report)
}

/// All of it anew, or some rows in the place of their older ones.
fn renewed(sheet: &mut Option<Sheet>, new: Sheet, all: bool) -> &mut Sheet {
    let new = match sheet.take() {
        Some(before) if !all => before.renewed(new),
        _ => new,
    };
    sheet.insert(new)
}

/// What is measured on this machine, and beside how many others of its kind.
const SUBJECTS: &[(Subject, &[usize])] = &[
    (Subject::Address, &[1, 1_000, 10_000]),
    (Subject::Mount, &[1, 1_000, 10_000]),
    (Subject::Export, &[1, 1_000, 10_000]),
    (Subject::Port, &[1]),
    (Subject::Aoe, &[1, 500]),
    (Subject::Guest, &[1, 200]),
    (Subject::Group, &[1, 200]),
    (Subject::Drbd, &[1]),
];

fn here(effort: Effort, subjects: &[(Subject, &[usize])]) -> Result<Sheet> {
    host::install(NEEDS)?;
    eprintln!("building the agents");
    let mut programs = vec!["noop"];
    programs.extend(subjects.iter().map(|(subject, _)| subject.agent()));
    let built = host::build_some_agents(&programs)?;
    let stage = Stage::enter(&built)?;
    let mut rows = Vec::new();
    for (subject, scales) in subjects {
        rows.extend(compare(&stage, effort, *subject, scales)?);
    }
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    Ok(Sheet { machine: format!("{cores} cores, {}", sheet::system()), rows })
}

fn compare(stage: &Stage, effort: Effort, subject: Subject, scales: &[usize]) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    if subject != Subject::Drbd {
        stage.crowd(subject, 1)?;
        rows.extend(actions::changes(stage, subject, effort.shell)?);
    }
    for scale in scales {
        stage.crowd(subject, *scale)?;
        rows.push(actions::monitor(stage, (subject, *scale, 0), effort.ours, effort.shell)?);
    }
    if let [.., most] = scales
        && *most >= 10_000
    {
        let _busy = stage::Busy::start(16)?;
        let (times, shell_times) = (effort.under_load, effort.under_load.min(8));
        rows.push(actions::monitor(stage, (subject, *most, 16), times, shell_times)?);
    }
    // The next subject is measured beside none of these.
    stage.crowd(subject, 1)?;
    Ok(rows)
}
