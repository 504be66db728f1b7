//! The resource agents. Each is one module that says what it sees and how to
//! move, and one binary of three lines.

// Nothing in the environment is needed for static binaries, and nothing in it
// shall make them dynamic: an exported RUSTFLAGS replaces our own flags.
#[cfg(all(not(target_feature = "crt-static"), not(doc)))]
compile_error!("agents have to be static: unset RUSTFLAGS, or add -C target-feature=+crt-static");

mod advice;
mod covered;
pub mod domain_group;
mod domains;
pub mod drbd;
pub mod drbd_fence;
pub mod drbddisk;
pub mod drbdupper;
pub mod exportfs;
pub mod filesystem;
pub mod ipaddr;
mod iscsi;
pub mod iscsi_logical_unit;
pub mod iscsi_target;
pub mod iscsitarget;
pub mod lvm;
pub mod lvm2;
pub mod nfs_common;
pub mod nfs_kernel_server;
pub mod nfsserver;
mod nvmet;
pub mod nvmet_namespace;
pub mod nvmet_port;
pub mod nvmet_subsystem;
pub mod portblock;
mod utilization;
pub mod vblade;
pub mod virtual_domain;
pub mod xen;
pub mod xen_ha;

mod drain;

use common::Agent;
use ocf_meta::Meta;

/// What each agent declares about itself: the list that tests, man pages and
/// packages go through.
pub const ALL: &[&Meta] = &[
    meta_of::<ipaddr::Ipaddr>(),
    meta_of::<filesystem::Filesystem>(),
    meta_of::<drbd::Drbd>(),
    meta_of::<drbddisk::Drbddisk>(),
    meta_of::<drbdupper::Drbdupper>(),
    meta_of::<lvm::Lvm>(),
    meta_of::<lvm2::Lvm2>(),
    meta_of::<exportfs::Exportfs>(),
    meta_of::<nfsserver::Nfsserver>(),
    meta_of::<nfs_common::NfsCommon>(),
    meta_of::<nfs_kernel_server::NfsKernelServer>(),
    meta_of::<iscsitarget::Iscsitarget>(),
    meta_of::<iscsi_target::ISCSITarget>(),
    meta_of::<iscsi_logical_unit::ISCSILogicalUnit>(),
    meta_of::<vblade::Vblade>(),
    meta_of::<portblock::Portblock>(),
    meta_of::<nvmet_subsystem::NvmetSubsystem>(),
    meta_of::<nvmet_namespace::NvmetNamespace>(),
    meta_of::<nvmet_port::NvmetPort>(),
    meta_of::<xen::Xen>(),
    meta_of::<domain_group::DomainGroup>(),
    meta_of::<xen_ha::XenHa>(),
    meta_of::<virtual_domain::VirtualDomain>(),
];

/// The names besides its own under which an agent is installed: those of the
/// agents whose place it takes. Only with them is it enough for a user to
/// change the provider.
pub const ALIASES: &[(&str, &[&str])] =
    &[("IPaddr", &["IPaddr2"]), ("LVM", &["LVM-activate"]), ("vblade", &["AoEtarget"])];

/// The programs that are no agents, each with the other names it answers to.
pub const HANDLERS: &[(&str, &[&str])] = &[("drbd-fence-peer", &["drbd-unfence-peer"])];

const fn meta_of<A: Agent>() -> &'static Meta {
    A::META
}
