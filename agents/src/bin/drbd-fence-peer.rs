//! The binary of [`agents::drbd_fence`].
#![no_main]

common::handler!(agents::drbd_fence::FencePeer);
