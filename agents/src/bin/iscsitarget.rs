//! The binary of [`agents::iscsitarget`].
#![no_main]

common::main!(agents::iscsitarget::Iscsitarget);
