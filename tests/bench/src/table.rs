//! The comparison as a table, for the terminal and for the docs.

use super::measure::{Figures, Row};
use super::sheet::{Report, Sheet};
use std::fmt::Write;
use std::time::Duration;

/// Markdown, with the machines it was measured on.
pub fn markdown(report: &Report) -> String {
    let mut out = String::from(
        "# What the agents cost\n\n\
         Wall time is from the spawn of a process to its wait, the median of all runs; CPU is user\n\
         and system time with children. The no-op is a static Rust process that does nothing, built\n\
         as the agents are; the ratio to it is the median of the ratios of pairs, one run of each\n\
         after the other. Processes and system calls are counted by strace, the first process of\n\
         each command not among them. All commands of a row took turns in one run.\n\n\
         ![plot](benchmark.svg)\n",
    );
    for (sheet, title, about) in [
        (&report.host, "Addresses, file systems, exports, ports and disks", HOST),
        (&report.lab, "DRBD, LVM, NFS and targets, in a machine of the lab", LAB),
    ] {
        if let Some(sheet) = sheet {
            out += &format!("\n## {title}\n\n{about}\n\n{}.\n\n", sheet.machine);
            rows(&mut out, &sheet.rows);
        }
    }
    out + "\nTimes differ between machines, ratios less.\n"
}

const HOST: &str =
    "Written by `cargo xtask bench`, in namespaces on the machine it was started on.";

const LAB: &str = "\
Written by `cargo xtask bench --lab`, on the kernel's own DRBD, LVM, nfsd, LIO and nvmet. The DRBD
resource is Primary on a disk and without its peer; the others of two hundred have no disk. The
logical volumes lie in one group on DRBD. The programs that write a promotion score end at once,
which is to the shell agent's advantage: it calls one with every monitor. No udev runs, so that
nobody is waited for but the programs that an action calls; those of lvm read every disk and are
nearly all of its start. The LUNs and namespaces beside the first are somebody else's, but for
iscsitarget, which has all of them in its file.
IPaddr is there to compare with the first table: an emulated processor has no caches to miss, so that
what a program does weighs more in it, beside what it costs to start one.";

fn rows(out: &mut String, rows: &[Row]) {
    *out += "| agent: action | objects | load | ours, ms (p99) | no-op, ms | ours / no-op \
             | shell agent | shell, ms (p99) | shell / ours | CPU ours / shell, ms \
             | processes ours / shell | system calls ours / shell |\n";
    *out += "|---|--:|--:|--:|--:|--:|---|--:|--:|--:|--:|--:|\n";
    for row in rows {
        let case = &row.case;
        let shell = |show: &dyn Fn(&Figures) -> String| row.shell.as_ref().map_or("-".into(), show);
        // Writing to a string does not fail.
        let _ = writeln!(
            out,
            "| {}: {} | {} {} | {} | {} ({}) | {} | {:.2} | {} | {} | {} | {} / {} | {} / {} | {} / {} |",
            case.agent,
            case.action,
            case.scale,
            case.objects,
            case.load,
            ms(row.ours.median),
            ms(row.ours.p99),
            ms(row.noop),
            row.to_noop,
            case.shell,
            shell(&|figures| format!("{} ({})", ms(figures.median), ms(figures.p99))),
            row.gain().map_or("-".into(), times),
            ms(row.ours.cpu),
            shell(&|figures| ms(figures.cpu)),
            row.ours.processes,
            shell(&|figures| figures.processes.to_string()),
            row.ours.calls,
            shell(&|figures| figures.calls.to_string()),
        );
    }
}

/// The same, shorter, for eighty columns.
pub fn terminal(sheet: &Sheet) -> String {
    let mut out = format!("\n{}\n\n", sheet.machine);
    out += "agent: action          objects load     ours    no-op ratio     shell  gain\n";
    for row in &sheet.rows {
        let case = &row.case;
        let name = format!("{}: {}", case.agent, case.action);
        let shell = row.shell.map_or("-".into(), |figures| ms(figures.median));
        let gain = row.gain().map_or("-".into(), |gain| format!("{}x", times(gain)));
        let _ = writeln!(
            out,
            "{name:<22} {:>7} {:>4} {:>8} {:>8} {:>5.2} {shell:>9} {gain:>5}",
            case.scale,
            case.load,
            ms(row.ours.median),
            ms(row.noop),
            row.to_noop,
        );
    }
    out
}

/// How many times, with as many digits as they are worth.
pub fn times(times: f64) -> String {
    if times < 10.0 { format!("{times:.1}") } else { format!("{times:.0}") }
}

/// Milliseconds, with as many digits as they are worth.
pub fn ms(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    match ms {
        _ if ms < 10.0 => format!("{ms:.3}"),
        _ if ms < 100.0 => format!("{ms:.1}"),
        _ => format!("{ms:.0}"),
    }
}
