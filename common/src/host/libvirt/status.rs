//! What libvirt's daemon has written of a guest that runs, in a file of its own
//! that it replaces whole. A daemon that has ended leaves it as it was: what the
//! file says was true once.

use super::condition::Condition;
use super::identity::Definition;
use crate::host::system::View;
use crate::host::xml;
use anyhow::{Context, Result};
use std::fs::File;
use std::io::{self, Read};

/// Where they lie.
const HOME: &str = "/run/libvirt/qemu";

/// Where it is noted what the guest of this name does.
pub fn path(name: &str) -> String {
    format!("{HOME}/{name}.xml")
}

/// What is wanted stands at its begin.
const BEGIN: u64 = 2048;

/// What the file's begin says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Noted {
    pub(super) condition: Condition,
    pub(super) pid: i32,
}

/// What was noted of the guest of this name; nothing where there is no file,
/// which proves nothing.
pub(super) fn noted(view: &View, name: &str) -> Result<Option<Noted>> {
    let path = view.path(path(name));
    let mut text = Vec::with_capacity(BEGIN as usize);
    match File::open(&path).and_then(|file| file.take(BEGIN).read_to_end(&mut text)) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            view.note(format_args!("{} is not there", path.display()));
            return Ok(None);
        }
        read => read.with_context(|| format!("cannot read {}", path.display()))?,
    };
    let noted = begin(&String::from_utf8_lossy(&text));
    view.note(format_args!("{} says {noted:?}", path.display()));
    noted.map(Some).with_context(|| format!("{} says nothing of its guest", path.display()))
}

/// `<domstatus state='running' reason='booted' pid='62'>`.
fn begin(text: &str) -> Option<Noted> {
    let (_, rest) = text.split_once("<domstatus ")?;
    let (head, _) = rest.split_once('>')?;
    let value = |name: &str| {
        let (_, rest) = head.split_once(name)?;
        rest.strip_prefix("='")?.split_once('\'').map(|(value, _)| value)
    };
    let condition = Condition::of_words(value("state")?, value("reason").unwrap_or_default());
    Some(Noted { condition, pid: value("pid")?.parse().ok()? })
}

/// The number of the file in which the daemon has noted the guest. Each change
/// makes it another file.
pub fn file(view: &View, name: &str) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    let found = std::fs::metadata(view.path(path(name)));
    found.ok().map(|found| found.ino())
}

/// The definition of the guest of this name as it runs, as the daemon has noted
/// it.
pub fn definition(view: &View, name: &str) -> Result<Definition> {
    let path = path(name);
    let text = view.read(&path).with_context(|| format!("cannot read {path}"))?;
    let read = || {
        let tree = xml::parse(&text)?;
        Definition::of(tree.child("domain").context("it has no definition")?)
    };
    read().with_context(|| format!("{path} makes no sense"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::host::libvirt::guests::tests::UUID;
    use crate::testing::Files;

    pub(crate) fn noted_file(machine: &Files, name: &str, state: &str, pid: i32) {
        let text = format!(
            "<!--\nWARNING: THIS IS AN AUTO-GENERATED FILE.\n  virsh edit {name}\n-->\n\n\
             <domstatus {state} pid='{pid}'>\n  <taint flag='x'/>\n  <domain type='qemu' id='1'>\n    \
             <name>{name}</name>\n    <uuid>{UUID}</uuid>\n    <vcpu>2</vcpu>\n  </domain>\n</domstatus>\n"
        );
        machine.file(&path(name), &text);
    }

    #[test]
    fn what_the_daemon_has_noted_is_read() {
        let machine = Files::new();
        let view = machine.view();
        assert_eq!(noted(&view, "web").unwrap(), None);
        noted_file(&machine, "web", "state='running' reason='booted'", 62);
        let wanted = Noted { condition: Condition::Running, pid: 62 };
        assert_eq!(noted(&view, "web").unwrap(), Some(wanted));
        let definition = definition(&view, "web").unwrap();
        assert_eq!((definition.vcpus, definition.identity.name.as_str()), (Some(2), "web"));
        for damaged in ["", "<domstatus state='running'>", "<domstatus state='running' pid='6"] {
            machine.file(&path("web"), damaged);
            assert!(noted(&view, "web").is_err(), "{damaged}");
        }
    }
}
