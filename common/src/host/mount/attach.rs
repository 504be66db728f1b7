//! Mounting: by the kernel's own calls, or through mount(8) where a helper or
//! an option needs it.

use crate::host::io_test;
use crate::host::mount::options::{Bind, MountOptions};
use crate::host::secret;
use crate::host::system::{System, View};
use crate::host::{beneath, child};
use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::mount::MsFlags;
use std::ffi::{CString, OsStr, OsString};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Something to be mounted.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The device, or whatever the type takes in its place.
    pub source: &'a OsStr,
    /// Where; no link.
    pub directory: &'a Path,
    /// The type; none to have mount(8) find out.
    pub fstype: Option<&'a str>,
    /// The words after `-o`.
    pub options: &'a str,
}

/// Whether mount(8) has to do it, and why.
pub fn needs_program(view: &View, fstype: Option<&str>, options: &str) -> Option<String> {
    let Some(fstype) = fstype else { return Some("no type is given".into()) };
    if takes_password(fstype) || takes_secret(fstype, options) {
        return Some("its password is not to be seen".into());
    }
    if let Ok(helper) = view.program(&format!("mount.{fstype}")) {
        return Some(format!("{} exists", helper.display()));
    }
    let options = MountOptions::parse(options);
    options.userspace.first().map(|word| format!("of the option {word}"))
}

/// Whether the helper of this type takes a password from its environment.
fn takes_password(fstype: &str) -> bool {
    matches!(fstype, "cifs" | "smb3")
}

/// Whether the type's secret is among the options, where only its helper can
/// take it from a file instead.
fn takes_secret(fstype: &str, options: &str) -> bool {
    fstype == "ceph" && !secret::taken_out(options, KEY).1.is_empty()
}

/// The names of a password, and the variable that mount.cifs takes it from.
const PASSWORDS: [(&[&str], &str); 2] =
    [(&["password", "pass"], "PASSWD"), (&["password2", "pass2"], "PASSWD2")];
const KEY: &[&str] = &["secret"];

/// Mounts it, by the deadline.
pub fn mount(system: &System<'_>, wanted: Wanted<'_>) -> Result<()> {
    let words = match wanted.fstype {
        Some(fstype) if needs_program(system, wanted.fstype, wanted.options).is_none() => {
            let (directory, options) = (wanted.directory.as_os_str(), wanted.options.as_ref());
            [fstype.as_ref(), wanted.source, directory, options]
        }
        _ => return through_program(system, wanted),
    };
    let bind = MountOptions::parse(wanted.options).bind.is_some();
    let task = if bind { "bind" } else { "mount" };
    match child::run(system, task, &words, system.deadline()) {
        // A kernel from before the calls.
        Err(err) if child::errno(&err) == Some(Errno::ENOSYS) => through_program(system, wanted),
        done => done,
    }
}

fn through_program(system: &System<'_>, wanted: Wanted<'_>) -> Result<()> {
    let mut args: Vec<&OsStr> = Vec::new();
    let bind = MountOptions::parse(wanted.options).bind.is_some();
    if let Some(fstype) = wanted.fstype.filter(|_| !bind) {
        args.extend([OsStr::new("-t"), fstype.as_ref()]);
    }
    // Everybody can read the words of a process, root alone its environment and
    // what it has open.
    let mut options = wanted.options.to_owned();
    let (mut env, mut file): (Vec<(&str, String)>, _) = (Vec::new(), None);
    match wanted.fstype {
        Some(fstype) if takes_password(fstype) => {
            for (names, variable) in PASSWORDS {
                let (kept, values) = secret::taken_out(&options, names);
                options = kept;
                // Of several, mount.cifs takes the first.
                env.extend(values.into_iter().next().map(|value| (variable, value)));
            }
        }
        Some(fstype) if takes_secret(fstype, wanted.options) => {
            if let Err(missing) = system.program("mount.ceph") {
                bail!("{missing}, and without it everybody could see the secret");
            }
            let (kept, mut values) = secret::taken_out(wanted.options, KEY);
            let nameless = secret::Nameless::holding(&values.pop().unwrap_or_default())?;
            let comma = if kept.is_empty() { "" } else { "," };
            options = format!("{kept}{comma}secretfile={}", nameless.path());
            file = Some(nameless);
        }
        _ => {}
    }
    if !options.is_empty() {
        args.extend([OsStr::new("-o"), options.as_ref()]);
    }
    args.extend([OsStr::new("--"), wanted.source, wanted.directory.as_os_str()]);
    let env: Vec<_> = env.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let output = system.change_within(system.deadline().left(), &env, "mount", &args)?;
    drop(file);
    if !output.success() {
        bail!("{}", output.reason());
    }
    Ok(())
}

/// In the child: makes the file system's mount, then puts it in its place.
pub(crate) fn mount_in_child(words: &[OsString]) -> Result<()> {
    let [fstype, source, directory, options] = child::take(words)?;
    // What another node has written must not be hidden by what was read here
    // before.
    io_test::forget_cached(Path::new(source));
    let options = MountOptions::parse(&options.to_string_lossy());
    let context = match descriptor(libc::SYS_fsopen, &[text(fstype)?.as_ptr() as _, CLOEXEC]) {
        Err(err) if err.raw_os_error() == Some(libc::ENOSYS) => {
            return mount_at_once(fstype, source, directory, &options);
        }
        opened => opened.with_context(|| format!("no file system {}", fstype.display()))?,
    };
    let configured = configure(&context, source, &options)
        .and_then(|()| descriptor(libc::SYS_fsmount, &[fd(&context), CLOEXEC, options.set as _]));
    let mount = match configured {
        Ok(mount) => mount,
        // The context says more than the error's number does.
        Err(err) => return Err(anyhow::Error::new(err).context(said(context))),
    };
    put(&mount, directory)
}

/// The same before Linux 5.2, by the one call there is.
fn mount_at_once(
    fstype: &OsStr,
    source: &OsStr,
    directory: &OsStr,
    options: &MountOptions,
) -> Result<()> {
    let target = beneath::exactly(Path::new(directory))?;
    let target = format!("/proc/self/fd/{}", target.as_raw_fd());
    let (flags, data) = options.at_once();
    let flags = MsFlags::from_bits_retain(flags);
    nix::mount::mount(Some(source), target.as_str(), Some(fstype), flags, Some(data.as_str()))
        .context("the kernel refuses")
}

/// In the child: clones the mount and changes the clone alone, before anybody
/// can see it.
pub(crate) fn bind_in_child(words: &[OsString]) -> Result<()> {
    let [_, source, directory, options] = child::take(words)?;
    let options = MountOptions::parse(&options.to_string_lossy());
    let all = if options.bind == Some(Bind::All) { libc::AT_RECURSIVE } else { 0 };
    let flags = libc::OPEN_TREE_CLONE as usize | libc::O_CLOEXEC as usize | all as usize;
    let source_text = text(source)?;
    let tree =
        descriptor(libc::SYS_open_tree, &[libc::AT_FDCWD as _, source_text.as_ptr() as _, flags])
            .with_context(|| format!("no directory {}", source.display()))?;
    if options.set | options.clear != 0 {
        let attributes = libc::mount_attr {
            attr_set: options.set,
            attr_clr: options.clear,
            propagation: 0,
            userns_fd: 0,
        };
        let flags = libc::AT_EMPTY_PATH as usize | all as usize;
        call(
            libc::SYS_mount_setattr,
            &[
                fd(&tree),
                c"".as_ptr() as _,
                flags,
                &raw const attributes as _,
                size_of::<libc::mount_attr>(),
            ],
        )?;
    }
    put(&tree, directory)
}

const CLOEXEC: usize = libc::FSOPEN_CLOEXEC as usize;

fn configure(context: &OwnedFd, source: &OsStr, options: &MountOptions) -> io::Result<()> {
    let set = |key: &str, value: Option<&OsStr>| {
        let (key, value) = (text(OsStr::new(key))?, value.map(text).transpose()?);
        let command = match value {
            Some(_) => libc::FSCONFIG_SET_STRING,
            None => libc::FSCONFIG_SET_FLAG,
        };
        let value = value.as_ref().map_or(0, |value| value.as_ptr() as usize);
        call(libc::SYS_fsconfig, &[fd(context), command as _, key.as_ptr() as _, value, 0])
    };
    set("source", Some(source))?;
    for (key, value) in &options.own {
        set(key, value.as_deref().map(OsStr::new))?;
    }
    call(libc::SYS_fsconfig, &[fd(context), libc::FSCONFIG_CMD_CREATE as _, 0, 0, 0])
}

/// The complaints that the kernel has left in the context.
fn said(context: OwnedFd) -> String {
    let mut file = std::fs::File::from(context);
    let mut said = Vec::new();
    let mut line = [0; 1024];
    while let Ok(count @ 3..) = file.read(&mut line) {
        let text = String::from_utf8_lossy(&line[2..count]);
        if line[0] == b'e' {
            said.push(text.trim().trim_end_matches('.').to_owned());
        }
    }
    if said.is_empty() { "the kernel refuses".into() } else { said.join(", ") }
}

fn put(mount: &OwnedFd, directory: &OsStr) -> Result<()> {
    let target = beneath::exactly(Path::new(directory))?;
    let flags = (libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH) as usize;
    let to = [fd(&target), c"".as_ptr() as usize, flags];
    call(libc::SYS_move_mount, &[&[fd(mount), c"".as_ptr() as usize], &to[..]].concat())
        .with_context(|| format!("not on {}", directory.display()))
}

fn text(word: &OsStr) -> io::Result<CString> {
    Ok(CString::new(word.as_bytes())?)
}

fn fd(fd: &OwnedFd) -> usize {
    fd.as_raw_fd() as usize
}

fn call(number: libc::c_long, words: &[usize]) -> io::Result<()> {
    answer(number, words).map(drop)
}

fn descriptor(number: libc::c_long, words: &[usize]) -> io::Result<OwnedFd> {
    let fd = answer(number, words)?;
    // SAFETY: the calls made this way return a descriptor that is ours.
    #[allow(unsafe_code)]
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// A system call that glibc of some distributions has no name for yet.
#[allow(unsafe_code)]
fn answer(number: libc::c_long, words: &[usize]) -> io::Result<libc::c_long> {
    let word = |place: usize| words.get(place).copied().unwrap_or(0);
    // SAFETY: each of the callers above passes pointers to values that live
    // until the call is over, in the places the kernel's manual has them.
    let answer = unsafe { libc::syscall(number, word(0), word(1), word(2), word(3), word(4)) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::clock::Deadline;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    /// A machine on which `mount` writes down its words, its PASSWD and what
    /// is in the file that it is pointed at.
    fn machine(helpers: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let bin = root.path().join("usr/bin");
        std::fs::create_dir_all(&bin).unwrap();
        let said = root.path().join("said");
        let text = format!(
            "#!/bin/sh\nfile=${{4##*secretfile=}}\n\
             {{ tr '\\0' ' ' </proc/$$/cmdline; echo; echo \"$PASSWD\"; echo \"$PASSWD2\"; [ \"$file\" = \"$4\" ] || cat \"$file\"; }} >{} 2>/dev/null\nexit 0\n",
            said.display()
        );
        for name in [&["mount"], helpers].concat() {
            let (path, draft) = (bin.join(name), bin.join("draft"));
            std::fs::write(&draft, &text).unwrap();
            std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(0o755)).unwrap();
            // Another process writes it: one of ours that forks would keep it open.
            let copied = std::process::Command::new("cp").arg(&draft).arg(&path).status();
            assert!(copied.unwrap().success());
        }
        root
    }

    fn mounted(root: &Path, fstype: &str, options: &str) -> Result<Vec<String>> {
        let view = View::below(root, Deadline::after(Duration::from_secs(20)));
        let (source, directory) = (OsStr::new("srv:/x"), Path::new("/srv"));
        let wanted = Wanted { source, directory, fstype: Some(fstype), options };
        view.with_write_access(|system| mount(system, wanted))?;
        let said = std::fs::read_to_string(root.join("said"))?;
        Ok(said.lines().map(str::to_owned).collect())
    }

    #[test]
    fn a_secret_of_ceph_is_in_no_word() {
        let root = machine(&["mount.ceph"]);
        let said = mounted(root.path(), "ceph", "name=admin,secret=AQB+x==,noatime").unwrap();
        assert!(!said[0].contains("AQB"), "{said:?}");
        assert!(said[0].contains("-o name=admin,noatime,secretfile=/proc/"), "{said:?}");
        assert_eq!(said[3], "AQB+x==");
        let said = mounted(root.path(), "ceph", "secret=AQB").unwrap();
        assert!(said[0].contains("-o secretfile=/proc/") && said[3] == "AQB", "{said:?}");
        let said = mounted(root.path(), "ceph", "name=a,secretfile=/etc/ceph/a").unwrap();
        assert!(said[0].contains("-o name=a,secretfile=/etc/ceph/a "), "{said:?}");
    }

    #[test]
    fn without_its_helper_ceph_is_refused_its_secret() {
        let root = machine(&[]);
        let refused = mounted(root.path(), "ceph", "secret=AQB").unwrap_err().to_string();
        assert!(refused.contains("mount.ceph is not installed"), "{refused}");
        assert!(!refused.contains("AQB") && !root.path().join("said").exists());
    }

    #[test]
    fn a_password_of_cifs_goes_by_the_environment() {
        let root = machine(&[]);
        let said = mounted(root.path(), "cifs", "user=a,password=x").unwrap();
        assert!(!said[0].contains("password") && said[1] == "x", "{said:?}");
        let said = mounted(root.path(), "cifs", "user=a,pass=x,,y,password2=z,,z,ro").unwrap();
        assert!(said[0].contains("-o user=a,ro ") && said[1] == "x,y", "{said:?}");
        assert_eq!(said[2], "z,z");
    }
}
