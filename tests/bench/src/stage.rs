//! Where the comparison takes place: namespaces, a crowd of objects, a load.

use super::guests::{self, Guests};
use super::measure::Run;
use anyhow::{Context, Result, ensure};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use std::cell::RefCell;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What is kept alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Address,
    Mount,
    Export,
    Port,
    Aoe,
    Guest,
    Group,
    Drbd,
}

impl Subject {
    pub fn agent(self) -> &'static str {
        match self {
            Self::Address => "IPaddr",
            Self::Mount => "Filesystem",
            Self::Export => "exportfs",
            Self::Port => "portblock",
            Self::Aoe => "vblade",
            Self::Guest => "VirtualDomain",
            Self::Group => "DomainGroup",
            Self::Drbd => "drbddisk",
        }
    }

    pub fn plural(self) -> &'static str {
        match self {
            Self::Address => "addresses",
            Self::Mount => "mounts",
            Self::Export => "exports",
            Self::Port => "ports",
            Self::Aoe => "lines",
            Self::Guest | Self::Group => "guests",
            Self::Drbd => "stopped resources",
        }
    }

    /// What the shell agent is called.
    pub fn shell_name(self) -> &'static str {
        match self {
            Self::Address => "ocf:heartbeat:IPaddr2",
            Self::Mount => "ocf:heartbeat:Filesystem",
            Self::Export => "ocf:heartbeat:exportfs",
            Self::Port => "ocf:heartbeat:portblock",
            Self::Aoe => "ocf:heartbeat:AoEtarget",
            Self::Guest => "ocf:heartbeat:VirtualDomain",
            Self::Group => "-",
            Self::Drbd => "drbddisk",
        }
    }

    /// Where the shell agent lies; nowhere where there is none.
    fn shell(self) -> &'static str {
        match self {
            Self::Address => "/usr/lib/ocf/resource.d/heartbeat/IPaddr2",
            Self::Mount => "/usr/lib/ocf/resource.d/heartbeat/Filesystem",
            Self::Export => "/usr/lib/ocf/resource.d/heartbeat/exportfs",
            Self::Port => "/usr/lib/ocf/resource.d/heartbeat/portblock",
            Self::Aoe => "/usr/lib/ocf/resource.d/heartbeat/AoEtarget",
            Self::Guest => "/usr/lib/ocf/resource.d/heartbeat/VirtualDomain",
            Self::Group => "",
            Self::Drbd => "/etc/ha.d/resource.d/drbddisk",
        }
    }
}

/// The address and the nic that is measured; the crowd fills 10.0.0.0/10.
const ADDRESS: &str = "10.200.0.1";
const NIC: &str = "bench0";

/// What is exported by ATA over Ethernet: files of these names, by lines of this
/// one. The shell agent exports one of its own, since it knows no lines.
const DISKS: &str = "/mnt/disks";
const LINES: &str = "/mnt/vblade.conf";

/// The table of exports.
const TABLE: &str = "/mnt/nfs/etab";

/// The shell agent's file for a resource that runs.
const REMEMBERED: &str = "/mnt/run/bench";

/// The namespaces of this process, and what lies in them.
pub struct Stage {
    built: PathBuf,
    device: Loop,
    /// Once the first guest is wanted.
    guests: RefCell<Option<Guests>>,
}

impl Stage {
    /// Leaves the host's network and mount table for ones of our own, which
    /// end with this process.
    pub fn enter(built: &Path) -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET)
            .context("cannot make namespaces")?;
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        mount(Some("tmpfs"), "/mnt", Some("tmpfs"), MsFlags::empty(), none)?;
        for dir in ["/mnt/run", "/mnt/data", "/mnt/crowd", "/mnt/export", "/mnt/nfs", DISKS] {
            fs::create_dir(dir)?;
        }
        mount(Some("/mnt/nfs"), "/var/lib/nfs", none, MsFlags::MS_BIND, none)?;
        fs::write(TABLE, "")?;
        // As mountd makes it.
        fs::write("/mnt/nfs/rmtab", "")?;
        ip(&["link", "set", "lo", "up"])?;
        ip(&["link", "add", NIC, "type", "veth", "peer", "name", "bench1"])?;
        ip(&["link", "set", NIC, "up"])?;
        ip(&["link", "set", "bench1", "up"])?;
        let (built, device) = (built.to_path_buf(), Loop::make("/mnt/image")?);
        Ok(Self { built, device, guests: RefCell::default() })
    }

    /// Fills the table with `scale` objects, the measured one not counted.
    pub fn crowd(&self, subject: Subject, scale: usize) -> Result<()> {
        match subject {
            Subject::Address => addresses(scale - 1),
            Subject::Mount => mounts(scale - 1),
            Subject::Export => exports(scale - 1),
            Subject::Aoe => lines(scale),
            Subject::Guest | Subject::Group => {
                let mut guests = self.guests.borrow_mut();
                if guests.is_none() {
                    *guests = Some(Guests::start()?);
                }
                guests.as_mut().map_or(Ok(()), |guests| guests.crowd(scale))
            }
            Subject::Port | Subject::Drbd => Ok(()),
        }
    }

    /// Brings the measured object up by other means than the agents.
    pub fn set_up(&self, subject: Subject) -> Result<()> {
        match subject {
            Subject::Address => ip(&["addr", "add", &format!("{ADDRESS}/24"), "dev", NIC]),
            Subject::Mount => {
                let none = None::<&str>;
                let device = Some(self.device.path.as_str());
                Ok(mount(device, "/mnt/data", Some("ext4"), MsFlags::empty(), none)?)
            }
            // What is in the table is an export once somebody remembers it: ours by
            // what its start has written down, the shell agent by a file.
            Subject::Export => {
                super::measure::once(&self.ours(subject, "start"))?;
                Ok(fs::write(REMEMBERED, "")?)
            }
            // Each agent knows what it has made itself. Ours comes first: it takes
            // away what the shell agent has left.
            Subject::Port | Subject::Aoe => self.both(subject, "start"),
            // The shell agent asks for it by its name.
            Subject::Guest | Subject::Group => {
                super::measure::once(&self.ours(subject, "start")).map(drop)
            }
            Subject::Drbd => Ok(()),
        }
    }

    /// Takes it down again, if it is up.
    pub fn tear_down(&self, subject: Subject) -> Result<()> {
        match subject {
            Subject::Address => {
                let _ = ip(&["addr", "del", &format!("{ADDRESS}/24"), "dev", NIC]);
            }
            Subject::Mount => {
                let _ = umount2("/mnt/data", MntFlags::empty());
            }
            Subject::Export => {
                super::measure::once(&self.ours(subject, "stop"))?;
                let _ = fs::remove_file(REMEMBERED);
            }
            Subject::Port => {
                self.both(subject, "stop")?;
                // Where the shell agent does not find its rule, it leaves it.
                super::measure::once(&Self::tool("iptables", &["-F"]))?;
            }
            Subject::Aoe => self.both(subject, "stop")?,
            Subject::Guest | Subject::Group => {
                super::measure::once(&self.ours(subject, "stop"))?;
            }
            Subject::Drbd => {}
        }
        Ok(())
    }

    fn both(&self, subject: Subject, action: &str) -> Result<()> {
        super::measure::once(&self.ours(subject, action))?;
        self.shell(subject, action).map_or(Ok(()), |run| super::measure::once(&run).map(drop))
    }

    fn tool(name: &str, words: &[&str]) -> Run {
        let args = words.iter().map(ToString::to_string).collect();
        Run { program: Path::new("/usr/sbin").join(name), args, env: Vec::new(), code: 0 }
    }

    /// Our agent's call.
    pub fn ours(&self, subject: Subject, action: &str) -> Run {
        let program = self.built.join(subject.agent());
        self.run(subject, program, action)
    }

    /// The shell agent's call, where it is installed.
    pub fn shell(&self, subject: Subject, action: &str) -> Option<Run> {
        let program = PathBuf::from(subject.shell());
        let mut run = program.exists().then(|| self.run(subject, program, action))?;
        if subject == Subject::Drbd {
            run.args = vec!["r0".into(), "status".into()];
            run.code = 3;
        }
        // iptables 1.8.9 lists a protocol's number, and the agent looks for the name.
        if (subject, action) == (Subject::Port, "monitor") {
            run.code = super::measure::code(&run).ok()?;
        }
        if subject == Subject::Aoe {
            let own = [("shelf", "9"), ("slot", "9"), ("nic", NIC), ("pid", "/mnt/run/shell.pid")];
            run.env.extend(own.iter().map(reskey));
            run.env.push(reskey(&("device", &format!("{DISKS}/shell"))));
        }
        Some(run)
    }

    /// A process that does nothing, called the same way.
    pub fn noop(&self, like: &Run) -> Run {
        like.with(self.built.join("noop"))
    }

    fn run(&self, subject: Subject, program: PathBuf, action: &str) -> Run {
        let mut env: Vec<(String, String)> = [
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin"),
            ("OCF_ROOT", "/usr/lib/ocf"),
            ("OCF_RA_VERSION_MAJOR", "1"),
            ("OCF_RA_VERSION_MINOR", "1"),
            ("OCF_RESOURCE_INSTANCE", "bench"),
            ("OCF_RESOURCE_TYPE", subject.agent()),
            ("OCF_RESOURCE_PROVIDER", "bench"),
            ("OCF_RESKEY_CRM_meta_timeout", "60000"),
            ("OCF_RESKEY_CRM_meta_interval", if action == "monitor" { "10000" } else { "0" }),
            ("HA_RSCTMP", "/mnt/run"),
            ("HA_LOGFACILITY", "none"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
        let params: &[(&str, &str)] = match subject {
            Subject::Address => &[("ip", ADDRESS), ("cidr_netmask", "24"), ("nic", NIC)],
            Subject::Mount => {
                &[("device", &self.device.path), ("directory", "/mnt/data"), ("fstype", "ext4")]
            }
            Subject::Export => &[
                ("directory", "/mnt/export"),
                ("clientspec", "10.0.0.0/24"),
                ("fsid", "17"),
                ("options", "rw"),
            ],
            Subject::Port => {
                &[("protocol", "tcp"), ("portno", "2049"), ("action", "block"), ("ip", ADDRESS)]
            }
            Subject::Aoe if program.starts_with(&self.built) => &[("config", LINES)],
            Subject::Aoe => &[],
            Subject::Guest => &[
                ("config", guests::CONFIG),
                ("hypervisor", guests::HYPERVISOR),
                ("force_stop", "true"),
                ("autoset_utilization_cpu", "false"),
                ("autoset_utilization_host_memory", "false"),
                ("autoset_utilization_hv_memory", "false"),
            ],
            Subject::Group => &[
                ("directory", guests::DIRECTORY),
                ("hypervisor", guests::HYPERVISOR),
                ("shutdown_timeout", "0"),
            ],
            Subject::Drbd => &[("drbd_resource", "r0")],
        };
        env.extend(params.iter().map(reskey));
        let code = if subject == Subject::Drbd { 7 } else { 0 };
        Run { program, args: vec![action.to_owned()], env, code }
    }
}

/// A parameter as the environment has it.
fn reskey((name, value): &(&str, &str)) -> (String, String) {
    (format!("OCF_RESKEY_{name}"), (*value).to_owned())
}

fn ip(words: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(words).stdin(Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {}", words.join(" "), said.trim());
    Ok(())
}

fn addresses(count: usize) -> Result<()> {
    ip(&["addr", "flush", "dev", NIC])?;
    let mut batch = tempfile::NamedTempFile::new()?;
    for number in 0..count {
        let (high, low) = (number / 200, number % 200 + 1);
        writeln!(batch, "addr add 10.{}.{}.{low}/24 dev {NIC}", high / 200, high % 200)?;
    }
    batch.flush()?;
    ip(&["-batch", &batch.path().display().to_string()])
}

fn exports(count: usize) -> Result<()> {
    const OPTIONS: &str = "rw,sync,wdelay,hide,nocrossmnt,secure,root_squash,no_all_squash,\
        no_subtree_check,secure_locks,acl,no_pnfs,anonuid=65534,anongid=65534,sec=sys,rw";
    let line = |number: usize| {
        let (high, low) = (number / 250, number % 250);
        format!("/srv/exports/{number}\t10.{high}.{low}.0/24({OPTIONS},fsid={})\n", number + 100)
    };
    Ok(fs::write(TABLE, (0..count).map(line).collect::<String>())?)
}

fn lines(count: usize) -> Result<()> {
    const SIZE: u64 = 1 << 20;
    let mut lines = String::new();
    for number in 0..count {
        fs::File::create(format!("{DISKS}/{number}"))?.set_len(SIZE)?;
        lines += &format!("{NIC} {} {} {DISKS}/{number}\n", number / 200, number % 200);
    }
    fs::File::create(format!("{DISKS}/shell"))?.set_len(SIZE)?;
    Ok(fs::write(LINES, lines)?)
}

fn mounts(count: usize) -> Result<()> {
    let none = None::<&str>;
    let present = fs::read_dir("/mnt/crowd")?.count();
    let dir = |number| format!("/mnt/crowd/{number}");
    for number in count..present {
        umount2(dir(number).as_str(), MntFlags::empty())?;
        fs::remove_dir(dir(number))?;
    }
    for number in present..count {
        let dir = dir(number);
        fs::create_dir(&dir)?;
        mount(Some("tmpfs"), dir.as_str(), Some("tmpfs"), MsFlags::empty(), none)?;
    }
    Ok(())
}

/// A loop device with an ext4 file system; it goes with the stage.
struct Loop {
    path: String,
}

impl Loop {
    fn make(image: &str) -> Result<Self> {
        fs::File::create(image)?.set_len(32 << 20)?;
        let output = Command::new("losetup").args(["--find", "--show", image]).output()?;
        ensure!(output.status.success(), "losetup: {}", String::from_utf8_lossy(&output.stderr));
        let path = String::from_utf8(output.stdout)?.trim().to_owned();
        let device = Self { path };
        let made = Command::new("mkfs.ext4").args(["-q", "-F", &device.path]).status()?;
        ensure!(made.success(), "mkfs.ext4 {} failed", device.path);
        Ok(device)
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = umount2("/mnt/data", MntFlags::MNT_DETACH);
        let _ = Command::new("losetup").args(["--detach", &self.path]).status();
    }
}

/// Busy loops; they end with this value, and with this process.
pub struct Busy(Vec<Child>);

impl Busy {
    pub fn start(count: usize) -> Result<Self> {
        let mut busy = Self(Vec::new());
        for _ in 0..count {
            // A program that does nothing but compute, and dies with its pipe.
            let loops = Command::new("timeout")
                .args(["600", "sha256sum", "/dev/zero"])
                .stdout(Stdio::null())
                .spawn()?;
            busy.0.push(loops);
        }
        Ok(busy)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        use nix::sys::signal::{Signal, kill};
        for child in &mut self.0 {
            // timeout(1) passes it on to what it runs.
            let _ = kill(nix::unistd::Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM);
            let _ = child.wait();
        }
    }
}
