//! `Xen` on a kernel without Xen: what is not there is
//! proven to be, and files are read before anything is touched.

use crate::harness::{Call, Cases, Machine};

pub fn cases(cases: &mut Cases) {
    cases.add("Xen: what is not there is stopped, in every dialect", absent);
    cases.add("Xen: a guest's file is read before anything is made of it", files);
    cases.add("Xen: where Xen runs and its store is silent, nothing is stopped", silent);
}

const FILE: &str = "/etc/xen/web.cfg";

fn agent(machine: &Machine) -> Call {
    machine.agent("Xen").set("xmfile", FILE)
}

fn with_xl(machine: &Machine) {
    machine.script("xl", "#!/bin/sh\necho 'xl was called' >> /tmp/xl.log; exit 1\n");
}

fn absent(machine: &Machine) {
    let agent = agent(machine);
    agent.action("monitor").exits(7);
    agent.probe().exits(7);
    agent.heartbeat(&[FILE, "status"]).exits(3);
    agent.action("stop").exits(0);
    // What names it need not be good for a stop.
    agent.clone().set("name", "a/b").action("stop").exits(0);
}

fn files(machine: &Machine) {
    let agent = agent(machine);
    with_xl(machine);
    agent.action("start").exits(5).because("there is no /etc/xen/web.cfg");
    for (text, why) in [
        ("import os\nname = \"web\"\n", "/etc/xen/web.cfg, line 1: this is Python"),
        (
            "name = \"web\"\nmemory = 64 * 2\n",
            "/etc/xen/web.cfg, line 2: this is computed in Python",
        ),
        ("memory = 64\n", "has no name for the guest"),
        ("name = \"a/b\"\n", "cannot be a guest's name"),
        ("name = \"web\"\nuuid = \"1\"\n", "uuid is none"),
    ] {
        machine.file(FILE, text);
        agent.action("start").exits(6).because(why);
        agent.action("monitor").exits(7);
        agent.action("stop").exits(0);
    }
    machine.file(FILE, "name = \"web\"\n");
    agent.clone().set("name", "a/b").action("start").exits(6).because("parameter name");
    let scripts = agent.clone().set("monitor_scripts", "/bin/true true");
    scripts.action("start").exits(6).because("a path that is not absolute: true");
    assert!(!std::path::Path::new("/tmp/xl.log").exists(), "xl was called");
}

/// Only the sign that the kernel gives of Xen, and no daemon.
fn silent(machine: &Machine) {
    let agent = agent(machine);
    machine.must("mkdir", &["-p", "/run/xenstored"]);
    let listener = std::os::unix::net::UnixListener::bind("/run/xenstored/socket");
    let listener = listener.expect("a socket in a machine of the tests");
    let short = agent.timeout(std::time::Duration::from_secs(4));
    short.action("monitor").exits(1).because("no answer from xenstore");
    short.action("stop").exits(1).because("no answer from xenstore");
    drop(listener);
    // Nobody listens there any more, and the kernel knows of no Xen.
    short.action("monitor").exits(7);
}
