//! The binary of [`agents::drbddisk`].
#![no_main]

common::main!(agents::drbddisk::Drbddisk);
