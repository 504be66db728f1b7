//! The binary of [`agents::exportfs`].
#![no_main]

common::main!(agents::exportfs::Exportfs);
