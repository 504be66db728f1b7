//! The kernel's NFS server, the daemons that it needs, what it serves, to whom,
//! and what they hold.
//!
//! | file           | what is in it                                               |
//! |----------------|-------------------------------------------------------------|
//! | `server.rs`    | the server's threads: whether there are any, and whose      |
//! | `control.rs`   | how they are started and ended                              |
//! | `wanted.rs`    | what they are to be, told to the child that starts them     |
//! | `told.rs`      | what they are, told by the child that has asked             |
//! | `netlink.rs`   | the kernel's family of that name (Linux 6.10)               |
//! | `proc.rs`      | the same by /proc/fs/nfsd, which older kernels have         |
//! | `daemon.rs`    | mountd, nfsdcld, statd and the like, as processes           |
//! | `conf.rs`      | /etc/nfs.conf                                               |
//! | `state_dir.rs` | /var/lib/nfs, elsewhere                                     |
//! | `exports.rs`   | the table of exports, its client and its changes, and rmtab |
//! | `clients.rs`   | the clients of NFSv4, and what they hold                    |
//! | `unlock.rs`    | taking from clients what they hold of a file system         |

pub mod clients;
pub mod conf;
pub mod control;
pub mod daemon;
pub mod exports;
mod netlink;
mod proc;
pub mod server;
pub mod state_dir;
pub mod tasks;
mod told;
pub mod unlock;
pub mod wanted;
