#![allow(clippy::disallowed_methods, reason = "makes a machine out of files")]

use super::*;
use common::host::lio::ROOT;
use common::testing::Files;

const IQN: &str = "iqn.2008-04.local.home:storage.disk.0";
const OTHER: &str = "iqn.2003-01.org.linux-iscsi:other";
const PUBLISHED: &str = include_str!("../../../tests/lab/setups/iscsi/ietd.conf");

common::machine_of_files! {
    /// A machine that looks as one with LIO does, as far as files can.
    Fake
}

impl Fake {
    fn new() -> Self {
        let files = Files::new();
        files.dir(&format!("{ROOT}/core/alua")).dir(&format!("{ROOT}/iscsi/discovery_auth"));
        files.dir("/sys/module/target_core_mod").dir("/proc/self");
        files.file("/etc/ietd.conf", PUBLISHED).file("/dev/drbd1", "");
        Self(files)
    }

    /// A target with one disk, whose link has this name.
    fn serves(&self, iqn: &str, mark: &str, enabled: &str) -> &Self {
        let group = Target::group(iqn);
        let store = format!("{ROOT}/core/iblock_0/{mark}-disk");
        self.dir(&store).dir(&format!("{group}/np/0.0.0.0:3260"));
        self.file(&format!("{group}/enable"), enabled);
        self.link(&format!("{group}/lun/lun_0/{mark}"), self.at(&store));
        self
    }

    fn noted(&self, text: &str) -> &Files {
        self.file(&format!("/run/resource-agents/{}", agent().record_name()), text)
    }

    fn state(&self) -> State {
        agent().observe(&self.view()).unwrap()
    }

    fn status(&self) -> String {
        agent().status(&self.state()).to_string()
    }

    fn stop(&self) -> Vec<String> {
        let agent = agent();
        let plan = agent.stop(&self.view(), &self.state()).unwrap();
        common::testing::words(&plan)
    }
}

fn agent() -> Iscsitarget {
    Iscsitarget::of("/etc/ietd.conf".into())
}

fn mark() -> String {
    agent().mark
}

#[test]
fn nothing_of_ours_is_stopped_whatever_else_is_served() {
    let fake = Fake::new();
    assert_eq!(fake.status(), "stopped");
    fake.serves(OTHER, "disk", "1\n");
    assert_eq!(fake.status(), "stopped");
    assert_eq!(fake.stop(), [] as [&str; 0]);
}

#[test]
fn a_noted_target_that_serves_is_running_without_the_file() {
    let fake = Fake::new();
    fake.serves(IQN, &mark(), "1\n").noted(&format!("{IQN} 0\n"));
    std::fs::remove_file(fake.at("/etc/ietd.conf")).unwrap();
    assert_eq!(fake.status(), "running");
    let stop = fake.stop();
    assert!(stop[0].starts_with("close iqn.2008-04"), "{stop:?}");
    assert!(stop[1].starts_with("listen at no address for iqn."), "{stop:?}");
    assert!(stop[2].starts_with("remove target iqn."), "{stop:?}");
}

#[test]
fn what_is_not_as_a_start_left_it_has_failed_by_name() {
    let fake = Fake::new();
    fake.serves(IQN, &mark(), "0\n").noted(&format!("{IQN} 0\n"));
    assert_eq!(fake.status(), format!("failed: {IQN} is closed"));
    fake.file(&format!("{}/enable", Target::group(IQN)), "1\n");
    fake.noted(&format!("{IQN} 0 1\n"));
    assert_eq!(fake.status(), format!("failed: {IQN} has no LUN 1 any more"));
    fake.noted(&format!("{IQN} 0\niqn.2001-04.com.example:two 0\n"));
    assert_eq!(fake.status(), "failed: iqn.2001-04.com.example:two is gone");
    std::fs::remove_dir(fake.at(&format!("{}/np/0.0.0.0:3260", Target::group(IQN)))).unwrap();
    fake.noted(&format!("{IQN} 0\n"));
    assert_eq!(fake.status(), format!("failed: {IQN} listens at no address"));
}

#[test]
fn a_target_is_known_by_its_mark_where_the_record_is_lost() {
    let fake = Fake::new();
    fake.serves(IQN, &mark(), "1\n");
    assert!(fake.status().starts_with("failed: "), "{}", fake.status());
    assert!(!fake.stop().is_empty());
}

#[test]
fn a_noted_name_that_somebody_else_has_marked_is_not_ours() {
    let fake = Fake::new();
    fake.serves(IQN, "disk", "1\n").noted(&format!("{IQN} 0\n"));
    assert_eq!(fake.status(), "stopped");
    assert_eq!(fake.stop(), ["forget what was noted"]);
}

#[test]
fn a_store_that_no_target_shows_is_left_over() {
    let fake = Fake::new();
    fake.dir(&format!("{ROOT}/core/iblock_3/{}-00-0", mark()));
    assert!(fake.status().starts_with("failed: store ietd-"), "{}", fake.status());
    assert_eq!(fake.stop().len(), 1);
}

#[test]
fn a_start_closes_nothing_before_the_file_is_right() {
    let fake = Fake::new();
    fake.file("/etc/ietd.conf", "Target iqn.2001-04.com.example:one\n  Lun zero\n");
    let agent = agent();
    let refused = agent.start(&fake.view(), &fake.state()).unwrap_err();
    assert_eq!(refused.to_string(), "/etc/ietd.conf line 2: zero is not the number of a Lun");
    std::fs::remove_file(fake.at("/etc/ietd.conf")).unwrap();
    fake.link("/etc/ietd.conf", "/srv/data/iscsi/ietd.conf");
    let refused = agent.start(&fake.view(), &fake.state()).unwrap_err();
    assert!(refused.to_string().contains("is the file system mounted"), "{refused:#}");
}

#[test]
fn a_start_makes_all_targets_before_it_listens_and_opens_last() {
    let fake = Fake::new();
    let two = PUBLISHED.to_owned() + "Target iqn.2001-04.com.example:two\n Lun 0 Path=/dev/drbd1\n";
    fake.file("/etc/ietd.conf", &two);
    let agent = agent();
    let plan = agent.start(&fake.view(), &fake.state()).unwrap();
    let words = common::testing::words(&plan);
    let at = |beginning: &str| {
        let found = words.iter().position(|word| word.starts_with(beginning));
        found.unwrap_or_else(|| panic!("{beginning}: {words:?}"))
    };
    assert!(at("make target iqn.2001") < at("listen at [::]:3260 or at 0.0.0.0:3260"));
    assert!(at("listen at") < at("open iqn.2008"));
    assert_eq!(at("open iqn.2008"), words.len() - 1);
    assert!(at("pass over line 21: Wthreads") > 0);
    assert!(words.iter().all(|word| !word.contains("secret")), "{words:?}");
}

#[test]
fn a_file_that_is_to_be_read_only_is_refused_by_its_line() {
    let fake = Fake::new();
    let text = "Target iqn.2001-04.com.example:one\n Lun 0 Path=/dev/drbd1,IOMode=ro\n";
    fake.file("/etc/ietd.conf", text);
    let refused = agent().start(&fake.view(), &fake.state()).unwrap_err();
    assert!(refused.to_string().starts_with("line 2: LIO cannot keep writers"), "{refused:#}");
    std::fs::remove_file(fake.at("/dev/drbd1")).unwrap();
    let refused = agent().start(&fake.view(), &fake.state()).unwrap_err();
    assert!(refused.to_string().starts_with("line 2: cannot look at "), "{refused:#}");
}

#[test]
fn a_target_of_somebody_elses_of_that_name_is_left_alone() {
    let fake = Fake::new();
    fake.serves(IQN, "disk", "1\n");
    let refused = agent().start(&fake.view(), &fake.state()).unwrap_err();
    assert!(refused.to_string().contains("is served already, and not by us"), "{refused:#}");
}
