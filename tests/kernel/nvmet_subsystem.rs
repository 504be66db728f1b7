//! `nvmet-subsystem` on a kernel without nvmet. With it, the drills of the lab
//! are for that.

use crate::harness::{Cases, Machine};

const NQN: &str = "nqn.2014-08.com.example:one";

pub fn cases(cases: &mut Cases) {
    cases.add("nvmet-subsystem: what is not there is stopped, in every dialect", absent);
    cases.add("nvmet-subsystem: a start without the module says so and leaves nothing", without);
}

fn absent(machine: &Machine) {
    let agent = machine.agent("nvmet-subsystem").set("nqn", NQN);
    agent.action("monitor").exits(7);
    agent.probe().exits(7);
    agent.heartbeat(&[NQN, "status"]).exits(3);
    agent.action("stop").exits(0);
}

/// The shell agent answers 5 to a stop as well.
fn without(machine: &Machine) {
    if std::path::Path::new("/sys/module/nvmet").exists() {
        return;
    }
    let agent = machine.agent("nvmet-subsystem").set("nqn", NQN).set("allowed_initiators", "a b");
    agent.action("start").exits(5).because("nvmet");
    agent.action("monitor").exits(7);
    agent.action("stop").exits(0);
    agent.set("nqn", "a/b").action("start").exits(6).because("parameter nqn is no NQN");
}
