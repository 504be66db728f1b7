//! The server by /proc/fs/nfsd: all there is before Linux 6.10.

use crate::host::file;
use crate::host::nfs::told::Told;
use crate::host::nfs::wanted::{Address, Wanted};
use crate::host::system::View;
use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{
    self, AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, sockopt,
};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Where it is mounted.
pub const DIRECTORY: &str = "/proc/fs/nfsd";

fn file(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// What a machine made of files says, in unit tests.
pub(crate) fn told(view: &View) -> Result<Told> {
    read_threads(view.read(file("threads")))
}

/// What the kernel says.
pub(crate) fn told_here() -> Result<Told> {
    read_threads(file::read(&file("threads")))
}

fn read_threads(read: io::Result<String>) -> Result<Told> {
    let text = match read {
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            bail!("{DIRECTORY} is not mounted, so nobody can be asked whose its threads are")
        }
        text => text.with_context(|| format!("cannot read {DIRECTORY}/threads"))?,
    };
    let threads = text.trim().parse();
    Ok(Told { threads: threads.context("the kernel counts no threads")?, scope: None })
}

/// In the child: from no threads to as many as are wanted.
pub(crate) fn start(wanted: &Wanted) -> Result<()> {
    if !read("portlist")?.trim().is_empty() {
        // What a start that was killed has left; versions cannot be set then.
        write("threads", "0\n")?;
    }
    let versions = changes(&read("versions")?, &wanted.versions);
    if !versions.is_empty() {
        write("versions", &format!("{versions}\n"))?;
    }
    for (name, time) in [("nfsv4leasetime", wanted.lease), ("nfsv4gracetime", wanted.grace)] {
        let Some(time) = time.map(|time| time.to_string()) else { continue };
        // One that is set already is refused while there are threads.
        if read(name)?.trim() != time {
            write(name, &format!("{time}\n"))?;
        }
    }
    listen(&wanted.listeners)?;
    if let Some(scope) = &wanted.scope {
        // The kernel takes the name that the machine has for whoever writes.
        unshare(CloneFlags::CLONE_NEWUTS).context("cannot have a host name of our own")?;
        nix::unistd::sethostname(scope).with_context(|| format!("cannot be called {scope}"))?;
    }
    write("threads", &format!("{}\n", wanted.threads))
}

/// In the child.
pub(crate) fn stop() -> Result<()> {
    write("threads", "0\n")
}

fn listen(addresses: &[Address]) -> Result<()> {
    for Address { transport, at } in addresses {
        let shown = || format!("cannot listen on {transport} {at}");
        match at {
            // RDMA is told by its port, and takes any address of both families.
            at if transport == "rdma" && !at.ip().is_unspecified() => {
                bail!("{}: RDMA has no addresses here", shown())
            }
            SocketAddr::V4(any) if transport == "rdma" => {
                write("portlist", &format!("{transport} {}\n", any.port())).with_context(shown)?;
            }
            SocketAddr::V6(_) if transport == "rdma" => {}
            // A socket that the kernel makes from a port is not told to rpcbind, by
            // which clients of NFSv3 find the server; one that it is handed is.
            at => {
                let socket = bound(transport, at).with_context(shown)?;
                write("portlist", &format!("{}\n", socket.as_raw_fd())).with_context(shown)?;
            }
        }
    }
    Ok(())
}

fn bound(transport: &str, at: &SocketAddr) -> Result<OwnedFd> {
    let family = if at.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let kind = if transport == "udp" { SockType::Datagram } else { SockType::Stream };
    let made = socket::socket(family, kind, SockFlag::empty(), None)?;
    socket::setsockopt(&made, sockopt::ReuseAddr, &true)?;
    if at.is_ipv6() {
        socket::setsockopt(&made, sockopt::Ipv6V6Only, &true)?;
    }
    socket::bind(made.as_raw_fd(), &SockaddrStorage::from(*at))?;
    if kind == SockType::Stream {
        socket::listen(&made, Backlog::new(64)?)?;
    }
    Ok(made)
}

/// The words that turn what the kernel has into what is wanted; none where it
/// is the same. What the kernel cannot do is left out.
fn changes(has: &str, wanted: &[(String, bool)]) -> String {
    let words: Vec<&str> = has.split_whitespace().collect();
    let knows = |sign: char, version: &str| words.contains(&format!("{sign}{version}").as_str());
    // The first minor version is told of only where it is off.
    let is_on = |version: &str| match version {
        "4.0" => knows('+', "4") && !knows('-', "4.0"),
        version => knows('+', version),
    };
    let is_known = |version: &str| match version {
        "4.0" => knows('+', "4") || knows('-', "4"),
        version => knows('+', version) || knows('-', version),
    };
    let differs = |(version, on): &&(String, bool)| is_known(version) && is_on(version) != *on;
    let word = |(version, on): &(String, bool)| format!("{}{version}", if *on { '+' } else { '-' });
    wanted.iter().filter(differs).map(word).collect::<Vec<_>>().join(" ")
}

fn read(name: &str) -> Result<String> {
    file::read(&file(name)).with_context(|| format!("cannot read {DIRECTORY}/{name}"))
}

fn write(name: &str, text: &str) -> Result<()> {
    ensure!(!text.contains('\0'), "no text for the kernel");
    file::write_existing(&file(name), text)
        .with_context(|| format!("the kernel takes no `{}` in {DIRECTORY}/{name}", text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(has: &str, wanted: &[(&str, bool)]) -> String {
        let wanted: Vec<_> = wanted.iter().map(|(name, on)| ((*name).to_owned(), *on)).collect();
        changes(has, &wanted)
    }

    #[test]
    fn versions_are_written_where_they_differ_and_nowhere_else() {
        let has = "-2 +3 +4 +4.1 +4.2\n";
        assert_eq!(changed(has, &[("3", true), ("4.0", true), ("4.2", true)]), "");
        assert_eq!(changed(has, &[("3", false), ("4.0", false), ("4.1", true)]), "-3 -4.0");
        let off = "-2 -3 +4 -4.0 +4.1 +4.2\n";
        assert_eq!(changed(off, &[("3", true), ("4.0", true), ("4.1", false)]), "+3 +4.0 -4.1");
        assert_eq!(changed("+3\n", &[("4.1", true)]), "", "a kernel without NFSv4");
    }
}
