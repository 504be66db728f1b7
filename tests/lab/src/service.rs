//! What a group serves in the end: the last words of its haresources line,
//! how a client reaches it, what shows that it runs, and where the ledger is
//! read afterwards.

mod disk;
mod guest;
mod sql;

use super::article::{Article, DOMAINS, Service, Settings, Who};
use super::client::{Lab, Machine};
use super::guest::{SELF, pid_file};
use super::libvirt;
use anyhow::Result;
use std::time::Duration;
use story::ledger::{Ack, Verdict, check_bytes};

/// The port the lab's own service answers on.
const PORT: u16 = 7000;

/// Where the client mounts the export.
const MOUNTED: &str = "/mnt";

/// The file that says whether the article's target serves.
const SWITCH: &str =
    "/sys/kernel/config/target/iscsi/iqn.2008-04.local.home:storage.disk.0/tpgt_1/enable";

/// How /proc/net/packet shows a socket for ATA over Ethernet.
const ETHERTYPE: &str = "88a2";

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
            Service::Domains(_) => libvirt::define(article, DOMAINS),
            Service::Nfs(_) => NFS_PREPARATION.into(),
            Service::Sql => sql::PREPARATION.into(),
            Service::Guest => guest::preparation(article),
            // The packages' own files, where they are not the group's.
            Service::Iscsi | Service::Aoe => article.settings.as_ref().map_or(
                String::new(),
                |Settings { file, directory, .. }| {
                    format!("rm -rf /etc/{file}; ln -s {directory}/{file} /etc/{file}\n")
                },
            ),
        }
    }

    /// What is put on the group's file systems once they are made and mounted, in
    /// shell.
    pub fn filling(self, article: &Article) -> Result<String> {
        if let Some((path, text)) = article.carried()? {
            let directory = path.rsplit_once('/').map_or("/", |(directory, _)| directory);
            return Ok(format!("mkdir -p {directory}\ncat > {path} <<'END'\n{text}END\n"));
        }
        Ok(match self {
            Service::Sql => sql::filling(),
            Service::Domains(_) => libvirt::install_software(article),
            _ => String::new(),
        })
    }

    /// What an init system would start at boot besides DRBD and the engine.
    pub fn at_boot(self) -> String {
        match self {
            Service::Nfs(_) => {
                "mkdir -p /run/rpcbind; rpcinfo -p >/dev/null 2>&1 || rpcbind -w".into()
            }
            Service::Guest => guest::at_boot(),
            _ => "true".into(),
        }
    }

    /// Whether it runs on a node whose files `read` reads.
    pub fn runs(self, read: &impl Fn(&str) -> Result<String>) -> bool {
        let runs = |pid_file: &str, program: &str| {
            let pid = read(pid_file).unwrap_or_default();
            let command = read(&format!("/proc/{}/cmdline", pid.trim())).unwrap_or_default();
            command.contains(program)
        };
        let counts = |path: &str| read(path).is_ok_and(|text| !matches!(text.trim(), "" | "0"));
        match self {
            Service::Ledger => runs(&pid_file("ledger"), "ledger-serve"),
            Service::Writers => runs(&pid_file("writer"), "ledger-keep"),
            Service::Nfs(_) => counts("/proc/fs/nfsd/threads"),
            Service::Iscsi => counts(SWITCH),
            Service::Aoe => {
                let sockets = read("/proc/net/packet").unwrap_or_default();
                sockets.lines().any(|line| line.split_whitespace().nth(3) == Some(ETHERTYPE))
            }
            Service::Domains(domains) => domains.iter().all(|domain| libvirt::runs(domain, read)),
            Service::Guest => read("/proc/interrupts").is_ok_and(|text| text.contains(guest::RING)),
            Service::Sql => runs("/run/mysqld/mysqld.pid", "mariadbd"),
        }
    }

    /// Mounts or attaches on the client what the group serves.
    pub fn attach(self, client: &Machine, article: &Article) -> Result<()> {
        article.put(client, Who::Client)?;
        let address = article.address.unwrap_or_default();
        let script = match self {
            Service::Ledger | Service::Writers | Service::Guest | Service::Domains(_) => {
                return Ok(());
            }
            Service::Sql => format!(
                "until mariadb --no-defaults --skip-ssl --connect-timeout=5 --user=ledger \
                 --host={address} --execute='SELECT 1' ledger; do sleep 1; done"
            ),
            Service::Nfs(version) => format!(
                "modprobe nfs\n{}until mount -t nfs -o vers={version},hard \
                 {address}:{} {MOUNTED}; do sleep 1; done",
                if version == "3" { CLIENT_OF_3 } else { "" },
                article.mounts[0].directory
            ),
            Service::Iscsi => format!(
                "modprobe -a iscsi_tcp sd_mod crc32c\n\
                 mkdir -p /run/lock/iscsi; iscsid || exit 1\n\
                 until iscsiadm -m discovery -t st -p {address}; do sleep 1; done\n\
                 until iscsiadm -m node --login; do sleep 1; done\n{}",
                self.formatting("blkid /dev/sda1 | cut -d' ' -f2 | sed s/\\\"//g")
            ),
            Service::Aoe => format!(
                "modprobe aoe\nuntil [ -b {} ]; do aoe-discover; sleep 1; done\n{}",
                self.device(),
                self.formatting("echo /dev/etherd/e0.1p1")
            ),
        };
        client.shell(&format!("exec 2>&1\n{script}"), LIMIT)?;
        Ok(())
    }

    /// Where the client mounts what it is given.
    fn directory(self) -> &'static str {
        match self {
            Service::Iscsi => "/mnt/iscsi",
            Service::Aoe => "/mnt/aoe",
            _ => MOUNTED,
        }
    }

    /// The command that writes the ledger on the client, if it is the client
    /// that writes.
    pub fn writer(self, article: &Article) -> Option<Vec<String>> {
        let (way, to) = match self {
            Service::Ledger => ("tcp", format!("{}:{PORT}", article.address.unwrap_or_default())),
            Service::Sql => ("sql", article.address.unwrap_or_default().to_owned()),
            Service::Nfs(_) | Service::Iscsi | Service::Aoe => {
                ("file", format!("{}/ledger", self.directory()))
            }
            Service::Writers | Service::Guest | Service::Domains(_) => return None,
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

    /// Reads a writer's ledger on a node that has it, or by the client where only
    /// that knows the file system, and holds it against what the writer was told.
    pub fn check(
        self,
        lab: &Lab,
        node: &str,
        article: &Article,
        writer: &str,
        acks: &[Ack],
    ) -> Result<Verdict> {
        let machine = lab.machine(node);
        let bytes = match self {
            Service::Iscsi | Service::Aoe => {
                let client = lab.machine("client");
                // From the disk, and not from what the client still has in memory.
                client.shell("echo 3 > /proc/sys/vm/drop_caches", LIMIT)?;
                client.read(&format!("{}/ledger", self.directory()))?
            }
            Service::Sql => {
                let last = acks.iter().map(|ack| ack.number).max().unwrap_or(1);
                machine.output(&["/bin/sh", "-c", &sql::reading(last)], LIMIT)?
            }
            Service::Guest => {
                guest::is_alone(lab, node)?;
                let bytes = guest::records(&machine, article)?;
                return Ok(guest::with_intruders(&bytes, check_bytes(&bytes, acks)));
            }
            _ => machine.read(&article.ledger(writer))?,
        };
        Ok(check_bytes(&bytes, acks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::article::Domain;
    use anyhow::Context;

    /// Whether a service runs on a node that has these files.
    fn runs(service: Service, files: &[(&str, &str)]) -> bool {
        service.runs(&|path: &str| {
            let found = files.iter().find(|(name, _)| *name == path);
            found.map(|(_, text)| (*text).to_owned()).context("no such file")
        })
    }

    #[test]
    fn what_runs_is_told_from_what_is_left_of_it() {
        use Service::{Aoe, Domains, Guest, Iscsi, Ledger, Nfs, Sql, Writers};
        let domains = Domains(&[Domain { name: "web", volume: "web" }]);
        for service in [Ledger, Nfs("3"), Iscsi, Aoe, Sql, Writers, Guest, domains] {
            assert!(!runs(service, &[]), "{service:?}");
        }
        assert!(runs(Nfs("4.2"), &[("/proc/fs/nfsd/threads", "8\n")]));
        assert!(!runs(Nfs("4.2"), &[("/proc/fs/nfsd/threads", "0\n")]));
        let pid = ("/run/mysqld/mysqld.pid", "17");
        assert!(runs(Sql, &[pid, ("/proc/17/cmdline", "/usr/sbin/mariadbd\0")]));
        assert!(!runs(Sql, &[pid, ("/proc/17/cmdline", "sleep\0")]), "a number used again");
        let interrupts = ("/proc/interrupts", " 60: 9 xen-dyn -event blkif-backend\n");
        assert!(runs(Guest, &[interrupts]));
        let sockets = |protocol: &str| {
            format!("sk RefCnt Type Proto Iface R Rmem User Inode\n0 3 3 {protocol} 5 1 0 0 71\n")
        };
        assert!(runs(Aoe, &[("/proc/net/packet", &sockets("88a2"))]));
        assert!(!runs(Aoe, &[("/proc/net/packet", &sockets("0806"))]));
    }
}
