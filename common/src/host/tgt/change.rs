//! Making and removing what tgtd serves. Each does what is left to do of what an
//! earlier call has begun.
//!
//! tgtd wants its number for a target, which is another's as soon as the target is
//! gone and somebody makes one. So each call looks it up by the name that it is
//! given.

use super::request::{Mode, Operation, Refusal, Request};
use super::{Lun, Target, connections, discovery_users, targets, unreachable};
use crate::host::credentials::Credentials;
use crate::host::system::System;
use anyhow::{Context, Result, bail};

/// What is locked while numbers of targets and users, which are the daemon's,
/// are looked at and changed.
const SHARED: &str = "tgt";

/// What a device is, to those who read of it: the word, and SCSI's number.
pub const DEVICE_TYPES: &[(&str, u32)] =
    &[("disk", 0), ("tape", 1), ("ssc", 1), ("cd", 5), ("changer", 8), ("osd", 0x11), ("pt", 0xff)];

/// A LUN that is to be made.
#[derive(Clone, Debug)]
pub struct NewLun {
    /// Its number, from 1.
    pub number: u64,
    /// What it serves.
    pub path: String,
    /// SCSI's number for what it is.
    pub device_type: u32,
    /// `bstype`, `bsoflags`, `bsopts` and `blocksize`, as far as they are set.
    pub options: Vec<(&'static str, String)>,
}

fn ask(system: &System<'_>, request: &Request) -> Result<Result<String, Refusal>> {
    request.ask(system).with_context(unreachable)
}

/// Does it, where a refusal of these kinds says that it is done.
fn converge(system: &System<'_>, request: &Request, done: &[Refusal]) -> Result<()> {
    match ask(system, request)? {
        Err(refusal) if !done.contains(&refusal) => Err(refusal.into()),
        _ => Ok(()),
    }
}

/// The target of this name, by a fresh look.
fn find(system: &System<'_>, iqn: &str) -> Result<Option<Target>> {
    Ok(super::target(system, iqn)?.ok())
}

fn found(system: &System<'_>, iqn: &str) -> Result<Target> {
    find(system, iqn)?.with_context(|| format!("{iqn} is gone"))
}

/// Makes the target unless it is there, closed in either case, under the number that
/// is asked for, or one that is free.
pub fn target(system: &System<'_>, iqn: &str, number: Option<u32>) -> Result<()> {
    let _alone = system.hold(SHARED)?;
    let there = match targets(system)? {
        Ok(there) => there,
        Err(_) => bail!("tgtd does not run: start it first (systemctl enable --now tgt)"),
    };
    if !there.iter().any(|target| target.is_called(iqn)) {
        let taken = |tid: u32| there.iter().find(|target| target.tid == tid);
        let tid = match number {
            Some(number) => match taken(number) {
                Some(other) => {
                    bail!("tgtd has number {number} for {} already: set another tid", other.iqn)
                }
                None => number,
            },
            None => (1..).find(|number| taken(*number).is_none()).context("no number is free")?,
        };
        make(system, iqn, tid)?;
    }
    open(system, iqn, false)
}

fn make(system: &System<'_>, iqn: &str, tid: u32) -> Result<()> {
    let request = Request::of(Mode::Target, Operation::New).target(tid);
    ask(system, &request.text(format!("targetname={iqn}")))??;
    Ok(())
}

/// Lets initiators log in from now on, or tells them to come again. One that is gone
/// is closed.
pub fn open(system: &System<'_>, iqn: &str, is_ready: bool) -> Result<()> {
    let tid = match find(system, iqn)? {
        Some(target) => target.tid,
        None if !is_ready => return Ok(()),
        None => bail!("{iqn} is gone"),
    };
    let word = if is_ready { "ready" } else { "offline" };
    let request = Request::of(Mode::Target, Operation::Update).target(tid);
    ask(system, &request.text(format!("state={word}")))??;
    Ok(())
}

/// Sets what is settled at login. Whether tgtd has such a thing.
pub fn setting(system: &System<'_>, iqn: &str, name: &str, value: &str) -> Result<bool> {
    let request = Request::of(Mode::Target, Operation::Update).target(found(system, iqn)?.tid);
    match ask(system, &request.text(format!("{name}={value}")))? {
        Ok(_) => Ok(true),
        Err(Refusal::INVALID | Refusal::NO_PARAMETER) => Ok(false),
        Err(refusal) => Err(refusal.into()),
    }
}

/// Admits these and nobody else: names of initiators, addresses, networks, or
/// ALL.
pub fn admit(system: &System<'_>, iqn: &str, whom: &[String]) -> Result<()> {
    let target = found(system, iqn)?;
    let request = |operation, one: &String| {
        let kind = if is_address(one) { "address" } else { "name" };
        let text = format!("initiator-{kind}={one}");
        Request::of(Mode::Target, operation).target(target.tid).text(text)
    };
    for one in target.admitted.iter().filter(|one| !whom.contains(one)) {
        converge(system, &request(Operation::Unbind, one), &[Refusal::NOT_ADMITTED])?;
    }
    for one in whom.iter().filter(|one| !target.admitted.contains(one)) {
        converge(system, &request(Operation::Bind, one), &[Refusal::ADMITTED])?;
    }
    Ok(())
}

/// Whether it is not the name of an initiator, which begins with a letter and
/// has a dot behind three of them.
fn is_address(one: &str) -> bool {
    !["iqn.", "eui.", "naa."].iter().any(|begin| one.starts_with(begin))
}

/// Asks for this password, and answers with the other.
///
/// A user is one for the whole daemon, with one password, which nobody can ask
/// for. One that no other target has is made anew; returned are those that
/// another has too, and whose password stays what it is.
pub fn ask_for(
    system: &System<'_>,
    iqn: &str,
    incoming: Option<&Credentials>,
    outgoing: Option<&Credentials>,
) -> Result<Vec<String>> {
    let _alone = system.hold(SHARED)?;
    let target = found(system, iqn)?;
    let unbind = |user: &String, is_outgoing| {
        let unbind = Request::of(Mode::Account, Operation::Unbind).target(target.tid);
        let unbind = unbind.outgoing(is_outgoing).text(format!("user={user}"));
        converge(system, &unbind, &[Refusal::NO_USER])
    };
    // Whom an earlier start has set.
    let is_other = |user: &&String, wanted: Option<&Credentials>| {
        wanted.is_none_or(|wanted| wanted.user != **user)
    };
    for user in target.users.iter().filter(|user| is_other(user, incoming)) {
        unbind(user, false)?;
    }
    for user in target.outgoing_user.iter().filter(|user| is_other(user, outgoing)) {
        unbind(user, true)?;
    }
    let mut shared = Vec::new();
    for (credentials, is_outgoing) in [(incoming, false), (outgoing, true)] {
        let Some(Credentials { user, secret }) = credentials else { continue };
        if is_used_by_others(system, iqn, user)? {
            shared.push(user.clone());
        } else {
            delete_user(system, user)?;
            let text = format!("user={user},password={secret}");
            ask(system, &Request::of(Mode::Account, Operation::New).text(text))??;
        }
        let bind = Request::of(Mode::Account, Operation::Bind).target(target.tid);
        let bind = bind.outgoing(is_outgoing).text(format!("user={user}"));
        let is_bound = match is_outgoing {
            true => target.outgoing_user.as_ref() == Some(user),
            false => target.users.contains(user),
        };
        if !(is_bound && shared.contains(user)) {
            converge(system, &bind, &[])?;
        }
    }
    Ok(shared)
}

fn is_used_by_others(system: &System<'_>, iqn: &str, user: &String) -> Result<bool> {
    let all = targets(system)?.map(|all| all.into_items()).unwrap_or_default();
    let has = |target: &Target| {
        target.users.contains(user) || target.outgoing_user.as_ref() == Some(user)
    };
    let another = all.iter().any(|target| !target.is_called(iqn) && has(target));
    Ok(another || discovery_users(system)?.contains(user))
}

fn delete_user(system: &System<'_>, user: &str) -> Result<()> {
    let delete = Request::of(Mode::Account, Operation::Delete).text(format!("user={user}"));
    converge(system, &delete, &[Refusal::NO_USER])
}

/// Makes the daemon forget the users among these that nobody has any more.
pub fn forget_users(system: &System<'_>, iqn: &str, users: &[String]) -> Result<()> {
    let _alone = system.hold(SHARED)?;
    for user in users {
        if !is_used_by_others(system, iqn, user)? {
            delete_user(system, user)?;
        }
    }
    Ok(())
}

/// Ends the target's sessions, and waits until they have ended.
pub fn end_sessions(system: &System<'_>, iqn: &str) -> Result<()> {
    const GONE: &[Refusal] = &[Refusal::NO_TARGET, Refusal::NO_SESSION, Refusal::NO_CONNECTION];
    system.until("the last session to end", || {
        let Some(target) = find(system, iqn)? else { return Ok(Ok(())) };
        let open = connections(system, target.tid)?;
        for (session, connection) in &open {
            let end = Request::of(Mode::Connection, Operation::Delete).target(target.tid);
            converge(system, &end.connection(*session, *connection), GONE)?;
        }
        match target.initiators.as_slice() {
            [] if open.is_empty() => Ok(Ok(())),
            initiators => Ok(Err(format!("{} logged in", initiators.join(", ")))),
        }
    })
}

/// Removes the target with what is in it, once nothing of it is in use.
pub fn remove_target(system: &System<'_>, iqn: &str) -> Result<()> {
    system.until(&format!("{iqn} to be let go of"), || {
        let Some(target) = find(system, iqn)? else { return Ok(Ok(())) };
        let remove = Request::of(Mode::Target, Operation::Delete).target(target.tid);
        match ask(system, &remove)? {
            Ok(_) | Err(Refusal::NO_TARGET) => Ok(Ok(())),
            Err(Refusal::TARGET_IN_USE) => {
                end_sessions(system, iqn)?;
                Ok(Err("a session".into()))
            }
            Err(Refusal::LUN_IN_USE) => Ok(Err(in_use(&target))),
            Err(refusal) => Err(refusal.into()),
        }
    })
}

/// What commands may be under way on.
fn in_use(target: &Target) -> String {
    let shown: Vec<String> = target
        .luns
        .iter()
        .filter_map(|lun| Some(format!("LUN {} ({})", lun.number, lun.path.as_ref()?)))
        .collect();
    format!("a command under way on {}", shown.join(", "))
}

/// Makes a LUN.
pub fn lun(system: &System<'_>, iqn: &str, lun: &NewLun) -> Result<()> {
    let mut text = format!("path={}", lun.path);
    for (name, value) in &lun.options {
        text.push_str(&format!(",{name}={value}"));
    }
    let new = Request::of(Mode::Device, Operation::New).target(found(system, iqn)?.tid);
    ask(system, &new.lun(lun.number).device_type(lun.device_type).text(text))?
        .map(drop)
        .with_context(|| format!("tgtd does not open {}, and its log says why", lun.path))
}

/// Sets what a LUN tells of itself.
pub fn identity(
    system: &System<'_>,
    iqn: &str,
    number: u64,
    fields: &[(String, String)],
) -> Result<()> {
    let fields: Vec<String> =
        fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let update = Request::of(Mode::Device, Operation::Update).target(found(system, iqn)?.tid);
    ask(system, &update.lun(number).text(fields.join(",")))??;
    Ok(())
}

/// Removes a LUN, once no command is under way on it. One that shows something else
/// by now is not it.
pub fn remove_lun(system: &System<'_>, iqn: &str, lun: &Lun) -> Result<()> {
    let Lun { number, path, .. } = lun;
    let shown = path.as_deref().unwrap_or("nothing");
    system.until(&format!("LUN {number} to be let go of"), || {
        let Some(target) = find(system, iqn)? else { return Ok(Ok(())) };
        if !target.luns.iter().any(|there| there.number == *number && there.path == *path) {
            return Ok(Ok(()));
        }
        let remove = Request::of(Mode::Device, Operation::Delete).target(target.tid).lun(*number);
        match ask(system, &remove)? {
            Ok(_) | Err(Refusal::NO_LUN | Refusal::NO_TARGET) => Ok(Ok(())),
            Err(Refusal::LUN_IN_USE) => Ok(Err(format!("a command under way on {shown}"))),
            Err(refusal) => Err(refusal.into()),
        }
    })
}
