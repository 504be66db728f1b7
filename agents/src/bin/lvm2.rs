//! The binary of [`agents::lvm2`].
#![no_main]

common::main!(agents::lvm2::Lvm2);
