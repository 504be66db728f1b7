#![allow(clippy::disallowed_methods, reason = "makes a machine out of files")]

use super::*;
use common::host::libvirt::{Condition, Identity, Pause, Seen};
use common::testing::Files;
use look::Found;
use ocf_meta::{Given, Reading};

const UUID: &str = "1dabca37-df6d-4a77-9034-301704a00951";
const RECORD: &str = "/run/resource-agents/VirtualDomain-%2fetc%2fcluster%2fweb.xml.state";

fn agent(given: &[(&'static str, &str)]) -> VirtualDomain {
    let mut all = Given::default();
    all.set("config", "/etc/cluster/web.xml");
    given.iter().for_each(|(name, value)| all.set(*name, *value));
    let params = VirtualDomainParams::read(&mut Reading::strict(&all)).unwrap();
    let meta = [("migrate_target", "node2")];
    VirtualDomain::new(params, &Request::with_meta("g", &meta)).unwrap()
}

/// A machine on which this guest runs, by its process alone.
fn machine(guest: Option<&str>) -> Files {
    let files = Files::new();
    files.file("/proc/1/cmdline", "/sbin/init\0");
    if let Some(name) = guest {
        let stat = "7 (qemu-kvm) S 1 1 1 0 -1 0 1 0 0 0 0 0 0 0 20 0 1 0 70 1 1";
        let words = format!("q\0-name\0guest={name}\0-uuid\0{UUID}\0");
        files.file("/proc/7/stat", stat).file("/proc/7/cmdline", &words);
    }
    files
}

fn status(files: &Files) -> Result<String> {
    let agent = agent(&[]);
    Ok(agent.status(&agent.observe(&files.view())?).to_string())
}

#[test]
fn without_a_configuration_the_record_tells_the_guest_or_the_files_name() {
    assert_eq!(status(&machine(None)).unwrap(), "stopped");
    assert_eq!(status(&machine(Some("web"))).unwrap(), "running");
    assert_eq!(status(&machine(Some("www"))).unwrap(), "stopped");
    let files = machine(Some("www"));
    files.file(RECORD, "VirtualDomain 1\nname www\n");
    assert_eq!(status(&files).unwrap(), "running");
    files.file(RECORD, &format!("VirtualDomain 1\nname w\nuuid {UUID}\n"));
    assert_eq!(status(&files).unwrap(), "running");
}

#[test]
fn what_the_configuration_names_counts_beside_what_was_noted() {
    let files = machine(Some("new"));
    files.file("/etc/cluster/web.xml", "<domain><name>new</name></domain>");
    files.file(RECORD, "VirtualDomain 1\nname old\n");
    assert_eq!(status(&files).unwrap(), "running");
}

#[test]
fn a_damaged_record_and_no_configuration_are_doubt() {
    let files = machine(None);
    files.file(RECORD, "no record");
    let doubt = format!("{:#}", status(&files).unwrap_err());
    assert!(doubt.contains("is damaged") && doubt.contains("web.xml is not there"), "{doubt}");
    files.file("/etc/cluster/web.xml", "<domain><name>web</name></domain>");
    assert_eq!(status(&files).unwrap(), "stopped");
}

#[test]
fn each_state_of_a_guest_means_something_to_the_cluster() {
    let means = |condition: Condition, is_halted, is_incoming, on_io_error: &str| {
        let identity = Identity { name: "web".into(), uuid: None };
        let process = None;
        let seen = Seen { identity: identity.clone(), process, condition, is_halted, is_incoming };
        let (record, damaged) = (None, None);
        let state = State { meant: identity, found: Found::Guest(seen), record, damaged };
        let status = agent(&[("on_io_error", on_io_error)]).status(&state).to_string();
        status.split(':').next().unwrap_or_default().to_owned()
    };
    let plain = |condition| means(condition, false, false, "failed");
    for (condition, meaning) in [
        (Condition::Running, "running"),
        (Condition::ShuttingDown, "running"),
        (Condition::Paused(Pause::Work), "running"),
        (Condition::Paused(Pause::User), "degraded"),
        (Condition::Asleep, "degraded"),
        (Condition::Paused(Pause::IoError), "failed"),
        (Condition::Paused(Pause::Watchdog), "failed"),
        (Condition::Paused(Pause::Panicked), "failed"),
        (Condition::Paused(Pause::Migration), "failed"),
        (Condition::Paused(Pause::Torn), "failed"),
        (Condition::Crashed, "failed"),
        (Condition::Unknown, "failed"),
    ] {
        assert_eq!(plain(condition), meaning, "{condition}");
    }
    let paused = Condition::Paused(Pause::IoError);
    assert_eq!(means(paused, false, false, "degraded"), "degraded");
    assert_eq!(means(paused, false, false, "resume"), "degraded");
    assert_eq!(means(Condition::Running, true, false, "resume"), "failed");
    assert_eq!(means(Condition::Paused(Pause::Migration), false, true, "resume"), "failed");
}

#[test]
fn the_way_to_the_other_node_is_as_the_parameters_have_it() {
    let way = |given: &[(&'static str, &str)], node: &str| agent(given).way(node).unwrap();
    let uris = |given: &[(&'static str, &str)], node: &str| {
        let way = way(given, node);
        (way.remote, way.data)
    };
    let plain = |uri: &str| (uri.to_owned(), None);
    assert_eq!(uris(&[], "node2"), plain("qemu://node2/system"));
    let ssh = [("migration_transport", "ssh"), ("migration_user", "joe")];
    assert_eq!(uris(&ssh, "node2"), plain("qemu+ssh://joe@node2/system"));
    let network = [("migration_network_suffix", "-mig")];
    let (remote, data) = uris(&network, "node2.example.org");
    assert_eq!(remote, "qemu://node2-mig.example.org/system");
    assert_eq!(data.as_deref(), Some("tcp://node2-mig.example.org"));
    let port = [network[0], ("migrateport", "49999")];
    assert_eq!(uris(&port, "node2").1.as_deref(), Some("tcp://node2-mig:49999"));
    let xen = [network[0], ("hypervisor", "xen:///system")];
    assert_eq!(uris(&xen, "node2"), ("xen://node2-mig/system".into(), Some("node2-mig".into())));
    let own = [network[0], ("remoteuri", "qemu+tls://%n.a/system"), ("migrateuri", "tcp://%n:1")];
    assert_eq!(uris(&own, "n"), ("qemu+tls://n.a/system".into(), Some("tcp://n:1".into())));
    let way = way(&[("migrate_options", "--p2p --migrateuri=tcp://%n:2 --tunnelled")], "n");
    assert_eq!(way.data.as_deref(), Some("tcp://n:2"));
    assert_eq!(way.options, ["--p2p", "--tunnelled"]);
}

#[test]
fn parameters_that_exclude_each_other_are_named() {
    let refused = |given: &[(&'static str, &str)]| agent(given).validate().unwrap_err().to_string();
    assert!(refused(&[("force_stop", "1"), ("snapshot", "/srv")]).contains("snapshot"));
    assert!(refused(&[("stateless", "1")]).contains("backingfile"));
}
