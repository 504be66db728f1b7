//! `cargo xtask bench --lab`: the agents of DRBD and LVM on the kernel's own
//! modules, beside the shell agents, in a machine of the lab.
//!
//! The machine is set up from here; the commands that are compared take their
//! turns inside it, by [`guest`](super::guest), so that the channel is no part
//! of what is measured.

use super::client::{Lab, Machine};
use super::guest::SELF;
use super::place::Place;
use super::progress::Progress;
use super::{boot, end, machine};
use crate::bench::Effort;
use crate::bench::measure::{Case, Row, Run, Turns};
use crate::bench::sheet::Sheet;
use crate::host;
use anyhow::{Context, Result, ensure};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The machine that is measured in.
const NODE: &str = "node1";

/// As many resources, or volumes, there are in the end.
const MANY: usize = 200;

const LIMIT: Duration = Duration::from_secs(120);
/// Making many of something in an emulated machine takes its time.
const LONG: Duration = Duration::from_secs(600);

/// Where our agents lie in the machine, as their packages lay them out.
const OURS: &str = "/usr/lib/ocf/resource.d/sturdy";
/// heartbeat's directory is full of others' scripts; ours lies in one of the
/// same name.
const HARESOURCES: &str = "/run/bench/ha.d/resource.d";

const RESOURCE: &str = "r0";
const GROUP: &str = "bench";

/// A call to one agent, as its cluster makes it.
struct Subject {
    agent: &'static str,
    objects: &'static str,
    ours: String,
    shell: &'static str,
    shell_name: &'static str,
    args: &'static [&'static str],
    env: &'static [(&'static str, &'static str)],
    code: i32,
}

/// What Pacemaker hands an instance of a promotable clone.
const CLONE: &[(&str, &str)] = &[
    ("OCF_RESKEY_drbd_resource", RESOURCE),
    ("OCF_RESKEY_CRM_meta_clone", "0"),
    ("OCF_RESKEY_CRM_meta_clone_max", "2"),
    ("OCF_RESKEY_CRM_meta_clone_node_max", "1"),
    ("OCF_RESKEY_CRM_meta_promoted_max", "1"),
    ("OCF_RESKEY_CRM_meta_promoted_node_max", "1"),
    ("OCF_RESKEY_CRM_meta_master_max", "1"),
    ("OCF_RESKEY_CRM_meta_master_node_max", "1"),
    ("OCF_RESKEY_CRM_meta_notify", "true"),
    ("OCF_RESKEY_CRM_meta_globally_unique", "false"),
    ("OCF_RESKEY_CRM_meta_on_node", NODE),
    ("OCF_RESKEY_CRM_meta_role", "Promoted"),
    ("OCF_RESKEY_CRM_meta_interval", "10000"),
];

/// The names that the group has in the two shell agents.
const VOLUMES: &[(&str, &str)] = &[
    ("OCF_RESKEY_vgname", GROUP),
    ("OCF_RESKEY_volgrpname", GROUP),
    ("OCF_RESKEY_CRM_meta_interval", "30000"),
];

fn drbd() -> Subject {
    Subject {
        agent: "drbd",
        objects: "resources",
        ours: format!("{OURS}/drbd"),
        shell: "/usr/lib/ocf/resource.d/linbit/drbd",
        shell_name: "ocf:linbit:drbd",
        args: &["monitor"],
        env: CLONE,
        code: 8,
    }
}

fn drbddisk() -> Subject {
    Subject {
        agent: "drbddisk",
        objects: "resources",
        ours: format!("{HARESOURCES}/drbddisk"),
        shell: "/etc/ha.d/resource.d/drbddisk",
        shell_name: "drbddisk",
        args: &[RESOURCE, "status"],
        env: &[],
        code: 0,
    }
}

fn lvm(shell: &'static str, shell_name: &'static str) -> Subject {
    Subject {
        agent: "LVM",
        objects: "volumes",
        ours: format!("{OURS}/LVM"),
        shell,
        shell_name,
        args: &["monitor"],
        env: VOLUMES,
        code: 0,
    }
}

/// Starts one machine, measures in it, and ends it.
pub fn measure(effort: Effort) -> Result<Sheet> {
    let place = Place::of_workspace();
    ensure!(
        Lab::running(&place).is_none(),
        "a lab is up already, and this needs a machine of its own; end it with \
         `cargo xtask lab down`"
    );
    eprintln!("building the agents");
    let built = host::build_agents()?;
    let (lab, lease, progress) = boot(&place, &machine::chosen(&[NODE])?)?;
    let bench = Bench { machine: lab.machine(NODE), effort, progress };
    let sheet = bench.install(&built).and_then(|()| bench.sheet());
    drop(lease);
    end(&place)?;
    sheet
}

struct Bench<'a> {
    machine: Machine<'a>,
    effort: Effort,
    progress: Progress,
}

impl Bench<'_> {
    fn sheet(&self) -> Result<Sheet> {
        self.progress.show("set-up", "DRBD and a volume group on it");
        self.configure()?;
        self.shell(SET_UP, LIMIT)?;
        let mut rows = Vec::new();
        for scale in [1, MANY] {
            self.more_volumes(scale)?;
            rows.extend([
                self.row(
                    &lvm("/usr/lib/ocf/resource.d/heartbeat/LVM-activate", "LVM-activate"),
                    scale,
                )?,
                self.row(
                    &lvm("/usr/lib/ocf/resource.d/heartbeat/LVM", "ocf:heartbeat:LVM"),
                    scale,
                )?,
            ]);
            self.volumes("stop")?;
        }
        for scale in [1, MANY] {
            self.more_resources(scale)?;
            rows.extend([self.row(&drbd(), scale)?, self.row(&drbddisk(), scale)?]);
        }
        Ok(Sheet { machine: self.describe()?, rows })
    }

    /// Our agents, and what takes the place of a cluster that does not run.
    fn install(&self, built: &Path) -> Result<()> {
        for (name, home) in
            [("drbd", OURS), ("drbddisk", HARESOURCES), ("LVM", OURS), ("noop", OURS)]
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

    /// Makes volumes until there are so many, and has our agent start them.
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
        )?;
        self.volumes("start")
    }

    fn volumes(&self, action: &str) -> Result<()> {
        let run = self.run(&lvm("", ""), format!("{OURS}/LVM"));
        let env = run.env.iter().map(|(name, value)| format!("{name}={value}"));
        let mut words: Vec<String> = ["env", "-i"].map(String::from).to_vec();
        words.extend(env.chain([format!("{OURS}/LVM"), action.to_owned()]));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        self.machine.run(&words, LONG)?.success(&format!("LVM {action}"))?;
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

    /// Has the machine take the turns of one row.
    fn row(&self, subject: &Subject, scale: usize) -> Result<Row> {
        let Subject { agent, objects, shell_name, .. } = *subject;
        let what = format!("{agent} beside {shell_name}, {scale} {objects}");
        self.progress.show("measure", &what);
        let ours = self.run(subject, subject.ours.clone());
        let turns = Turns {
            case: Case {
                agent: agent.into(),
                action: "monitor".into(),
                scale,
                objects: objects.into(),
                load: 0,
                shell: shell_name.into(),
            },
            noop: ours.with(PathBuf::from(OURS).join("noop")),
            shell: Some(self.run(subject, subject.shell.into())),
            ours,
            times: self.effort.ours,
            shell_times: self.effort.shell,
        };
        let order = serde_json::to_vec(&turns)?;
        let said = self.machine.run_with(&[SELF, "bench"], &order, Duration::from_secs(3600))?;
        let row: Row = serde_json::from_str(&said.success(&what)?)?;
        self.progress.done("measure", &format!("{what}: {:.2} no-ops", row.to_noop));
        Ok(row)
    }

    fn run(&self, subject: &Subject, program: String) -> Run {
        let ocf = [
            ("OCF_ROOT", "/usr/lib/ocf"),
            ("OCF_RA_VERSION_MAJOR", "1"),
            ("OCF_RA_VERSION_MINOR", "1"),
            ("OCF_RESOURCE_INSTANCE", "p_bench"),
            ("OCF_RESOURCE_TYPE", subject.agent),
            ("OCF_RESOURCE_PROVIDER", "bench"),
            ("OCF_RESKEY_CRM_meta_timeout", "600000"),
        ];
        let all = [
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            ("HA_RSCTMP", "/run/resource-agents"),
            ("HA_LOGFACILITY", "none"),
        ];
        let is_ocf = !subject.env.is_empty();
        let ocf = ocf.iter().filter(|_| is_ocf).chain(subject.env);
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Run {
            program: PathBuf::from(program),
            args: subject.args.iter().map(|word| (*word).to_owned()).collect(),
            env: all.iter().chain(ocf).map(own).collect(),
            code: subject.code,
        }
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

const SET_UP: &str = "set -e
modprobe -a drbd dm_mod
drbdadm create-md --force r0
drbdsetup new-resource r0
drbdsetup new-minor r0 0 0
drbdadm attach r0
drbdadm primary --force r0
pvcreate -y /dev/drbd0
vgcreate -s 512k bench /dev/drbd0
mkdir -p /run/resource-agents";

const DESCRIBE: &str = "\
dmesg | grep -q 'Hypervisor detected: KVM' && echo 'a processor under KVM' || echo 'a processor emulated by QEMU'
echo Linux $(uname -r)
. /etc/os-release; echo $PRETTY_NAME
echo DRBD $(cat /sys/module/drbd/version)";
