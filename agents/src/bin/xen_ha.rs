//! The binary of [`agents::xen_ha`].
#![no_main]

common::main!(agents::xen_ha::XenHa);
