//! The binary of [`agents::nvmet_namespace`].
#![no_main]

common::main!(agents::nvmet_namespace::NvmetNamespace);
