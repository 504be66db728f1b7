//! The binary of [`agents::virtual_domain`].
#![no_main]

common::main!(agents::virtual_domain::VirtualDomain);
