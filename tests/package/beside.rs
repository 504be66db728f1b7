//! Packages whose scripts have the names of our agents.

use crate::root::Root;

const AGENTS: &str = "/usr/lib/ocf/resource.d/sturdy";

fn agents_are_there(root: &Root) {
    assert_eq!(root.must("dpkg --verify sturdy-agents"), "");
    for meta in agents::ALL {
        root.must(&format!("test -x {AGENTS}/{0} && {AGENTS}/{0} meta-data >/dev/null", meta.name));
    }
}

pub fn purged_after(root: &Root) {
    root.install();
    root.dpkg("--purge sturdy-agents-haresources heartbeat");
    agents_are_there(root);
    assert_eq!(root.run("ls /etc/ha.d/resource.d/IPaddr").code, 2, "heartbeat is gone");
}

pub fn purged_before(root: &Root) {
    root.dpkg("--purge heartbeat");
    root.dpkg("-i /packages/sturdy-agents_*.deb");
    let heartbeat = root.dpkg("-i --force-confmiss /var/local/kept/heartbeat_*.deb");
    assert!(!heartbeat.to_string().contains("dpkg-new"), "{heartbeat}");
    root.dpkg("-i /packages/sturdy-agents-haresources_*.deb");
    assert_eq!(root.must("dpkg --verify heartbeat"), "");
    agents_are_there(root);
    root.dpkg("--purge sturdy-agents-haresources");
    assert_eq!(root.must("dpkg --verify heartbeat"), "");
    root.dpkg("--purge heartbeat");
    agents_are_there(root);
}

pub fn old_links(root: &Root) {
    root.must(
        "cd /etc/ha.d/resource.d && mv IPaddr IPaddr.before-sturdy && chmod 644 IPaddr.before-sturdy \
         && ln -s ../../../usr/lib/ocf/resource.d/sturdy/IPaddr IPaddr \
         && ln -s ../../../usr/lib/ocf/resource.d/sturdy/lvm2 lvm2",
    );
    let said = root.install().stderr;
    let cures: Vec<_> = said.lines().filter(|line| line.contains("earlier version")).collect();
    assert_eq!(cures.len(), 2, "{said}");
    for line in cures {
        root.must(line.split("through it: ").nth(1).unwrap());
    }
    assert_eq!(root.must("dpkg --verify heartbeat"), "");
    root.dpkg("--purge sturdy-agents-haresources heartbeat");
    agents_are_there(root);
}
