//! IPaddr on real interfaces, with a neighbour that listens.

mod place;
mod record;
mod settle;
mod share;
mod state;
mod wire;

use crate::harness::{Call, Cases, Frame, Machine};
use std::time::Duration;

pub fn cases(cases: &mut Cases) {
    wire::cases(cases);
    place::cases(cases);
    state::cases(cases);
    record::cases(cases);
    settle::cases(cases);
    share::cases(cases);
}

/// The address under test, as most cases have it.
const VIP: &str = "10.0.0.9";

fn vip(machine: &Machine) -> Call {
    machine.agent("IPaddr").set("ip", VIP)
}

/// Only what announces `ip`.
fn announcements(frames: Vec<Frame>, ip: &str) -> Vec<Frame> {
    frames.into_iter().filter(|frame| frame.announces(ip)).collect()
}

const SECOND: Duration = Duration::from_secs(1);
