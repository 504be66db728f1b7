//! All machines of a lab, or some, from nothing and back to it.

use super::client::{Lab, Lease};
use super::image::{self, Image};
use super::keeper::Verb;
use super::machine::{Choice, Plan};
use super::place::Place;
use super::progress::Progress;
use super::qemu::{self, Qemu};
use anyhow::{Result, bail, ensure};
use packaging::host;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

/// Prepares what is missing and starts keeper and machines.
pub fn up(place: &Place, choice: &Choice) -> Result<(Lab, Lease, Progress)> {
    let mut progress = Progress::begin();
    host::install(&[
        ("mmdebstrap", "mmdebstrap", "installs the machines' Debian into a file"),
        ("mke2fs", "e2fsprogs", "makes the machines' root disk"),
    ])?;
    place.make()?;
    let claim = place.claim()?;
    prepared(place, choice, &mut progress)?;
    let log = std::fs::File::create(place.keeper_log())?;
    let mut keeper = Command::new(std::env::current_exe()?)
        .args(["lab", "keeper"])
        .args(choice.words())
        // It is not read; the place is the keeper's as long as it lives.
        .stdin(claim)
        .stdout(log.try_clone()?)
        .stderr(log)
        // Not the terminal's group: a Ctrl-C is for the task, and the keeper
        // follows by the end of the lease.
        .process_group(0)
        .spawn()?;
    let start = Instant::now();
    let lab = loop {
        if let Some(lab) = Lab::running(place) {
            break lab;
        }
        if keeper.try_wait()?.is_some() || start.elapsed() > Duration::from_secs(30) {
            bail!("the keeper did not start; see {}", place.keeper_log().display());
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let lease = lab.lease()?;
    await_machines(&lab, &choice.plans, &progress)?;
    Ok((lab, lease, progress))
}

/// The image and the QEMU of machines like these.
pub fn prepared(place: &Place, choice: &Choice, progress: &mut Progress) -> Result<(Image, Qemu)> {
    let image = image::ready(place, choice.debian, choice.extra, progress)?;
    let mut qemu = qemu::ready(place, progress)?;
    qemu.probe(&image, place, progress)?;
    Ok((image, qemu))
}

fn await_machines(lab: &Lab, plans: &[&Plan], progress: &Progress) -> Result<()> {
    let start = Instant::now();
    let mut down: Vec<&str> = plans.iter().map(|plan| plan.name).collect();
    while !down.is_empty() {
        progress.show("boot", &format!("{} ({:.0} s)", down.join(", "), progress.seconds()));
        down.retain(|name| {
            let answer = lab.machine(name).run(&["true"], Duration::from_secs(5));
            !answer.is_ok_and(|output| output.code == 0)
        });
        ensure!(
            start.elapsed() < Duration::from_secs(180),
            "{} did not boot within 180 s; see target/lab/machines/*.console",
            down.join(", ")
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    progress.done("boot", &format!("all machines answer: {:.0} s", start.elapsed().as_secs_f64()));
    Ok(())
}

/// Ends the machines and removes their files.
pub fn down(place: &Place) -> Result<()> {
    if let Some(lab) = Lab::running(place) {
        lab.tell(&Verb::Down)?;
    }
    let machines = place.machines();
    if machines.exists() {
        std::fs::remove_dir_all(&machines)?;
    }
    Ok(())
}
