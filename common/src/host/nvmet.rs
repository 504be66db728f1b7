//! nvmet, the NVMe target in the kernel, as its configfs shows it.
//!
//! | object | directory |
//! |---|---|
//! | a subsystem, to which clients connect | `subsystems/NQN` |
//! | a disk of it, called a namespace | `subsystems/NQN/namespaces/1` |
//! | a client by its name | `hosts/NQN`, with a link in `allowed_hosts` of each subsystem that admits it |
//! | an address to listen at | `ports/0`, with a link in `subsystems` to each that is shown there |
//!
//! Nothing of it can be renamed. A port listens from its first link to its last.

pub mod build;

use crate::host::absence::{Absent, Whole};
use crate::host::block::Number;
use crate::host::sockets::Listener;
use crate::host::system::View;
use crate::host::{block, configfs};
use anyhow::{Context, Result, bail};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The module without which there is none.
pub const MODULE: &str = "nvmet";

/// Where nvmet's configfs is.
pub const ROOT: &str = "/sys/kernel/config/nvmet";

/// The kernel's NVMe target, to be looked at.
#[derive(Clone, Copy, Debug)]
pub struct Nvmet<'v> {
    view: &'v View,
}

/// A subsystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subsystem {
    /// Whether every client may come.
    pub admits_all: bool,
    /// The clients that may, where not every one may.
    pub hosts: Vec<String>,
    /// The serial number of its controllers, without the blanks that fill it up.
    pub serial: String,
    /// Their model, as far as this kernel tells it.
    pub model: Option<String>,
}

/// A namespace of a subsystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace {
    /// Whether it has its disk open, and shows it.
    pub is_enabled: bool,
    /// The path that it was given for it.
    pub path: Option<String>,
    /// By what clients know it.
    pub uuid: Option<Id>,
    /// The same in another field.
    pub nguid: Option<Id>,
}

/// Sixteen bytes that no other namespace has: a UUID, or an NGUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id([u8; 16]);

/// An address, as nvmet is told it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Address {
    /// How commands travel: `tcp`.
    pub transport: String,
    /// The kind of address: `ipv4`.
    pub family: String,
    /// `10.0.0.9`.
    pub address: String,
    /// `4420`.
    pub service: String,
}

/// A port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its number.
    pub id: u16,
    /// Where it listens, or would.
    pub address: Address,
}

impl Id {
    /// Reads 32 hexadecimal digits, with or without hyphens or colons.
    pub fn parse(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text.trim().bytes().filter(|byte| !b"-:".contains(byte)).collect();
        let mut id = [0; 16];
        if digits.len() != 2 * id.len() {
            return None;
        }
        for (byte, pair) in id.iter_mut().zip(digits.chunks(2)) {
            let value = |digit: u8| char::from(digit).to_digit(16);
            *byte = u8::try_from(value(pair[0])? << 4 | value(pair[1])?).ok()?;
        }
        Some(Self(id))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            let hyphen = if matches!(at, 4 | 6 | 8 | 10) { "-" } else { "" };
            write!(out, "{hyphen}{byte:02x}")?;
        }
        Ok(())
    }
}

impl Address {
    /// Whether both are the same place, however they are spelled.
    pub fn is(&self, other: &Self) -> bool {
        self.transport == other.transport
            && mean_one::<IpAddr>(&self.address, &other.address)
            && mean_one::<u16>(&self.service, &other.service)
    }

    /// Whether what has been set of it is this place, or nothing yet.
    pub fn is_on_its_way_to(&self, other: &Self) -> bool {
        (self.address.is_empty() || mean_one::<IpAddr>(&self.address, &other.address))
            && (self.service.is_empty() || mean_one::<u16>(&self.service, &other.service))
    }

    /// Whether one of the TCP sockets that are listened on is at this address.
    pub fn is_heard(&self, listeners: &[Listener]) -> bool {
        let (Some(ip), Ok(port)) = (ip(&self.address), self.service.parse::<u16>()) else {
            return false;
        };
        listeners.iter().any(|one| one.address.ip() == ip && one.address.port() == port)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { transport, address, service, .. } = self;
        match ip(address) {
            Some(IpAddr::V6(_)) => write!(out, "[{address}]:{service} ({transport})"),
            _ => write!(out, "{address}:{service} ({transport})"),
        }
    }
}

/// Without the interface that may be named behind it.
fn ip(text: &str) -> Option<IpAddr> {
    text.split('%').next()?.parse().ok()
}

/// Whether both texts are the same, or mean the same.
fn mean_one<T: FromStr + PartialEq>(one: &str, other: &str) -> bool {
    let parsed = || Some((one.parse::<T>().ok()?, other.parse::<T>().ok()?));
    one == other || parsed().is_some_and(|(one, other)| one == other)
}

impl Namespace {
    /// The number of the disk that it has open, where it was given the number and
    /// no name, which may be another disk's by now.
    pub fn number(&self) -> Option<Number> {
        Number::parse(self.path.as_deref()?.strip_prefix(BY_NUMBER)?)
    }
}

/// Where block devices have their numbers for names.
const BY_NUMBER: &str = "/dev/block/";

/// The directory of a subsystem.
pub fn subsystem(nqn: &str) -> String {
    format!("{ROOT}/subsystems/{nqn}")
}

/// The directory of a namespace.
pub fn namespace(nqn: &str, id: u32) -> String {
    format!("{ROOT}/subsystems/{nqn}/namespaces/{id}")
}

/// The directory of a port.
pub fn port(id: u16) -> String {
    format!("{ROOT}/ports/{id}")
}

impl<'v> Nvmet<'v> {
    /// The kernel's target, or the proof that it has none. It is not loaded by
    /// asking.
    pub fn open(view: &'v View) -> Result<Result<Self, Absent>> {
        let absent = configfs::absent(view, MODULE, "nvmet", ROOT, "subsystems")?;
        Ok(absent.map_or(Ok(Self { view }), Err))
    }

    /// The names of all subsystems.
    pub fn subsystems(&self) -> Result<Whole<String>> {
        let names = configfs::list(self.view, &format!("{ROOT}/subsystems"))?;
        Ok(Whole::told("subsystems", names.context("nvmet has no list of subsystems")?))
    }

    /// What there is of a subsystem; nothing of one that is not there.
    pub fn subsystem(&self, nqn: &str) -> Result<Option<Subsystem>> {
        let place = subsystem(nqn);
        let Some(hosts) = configfs::list(self.view, &format!("{place}/allowed_hosts"))? else {
            return Ok(None);
        };
        let Some(admits) = configfs::find(self.view, &format!("{place}/attr_allow_any_host"))?
        else {
            return Ok(None);
        };
        Ok(Some(Subsystem {
            admits_all: admits == "1",
            hosts,
            serial: configfs::find(self.view, &format!("{place}/attr_serial"))?.unwrap_or_default(),
            model: configfs::find(self.view, &format!("{place}/attr_model"))?,
        }))
    }

    /// The numbers of a subsystem's namespaces, or the proof that there is no such
    /// subsystem.
    pub fn namespaces(&self, nqn: &str) -> Result<Result<Whole<u32>, Absent>> {
        let place = format!("{}/namespaces", subsystem(nqn));
        if let Some(names) = configfs::list(self.view, &place)? {
            let numbers: Result<Vec<u32>> = names.iter().map(|name| number(name)).collect();
            return Ok(Ok(Whole::told("namespaces", numbers?)));
        }
        match self.subsystems()?.lacks(|name| name == nqn) {
            Some(absent) => Ok(Err(absent)),
            None => bail!("subsystem {nqn} has no list of namespaces"),
        }
    }

    /// What there is of a namespace; nothing of one that is not there.
    pub fn namespace(&self, nqn: &str, id: u32) -> Result<Option<Namespace>> {
        let place = namespace(nqn, id);
        let Some(enabled) = configfs::find(self.view, &format!("{place}/enable"))? else {
            return Ok(None);
        };
        let get = |name: &str| configfs::find(self.view, &format!("{place}/{name}"));
        let path = get("device_path")?.filter(|path| !path.is_empty() && path != "(null)");
        let id = |text: Option<String>| text.and_then(|text| Id::parse(&text));
        Ok(Some(Namespace {
            is_enabled: enabled == "1",
            path,
            uuid: id(get("device_uuid")?),
            nguid: id(get("device_nguid")?),
        }))
    }

    /// All ports.
    pub fn ports(&self) -> Result<Whole<Port>> {
        let names = configfs::list(self.view, &format!("{ROOT}/ports"))?;
        let mut ports = Vec::new();
        for name in names.context("nvmet has no list of ports")? {
            let id = u16::try_from(number(&name)?).with_context(|| format!("odd port: {name}"))?;
            ports.extend(self.port(id)?);
        }
        Ok(Whole::told("ports", ports))
    }

    /// What there is of a port; nothing of one that is not there.
    pub fn port(&self, id: u16) -> Result<Option<Port>> {
        let get = |name: &str| configfs::find(self.view, &format!("{}/addr_{name}", port(id)));
        let Some(transport) = get("trtype")? else { return Ok(None) };
        let address = Address {
            transport,
            family: get("adrfam")?.unwrap_or_default(),
            address: get("traddr")?.unwrap_or_default(),
            service: get("trsvcid")?.unwrap_or_default(),
        };
        Ok(Some(Port { id, address }))
    }

    /// Whether the port shows the subsystem. Asked by its name, which the kernel
    /// has at hand also while it closes another one's connections.
    pub fn shows(&self, id: u16, nqn: &str) -> Result<bool> {
        let link = format!("{}/subsystems/{nqn}", port(id));
        let to = configfs::linked(self.view, &link);
        Ok(to.with_context(|| format!("cannot look at {link}"))?.is_some())
    }

    /// The subsystems that a port shows.
    pub fn shown(&self, id: u16) -> Result<Vec<String>> {
        Ok(configfs::list(self.view, &format!("{}/subsystems", port(id)))?.unwrap_or_default())
    }

    /// The disk that a namespace has open, and whether the kernel still has it.
    pub fn disk(&self, namespace: &Namespace) -> Option<(Number, bool)> {
        let by_name = || block::number(self.view, namespace.path.as_deref()?).ok()?;
        let number = namespace.number().or_else(by_name)?;
        Some((number, block::is_there(self.view, number).unwrap_or(true)))
    }
}

/// As the kernel reads the name of a directory.
fn number(name: &str) -> Result<u32> {
    let parsed = match name.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => name.parse(),
    };
    parsed.with_context(|| format!("odd name of a directory of nvmet's: {name}"))
}

#[cfg(test)]
mod tests;
