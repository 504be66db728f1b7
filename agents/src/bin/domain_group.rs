//! The binary of [`agents::domain_group`].
#![no_main]

common::main!(agents::domain_group::DomainGroup);
