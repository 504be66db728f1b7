//! The promotion score on its way to the cluster.

use super::node::Node;
use super::stand::{PLAIN, Stand};
use crate::guest::SELF;
use anyhow::{Context, Result, ensure};
use packaging::host;
use std::time::Duration;

const PROGRAM: &str = "/usr/sbin/crm_attribute";

/// The scores that the agents tell, heard in the cluster's place.
pub struct Told;

impl Told {
    /// Listens on both nodes from now on.
    pub fn listen(stand: &Stand) -> Result<Self> {
        for node in stand.nodes() {
            node.pretend(PROGRAM, "#!/bin/sh\necho \"$*\" >> /run/drill/scores\n")?;
        }
        Ok(Self)
    }

    /// The last one: a number, `none`, or nothing where none was told.
    pub fn last(&self, node: &Node) -> Result<String> {
        let told = node.shell("tail -n 1 /run/drill/scores 2>/dev/null || true")?;
        let mut words = told.split_whitespace().rev();
        Ok(match words.next() {
            Some("--delete") => "none".into(),
            Some(number) => number.into(),
            None => String::new(),
        })
    }
}

/// See the catalogue.
pub fn nobody_listens(stand: &Stand) -> Result<String> {
    let node = stand.node(0);
    let mut longest = Duration::ZERO;
    for (what, script) in [
        ("there is no cluster", None),
        ("the program for the score hangs", Some("#!/bin/sh\nexec sleep 100000\n")),
        ("the program for the score fails", Some("#!/bin/sh\nexit 102\n")),
    ] {
        if let Some(script) = script {
            node.pretend(PROGRAM, script)?;
        }
        let drbd = node.agent("drbd", PLAIN).limit(30);
        let actions = [("stop", 0), ("start", 0), ("monitor", 0), ("promote", 0), ("monitor", 8)];
        let rest = [("notify", 0), ("demote", 0), ("monitor", 0), ("stop", 0), ("monitor", 7)];
        for (action, code) in actions.into_iter().chain(rest) {
            let answer = drbd.action(action)?.exits(code).with_context(|| what.to_owned())?;
            longest = longest.max(answer.took);
        }
        if script.is_some() {
            node.unpretend(PROGRAM)?;
        }
    }
    Ok(format!("the longest action took {longest:.1?} of 30 s"))
}

/// A row of the table: what makes it true, what is then seen on which node,
/// the monitor's code and the score.
struct Row {
    /// On the first node and on the second.
    bring: [&'static str; 2],
    /// Where it is seen.
    at: usize,
    role: &'static str,
    disks: (&'static str, &'static str),
    score: &'static str,
}

const fn row(
    bring: [&'static str; 2],
    at: usize,
    role: &'static str,
    disks: (&'static str, &'static str),
    score: &'static str,
) -> Row {
    Row { bring, at, role, disks, score }
}

const SLOW: &str = "drbdadm disk-options --resync-rate=250k r0";
const FAST: &str = "drbdadm disk-options --resync-rate=100M r0";

/// drbdadm does not pass an option on to what it calls last, and that is found
/// by drbdadm alone.
const ATTACH_ALONE: &str = "\
PATH=$PATH:/lib/drbd; drbdadm disconnect r0; drbdadm detach r0; drbdadm apply-al r0
$(drbdadm --dry-run attach r0 | grep drbdsetup) --fencing=resource-only";

/// Each begins where the one before has ended.
const TABLE: &[Row] = &[
    row(["", ""], 0, "Secondary", ("UpToDate", "UpToDate"), "10000"),
    row(["drbdadm primary r0", ""], 0, "Primary", ("UpToDate", "UpToDate"), "10000"),
    row(["", "drbdadm detach r0"], 1, "Secondary", ("Diskless", "UpToDate"), "10"),
    row(["", ""], 0, "Primary", ("UpToDate", "Diskless"), "10000"),
    row(["drbdadm secondary r0", ""], 0, "Secondary", ("UpToDate", "Diskless"), "10000"),
    row(["drbdadm disconnect r0", ""], 1, "Secondary", ("Diskless", "DUnknown"), "none"),
    row(["", ""], 0, "Secondary", ("UpToDate", "DUnknown"), "1000"),
    row(["drbdadm primary r0", ""], 0, "Primary", ("UpToDate", "DUnknown"), "10000"),
    row(
        ["drbdadm connect r0", "drbdadm down r0; drbdadm up r0"],
        0,
        "Primary",
        ("UpToDate", "UpToDate"),
        "10000",
    ),
    row([SLOW, SLOW], 0, "Primary", ("UpToDate", "UpToDate"), "10000"),
    row(["", "drbdadm invalidate r0"], 1, "Secondary", ("Inconsistent", "UpToDate"), "10"),
    row(["", ""], 0, "Primary", ("UpToDate", "Inconsistent"), "10000"),
    row(["drbdadm secondary r0", ""], 0, "Secondary", ("UpToDate", "Inconsistent"), "10000"),
    row(["", "drbdadm disconnect r0"], 1, "Secondary", ("Inconsistent", "DUnknown"), "none"),
    // What was known to be bad when the connection went does not get better.
    row([FAST, FAST], 0, "Secondary", ("UpToDate", "Inconsistent"), "10000"),
    row(["", "drbdadm connect r0"], 1, "Secondary", ("UpToDate", "UpToDate"), "10000"),
    row(
        ["", "drbdadm disconnect r0; drbdadm outdate r0"],
        1,
        "Secondary",
        ("Outdated", "DUnknown"),
        "none",
    ),
    row(["", "drbdadm connect r0"], 0, "Secondary", ("UpToDate", "UpToDate"), "10000"),
    // A node that comes up alone, and may have been fenced.
    row(["", ATTACH_ALONE], 1, "Secondary", ("Consistent", "DUnknown"), "none"),
    row(
        ["", "drbdadm disk-options --fencing=dont-care r0; drbdadm connect r0"],
        1,
        "Secondary",
        ("UpToDate", "UpToDate"),
        "10000",
    ),
    // Of a disk that is on its way up the peer's data decide. Before that it is
    // Attaching, which nobody sees: 8.4 answers no question until it is over.
    row(
        ["", "drbdadm detach r0; ip link set bond1 down; drbdadm attach r0"],
        1,
        "Secondary",
        ("Negotiating", "UpToDate"),
        "10",
    ),
    row(["", "ip link set bond1 up"], 1, "Secondary", ("UpToDate", "UpToDate"), "10000"),
];

/// Where what DRBD answered in each state is left, below the workspace.
const MESSAGES: &str = "target/lab/drbd-messages";

/// Keeps what the module says of a state, as tests/data has it.
fn keep_messages(node: &Node, state: &str) -> Result<()> {
    let text = node.shell(&format!("{SELF} drbd-messages {PLAIN}"))?;
    let dir = host::workspace().join(MESSAGES);
    std::fs::create_dir_all(&dir)?;
    let name = format!("messages-8.4.11-{}", state.to_lowercase());
    Ok(std::fs::write(dir.join(name), text)?)
}

/// See the catalogue.
pub fn table(stand: &Stand) -> Result<String> {
    let told = Told::listen(stand)?;
    for (number, Row { bring, at, role, disks, score }) in TABLE.iter().enumerate() {
        for (node, line) in stand.nodes().iter().zip(bring) {
            node.shell(&format!("exec 2>&1\n{line}"))?;
        }
        let node = stand.node(*at);
        let what = format!("{role} with {}/{}", disks.0, disks.1);
        node.await_minor(0, &format!("row {number}, {what}"), |minor| {
            minor.roles.0 == *role && minor.disks == (disks.0.into(), disks.1.into())
        })?;
        // Degraded where a connection was given up to get there.
        let codes = if *role == "Primary" { [8, 191] } else { [0, 190] };
        node.agent("drbd", PLAIN).action("monitor")?.exits_one_of(&codes)?;
        let last = told.last(&node)?;
        ensure!(last == *score, "{what} tells the score {last} and not {score}");
        keep_messages(&node, &format!("{role}-{}-{}", disks.0, disks.1))?;
    }
    Ok(format!("{} states; what DRBD answered is in {MESSAGES}", TABLE.len()))
}
