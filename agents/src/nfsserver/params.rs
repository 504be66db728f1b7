//! What the agent is given.

use ocf_meta::{Kind, Value, params};
use std::path::PathBuf;
use std::time::Duration;

params! {
    /// A server that moves with its data.
    pub struct NfsserverParams {
        /// Directory that the server's state is kept in.
        ///
        /// On a file system that moves with the server. It takes the place of /var/lib/nfs, with the
        /// owners and labels that the node's own has: clients can take back their locks on the other
        /// node only with it.
        [unique] nfs_shared_infodir: Option<PathBuf>,
        /// Name that clients of NFSv4 know the server by.
        ///
        /// The same on all nodes, or no client takes back its locks; the service's address is a good
        /// one. Unset, it is the node's name.
        [names] nfs_server_scope: Option<Scope>,
        /// Addresses of the service.
        ///
        /// With commas between them. Clients of NFSv3 are told of a restart from each of these; each
        /// needs a name that the resolver or /etc/hosts has for it, or sm-notify refuses it.
        [] nfs_ip: Option<Addresses>,
        /// Whether to serve NFSv4 alone.
        ///
        /// NFSv3 is switched off then, and neither rpcbind nor statd is started.
        [] nfsv4_only: bool = "false",
        /// Whether clients of NFSv3 are left untold of a restart.
        [] nfs_no_notify: bool = "false",
        /// Whether start waits until all of them are told.
        ///
        /// For half of its time at the longest; the rest are told afterwards.
        [] nfs_notify_foreground: bool = "false",
        /// For how many minutes to try to tell them.
        ///
        /// 0 is for ever; unset, it is 15.
        [] nfs_smnotify_retry_time: Option<u32>,
        /// Program that tells them.
        ///
        /// sm-notify, or rpc.statd where that does it.
        [] nfs_notify_cmd: NotifyCommand = "sm-notify",
        /// Where the kernel's RPC pipes are mounted.
        ///
        /// Unset, it is where they are, or where nfs.conf has them.
        [] rpcpipefs_dir: Option<PathBuf>,
        /// How many threads the server has.
        ///
        /// Unset, as many as nfs.conf says, or 8.
        [] nfs_threads: Option<u32>,
        /// For how many seconds clients may take back their locks.
        ///
        /// From 10 to 3600. Unset, it is what nfs.conf says, or the kernel's 90.
        [] nfs_gracetime: Option<u32>,
        /// After how many seconds a silent client loses its locks.
        ///
        /// From 10 to 3600. Unset, it is what nfs.conf says, or the kernel's 90.
        [] nfs_leasetime: Option<u32>,
        [doc = crate::drain::DOC] drain_timeout: Duration = "0",
        /// Init script of the server.
        ///
        /// Taken, and not run: start and stop do themselves what such scripts do.
        [] nfs_init_script: Option<String>,
        /// Words for rpc.nfsd.
        ///
        /// Its number of threads, -H, -p, -N, -V, -G, -L, -U, -u, -T and -t are understood.
        [] nfsd_args: Option<String>,
        /// UDP port of the lock manager.
        [] lockd_udp_port: Option<u16>,
        /// TCP port of the lock manager.
        [] lockd_tcp_port: Option<u16>,
        /// Port that statd calls from.
        [] statd_outgoing_port: Option<u16>,
        /// Port of statd.
        [] statd_port: Option<u16>,
        /// Port of mountd.
        [] mountd_port: Option<u16>,
        /// Port of the quota daemon.
        ///
        /// Taken, and not used: the daemon is none of the server's.
        [] rquotad_port: Option<u16>,
    }
}

/// A name that a machine could have, which the kernel takes for the scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope(pub String);

impl Value for Scope {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let fits = |c: char| c.is_ascii_graphic();
        if text.len() > 64 || !text.chars().all(fits) {
            return Err("not a name of at most 64 characters without blanks".into());
        }
        Ok(Self(text.to_owned()))
    }
}

/// Names or addresses, with commas between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses(pub Vec<String>);

impl Value for Addresses {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let names = text.split([',', ' ']).filter(|name| !name.is_empty());
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-' | '_' | '%');
        let checked = |name: &str| match name.starts_with('-') || !name.chars().all(fits) {
            true => Err("not a list of addresses".to_owned()),
            false => Ok(name.to_owned()),
        };
        names.map(checked).collect::<Result<_, _>>().map(Self)
    }
}

/// The program that tells clients of a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotifyCommand(pub String);

impl Value for NotifyCommand {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let name = text.rsplit('/').next().unwrap_or_default();
        let has_place = !text.contains('/') || text.starts_with('/');
        match matches!(name, "sm-notify" | "rpc.statd") && has_place {
            true => Ok(Self(text.to_owned())),
            false => Err("neither sm-notify nor rpc.statd".into()),
        }
    }
}
