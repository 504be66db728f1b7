//! Two nodes on one machine, each with namespaces and a libvirt of its own, and
//! a guest that is moved between them while it runs. The machine sees the
//! processes of both.

use super::{Add, wait_until};
use crate::harness::{Call, Instants, Killed, Machine, Software, kills};
use std::path::Path;
use std::time::Duration;

pub(super) fn cases(add: &mut Add<'_>) {
    add("a guest is moved there and back while it runs", there_and_back);
    add("a migration that fails leaves the guest where it was, and says why", refused);
    add("a migration that failed by virsh's word alone has succeeded", judged);
    let kills = kills(4);
    for part in 1..=kills {
        let name =
            format!("killed in a migration there is one guest at the most, {part} of {kills}");
        add(&name, killed);
    }
}

/// One node: its first process, as the machine numbers it.
struct Node {
    name: &'static str,
    first: String,
}

impl Node {
    /// Namespaces with a /run, a libvirt and a name of their own, and an
    /// interface to the other node, which reaches this one's libvirt below /srv.
    fn new(machine: &Machine, name: &'static str, address: &str, nic: &str) -> Self {
        let line = "mount -t tmpfs none /run && mount -t tmpfs none /var/lib/libvirt && \
                    mkdir -p /run/libvirt /srv/$0 && mount --bind /srv/$0 /run/libvirt && \
                    hostname $0 && ip link set lo up && touch /tmp/$0 && \
                    while :; do sleep 1; done";
        let start = format!(
            "mkdir -p /var/lib/libvirt; setsid unshare -m -n -u -p -f --mount-proc \
             sh -c '{line}' {name} </dev/null >/tmp/{name}.log 2>&1 & echo $!"
        );
        let parent = machine.must("sh", &["-c", &start]).trim().to_owned();
        wait_until("the node is there", || Path::new("/tmp").join(name).exists());
        let first = machine.must("pgrep", &["-P", &parent]).trim().to_owned();
        let node = Self { name, first };
        machine.ip(&["link", "set", nic, "netns", &node.first]);
        // A host that says it is the other is refused.
        let id = if name == "node1" { "1" } else { "2" }.repeat(8);
        let lines = format!(
            "ip addr add {address}/24 dev {nic} && ip link set {nic} up && \
             cp /etc/libvirt/libvirtd.conf /run && \
             echo 'host_uuid = \"{id}-1111-2222-3333-444444444444\"' >>/run/libvirtd.conf"
        );
        node.must(machine, &lines);
        node.start_libvirt(machine);
        node
    }

    fn start_libvirt(&self, machine: &Machine) {
        let line =
            "setsid libvirtd -f /run/libvirtd.conf </dev/null >/tmp/$(hostname).libvirtd 2>&1 &";
        self.must(machine, &format!("({line})"));
        wait_until("libvirt answers", || self.answers(machine));
    }

    fn answers(&self, machine: &Machine) -> bool {
        self.run(machine, "timeout 10 virsh -q -c qemu:///system list").code == Some(0)
    }

    fn run(&self, machine: &Machine, line: &str) -> crate::harness::Output {
        machine.run("nsenter", &["-t", &self.first, "-m", "-n", "-u", "-p", "sh", "-c", line])
    }

    fn must(&self, machine: &Machine, line: &str) -> String {
        let said = self.run(machine, line);
        assert_eq!(said.code, Some(0), "{line}: {said}");
        said.stdout
    }

    /// The agent, called on the node.
    fn agent(&self, machine: &Machine, other: &str) -> Call {
        let path = format!("/srv/agents/{}/VirtualDomain", self.name);
        let line = format!(
            "#!/bin/sh\nexec nsenter -t {} -m -n -u -p /usr/lib/ocf/resource.d/sturdy/VirtualDomain \"$@\"\n",
            self.first
        );
        machine.file(&path, &line);
        machine.must("chmod", &["755", &path]);
        let agent = Call::new(path).timeout(Duration::from_secs(60)).set("config", "/srv/web.xml");
        let figures = ["cpu", "host_memory", "hv_memory"];
        let agent = figures
            .iter()
            .fold(agent, |agent, name| agent.set(&format!("autoset_utilization_{name}"), "no"));
        agent
            .meta("migrate_target", other)
            .meta("migrate_source", other)
            .set("force_stop", "yes")
            .set("remoteuri", "qemu+unix:///system?socket=/srv/%n/libvirt-sock")
            .set("migrateuri", "tcp://%n:49200")
            // Both nodes have the one /srv, which libvirt takes for two.
            .set("migrate_options", "--unsafe")
    }

    /// What libvirt says of the guest here.
    fn state(&self, machine: &Machine) -> String {
        self.run(machine, "timeout 5 virsh -q -c qemu:///system domstate web")
            .stdout
            .trim()
            .to_owned()
    }
}

/// Two nodes, the agents on them, and a guest that runs on the first.
fn two(machine: &Machine) -> ([Node; 2], [Call; 2]) {
    machine.prepare_libvirt();
    machine.guest("web", Software::Sleeper);
    let hosts = "127.0.0.1 localhost\n10.9.0.1 node1\n10.9.0.2 node2\n";
    machine.file("/etc/hosts", hosts);
    machine.ip(&["link", "add", "eth1", "type", "veth", "peer", "name", "eth2"]);
    let one = Node::new(machine, "node1", "10.9.0.1", "eth1");
    let other = Node::new(machine, "node2", "10.9.0.2", "eth2");
    let agents = [one.agent(machine, "node2"), other.agent(machine, "node1")];
    agents[0].action("start").exits(0);
    ([one, other], agents)
}

/// How many copies of the guest run, paused ones apart.
fn running(machine: &Machine, nodes: &[Node]) -> usize {
    nodes.iter().filter(|node| node.state(machine) == "running").count()
}

fn there_and_back(machine: &Machine) {
    let (nodes, agents) = two(machine);
    machine.await_boot("web");
    for (from, to) in [(0, 1), (1, 0)] {
        agents[from].action("migrate_to").exits(0);
        agents[to].action("migrate_from").exits(0);
        assert_eq!(machine.guest_pids("web").len(), 1);
        agents[from].action("stop").exits(0);
        assert_eq!(nodes[to].state(machine), "running");
        agents[from].probe().exits(7);
        agents[to].action("monitor").exits(0);
    }
    agents[0].action("stop").exits(0);
    assert!(!machine.guest_runs("web"));
}

fn refused(machine: &Machine) {
    let (nodes, agents) = two(machine);
    let nowhere = agents[0].clone().set("migrateuri", "tcp://10.9.0.77:1");
    let nowhere = nowhere.timeout(Duration::from_secs(15));
    nowhere.action("migrate_to").exits(1).because("web stays here, and was not moved to node2");
    assert_eq!(running(machine, &nodes), 1);
    agents[0].action("monitor").exits(0);
    agents[0]
        .clone()
        .set("remoteuri", "qemu+unix:///system?socket=/nowhere")
        .action("migrate_to")
        .exits(1)
        .because("web stays here");
    agents[0]
        .clone()
        .meta("migrate_target", "")
        .action("migrate_to")
        .exits(1)
        .because("does not say to which node");
    agents[1].action("migrate_from").exits(1).because("web was not moved here from node1");
    agents[0].action("stop").exits(0);
    agents[1].action("stop").exits(0);
    assert!(!machine.guest_runs("web"));
}

/// virsh moves it, and fails after that.
fn judged(machine: &Machine) {
    let (nodes, agents) = two(machine);
    machine.script(
        "virsh",
        "#!/bin/sh\n/usr/bin/virsh \"$@\"\ncode=$?\ncase \"$*\" in *migrate*) echo 'error: lost it' >&2; exit 1;; esac\nexit $code\n",
    );
    agents[0].action("migrate_to").exits(0);
    assert_eq!(nodes[1].state(machine), "running");
    agents[1].action("migrate_from").exits(0);
    agents[1].action("stop").exits(0);
    assert!(!machine.guest_runs("web"));
}

/// Once for each machine: a daemon whose virsh has gone in the middle may not
/// take up its work again.
fn killed(machine: &Machine) {
    let (nodes, agents) = two(machine);
    // As long as it takes on a machine that is not busy.
    let mut instants = Instants::within(Duration::from_millis(2500));
    let (seed, instant) = (instants.seed(), instants.next());
    let at = format!("killed after {instant:?}, STURDY_SEED={seed}");
    let early = matches!(agents[0].killed("migrate_to", instant), Killed::After(_));
    for _ in 0..20 {
        assert!(running(machine, &nodes) <= 1, "{at}: two copies");
    }
    for (node, agent) in nodes.iter().zip(&agents) {
        let state = node.state(machine);
        let told = agent.probe();
        let now = node.state(machine);
        match told.code {
            Some(0) => assert!(state == "running" || now == "running", "{at}: {}", *told),
            Some(7) => assert!(state != "running" || now != "running", "{at}: {}", *told),
            Some(1 | 190) => {}
            _ => panic!("{at}: {}", *told),
        }
    }
    // As the cluster does after it: down on both, whatever there is.
    for agent in &agents {
        let stop = agent.action("stop");
        assert_eq!(stop.code, Some(0), "{at}, early {early}: {}", *stop);
    }
    wait_until("nothing of it is left", || !machine.guest_runs("web"));
    for agent in &agents {
        agent.probe().exits(7);
    }
}
