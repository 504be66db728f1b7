//! The binary of [`agents::vblade`].
#![no_main]

common::main!(agents::vblade::Vblade);
