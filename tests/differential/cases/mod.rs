//! The tables of cases, a file for each agent.

mod drbddisk;
mod exportfs;
mod filesystem;
mod haresources;
mod ipaddr;
mod ipaddr2;
mod portblock;
mod virtual_domain;

use crate::pair::Pair;

/// All cases.
pub fn all() -> Vec<Pair> {
    [
        ipaddr2::pairs(),
        ipaddr::pairs(),
        haresources::pairs(),
        filesystem::pairs(),
        drbddisk::pairs(),
        exportfs::pairs(),
        portblock::pairs(),
        virtual_domain::pairs(),
    ]
    .concat()
}
