//! `cargo xtask bench --lab`: the agents of DRBD, LVM, NFS and the kernel's targets on
//! the kernel's own modules, beside the shell agents, in a machine of the lab.
//!
//! The machine is set up from here; the commands that are compared take their
//! turns inside it, by [`guest`](crate::guest), so that the channel is no part
//! of what is measured.

mod subject;
mod targets;

use super::guest::PART;
use crate::measure::{Case, Effort, Row, Run, Turn, Turns};
use crate::sheet::Sheet;
use anyhow::{Context, Result, ensure};
use lab::boot;
use lab::client::{Lab, Machine};
use lab::guest::SELF;
use lab::machine::NODES;
use lab::machine::{COUNTED, Choice};
use lab::place::Place;
use lab::progress::Progress;
use packaging::host;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::time::Duration;
use subject::{GROUP, HARESOURCES, OURS, Subject};

/// The machine that is measured in.
const NODE: &str = NODES[0];

/// As many resources, or volumes, there are in the end.
const MANY: usize = 200;

const LIMIT: Duration = Duration::from_secs(120);
/// Making many of something in an emulated machine takes its time.
const LONG: Duration = Duration::from_secs(600);

/// What can be measured by itself.
pub const PARTS: &[(&str, Part)] = &[
    ("LVM", |bench| bench.volumes()),
    ("drbd", |bench| bench.resources()),
    ("nfsserver", |bench| bench.server()),
    ("targets", |bench| bench.targets()),
    ("target-start", |bench| bench.start_of_ten()),
];

type Part = fn(&Bench<'_>) -> Result<Vec<Row>>;

fn is_wanted(wanted: &[String], part: &str) -> bool {
    wanted.is_empty() || wanted.iter().any(|name| name == part)
}

/// Starts one machine, measures in it, and ends it: everything, or these parts.
pub fn measure(effort: Effort, wanted: &[String]) -> Result<Sheet> {
    let place = Place::of_workspace();
    ensure!(
        Lab::running(&place).is_none(),
        "a lab is up already, and this needs a machine of its own; end it with \
         `cargo xtask lab down`"
    );
    eprintln!("building the agents");
    let built = host::build_agents()?;
    let (lab, lease, progress) = boot::up(&place, &Choice::read(&[NODE, COUNTED])?)?;
    let bench = Bench { machine: lab.machine(NODE), effort, progress };
    let sheet =
        bench.install(&built).and_then(|()| bench.set_up()).and_then(|()| bench.sheet(wanted));
    drop(lease);
    boot::down(&place)?;
    sheet
}

pub struct Bench<'a> {
    machine: Machine<'a>,
    effort: Effort,
    progress: Progress,
}

impl Bench<'_> {
    fn sheet(&self, wanted: &[String]) -> Result<Sheet> {
        let mut rows = vec![self.row(&subject::ADDRESS, 1)?];
        for (_, part) in PARTS.iter().filter(|(name, _)| is_wanted(wanted, name)) {
            rows.extend(part(self)?);
        }
        Ok(Sheet { machine: self.describe()?, rows })
    }

    /// A volume group on DRBD.
    fn volumes(&self) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for scale in [1, MANY] {
            self.more_volumes(scale)?;
            // A start leaves what a monitor goes by, unless it finds all done.
            self.act(&subject::VOLUME, "start")?;
            self.act(&subject::LVM, "start")?;
            rows.push(self.row(&subject::VOLUME, scale)?);
            self.act(&subject::VOLUME, "stop")?;
            self.act(&subject::LVM, "start")?;
            for subject in [&subject::LVM_ACTIVATE, &subject::LVM] {
                rows.push(self.row(subject, scale)?);
            }
            self.act(&subject::LVM, "stop")?;
            if scale == 1 {
                rows.extend(self.changes(&subject::LVM, scale)?);
                // From here on the group has an owner: this machine.
                self.shell(OWNERS, LIMIT)?;
                rows.extend(self.changes(&subject::OWNED, scale)?);
            }
        }
        Ok(rows)
    }

    fn resources(&self) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for scale in [1, MANY] {
            self.more_resources(scale)?;
            rows.extend([self.row(&subject::DRBD, scale)?, self.row(&subject::DRBDDISK, scale)?]);
        }
        self.act(&subject::DRBD, "stop")?;
        rows.extend(self.changes(&subject::DRBD, MANY)?);
        Ok(rows)
    }

    fn server(&self) -> Result<Vec<Row>> {
        self.shell("mkdir -p /srv/bench-nfs", LIMIT)?;
        self.act(&subject::SERVER, "start")?;
        let row = self.row(&subject::SERVER, 1)?;
        self.act(&subject::SERVER, "stop")?;
        Ok(vec![row])
    }

    /// How often a start is measured, which takes a thousand times as long as a
    /// monitor.
    fn few(&self) -> usize {
        self.effort.shell / 5
    }

    /// Our agents, and what takes the place of a cluster that does not run.
    fn install(&self, built: &Path) -> Result<()> {
        for (name, home) in [
            ("drbd", OURS),
            ("drbddisk", HARESOURCES),
            ("LVM", OURS),
            ("IPaddr", OURS),
            ("nfsserver", OURS),
            ("noop", OURS),
        ]
        .into_iter()
        .chain(targets::AGENTS.map(|name| (name, OURS)))
        {
            let binary = built.join(name);
            let binary = fs::read(&binary).with_context(|| format!("no {}", binary.display()))?;
            self.machine.put(&format!("{home}/{name}"), 0o755, &binary)?;
        }
        self.shell(
            "ln -sf /bin/true /usr/sbin/crm_master; ln -sf /bin/true /usr/sbin/crm_attribute",
            LIMIT,
        )
    }

    fn set_up(&self) -> Result<()> {
        self.progress.show("set-up", "DRBD and a volume group on it");
        self.configure()?;
        self.shell(SET_UP, LIMIT)
    }

    /// All resources are configured from the beginning, as in a cluster whose
    /// others run elsewhere.
    fn configure(&self) -> Result<()> {
        let mut text = String::from("global { usage-count no; }\n");
        for number in 0..MANY {
            // No two may have the same disk, not even none at all.
            let disk = if number == 0 { "vdb".into() } else { format!("not-here-{number}") };
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "resource r{number} {{ device /dev/drbd{number}; disk /dev/{disk}; meta-disk internal;\n\
                 on node1 {{ address 10.10.2.251:{port}; }} on node2 {{ address 10.10.2.252:{port}; }} }}",
                port = 7000 + number
            );
        }
        self.machine.put("/etc/drbd.d/global_common.conf", 0o644, text.as_bytes())
    }

    /// Makes volumes until there are so many.
    fn more_volumes(&self, count: usize) -> Result<()> {
        self.progress.show("set-up", &format!("{count} volumes"));
        // One lvm takes all the commands; the metadata is copied once.
        self.shell(
            &format!(
                "have=$(lvs --noheadings {GROUP} | wc -l)\n\
                 for n in $(seq $have {}); do \
                 echo lvcreate -A n -a n -Z n -W n -y -l 1 -n lv$n {GROUP}; done | lvm\n\
                 vgcfgbackup {GROUP}",
                count - 1
            ),
            LONG,
        )
    }

    /// Has our agent do something besides what is measured.
    fn act(&self, subject: &Subject, action: &str) -> Result<()> {
        let run = subject.ours(action);
        let env = run.env.iter().map(|(name, value)| format!("{name}={value}"));
        let mut words: Vec<String> = ["env", "-i"].map(String::from).to_vec();
        words.extend(env.chain([run.program.display().to_string()]).chain(run.args));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.machine.run(&words, LONG)?.success(&format!("{} {action}", subject.name))?;
        Ok(())
    }

    fn more_resources(&self, count: usize) -> Result<()> {
        self.progress.show("set-up", &format!("{count} DRBD resources"));
        self.shell(
            &format!(
                "set -e; for n in $(seq 1 {}); do \
                 drbdsetup new-resource r$n; drbdsetup new-minor r$n $n 0; done",
                count - 1
            ),
            LONG,
        )
    }

    /// A monitor of what runs.
    fn row(&self, subject: &Subject, scale: usize) -> Result<Row> {
        let ours = Turn::alone(subject.ours("monitor"));
        let shell = subject.has_shell().then(|| Turn::alone(subject.shell("monitor")));
        let times = (self.effort.ours, self.effort.shell);
        self.measure((subject, "monitor", scale), times, ours, shell)
    }

    /// Start and stop of what is stopped, over and over.
    fn changes(&self, subject: &Subject, scale: usize) -> Result<[Row; 2]> {
        let [ours, shell]: [&dyn Fn(&str) -> Run; 2] =
            [&|action| subject.ours(action), &|action| subject.shell(action)];
        let start = |run: &dyn Fn(&str) -> Run| Turn {
            run: run("start"),
            before: None,
            after: Some(run("stop")),
        };
        let stop = |run: &dyn Fn(&str) -> Run| Turn {
            run: run("stop"),
            before: Some(run("start")),
            after: None,
        };
        let times = (self.few(), self.few());
        Ok([
            self.measure((subject, "start", scale), times, start(ours), Some(start(shell)))?,
            self.measure((subject, "stop", scale), times, stop(ours), Some(stop(shell)))?,
        ])
    }

    /// Has the machine take the turns of one row.
    fn measure(
        &self,
        (subject, action, scale): (&Subject, &str, usize),
        (times, shell_times): (usize, usize),
        ours: Turn,
        shell: Option<Turn>,
    ) -> Result<Row> {
        let Subject { name, objects, shell_name, .. } = *subject;
        let what = format!("{name} {action} beside {shell_name}, {scale} {objects}");
        self.progress.show("measure", &what);
        let turns = Turns {
            case: Case {
                agent: name.into(),
                action: action.into(),
                scale,
                objects: objects.into(),
                load: 0,
                shell: shell_name.into(),
            },
            noop: ours.run.with(Path::new(OURS).join("noop")),
            shell,
            ours,
            times,
            shell_times,
        };
        let order = serde_json::to_vec(&turns)?;
        let said = self.machine.run_with(&[SELF, PART], &order, Duration::from_secs(3600))?;
        let row: Row = serde_json::from_str(&said.success(&what)?)?;
        self.progress.done("measure", &format!("{what}: {:.2} no-ops", row.to_noop));
        Ok(row)
    }

    /// The machine in words, as it sees itself.
    fn describe(&self) -> Result<String> {
        let said = self.machine.shell(DESCRIBE, LIMIT)?;
        Ok(said.trim().replace('\n', ", "))
    }

    fn shell(&self, line: &str, limit: Duration) -> Result<()> {
        self.machine.shell(line, limit).map(drop)
    }
}

/// Nothing shall run beside what is measured, and udev would for a long time.
/// By its socket, which it leaves, lvm would think that it still runs, and wait
/// for it; so lvm makes the nodes in /dev itself, without which the shell agent
/// takes a group for stopped. A resource that has given its peer up is degraded,
/// so the one that is measured waits for it.
const SET_UP: &str = "set -e
udevadm settle; udevadm control --exit
while pidof systemd-udevd > /dev/null; do sleep 0.1; done; rm -f /run/udev/control
echo 'activation { udev_sync = 0 udev_rules = 0 }' >> /etc/lvm/lvmlocal.conf
modprobe -a drbd dm_mod
drbdadm create-md --force r0
drbdsetup new-resource r0
drbdsetup new-minor r0 0 0
drbdadm attach r0
drbdadm primary --force r0
drbdadm connect r0
pvcreate -y /dev/drbd0
vgcreate -s 512k bench /dev/drbd0
mkdir -p /run/resource-agents";

/// This machine's name is its system ID.
const OWNERS: &str = "echo 'global { system_id_source = \"uname\" }' >> /etc/lvm/lvmlocal.conf";

const DESCRIBE: &str = "\
dmesg | grep -q 'Hypervisor detected: KVM' && echo 'a processor under KVM' || echo 'a processor emulated by QEMU that takes a nanosecond for each instruction'
echo Linux $(uname -r)
. /etc/os-release; echo $PRETTY_NAME
echo DRBD $(cat /sys/module/drbd/version)";
