//! The binary of [`agents::drbd`].
#![no_main]

common::main!(agents::drbd::Drbd);
