//! The packages in clean roots of Debian: installed, used as the README says,
//! upgraded, removed, beside the packages whose place they take.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    unreachable_pub,
    reason = "tests look with their own eyes, and fail loudly"
)]

mod beside;
mod life;
mod made;
mod root;
#[path = "../harness/runner.rs"]
mod runner;
mod used;

use libtest_mimic::Arguments;
use root::{Base, Root};
use std::path::PathBuf;
use std::process::ExitCode;

/// A case, tried in a copy of each root with our packages installed or not.
type InRoot = fn(&Root);

const CASES: &[(&str, InRoot)] = &[
    ("crm and pcs list every agent under the provider, and man finds its page", used::listed),
    ("crm and pcs take an agent by the name of the one whose place it takes", used::aliases),
    ("heartbeat takes and gives a group with our agents, and then again with its own", used::group),
    ("what our agents start the stock scripts see and stop, and the other way round", used::either),
    ("no init script means something else than our agent of its name", used::init_scripts),
    ("a root shell finds an agent by its name", used::by_hand),
    ("an agent makes its run directory where no tmpfiles ran", used::run_directory),
    ("a file system mounted by the older version is stopped by the newer", life::upgrade),
    ("a purge leaves nothing behind, and nothing of others was changed", life::purge),
    ("rpm installs, verifies and removes its package", life::rpm),
    ("heartbeat is purged, and our agents are still there", beside::purged_after),
    ("heartbeat comes and goes beside agents that were there before", beside::purged_before),
    ("links of an earlier version are told of", beside::old_links),
];

fn main() -> ExitCode {
    if root::is_holder() {
        root::hold();
    }
    let mut arguments = Arguments::from_args();
    let packages = std::env::var_os("STURDY_PACKAGES").map(PathBuf::from);
    let packages = packages.filter(|_| nix::unistd::geteuid().is_root());
    if packages.is_none() && !arguments.list {
        eprintln!("package: cannot run here: `cargo xtask test package` makes the packages");
        return ExitCode::from(u8::from(std::env::var_os("CI").is_some()));
    }
    let packages = packages.unwrap_or_default();
    if !arguments.list {
        std::thread::scope(|scope| {
            Base::ALL.iter().for_each(|base| drop(scope.spawn(|| base.make())));
        });
    }
    let (debs, rpms) = (packages.clone(), packages.clone());
    let mut trials = vec![
        runner::timed("lintian has nothing to say".into(), move || case(|| made::lintian(&debs))),
        runner::timed("rpmlint has nothing to say".into(), move || case(|| made::rpmlint(&rpms))),
        runner::timed("a root ends with the program that made it, be it killed".into(), || {
            case(root::ends_with_its_program)
        }),
    ];
    for base in Base::ALL {
        for (name, run) in CASES {
            let packages = packages.clone();
            let run = move || case(|| run(&Root::of(base, &packages)));
            trials.push(runner::timed(format!("Debian {}: {name}", base.release), run));
        }
    }
    arguments.test_threads.get_or_insert_with(runner::at_a_time);
    runner::run("package", &arguments, trials)
}

/// It fails by a panic.
fn case(run: impl FnOnce()) -> Result<(), String> {
    run();
    Ok(())
}
