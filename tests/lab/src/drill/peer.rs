//! The peer is lost, or its data are on their way.

use super::stand::{DOUBLE, PLAIN, Stand};
use crate::keeper::Verb;
use crate::random::Random;
use anyhow::{Context, Result, anyhow, ensure};
use std::thread;
use std::time::Duration;

/// How often the peer is lost in one drill.
const TIMES: u64 = 3;

/// Promotes the first node while `lose` is done to its peer.
fn promote_while(stand: &Stand, name: &str, lose: impl Fn() -> Result<()> + Sync) -> Result<i32> {
    let node = stand.node(0);
    let drbd = node.agent("drbd", name).limit(60);
    // Longer than a promote takes: some come before, some after.
    let delay = Duration::from_millis(Random::new(stand.seed, name).below(400));
    let answer = thread::scope(|scope| {
        let losing = scope.spawn(|| {
            thread::sleep(delay);
            lose()
        });
        let answer = drbd.action("promote");
        losing.join().map_err(|_| anyhow!("a helper thread died"))??;
        answer
    })?;
    let code = answer.exits_one_of(&[0, 1])?.code();
    let (told, seen) = (drbd.action("monitor")?, node.minors()?);
    let minors: &[u32] = if name == PLAIN { &[0] } else { &[2, 3] };
    let primary = minors
        .iter()
        .filter(|minor| seen.get(minor).is_some_and(|seen| seen.roles.0 == "Primary"))
        .count();
    let truth = match primary {
        0 => 0,
        some if some == minors.len() => 8,
        _ => 9,
    };
    ensure!(code != 0 || truth == 8, "promote ended well, and {primary} volumes are Primary");
    told.exits(truth).context("after the promote")?;
    Ok(code)
}

/// See the catalogue.
pub fn falls_silent(stand: &Stand) -> Result<String> {
    let mut codes = Vec::new();
    let network = || "private".to_owned();
    for time in 0..TIMES {
        let name = if time % 2 == 0 { DOUBLE } else { PLAIN };
        let cut = Verb::Cut { machine: "node2".into(), network: network(), silent: true };
        let stand = stand.seeded(stand.seed + time);
        let lab = stand.lab;
        codes.push(promote_while(&stand, name, || lab.tell(&cut))?);
        stand.lab.tell(&Verb::Mend { machine: "node2".into(), network: network() })?;
        recover(&stand, name)?;
    }
    Ok(format!("exit codes {codes:?}"))
}

/// See the catalogue.
pub fn loses_power(stand: &Stand) -> Result<String> {
    let mut codes = Vec::new();
    for time in 0..TIMES {
        let name = if time % 2 == 0 { PLAIN } else { DOUBLE };
        let machine = || "node2".to_owned();
        let stand = stand.seeded(stand.seed + time);
        let off = Verb::PowerOff { machine: machine() };
        let lab = stand.lab;
        codes.push(promote_while(&stand, name, || lab.tell(&off))?);
        stand.lab.tell(&Verb::PowerOn { machine: machine() })?;
        stand.arrive(1)?;
        recover(&stand, name)?;
    }
    Ok(format!("exit codes {codes:?}"))
}

/// Promoted in the end, connected, with good disks; then demoted.
fn recover(stand: &Stand, name: &str) -> Result<()> {
    let node = stand.node(0);
    node.agent("drbd", name).action("promote")?.exits(0)?;
    let minors: &[u32] = if name == PLAIN { &[0] } else { &[2, 3] };
    for minor in minors {
        node.await_minor(*minor, "the peer to be back", |minor| minor.is_whole())?;
    }
    node.agent("drbd", name).action("demote")?.exits(0)?;
    Ok(())
}

/// See the catalogue.
pub fn is_synchronised(stand: &Stand) -> Result<String> {
    let [target, source] = stand.nodes();
    source.agent("drbd", PLAIN).action("promote")?.exits(0)?;
    source.shell("dd if=/dev/urandom of=/dev/drbd0 bs=1M seek=8 count=24 oflag=direct 2>&1")?;
    let wanted = source.shell("dd if=/dev/drbd0 bs=1M skip=8 count=24 2>/dev/null | md5sum")?;
    source.agent("drbd", PLAIN).action("demote")?.exits(0)?;
    for node in [&target, &source] {
        node.shell("drbdadm disk-options --resync-rate=1M r0 2>&1")?;
    }
    target.shell("drbdadm invalidate r0 2>&1")?;
    let is_target = |minor: &super::call::Minor| minor.connection == "SyncTarget";
    target.await_minor(0, "the synchronisation to begin", is_target)?;
    let drbd = target.agent("drbd", PLAIN);
    drbd.action("monitor")?.exits(0)?;
    for _ in 0..3 {
        drbd.action("promote")?.exits(0)?;
        drbd.action("monitor")?.exits(8)?;
        drbd.action("demote")?.exits(0)?;
    }
    drbd.action("promote")?.exits(0)?;
    let found = target.shell("dd if=/dev/drbd0 bs=1M skip=8 count=24 2>/dev/null | md5sum")?;
    ensure!(found == wanted, "the node that is being filled reads other data than were written");
    let was_under_way = is_target(&target.minor(0)?);
    for node in [&target, &source] {
        node.shell("drbdadm disk-options --resync-rate=100M r0 2>&1")?;
    }
    target.await_minor(0, "the synchronisation to end", |minor| minor.is_whole())?;
    ensure!(was_under_way, "the synchronisation was over before the node could be promoted in it");
    drbd.action("demote")?.exits(0)?;
    Ok(String::new())
}
