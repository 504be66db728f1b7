//! What the README says of Pacemaker, heartbeat and use by hand.

use crate::root::Root;

fn names() -> impl Iterator<Item = &'static str> {
    let aliases = agents::ALIASES.iter().flat_map(|(_, others)| *others).copied();
    agents::ALL.iter().map(|meta| meta.name).chain(aliases)
}

pub fn listed(root: &Root) {
    root.install();
    let crm = root.must("crm ra list ocf sturdy");
    let pcs = root.must("pcs resource list ocf:sturdy");
    for name in names() {
        assert!(crm.split_whitespace().any(|word| word == name), "{name}: {crm}");
        assert!(pcs.contains(&format!("ocf:sturdy:{name} ")), "{name}: {pcs}");
        let page = root.must(&format!("man -w 7 ocf_sturdy_{name}"));
        assert!(page.contains("man7"), "{name}: {page}");
    }
    assert!(!pcs.contains("Warning"), "{pcs}");
}

pub fn aliases(root: &Root) {
    root.install();
    for (name, words) in [
        ("IPaddr2", "ip=10.10.0.10 cidr_netmask=24 nic=eth0"),
        ("LVM-activate", "vgname=vg vg_access_mode=system_id"),
    ] {
        let described = root.must(&format!("pcs resource describe --full ocf:sturdy:{name} 2>&1"));
        assert!(!described.contains("Warning"), "{described}");
        root.must(&format!("crm ra info ocf:sturdy:{name}"));
        let create = format!(
            "cibadmin --empty > /tmp/{name}.xml \
             && pcs -f /tmp/{name}.xml resource create r ocf:sturdy:{name} {words} 2>&1 \
             && grep -q 'type=\"{name}\"' /tmp/{name}.xml"
        );
        root.must(&create);
    }
}

/// What the drop-in gives heartbeat's daemon, as systemd would read it.
const AS_HEARTBEAT: &str = r#"line=$(grep ^Environment= /usr/lib/systemd/system/heartbeat.service.d/sturdy.conf)
line=${line#Environment=\"}
export "${line%\"}"
"#;

/// What the daemon sets besides, and where a reboot would be heard of.
const MANAGER: &str = "HA_CURHOST=node1 HA_LOGFILE=/tmp/log HA_DEBUGLOG=/tmp/debug HA_LOGFACILITY=none \
                       /usr/share/heartbeat/ResourceManager";

const KEY: &str = "IPaddr::10.10.0.10/24/eth0";

/// The stock IPaddr knows an address by its label alone, which ours has no use
/// for; IPaddr2 knows it as ours does.
const BOTH_WAYS: &str = "IPaddr2::10.10.0.10/24/eth0";

fn configure(root: &Root, key: &str) {
    root.install();
    root.must("mkdir -p /srv/from /srv/data && printf 'node node1\\n' > /etc/ha.d/ha.cf");
    root.must("rm -f /sbin/reboot /sbin/init && ln -s /bin/true /sbin/reboot");
    root.must(&format!(
        "echo 'node1 {key} Filesystem::/srv/from::/srv/data::none::bind' > /etc/ha.d/haresources"
    ));
}

/// Takes or gives the group, with heartbeat's own environment or that of a shell.
fn manage(root: &Root, environment: &str, word: &str, key: &str) -> String {
    root.must("rm -f /tmp/log /tmp/debug");
    root.must(&format!("{environment}{MANAGER} {word} {key}"));
    let log = root.must("cat /tmp/log");
    assert!(!log.contains("ERROR") && !log.contains("CRIT"), "{word}: {log}");
    log
}

fn is_up(root: &Root) -> bool {
    let address = root.must("ip -o address show dev eth0").contains("10.10.0.10/24");
    let mounted = root.run("mountpoint -q /srv/data").code == 0;
    assert_eq!(address, mounted, "half of the group is up");
    address
}

pub fn group(root: &Root) {
    configure(root, KEY);
    let taken = manage(root, AS_HEARTBEAT, "takegroup", KEY);
    assert!(taken.contains("Running /usr/lib/sturdy/ha.d/resource.d/IPaddr"), "{taken}");
    assert!(taken.contains("Running /usr/lib/sturdy/ha.d/resource.d/Filesystem"), "{taken}");
    assert!(is_up(root));
    manage(root, AS_HEARTBEAT, "givegroup", KEY);
    assert!(!is_up(root));
    // One we do not have is heartbeat's still.
    let audible =
        root.must(&format!("{AS_HEARTBEAT}{MANAGER} status AudibleAlarm; cat /tmp/log; true"));
    assert!(!audible.contains("Cannot locate"), "{audible}");
    root.must(
        "systemd-analyze verify heartbeat.service 2>&1 | grep -F sturdy.conf && exit 1; true",
    );
    root.dpkg("--purge sturdy-agents-haresources");
    let taken = manage(root, "", "takegroup", KEY);
    assert!(taken.contains("Running /etc/ha.d/resource.d/IPaddr"), "{taken}");
}

pub fn either(root: &Root) {
    configure(root, BOTH_WAYS);
    manage(root, AS_HEARTBEAT, "takegroup", BOTH_WAYS);
    root.must(&format!("{MANAGER} status {BOTH_WAYS}"));
    let given = manage(root, "", "givegroup", BOTH_WAYS);
    assert!(given.contains("Running /etc/ha.d/resource.d/Filesystem"), "{given}");
    assert!(!is_up(root));
    for key in [BOTH_WAYS, KEY] {
        configure(root, key);
        manage(root, "", "takegroup", key);
        assert!(is_up(root));
        root.must(&format!("{AS_HEARTBEAT}{MANAGER} status {key}"));
        manage(root, AS_HEARTBEAT, "givegroup", key);
        assert!(!is_up(root));
    }
}

pub fn init_scripts(root: &Root) {
    root.install();
    let shadowed = root.must(
        "cd /usr/lib/sturdy/ha.d/resource.d && for name in *; do \
         [ ! -e /etc/init.d/$name ] || echo $name; done",
    );
    // Agents that do what the scripts did: docs/packages.md says how.
    assert_eq!(shadowed, "nfs-common\nnfs-kernel-server\n");
    root.must("test -x /etc/init.d/drbd && test -x /usr/lib/ocf/resource.d/sturdy/drbd");
}

pub fn by_hand(root: &Root) {
    root.install();
    let started = root.run("drbddisk r1 start");
    assert_ne!(started.code, 127, "{started}");
    assert!(started.stderr.contains("r1") || started.stderr.contains("drbd"), "{started}");
    root.must("IPaddr 10.10.0.10/24/eth0 start");
    assert_eq!(root.must("IPaddr 10.10.0.10/24/eth0 status"), "running\n");
    root.must("IPaddr2 10.10.0.10/24/eth0 stop");
    assert_eq!(root.run("IPaddr 10.10.0.10/24/eth0 status").code, 3);
    root.must(
        "bash -c '. /usr/share/bash-completion/completions/drbddisk && complete -p drbddisk'",
    );
}

pub fn run_directory(root: &Root) {
    root.install();
    root.must("rm -rf /run/resource-agents");
    root.must("IPaddr 10.10.0.10/24/eth0 start && test -d /run/resource-agents");
    assert_eq!(root.must("stat -c %U /run/resource-agents"), "root\n");
    root.must("IPaddr 10.10.0.10/24/eth0 stop");
}
