//! The binary of [`agents::lvm`].
#![no_main]

common::main!(agents::lvm::Lvm);
