//! DRBD 8.4 and 9: which resources the kernel has, in what state, and the
//! programs that change it.
//!
//! The kernel is asked by netlink. 8.4 does not answer in network namespaces
//! other than the first: there `/proc/drbd` tells of minors, and the names are
//! in the configuration. Nothing of this runs a program. `drbdsetup` is asked
//! only where a kernel newer than this speaks. A module older than 8.4 is an
//! error, whatever is asked.

mod complaint;
pub mod config;
pub mod state;
pub mod tool;

mod events;
mod netlink;
mod proc;

pub use state::{DiskState, DrbdRole, Fencing, Peer, Resource, Volume};

use crate::host::absence::{Absent, Whole};
use crate::host::floor;
use crate::host::module;
use crate::host::system::View;
use anyhow::{Context, Result, anyhow, bail};
use netlink::Drbd;
use proc::Row;
use std::time::Duration;

/// What the kernel has of a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// There is no DRBD in this kernel.
    NoModule(Absent),
    /// The kernel's DRBD has no such resource.
    Unconfigured(Absent),
    /// It has.
    Configured(Resource),
}

impl Found {
    /// The resource, if the kernel has it.
    pub fn configured(&self) -> Option<&Resource> {
        match self {
            Self::Configured(resource) => Some(resource),
            _ => None,
        }
    }

    /// Proof that the kernel has no such resource.
    pub fn absent(&self) -> Option<&Absent> {
        match self {
            Self::NoModule(absent) | Self::Unconfigured(absent) => Some(absent),
            Self::Configured(_) => None,
        }
    }

    /// Proof that it may not be written here, in no part.
    pub fn demoted(&self) -> Option<Absent> {
        match self {
            Self::Configured(resource) => resource.demoted(),
            _ => self.absent().cloned(),
        }
    }

    /// Whether it may be written here, at least in part.
    pub fn is_primary(&self) -> bool {
        matches!(self, Self::Configured(resource) if resource.is_primary())
    }
}

/// The kernel answers at once; the look after an action that has taken all its
/// time must still be had.
const GRACE: Duration = Duration::from_secs(1);

/// As long as this `drbdsetup` may take in any case.
const LEAST_SHARE: Duration = Duration::from_secs(2);

/// Whether this kernel has DRBD at all.
pub fn is_loaded(view: &View) -> Result<bool> {
    Ok(no_module(view)?.is_none())
}

/// Proof that this kernel has no DRBD; nothing where it has.
fn no_module(view: &View) -> Result<Option<Absent>> {
    module::absent(view, "drbd", "DRBD", "/proc/drbd")
}

/// What the kernel has of the resource. An error means that it cannot be told,
/// never that it is not there.
pub fn find(view: &View, name: &str) -> Result<Found> {
    if let Some(absent) = no_module(view)? {
        return Ok(Found::NoModule(absent));
    }
    let found = match gather(view, Some(name), |drbd| drbd.resource(name))? {
        Way::Netlink(told) => return Ok(told.map_or_else(Found::Unconfigured, Found::Configured)),
        Way::Other(found) => found,
    };
    let ours = |resource: &Resource| resource.name == name;
    if let Some(absent) = found.lacks(ours) {
        return Ok(Found::Unconfigured(absent));
    }
    let found = found.into_items().into_iter().find(ours);
    found.map(Found::Configured).context("a list that lacks nothing and has nothing")
}

/// All resources that the kernel has, or the proof that there is no DRBD in it.
pub fn all(view: &View) -> Result<Result<Whole<Resource>, Absent>> {
    if let Some(absent) = no_module(view)? {
        return Ok(Err(absent));
    }
    let (Way::Netlink(found) | Way::Other(found)) = gather(view, None, Drbd::resources)?;
    Ok(Ok(found))
}

/// The resources of which the kernel tells, for advice: where it does not, none.
pub fn known(view: &View) -> Vec<Resource> {
    match all(view) {
        Ok(Ok(found)) => found.into_items(),
        _ => Vec::new(),
    }
}

/// The version of the kernel's DRBD, as it prints it: `8.4.11`.
pub fn release(view: &View) -> Result<String> {
    match view.exists("/proc/drbd") {
        Ok(false) => {
            let release = view.read("/sys/module/drbd/version");
            Ok(release.context("cannot read the version of DRBD")?.trim().to_owned())
        }
        _ => proc::release(&proc_drbd(view)?).map_err(strange),
    }
}

/// The version of the kernel's DRBD: 8, 4 for 8.4.11.
pub fn version(view: &View) -> Result<(u32, u32)> {
    let release = release(view)?;
    floor::check("DRBD", &release, floor::DRBD)?;
    floor::version(&release).ok_or_else(|| anyhow!("DRBD has a strange version: `{release}`"))
}

/// By which way the kernel's DRBD has answered.
enum Way<T> {
    /// To a question of ours.
    Netlink(T),
    /// With a list of what was asked for, got by another way.
    Other(Whole<Resource>),
}

fn gather<T>(
    view: &View,
    name: Option<&str>,
    ask: impl FnOnce(&mut Drbd) -> Result<T>,
) -> Result<Way<T>> {
    let listed = |found| Way::Other(Whole::told("DRBD resources", found));
    let deadline = view.deadline().at_least(GRACE);
    let asked = match view.is_real() {
        true => Drbd::open(deadline).and_then(|drbd| drbd.map(|mut it| ask(&mut it)).transpose()),
        false => Ok(None),
    };
    match asked {
        Ok(Some(told)) => Ok(Way::Netlink(told)),
        Ok(None) if version(view)? < (9, 0) => by_minors(view, name).map(listed),
        Ok(None) => {
            let why = "the kernel's DRBD does not answer in this network namespace";
            by_program(view, name).map(listed).map_err(|err| anyhow!("{why}: {err:#}"))
        }
        Err(why) => {
            view.note(format_args!("{why:#}; asking drbdsetup instead"));
            by_program(view, name).map(listed).map_err(|err| anyhow!("{why:#}: {err:#}"))
        }
    }
}

/// The program asks the kernel in turn, and may be stuck there for ever: it
/// gets a share of the time, and whoever asked has some left to say so.
fn by_program(view: &View, name: Option<&str>) -> Result<Vec<Resource>> {
    let mut words = vec!["events2", "--now"];
    words.extend(name);
    let share = (view.deadline().left() / 4).max(LEAST_SHARE);
    let said = view.query_within(share, "drbdsetup", &words)?;
    if !said.success() {
        bail!("drbdsetup {}: {}", words.join(" "), complaint::complaint(&said));
    }
    events::parse(&said.stdout).map_err(|why| anyhow!("drbdsetup {}: {why}", words.join(" ")))
}

fn proc_drbd(view: &View) -> Result<String> {
    view.read("/proc/drbd").context("cannot read /proc/drbd")
}

fn strange(why: String) -> anyhow::Error {
    anyhow!("cannot make sense of /proc/drbd: {why}")
}

/// From a network namespace in which 8.4 does not answer.
fn by_minors(view: &View, name: Option<&str>) -> Result<Vec<Resource>> {
    let rows = proc::rows(&proc_drbd(view)?).map_err(strange)?;
    let Some(name) = name else { return Ok(named(view, rows)) };
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let minors = minors(view, name).with_context(|| {
        format!("/proc/drbd knows devices only by number, and resource {name} has none")
    })?;
    let (ours, others): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|row| minors.contains(&row.minor));
    if ours.is_empty() {
        // It may have come up before the configuration gave it other numbers.
        if let Some(nobodys) = unclaimed(view, others)?.first() {
            let minor = nobodys.minor;
            bail!(
                "/proc/drbd knows devices only by number, and may have {name} as number {minor}, \
                 which the configuration gives to no resource"
            );
        }
        return Ok(Vec::new());
    }
    let mut resource = Resource::new(name.to_owned());
    ours.into_iter().for_each(|row| take(&mut resource, row));
    Ok(vec![resource])
}

/// The rows that the configuration gives to no resource on this node.
fn unclaimed(view: &View, mut rows: Vec<Row>) -> Result<Vec<Row>> {
    let (config, node) = (config::read(view, None)?, node(view)?);
    for name in config.resources() {
        let minors = config.here(name, &node).map(|it| it.minors()).unwrap_or_default();
        rows.retain(|row| !minors.contains(&row.minor));
    }
    Ok(rows)
}

/// This node, as the configuration calls it.
pub fn node(view: &View) -> Result<String> {
    let name = view.read("/proc/sys/kernel/hostname").context("cannot read the host's name")?;
    Ok(name.trim().to_owned())
}

/// The minors that the configuration gives the resource on this node.
fn minors(view: &View, name: &str) -> Result<Vec<u32>> {
    let config = config::read(view, None)?;
    let node = node(view)?;
    let resource =
        config.here(name, &node).ok_or_else(|| anyhow!("it is not in the configuration"))?;
    let minors = resource.minors();
    if minors.is_empty() {
        bail!("the configuration gives it no device on {node}");
    }
    Ok(minors)
}

/// The rows as the resources that the configuration makes of them. What it
/// does not know, or all where it cannot be read, is called by its number.
fn named(view: &View, mut rows: Vec<Row>) -> Vec<Resource> {
    let names = config::read(view, None)
        .map(|config| config.resources().map(str::to_owned).collect::<Vec<_>>());
    let mut resources = Vec::new();
    for name in names.unwrap_or_default() {
        let minors = minors(view, &name).unwrap_or_default();
        let (its, others) = rows.into_iter().partition(|row| minors.contains(&row.minor));
        rows = others;
        let mut resource = Resource::new(name);
        Vec::into_iter(its).for_each(|row| take(&mut resource, row));
        resources.extend((!resource.volumes.is_empty()).then_some(resource));
    }
    resources.extend(rows.into_iter().map(nameless));
    resources
}

fn nameless(row: Row) -> Resource {
    let mut resource = Resource::new(format!("drbd{}", row.minor));
    take(&mut resource, row);
    resource
}

fn take(resource: &mut Resource, row: Row) {
    let number = u32::try_from(resource.volumes.len()).unwrap_or(u32::MAX);
    let (minor, backing, client, quorum) = (Some(row.minor), None, false, true);
    resource.add(Volume { number, minor, role: row.role, disk: row.disk, backing, client, quorum });
    let disk = (number, row.peer_disk);
    match resource.peers.first_mut() {
        Some(peer) => {
            if row.peer == DrbdRole::Primary {
                peer.role = row.peer;
            }
            peer.disks.push(disk);
        }
        None => resource.peers.push(Peer {
            name: String::new(),
            node: 0,
            connection: row.connection,
            role: row.peer,
            disks: vec![disk],
        }),
    }
}

/// What 8.4 was once heard to tell of a resource.
#[cfg(feature = "testing")]
pub(crate) fn replayed(messages: &str, name: &str) -> Resource {
    netlink::replay_status(messages, name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Files;

    /// Two devices: one Primary and whole, one without its peer.
    const ROWS: &str = "version: 8.4.11 (api:1/proto:86-101)\n\n \
        0: cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate C r-----\n\n \
        2: cs:WFConnection ro:Secondary/Unknown ds:Inconsistent/DUnknown C r-----\n";

    crate::machine_of_files!(Fake);

    impl Fake {
        fn new() -> Self {
            let files = Files::new();
            files.file("/proc/self/comm", "x").file("/sys/module/loop/refcnt", "0");
            files.file("/proc/sys/kernel/hostname", "node1\n");
            Self(files)
        }

        fn find(&self, name: &str) -> Result<Found> {
            find(&self.view(), name)
        }
    }

    #[test]
    fn a_kernel_without_the_module_has_nothing() {
        assert!(matches!(Fake::new().find("r1").unwrap(), Found::NoModule(_)));
    }

    #[test]
    fn without_proc_or_sys_nothing_is_proven() {
        let bare = Fake(Files::new());
        assert!(bare.find("r1").unwrap_err().to_string().contains("not mounted"));
    }

    #[test]
    fn an_empty_list_of_modules_proves_nothing() {
        let fake = Fake::new();
        std::fs::remove_dir_all(fake.root().join("sys/module/loop")).unwrap();
        assert!(fake.find("r1").unwrap_err().to_string().contains("not mounted"));
    }

    #[test]
    fn a_number_that_the_configuration_has_forgotten_may_be_ours() {
        let fake = Fake::new();
        fake.file("/proc/drbd", ROWS).file(
            "/etc/drbd.conf",
            "resource r1 { device minor 7; } resource r2 { device minor 2; }",
        );
        let err = format!("{:#}", fake.find("r1").unwrap_err());
        assert!(err.contains("may have r1 as number 0"), "{err}");
    }

    #[test]
    fn where_eight_four_tells_numbers_the_configuration_has_the_names() {
        let fake = Fake::new();
        fake.file("/proc/drbd", ROWS).file(
            "/etc/drbd.conf",
            "resource r1 { on node1 { device /dev/drbd0; } } \
             resource r2 { device minor 2; } resource r3 { device minor 1; }",
        );
        assert!(fake.find("r1").unwrap().is_primary());
        let Found::Configured(second) = fake.find("r2").unwrap() else { panic!("not found") };
        assert_eq!((second.role, second.disks().as_str()), (DrbdRole::Secondary, "Inconsistent"));
        assert_eq!(second.peers[0].connection, "WFConnection");
        assert!(matches!(fake.find("r3").unwrap(), Found::Unconfigured(_)));
    }

    #[test]
    fn where_eight_four_tells_numbers_all_have_the_names_of_the_configuration() {
        let fake = Fake::new();
        fake.file("/proc/drbd", ROWS);
        let names = |fake: &Fake| {
            let found = all(&fake.view()).unwrap().unwrap();
            found.into_items().into_iter().map(|resource| resource.name).collect::<Vec<_>>()
        };
        assert!(names(&fake).contains(&"drbd0".to_owned()));
        fake.file("/etc/drbd.conf", "resource r1 { on node1 { device /dev/drbd0; } }");
        let names = names(&fake);
        assert!(names.contains(&"r1".to_owned()) && !names.contains(&"drbd0".to_owned()));
    }

    #[test]
    fn a_name_without_a_minor_is_doubt() {
        let fake = Fake::new();
        fake.file("/proc/drbd", ROWS);
        assert!(format!("{:#}", fake.find("r1").unwrap_err()).contains("/etc/drbd.conf"));
        fake.file("/etc/drbd.conf", "resource r2 { device minor 2; }");
        assert!(format!("{:#}", fake.find("r1").unwrap_err()).contains("not in the configuration"));
    }

    #[test]
    fn with_nothing_configured_no_name_is_needed() {
        let fake = Fake::new();
        fake.file("/proc/drbd", "version: 8.4.11 (api:1/proto:86-101)\n 0: cs:Unconfigured\n");
        assert!(matches!(fake.find("r1").unwrap(), Found::Unconfigured(_)));
    }

    #[test]
    fn a_module_older_than_eight_four_is_told_so_and_never_taken_for_empty() {
        for (release, row) in [
            ("0.7.10", " 1: cs:Connected st:Secondary/Secondary ld:Consistent\n"),
            ("8.2.6", " 1: cs:Unconfigured\n"),
            ("8.3.13", ""),
        ] {
            let fake = Fake::new();
            fake.file("/proc/drbd", &format!("version: {release} (api:88/proto:86)\n{row}"));
            fake.file("/etc/drbd.conf", "resource r1 { device minor 1; }");
            let refused = fake.find("r1").unwrap_err();
            assert_eq!(
                refused.to_string(),
                format!("this kernel's DRBD is {release}; 8.4 or later is needed")
            );
            assert!(refused.is::<floor::TooOld>() && all(&fake.view()).is_err());
        }
    }

    #[test]
    fn a_nine_that_does_not_answer_is_doubt() {
        let fake = Fake::new();
        fake.file("/proc/drbd", include_str!("../../../tests/data/drbd/proc-9.0.28"));
        let doubt = fake.find("r1").unwrap_err();
        assert!(doubt.to_string().contains("does not answer"));
        // A program that is missing is no part of DRBD that is: the cluster must
        // not take the one for the other.
        let is_missing =
            |cause: &(dyn std::error::Error + 'static)| cause.is::<crate::host::program::Missing>();
        assert!(!doubt.chain().any(is_missing) && doubt.to_string().contains("not installed"));
    }

    #[test]
    fn a_version_is_told_also_without_proc_drbd() {
        let fake = Fake::new();
        fake.file("/sys/module/drbd/version", "9.2.12\n");
        assert_eq!(version(&fake.view()).unwrap(), (9, 2));
        assert_eq!(release(&fake.view()).unwrap(), "9.2.12");
        fake.file("/sys/module/drbd/version", "newest\n");
        assert!(version(&fake.view()).is_err() && fake.find("r1").is_err());
    }

    #[test]
    fn a_primary_peer_of_any_volume_is_a_primary_peer() {
        let fake = Fake::new();
        let row = |minor, peer| {
            format!(" {minor}: cs:Connected ro:Secondary/{peer} ds:UpToDate/UpToDate C r-----\n")
        };
        let rows = format!("version: 8.4.11 (api:1)\n{}{}", row(1, "Secondary"), row(2, "Primary"));
        fake.file("/proc/drbd", &rows).file(
            "/etc/drbd.conf",
            "resource r1 { volume 0 { device minor 1; } volume 1 { device minor 2; } }",
        );
        let Found::Configured(found) = fake.find("r1").unwrap() else { panic!("not found") };
        assert!(found.has_primary_peer() && found.volumes.len() == 2);
    }
}
