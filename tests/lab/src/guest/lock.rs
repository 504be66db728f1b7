//! A lock on a file of the export: a client holds it for as long as it runs,
//! and on the node that serves the file it is seen whether the server has it.

use anyhow::{Context, Result, bail};
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

/// `lock-hold FILE`: locks the file, and writes to it by what is locked, once a
/// second. Prints `held` when it has got the lock, `beat` for each write that is
/// on disk, and `lost WHY` when it is told that the lock has gone; then it takes
/// it again.
pub fn hold(words: &[String]) -> ExitCode {
    let [file] = words else { return ExitCode::from(2) };
    let stdout = std::io::stdout();
    let say = |text: &str| writeln!(stdout.lock(), "{text}").is_ok();
    loop {
        match beat(Path::new(file), &say) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(err) => {
                if !say(&format!("lost {err:#}")) {
                    return ExitCode::SUCCESS;
                }
            }
        }
        sleep(Duration::from_secs(1));
    }
}

/// Until something goes wrong, or nobody listens any more.
fn beat(path: &Path, say: &impl Fn(&str) -> bool) -> Result<()> {
    let file = File::options().write(true).create(true).truncate(false).open(path)?;
    fcntl(&file, FcntlArg::F_SETLKW(&whole())).context("cannot lock")?;
    let mut goes_on = say("held");
    for count in 1u64.. {
        if !goes_on {
            break;
        }
        file.write_all_at(&count.to_le_bytes(), 0).context("cannot write")?;
        file.sync_data().context("cannot sync")?;
        goes_on = say("beat");
        sleep(Duration::from_secs(1));
    }
    Ok(())
}

/// `lock-test FILE`: prints `held` if somebody else has a lock on the file, which
/// on the node that serves it is the server, and `free` otherwise.
pub fn test(words: &[String]) -> ExitCode {
    let tested = || -> Result<&str> {
        let [file] = words else { bail!("want FILE") };
        let file = File::options().write(true).open(file)?;
        let mut found = whole();
        fcntl(&file, FcntlArg::F_GETLK(&mut found))?;
        Ok(if found.l_type == libc::F_UNLCK as i16 { "free" } else { "held" })
    };
    match tested() {
        Ok(word) => {
            println!("{word}");
            ExitCode::SUCCESS
        }
        Err(err) => {
            eprintln!("{err:#}");
            ExitCode::FAILURE
        }
    }
}

fn whole() -> libc::flock {
    libc::flock {
        l_type: libc::F_WRLCK as i16,
        l_whence: libc::SEEK_SET as i16,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    }
}
