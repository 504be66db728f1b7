//! `Xen`, `DomainGroup` and `xenHA` on a kernel without Xen: what is not there is
//! proven to be, and files are read before anything is touched.

use crate::harness::{Call, Cases, Machine};

pub fn cases(cases: &mut Cases) {
    cases.add("Xen: what is not there is stopped, in every dialect", absent);
    cases.add("Xen: a guest's file is read before anything is made of it", files);
    cases.add("Xen: where Xen runs and its store is silent, nothing is stopped", silent);
    cases.add("xenHA: what is not there is stopped, in every dialect", absent_group);
    cases.add("DomainGroup: files are read before anything is made of them", group_files);
}

const FILE: &str = "/etc/xen/web.cfg";
const DIRECTORY: &str = "/etc/xen/ha.d";

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

fn absent_group(machine: &Machine) {
    let agent = machine.agent("xenHA");
    agent.action("monitor").exits(7);
    agent.probe().exits(7);
    assert_eq!(agent.heartbeat(&["status"]).exits(3).stdout, "stopped\n");
    agent.action("stop").exits(0);
    agent.action("start").exits(5).because("there is no directory /etc/xen/ha.d");
    machine.must("mkdir", &["-p", DIRECTORY]);
    agent.action("start").exits(5).because("there is no guest's file in /etc/xen/ha.d");
}

fn group_files(machine: &Machine) {
    let agent = machine.agent("DomainGroup");
    with_xl(machine);
    let file = |name: &str, text: &str| machine.file(format!("{DIRECTORY}/{name}"), text);
    file("a", "name = \"web\"\n");
    file("b", "name = \"web\"\n");
    file(".hidden", "import os\n");
    file("b~", "import os\n");
    agent
        .action("start")
        .exits(6)
        .because("/etc/xen/ha.d/a and /etc/xen/ha.d/b both are called web");
    file("b", "def f():\n");
    agent.action("start").exits(6).because("/etc/xen/ha.d/b, line 1: this is Python");
    agent.clone().set("order", "b,c").action("start").exits(6).because("there is no c in");
    agent.clone().set("order", "../b").action("start").exits(6).because("parameter order");
    agent.clone().set("foreign", "kill").action("start").exits(6).because("parameter foreign");
    agent.action("monitor").exits(7);
    agent.action("stop").exits(0);
    assert!(!std::path::Path::new("/tmp/xl.log").exists(), "xl was called");
}
