//! The binary of [`agents::iscsi_target`].
#![no_main]

common::main!(agents::iscsi_target::ISCSITarget);
