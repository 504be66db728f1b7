//! Debian's shell agents and ours, side by side.

fn main() {}
