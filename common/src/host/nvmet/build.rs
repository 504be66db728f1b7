//! Making what nvmet serves, and taking it apart.

use crate::host::clock::Pace;
use crate::host::nvmet::{self, Address, BY_NUMBER, Id, MODULE, Nvmet, ROOT};
use crate::host::record::Damaged;
use crate::host::system::{System, View};
use crate::host::{block, child, configfs, module};
use anyhow::{Context, Result, anyhow, bail};
use nix::errno::Errno;
use nix::sys::stat::{Mode, SFlag, makedev, mknod};
use std::path::Path;

/// What a namespace is to show.
#[derive(Clone, Debug)]
pub struct NewNamespace {
    /// A block device, or a file.
    pub path: String,
    /// By what clients know it.
    pub uuid: Id,
    /// The same in another field.
    pub nguid: Option<Id>,
}

/// The names of the records of the hosts that we have made begin so.
const HOST: &str = "nvmet-host.";
/// The lock on hosts, which several subsystems share.
const HOSTS: &str = "nvmet-hosts";
/// The lock on the numbers of ports.
const PORTS: &str = "nvmet-ports";

/// Loads the target.
pub fn load(system: &System<'_>) -> Result<()> {
    if matches!(Nvmet::open(system), Ok(Ok(_))) {
        return Ok(());
    }
    module::load(system, MODULE)?;
    configfs::mount(system)?;
    match Nvmet::open(system)? {
        Ok(_) => Ok(()),
        Err(absent) => bail!("nvmet is loaded, and cannot be seen: {absent}"),
    }
}

/// Loads what it takes to be reached in this way.
pub fn load_transport(system: &System<'_>, transport: &str) -> Result<()> {
    let module = match transport {
        "loop" => "nvme_loop".to_owned(),
        transport => format!("nvmet_{transport}"),
    };
    match system.exists(format!("/sys/module/{module}"))? {
        true => Ok(()),
        false => module::load(system, &module),
    }
}

/// Makes a subsystem, which nobody can reach yet.
pub fn subsystem(system: &System<'_>, nqn: &str) -> Result<()> {
    configfs::make(system, &nvmet::subsystem(nqn))
}

/// Sets what a subsystem says of itself: `serial`, `model`. The kernel takes it
/// until the first client has asked.
pub fn describe(system: &System<'_>, nqn: &str, name: &str, value: &str) -> Result<()> {
    let path = format!("{}/attr_{name}", nvmet::subsystem(nqn));
    if !configfs::exists(system, &path)? {
        bail!("this kernel's nvmet has no {name} to be set");
    }
    if configfs::get(system, &path)? == value {
        return Ok(());
    }
    configfs::set(system, &path, value).with_context(|| {
        format!("{nqn} has another {name}, which cannot change once a client knows it")
    })
}

/// Admits these clients and no other; every one, where none is named.
pub fn admit(system: &System<'_>, nqn: &str, hosts: &[String]) -> Result<()> {
    let place = nvmet::subsystem(nqn);
    let any = format!("{place}/attr_allow_any_host");
    let found = configfs::list(system, &format!("{place}/allowed_hosts"))?.unwrap_or_default();
    for host in found.iter().filter(|host| !hosts.contains(host)) {
        configfs::unlink(system, &format!("{place}/allowed_hosts/{host}"))?;
    }
    // The kernel has either a list or everyone.
    let wanted = if hosts.is_empty() { "1" } else { "0" };
    if configfs::get(system, &any)? != wanted {
        configfs::set(system, &any, wanted)?;
    }
    for host in hosts.iter().filter(|host| !found.contains(host)) {
        let _lock = system.hold(HOSTS)?;
        let at = format!("{ROOT}/hosts/{host}");
        if !configfs::exists(system, &at)? {
            system.write_record(&format!("{HOST}{host}"), nqn)?;
            configfs::make(system, &at)?;
        }
        configfs::link(system, &at, &format!("{place}/allowed_hosts/{host}"))?;
    }
    remove_loose_hosts(system)
}

/// Removes the clients' names from a subsystem.
pub fn admit_nobody(system: &System<'_>, nqn: &str) -> Result<()> {
    let place = format!("{}/allowed_hosts", nvmet::subsystem(nqn));
    for host in configfs::list(system, &place)?.unwrap_or_default() {
        configfs::unlink(system, &format!("{place}/{host}"))?;
    }
    Ok(())
}

/// The hosts that we have made and that no subsystem admits any more.
pub fn loose_hosts(view: &View) -> Result<Vec<String>> {
    let mut made: Vec<String> = view
        .records(HOST, "")?
        .iter()
        .filter_map(|record| record.strip_prefix(HOST))
        .map(str::to_owned)
        .collect();
    if made.is_empty() {
        return Ok(made);
    }
    let Ok(nvmet) = Nvmet::open(view)? else { return Ok(made) };
    for nqn in nvmet.subsystems()?.iter() {
        let place = format!("{}/allowed_hosts", nvmet::subsystem(nqn));
        let admitted = configfs::list(view, &place)?.unwrap_or_default();
        made.retain(|host| !admitted.contains(host));
    }
    Ok(made)
}

/// Removes those. Hosts that somebody else has made stay, with what is set in
/// them.
pub fn remove_loose_hosts(system: &System<'_>) -> Result<()> {
    if loose_hosts(system)?.is_empty() {
        return Ok(());
    }
    let _lock = system.hold(HOSTS)?;
    for host in loose_hosts(system)? {
        configfs::remove(system, &format!("{ROOT}/hosts/{host}"))?;
        system.remove_record(&format!("{HOST}{host}"))?;
    }
    Ok(())
}

/// Removes a subsystem that has no namespaces and is shown nowhere.
pub fn remove_subsystem(system: &System<'_>, nqn: &str) -> Result<()> {
    configfs::remove(system, &nvmet::subsystem(nqn))
}

/// Makes a namespace, and tells it what to show. It is not open yet.
pub fn namespace(system: &System<'_>, nqn: &str, id: u32, wanted: &NewNamespace) -> Result<()> {
    let place = nvmet::namespace(nqn, id);
    configfs::make(system, &place)?;
    configfs::set(system, &format!("{place}/device_uuid"), &wanted.uuid.to_string())?;
    match wanted.nguid {
        Some(nguid) => configfs::set(system, &format!("{place}/device_nguid"), &nguid.to_string()),
        None => Ok(()),
    }
}

/// Opens the disk and shows it.
///
/// nvmet keeps no more than the path that it was given. It is given the disk's
/// number as a path, so that what is open can be told later from what is called
/// so by then.
pub fn enable(system: &System<'_>, nqn: &str, id: u32, path: &str) -> Result<()> {
    let place = nvmet::namespace(nqn, id);
    let number = block::number(system, path).with_context(|| format!("cannot look at {path}"))?;
    let named = number.and_then(|number| by_number(system, number));
    let (given, made) = named.unwrap_or_else(|| (path.to_owned(), false));
    let opened = configfs::set(system, &format!("{place}/device_path"), &given).and_then(|()| {
        configfs::set_apart(system, &format!("{place}/enable"), "1")
            .map_err(|err| anyhow!("nvmet cannot open {path}: {}", err.root_cause()))
    });
    if made {
        // It has been opened, or it never will be by this name.
        let _ = std::fs::remove_file(system.path(&given));
    }
    opened
}

/// The path that has the number for a name, and whether it had to be made: udev
/// makes one for each disk, where it runs.
fn by_number(system: &System<'_>, number: block::Number) -> Option<(String, bool)> {
    let path = format!("{BY_NUMBER}{number}");
    let is_it = || block::number(system, &path).ok().flatten() == Some(number);
    if is_it() {
        return Some((path, false));
    }
    if !system.is_real() || system.exists(&path).ok()? {
        return None;
    }
    system.make_dir(BY_NUMBER).ok()?;
    let device = makedev(number.major.into(), number.minor.into());
    let made = mknod(Path::new(&path), SFlag::S_IFBLK, Mode::S_IRUSR | Mode::S_IWUSR, device);
    system.note(format_args!("mknod {path} = {made:?}"));
    made.ok().filter(|()| is_it()).map(|()| (path, true))
}

/// Closes the disk once what is under way on it has ended.
pub fn disable(system: &System<'_>, nqn: &str, id: u32) -> Result<()> {
    let path = format!("{}/enable", nvmet::namespace(nqn, id));
    match configfs::find(system, &path)?.is_some_and(|value| value != "0") {
        true => configfs::set_apart(system, &path, "0"),
        false => Ok(()),
    }
}

/// Removes a namespace.
pub fn remove_namespace(system: &System<'_>, nqn: &str, id: u32) -> Result<()> {
    configfs::remove(system, &nvmet::namespace(nqn, id))
}

/// The port with this address, made where there is none: its number is the one
/// that is wanted, else the first that is free. The record has the number of
/// the one that we have made.
pub fn port(
    system: &System<'_>,
    address: &Address,
    wanted: Option<u16>,
    record: &str,
) -> Result<u16> {
    let _lock = system.hold(PORTS)?;
    let nvmet = Nvmet::open(system)?.map_err(|absent| anyhow!("nvmet is not there: {absent}"))?;
    let ports = nvmet.ports()?;
    if let Some(port) = ports.iter().find(|port| port.address.is(address)) {
        return Ok(port.id);
    }
    // Where it is damaged, and one may have been begun, no start gets here.
    let noted = noted(system, record).unwrap_or_default();
    let begun = begun(&nvmet, address, noted)?;
    let is_free = |id: &u16| begun == Some(*id) || !ports.iter().any(|port| port.id == *id);
    let id = match wanted {
        Some(id) if is_free(&id) => id,
        Some(id) => {
            let other =
                ports.iter().find(|port| port.id == id).map(|port| port.address.to_string());
            bail!(
                "port {id} is at {} already: set another port_id, or none, for one that is free",
                other.unwrap_or_default()
            );
        }
        None => match begun {
            Some(id) => id,
            None => (0..=u16::MAX).find(is_free).context("nvmet has no port that is free")?,
        },
    };
    system.write_record(record, &id.to_string())?;
    let place = nvmet::port(id);
    match begun == Some(id) {
        true => {}
        // Whoever does not know of our lock may have been faster.
        false => configfs::make_new(system, &place)?,
    }
    let Address { transport, family, address, service } = address;
    // The transport first: it sets others back.
    for (name, value) in
        [("trtype", transport), ("adrfam", family), ("traddr", address), ("trsvcid", service)]
    {
        configfs::set(system, &format!("{place}/addr_{name}"), value)?;
    }
    Ok(id)
}

/// The number of the port that a start has made, or was about to make.
pub fn noted(view: &View, record: &str) -> Result<Option<u16>, Damaged> {
    view.record(record, |text| text.trim_end().parse().ok())
}

/// The port that was being made for this address when its start was cut short:
/// it shows nothing.
pub fn begun(nvmet: &Nvmet<'_>, address: &Address, noted: Option<u16>) -> Result<Option<u16>> {
    let Some(id) = noted else { return Ok(None) };
    let Some(port) = nvmet.port(id)? else { return Ok(None) };
    let is_it = port.address.is_on_its_way_to(address) && nvmet.shown(id)?.is_empty();
    Ok(is_it.then_some(id))
}

/// Shows a subsystem at a port; the first one has it listen. An address that is
/// about to come, as those of IPv6 do, is waited for.
pub fn show(system: &System<'_>, id: u16, address: &Address, nqn: &str) -> Result<()> {
    let to = nvmet::subsystem(nqn);
    let link = format!("{}/subsystems/{nqn}", nvmet::port(id));
    let patience = system.deadline().at_most(system.deadline().left() / 2);
    let mut pace = Pace::new();
    loop {
        let err = match configfs::link(system, &to, &link) {
            Ok(()) => return Ok(()),
            Err(err) => err,
        };
        let why = match child::errno(&err) {
            Some(Errno::EADDRNOTAVAIL) if !patience.has_passed() => {
                pace.rest(patience);
                continue;
            }
            Some(Errno::EADDRNOTAVAIL) => {
                "this machine does not have the address: start it before the port"
            }
            Some(Errno::EADDRINUSE) => "somebody else listens there",
            Some(Errno::ENOENT) => "there is no such subsystem: start it before the port",
            _ => return Err(err).with_context(|| format!("{nqn} cannot be shown at {address}")),
        };
        bail!("{nqn} cannot be shown at {address}: {why}");
    }
}

/// Shows a subsystem no longer at this port, which ends its connections there.
pub fn hide(system: &System<'_>, id: u16, nqn: &str) -> Result<()> {
    configfs::unlink(system, &format!("{}/subsystems/{nqn}", nvmet::port(id)))
}

/// Removes a port that shows nothing any more; whether it did. One that still
/// shows something is others' as well.
pub fn remove_port(system: &System<'_>, id: u16, record: &str) -> Result<bool> {
    let _lock = system.hold(PORTS)?;
    let Ok(nvmet) = Nvmet::open(system)? else { return Ok(true) };
    if !nvmet.shown(id)?.is_empty() {
        system.remove_record(record)?;
        return Ok(false);
    }
    let place = nvmet::port(id);
    for below in ["referrals", "ana_groups"] {
        for name in configfs::list(system, &format!("{place}/{below}"))?.unwrap_or_default() {
            // The first group comes and goes with the port.
            if (below, name.as_str()) != ("ana_groups", "1") {
                configfs::remove(system, &format!("{place}/{below}/{name}"))?;
            }
        }
    }
    configfs::remove(system, &place)?;
    system.remove_record(record)?;
    Ok(true)
}
