//! `nvmet-namespace` on a kernel without nvmet. With it, the drills of the lab
//! are for that.

use crate::harness::{Cases, Machine};

const NQN: &str = "nqn.2014-08.com.example:one";
const UUID: &str = "8b0c6a5e-0e1a-4c57-9d1a-5b7a3a2f4e10";

pub fn cases(cases: &mut Cases) {
    cases.add("nvmet-namespace: what is not there is stopped, in every dialect", absent);
    cases
        .add("nvmet-namespace: a start says what is missing, and a stop needs none of it", missing);
}

fn absent(machine: &Machine) {
    let agent = machine.agent("nvmet-namespace").set("nqn", NQN);
    agent.action("monitor").exits(7);
    agent.probe().exits(7);
    agent.heartbeat(&[NQN, "/dev/gone", UUID, "status"]).exits(3);
    agent.action("stop").exits(0);
}

fn missing(machine: &Machine) {
    let agent = machine.agent("nvmet-namespace").set("nqn", NQN).set("uuid", UUID);
    let agent = agent.set("backing_path", "/dev/gone");
    agent.action("start").exits(5).because("there is no /dev/gone");
    machine.must("ln", &["-s", "/dev/gone", "/srv/disk"]);
    let dangling = agent.clone().set("backing_path", "/srv/disk");
    dangling.action("start").exits(5).because("/srv/disk leads nowhere");
    for agent in [agent.clone(), dangling, agent.clone().set("uuid", "odd")] {
        agent.action("monitor").exits(7);
        agent.action("stop").exits(0);
    }
    agent.clone().set("uuid", "odd").action("start").exits(6).because("parameter uuid is no UUID");
    agent.clone().set("namespace_id", "0").action("start").exits(6).because("namespace_id");
    agent.set("backing_path", "/srv").action("start").exits(6).because("is a directory");
}
