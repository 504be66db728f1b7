//! A guest of libvirt's for the comparison, and a crowd beside it.
//!
//! The daemon and the guest that is measured are real. The others are processes
//! with the words of guests, and with the files that the daemon would have written:
//! two hundred guests of qemu's would be busy with their clocks.

use anyhow::{Context, Result, ensure};
use nix::mount::{MsFlags, mount};
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Where the guests' definitions lie.
pub const DIRECTORY: &str = "/mnt/guests";

/// The real one's.
pub const CONFIG: &str = "/mnt/guests/bench.xml";

pub const HYPERVISOR: &str = "qemu:///system";

/// Where the daemon notes which guests run.
const NOTED: &str = "/run/libvirt/qemu";

/// Where the daemon keeps what it has.
const OWN: &[&str] = &["/run", "/etc/libvirt", "/var/lib/libvirt", "/var/cache/libvirt"];

/// Root runs the guest, which nothing confines.
const QEMU_CONF: &str = "user = \"root\"\ngroup = \"root\"\nsecurity_driver = \"none\"\n\
    namespaces = []\ncgroup_controllers = []\nstdio_handler = \"file\"\n";

/// The daemon, and the processes that stand for guests; they end with this value.
pub struct Guests {
    daemon: Child,
    crowd: Vec<Child>,
}

impl Guests {
    /// Starts the daemon in directories of its own.
    pub fn start() -> Result<Self> {
        for own in OWN {
            fs::create_dir_all(own)?;
            mount(Some("tmpfs"), *own, Some("tmpfs"), MsFlags::empty(), None::<&str>)?;
        }
        // What the packages of a whole host make.
        for (name, line) in [
            ("passwd", "libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin\n"),
            ("group", "kvm:x:64055:\nlibvirt-qemu:x:64056:\n"),
        ] {
            let (real, own) = (format!("/etc/{name}"), format!("/mnt/{name}"));
            let text = fs::read_to_string(&real)?;
            let line = if text.contains("libvirt-qemu:") { "" } else { line };
            fs::write(&own, text + line)?;
            mount(Some(own.as_str()), real.as_str(), None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
        }
        fs::create_dir(DIRECTORY)?;
        fs::write("/etc/libvirt/qemu.conf", QEMU_CONF)?;
        let open = "auth_unix_rw = \"none\"\nauth_unix_ro = \"none\"\n";
        fs::write("/etc/libvirt/libvirtd.conf", open)?;
        let log = fs::File::create("/mnt/libvirtd.log")?;
        let daemon = Command::new("/usr/sbin/libvirtd")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start libvirtd")?;
        let guests = Self { daemon, crowd: Vec::new() };
        let end = Instant::now() + Duration::from_secs(30);
        while !virsh(&["uri"])? {
            let log = fs::read_to_string("/mnt/libvirtd.log").unwrap_or_default();
            ensure!(Instant::now() < end, "libvirtd does not answer: {log}");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(guests)
    }

    /// Makes it so many guests, of which the real one does not run yet.
    pub fn crowd(&mut self, scale: usize) -> Result<()> {
        self.end_crowd();
        for file in fs::read_dir(DIRECTORY)? {
            fs::remove_file(file?.path())?;
        }
        fs::write(CONFIG, definition())?;
        for number in 1..scale {
            let (name, uuid) = (format!("g{number}"), uuid(number));
            // It waits for a line that does not come.
            let child = Command::new("sh")
                .args(["-c", "read line", "qemu", "-name"])
                .args([&format!("guest={name}"), "-uuid", &uuid])
                .stdin(Stdio::piped())
                .spawn()?;
            let pid = child.id();
            self.crowd.push(child);
            let text = format!("<domain><name>{name}</name><uuid>{uuid}</uuid></domain>");
            fs::write(format!("{DIRECTORY}/{name}.xml"), text)?;
            let noted = format!("<domstatus state='running' reason='booted' pid='{pid}'>\n");
            fs::write(format!("{NOTED}/{name}.xml"), noted)?;
        }
        Ok(())
    }

    fn end_crowd(&mut self) {
        for mut child in self.crowd.drain(..) {
            let _ = child.kill();
            let _ = child.wait();
        }
        for noted in fs::read_dir(NOTED).into_iter().flatten().flatten() {
            if noted.file_name().to_string_lossy().starts_with('g') {
                let _ = fs::remove_file(noted.path());
            }
        }
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        let _ = virsh(&["destroy", "bench"]);
        self.end_crowd();
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

fn virsh(words: &[&str]) -> Result<bool> {
    let output = Command::new("virsh")
        .args(["-q", "-c", HYPERVISOR])
        .args(words)
        .stdin(Stdio::null())
        .output()
        .context("cannot run virsh")?;
    Ok(output.status.success())
}

fn uuid(number: usize) -> String {
    format!("6e82951e-eb72-11f1-840f-{number:012}")
}

/// A guest without a disk: its firmware finds nothing to start, and stands still.
/// The shell agent wants the name in a line of its own.
fn definition() -> String {
    format!(
        "<domain type='qemu'>\n<name>bench</name>\n<uuid>{}</uuid><memory unit='MiB'>16</memory>\
         <vcpu>1</vcpu><os><type arch='x86_64' machine='pc'>hvm</type></os><devices>\
         <emulator>/usr/bin/qemu-system-x86_64</emulator><controller type='usb' model='none'/>\
         <memballoon model='none'/></devices></domain>\n",
        uuid(0)
    )
}
