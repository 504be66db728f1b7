//! Filesystem: what is mounted although its name has changed, is under way, or
//! does not answer.

use crate::harness::{Call, Disk, Machine, Outcome, Program, Remote, Running};
use crate::suite::{Fell, Resource, Scene, Seen, Suite, everything_told, process, scene, wait_for};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::fs;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::Path;
use std::time::Duration;

const DATA: &str = "/srv/data";
const MOUNTED: &str = "still mounted";

pub fn scenes() -> Vec<Scene> {
    let mut scenes = Vec::new();
    scenes.extend(under_way());
    scenes.extend(elsewhere());
    scenes.extend(renamed());
    scenes.extend(in_layers());
    scenes.extend(of_others());
    scenes.extend(without_an_answer());
    scenes.extend(refused());
    scenes.extend(on_an_older_kernel());
    scenes.extend(by_hand());
    scenes
}

fn given(machine: &Machine, suite: Suite, device: &str, directory: &str) -> Resource {
    let resource = suite.agent(machine, "Filesystem").set("signal_delay", "0.1");
    resource.set("device", device).set("directory", directory).set("fstype", "ext4")
}

fn started(machine: &Machine, suite: Suite) -> (Disk, Resource) {
    let disk = machine.formatted("ext4");
    let resource = given(machine, suite, disk.path(), DATA);
    (disk, resource)
}

/// Whether a mount of this source is anywhere.
fn is_mounted(machine: &Machine, source: &str) -> bool {
    machine.mounts().iter().any(|mount| mount.source == source)
}

/// Whether the kernel lends the device to nobody else.
fn is_in_use(disk: &Disk) -> bool {
    let exclusive =
        fs::File::options().read(true).custom_flags(nix::libc::O_EXCL).open(disk.path());
    exclusive.is_err_and(|err| err.raw_os_error() == Some(nix::libc::EBUSY))
}

fn under_way() -> [Scene; 3] {
    [
        scene(
            "Filesystem: a stop does not end well while the kernel is still at the mount of a start that timed out",
            |machine, suite| still_mounting(machine, suite, |_, start| drop(start.wait(SHORT))),
        ),
        scene(
            "Filesystem: a stop does not end well while the kernel is still at the mount of a start that was killed",
            |machine, suite| still_mounting(machine, suite, killed_at_a_write),
        ),
        scene(
            "Filesystem: a stop does not end well while the check of a start that was killed is still at the disk",
            still_checking,
        ),
    ]
}

/// The time limit of what has to wait for its end.
const SHORT: Duration = Duration::from_secs(3);

/// The agent dies; what the kernel does for it goes on.
fn killed_at_a_write(remote: &Remote, start: Running) {
    wait_for(Duration::from_secs(10), || remote.holds_a_write());
    let group = Pid::from_raw(start.id().cast_signed());
    killpg(group, Signal::SIGKILL).unwrap();
}

/// Whether a process of the machine is where no signal reaches it.
fn is_stuck(machine: &Machine) -> bool {
    machine.must("ps", &["-eo", "stat="]).lines().any(|state| state.starts_with('D'))
}

fn still_mounting(machine: &Machine, suite: Suite, end: fn(&Remote, Running)) -> Seen {
    let remote = machine.remote("/srv/remote");
    let disk = machine.remote_disk(&remote, "ext4");
    fs::create_dir(DATA).unwrap();
    let resource = given(machine, suite, &disk, DATA).within(SHORT.as_secs());
    remote.pause_at_a_write();
    still_at_it(machine, &remote, &resource, end)
}

/// A check that writes past every cache waits where no signal reaches it.
fn still_checking(machine: &Machine, suite: Suite) -> Seen {
    let remote = machine.remote("/srv/remote");
    let disk = machine.remote_disk(&remote, "ext4");
    fs::create_dir(DATA).unwrap();
    let check = format!(
        "#!/bin/sh\ndd if={disk} of=/run/block count=1\n\
         exec dd if=/run/block of={disk} oflag=direct conv=notrunc\n"
    );
    let check = machine.script("fsck.ext4", &check);
    machine.must("cp", &[check.to_str().unwrap(), "/sbin/fsck.ext4"]);
    let resource = given(machine, suite, &disk, DATA).set("run_fsck", "force");
    let resource = resource.within(SHORT.as_secs());
    remote.pause_at_a_write();
    still_at_it(machine, &remote, &resource, killed_at_a_write)
}

fn still_at_it(
    machine: &Machine,
    remote: &Remote,
    resource: &Resource,
    end: fn(&Remote, Running),
) -> Seen {
    end(remote, resource.call().spawn("start"));
    assert!(is_stuck(machine), "nothing of the start is left");
    let stop = resource.stop();
    let still = is_stuck(machine);
    remote.resume();
    resource.claim(stop.code != Some(0) || !still, "the kernel still at it")
}

fn elsewhere() -> [Scene; 3] {
    [
        scene(
            "Filesystem: a stop does not end well while a writer keeps what `umount -l` has hidden",
            |machine, suite| {
                let (disk, resource) = started(machine, suite);
                resource.started()?;
                let _writer = process(machine, "exec 5>/srv/data/file; READY; exec sleep 100");
                machine.must("umount", &["-l", DATA]);
                let resource = resource.within(8);
                resource
                    .stops_or_says_so(|| is_in_use(&disk), "the file system still on its device")
            },
        ),
        scene(
            "Filesystem: a stop does not end well while its device is mounted on another directory",
            |machine, suite| {
                let (disk, resource) = started(machine, suite);
                resource.started()?;
                machine.must("mkdir", &["/srv/other"]);
                machine.must("mount", &[disk.path(), "/srv/other"]);
                machine.must("umount", &[DATA]);
                let resource = resource.within(8);
                resource.stops_or_says_so(|| is_mounted(machine, disk.path()), MOUNTED)
            },
        ),
        scene(
            "Filesystem: nor where no start of this node has left a word of it",
            |machine, suite| {
                let (disk, resource) = started(machine, suite);
                machine.must("mkdir", &["/srv/other"]);
                machine.must("mount", &[disk.path(), "/srv/other"]);
                let resource = resource.within(8);
                resource.stops_or_says_so(|| is_mounted(machine, disk.path()), MOUNTED)
            },
        ),
    ]
}

/// Started on `directory`; then the names change, and the mount has to be seen
/// and taken down all the same.
fn names_change(machine: &Machine, suite: Suite, directory: &str, change: impl FnOnce()) -> Seen {
    let disk = machine.formatted("ext4");
    let resource = given(machine, suite, disk.path(), directory);
    resource.started()?;
    change();
    let is_there = || is_mounted(machine, disk.path());
    let monitor = resource.monitor();
    resource.claim(monitor.code != Some(7), MOUNTED)?;
    resource.stops(is_there, MOUNTED)
}

fn linked(target: &str, link: &str) {
    fs::create_dir_all(target).unwrap();
    fs::create_dir_all(Path::new(link).parent().unwrap()).unwrap();
    symlink(target, link).unwrap();
}

fn renamed() -> [Scene; 5] {
    [
        scene(
            "Filesystem: a bind whose source was renamed is seen and unmounted",
            |machine, suite| {
                fs::create_dir_all("/srv/releases/new").unwrap();
                let resource = bind(machine, suite, "/srv/releases/new");
                resource.started()?;
                fs::rename("/srv/releases/new", "/srv/releases/old").unwrap();
                let monitor = resource.monitor();
                resource.claim(monitor.code != Some(7), MOUNTED)?;
                resource.stops(|| !machine.mounts_at(DATA).is_empty(), MOUNTED)
            },
        ),
        scene(
            "Filesystem: a mount is seen and unmounted where the link that led to it is gone",
            |machine, suite| {
                linked("/srv/real", "/srv/link");
                names_change(machine, suite, "/srv/link", || fs::remove_file("/srv/link").unwrap())
            },
        ),
        scene(
            "Filesystem: a mount is seen and unmounted where the link that led to it leads elsewhere",
            |machine, suite| {
                linked("/srv/real", "/srv/link");
                names_change(machine, suite, "/srv/link", || {
                    fs::remove_file("/srv/link").unwrap();
                    linked("/srv/elsewhere", "/srv/link");
                })
            },
        ),
        scene(
            "Filesystem: a mount is seen and unmounted where the link's directory is gone",
            |machine, suite| {
                linked("/srv/real", "/srv/links/link");
                names_change(machine, suite, "/srv/links/link", || {
                    fs::remove_dir_all("/srv/links").unwrap();
                })
            },
        ),
        scene(
            "Filesystem: a mount is seen and unmounted where its parent directory was renamed",
            |machine, suite| {
                fs::create_dir_all("/srv/app").unwrap();
                names_change(machine, suite, "/srv/app/data", || {
                    fs::rename("/srv/app", "/srv/app.old").unwrap();
                })
            },
        ),
    ]
}

fn bind(machine: &Machine, suite: Suite, source: &str) -> Resource {
    given(machine, suite, source, DATA).set("fstype", "none").set("options", "bind")
}

fn in_layers() -> [Scene; 3] {
    [
        scene("Filesystem: a stop takes a bind that is mounted twice", |machine, suite| {
            fs::create_dir_all("/srv/source").unwrap();
            let resource = bind(machine, suite, "/srv/source");
            stacked(machine, resource, &["--bind", "/srv/source", DATA])
        }),
        scene("Filesystem: a stop takes a tmpfs that is mounted twice", |machine, suite| {
            let resource = given(machine, suite, "tmpfs", DATA).set("fstype", "tmpfs");
            stacked(machine, resource, &["-t", "tmpfs", "tmpfs", DATA])
        }),
        scene(
            "Filesystem: what lies below another file system's mount is not running, nor stopped",
            |machine, suite| {
                let disk = machine.formatted("ext4");
                let resource = given(machine, suite, disk.path(), "/srv/app/data");
                resource.started()?;
                machine.must("mount", &["-t", "tmpfs", "cover", "/srv/app"]);
                let monitor = resource.monitor();
                let hidden = !Path::new("/srv/app/data/lost+found").exists();
                resource.claim(monitor.code != Some(0) || !hidden, "not to be reached")?;
                resource.claim(monitor.code != Some(7), MOUNTED)?;
                let resource = resource.within(8);
                resource.stops_or_says_so(|| is_mounted(machine, disk.path()), MOUNTED)
            },
        ),
    ]
}

/// Mounted by the agent, and upon that once more.
fn stacked(machine: &Machine, resource: Resource, again: &[&str]) -> Seen {
    resource.started()?;
    machine.must("mount", again);
    resource.stops(|| !machine.mounts_at(DATA).is_empty(), MOUNTED)
}

fn of_others() -> [Scene; 2] {
    [
        Scene {
            needs: &["mkfs.btrfs"],
            ..scene(
                "Filesystem: a stop leaves another resource's subvolume and its users alone",
                subvolumes,
            )
        },
        scene(
            "Filesystem: a status file never reaches past a link that a user has planted",
            planted,
        ),
    ]
}

fn subvolumes(machine: &Machine, suite: Suite) -> Seen {
    let disk = machine.formatted("btrfs");
    machine.must("mount", &[disk.path(), "/mnt"]);
    for name in ["mail", "web"] {
        machine.must("btrfs", &["subvolume", "create", &format!("/mnt/{name}")]);
    }
    machine.must("umount", &["/mnt"]);
    let resource = |name: &str| {
        let directory = format!("/srv/{name}");
        let resource = given(machine, suite, disk.path(), &directory).set("fstype", "btrfs");
        let resource = resource.set("options", &format!("subvol={name}"));
        resource.with(|call| call.instance(name))
    };
    let (mail, web) = (resource("mail"), resource("web"));
    mail.started()?;
    web.started()?;
    let mut user = process(machine, "cd /srv/web; READY; exec sleep 100");
    mail.stops(|| !machine.mounts_at("/srv/mail").is_empty(), MOUNTED)?;
    std::thread::sleep(Duration::from_millis(20));
    mail.claim(!user.has_ended(), "the other's user ended")?;
    mail.claim(!machine.mounts_at("/srv/web").is_empty(), "the other's subvolume unmounted")
}

fn planted(machine: &Machine, suite: Suite) -> Seen {
    let (_disk, resource) = started(machine, suite);
    resource.started()?;
    fs::create_dir("/srv/victim").unwrap();
    let victim = "/srv/victim/test_node1";
    fs::write(victim, "precious").unwrap();
    symlink("/srv/victim", "/srv/data/.Filesystem_status").unwrap();
    resource.monitor_at("20");
    let content = fs::read_to_string(victim).unwrap_or_default();
    resource.claim(content == "precious", "a file elsewhere written to")?;
    let files = fs::read_dir("/srv/victim").unwrap().count();
    resource.claim(files == 1, "a file left elsewhere")?;
    let deep = resource.with(|call| call.depth("20"));
    deep.stop();
    deep.claim(Path::new(victim).exists(), "a file elsewhere removed")
}

fn without_an_answer() -> [Scene; 3] {
    [
        scene(
            "Filesystem: a monitor ends in time below a file system that does not answer",
            |machine, suite| {
                let (_disk, remote, resource) = below_remote(machine, suite)?;
                remote.pause();
                let monitor = resource.monitor();
                remote.resume();
                resource.claim(!monitor.timed_out, "")?;
                let says = monitor.code == Some(0) || monitor.exit_reason().is_some();
                resource.claim(says, "no reason")
            },
        ),
        scene(
            "Filesystem: a stop ends in time below a file system that does not answer",
            |machine, suite| {
                let (disk, remote, resource) = below_remote(machine, suite)?;
                remote.pause();
                let seen = resource.stops_or_says_so(|| is_mounted(machine, disk.path()), MOUNTED);
                remote.resume();
                seen
            },
        ),
        scene(
            "Filesystem: a stop ends in time where what it has bound does not answer",
            |machine, suite| {
                let remote = machine.remote("/srv/remote");
                let source = remote.mkdir("data");
                let resource = bind(machine, suite, source.to_str().unwrap());
                resource.started()?;
                let resource = resource.within(4);
                remote.pause();
                let is_there = || !machine.mounts_at(DATA).is_empty();
                let seen = resource.stops_or_says_so(is_there, MOUNTED);
                remote.resume();
                seen
            },
        ),
    ]
}

fn below_remote(machine: &Machine, suite: Suite) -> Result<(Disk, Remote, Resource), Fell> {
    let remote = machine.remote("/srv/remote");
    let directory = remote.mkdir("data");
    let disk = machine.formatted("ext4");
    let resource = given(machine, suite, disk.path(), directory.to_str().unwrap());
    resource.started()?;
    Ok((disk, remote, resource.within(4)))
}

fn refused() -> Vec<Scene> {
    vec![
        scene("Filesystem: an image is known by another path to it, and unmounted", same_image),
        scene("Filesystem: a start says that the image is not there", |machine, suite| {
            let device = "/srv/images/none.img";
            let resource = given(machine, suite, device, DATA).set("options", "loop");
            says(&resource, &[&["none.img"], &["is not there", "No such file", "does not exist"]])
        }),
        scene(
            "Filesystem: a start with the wrong type says what the device carries",
            |machine, suite| {
                let disk = machine.formatted("ext4");
                let resource = given(machine, suite, disk.path(), DATA).set("fstype", "xfs");
                says(&resource, &[&["ext4"]])
            },
        ),
        Scene {
            needs: &["mkfs.xfs"],
            ..scene("Filesystem: a start says that a copy with the same UUID is mounted", duplicate)
        },
        scene(
            "Filesystem: a write-protected disk is refused and said to be so",
            |machine, suite| {
                let image = machine.image("/srv/images/disk.img", "ext4");
                let disk = machine.write_protected(image);
                let resource = given(machine, suite, disk.path(), DATA);
                says(&resource, &[&["write-protected", "read-only"]])
            },
        ),
        scene(
            "Filesystem: a start says that its directory is an automount point, and of whom",
            |machine, suite| {
                let (_disk, resource) = started(machine, suite);
                let resource = resource.within(8);
                let _silent = machine.automount_point(DATA);
                says(&resource, &[&["automount", "autofs"], &["systemd-1"]])
            },
        ),
        scene(
            "Filesystem: a damaged note of the last start does not keep a stop from its work",
            |machine, suite| {
                let (_disk, resource) = started(machine, suite);
                resource.started()?;
                let damage = "for file in $(find /run/resource-agents -type f); do \
                          printf '\\377\\000garbage' > $file; done";
                machine.run("sh", &["-c", damage]);
                let monitor = resource.monitor();
                resource.claim(monitor.code == Some(0), "mounted")?;
                resource.stops(|| !machine.mounts_at(DATA).is_empty(), MOUNTED)
            },
        ),
        scene(
            "Filesystem: a user's name cannot send escapes to the terminal of who reads the log",
            |machine, suite| {
                let (_disk, resource) = started(machine, suite);
                let stop = used_by_a_strange_name(machine, &resource)?;
                resource.claim(!everything_told(&stop).contains(ESCAPE), "an escape in the log")
            },
        ),
        scene("Filesystem: nor to that of who reads an action's trace", |machine, suite| {
            let (_disk, resource) = started(machine, suite);
            let traced =
                |call: Call| call.env("OCF_TRACE_RA", "1").env("OCF_TRACE_FILE", "/srv/trace");
            let resource = resource.with(traced);
            used_by_a_strange_name(machine, &resource)?;
            let trace = fs::read_to_string("/srv/trace").unwrap_or_default();
            resource.claim(!trace.is_empty(), "no trace")?;
            resource.claim(!trace.contains(ESCAPE), "an escape in the trace")
        }),
    ]
}

/// A start that has to fail, for a reason that has one of each of these words.
fn says(resource: &Resource, wanted: &[&[&str]]) -> Seen {
    let start = resource.start();
    resource.claim(start.code != Some(0), "")?;
    let reason = start.exit_reason().unwrap_or_default();
    let has = |words: &&[&str]| words.iter().any(|word| reason.contains(word));
    resource.claim(wanted.iter().all(has), "the reason does not say it")
}

fn same_image(machine: &Machine, suite: Suite) -> Seen {
    machine.image("/srv/images/disk.img", "ext4");
    fs::create_dir_all("/srv/pool").unwrap();
    fs::create_dir_all(DATA).unwrap();
    machine.must("mount", &["--bind", "/srv/images", "/srv/pool"]);
    machine.must("mount", &["-o", "loop", "/srv/images/disk.img", DATA]);
    let resource = given(machine, suite, "/srv/pool/disk.img", DATA).set("options", "loop");
    let monitor = resource.monitor();
    resource.claim(monitor.code == Some(0), "mounted")?;
    resource.stops(|| !machine.mounts_at(DATA).is_empty(), MOUNTED)
}

fn duplicate(machine: &Machine, suite: Suite) -> Seen {
    let first = machine.image("/srv/images/first", "xfs");
    let copy = Path::new("/srv/images/copy");
    machine.must("cp", &["--sparse=always", first.to_str().unwrap(), copy.to_str().unwrap()]);
    let (first, copy) = (machine.attach(first), machine.attach(copy.into()));
    machine.must("mount", &[first.path(), "/mnt"]);
    let resource = given(machine, suite, copy.path(), DATA).set("fstype", "xfs");
    says(&resource, &[&["UUID"]])
}

/// What a terminal takes for a command.
const ESCAPE: char = '\u{1b}';

/// The stop of a mount that a program uses whose name clears the screen.
fn used_by_a_strange_name(machine: &Machine, resource: &Resource) -> Result<Outcome, Fell> {
    resource.started()?;
    let name = format!("/tmp/{ESCAPE}[2Jname");
    machine.must("cp", &["/bin/sleep", &name]);
    let _user = process(machine, &format!("cd {DATA}; READY; exec '{name}' 100"));
    Ok(resource.stop())
}

/// What Debian 10 and Enterprise Linux 8 have.
const OLDER: (u32, u32) = (4, 18);

fn on_an_older_kernel() -> [Scene; 3] {
    [
        scene(
            "Filesystem: on Linux 4.18 too a start through a link ends well, and its stop",
            |machine, suite| {
                linked("/srv/real", "/srv/link");
                let disk = machine.formatted("ext4");
                let resource = given(machine, suite, disk.path(), "/srv/link");
                let resource = resource.with(|call| call.on_kernel(OLDER));
                resource.started()?;
                resource.claim(!machine.mounts_at("/srv/real").is_empty(), "not mounted")?;
                resource.stops(|| is_mounted(machine, disk.path()), MOUNTED)
            },
        ),
        scene("Filesystem: on Linux 4.18 too a start can check the disk", |machine, suite| {
            let (disk, resource) = started(machine, suite);
            let resource = resource.set("run_fsck", "force").with(|call| call.on_kernel(OLDER));
            resource.started()?;
            resource.claim(is_mounted(machine, disk.path()), "not mounted")
        }),
        scene(
            "Filesystem: on Linux 4.18 too a stop ends those who use the mount",
            |machine, suite| {
                let (_disk, resource) = started(machine, suite);
                resource.started()?;
                let _user = process(machine, "cd /srv/data; READY; exec sleep 100");
                let resource = resource.with(|call| call.on_kernel(OLDER));
                resource.stops(|| !machine.mounts_at(DATA).is_empty(), MOUNTED)
            },
        ),
    ]
}

fn by_hand() -> [Scene; 2] {
    [
        scene(
            "Filesystem: starts at once by hand, in words and in options, mount it once",
            at_once,
        ),
        scene("Filesystem: a password of cifs is in no process's words", passwords),
    ]
}

/// In the way that each suite is called by a person.
fn start_by_hand(call: &Call, suite: Suite, number: usize) -> Program {
    let words: &[&str] = match (suite, number % 2) {
        (Suite::Shell, _) => &["start"],
        (Suite::Ours, 0) => &["/srv/source", DATA, "none", "bind", "start"],
        (Suite::Ours, _) => &[
            "--device=/srv/source",
            "--directory=/srv/data",
            "--fstype=none",
            "--options=bind",
            "start",
        ],
    };
    let program = Program::new(call.path()).args(words);
    match suite {
        Suite::Ours => program,
        Suite::Shell => {
            let given = [
                ("OCF_ROOT", "/usr/lib/ocf"),
                ("OCF_RESKEY_device", "/srv/source"),
                ("OCF_RESKEY_directory", DATA),
                ("OCF_RESKEY_fstype", "none"),
                ("OCF_RESKEY_options", "bind"),
            ];
            given.iter().fold(program, |program, (name, value)| program.env(name, value))
        }
    }
}

/// One round of it may go well by chance.
fn at_once(machine: &Machine, suite: Suite) -> Seen {
    fs::create_dir_all("/srv/source").unwrap();
    let resource = suite.agent(machine, "Filesystem");
    for _ in 0..4 {
        let gate = fs::File::create("/run/gate").unwrap();
        gate.lock().unwrap();
        let starts: Vec<_> =
            (0..20).map(|number| start_by_hand(resource.call(), suite, number).spawn()).collect();
        // Most have come to the gate by then.
        std::thread::sleep(Duration::from_millis(200));
        drop(gate);
        for start in starts {
            start.wait(Duration::from_secs(20));
        }
        let mounts = machine.mounts_at(DATA).len();
        resource.claim(mounts != 0, "not mounted at all")?;
        resource.claim(mounts == 1, "mounted more than once")?;
        machine.must("umount", &[DATA]);
    }
    Ok(())
}

/// Writes down what everybody can see; `/proc` is a pretended one.
const HELPER: &str = "#!/bin/sh
for process in $$ $PPID; do
    tr '\\0' ' ' < /run/proc/$process/cmdline >> /run/words; echo >> /run/words
done
exit 1
";

fn passwords(machine: &Machine, suite: Suite) -> Seen {
    let types = fs::read_to_string("/proc/filesystems").unwrap();
    machine.pretend_proc("filesystems", &format!("{types}nodev\tcifs\n"));
    let helper = machine.script("mount.cifs", HELPER);
    machine.must("cp", &[helper.to_str().unwrap(), "/sbin/mount.cifs"]);
    let resource = given(machine, suite, "//server/share", DATA).set("fstype", "cifs");
    let secret = "username=app,password=first,,second,password2=third";
    let resource = resource.set("options", secret);
    resource.start();
    let words = fs::read_to_string("/run/words").unwrap_or_default();
    resource.claim(!words.is_empty(), "the helper was not called")?;
    let seen = ["first", "second", "third"].iter().any(|part| words.contains(part));
    resource.claim(!seen, "a password to be seen by all")
}
