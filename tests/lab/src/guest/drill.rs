//! The kill loop: calls an agent as the cluster does, kills it and all it has
//! started at a moment that looks random, asks the kernel what is true, and
//! holds the agent's monitor and the recovery against that. It runs in the
//! machine, since a command from outside takes longer than many an action.

use crate::drill::call::{Call, Minor, minors};
use crate::drill::order::{Order, Real, Subject, Victim};
use crate::random::Random;
use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What the last action said.
const SAID: &str = "/run/lab/drill.said";

/// Waits between two looks at something that is about to change.
const PAUSE: Duration = Duration::from_millis(20);

/// Between two looks at a process.
const TICK: Duration = Duration::from_millis(2);

/// How long DRBD may take to connect and to have good disks again.
const PATIENCE: Duration = Duration::from_secs(90);

/// What became of the kills.
#[derive(Default)]
struct Score {
    struck: u32,
    before: u32,
    between: u32,
    after: u32,
}

/// Kills as the order says; every line printed is one round or a complaint.
pub fn run(words: &[String]) -> ExitCode {
    let order = words.first().map(|text| serde_json::from_str::<Order>(text));
    let Some(Ok(order)) = order else {
        eprintln!("lab: no order for the kill loop in {words:?}");
        return ExitCode::from(2);
    };
    match kill(&order) {
        Ok(score) => {
            let Score { struck, before, between, after } = score;
            println!(
                "{} kills on {}, {struck} in the middle: {before} before anything had changed, \
                 {between} with half of it done, {after} with all of it",
                order.rounds, order.victim.call.node
            );
            ExitCode::SUCCESS
        }
        Err(why) => {
            println!("! {why}");
            ExitCode::FAILURE
        }
    }
}

fn kill(order: &Order) -> Result<Score, String> {
    let victim = &order.victim;
    let Call { agent, params, .. } = &victim.call;
    let object = params.first().map_or("", |(_, value)| value);
    let mut random = Random::new(order.seed, &format!("{agent} {} {object}", victim.action));
    let mut usual = measure(victim)?;
    let mut score = Score::default();
    for round in 0..order.rounds {
        let delay = Duration::from_micros(random.below(usual.as_micros().max(1) as u64));
        let missed = one(victim, round as usize, delay, &mut score).map_err(|why| {
            let action = &victim.action;
            format!("kill {round}, of {agent} {action} {object} after {delay:.1?}: {why}")
        })?;
        // A busy host is slow, and then quick again.
        usual = match missed {
            Some(took) => (usual + took) / 2,
            None => usual * 51 / 50,
        };
        println!("kill {} of {}, {} in the middle", round + 1, order.rounds, score.struck);
    }
    Ok(score)
}

/// How long the action takes when nobody kills it: the middle of three.
fn measure(victim: &Victim) -> Result<Duration, String> {
    let mut times = Vec::new();
    for turn in 0..3 {
        all(&victim.call, pick(&victim.before, turn))?;
        let begun = Instant::now();
        call(&victim.call, &victim.action, &[0])?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok(times[1])
}

/// One kill and its recovery; how long the action took if it was faster.
fn one(
    victim: &Victim,
    turn: usize,
    delay: Duration,
    score: &mut Score,
) -> Result<Option<Duration>, String> {
    all(&victim.call, pick(&victim.before, turn))?;
    let (begin, _) = look(&victim.subject)?;
    let missed = strike(&victim.call, &victim.action, delay)?;
    let (left, seen) = judged(victim)?;
    if missed.is_none() {
        score.struck += 1;
        match left {
            left if left == begin => score.before += 1,
            left if victim.promises(&victim.action, left) => score.after += 1,
            _ => score.between += 1,
        }
    }
    let recovery = pick(&victim.after, turn);
    let told =
        |why: String| format!("{} after the kill had left {seen}: {why}", recovery.join(" "));
    all(&victim.call, recovery).map_err(&told)?;
    let (now, seen_now) = judged(victim).map_err(&told)?;
    let last = recovery.last().map_or("", String::as_str);
    if !victim.promises(last, now) {
        return Err(told(format!("the end is {seen_now}")));
    }
    match &victim.subject {
        Subject::Drbd(wanted) if now != Real::Gone => settle(wanted).map_err(&told)?,
        Subject::Stacked { lower, .. } => settle(&[*lower]).map_err(&told)?,
        _ => {}
    }
    Ok(missed)
}

fn pick(lists: &[Vec<String>], turn: usize) -> &[String] {
    lists.get(turn % lists.len().max(1)).map_or(&[], Vec::as_slice)
}

fn all(victim: &Call, actions: &[String]) -> Result<(), String> {
    actions.iter().try_for_each(|action| call(victim, action, &[0]).map(drop))
}

fn spawn(victim: &Call, action: &str) -> Result<Child, String> {
    let said = File::create(SAID).map_err(|err| format!("{SAID}: {err}"))?;
    let also = said.try_clone().map_err(|err| format!("{SAID}: {err}"))?;
    Command::new(victim.path())
        .arg(action)
        .envs(victim.environment(action))
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(said)
        .stderr(also)
        .process_group(0)
        .spawn()
        .map_err(|err| format!("cannot run {}: {err}", victim.path()))
}

/// An action that is left alone; what it ends with has to be among the codes.
fn call(victim: &Call, action: &str, codes: &[i32]) -> Result<i32, String> {
    let begun = Instant::now();
    let mut child = spawn(victim, action)?;
    let limit = Duration::from_secs(victim.limit.into());
    let status = loop {
        match child.try_wait().map_err(|err| err.to_string())? {
            Some(status) => break status,
            None if begun.elapsed() > limit => {
                let _ = killpg(Pid::from_raw(child.id() as i32), Signal::SIGKILL);
                let _ = child.wait();
                return Err(format!("{action} was not over within its limit of {limit:?}"));
            }
            None => thread::sleep(TICK),
        }
    };
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    if codes.contains(&code) {
        return Ok(code);
    }
    let said = fs::read_to_string(SAID).unwrap_or_default();
    Err(format!("{action} ended with {code} and not with {codes:?}: {}", said.trim()))
}

/// Kills the action with all it has started; how long the action took if it
/// was over before.
fn strike(victim: &Call, action: &str, delay: Duration) -> Result<Option<Duration>, String> {
    let mut child = spawn(victim, action)?;
    let group = Pid::from_raw(child.id() as i32);
    let begun = Instant::now();
    let mut took = None;
    while took.is_none() && begun.elapsed() < delay {
        thread::sleep(TICK.min(delay.saturating_sub(begun.elapsed())));
        took = child.try_wait().map_err(|err| err.to_string())?.map(|_| begun.elapsed());
    }
    if took.is_some() {
        return Ok(took);
    }
    let _ = killpg(group, Signal::SIGKILL);
    let status = child.wait().map_err(|err| err.to_string())?;
    let killed = Instant::now();
    // What is in a system call dies at its end.
    while killpg(group, None) != Err(Errno::ESRCH) {
        if killed.elapsed() > Duration::from_secs(60) {
            return Err(format!("a program of the killed {action} is still there after 60 s"));
        }
        thread::sleep(TICK);
    }
    let is_killed = status.signal() == Some(Signal::SIGKILL as i32);
    Ok((!is_killed).then(|| begun.elapsed()))
}

/// Asks the kernel and the monitor. Where the kernel was about to change its
/// mind, both are asked again.
fn judged(victim: &Victim) -> Result<(Real, String), String> {
    let mut last = String::new();
    for _ in 0..20 {
        let (before, _) = look(&victim.subject)?;
        let told = call(&victim.call, "monitor", &[0, 1, 7, 8, 9, 190, 191])?;
        let (after, seen) = look(&victim.subject)?;
        if before == after && victim.codes(after).contains(&told) {
            return Ok((after, seen));
        }
        let said = fs::read_to_string(SAID).unwrap_or_default();
        last = format!("monitor ended with {told} where the kernel has {seen}: {}", said.trim());
        if before == after {
            break;
        }
        thread::sleep(PAUSE);
    }
    Err(last)
}

/// What the kernel has, by other ways than the agents' own.
fn look(subject: &Subject) -> Result<(Real, String), String> {
    match subject {
        Subject::Drbd(wanted) => {
            let (found, seen) = devices(wanted)?;
            Ok((Subject::drbd(wanted, &found), seen))
        }
        Subject::Stacked { lower, upper } => {
            let (found, seen) = devices(&[*lower, *upper])?;
            Ok((Subject::stacked(*lower, *upper, &found), seen))
        }
        Subject::Exports { paths } => {
            let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
            let table = read("/var/lib/nfs/etab");
            let cached = read("/proc/net/rpc/nfsd.export/content");
            let seen = format!("{} exports in the table", table.lines().count());
            Ok((Subject::exports(paths, &table, &cached), seen))
        }
        Subject::Server => {
            let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
            let threads = read("/proc/fs/nfsd/threads").trim().parse().unwrap_or(0);
            let is_bound = read("/proc/mounts").contains(" /var/lib/nfs ");
            let daemons = ["rpc.mountd", "nfsdcld", "rpc.statd"].map(runs);
            let count = daemons.iter().filter(|runs| **runs).count();
            let seen = format!("{threads} threads, bound: {is_bound}, {count} of 3 daemons");
            Ok((Subject::server(threads, is_bound, count), seen))
        }
        Subject::Volumes { group, count } => {
            let (there, work) = volumes(group);
            let seen = format!("{} of {count} volumes with {} that work", there, work);
            Ok((Subject::volumes(*count, work, there), seen))
        }
        Subject::Target { iqn, luns, stores } => {
            let (is_open, shown, stores) = target(iqn, stores);
            let seen = format!("target open: {is_open:?}, {shown} LUNs, {stores} stores");
            Ok((Subject::target(*luns, is_open, shown, stores), seen))
        }
        Subject::Lun { iqn, number, store, initiator } => {
            let group = format!("{LIO}/iscsi/{iqn}/tpgt_1");
            let place = format!("{group}/lun/lun_{number}");
            let acl = format!("{group}/acls/{initiator}/lun_{number}");
            let (is_there, is_seen) = (fs::exists(&place).unwrap_or(true), has_link(&acl));
            let (is_linked, stores) = (has_link(&place), stores_of(store));
            let seen = format!(
                "LUN there: {is_there}, linked: {is_linked}, {stores} stores, seen: {is_seen}"
            );
            Ok((Subject::lun(is_there, is_linked, stores, is_seen), seen))
        }
        Subject::Tree(wanted) => {
            let find = |path: &str| {
                let is_there = fs::symlink_metadata(path).is_ok();
                is_there.then(|| fs::read_to_string(path).unwrap_or_default())
            };
            let seen: Vec<String> = wanted
                .iter()
                .map(|object| object.split('=').next().unwrap_or_default())
                .map(|path| match find(path) {
                    Some(value) => format!("{path}: `{}`", value.trim()),
                    None => format!("no {path}"),
                })
                .collect();
            Ok((Subject::tree(wanted, find), seen.join(", ")))
        }
    }
}

/// DRBD's devices, and those wanted in words.
fn devices(wanted: &[u32]) -> Result<(BTreeMap<u32, Minor>, String), String> {
    let found = minors(&fs::read_to_string("/proc/drbd").unwrap_or_default());
    let ours = wanted.iter().filter_map(|minor| Some((minor, found.get(minor)?)));
    let seen: Vec<String> = ours.map(|(minor, seen)| format!("{minor}: {seen}")).collect();
    let both = |roles: &(String, String)| roles.0 == "Primary" && roles.1 == "Primary";
    if found.values().any(|minor| both(&minor.roles)) {
        return Err(format!("two are Primary: {}", seen.join(", ")));
    }
    let seen = if seen.is_empty() { "nothing".into() } else { seen.join(", ") };
    Ok((found, seen))
}

/// Whether some process runs this program.
fn runs(program: &str) -> bool {
    let is_it = |entry: fs::DirEntry| {
        fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe.ends_with(program))
    };
    fs::read_dir("/proc").into_iter().flatten().flatten().any(is_it)
}

/// How many devices of the group there are, and how many of them lead to a
/// disk and are not held back, by sysfs.
fn volumes(group: &str) -> (usize, usize) {
    let (mut there, mut work) = (0, 0);
    for entry in fs::read_dir("/sys/class/block").into_iter().flatten().flatten() {
        let read = |what: &str| {
            let text = fs::read_to_string(entry.path().join(what)).unwrap_or_default();
            text.trim().to_owned()
        };
        let is_ours = read("dm/uuid").starts_with("LVM-")
            && read("dm/name").starts_with(&format!("{group}-"));
        if is_ours {
            there += 1;
            let has_slaves = fs::read_dir(entry.path().join("slaves"))
                .is_ok_and(|mut slaves| slaves.next().is_some());
            work += usize::from(read("size") != "0" && read("dm/suspended") == "0" && has_slaves);
        }
    }
    (there, work)
}

/// Where the kernel's target has its directories.
const LIO: &str = "/sys/kernel/config/target";

fn names(path: &str) -> Vec<String> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn has_link(place: &str) -> bool {
    names(place).iter().any(|name| fs::read_link(format!("{place}/{name}")).is_ok())
}

/// How many stores there are whose names begin so.
fn stores_of(beginning: &str) -> usize {
    let core = format!("{LIO}/core");
    let stores = names(&core).into_iter().flat_map(|adapter| names(&format!("{core}/{adapter}")));
    stores.filter(|name| name.starts_with(beginning)).count()
}

/// Whether the target is there and open, how many LUNs it shows, and how many
/// stores there are of it.
fn target(iqn: &str, stores: &str) -> (Option<bool>, usize, usize) {
    let target = format!("{LIO}/iscsi/{iqn}");
    let enable = fs::read_to_string(format!("{target}/tpgt_1/enable")).unwrap_or_default();
    let is_open = fs::exists(&target).unwrap_or(true).then_some(enable.trim() == "1");
    let luns = names(&format!("{target}/tpgt_1/lun"));
    let is_linked = |lun: &&String| has_link(&format!("{target}/tpgt_1/lun/{lun}"));
    (is_open, luns.iter().filter(is_linked).count(), stores_of(stores))
}

/// Waits until DRBD is connected with good disks.
fn settle(wanted: &[u32]) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let found = minors(&fs::read_to_string("/proc/drbd").unwrap_or_default());
        let rotten: Vec<String> = wanted
            .iter()
            .filter(|minor| !found.get(minor).is_some_and(|minor| minor.is_whole()))
            .map(|minor| format!("{minor}: {}", found.get(minor).cloned().unwrap_or_default()))
            .collect();
        if rotten.is_empty() {
            return Ok(());
        }
        if begun.elapsed() > PATIENCE {
            return Err(format!("after {PATIENCE:?} still {}", rotten.join(", ")));
        }
        thread::sleep(PAUSE);
    }
}
