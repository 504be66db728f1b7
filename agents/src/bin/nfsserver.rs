//! The binary of [`agents::nfsserver`].
#![no_main]

common::main!(agents::nfsserver::Nfsserver);
