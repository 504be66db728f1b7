//! What the server is to be: by the parameters, by nfs.conf, by what such
//! servers are otherwise.

use super::NfsserverParams;
use super::service::{Manager, Wanted as Daemons};
use anyhow::{Context, Result};
use common::host::nfs::conf::Conf;
use common::host::nfs::daemon::Daemon;
use common::host::nfs::wanted::{Address, Wanted};
use common::{View, configured};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// As nfs-utils has it.
const THREADS: u32 = 8;
const PORT: u16 = 2049;
const RDMA_PORT: u16 = 20049;

/// All versions that the kernel may know, and whether they are on where nobody
/// says anything.
const VERSIONS: [(&str, bool); 5] =
    [("2", false), ("3", true), ("4.0", true), ("4.1", true), ("4.2", true)];

/// What nfsd_args say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    threads: Option<u32>,
    grace: Option<u32>,
    lease: Option<u32>,
    hosts: Vec<String>,
    port: Option<u16>,
    versions: Vec<(String, bool)>,
    udp: Option<bool>,
    tcp: Option<bool>,
}

impl Words {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut words = Self::default();
        let mut rest = text.split_whitespace();
        let odd = |word: &str| configured(format!("parameter nfsd_args has an odd word: `{word}`"));
        while let Some(word) = rest.next() {
            let (option, mut value) = match word.split_once('=') {
                Some((option, value)) if word.starts_with("--") => (option, Some(value)),
                _ => (word, None),
            };
            let mut value = || value.take().or_else(|| rest.next()).ok_or_else(|| odd(word));
            let number = |text: &str| text.parse().map_err(|_| odd(text));
            match option {
                "-G" | "--grace-time" => words.grace = Some(number(value()?)?),
                "-L" | "--lease-time" => words.lease = Some(number(value()?)?),
                "-H" | "--host" => words.hosts.push(value()?.to_owned()),
                "-p" | "-P" | "--port" => {
                    words.port = Some(value()?.parse().map_err(|_| odd(word))?);
                }
                "-N" | "--no-nfs-version" => words.versions.push((value()?.to_owned(), false)),
                "-V" | "--nfs-version" => words.versions.push((value()?.to_owned(), true)),
                "-U" | "--no-udp" => words.udp = Some(false),
                "-u" | "--udp" => words.udp = Some(true),
                "-T" | "--no-tcp" => words.tcp = Some(false),
                "-t" | "--tcp" => words.tcp = Some(true),
                "-d" | "--debug" | "-s" | "--syslog" => {}
                count if count.starts_with(|c: char| c.is_ascii_digit()) => {
                    words.threads = Some(number(count)?);
                }
                _ => return Err(odd(word)),
            }
        }
        Ok(words)
    }
}

/// The server, as it is wanted.
pub(super) fn server(view: &View, params: &NfsserverParams) -> Result<Wanted> {
    let conf = Conf::read(view).context("cannot read nfs.conf")?;
    let words = Words::parse(params.nfsd_args.as_deref().unwrap_or_default())?;
    let number = |key| conf.number("nfsd", key);
    let threads = params.nfs_threads.or(words.threads).or(number("threads")).unwrap_or(THREADS);
    let scope = params.nfs_server_scope.as_ref().map(|scope| scope.0.as_str());
    Ok(Wanted {
        threads: threads.max(1),
        scope: scope.or_else(|| conf.get("nfsd", "scope")).map(str::to_owned),
        grace: params.nfs_gracetime.or(words.grace).or(number("grace-time")),
        lease: params.nfs_leasetime.or(words.lease).or(number("lease-time")),
        versions: versions(&conf, &words, params.nfsv4_only),
        listeners: listeners(view, &conf, &words)?,
    })
}

fn versions(conf: &Conf, words: &Words, only_four: bool) -> Vec<(String, bool)> {
    let wanted = |(name, usual): (&str, bool)| {
        let major = name.split('.').next().unwrap_or(name);
        let said = |name: &str| {
            let word = words.versions.iter().rev().find(|(version, _)| version == name);
            word.map(|(_, on)| *on).or_else(|| conf.truth("nfsd", &format!("vers{name}")))
        };
        let on = said(name).or_else(|| said(major).filter(|on| !on)).unwrap_or(usual);
        (name.to_owned(), on && !(only_four && major != "4"))
    };
    VERSIONS.into_iter().map(wanted).collect()
}

fn listeners(view: &View, conf: &Conf, words: &Words) -> Result<Vec<Address>> {
    let is_port = |port: &u32| *port != 0;
    let port = |section: &str, key: &str| {
        conf.number(section, key).filter(is_port).and_then(|port| u16::try_from(port).ok())
    };
    let own = words.port.or_else(|| port("nfsd", "port")).unwrap_or(PORT);
    let named = match words.hosts.is_empty() {
        false => words.hosts.clone(),
        true => {
            let hosts = conf.get("nfsd", "host").unwrap_or_default();
            hosts.split([',', ' ']).filter(|host| !host.is_empty()).map(str::to_owned).collect()
        }
    };
    let has_six = view.exists("/proc/net/if_inet6").unwrap_or(false);
    let hosts: Vec<IpAddr> = match named.is_empty() {
        true => {
            let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
            any.into_iter().filter(|any| any.is_ipv4() || has_six).collect()
        }
        false => {
            let address = |host: &String| {
                let bare = host.trim_start_matches('[').trim_end_matches(']');
                let what = "the NFS server is to listen on an address, and not on a name";
                bare.parse().map_err(|_| configured(format!("{what}: {host}")))
            };
            named.iter().map(address).collect::<Result<_>>()?
        }
    };
    let mut found = Vec::new();
    let mut add = |transport: &str, port: u16| {
        let at = |host: &IpAddr| SocketAddr::new(*host, port);
        let one = |host| Address { transport: transport.to_owned(), at: at(host) };
        found.extend(hosts.iter().map(one));
    };
    let truth = |key| conf.truth("nfsd", key);
    if words.tcp.or(truth("tcp")).unwrap_or(true) {
        add("tcp", own);
    }
    if words.udp.or(truth("udp")).unwrap_or(false) {
        add("udp", own);
    }
    if let Some(rdma) = conf.get("nfsd", "rdma").filter(|_| truth("rdma") != Some(false)) {
        let other = rdma.parse().ok().or_else(|| port("nfsd", "rdma-port"));
        add("rdma", other.unwrap_or(RDMA_PORT));
    }
    Ok(found)
}

/// The daemons that such a server needs here, in the order in which they are
/// started.
pub(super) fn daemons(
    view: &View,
    manager: &Manager,
    server: &Wanted,
    params: &NfsserverParams,
) -> Vec<Daemons> {
    let has_three = server.versions.iter().any(|(version, on)| version == "3" && *on);
    let mut wanted = Vec::new();
    // Before the threads: they ask for it as soon as there are any.
    if manager.has(view, Daemon::Nfsdcld) {
        wanted.push(Daemons::plain(Daemon::Nfsdcld));
    }
    if manager.has(view, Daemon::Idmapd) {
        wanted.push(Daemons::plain(Daemon::Idmapd));
    }
    let port = |port: Option<u16>| port.map(|port| ["-p".to_owned(), port.to_string()]);
    if has_three {
        let mut words: Vec<String> = port(params.statd_port).into_iter().flatten().collect();
        let outgoing = params.statd_outgoing_port;
        words.extend(outgoing.into_iter().flat_map(|port| ["-o".to_owned(), port.to_string()]));
        if !words.is_empty() || matches!(manager, Manager::Us) {
            words.insert(0, "--no-notify".into());
        }
        wanted.push(Daemons { daemon: Daemon::Statd, words });
    }
    let mut words: Vec<String> = port(params.mountd_port).into_iter().flatten().collect();
    if !has_three {
        // Or it registers with rpcbind, which need not be there.
        words.extend(["-N", "2", "-N", "3"].map(str::to_owned));
    }
    wanted.push(Daemons { daemon: Daemon::Mountd, words });
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_rpc_nfsd_are_understood() {
        let words = Words::parse("-N 3 --grace-time=15 -L 20 -H 10.0.0.9 16").unwrap();
        assert_eq!((words.threads, words.grace, words.lease), (Some(16), Some(15), Some(20)));
        assert_eq!(words.versions, [("3".to_owned(), false)]);
        assert!(Words::parse("--colour").is_err());
        assert!(Words::parse("-G").is_err());
    }

    #[test]
    fn four_alone_switches_off_the_others() {
        let on = |only| {
            let all = versions(&Conf::default(), &Words::default(), only);
            all.into_iter().filter(|(_, on)| *on).map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(on(false), ["3", "4.0", "4.1", "4.2"]);
        assert_eq!(on(true), ["4.0", "4.1", "4.2"]);
        let without = Words::parse("-N 4 -V 4.2").unwrap();
        let all = versions(&Conf::default(), &without, false);
        assert_eq!(all.into_iter().filter(|(_, on)| *on).count(), 2, "3 and 4.2");
    }
}
