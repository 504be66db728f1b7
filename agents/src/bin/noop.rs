//! What a static Rust process costs that does nothing: the yardstick of the
//! benchmark, built as the agents are, and never installed.

fn main() {}
