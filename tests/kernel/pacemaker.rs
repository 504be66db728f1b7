//! A real cluster: corosync and Pacemaker on two nodes made of namespaces,
//! which run a group of our agents, move it, and recover it.

use crate::harness::{Case, Cases, Machine, Output, Program};
use std::time::{Duration, Instant};

const NODE: &str = include_str!("cluster/node.sh");

/// An address, then the file system on the disk that both nodes see.
const GROUP: &str = r#"<resources><group id="g">
<primitive id="ip" class="ocf" provider="sturdy" type="IPaddr">
 <instance_attributes id="ip-a"><nvpair id="ip-a1" name="ip" value="10.9.0.9"/>
 </instance_attributes>
 <operations><op id="ip-m" name="monitor" interval="1s" timeout="20s"/></operations>
</primitive>
<primitive id="fs" class="ocf" provider="sturdy" type="Filesystem">
 <instance_attributes id="fs-a"><nvpair id="fs-a1" name="device" value="DISK"/>
  <nvpair id="fs-a2" name="directory" value="/srv/data"/>
  <nvpair id="fs-a3" name="fstype" value="ext4"/></instance_attributes>
 <operations><op id="fs-m" name="monitor" interval="1s" timeout="40s"/>
  <op id="fs-s" name="start" interval="0s" timeout="60s"/>
  <op id="fs-e" name="stop" interval="0s" timeout="60s"/></operations>
</primitive>
</group></resources>"#;

pub fn cases(cases: &mut Cases) {
    let needs = ["corosync", "pacemakerd", "crm_mon", "nsenter", "mkfs.ext4"];
    let mut add = |name: &str, run: fn(&Machine)| {
        cases.push(Case::new(format!("Pacemaker {name}"), run).needs(&needs));
    };
    add("starts a group, moves it, and loses nothing", moves_a_group);
    add("recovers what was taken away behind its back", recovers_what_is_gone);
    add("takes over when a node is lost", takes_over);
}

/// Two nodes on a bridge.
struct Cluster {
    /// The nodes' first processes, as the machine numbers them.
    nodes: [String; 2],
}

impl Cluster {
    fn begin(machine: &Machine) -> Self {
        machine.file("/run/node.sh", NODE);
        machine.ip(&["link", "add", "br0", "type", "bridge"]);
        machine.ip(&["link", "set", "br0", "up"]);
        let cluster = Self { nodes: [1, 2].map(|number| node(machine, number)) };
        cluster.wait_for("both nodes online", 40, || {
            cluster.status().contains("Online: [ node1 node2 ]")
        });
        cluster
    }

    /// Runs a program on a node.
    fn on(&self, node: usize, words: &[&str]) -> Output {
        let enter = ["-t", &self.nodes[node - 1], "-m", "-u", "-i", "-n", "-p"];
        Program::new("nsenter").args([&enter[..], words].concat()).run()
    }

    fn must(&self, node: usize, words: &[&str]) -> String {
        let output = self.on(node, words);
        assert_eq!(output.code, Some(0), "{}: {output}\n{}", words.join(" "), self.status());
        output.stdout
    }

    /// What an administrator would see.
    fn status(&self) -> String {
        self.on(2, &["crm_mon", "-1", "-r", "-f"]).stdout
    }

    fn wait_for(&self, what: &str, seconds: u64, holds: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(seconds);
        while !holds() {
            assert!(Instant::now() < end, "not within {seconds} s: {what}\n{}", self.status());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Adds the group, and waits for it to run on node 1.
    fn start_group(&self, device: &str) {
        for node in [1, 2] {
            self.must(node, &["mkdir", "-p", "/srv/data"]);
        }
        let group = GROUP.replace("DISK", device);
        self.must(1, &["cibadmin", "-o", "resources", "-M", "-c", "--xml-text", &group]);
        self.move_to(1);
    }

    fn move_to(&self, node: usize) {
        let name = format!("node{node}");
        self.must(2, &["crm_resource", "--move", "-r", "g", "-N", &name, "--force"]);
        self.must(2, &["crm_resource", "--wait", "-T", "30s"]);
        self.wait_for("the group runs where it was sent", 20, || self.runs_on(node));
    }

    /// By the kernel of the node, not by what the cluster believes.
    fn runs_on(&self, node: usize) -> bool {
        self.has_address(node) && self.has_mount(node)
    }

    fn has_address(&self, node: usize) -> bool {
        self.on(node, &["ip", "-o", "addr"]).stdout.contains("10.9.0.9/24")
    }

    fn has_mount(&self, node: usize) -> bool {
        let mounts = self.on(node, &["cat", "/proc/self/mounts"]).stdout;
        mounts.lines().any(|line| line.split(' ').nth(1) == Some("/srv/data"))
    }

    #[track_caller]
    fn has_no_failure(&self) {
        let status = self.status();
        let failed = ["Failed Resource Actions", "FAILED", "fail-count", "UNCLEAN"];
        assert!(!failed.iter().any(|word| status.contains(word)), "{status}");
    }
}

/// Starts a node's first process and wires it to the bridge.
fn node(machine: &Machine, number: u32) -> String {
    let line = format!(
        "unshare -m -n -p -u -i --fork --mount-proc sh /run/node.sh {number} \
           > /run/node{number}.log 2>&1 < /dev/null & \
         until child=$(cat /proc/$!/task/$!/children) && [ -n \"$child\" ]; do sleep 0.01; done; \
         echo $child"
    );
    let first = machine.must("sh", &["-c", &line]).trim().to_owned();
    let nic = format!("node{number}");
    let pair = ["type", "veth", "peer", "name", "eth0", "netns", &first];
    // `ip` finds the namespace by the number that the machine gives it.
    machine.ip(&[&["link", "add", &nic], &pair[..]].concat());
    machine.ip(&["link", "set", &nic, "master", "br0", "up"]);
    first
}

fn moves_a_group(machine: &Machine) {
    let disk = machine.formatted("ext4");
    let cluster = Cluster::begin(machine);
    cluster.start_group(disk.path());
    assert!(!cluster.has_address(2) && !cluster.has_mount(2), "it runs on one node only");
    cluster.must(1, &["sh", "-c", "echo kept > /srv/data/file"]);
    for (from, to) in [(1, 2), (2, 1), (1, 2)] {
        cluster.move_to(to);
        assert!(!cluster.has_address(from) && !cluster.has_mount(from), "node{from} let go");
        assert_eq!(cluster.must(to, &["cat", "/srv/data/file"]), "kept\n");
    }
    cluster.has_no_failure();
}

fn recovers_what_is_gone(machine: &Machine) {
    let disk = machine.formatted("ext4");
    let cluster = Cluster::begin(machine);
    cluster.start_group(disk.path());
    cluster.must(1, &["ip", "addr", "del", "10.9.0.9/24", "dev", "eth0"]);
    cluster.wait_for("the address is back", 20, || cluster.runs_on(1));
    cluster.must(1, &["umount", "/srv/data"]);
    cluster.wait_for("the mount is back", 20, || cluster.runs_on(1));
    let status = cluster.status();
    assert!(status.contains("fail-count"), "the cluster knows what happened: {status}");
}

fn takes_over(machine: &Machine) {
    let disk = machine.formatted("ext4");
    let cluster = Cluster::begin(machine);
    cluster.start_group(disk.path());
    cluster.must(1, &["sh", "-c", "echo kept > /srv/data/file && sync"]);
    machine.must("kill", &["-9", &cluster.nodes[0]]);
    cluster.wait_for("node 2 has taken over", 40, || cluster.runs_on(2));
    assert_eq!(cluster.must(2, &["cat", "/srv/data/file"]), "kept\n");
}
