//! The binary of [`agents::nfs_kernel_server`].
#![no_main]

common::main!(agents::nfs_kernel_server::NfsKernelServer);
