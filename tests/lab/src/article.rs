//! The configurations of the published set-ups, carried as they were printed,
//! and what the lab changes in them: names, devices and addresses, and what
//! our agents do not serve yet.

mod published;

pub use published::ALL;

use super::client::Machine;
use super::guest::WRITER;
use super::image::Extra;
use super::machine::NODES;
use anyhow::{Context, Result, ensure};

/// Words of an article, and what they are exchanged for.
type Change = (&'static str, &'static str);

/// A set-up: its files as published, the words to exchange, and what the
/// result comes to, for those who put it on machines and look at it.
#[derive(Debug)]
pub struct Article {
    /// Its short name.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    files: &'static [(&'static str, &'static str)],
    /// Each must occur somewhere, or the article was misread.
    changes: &'static [&'static [Change]],
    /// The DRBD resource with what is served.
    pub resource: &'static str,
    /// The minor number of its device.
    pub minor: u32,
    /// What else is replicated, in a line of haresources of its own.
    pub settings: Option<Settings>,
    /// The volume group on it, if the file systems lie on one.
    pub group: Option<Group>,
    /// The file systems; the ledger lies on the first, if it is a file.
    pub mounts: &'static [Mount],
    /// The virtual address, if there is one.
    pub address: Option<&'static str>,
    /// Whether the address comes before the disk.
    pub address_first: bool,
    /// What the group serves.
    pub service: Service,
    /// The guest that runs on one of the nodes, where both have the data. Its
    /// definition lies on the first file system, and the cluster's resource has its
    /// name.
    pub domain: Option<Domain>,
}

/// Who needs a file of an article.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The nodes.
    Node,
    /// The nodes, if heartbeat runs there.
    Heartbeat,
    /// The client.
    Client,
    /// LVM: it is what the article has in one section of lvm.conf.
    Lvm,
    /// The nodes, and it moves with the data: see [`Settings`].
    Carried,
}

/// Who needs a file, and in which directory.
fn place(name: &str) -> (Who, &'static str) {
    match name {
        "ha.cf" | "authkeys" | "haresources" => (Who::Heartbeat, "/etc/ha.d"),
        "iscsid.conf" | "initiatorname.iscsi" => (Who::Client, "/etc/iscsi"),
        "global_common.conf" => (Who::Node, "/etc/drbd.d"),
        "lvm.conf" => (Who::Lvm, "/etc/lvm"),
        "ietd.conf" | "vblade.conf" => (Who::Carried, "/etc"),
        name if name.ends_with(".res") => (Who::Node, "/etc/drbd.d"),
        _ => (Who::Node, "/etc"),
    }
}

/// A DRBD resource with a small file system, the first of an article's mounts,
/// that carries the file which says what the other resource serves. In /etc
/// there is a link to it, on both nodes.
#[derive(Debug)]
pub struct Settings {
    /// The DRBD resource.
    pub resource: &'static str,
    /// The minor number of its device.
    pub minor: u32,
    /// The file.
    pub file: &'static str,
    /// Where it lies.
    pub directory: &'static str,
}

/// A volume group on DRBD.
#[derive(Debug)]
pub struct Group {
    /// Its name.
    pub name: &'static str,
    /// Its volumes, with their megabytes.
    pub volumes: &'static [(&'static str, u32)],
    /// The agent that heartbeat calls for it.
    pub agent: &'static str,
    /// How Pacemaker's agent makes sure who has it.
    pub owner: Owner,
}

/// See [`Group::owner`]; the words are those of the agents' parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The group's metadata say whose it is.
    SystemId,
    /// A tag says that the cluster has it.
    Tag,
    /// Nobody is kept off it: a lock manager lets all nodes have it at once.
    Locks,
}

/// A guest of libvirt's, in its words a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Domain {
    /// Its name.
    pub name: &'static str,
    /// The volume that is its disk.
    pub volume: &'static str,
}

/// A mounted file system.
#[derive(Debug)]
pub struct Mount {
    /// What is mounted.
    pub device: &'static str,
    /// Where.
    pub directory: &'static str,
    /// Its type.
    pub fstype: &'static str,
    /// Its mount options.
    pub options: &'static str,
}

/// What a group serves in the end; what is done about it is in `service`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// A program of the lab on the group's file system, which answers over
    /// TCP when a record is on disk.
    Ledger,
    /// The kernel's NFS server; the client writes into a file that it has
    /// mounted by this version of the protocol.
    Nfs(&'static str),
    /// An iSCSI target with CHAP; the client has a file system on the disk.
    Iscsi,
    /// A target of ATA over Ethernet, which needs no address; the client has a
    /// file system on the disk.
    Aoe,
    /// MariaDB; the client commits.
    Sql,
    /// Nothing for a client: each node has a program that writes into a ledger
    /// of its own, on the file system of both.
    Writers,
    /// A guest of Xen's, whose disk is the group's only volume; it writes into that
    /// itself.
    Guest,
    /// Guests of libvirt's, each with a volume as its disk, whose definitions lie in
    /// [`DOMAINS`]; they count there.
    Domains(&'static [Domain]),
}

/// Where a group of libvirt's guests has its definitions, on both nodes.
pub const DOMAINS: &str = "/etc/libvirt/ha.d";

/// One of a service's words in haresources.
#[derive(Clone, Copy, Debug)]
pub struct Word {
    /// The word.
    pub name: &'static str,
    /// Whether it is a program of the lab: see `guest::stand_in`. Otherwise it is
    /// an agent of ours, or else an init script of the distribution.
    pub stand_in: bool,
}

const fn stand_in(name: &'static str) -> Word {
    Word { name, stand_in: true }
}

const fn word(name: &'static str) -> Word {
    Word { name, stand_in: false }
}

impl Service {
    /// The words, from left to right.
    pub fn words(self) -> &'static [Word] {
        const NFS: [Word; 2] = [word("nfs-common"), word("nfs-kernel-server")];
        match self {
            Service::Ledger => &const { [stand_in("ledger")] },
            Service::Nfs(_) => &NFS,
            Service::Iscsi => &const { [word("iscsitarget")] },
            Service::Aoe => &const { [word("vblade")] },
            Service::Sql => &const { [word("mariadb")] },
            Service::Writers => &const { [stand_in("writer")] },
            Service::Guest => &const { [word("xenHA")] },
            Service::Domains(_) => &const { [word("DomainGroup")] },
        }
    }

    /// Whether the client is given a disk, and has a file system of its own on it.
    pub fn is_disk(self) -> bool {
        matches!(self, Service::Iscsi | Service::Aoe)
    }
}

impl Group {
    /// Whether a device of the device-mapper is one of its volumes.
    pub fn has(&self, mapping: &str) -> bool {
        let volume =
            mapping.trim_end().strip_prefix(self.name).and_then(|rest| rest.strip_prefix('-'));
        volume.is_some_and(|volume| self.volumes.iter().any(|(name, _)| *name == volume))
    }
}

impl Domain {
    /// Its disk.
    pub fn disk(&self, group: &Group) -> String {
        format!("/dev/{}/{}", group.name, self.volume)
    }

    /// The file with its definition, which lies in this directory.
    pub fn config(&self, directory: &str) -> String {
        format!("{directory}/{}.xml", self.name)
    }
}

impl Owner {
    /// The value of `vg_access_mode`.
    pub fn word(self) -> &'static str {
        match self {
            Owner::SystemId => "system_id",
            Owner::Tag => "tagging",
            Owner::Locks => "lvmlockd",
        }
    }
}

/// What DRBD calls when it has lost its peer.
const HANDLER: &str = "/usr/lib/sturdy/drbd-fence-peer";

impl Article {
    /// The DRBD device with what is served.
    pub fn device(&self) -> String {
        format!("/dev/drbd{}", self.minor)
    }

    /// Its DRBD resources with the minor numbers of their devices, in
    /// haresources' order.
    pub fn resources(&self) -> impl Iterator<Item = (&'static str, u32)> + use<> {
        let settings = self.settings.as_ref().map(|it| (it.resource, it.minor));
        settings.into_iter().chain([(self.resource, self.minor)])
    }

    /// Whether heartbeat moves the group back by itself and refuses to hand it
    /// over on request: so it is where nothing is said about it.
    pub fn moves_back(&self) -> bool {
        let says_nothing =
            |(name, text): &(&str, String)| *name == "ha.cf" && !text.contains("auto_failback");
        self.adapted().is_ok_and(|files| files.iter().any(says_nothing))
    }

    /// Whether both nodes write at once: DRBD is Primary on both, and the file
    /// system is one for clusters.
    pub fn is_shared(&self) -> bool {
        self.service == Service::Writers
    }

    /// What the machines need for it besides what all have.
    pub fn extra(&self) -> Extra {
        match self.service {
            Service::Guest => Extra::Xen,
            _ if self.domains().next().is_some() => Extra::Libvirt,
            _ => Extra::Nothing,
        }
    }

    /// The guests of libvirt's.
    pub fn domains(&self) -> impl Iterator<Item = &Domain> {
        let several = match self.service {
            Service::Domains(domains) => domains,
            _ => &[],
        };
        several.iter().chain(&self.domain)
    }

    /// The cluster's resource that people move, if there is one.
    pub fn moved(&self) -> Option<&'static str> {
        match &self.domain {
            Some(domain) => Some(domain.name),
            None => (!self.is_shared()).then_some("storage"),
        }
    }

    /// Whether the server acknowledges what is in its memory, so that a power cut
    /// loses some of it.
    pub fn is_async(&self) -> bool {
        let has = |line: &[String; 3]| line[2].split(',').any(|option| option == "async");
        self.exports().is_ok_and(|exports| exports.iter().any(has))
    }

    /// Whether DRBD asks the cluster before it goes on without its peer.
    pub fn has_handler(&self) -> bool {
        self.adapted().is_ok_and(|files| files.iter().any(|(_, text)| text.contains(HANDLER)))
    }

    /// Whose acknowledgements count: the client's, or, where both nodes write,
    /// their own, or the guests'.
    pub fn writers(&self) -> Vec<&'static str> {
        match self.service {
            Service::Writers => NODES.to_vec(),
            Service::Guest => vec![WRITER],
            Service::Domains(domains) => domains.iter().map(|domain| domain.name).collect(),
            _ => vec!["client"],
        }
    }

    /// The file that a writer's records are in.
    pub fn ledger(&self, writer: &str) -> String {
        let suffix = if self.is_shared() { format!("-{writer}") } else { String::new() };
        format!("{}/ledger{suffix}", self.mounts[0].directory)
    }

    /// Puts the files on a machine that `who` needs.
    pub fn put(&self, machine: &Machine, who: Who) -> Result<()> {
        for (name, text) in self.adapted()? {
            let mode = if name == "authkeys" { 0o600 } else { 0o644 };
            let (whose, directory) = place(name);
            if whose == who {
                machine.put(&format!("{directory}/{name}"), mode, text.as_bytes())?;
            }
        }
        Ok(())
    }

    /// What its small file system carries: the path there, and the text.
    pub fn carried(&self) -> Result<Option<(String, String)>> {
        let Some(Settings { file, directory, .. }) = &self.settings else { return Ok(None) };
        let found = self.adapted()?.into_iter().find(|(name, _)| name == file);
        let (_, text) =
            found.with_context(|| format!("the {} article has no {file}", self.name))?;
        Ok(Some((format!("{directory}/{file}"), text)))
    }

    /// What it exports: directory, client and options, line by line.
    pub fn exports(&self) -> Result<Vec<[String; 3]>> {
        let files = self.adapted()?;
        let text = files.iter().find(|(name, _)| *name == "exports").map_or("", |(_, text)| text);
        let export = |line: &str| {
            let (directory, rest) = line.split_once(' ')?;
            let (client, options) = rest.trim_end_matches(')').split_once('(')?;
            Some([directory, client, options].map(str::to_owned))
        };
        Ok(text.lines().filter_map(export).collect())
    }

    /// What the article has LVM look at; nothing where it leaves that as the
    /// distribution has it.
    pub fn lvm_devices(&self) -> Result<Option<String>> {
        let lvm = |(name, _): &(&str, String)| place(name).0 == Who::Lvm;
        Ok(self.adapted()?.into_iter().find(lvm).map(|(_, text)| text))
    }

    /// The files as the lab uses them.
    fn adapted(&self) -> Result<Vec<(&'static str, String)>> {
        for (from, _) in self.changes.iter().copied().flatten() {
            ensure!(
                self.files.iter().any(|(_, text)| text.contains(from)),
                "the {} article does not say {from:?}",
                self.name
            );
        }
        Ok(self.files.iter().map(|(name, text)| (*name, self.adapt(text))).collect())
    }

    fn adapt(&self, text: &str) -> String {
        // The longest first: a device's name may be the begin of another's.
        let mut changes = self.changes.concat();
        changes.sort_by_key(|(from, _)| std::cmp::Reverse(from.len()));
        let text = changes.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
        if text.ends_with('\n') { text } else { text + "\n" }
    }

    /// What was changed, line by line, in the form of a diff.
    pub fn diff(&self) -> String {
        let mut out = String::new();
        for (name, published) in self.files {
            let used = self.adapt(published);
            let (old, new): (Vec<_>, Vec<_>) =
                (published.lines().collect(), used.lines().collect());
            let kept = common(&old, &new);
            if kept.len() == old.len() && kept.len() == new.len() {
                continue;
            }
            out += &format!("--- {name}, as published\n+++ {name}, here\n");
            let (mut left, mut right) = (0, 0);
            for (i, j) in kept.into_iter().chain([(old.len(), new.len())]) {
                out.extend(old[left..i].iter().map(|line| format!("-{line}\n")));
                out.extend(new[right..j].iter().map(|line| format!("+{line}\n")));
                (left, right) = (i + 1, j + 1);
            }
        }
        out
    }
}

/// The longest common subsequence, as pairs of places.
fn common(old: &[&str], new: &[&str]) -> Vec<(usize, usize)> {
    let mut best = vec![vec![0usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            best[i][j] = if old[i] == new[j] {
                best[i + 1][j + 1] + 1
            } else {
                best[i + 1][j].max(best[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut pairs) = (0, 0, Vec::new());
    while i < old.len() && j < new.len() {
        if old[i] == new[j] {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if best[i + 1][j] >= best[i][j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listed_is_changed() {
        for article in ALL {
            let files = article.adapted().unwrap();
            let named = |wanted: &str| files.iter().find(|(name, _)| *name == wanted);
            // Where both nodes write there is no heartbeat.
            assert_eq!(named("haresources").is_none(), article.is_shared());
            let is_guests = matches!(article.service, Service::Guest | Service::Domains(_));
            assert_eq!(article.mounts.is_empty(), is_guests);
            let Some((_, haresources)) = named("haresources") else { continue };
            let line = haresources.replace(['\n', '\\'], " ");
            for (resource, _) in article.resources() {
                assert!(line.contains(&format!("drbddisk::{resource} ")), "{haresources}");
            }
            assert!(!article.diff().contains("keepalive"), "{}", article.diff());
            let last: Vec<&str> = article.service.words().iter().map(|word| word.name).collect();
            let name = |word| str::split(word, "::").next().unwrap_or_default();
            let words: Vec<&str> = line.split_whitespace().map(name).collect();
            assert_eq!(words[words.len() - last.len()..], last, "{haresources}");
            assert_eq!(article.carried().unwrap().is_some(), article.service.is_disk());
        }
    }

    #[test]
    fn both_nodes_write_in_two_set_ups_and_drbd_asks_the_cluster_in_three() {
        let names = |is: fn(&Article) -> bool| {
            ALL.iter().filter(|article| is(article)).map(|article| article.name).collect::<Vec<_>>()
        };
        assert_eq!(names(Article::is_async), ["nfs-async"]);
        assert_eq!(names(Article::moves_back), ["iscsi", "aoe"]);
        assert_eq!(names(Article::is_shared), ["gfs2", "kvm"]);
        assert_eq!(names(Article::has_handler), ["gfs2", "kvm", "fenced"]);
        assert_eq!(names(|article| article.extra() == Extra::Xen), ["xenha"]);
        assert_eq!(names(|article| article.extra() == Extra::Libvirt), ["domains", "kvm"]);
    }

    #[test]
    fn a_diff_shows_what_differs_and_nothing_else() {
        assert_eq!(common(&["a", "b", "c"], &["a", "c", "d"]), [(0, 0), (2, 1)]);
    }
}
