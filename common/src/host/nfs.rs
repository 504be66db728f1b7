//! The kernel's NFS server: what it serves, to whom, and what they hold.
//!
//! | file         | what is in it                                               |
//! |--------------|-------------------------------------------------------------|
//! | `exports.rs` | the table of exports, its client and its changes, and rmtab |
//! | `clients.rs` | the clients of NFSv4, and what they hold                    |
//! | `unlock.rs`  | taking from clients what they hold of a file system         |

pub mod clients;
pub mod exports;
pub mod unlock;
