//! The binary of [`agents::portblock`].
#![no_main]

common::main!(agents::portblock::Portblock);
