//! The binary of [`agents::nvmet_port`].
#![no_main]

common::main!(agents::nvmet_port::NvmetPort);
