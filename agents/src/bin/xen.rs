//! The binary of [`agents::xen`].
#![no_main]

common::main!(agents::xen::Xen);
