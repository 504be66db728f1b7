//! A guest of Xen's on a node: what it is made of, what it does, and how the node
//! hears of it.
//!
//! The guest is this binary once more, as the first process beneath Debian's kernel.
//! It writes numbered records into its disk without a file system, each of them synced,
//! and says on its console which are on disk. Each start of it writes under a name of
//! its own, so two that write at once show.

use super::SELF;
use super::boot::{await_path, load_modules, said};
use super::record::tell;
use crate::archive::Archive;
use crate::image::PACKED;
use anyhow::Context;
use nix::sys::reboot::{RebootMode, reboot};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::thread::sleep;
use std::time::Duration;
use story::ledger::places::Places;
use story::ledger::{RECORD, Record};
use story::timeline::now;

/// The word on the kernel's command line that makes a machine such a guest.
pub const GUEST: &str = "lab.guest";

/// What a guest's kernel runs when it is asked to shut down.
pub const POWER_OFF: &str = "/sbin/poweroff";

/// Where xl looks for what prepares a guest's disk.
pub const HOTPLUG: &str = "/etc/xen/scripts/block-lab";

/// Who the host counts the guest's records for, wherever it runs.
pub const WRITER: &str = "guest";

/// The guest's disk, as it sees it.
const DISK: &str = "/dev/xvda";

/// The driver of that disk; the others are in Debian's kernel.
const DRIVER: &str = "xen-blkfront.ko";

/// `guest-pack FILE`: makes the guest's memory disk of this binary.
pub fn pack(words: &[String]) -> ExitCode {
    let packed = || -> anyhow::Result<()> {
        let [file] = words else { anyhow::bail!("want FILE") };
        let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let drivers = format!("/lib/modules/{}/kernel/drivers/block", release.trim());
        let mut archive = Archive::default();
        for directory in ["dev", "proc", "sys", "sbin", "modules"] {
            archive.directory(directory);
        }
        archive.device("dev/console", 5, 1);
        archive.file("init", 0o755, &fs::read(SELF)?);
        archive.link(POWER_OFF.trim_start_matches('/'), "/init");
        let (name, driver) = driver(Path::new(&drivers))?;
        archive.file(&format!("modules/{name}"), 0o644, &driver);
        archive.file("modules/order", 0o644, name.as_bytes());
        archive.write(Path::new(file))
    };
    ended(packed())
}

/// The disk's driver, which Debian 13 has packed, and the guest's kernel unpacks.
fn driver(directory: &Path) -> anyhow::Result<(String, Vec<u8>)> {
    let names = [DRIVER.to_owned(), format!("{DRIVER}{PACKED}")];
    let there = |name: &String| Some((name.clone(), fs::read(directory.join(name)).ok()?));
    names.iter().find_map(there).with_context(|| format!("no {DRIVER} in {}", directory.display()))
}

/// The first process of the guest, once it sees its kernel.
pub fn run() -> Result<(), String> {
    load_modules()?;
    await_path(DISK, Duration::from_secs(60))?;
    let boot =
        fs::read_to_string("/proc/sys/kernel/random/boot_id").map_err(said("read its id"))?;
    let disk = fs::read(DISK).map_err(said("read its disk"))?;
    let mut places = Places::file(Path::new(DISK));
    for number in written(&disk) as u64 + 1.. {
        let record = Record::new(number, &boot[..8], now().as_nanos() as u64);
        places.put(&record).map_err(|err| format!("{err:#}"))?;
        println!("ack {number}");
        sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// As [`POWER_OFF`]: ends the guest. What it has acknowledged is on disk.
pub fn power_off() -> ExitCode {
    let never = reboot(RebootMode::RB_POWER_OFF);
    eprintln!("lab: cannot switch off: {never:?}");
    ExitCode::FAILURE
}

/// The last place that has its record: behind one that is damaged nothing is taken for
/// free.
fn written(disk: &[u8]) -> usize {
    let whole = |(chunk, place): &(&[u8], u64)| {
        Record::decode(chunk).is_ok_and(|record| record.number == *place)
    };
    let places: Vec<(&[u8], u64)> = disk.chunks_exact(RECORD).zip(1..).collect();
    places.iter().rposition(whole).map_or(0, |last| last + 1)
}

/// `guest-read DEVICE`: prints what a guest has written to its disk, on the node.
pub fn read(words: &[String]) -> ExitCode {
    let printed = || -> anyhow::Result<()> {
        let [device] = words else { anyhow::bail!("want DEVICE") };
        // From the disk, and not from what an earlier look has left in memory.
        fs::write("/proc/sys/vm/drop_caches", "3")?;
        let disk = fs::read(device)?;
        std::io::stdout().write_all(&disk[..written(&disk) * RECORD])?;
        Ok(())
    };
    ended(printed())
}

/// `guest-relay FILE`: tells the host of every record that the guest's console, which
/// is kept in that file, names from now on. One for each file.
pub fn relay(words: &[String]) -> ExitCode {
    let relayed = || -> anyhow::Result<()> {
        let [path] = words else { anyhow::bail!("want FILE") };
        let mut file = File::options().read(true).append(true).create(true).open(path)?;
        if file.try_lock().is_err() {
            return Ok(());
        }
        file.seek(SeekFrom::End(0))?;
        let mut console = BufReader::new(file);
        let mut line = Vec::new();
        loop {
            if console.read_until(b'\n', &mut line)? == 0 {
                sleep(Duration::from_millis(50));
                continue;
            }
            if line.ends_with(b"\n") {
                if let Some(number) = acknowledged(&String::from_utf8_lossy(&line)) {
                    tell(&format!("ack {number} {WRITER}"));
                }
                line.clear();
            }
        }
    };
    ended(relayed())
}

/// `block-lab add | remove`: what xl calls for a guest's disk before the guest runs. The
/// distribution's script starts so many processes that an emulated machine on a busy
/// host does not get through it in the 40 s that xl waits.
pub fn hotplug(words: &[String]) -> ExitCode {
    let done = || -> anyhow::Result<()> {
        if words.first().is_none_or(|word| word != "add") {
            return Ok(());
        }
        let backend = std::env::var("XENBUS_PATH")?;
        let node = |name: &str| format!("{backend}/{name}");
        let target = Command::new("xenstore-read").arg(node("params")).output()?;
        let target = String::from_utf8(target.stdout)?;
        let number = fs::metadata(target.trim())?.rdev();
        let number =
            format!("{:x}:{:x}", nix::sys::stat::major(number), nix::sys::stat::minor(number));
        let told = Command::new("xenstore-write")
            .args([node("physical-device"), number])
            .args([node("hotplug-status"), "connected".into()])
            .status()?;
        anyhow::ensure!(told.success(), "xenstore does not take {target}");
        Ok(())
    };
    ended(done())
}

/// The number in a line of the console that names a record.
fn acknowledged(line: &str) -> Option<u64> {
    line.trim().strip_prefix("ack ")?.parse().ok()
}

fn ended(how: anyhow::Result<()>) -> ExitCode {
    match how {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("lab: {err:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_goes_on_behind_the_last_record_whatever_lies_before_it() {
        let record = |number| Record::new(number, "guest", 1).encode();
        assert_eq!(written(&[0; 4096]), 0);
        let mut disk = [record(1), record(2), record(3), [0; RECORD]].concat();
        assert_eq!(written(&disk), 3);
        disk[RECORD] = b'x';
        assert_eq!(written(&disk), 3);
        disk.extend(record(7));
        assert_eq!(written(&disk), 3, "a record in another's place is none");
    }

    #[test]
    fn a_line_of_the_console_names_a_record_or_is_the_kernels() {
        assert_eq!(acknowledged("ack 17\r\n"), Some(17));
        assert_eq!(acknowledged("[    1.2] blkfront: xvda\r\n"), None);
    }
}
