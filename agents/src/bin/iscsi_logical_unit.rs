//! The binary of [`agents::iscsi_logical_unit`].
#![no_main]

common::main!(agents::iscsi_logical_unit::ISCSILogicalUnit);
