//! Where drills take place: two DRBD resources on both nodes, a volume group
//! on one of them, and our agents. A drill finds all of it as it should be,
//! whatever the one before has done to it.

use super::call::{LOG, minors};
use super::node::{Node, SMALL};
use super::units;
use crate::client::Lab;
use crate::client::on_both;
use crate::keeper::Verb;
use crate::machine::NODES;
use anyhow::{Context, Result, anyhow, bail};
use std::cell::Cell;
use std::thread;
use std::time::{Duration, Instant};

/// The plain resource, with one volume; the group lies on it.
pub const PLAIN: &str = "r0";

/// The resource with two volumes.
pub const DOUBLE: &str = "r2";

/// The volume group on [`PLAIN`], and its volumes.
pub const GROUP: &str = "vg0";
/// See [`GROUP`].
pub const VOLUMES: [&str; 3] = ["a", "b", "c"];

/// DRBD device, mapping below it, where the mapping begins on `/dev/vdb`, and
/// its length, in sectors.
const DISKS: [(u32, u32, u32); 3] =
    [(0, 0, 96 << 10), (2, 128 << 10, 32 << 10), (3, 192 << 10, 32 << 10)];

/// A peer that is silent is given up soon, and one that is slow is not.
const COMMON: &str = "\
global { usage-count no; }
common {
  net { ping-int 5; ping-timeout 30; timeout 40; connect-int 5; }
  disk { on-io-error detach; c-plan-ahead 0; c-min-rate 0; resync-rate 100M; }
}
";

const RESOURCES: &str = "\
resource r0 {
  device /dev/drbd0; disk /dev/mapper/drill0; meta-disk internal;
  on node1 { address 10.10.2.251:7788; }
  on node2 { address 10.10.2.252:7788; }
}
resource r2 {
  volume 0 { device /dev/drbd2; disk /dev/mapper/drill2; meta-disk internal; }
  volume 1 { device /dev/drbd3; disk /dev/mapper/drill3; meta-disk internal; }
  on node1 { address 10.10.2.251:7789; }
  on node2 { address 10.10.2.252:7789; }
}
";

/// Undoes what a drill may have left on a node, but for DRBD itself. Lines
/// that find nothing to undo fail, and that is well.
const SOOTHE: &str = "\
for pid in $(cat /run/drill/pids 2>/dev/null); do kill -9 $pid; done
sort -r /proc/mounts | while read -r _ at _; do case $at in
  /mnt/drill*|/srv/ha/*|/usr/sbin/*) umount -l $at;; esac; done
ip addr del 10.10.1.77/24 dev bond0; nft flush ruleset
umount /mnt/drill-v3 /mnt/drill-v4 2>/dev/null
exportfs -au; rpc.nfsd 0; for name in rpc.mountd nfsdcld rpc.statd; do kill $(pidof $name); done 2>/dev/null
iscsiadm -m node -u; iscsiadm -m node -o delete
lio=/sys/kernel/config/target
for group in $lio/iscsi/*.*/tpgt_*; do [ -d $group ] || continue
  grep -q 1 $group/enable && echo 0 > $group/enable
  find $group/acls $group/lun -type l -exec rm {} +
  rmdir $group/acls/*/lun_* $group/acls/* $group/lun/lun_* $group/np/* $group ${group%/*}; done
for store in $lio/core/*/*/enable; do [ -f $store ] && rmdir ${store%/enable}; done
for adapter in $lio/core/*_[0-9]*; do [ -d $adapter ] && rmdir $adapter; done
[ -d $lio/iscsi/discovery_auth ] && echo 0 > $lio/iscsi/discovery_auth/enforce_discovery_auth
nvme disconnect-all
nvmet=/sys/kernel/config/nvmet
for port in $nvmet/ports/*; do [ -d $port ] || continue; rm -f $port/subsystems/*; rmdir $port; done
for disk in $nvmet/subsystems/*/namespaces/*; do [ -d $disk ] || continue; echo 0 > $disk/enable; rmdir $disk; done
for subsystem in $nvmet/subsystems/*; do [ -d $subsystem ] || continue; rm -f $subsystem/allowed_hosts/*; rmdir $subsystem; done
rmdir $nvmet/hosts/*
rm -rf /srv/target /dev/drill-disk
losetup -D
drbdsetup down r4-U; drbdsetup down r4; dmsetup remove drill4; rm -f /etc/drbd.d/stacked.res
rm -rf /run/drill; mkdir -p /run/drill /mnt/drill
rm -f /run/resource-agents/*
cp -a /root/drill/etc/. /etc/
vgchange -an vg0 vg1
for mapped in $(dmsetup ls | awk '/^(vg[019]|drill)-/ { print $1 }'); do dmsetup remove -f $mapped; done
rmmod scsi_debug
for minor in 0 2 3; do drbdsetup secondary $minor; done
: > /var/log/agents.log
dmesg -C
true";

/// See the module.
pub struct Stand<'a> {
    /// The machines.
    pub lab: &'a Lab,
    /// Chooses moments.
    pub seed: u64,
    /// How many kills a drill of kills is to make.
    pub kills: u32,
    /// Shows how far a drill has come.
    pub show: &'a (dyn Fn(&str) + Sync),
    /// Says something that stays.
    pub say: &'a dyn Fn(&str),
    /// When the present drill has to be over.
    pub end: Cell<Instant>,
    /// Whether the volume group is no longer what it was: the drill has put
    /// something else in its place.
    pub is_overwritten: Cell<bool>,
}

impl Stand<'_> {
    /// The same, with other moments.
    pub fn seeded(&self, seed: u64) -> Self {
        let is_overwritten = self.is_overwritten.clone();
        Self { seed, end: self.end.clone(), is_overwritten, ..*self }
    }

    /// A node by its number, 0 or 1.
    pub fn node(&self, number: usize) -> Node<'_> {
        Node { machine: self.lab.machine(NODES[number]), end: self.end.get() }
    }

    /// Both.
    pub fn nodes(&self) -> [Node<'_>; 2] {
        [self.node(0), self.node(1)]
    }

    /// Puts agents and configuration on fresh machines and makes the data.
    pub fn set_up(&self, agents: &[u8]) -> Result<()> {
        let lab = self.lab;
        on_both(|name| {
            let machine = lab.machine(name);
            machine
                .run_with(&["tar", "-xC", "/", "--keep-directory-symlink"], agents, SMALL)?
                .success("unpack the agents")?;
            machine.put("/root/drill/etc/drbd.d/global_common.conf", 0o644, COMMON.as_bytes())?;
            machine.put("/root/drill/etc/drbd.d/drill.res", 0o644, RESOURCES.as_bytes())?;
            // What drills may change comes back from here.
            let keep = "mkdir -p /root/drill/etc/lvm /run/drill /mnt/drill; \
                        cp -a /etc/drbd.conf /root/drill/etc/; \
                        cp -a /etc/lvm/*.conf /root/drill/etc/lvm/; \
                        cp -a /root/drill/etc/. /etc/; rm -f /etc/lvm/backup/*; sync";
            machine.shell(keep, SMALL).map(drop)
        })?;
        self.begin_anew()
    }

    /// Maps the disks of a node that has just booted, and brings DRBD up.
    pub fn arrive(&self, number: usize) -> Result<()> {
        let node = self.node(number);
        node.machine.await_up(Duration::from_secs(180))?;
        node.shell(&(map() + "drbdadm up all 2>&1"))?;
        Ok(())
    }

    /// Before each drill: everything as it should be. What is in order is left
    /// alone, and what is not is mended by growing force.
    pub fn reset(&self) -> Result<()> {
        let mends = [
            ("look", (|_| Ok(())) as fn(&Self) -> Result<()>),
            ("restart DRBD", Self::restart),
            ("make the data anew", Self::begin_anew),
        ];
        let first = if self.is_overwritten.take() { mends.len() - 1 } else { 0 };
        for (what, mend) in mends.into_iter().skip(first) {
            (self.show)(&format!("to the known state: {what}"));
            if let Err(err) = self.soothe() {
                (self.say)(&format!("{err:#}"));
                break;
            }
            match mend(self).and_then(|()| self.settle()) {
                Ok(()) => return Ok(()),
                Err(err) => (self.say)(&format!("{what}: {err:#}")),
            }
        }
        (self.show)("to the known state: power off and on");
        for name in NODES {
            self.lab.tell(&Verb::PowerOff { machine: name.into() })?;
        }
        // The process of a machine takes a moment to end.
        thread::sleep(Duration::from_secs(3));
        for name in NODES {
            self.lab.tell(&Verb::PowerOn { machine: name.into() })?;
        }
        for name in NODES {
            self.lab.machine(name).await_up(Duration::from_secs(240))?;
        }
        self.soothe()?;
        self.begin_anew()?;
        self.settle().context("the machines do not come back to the known state")
    }

    fn soothe(&self) -> Result<()> {
        for name in NODES {
            self.lab.tell(&Verb::Thaw { machine: name.into() }).ok();
            let machine = self.lab.machine(name);
            if machine.run(&["true"], Duration::from_secs(20))?.code != 0 {
                self.lab.tell(&Verb::PowerOn { machine: name.into() }).ok();
                machine.await_up(Duration::from_secs(240))?;
            }
            for network in ["public", "private"] {
                let verb = Verb::Mend { machine: name.into(), network: network.into() };
                self.lab.tell(&verb)?;
            }
        }
        let lab = self.lab;
        on_both(|name| {
            let script = format!("{}\n{SOOTHE}\n{}", units::END, map());
            run(lab, name, "tidy up", &script)
        })
    }

    fn restart(&self) -> Result<()> {
        let lab = self.lab;
        on_both(|name| {
            let script = "for name in r0 r2; do drbdsetup down $name; done; drbdadm up all 2>&1";
            run(lab, name, "restart DRBD", script)
        })
    }

    /// New metadata without a first synchronisation, and a new group.
    fn begin_anew(&self) -> Result<()> {
        let mut script = map() + "for name in r0 r2; do drbdsetup down $name; done\n";
        for (minor, _, length) in DISKS {
            // What is found on a disk makes the tools ask, or refuse.
            script += &format!(
                "for at in 0 {}; do dd if=/dev/zero of=/dev/mapper/drill{minor} bs=1M seek=$at \
                 count=1 conv=notrunc,fsync 2>/dev/null; done\n",
                length / 2048 - 1
            );
        }
        script += "drbdadm create-md --force all 2>&1 && drbdadm up all 2>&1";
        let lab = self.lab;
        on_both(|name| run(lab, name, "make metadata", &script))?;
        self.await_minors("connected", |minor| minor.connection == "Connected")?;
        let volumes =
            VOLUMES.map(|name| format!("lvcreate -Wn -Zn -an -qq -n {name} -L 4M {GROUP}"));
        run(
            self.lab,
            NODES[0],
            "make the volume group",
            &format!(
                "set -e\ndrbdadm new-current-uuid --clear-bitmap r0/0\n\
                 drbdadm new-current-uuid --clear-bitmap r2/0\n\
                 drbdadm new-current-uuid --clear-bitmap r2/1\n\
                 drbdadm primary r0\ndd if=/dev/zero of=/dev/drbd0 bs=1M count=1 conv=fsync 2>/dev/null\n\
                 rm -rf /dev/{GROUP}\nvgcreate -qq {GROUP} /dev/drbd0\n{}\nvgchange -qq -an {GROUP}\ndrbdadm secondary r0",
                volumes.join("\n")
            ),
        )
    }

    fn settle(&self) -> Result<()> {
        self.await_minors("connected, Secondary and up to date", |minor| {
            minor.is_whole() && minor.roles == ("Secondary".into(), "Secondary".into())
        })
    }

    fn await_minors(&self, what: &str, fits: fn(&super::call::Minor) -> bool) -> Result<()> {
        let begun = Instant::now();
        loop {
            let mut wrong = Vec::new();
            for name in NODES {
                let text = self.lab.machine(name).read("/proc/drbd").unwrap_or_default();
                let found = minors(&String::from_utf8_lossy(&text));
                for (minor, _, _) in DISKS {
                    match found.get(&minor) {
                        Some(seen) if fits(seen) => {}
                        Some(seen) => wrong.push(format!("{name} drbd{minor}: {seen}")),
                        None => wrong.push(format!("{name} drbd{minor}: not there")),
                    }
                }
            }
            if wrong.is_empty() {
                return Ok(());
            }
            // DRBD does not connect again by itself after that.
            let is_hopeless = wrong.iter().any(|line| line.contains("StandAlone"));
            let limit = Duration::from_secs(if is_hopeless { 5 } else { 60 });
            if begun.elapsed() > limit {
                bail!("not {what} after {limit:?}: {}", wrong.join(", "));
            }
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// What holds after every drill, whatever it did.
    pub fn check(&self) -> Result<()> {
        for node in self.nodes() {
            let found = node.minors()?;
            if let Some((minor, seen)) = found
                .iter()
                .find(|(_, seen)| seen.roles.0 == "Primary" && seen.roles.1 == "Primary")
            {
                bail!("drbd{minor} is Primary on both nodes: {seen}");
            }
        }
        Ok(())
    }

    /// What both nodes say of the moment.
    pub fn wreckage(&self) -> String {
        let mut out = String::new();
        let script = format!(
            "grep : /proc/drbd | grep -v version; dmsetup ls 2>/dev/null | grep -v '^No dev'; \
             tail -n 12 {LOG} 2>/dev/null; dmesg | grep -iE 'drbd|error|device-mapper' | tail -n 24"
        );
        for name in NODES {
            let said =
                self.lab.machine(name).run(&["/bin/sh", "-c", &script], Duration::from_secs(30));
            let said = match said {
                Ok(output) if output.code != 255 => output.stdout,
                Ok(output) => output.why.unwrap_or_default(),
                Err(err) => format!("{err:#}"),
            };
            out += &format!("{name}:\n{}\n", indented(&said));
        }
        out
    }
}

/// A script on a node; what goes wrong is told in a line without it.
fn run(lab: &Lab, name: &str, what: &str, script: &str) -> Result<()> {
    let output = lab.machine(name).run(&["/bin/sh", "-c", script], SMALL);
    let output = output.map_err(|err| anyhow!("{name}: {what}: {}", err.root_cause()))?;
    output.success(&format!("{name}: {what}")).map(drop)
}

fn indented(text: &str) -> String {
    text.trim_end().lines().map(|line| format!("    {line}\n")).collect()
}

/// Maps the disks that are not, and has those that were made to fail work
/// again.
fn map() -> String {
    let mut script = String::from("modprobe -a dm_mod drbd loop\n");
    for (minor, begin, length) in DISKS {
        let table = format!("0 {length} linear /dev/vdb {begin}");
        script += &format!(
            "if [ ! -e /dev/mapper/drill{minor} ]; then\n\
             dmsetup create drill{minor} --table '{table}'\n\
             elif dmsetup table drill{minor} | grep -q error; then\n\
             dmsetup suspend --noflush --nolockfs drill{minor}; \
             dmsetup load drill{minor} --table '{table}'; dmsetup resume drill{minor}; fi\n"
        );
    }
    script + "dmsetup mknodes\n"
}

/// Has every read and write of the disk below fail from now on.
pub fn failing(minor: u32) -> String {
    let length =
        DISKS.iter().find(|(known, ..)| *known == minor).map_or(0, |(_, _, length)| *length);
    format!(
        "dmsetup suspend --noflush --nolockfs drill{minor} && \
         dmsetup load drill{minor} --table '0 {length} error' && dmsetup resume drill{minor}"
    )
}

/// Has it work again.
pub fn working() -> String {
    map()
}
