#![allow(clippy::disallowed_methods, reason = "makes a machine out of files")]

use super::*;
use crate::drbd::fake::Fake;
use common::testing::carry_out;
use ocf_meta::{Given, Reading};

const CONFIG: &str = "resource r0 { on node1 { device /dev/drbd0; disk /dev/sda1; } } \
    resource r0-U { stacked-on-top-of r0 { device /dev/drbd10; } on node3 { device /dev/drbd10; } }";

/// What the kernel has of each of the two is in a file, and `drbdadm` changes
/// it as DRBD would: the upper one is up only where the lower one is Primary.
const DRBDADM: &str = r#"
stacked=no; [ "$1" = --stacked ] && { stacked=yes; shift; }
case $2 in r0-U) file=upper; needs=yes;; *) file=lower; needs=no;; esac
[ $stacked = $needs ] || { echo "'$2' not defined in your config (for this host)." >&2; exit 10; }
set_role() { sed -i "s/role:[A-Z][a-z]* suspended/role:$1 suspended/" $file; }
case $1 in
primary) set_role Primary;;
secondary) [ $file = lower ] && [ -s upper ] && exit 11; set_role Secondary;;
adjust) grep -q role:Primary lower || exit 20; [ -s upper ] || cp upper.down upper;;
down) : > upper;;
esac
exit 0
"#;

const DRBDSETUP: &str = r#"
case $1 in
events2) case $3 in r0) cat lower;; r0-U) cat upper;; *) cat lower upper;; esac; echo 'exists -';;
secondary) sed -i "s/role:Primary suspended/role:Secondary suspended/" $([ $2 = r0 ] && echo lower || echo upper);;
down) : > upper;;
esac
"#;

fn lines(name: &str, role: &str, minor: u32, disk: &str) -> String {
    format!(
        "exists resource name:{name} role:{role} suspended:no\n\
         exists connection name:{name} peer-node-id:1 conn-name:far connection:Connected role:Secondary\n\
         exists device name:{name} volume:0 minor:{minor} backing_dev:{disk} disk:UpToDate client:no quorum:yes\n"
    )
}

fn machine(lower: &str, upper: Option<&str>) -> Fake {
    let fake = Fake::nine("");
    fake.program("drbdsetup", DRBDSETUP).program("drbdadm", DRBDADM);
    fake.file("/etc/drbd.conf", CONFIG);
    let of_upper = |role| lines("r0-U", role, 10, "/dev/drbd0");
    fake.file("/lower", &lines("r0", lower, 0, "/dev/sda1"));
    fake.file("/upper", &upper.map(of_upper).unwrap_or_default());
    fake.file("/upper.down", &of_upper("Secondary"));
    fake
}

fn agent() -> Drbdupper {
    let mut given = Given::default();
    given.set("drbd_resource", "r0-U");
    let params = DrbdupperParams::read(&mut Reading::strict(&given)).unwrap();
    Drbdupper::new(params, &Request::plain("u")).unwrap()
}

const PATIENT: Duration = Duration::from_secs(20);

fn seen(fake: &Fake) -> (Status, Option<&'static str>) {
    let (agent, view) = (agent(), fake.view(PATIENT));
    let state = agent.observe(&view).unwrap();
    (agent.status(&state), agent.word(&state))
}

/// The word beside `stopped`.
fn stopped(fake: &Fake) -> Option<&'static str> {
    let (status, word) = seen(fake);
    assert!(status.is_stopped(), "{status}");
    word
}

fn change(fake: &Fake, start: bool) -> Result<()> {
    let (agent, view) = (agent(), fake.view(PATIENT));
    let state = agent.observe(&view)?;
    let plan = if start { agent.start(&view, &state) } else { agent.stop(&view, &state) };
    carry_out(&view, plan?)
}

#[test]
fn a_start_begins_below_and_a_stop_above() {
    let fake = machine("Secondary", None);
    assert_eq!(stopped(&fake), Some("Unconfigured"));
    change(&fake, true).unwrap();
    assert_eq!(seen(&fake), (Status::Running(common::Role::Started), Some("Primary")));
    let started = [
        "drbdadm primary r0",
        "drbdadm --stacked check-resize r0-U",
        "drbdadm --stacked adjust r0-U",
        "drbdadm --stacked primary r0-U",
    ];
    assert_eq!(fake.called(), started);
    fake.forget();
    change(&fake, false).unwrap();
    assert_eq!(stopped(&fake), Some("Unconfigured"));
    let stopped =
        ["drbdadm --stacked secondary r0-U", "drbdadm --stacked down r0-U", "drbdadm secondary r0"];
    assert_eq!(fake.called(), stopped);
    assert!(!fake.path("/run/resource-agents/drbdupper-r0-U.lower").exists());
}

#[test]
fn what_a_start_cut_short_has_left_is_no_success_and_is_cleared() {
    let fake = machine("Secondary", None);
    fake.program("drbdadm", &DRBDADM.replace("adjust) ", "adjust) exit 20; "));
    assert!(change(&fake, true).is_err());
    let (status, word) = seen(&fake);
    let Status::Failed(_, reason) = status else { panic!("{status}") };
    assert_eq!(reason, "the lower resource r0 is Primary, and r0-U is not");
    assert_eq!(word, None, "heartbeat must not read that as stopped");
    change(&fake, false).unwrap();
    assert!(seen(&fake).0.is_stopped());
}

#[test]
fn a_hint_that_is_damaged_is_in_the_way_of_nothing() {
    let record = "/run/resource-agents/drbdupper-r0-U.lower";
    for damaged in ["", "r", "--force\n", "r0\0\u{fffd}\n"] {
        let fake = machine("Secondary", None);
        fake.file(record, damaged);
        assert!(matches!(seen(&fake).0, Status::Stopped(_)), "{damaged:?}");
        change(&fake, false).unwrap();
        assert!(!fake.path(record).exists(), "{damaged:?}");
        // The kernel and the configuration still tell what was made Primary.
        let fake = machine("Primary", Some("Secondary"));
        fake.file(record, damaged);
        assert!(matches!(seen(&fake).0, Status::Failed(..)), "{damaged:?}");
        change(&fake, false).unwrap();
        assert!(matches!(seen(&fake).0, Status::Stopped(_)), "{damaged:?}");
        assert!(!fake.path(record).exists(), "{damaged:?}");
    }
}

#[test]
fn a_lower_resource_that_somebody_else_has_promoted_is_not_ours() {
    let fake = machine("Primary", None);
    assert!(seen(&fake).0.is_stopped());
    change(&fake, true).unwrap();
    assert!(!fake.called().contains(&"drbdadm primary r0".to_owned()));
    // As the script has it, a stop takes the lower one back all the same.
    change(&fake, false).unwrap();
    assert!(fake.called().ends_with(&["drbdadm secondary r0".to_owned()]));
}

#[test]
fn a_stop_needs_no_configuration() {
    let fake = machine("Primary", Some("Primary"));
    fake.file("/etc/drbd.conf", "resource {").program("drbdadm", "exit 10");
    change(&fake, false).unwrap();
    assert!(seen(&fake).0.is_stopped());
    let past: Vec<String> =
        fake.called().into_iter().filter(|call| call.starts_with("drbdsetup")).collect();
    assert_eq!(past, ["drbdsetup secondary r0-U", "drbdsetup down r0-U", "drbdsetup secondary r0"]);
}

#[test]
fn a_stop_names_who_holds_the_upper_device() {
    let fake = machine("Primary", Some("Primary"));
    let busy = "echo '10: State change failed: (-12) Device is held open by someone' >&2; exit 11";
    fake.program("drbdadm", busy);
    fake.file("/sys/class/block/drbd10/dev", "147:10\n");
    fake.file("/proc/self/mountinfo", "36 25 147:10 / /srv rw - ext4 /dev/drbd10 rw\n");
    let refused = change(&fake, false).unwrap_err();
    assert!(refused.to_string().contains("in use: mount on /srv"), "{refused:#}");
    assert!(seen(&fake).0.is_active());
}

#[test]
fn a_far_node_that_is_away_is_waited_for_and_is_no_failure() {
    let fake = machine("Secondary", None);
    let alone = lines("r0-U", "Secondary", 10, "/dev/drbd0")
        .replace("connection:Connected role:Secondary", "connection:Connecting role:Unknown");
    fake.file("/upper.down", &alone);
    let begun = std::time::Instant::now();
    change(&fake, true).unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(4));
    assert!(seen(&fake).0.is_active());
}

#[test]
fn a_resource_that_is_not_stacked_is_refused() {
    let fake = machine("Secondary", None);
    fake.file("/etc/drbd.conf", "resource r0-U { on node1 { device /dev/drbd10; } }");
    let refused = change(&fake, true).unwrap_err();
    assert!(refused.to_string().contains("is not stacked on this node"), "{refused:#}");
    assert!(fake.called().is_empty());
}

#[test]
fn all_is_no_resource() {
    let agent = Drbdupper {
        params: DrbdupperParams { drbd_resource: Name("all".into()), wfc_timeout: Seconds(5) },
    };
    assert!(agent.validate().is_err());
    assert_eq!(agent.no_status().unwrap().0, 10);
}

#[test]
fn an_upper_resource_of_eight_is_found_by_its_minor() {
    let fake = Fake::new(
        " 0: cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate C r-----\n10: cs:Connected ro:Primary/Secondary ds:UpToDate/UpToDate C r-----\n",
    );
    fake.file("/etc/drbd.conf", CONFIG);
    assert_eq!(seen(&fake), (Status::Running(common::Role::Started), Some("Primary")));
}
