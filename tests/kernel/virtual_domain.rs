//! `VirtualDomain` with libvirt's daemon and guests of qemu's.

mod faults;
mod migration;

use crate::harness::{self, Call, Case, Cases, Guest, LIBVIRT, Machine, Software, Trial};
use std::time::Duration;

pub fn cases(cases: &mut Cases) {
    cases.add("VirtualDomain: what is not there is stopped, in every dialect", absent);
    let mut add = |name: &str, run: fn(&Machine)| {
        cases.push(Case::new(format!("VirtualDomain: {name}"), run).needs(LIBVIRT));
    };
    add("a guest is started, watched, asked to shut down, and gone", life);
    add("a guest that somebody has started is taken for what it is", adopted);
    add("a guest that does not hear is destroyed before the time is over", deaf);
    add("a guest's memory is saved by stop, and gone on from once", memory);
    add("an image is made from a backing file once, or for each start", image);
    add("what was changed on a guest is saved, with the file's rights", saved);
    add("what libvirt has defined is not started with the machine any more", defined);
    add("pools and networks of a guest are started before it, or named", resources);
    add("the variables of a guest's firmware are kept", variables);
    add("what runs in the guest has to be well, and a probe does not ask", scripts);
    add("a monitor starts no program and opens a handful of files", spare);
    add("a guest of another hypervisor is asked for at libvirt", by_daemon);
    add("a guest's figures are told to the cluster once", figures);
    faults::cases(&mut add);
    migration::cases(&mut add);
    cases.killed_with(LIBVIRT, "VirtualDomain:", |machine| {
        machine.libvirt();
        let guest = machine.guest("web", Software::Sleeper);
        let agent = agent(machine, &guest).set("force_stop", "yes");
        Trial::of(agent, is_up).times(40)
    });
}

type Add<'a> = dyn FnMut(&str, fn(&Machine)) + 'a;

fn is_up(machine: &Machine) -> bool {
    machine.guest_is_up("web")
}

/// The agent, with time enough for an emulated guest on a busy machine.
fn agent(machine: &Machine, guest: &Guest) -> Call {
    let agent = machine.agent("VirtualDomain").timeout(Duration::from_secs(40));
    // Nobody is there to be told.
    let figures = ["cpu", "host_memory", "hv_memory"];
    let agent = figures
        .iter()
        .fold(agent, |agent, name| agent.set(&format!("autoset_utilization_{name}"), "no"));
    agent.set("config", &guest.config)
}

/// A machine with libvirt and a guest that hears.
fn with_guest(machine: &Machine) -> (Guest, Call) {
    machine.libvirt();
    let guest = machine.guest("web", Software::Sleeper);
    let agent = agent(machine, &guest);
    (guest, agent)
}

fn absent(machine: &Machine) {
    let agent = machine.agent("VirtualDomain").set("config", "/srv/web.xml");
    agent.action("monitor").exits(7);
    agent.probe().exits(7);
    let status = agent.heartbeat(&["/srv/web.xml", "status"]).exits(3);
    assert_eq!(status.stdout, "stopped\n");
    agent.action("stop").exits(0);
    agent.action("start").exits(5).because("/srv/web.xml is not there");
    machine.file("/srv/web.xml", "<domain><name>web</name>");
    agent.action("start").exits(5).because("/srv/web.xml is no definition of a guest");
    agent.action("migrate_to").exits(1).because("cannot be moved: the resource is stopped");
    agent.action("migrate_from").exits(1).because("web was not moved here");
}

fn life(machine: &Machine) {
    let (_guest, agent) = with_guest(machine);
    agent.probe().exits(7);
    agent.action("start").exits(0);
    let pids = machine.guest_pids("web");
    assert_eq!(pids.len(), 1);
    agent.action("monitor").exits(0);
    agent.probe().exits(0);
    agent.action("start").exits(0);
    assert_eq!(machine.guest_pids("web"), pids);
    machine.await_boot("web");
    // A guest that starts itself anew is not dead.
    machine.virsh(&["reset", "web"]);
    agent.action("monitor").exits(0);
    std::thread::sleep(Duration::from_secs(3));
    let stop = agent.action("stop").exits(0);
    assert!(stop.took < Duration::from_secs(20), "it was asked, and has heard: {}", *stop);
    assert!(!machine.guest_runs("web"));
    agent.probe().exits(7);
    agent.action("stop").exits(0);
    // The daemon hears of the end by and by.
    wait_until("libvirt has none", || {
        machine.virsh(&["list", "--all", "--name"]).trim().is_empty()
    });
}

fn adopted(machine: &Machine) {
    let (guest, agent) = with_guest(machine);
    machine.virsh(&["create", &guest.config]);
    agent.probe().exits(0);
    agent.action("monitor").exits(0);
    // A monitor has noted it.
    machine.must("rm", &[&guest.config]);
    agent.action("monitor").exits(0);
    agent.clone().set("force_stop", "yes").action("stop").exits(0);
    assert!(!machine.guest_runs("web"));
}

fn deaf(machine: &Machine) {
    machine.libvirt();
    let guest = machine.guest("web", Software::Writer);
    let agent = agent(machine, &guest);
    agent.action("start").exits(0);
    let stop = agent.clone().timeout(Duration::from_secs(12)).action("stop").exits(0);
    assert!(stop.took > Duration::from_secs(5), "it was waited for: {}", *stop);
    assert!(!machine.guest_runs("web"));
    agent.probe().exits(7);
}

fn memory(machine: &Machine) {
    let (_guest, agent) = with_guest(machine);
    machine.must("mkdir", &["/srv/memory"]);
    let agent = agent.set("snapshot", "/srv/memory");
    agent.clone().set("force_stop", "yes").action("start").exits(6).because("exclude each other");
    agent.action("start").exits(0);
    machine.await_boot("web");
    agent.action("stop").exits(0);
    assert!(!machine.guest_runs("web"));
    assert_eq!(machine.must("ls", &["/srv/memory"]), "web.state\n");
    machine.must("truncate", &["-s0", "/srv/web.serial"]);
    agent.action("start").exits(0);
    agent.action("monitor").exits(0);
    // It has gone on, and has not begun anew; and what it went on from is gone.
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(std::fs::read("/srv/web.serial").unwrap_or_default(), b"");
    assert_eq!(machine.must("ls", &["/srv/memory"]), "");
    agent.action("stop").exits(0);
    // What cannot be gone on from is named, and kept.
    machine.file("/srv/memory/web.state", "no memory");
    agent.action("start").exits(1).because("cannot start web");
    assert_eq!(machine.must("ls", &["/srv/memory"]), "web.state\n");
    agent.probe().exits(7);
}

fn image(machine: &Machine) {
    let (guest, agent) = with_guest(machine);
    machine.must("mv", &["/srv/web.img", "/srv/golden.img"]);
    let text = std::fs::read_to_string(&guest.config).expect("it was made");
    let text = text.replace("/srv/web.img", "/srv/web.qcow2").replace("type='raw'", "type='qcow2'");
    machine.file(&guest.config, &text);
    let agent = agent.set("backingfile", "/srv/golden.img").set("force_stop", "yes");
    let inode = || machine.must("stat", &["-c", "%i", "/srv/web.qcow2"]);
    agent.action("start").exits(0);
    machine.await_boot("web");
    let first = inode();
    agent.action("stop").exits(0);
    agent.action("start").exits(0);
    assert_eq!(inode(), first);
    agent.action("stop").exits(0);
    agent.clone().set("stateless", "yes").action("start").exits(0);
    assert_ne!(inode(), first);
    agent.action("stop").exits(0);
    agent.probe().exits(7);
    agent.clone().set("backingfile", "").set("stateless", "1").action("start").exits(6);
}

fn saved(machine: &Machine) {
    let (guest, agent) = with_guest(machine);
    machine.must("mkdir", &["/srv/shared"]);
    machine.must("mv", &[&guest.config, "/srv/shared/web.xml"]);
    machine.must("ln", &["-s", "/srv/shared/web.xml", &guest.config]);
    machine.must("chmod", &["640", "/srv/shared/web.xml"]);
    let agent = agent.set("save_config_on_stop", "yes").set("force_stop", "yes");
    agent.action("start").exits(0);
    machine.virsh(&["desc", "web", "--live", "changed by hand"]);
    agent.action("monitor").exits(0);
    agent.action("stop").exits(0);
    let text = std::fs::read_to_string("/srv/shared/web.xml").expect("it is there");
    assert!(text.contains("changed by hand") && text.ends_with("</domain>\n"), "{text}");
    assert_eq!(machine.must("stat", &["-c", "%a %F", "/srv/shared/web.xml"]), "640 regular file\n");
    assert_eq!(machine.must("ls", &["/srv/shared"]), "web.xml\n");
    agent.action("start").exits(0);
    agent.action("stop").exits(0);
}

fn defined(machine: &Machine) {
    let (guest, agent) = with_guest(machine);
    let agent = agent.set("force_stop", "yes");
    machine.virsh(&["define", &guest.config]);
    machine.virsh(&["autostart", "web"]);
    agent.probe().exits(7);
    agent.action("start").exits(0);
    agent.action("stop").exits(0);
    assert_eq!(machine.virsh(&["list", "--all", "--name"]).trim(), "");
    // In libvirt's own directory the definition would go with it.
    machine.virsh(&["define", &guest.config]);
    machine.virsh(&["autostart", "web"]);
    let agent = agent.set("config", "/etc/libvirt/qemu/web.xml");
    agent.action("start").exits(0);
    assert!(std::path::Path::new("/etc/libvirt/qemu/web.xml").exists());
    agent.action("stop").exits(0);
    assert_eq!(machine.virsh(&["list", "--all", "--autostart", "--name"]).trim(), "");
    assert_eq!(machine.virsh(&["list", "--all", "--name"]).trim(), "web");
    agent.probe().exits(7);
}

fn scripts(machine: &Machine) {
    let (_guest, agent) = with_guest(machine);
    let script = machine.script("ask-the-guest", "#!/bin/sh\necho asked >>/tmp/asked\nif test -e /tmp/well; then exit 0; fi\necho not well yet\nexit 3\n");
    let agent = agent.set("monitor_scripts", script).set("force_stop", "yes");
    let starting = agent.spawn("start");
    wait_until("the script is called", || std::path::Path::new("/tmp/asked").exists());
    machine.file("/tmp/well", "");
    assert_eq!(starting.wait(Duration::from_secs(40)).code, Some(0));
    agent.action("monitor").exits(0);
    machine.must("rm", &["/tmp/well", "/tmp/asked"]);
    agent.action("monitor").exits(1).because("ask-the-guest says 3: not well yet");
    machine.must("rm", &["/tmp/asked"]);
    agent.probe().exits(0);
    assert!(!std::path::Path::new("/tmp/asked").exists());
    agent.action("stop").exits(0);
}

fn spare(machine: &Machine) {
    let (_guest, agent) = with_guest(machine);
    let agent = agent.set("force_stop", "yes");
    agent.action("start").exits(0);
    agent.action("monitor").exits(0);
    let path = agent.path().display();
    let line = format!(
        "OCF_ROOT=/usr/lib/ocf OCF_RESOURCE_INSTANCE=test OCF_RESKEY_config=/srv/web.xml \
         OCF_RESKEY_CRM_meta_interval=10000 OCF_RESKEY_autoset_utilization_cpu=no \
         OCF_RESKEY_autoset_utilization_host_memory=no OCF_RESKEY_autoset_utilization_hv_memory=no \
         strace -f -e trace=process,network,open,openat,openat2 -o /run/trace {path} monitor"
    );
    machine.must("sh", &["-c", &line]);
    let trace = std::fs::read_to_string("/run/trace").expect("strace has written it");
    let count = |part: &str| trace.lines().filter(|line| line.contains(part)).count();
    assert_eq!(
        (count("execve("), count("fork") + count("clone"), count("connect(")),
        (1, 0, 0),
        "{trace}"
    );
    assert!(count("open") <= 8, "{trace}");
    agent.action("stop").exits(0);
}

/// libvirt's driver for tests forgets its guests with its last connection.
fn by_daemon(machine: &Machine) {
    machine.libvirt();
    let uri = "test+unix:///default";
    machine.must("sh", &["-c", &format!("setsid virsh -c {uri} event --loop --event lifecycle >/tmp/events 2>&1 </dev/null & sleep 0.5")]);
    machine.file("/srv/one.xml", "<domain type='test'><name>one</name><memory>8192</memory><os><type>hvm</type></os></domain>");
    let agent = machine.agent("VirtualDomain").set("config", "/srv/one.xml").set("hypervisor", uri);
    agent.probe().exits(7);
    agent.action("start").exits(0);
    agent.action("monitor").exits(0);
    machine.must("virsh", &["-q", "-c", uri, "suspend", "one"]);
    agent.action("monitor").exits(190).because("one: somebody has paused it");
    machine.must("virsh", &["-q", "-c", uri, "resume", "one"]);
    agent.action("stop").exits(0);
    agent.probe().exits(7);
    machine.kill_libvirt();
    agent.action("monitor").exits(1).because("libvirt does not run");
    agent.action("stop").exits(1).because("libvirt does not run");
}

fn figures(machine: &Machine) {
    let (guest, _) = with_guest(machine);
    machine.script(
        "crm_resource",
        "#!/bin/sh\necho \"$@\" >>/tmp/told\ncase \"$*\" in *--get-parameter*) exit 6;; esac\n",
    );
    let agent = machine.agent("VirtualDomain").timeout(Duration::from_secs(40));
    let agent = agent.set("config", &guest.config).set("force_stop", "yes");
    let agent =
        agent.set("autoset_utilization_hv_memory", "no").set("unset_utilization_hv_memory", "yes");
    let told = || std::fs::read_to_string("/tmp/told").unwrap_or_default();
    agent.action("start").exits(0);
    agent.probe().exits(0);
    assert_eq!(told(), "");
    agent.action("monitor").exits(0);
    let first = told();
    for part in [
        "--resource test --utilization --set-parameter cpu --parameter-value 1\n",
        "--resource test --utilization --set-parameter host_memory --parameter-value 16\n",
    ] {
        assert!(first.contains(part), "{first}");
    }
    assert!(!first.contains("--set-parameter hv_memory"), "{first}");
    agent.action("monitor").exits(0);
    // The guest's file is another one, and says the same.
    machine.virsh(&["suspend", "web"]);
    machine.virsh(&["resume", "web"]);
    agent.action("monitor").exits(0);
    assert_eq!(told(), first);
    agent.action("stop").exits(0);
}

/// A disk in a pool and a card in a network, neither of which is started.
fn resources(machine: &Machine) {
    let (guest, agent) = with_guest(machine);
    machine.must("mkdir", &["/srv/pool"]);
    machine.must("mv", &["/srv/web.img", "/srv/pool/web.img"]);
    let text = std::fs::read_to_string(&guest.config).expect("it was made");
    let text = text
        .replace("type='file' device='disk'", "type='volume' device='disk'")
        .replace("<source file='/srv/web.img'/>", "<source pool='disks' volume='web.img'/>")
        .replace(
            "</devices>",
            "<interface type='network'><source network='lan'/></interface></devices>",
        );
    machine.file(&guest.config, &text);
    machine.file(
        "/srv/pool.xml",
        "<pool type='dir'><name>disks</name><target><path>/srv/pool</path></target></pool>",
    );
    machine.file(
        "/srv/net.xml",
        "<network><name>lan</name><forward mode='bridge'/><bridge name='br7'/></network>",
    );
    machine.ip(&["link", "add", "br7", "type", "bridge"]);
    machine.virsh(&["pool-define", "/srv/pool.xml"]);
    machine.virsh(&["net-define", "/srv/net.xml"]);
    let agent = agent.set("force_stop", "yes");
    agent.action("start").exits(1).because("not active");
    let agent = agent.set("start_resources", "yes");
    agent.action("start").exits(0);
    agent.action("monitor").exits(0);
    assert!(machine.virsh(&["pool-list", "--name"]).contains("disks"));
    assert!(machine.virsh(&["net-list", "--name"]).contains("lan"));
    agent.action("stop").exits(0);
    // Where they run already, a pool is read anew.
    agent.action("start").exits(0);
    agent.action("stop").exits(0);
    machine.virsh(&["net-destroy", "lan"]);
    machine.virsh(&["net-undefine", "lan"]);
    agent.action("start").exits(1).because("virsh net-start lan");
    agent.probe().exits(7);
}

/// Variables of a firmware, which a definition that is forgotten must not take along.
fn variables(machine: &Machine) {
    let (guest, agent) = with_guest(machine);
    machine.must("cp", &["/usr/share/seabios/bios-256k.bin", "/srv/firmware.fd"]);
    machine.must("truncate", &["-s128k", "/srv/template.fd"]);
    let text = std::fs::read_to_string(&guest.config).expect("it was made");
    let text = text.replace(
        "hvm</type>",
        "hvm</type><loader readonly='yes' type='pflash'>/srv/firmware.fd</loader>\
         <nvram template='/srv/template.fd'>/srv/variables.fd</nvram>",
    );
    machine.file(&guest.config, &text);
    let agent = agent.set("force_stop", "yes");
    agent.action("start").exits(0);
    agent.action("stop").exits(0);
    machine.must("sh", &["-c", "printf kept | dd of=/srv/variables.fd conv=notrunc status=none"]);
    machine.virsh(&["define", &guest.config]);
    agent.action("start").exits(0);
    assert_eq!(machine.virsh(&["list", "--all", "--persistent", "--name"]).trim(), "");
    agent.action("stop").exits(0);
    assert_eq!(machine.must("head", &["-c4", "/srv/variables.fd"]), "kept");
}

#[track_caller]
fn wait_until(what: &str, is_so: impl FnMut() -> bool) {
    harness::wait_until(30, what, is_so);
}
