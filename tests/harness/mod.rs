//! What every tier of the tests is made of.
//!
//! A case is a function that gets a [`Machine`]: mount, network, process,
//! host-name and IPC namespaces of its own, with a root that is copied on
//! write, `/run`, `/tmp` and `/srv` empty, and the agents lying in
//! `/usr/lib/ocf/resource.d/sturdy` and `/etc/ha.d/resource.d`. Whatever a
//! case does, and however it ends, the machine it runs on is as it was.
//!
//! | file         | what is in it                                            |
//! |--------------|----------------------------------------------------------|
//! | `tier.rs`    | the list of cases, what they need, how they are run      |
//! | `runner.rs`  | what is said of a selection of them                      |
//! | `machine.rs` | the namespaces                                           |
//! | `place.rs`   | the names of the agents, and where they lie              |
//! | `call.rs`    | one call of an agent, as Pacemaker, heartbeat or a person |
//! | `program.rs` | any other program                                        |
//! | `net.rs`     | pairs of interfaces, and neighbours on the other end     |
//! | `aoe.rs`     | an initiator of ATA over Ethernet                        |
//! | `wire.rs`    | the frames a neighbour hears                             |
//! | `libvirt.rs` | libvirt's daemon, and guests of qemu's                     |
//! | `tgt.rs`     | tgt's daemon, and an initiator that is a program       |
//! | `disk.rs`    | loop devices with file systems, some that can be frozen  |
//! | `fuse.rs`    | file systems and disks that stop answering               |
//! | `state.rs`   | what the kernel says: addresses, routes, mounts          |
//! | `files.rs`   | every file that a machine has of its own                 |
//! | `older.rs`   | kernels that lack the newer system calls                 |
//! | `wait.rs`    | until something is so, and not for ever                   |
//! | `crash.rs`   | SIGKILL at any instant, and what has to hold then         |
//!
//! The rules of a case: state what is wanted as its name, look at the kernel
//! through `state.rs` (never through the agent alone), and never wait without
//! an end. A case runs on a thread that cannot start threads (its children
//! live in another process namespace): start programs instead.

#![allow(dead_code, reason = "each tier uses its part")]
#![allow(unused_imports, reason = "each tier uses its part")]

mod aoe;
mod call;
mod crash;
mod disk;
mod files;
mod fuse;
mod libvirt;
mod machine;
mod net;
mod older;
mod place;
mod program;
mod runner;
mod state;
mod text;
mod tgt;
mod tier;
mod wait;
mod wire;

pub use aoe::{Initiator, Told};
pub use call::{Call, Outcome, logged};
pub use crash::{Instants, Killed, Trial, kills};
pub use disk::{Disk, Freezer};
pub use files::Files;
pub use fuse::Remote;
pub use libvirt::{Guest, LIBVIRT, Software};
pub use machine::{Machine, staged};
pub use net::Peer;
pub use older::kernel;
pub use place::{AGENTS, HARESOURCES, STOCK, STOCK_HARESOURCES};
pub use program::{Output, Program, Running, bytes};
pub use state::{Address, Mount, State};
pub use tgt::TGT;
pub use tier::{Case, Cases, on_its_own_machine, tier};
pub use wait::wait_until;
pub use wire::{Capture, Frame};
