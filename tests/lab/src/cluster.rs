//! A setting put on machines: what is installed and configured there, and what
//! its engine is asked for. The machines are fresh, so no setting sees what
//! another left behind.

use super::article::{Article, Group, Mount, Owner, Who, Word};
use super::client::{Lab, Machine, on_both};
use super::guest::{FENCE, REAL, SELF};
use super::machine::NODES;
use super::setting::{Agents, Engine, Origin, Setting};
use super::{disk, heartbeat, libvirt, pacemaker};
use anyhow::{Context, Result, ensure};
use packaging::payload::{HARESOURCES, Package};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Where heartbeat looks for scripts unless it is told of another place.
const STOCK_HARESOURCES: &str = "/etc/ha.d/resource.d";

/// The storage article's `rate 100M` in today's words, for those that bring no
/// drbd.conf of their own. After a crash the whole disk may have to be sent
/// again, and DRBD would take minutes for that while the client writes; so the
/// disk is small, too.
const COMMON: &str = "\
global { usage-count no; }
common { disk { c-plan-ahead 0; c-min-rate 0; resync-rate 100M; } }
";

impl Setting {
    /// Brings the whole group up on fresh machines. `agents` is a tar archive
    /// of ours, laid out as the packages lay them out.
    pub fn set_up(&self, lab: &Lab, agents: &[u8]) -> Result<()> {
        on_both(|node| {
            let machine = lab.machine(node);
            self.install_agents(&machine, agents)?;
            self.configure_drbd(&machine)
        })?;
        self.make_file_system(lab)?;
        match self.engine {
            Engine::Heartbeat => heartbeat::configure(lab, self.article)?,
            Engine::Pacemaker => pacemaker::configure(lab, self)?,
        }
        on_both(|node| self.start_engine(lab, node))?;
        match self.engine {
            Engine::Pacemaker if self.article.is_shared() => pacemaker::shared::load(lab, self),
            Engine::Pacemaker => pacemaker::load_resources(lab, self),
            Engine::Heartbeat => Ok(()),
        }?;
        self.article.service.attach(&lab.machine("client"), self.article)
    }

    /// What the init system of a node would start at boot.
    pub fn start_node(&self, lab: &Lab, node: &str) -> Result<()> {
        let machine = lab.machine(node);
        machine.await_up(Duration::from_secs(180))?;
        if self.drbd_at_boot() {
            bring_up_drbd(&machine, self.article)?;
        } else {
            disk::map(&machine)?;
        }
        self.start_engine(lab, node)
    }

    fn start_engine(&self, lab: &Lab, node: &str) -> Result<()> {
        let machine = lab.machine(node);
        libvirt::start(&machine, self.article)?;
        machine.shell(&self.article.service.at_boot(), Duration::from_secs(180))?;
        match self.engine {
            Engine::Heartbeat => heartbeat::start(&machine),
            Engine::Pacemaker => pacemaker::start(&machine),
        }
    }

    /// What the init system of a node would do before the machine goes down.
    pub fn stop_node(&self, lab: &Lab, node: &str) -> Result<()> {
        match self.engine {
            Engine::Heartbeat => heartbeat::stop(&lab.machine(node)),
            Engine::Pacemaker => pacemaker::stop(&lab.machine(node)),
        }
    }

    /// Asks the engine to move the group to `to` with nothing wrong.
    pub fn hand_over(&self, lab: &Lab, from: &str, to: &str) -> Result<()> {
        match self.engine {
            Engine::Heartbeat => heartbeat::hand_over(&lab.machine(from), &lab.machine(to)),
            Engine::Pacemaker => {
                let moved = self.article.moved().context("there is nothing to move")?;
                pacemaker::hand_over(&lab.machine(to), moved, to)
            }
        }
    }

    /// The node that is to have the group asks for it, with nothing wrong.
    pub fn take_over(&self, lab: &Lab, from: &str, to: &str) -> Result<()> {
        match self.engine {
            Engine::Heartbeat => heartbeat::take_over(&lab.machine(from), &lab.machine(to)),
            Engine::Pacemaker => pacemaker::stand_by(&lab.machine(to), from),
        }
    }

    /// What an administrator does once the cause of a failure is mended.
    pub fn clean_up(&self, lab: &Lab) -> Result<()> {
        match self.engine {
            Engine::Heartbeat => Ok(()),
            Engine::Pacemaker => {
                self.article.moved().map_or(Ok(()), |moved| pacemaker::clean_up(lab, moved))
            }
        }
    }

    /// Where the cluster looks for an agent.
    pub fn agent_path(&self, agent: &str) -> String {
        match self.engine {
            Engine::Heartbeat if self.agents == Agents::Sturdy => format!("/{HARESOURCES}/{agent}"),
            Engine::Heartbeat => format!("{STOCK_HARESOURCES}/{agent}"),
            Engine::Pacemaker => {
                format!("/usr/lib/ocf/resource.d/{}/{agent}", self.provider(agent))
            }
        }
    }

    /// Where it looks for the agents of this setting, and for the init scripts.
    fn agent_paths(&self) -> Vec<String> {
        let path = |agent: &str| self.agent_path(agent);
        let mut paths: Vec<String> = self.group().into_iter().map(path).collect();
        paths.extend(self.servers().into_iter().filter_map(|(name, origin)| match origin {
            Origin::Suite => Some(path(name)),
            Origin::Lab => None,
            Origin::Distribution => Some(format!("/etc/init.d/{name}")),
        }));
        paths
    }

    /// Puts the agents in their places and the recorder in front of them.
    fn install_agents(&self, machine: &Machine, agents: &[u8]) -> Result<()> {
        let limit = Duration::from_secs(120);
        if self.agents == Agents::Sturdy {
            machine
                .run_with(&["tar", "-xC", "/", "--keep-directory-symlink"], agents, limit)?
                .success("unpack the agents")?;
        }
        let service = self.article.service;
        let mut script = format!("set -e\n{}", service.preparation(self.article, machine.name));
        script += &libvirt::preparation(machine.name, self.article);
        let each = |line: &str| -> String {
            self.agent_paths().iter().map(|path| line.replace("PATH", path) + "\n").collect()
        };
        script += &each(&format!(
            "mkdir -p $(dirname {REAL}PATH); cp -L --preserve=mode PATH {REAL}PATH"
        ));
        // Some agents look for a library beside themselves.
        script += &each(&format!(
            "for file in $(dirname PATH)/*; do [ -e {REAL}$file ] || ln -s $file {REAL}$file; done"
        ));
        script += &each(&format!("ln -sf {SELF} PATH"));
        script += "mkdir -p /usr/lib/ocf/resource.d/lab\n";
        if self.engine == Engine::Heartbeat && self.agents == Agents::Sturdy {
            script += &format!(
                "echo 'HA_RESOURCEDIR=\"/{HARESOURCES} {STOCK_HARESOURCES}\"' >> /etc/default/heartbeat\n"
            );
        }
        script += &format!("ln -sf {SELF} {FENCE}\n");
        let is_the_labs = |word: &&Word| self.origin(word) == Origin::Lab;
        for word in service.words().iter().filter(is_the_labs) {
            for directory in [STOCK_HARESOURCES, "/usr/lib/ocf/resource.d/lab"] {
                script += &format!("ln -sf {SELF} {directory}/{}\n", word.name);
            }
        }
        for mount in self.article.mounts {
            script += &format!("mkdir -p {}\n", mount.directory);
        }
        script += "sync\n";
        machine.shell(&script, limit)?;
        if let Some(group) = &self.article.group {
            machine.put("/etc/lvm/lvmlocal.conf", 0o644, self.lvm_config(group)?.as_bytes())?;
        }
        Ok(())
    }

    /// LVM sees what the article lets it see, or the distribution: also the
    /// disk beneath DRBD. The stock agents cannot do with that, nor can a lock
    /// manager's volumes be made. Where the cluster makes sure that one node has
    /// the group, LVM is told how.
    fn lvm_config(&self, group: &Group) -> Result<String> {
        let ownership = match (self.engine, group.owner) {
            (Engine::Heartbeat, _) => "",
            (Engine::Pacemaker, Owner::SystemId) => "global {\n\tsystem_id_source = \"uname\"\n}\n",
            (Engine::Pacemaker, Owner::Locks) => "global {\n\tuse_lvmlockd = 1\n}\n",
            (Engine::Pacemaker, Owner::Tag) => "activation {\n\tvolume_list = []\n}\n",
        };
        let devices = match (self.agents, group.owner) {
            (Agents::Stock, _) | (_, Owner::Locks) => {
                format!("global_filter = [ \"a|^{}$|\", \"r|.*|\" ]\n", self.article.device())
            }
            (Agents::Sturdy, _) => self.article.lvm_devices()?.unwrap_or_default(),
        };
        Ok(format!("devices {{\n{devices}}}\n{ownership}"))
    }

    fn configure_drbd(&self, machine: &Machine) -> Result<()> {
        machine.put("/etc/drbd.d/global_common.conf", 0o644, COMMON.as_bytes())?;
        self.article.put(machine, Who::Node)?;
        if self.has_export_agents() {
            machine.put("/etc/exports", 0o644, b"")?;
        }
        disk::map(machine)?;
        for (resource, _) in self.article.resources() {
            machine.shell(
                &format!("drbdadm create-md --force {resource} 2>&1"),
                Duration::from_secs(60),
            )?;
        }
        bring_up_drbd(machine, self.article)
    }

    /// Skips the first synchronisation of two empty disks: there is nothing
    /// on either that could differ.
    fn make_file_system(&self, lab: &Lab) -> Result<()> {
        let first = lab.machine(NODES[0]);
        let limit = Duration::from_secs(60);
        let start = Instant::now();
        let wanted = self.article.resources().count();
        while first.shell("cat /proc/drbd", limit)?.matches("cs:Connected").count() < wanted {
            ensure!(start.elapsed() < limit, "DRBD does not connect within 60 s");
            thread::sleep(Duration::from_millis(100));
        }
        let each = |words: &str| -> String {
            let resources = self.article.resources();
            resources.map(|(resource, _)| format!("drbdadm {words} {resource}\n")).collect()
        };
        let mut script = format!("set -e\n{}", each("new-current-uuid --clear-bitmap"));
        if !self.article.is_shared() {
            script += &each("primary");
            script += &self.formatting()?;
            script += &each("secondary");
        }
        first.shell(&script, Duration::from_secs(400))?;
        if !self.drbd_at_boot() {
            on_both(|node| lab.machine(node).shell(&each("down"), limit).map(drop))?;
        }
        Ok(())
    }

    /// On a node where DRBD is primary and nothing else is up.
    fn formatting(&self) -> Result<String> {
        let mut script = String::new();
        if let Some(group) = &self.article.group {
            script += &make_group(group, &self.article.device());
        }
        for Mount { device, fstype, .. } in self.article.mounts {
            script += &format!("mkfs.{fstype} -q {device}\n");
        }
        let filling = self.article.service.filling(self.article)?;
        script += &match self.article.mounts.first() {
            Some(Mount { device, directory, fstype, .. }) if !filling.is_empty() => {
                format!("mount -t {fstype} {device} {directory}\n{filling}umount {directory}\n")
            }
            _ => filling,
        };
        if let Some(Group { name, .. }) = &self.article.group {
            script += &format!("vgchange -an {name} 2>&1\n");
        }
        Ok(script)
    }
}

/// Volumes that are active for the length of the script only, whatever the
/// node's configuration says of what LVM sees and of who may activate it.
fn make_group(group: &Group, device: &str) -> String {
    let Group { name, volumes, .. } = group;
    let shown = format!(
        "--config 'devices{{filter=[\"a|^{device}$|\",\"r|.*|\"]}} activation{{volume_list=[\"{name}\"]}}'"
    );
    let mut script =
        format!("pvcreate -qq {shown} {device}\nvgcreate -qq {shown} {name} {device}\n");
    for (volume, megabytes) in *volumes {
        script += &format!("lvcreate -qq -y {shown} -L {megabytes}M -n {volume} {name}\n");
    }
    script
}

fn bring_up_drbd(machine: &Machine, article: &Article) -> Result<()> {
    disk::map(machine)?;
    for (resource, minor) in article.resources() {
        // Where only the engine was stopped, it is up.
        let up = format!("grep -q '^ *{minor}: cs:' /proc/drbd || drbdadm up {resource} 2>&1");
        machine.shell(&up, Duration::from_secs(60))?;
    }
    Ok(())
}

/// Our agents as the packages lay them out, in one archive.
pub fn pack_agents() -> Result<Vec<u8>> {
    let built = packaging::host::build_agents()?;
    let root = tempfile::tempdir()?;
    packaging::install::install(&built, root.path(), Package::ALL)?;
    pack(root.path())
}

fn pack(root: &Path) -> Result<Vec<u8>> {
    let output = Command::new("tar")
        .args(["--owner=0", "--group=0", "-cC"])
        .arg(root)
        .arg("usr")
        .output()
        .context("cannot run tar")?;
    ensure!(output.status.success(), "tar: {}", String::from_utf8_lossy(&output.stderr));
    Ok(output.stdout)
}
