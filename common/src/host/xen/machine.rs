//! Whether there can be guests of Xen on this machine at all: what is to be
//! known where xenstore is not there to be asked.

use crate::host::absence::Absent;
use crate::host::system::View;
use anyhow::{Context, Result, bail};

/// The kernel's words on the hypervisor beneath it.
const TYPE: &str = "/sys/hypervisor/type";

/// Proof that there can be none. An error where Xen runs here, or may.
pub(super) fn impossible(view: &View) -> Result<Absent> {
    match view.read(TYPE) {
        Ok(kind) if kind.trim() != "xen" => {
            return Ok(Absent::seen(format!("the hypervisor is {}", kind.trim())));
        }
        Ok(_) => return as_a_guest(view),
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => {}
        Err(err) => return Err(err).with_context(|| format!("cannot read {TYPE}")),
    }
    // A kernel may have been built without that file, and /sys may be missing. The
    // directory in /proc is made by the kernel on Xen alone.
    for sign in ["/proc/xen", "/dev/xen/xenbus"] {
        if view.exists(sign)? {
            bail!("there is {sign}, and xenstored does not answer: is Xen's service started?");
        }
    }
    match view.exists("/sys/kernel")? && view.exists("/proc/1")? {
        true => Ok(Absent::seen("Xen does not run here")),
        false => bail!("cannot tell whether Xen runs here: /sys or /proc is not mounted"),
    }
}

/// A guest of Xen's has no guests of its own: only the first domain's UUID is
/// all zeros.
fn as_a_guest(view: &View) -> Result<Absent> {
    let uuid = view.read("/sys/hypervisor/uuid").unwrap_or_default();
    let is_guest =
        super::is_uuid(uuid.trim()) && uuid.trim().bytes().any(|c| !matches!(c, b'0' | b'-'));
    match is_guest {
        true => Ok(Absent::seen("this machine is a guest of Xen's itself")),
        false => bail!(
            "xenstored does not answer, and only it knows the guests: is Xen's service started?"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Files;

    #[test]
    fn that_there_can_be_no_guest_is_proven() {
        let machine = Files::new();
        let says = |machine: &Files| match impossible(&machine.view()) {
            Ok(absent) => absent.to_string(),
            Err(err) => format!("doubt: {err:#}"),
        };
        assert!(says(&machine).contains("not mounted"));
        machine.dir("/sys/kernel").dir("/proc/1");
        assert_eq!(says(&machine), "Xen does not run here");
        machine.dir("/proc/xen");
        assert!(says(&machine).starts_with("doubt: there is /proc/xen"));
        machine.file("/sys/hypervisor/type", "xen\n");
        assert!(says(&machine).starts_with("doubt: xenstored does not answer"));
        machine.file("/sys/hypervisor/uuid", "00000000-0000-0000-0000-000000000000\n");
        assert!(says(&machine).starts_with("doubt: xenstored does not answer"));
        machine.file("/sys/hypervisor/uuid", "6e82951e-eb72-11f1-840f-ffbeb24a467b\n");
        assert_eq!(says(&machine), "this machine is a guest of Xen's itself");
        machine.file("/sys/hypervisor/type", "kvm\n");
        assert_eq!(says(&machine), "the hypervisor is kvm");
    }
}
