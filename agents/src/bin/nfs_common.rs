//! The binary of [`agents::nfs_common`].
#![no_main]

common::main!(agents::nfs_common::NfsCommon);
