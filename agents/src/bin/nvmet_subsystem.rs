//! The binary of [`agents::nvmet_subsystem`].
#![no_main]

common::main!(agents::nvmet_subsystem::NvmetSubsystem);
