//! The binary of [`agents::filesystem`].
#![no_main]

common::main!(agents::filesystem::Filesystem);
