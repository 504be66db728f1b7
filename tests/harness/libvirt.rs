//! libvirt's daemon on a machine of the tests, and guests of qemu's, emulated.
//!
//! A guest has a disk of which the first sector is all its software: it says on
//! its serial line that it is up, and then sleeps, or writes to its disk.

use super::machine::Machine;
use std::time::{Duration, Instant};

/// What a machine needs for it.
pub const LIBVIRT: &[&str] =
    &["virsh", "/usr/sbin/libvirtd", "/usr/bin/qemu-system-x86_64", "qemu-img"];

/// Enables the power button, says `u` on the serial line, looks each tick of the
/// clock whether the button was pressed, and turns the machine off then:
///
/// ```text
///     mov dx,0x602; mov ax,0x100; out dx,ax       ; PM1 enable: the button
///     mov dx,0x3f8; mov al,'u'; out dx,al
/// again: sti; hlt
///     mov dx,0x600; in ax,dx; test ah,1; jz again ; PM1 status: the button
///     mov dx,0x604; mov ax,0x2000; out dx,ax      ; PM1 control: off
/// done: jmp done
/// ```
const SLEEPER: &str = "ba0206b80001efbaf803b075eefbf4ba0006edf6c40174f5ba0406b80020efebfe";

/// Says `u`, and writes a sector of each further page of its disk, one at a tick
/// of the clock, by the BIOS's call 13h, function 43h.
const WRITER: &str = "31c08ed8baf803b075eefbf4be1d7cb80043b280cd138306257c08ebed\
                      10000100007c00000800000000000000";

/// What a guest does.
#[derive(Clone, Copy)]
pub enum Software {
    /// It sleeps until it is asked to shut down.
    Sleeper,
    /// It writes to its disk, and hears nothing.
    Writer,
}

/// How the daemon is set up: root runs the guests, which no module of the
/// kernel's confines, in no control group, with their output in files.
const QEMU_CONF: &str = "user = \"root\"\ngroup = \"root\"\nsecurity_driver = \"none\"\n\
    namespaces = []\ncgroup_controllers = []\ndynamic_ownership = 0\nremember_owner = 0\n\
    stdio_handler = \"file\"\n";
const LIBVIRTD_CONF: &str = "auth_unix_rw = \"none\"\nauth_unix_ro = \"none\"\n";

/// Which guest, and where its definition lies.
pub struct Guest {
    pub name: &'static str,
    pub config: String,
}

impl Machine {
    /// Makes it a machine on which libvirt can be started.
    pub fn prepare_libvirt(&self) {
        // What the packages of a whole host make.
        for (file, line) in [
            ("/etc/passwd", "libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin\n"),
            ("/etc/group", "kvm:x:64055:\nlibvirt-qemu:x:64056:\n"),
        ] {
            let text = std::fs::read_to_string(file).expect("every machine has it");
            if !text.contains("libvirt-qemu:") {
                self.file(file, &format!("{text}{line}"));
            }
        }
        self.file("/etc/libvirt/qemu.conf", QEMU_CONF);
        self.file("/etc/libvirt/libvirtd.conf", LIBVIRTD_CONF);
    }

    /// The same, and starts it.
    pub fn libvirt(&self) {
        self.prepare_libvirt();
        self.start_libvirt();
    }

    /// Starts the daemon, and waits until it answers.
    pub fn start_libvirt(&self) {
        self.must("sh", &["-c", "setsid libvirtd </dev/null >/var/log/libvirtd 2>&1 &"]);
        let end = Instant::now() + Duration::from_secs(30);
        while self.run("virsh", &["-q", "-c", "qemu:///system", "uri"]).code != Some(0) {
            let log = std::fs::read_to_string("/var/log/libvirtd").unwrap_or_default();
            assert!(Instant::now() < end, "libvirtd does not answer: {log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The daemon's process, by its lock's file.
    pub fn libvirtd(&self) -> String {
        let pid = std::fs::read_to_string("/run/libvirt/qemu/driver.pid").expect("it was started");
        pid.trim().to_owned()
    }

    /// Kills the daemon, and waits until it has ended.
    pub fn kill_libvirt(&self) {
        self.kill(&self.libvirtd());
    }

    /// Has virsh do something that must succeed.
    pub fn virsh(&self, words: &[&str]) -> String {
        self.must("virsh", &[&["-q", "-c", "qemu:///system"], words].concat())
    }

    /// Lays a guest's definition and its disk.
    pub fn guest(&self, name: &'static str, software: Software) -> Guest {
        self.guest_with(name, software, "")
    }

    /// The same, with more in the definition: elements of `domain`.
    pub fn guest_with(&self, name: &'static str, software: Software, more: &str) -> Guest {
        let code = match software {
            Software::Sleeper => SLEEPER,
            Software::Writer => WRITER,
        };
        let disk = format!("/srv/{name}.img");
        self.write_disk(&disk, code);
        let config = format!("/srv/{name}.xml");
        self.file(&config, &definition(name, &disk, more));
        Guest { name, config }
    }

    /// Has the guest's disk lie on a file system that is full soon, /srv/small.
    pub fn fill_up(&self, name: &str) {
        self.must("mkdir", &["/srv/small"]);
        self.must("mount", &["-t", "tmpfs", "-o", "size=64k", "none", "/srv/small"]);
        let (disk, small) = (format!("/srv/{name}.img"), format!("/srv/small/{name}.img"));
        self.must("cp", &["--sparse=always", &disk, &small]);
        let config = format!("/srv/{name}.xml");
        let text = std::fs::read_to_string(&config).expect("it was made");
        self.file(&config, &text.replace(&disk, &small));
    }

    fn write_disk(&self, disk: &str, code: &str) {
        let digit = |c: u8| char::from(c).to_digit(16).expect("a digit") as u8;
        let mut sector: Vec<u8> =
            code.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect();
        sector.resize(510, 0);
        sector.extend([0x55, 0xaa]);
        std::fs::write(disk, sector).expect("/srv is there");
        std::fs::File::options()
            .write(true)
            .open(disk)
            .expect("it was made")
            .set_len(1 << 20)
            .expect("sparse");
    }

    /// Whether a guest's process is there, by its words.
    pub fn guest_runs(&self, name: &str) -> bool {
        !self.guest_pids(name).is_empty()
    }

    /// Whether a guest runs, by libvirt too: it has a process before that.
    pub fn guest_is_up(&self, name: &str) -> bool {
        let state = self.run("virsh", &["-q", "-c", "qemu:///system", "domstate", name]);
        self.guest_runs(name) && state.stdout.trim() == "running"
    }

    /// The processes of a guest, that are no zombies.
    pub fn guest_pids(&self, name: &str) -> Vec<String> {
        let found =
            self.run("pgrep", &["-f", &format!("^[^ ]*qemu-system-x86_64 -name guest={name},")]);
        found.stdout.lines().map(str::to_owned).collect()
    }

    /// Waits until the last thread of a guest's process has ended, though nobody may
    /// have looked: one that is ending still has its disks.
    pub fn await_end(&self, pid: &str) {
        let tasks = || std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let end = Instant::now() + Duration::from_secs(30);
        while !(tasks() == 0 || tasks() == 1 && stat().contains(") Z ")) {
            assert!(Instant::now() < end, "process {pid} does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until the guest's software runs.
    pub fn await_boot(&self, name: &str) {
        let line = format!("/srv/{name}.serial");
        let end = Instant::now() + Duration::from_secs(30);
        while !std::fs::read(&line).is_ok_and(|said| said.contains(&b'u')) {
            assert!(Instant::now() < end, "{name} does not boot");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A guest that needs as little as can be.
fn definition(name: &str, disk: &str, more: &str) -> String {
    format!(
        "<domain type='qemu'>
  <name>{name}</name>
  <memory unit='MiB'>16</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <features><acpi/></features>
  {more}
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw'/><source file='{disk}'/><target dev='hda' bus='ide'/>
    </disk>
    <serial type='file'><source path='/srv/{name}.serial'/></serial>
  </devices>
</domain>
"
    )
}
