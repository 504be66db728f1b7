//! Every binary as its callers see it.

fn main() {}
