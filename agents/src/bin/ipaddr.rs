//! The binary of [`agents::ipaddr`].
#![no_main]

common::main!(agents::ipaddr::Ipaddr);
