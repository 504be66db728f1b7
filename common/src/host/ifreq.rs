//! The oldest questions to the kernel about interfaces: blunt and cheap.

#![allow(unsafe_code, reason = "ioctl has no safe wrapper for these")]

use super::link::LONGEST_NAME;
use super::system::{System, View};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::ffi::c_char;
use std::fmt::Debug;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

/// A line for such questions.
#[derive(Debug)]
pub struct Questions<'v> {
    line: OwnedFd,
    view: &'v View,
}

impl<'v> Questions<'v> {
    /// Opens the line.
    pub fn open(view: &'v View) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let line = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
        Ok(Self { line, view })
    }

    /// The name of the interface with this number.
    pub fn name(&self, index: u32) -> io::Result<String> {
        let mut request = blank("")?;
        request.ifr_ifru.ifru_ifindex = index.cast_signed();
        let named = self.ask(libc::SIOCGIFNAME, &mut request).map(|()| {
            let bytes = request.ifr_name.map(plain);
            let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
            String::from_utf8_lossy(&bytes[..end]).into_owned()
        });
        self.told(format_args!("name of link {index}"), named)
    }

    /// The number of the interface of this name, or this alternative name if
    /// it is short enough.
    pub fn index(&self, name: &str) -> io::Result<u32> {
        let mut request = blank(name)?;
        let found = self.ask(libc::SIOCGIFINDEX, &mut request).map(|()| {
            // SAFETY: the kernel has just filled in this variant.
            unsafe { request.ifr_ifru.ifru_ifindex }.cast_unsigned()
        });
        self.told(format_args!("number of link {name}"), found)
    }

    /// The prefix of the IPv4 address, if the interface has it with this label;
    /// of several with this label the first one's. The kernel walks the
    /// interface's addresses itself, however many there are.
    pub fn prefix(&self, label: &str, ip: Ipv4Addr) -> io::Result<Option<u8>> {
        let mut request = blank(label)?;
        request.ifr_ifru.ifru_addr = with_address(ip);
        let found = self.ask(libc::SIOCGIFADDR, &mut request).and_then(|()| {
            // Where none is this one, the answer is another one of the label's.
            if address_in(&request) != ip {
                return Ok(None);
            }
            self.ask(libc::SIOCGIFNETMASK, &mut request)?;
            Ok(Some(u32::from(address_in(&request)).count_ones() as u8))
        });
        self.told(format_args!("prefix of {ip} with the label {label}"), found)
    }

    /// Whether the interface is up and can carry anything.
    pub fn runs(&self, name: &str) -> io::Result<bool> {
        let mut request = blank(name)?;
        let found = self.ask(libc::SIOCGIFFLAGS, &mut request).map(|()| {
            // SAFETY: the kernel has just filled in this variant.
            let flags = i32::from(unsafe { request.ifr_ifru.ifru_flags });
            let wanted = libc::IFF_UP | libc::IFF_RUNNING;
            flags & wanted == wanted
        });
        self.told(format_args!("link {name} runs"), found)
    }

    /// Has the interface hear packets for a group's hardware address.
    pub fn join(&self, _system: &System<'_>, nic: &str, group: [u8; 6]) -> io::Result<()> {
        match self.ask(libc::SIOCADDMULTI, &mut with_hardware(nic, group)?) {
            Err(err) if err.raw_os_error() == Some(libc::EEXIST) => Ok(()),
            done => done,
        }
    }

    /// Has it hear them no more.
    pub fn leave(&self, _system: &System<'_>, nic: &str, group: [u8; 6]) -> io::Result<()> {
        match self.ask(libc::SIOCDELMULTI, &mut with_hardware(nic, group)?) {
            Err(err) if matches!(err.raw_os_error(), Some(libc::ENOENT | libc::ENODEV)) => Ok(()),
            done => done,
        }
    }

    fn ask(&self, question: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
        // SAFETY: all of these questions read and write one `struct ifreq`.
        let answer = unsafe { libc::ioctl(self.line.as_raw_fd(), question, request) };
        Ok(Errno::result(answer).map(drop)?)
    }

    fn told<T: Debug>(
        &self,
        what: std::fmt::Arguments<'_>,
        answer: io::Result<T>,
    ) -> io::Result<T> {
        self.view.note(format_args!("{what} = {answer:?}"));
        answer
    }
}

/// A `struct sockaddr_in`: a port, which is none, and the address.
fn with_address(ip: Ipv4Addr) -> libc::sockaddr {
    let mut address =
        libc::sockaddr { sa_family: libc::AF_INET as libc::sa_family_t, sa_data: [0; 14] };
    for (to, from) in address.sa_data[2..].iter_mut().zip(ip.octets()) {
        *to = letter(from);
    }
    address
}

fn address_in(request: &libc::ifreq) -> Ipv4Addr {
    // SAFETY: an address has been written to this variant, by us or the kernel.
    let data = unsafe { request.ifr_ifru.ifru_addr }.sa_data;
    let [_, _, a, b, c, d, ..] = data.map(plain);
    Ipv4Addr::new(a, b, c, d)
}

/// C's `char` as a byte; it has a sign on x86 and none on ARM.
fn plain(letter: c_char) -> u8 {
    letter.to_ne_bytes()[0]
}

/// A byte as C's `char`.
fn letter(byte: u8) -> c_char {
    c_char::from_ne_bytes([byte])
}

fn blank(name: &str) -> io::Result<libc::ifreq> {
    if name.len() > LONGEST_NAME {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    // SAFETY: `struct ifreq` is plain data, all-zero is a valid one.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = letter(from);
    }
    Ok(request)
}

fn with_hardware(nic: &str, address: [u8; 6]) -> io::Result<libc::ifreq> {
    let mut request = blank(nic)?;
    let mut hardware =
        libc::sockaddr { sa_family: libc::AF_UNSPEC as libc::sa_family_t, sa_data: [0; 14] };
    for (to, from) in hardware.sa_data.iter_mut().zip(address) {
        *to = letter(from);
    }
    request.ifr_ifru.ifru_hwaddr = hardware;
    Ok(request)
}
