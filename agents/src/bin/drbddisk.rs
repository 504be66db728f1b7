//! The binary of [`agents::drbddisk`].

fn main() -> std::process::ExitCode {
    common::main::<agents::drbddisk::Drbddisk>()
}
