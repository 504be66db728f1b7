//! What a group serves in the end: the last words of its haresources line,
//! how a client reaches it, what shows that it runs, and where the ledger is
//! read afterwards.

use super::article::{Article, Service, Who};
use super::client::{Lab, Machine};
use super::guest::{SELF, pid_file, target_switch};
use anyhow::{Context, Result};
use std::time::Duration;
use story::ledger::{Ack, Verdict, check_from};

/// The port the lab's own service answers on.
const PORT: u16 = 7000;

/// Where the client mounts the export.
const MOUNTED: &str = "/mnt";

/// What locks of NFSv3 need on a client.
const CLIENT_OF_3: &str = "mkdir -p /run/rpcbind; rpcbind -w; rpc.statd\n";

/// For commands that wait for a group to come up on a slow machine.
const LIMIT: Duration = Duration::from_secs(400);

/// The server waits 10 s, not 90, for clients of before its start. Those of
/// NFSv3 are told of a restart in its address's name, so there has to be one. And
/// its init script is to stop it: it signals the threads, which the kernel of the
/// same distribution has ignored since an update; what systemd would call in
/// its place works.
const NFS_PREPARATION: &str = "\
mkdir -p /etc/nfs.conf.d
printf '[nfsd]\\ngrace-time=10\\nlease-time=10\\n' > /etc/nfs.conf.d/lab.conf
printf '10.10.1.10 storage\\n10.10.1.1 client\\n' >> /etc/hosts
echo 'options lockd nlm_grace_period=10' > /etc/modprobe.d/lab.conf
script=/etc/init.d/nfs-kernel-server
sed -i '/--stop .*\\\\$/{N;s|.*--name nfsd .*|\t$PREFIX/sbin/rpc.nfsd 0|}' $script
grep -q 'rpc.nfsd 0' $script
";

impl Service {
    /// What is done once on a node, in shell.
    pub fn preparation(self, article: &Article, node: &str) -> String {
        match self {
            Service::Ledger => {
                format!("echo '{} {PORT}' > /etc/lab-ledger\n", article.ledger("client"))
            }
            Service::Writers => format!("echo '{}' > /etc/lab-ledger\n", article.ledger(node)),
            Service::Nfs(_) => NFS_PREPARATION.into(),
            Service::Iscsi | Service::Aoe => String::new(),
        }
    }

    /// What an init system would start at boot besides DRBD and the engine.
    pub fn at_boot(self) -> &'static str {
        match self {
            Service::Nfs(_) => "mkdir -p /run/rpcbind; rpcinfo -p >/dev/null 2>&1 || rpcbind -w",
            _ => "true",
        }
    }

    /// Whether it runs on a node whose files `read` reads.
    pub fn runs(self, read: &impl Fn(&str) -> Result<String>) -> bool {
        let runs = |name: &str, program: &str| {
            let pid = read(&pid_file(name)).unwrap_or_default();
            let command = read(&format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
            command.contains(program)
        };
        let counts = |path: &str| read(path).is_ok_and(|text| !matches!(text.trim(), "" | "0"));
        match self {
            Service::Ledger => runs("ledger", "ledger-serve"),
            Service::Writers => runs("writer", "ledger-keep"),
            Service::Nfs(_) => counts("/proc/fs/nfsd/threads"),
            Service::Iscsi => counts(&target_switch()),
            Service::Aoe => runs("vblade", "vblade"),
        }
    }

    /// Mounts or attaches on the client what the group serves.
    pub fn attach(self, client: &Machine, article: &Article) -> Result<()> {
        article.put(client, Who::Client)?;
        let address = article.address.unwrap_or_default();
        let script = match self {
            Service::Ledger | Service::Writers => return Ok(()),
            Service::Nfs(version) => format!(
                "modprobe nfs\n{}until mount -t nfs -o vers={version},hard \
                 {address}:{} {MOUNTED}; do sleep 1; done",
                if version == "3" { CLIENT_OF_3 } else { "" },
                article.mounts[0].directory
            ),
            Service::Iscsi => format!(
                "modprobe -a iscsi_tcp sd_mod crc32c\n\
                 mkdir -p /run/lock/iscsi; iscsid || exit 1\n\
                 until iscsiadm -m discovery -t sendtargets -p {address}; do sleep 1; done\n\
                 until iscsiadm -m node --login; do sleep 1; done\n\
                 until [ -b {} ]; do sleep 0.2; done",
                self.device()
            ),
            Service::Aoe => format!(
                "modprobe aoe\nuntil [ -b {} ]; do echo > /dev/etherd/discover; sleep 1; done",
                self.device()
            ),
        };
        client.shell(&format!("exec 2>&1\n{script}"), LIMIT)?;
        Ok(())
    }

    /// The disk the client sees.
    fn device(self) -> &'static str {
        if self == Service::Iscsi { "/dev/sda" } else { "/dev/etherd/e0.1" }
    }

    /// The command that writes the ledger on the client, if it is the client
    /// that writes.
    pub fn writer(self, article: &Article) -> Option<Vec<String>> {
        let (way, to) = match self {
            Service::Ledger => ("tcp", format!("{}:{PORT}", article.address.unwrap_or_default())),
            Service::Nfs(_) => ("file", format!("{MOUNTED}/ledger")),
            Service::Iscsi | Service::Aoe => ("device", self.device().to_owned()),
            Service::Writers => return None,
        };
        Some([SELF, "ledger-write", way, &to].map(str::to_owned).to_vec())
    }

    /// The command that holds a lock on the client, where files have locks.
    pub fn locker(self) -> Option<Vec<String>> {
        let is_nfs = matches!(self, Service::Nfs(_));
        is_nfs.then(|| [SELF, "lock-hold", &format!("{MOUNTED}/lock")].map(str::to_owned).to_vec())
    }

    /// Whether the server has the client's lock, seen on the node that serves.
    pub fn has_lock(self, lab: &Lab, node: &str, article: &Article) -> Result<bool> {
        let file = format!("{}/lock", article.mounts[0].directory);
        let output = lab.machine(node).run(&[SELF, "lock-test", &file], LIMIT)?;
        Ok(output.success("look for the lock")?.trim() == "held")
    }

    /// Reads a writer's ledger on a node that has it, and holds it against
    /// what the writer was told.
    pub fn check(
        self,
        lab: &Lab,
        node: &str,
        article: &Article,
        writer: &str,
        acks: &[Ack],
    ) -> Result<Verdict> {
        let machine = lab.machine(node);
        if self.has_file() {
            return Ok(check_from(1, &machine.read(&article.ledger(writer))?, acks));
        }
        let last = acks.iter().map(|ack| ack.number).max().unwrap_or(0).to_string();
        let read = [SELF, "ledger-collect", &article.device(), &last];
        let bytes = machine.output(&read, LIMIT)?;
        // The number of the first record in a line of its own, then all.
        let line = bytes.iter().position(|byte| *byte == b'\n').context("nothing was read")?;
        let first = std::str::from_utf8(&bytes[..line])?.parse()?;
        Ok(check_from(first, &bytes[line + 1..], acks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a service runs on a node that has these files.
    fn runs(service: Service, files: &[(&str, &str)]) -> bool {
        service.runs(&|path: &str| {
            let found = files.iter().find(|(name, _)| *name == path);
            found.map(|(_, text)| (*text).to_owned()).context("no such file")
        })
    }

    #[test]
    fn what_runs_is_told_from_what_is_left_of_it() {
        let all =
            [Service::Ledger, Service::Nfs("3"), Service::Iscsi, Service::Aoe, Service::Writers];
        for service in all {
            assert!(!runs(service, &[]), "{service:?}");
        }
        assert!(runs(Service::Nfs("4.2"), &[("/proc/fs/nfsd/threads", "8\n")]));
        assert!(!runs(Service::Nfs("4.2"), &[("/proc/fs/nfsd/threads", "0\n")]));
        let pid = ("/run/lab/vblade.pid", "17");
        assert!(runs(Service::Aoe, &[pid, ("/proc/17/cmdline", "vblade\0-d\0")]));
        assert!(
            !runs(Service::Aoe, &[pid, ("/proc/17/cmdline", "sleep\0")]),
            "a number used again"
        );
    }
}
