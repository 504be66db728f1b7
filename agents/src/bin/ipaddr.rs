//! The resource agent `ocf:sturdy:IPaddr`.

fn main() -> std::process::ExitCode {
    common::main::<agents::ipaddr::Ipaddr>()
}
