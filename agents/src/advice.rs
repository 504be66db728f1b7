//! What `explain` says of a failover that will go wrong, and that no action can
//! see by itself: in which order heartbeat or Pacemaker would start what lies on
//! DRBD, and who else takes the disks. What an agent says of its own is in its
//! `advice.rs`; here is what several share.

pub(crate) mod constraints;
pub(crate) mod haresources;
pub(crate) mod visibility;
