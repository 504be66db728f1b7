//! What is found on the machine and how it is changed: one file for each
//! facility. Nothing here knows what a cluster is.

pub mod absence;
pub mod address;
pub mod announce;
mod beneath;
pub mod block;
pub mod child;
pub mod clock;
pub mod dm;
pub mod drbd;
pub mod file;
pub mod floor;
pub mod fuser;
pub mod genl;
pub mod holders;
pub mod ifreq;
pub mod io_test;
pub mod journal;
pub mod link;
pub mod lock;
pub mod lookup;
pub mod lvm;
pub mod mount;
pub mod netlink;
pub mod netns;
pub mod nfs;
pub mod pidfd;
pub mod pidlock;
pub mod process;
pub mod program;
pub mod route;
pub mod secret;
pub mod stuck;
pub mod system;
pub mod systemd;
pub(crate) mod tasks;
pub mod xml;
