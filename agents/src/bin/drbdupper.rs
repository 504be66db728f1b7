//! The binary of [`agents::drbdupper`].
#![no_main]

common::main!(agents::drbdupper::Drbdupper);
