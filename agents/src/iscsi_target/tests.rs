#![allow(clippy::disallowed_methods, reason = "makes a machine out of files")]

use super::*;
use common::host::lio::{ROOT, Target};
use common::testing::Files;
use ocf_meta::{Given, Reading};

const IQN: &str = "iqn.2001-04.com.example:storage";
const INITIATOR: &str = "iqn.1993-08.org.debian:01:client";

common::machine_of_files! {
    /// A machine that looks as one with LIO does, as far as files can.
    Fake
}

impl Fake {
    fn new() -> Self {
        let files = Files::new();
        files.dir(&format!("{ROOT}/core/alua")).dir(&format!("{ROOT}/iscsi/discovery_auth"));
        files.dir("/proc/self");
        for module in ["target_core_mod", "iscsi_target_mod"] {
            files.file(&format!("/sys/module/{module}/initstate"), "live\n");
        }
        files.file("/sys/kernel/config/target/version", "5");
        Self(files)
    }

    /// A target with what the kernel puts into it.
    fn target(&self, iqn: &str, portals: &[&str], enabled: &str) -> &Self {
        let group = Target::group(iqn);
        self.file(&format!("{group}/enable"), enabled).dir(&format!("{group}/acls"));
        self.dir(&format!("{group}/lun")).dir(&format!("{group}/np"));
        let settings = ["demo_mode_write_protect", "prod_mode_write_protect", "cache_dynamic_acls"];
        for name in settings {
            self.file(&format!("{group}/attrib/{name}"), "1\n");
        }
        self.file(&format!("{group}/attrib/authentication"), "1\n");
        self.file(&format!("{group}/attrib/generate_node_acls"), "0\n");
        self.file(&format!("{group}/attrib/default_cmdsn_depth"), "64\n");
        self.file(&format!("{group}/param/MaxConnections"), "1\n");
        for field in ["userid", "password", "userid_mutual", "password_mutual"] {
            self.file(&format!("{group}/auth/{field}"), "");
        }
        for portal in portals {
            self.dir(&format!("{group}/np/{portal}"));
        }
        self
    }

    fn value(&self, name: &str) -> String {
        std::fs::read_to_string(self.at(&format!("{}/{name}", Target::group(IQN)))).unwrap()
    }

    fn status(&self, agent: &ISCSITarget) -> String {
        agent.status(&agent.observe(&self.view()).unwrap()).to_string()
    }

    fn start(&self, agent: &ISCSITarget) -> anyhow::Result<()> {
        let view = self.view();
        let plan = agent.start(&view, &agent.observe(&view)?)?;
        common::testing::carry_out(&view, plan)
    }

    fn words(&self, agent: &ISCSITarget) -> (Vec<String>, Vec<String>) {
        let view = self.view();
        let state = agent.observe(&view).unwrap();
        let start = common::testing::words(&agent.start(&view, &state).unwrap());
        (start, common::testing::words(&agent.stop(&view, &state).unwrap()))
    }
}

fn agent(more: &[(&'static str, &str)]) -> ISCSITarget {
    let mut given = Given::default();
    for (name, value) in [("iqn", IQN)].iter().chain(more) {
        given.set(*name, *value);
    }
    let params = ISCSITargetParams::read(&mut Reading::strict(&given)).unwrap();
    ISCSITarget::new(params, &Request::plain("p_target")).unwrap()
}

const CHAP: [(&str, &str); 2] =
    [("incoming_username", "someone"), ("incoming_password", "1234567890ab")];

#[test]
fn a_name_that_begins_so_is_another_target() {
    let fake = Fake::new();
    fake.target(&format!("{IQN}.more"), &["[::]:3260"], "1\n");
    assert_eq!(fake.status(&agent(&[])), "stopped");
    assert!(fake.words(&agent(&[])).1.is_empty());
}

#[test]
fn a_target_spelled_with_capitals_is_the_same() {
    let fake = Fake::new();
    fake.target("iqn.2001-04.com.Example:Storage", &["[::]:3260"], "0\n");
    assert_eq!(fake.status(&agent(&[])), format!("failed: {IQN} is closed"));
    let stop = fake.words(&agent(&[])).1;
    assert!(stop[0].contains("iqn.2001-04.com.Example:Storage"), "{stop:?}");
}

#[test]
fn running_means_open_everywhere_and_to_those_who_were_meant() {
    let fake = Fake::new();
    fake.target(IQN, &["10.0.0.9:3260"], "1\n");
    let group = Target::group(IQN);
    assert_eq!(fake.status(&agent(&[])), "running");
    let named = agent(&[("portals", "10.0.0.9 10.0.1.9")]);
    let lacks = "does not listen at 10.0.1.9:3260, only at 10.0.0.9:3260";
    assert_eq!(fake.status(&named), format!("failed: {IQN} {lacks}"));
    fake.dir(&format!("{group}/np/10.0.1.9:3260"));
    assert_eq!(fake.status(&named), "running");
    fake.file(&format!("{group}/attrib/authentication"), "0\n");
    assert_eq!(fake.status(&named), "running");
    assert!(fake.status(&agent(&CHAP)).contains("asks for no password"));
    fake.file(&format!("{group}/attrib/generate_node_acls"), "1\n");
    let listed = agent(&[("allowed_initiators", INITIATOR)]);
    assert!(fake.status(&listed).contains("admits every initiator"));
}

#[test]
fn a_target_that_has_been_begun_is_not_stopped_and_is_taken_down() {
    let fake = Fake::new();
    fake.dir(&format!("{ROOT}/iscsi/{IQN}"));
    assert_eq!(fake.status(&agent(&[])), format!("failed: {IQN} has been begun only"));
    let (_, stop) = fake.words(&agent(&[]));
    assert_eq!(stop, [format!("remove target {IQN}")]);
}

#[test]
fn a_start_settles_what_is_asked_before_who_may_log_in_and_opens_last() {
    let fake = Fake::new();
    let all = [
        CHAP.as_slice(),
        &[("allowed_initiators", INITIATOR), ("portals", "10.0.0.9 fd00::9:3260")],
        &[("additional_parameters", "MaxConnections=4 authentication=0 Unknown=1")],
    ]
    .concat();
    let (words, _) = fake.words(&agent(&all));
    assert_eq!(
        words,
        [
            "load the kernel's iSCSI target".to_owned(),
            format!("make target {IQN}"),
            "ask for the password of someone".into(),
            format!("admit {INITIATOR}"),
            "set MaxConnections=4, authentication=0, Unknown=1".into(),
            "listen at 10.0.0.9:3260, [fd00::9]:3260".into(),
            format!("open {IQN}"),
        ]
    );
}

#[test]
fn what_a_start_was_cut_short_of_is_made_by_the_next() {
    let fake = Fake::new();
    fake.target(IQN, &[], "0\n");
    let acl = format!("{}/acls/{INITIATOR}/auth", Target::group(IQN));
    for field in ["userid", "password", "userid_mutual", "password_mutual"] {
        fake.file(&format!("{acl}/{field}"), "");
    }
    let more = [
        CHAP.as_slice(),
        &[("outgoing_username", "target"), ("outgoing_password", "ba0987654321")],
        &[("allowed_initiators", INITIATOR), ("portals", "10.0.0.9")],
        &[("additional_parameters", "MaxConnections=4 authentication=0 default_cmdsn_depth=8")],
    ]
    .concat();
    let agent = agent(&more);
    fake.start(&agent).unwrap();
    assert_eq!(fake.status(&agent), "running");
    assert!(fake.value("enable").starts_with('1'));
    // No line feed: the kernel would keep it.
    let secret = std::fs::read_to_string(fake.at(&format!("{acl}/password"))).unwrap();
    assert_eq!(secret, "1234567890ab");
    assert_eq!(fake.value("auth/password_mutual"), "ba0987654321");
    assert!(fake.value("attrib/authentication").starts_with('1'));
    assert!(fake.value("attrib/generate_node_acls").starts_with('0'));
    assert!(fake.value("param/MaxConnections").starts_with('4'));
    assert!(fake.value("attrib/default_cmdsn_depth").starts_with('8'));
}

#[test]
fn an_open_target_is_closed_before_a_password_is_asked_for() {
    let fake = Fake::new();
    fake.target(IQN, &["10.0.0.9:3260"], "1\n");
    fake.file(&format!("{}/attrib/authentication", Target::group(IQN)), "0\n");
    let (words, _) = fake.words(&agent(&CHAP));
    assert!(words[0].starts_with("close "), "{words:?}");
    let (words, _) = fake.words(&agent(&[]));
    assert!(!words[0].starts_with("close "), "{words:?}");
}

#[test]
fn a_stop_names_the_luns_that_go_with_the_target() {
    let fake = Fake::new();
    fake.target(IQN, &["10.0.0.9:3260"], "1\n");
    let store = fake.at(&format!("{ROOT}/core/iblock_0/disk"));
    fake.link(&format!("{}/lun/lun_3/x", Target::group(IQN)), store);
    let (_, stop) = fake.words(&agent(&[]));
    assert_eq!(
        stop,
        [
            format!("close {IQN}, which ends its sessions"),
            format!("listen at no address for {IQN}"),
            format!("remove target {IQN}, with LUN 3 (iblock_0/disk)"),
        ]
    );
}

#[test]
fn what_excludes_each_other_or_lacks_its_half_is_refused() {
    let refused = |more: &[(&'static str, &str)]| {
        let refused = agent(more).validate().unwrap_err();
        assert!(refused.downcast_ref::<common::Fault>().is_some());
        refused.to_string()
    };
    assert!(refused(&CHAP[..1]).contains("belong together"));
    assert!(refused(&CHAP[1..]).contains("belong together"));
    let outgoing = [("outgoing_username", "t"), ("outgoing_password", "1234567890ab")];
    assert!(refused(&outgoing).contains("needs incoming_username"));
    let same = [CHAP.as_slice(), &outgoing].concat();
    assert!(refused(&same).contains("the same"));
    let null = [("incoming_username", "someone"), ("incoming_password", "NULL1234")];
    let told = refused(&null);
    assert!(told.contains("NULL") && !told.contains("NULL1234"), "{told}");
    assert!(refused(&[("implementation", "scst")]).contains("SCST"));
    let iser = [("portals", "10.0.0.9"), ("iser_portals", "10.0.0.8")];
    assert!(refused(&iser).contains("iser_portals"));
}

#[test]
fn an_address_that_is_covered_by_another_target_is_named() {
    let fake = Fake::new();
    let other = "iqn.2001-04.com.example:other";
    fake.target(other, &["0.0.0.0:3260"], "1\n");
    let portal = Portal::parse("10.0.0.9").unwrap();
    let told = in_the_way(&fake.view(), IQN, &portal).unwrap();
    assert_eq!(told.unwrap(), format!("0.0.0.0:3260 of {other}"));
}
