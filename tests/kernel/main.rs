//! The agents on a real kernel: real mounts on loop devices, real addresses,
//! frames heard by a neighbour. A file for each agent.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    unreachable_pub,
    reason = "tests look with their own eyes, and fail loudly"
)]

mod configfs;
mod crash;
mod domain_group;
mod drbd;
mod drbddisk;
mod exportfs;
mod filesystem;
mod filesystem_safety;
#[path = "../harness/mod.rs"]
mod harness;
mod ipaddr;
mod iscsi;
mod itself;
mod lvm;
mod nfsserver;
mod nvmet_namespace;
mod nvmet_port;
mod nvmet_subsystem;
mod pacemaker;
mod portblock;
mod under_way;
mod vblade;
mod virtual_domain;
mod xen;

fn main() -> std::process::ExitCode {
    harness::tier("kernel", |cases| {
        // The longest first, beside which others are run.
        pacemaker::cases(cases);
        drbd::cases(cases);
        drbddisk::cases(cases);
        filesystem::cases(cases);
        filesystem_safety::cases(cases);
        ipaddr::cases(cases);
        itself::cases(cases);
        lvm::cases(cases);
        crash::cases(cases);
        under_way::cases(cases);
        exportfs::cases(cases);
        nfsserver::cases(cases);
        iscsi::cases(cases);
        configfs::cases(cases);
        vblade::cases(cases);
        portblock::cases(cases);
        nvmet_subsystem::cases(cases);
        nvmet_namespace::cases(cases);
        nvmet_port::cases(cases);
        xen::cases(cases);
        domain_group::cases(cases);
        virtual_domain::cases(cases);
    })
}
