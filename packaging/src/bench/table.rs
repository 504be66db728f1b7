//! The comparison as a table, for the terminal and for the docs.

use super::measure::{Figures, Row};
use std::fmt::Write;
use std::time::Duration;

/// Markdown, with the machine it was measured on.
pub fn markdown(rows: &[Row]) -> String {
    let mut out = String::from(
        "# What the agents cost\n\n\
         Written by `cargo xtask bench`. Wall time is from the spawn of a process to its wait, the\n\
         median of all runs; CPU is user and system time with children. The no-op is a static Rust\n\
         process that does nothing, built as the agents are. The commands took turns in one run.\n\n\
         ![plot](benchmark.svg)\n\n",
    );
    // Writing to a string does not fail.
    let _ = writeln!(out, "{}\n", machine());
    out += "| agent: action | objects | load | ours, ms (p99) | no-op, ms | ours / no-op \
            | shell, ms (p99) | shell / ours | CPU ours / shell, ms | processes | system calls |\n";
    out += "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n";
    for row in rows {
        let case = &row.case;
        let shell = |show: &dyn Fn(&Figures) -> String| row.shell.as_ref().map_or("-".into(), show);
        let _ = writeln!(
            out,
            "| {}: {} | {} | {} | {} ({}) | {} | {:.2} | {} | {} | {} / {} | {} / {} | {} / {} |",
            case.subject.agent(),
            case.action,
            case.scale,
            case.load,
            ms(row.ours.median),
            ms(row.ours.p99),
            ms(row.noop.median),
            row.to_noop,
            shell(&|figures| format!("{} ({})", ms(figures.median), ms(figures.p99))),
            row.gain().map_or("-".into(), |gain| format!("{gain:.0}")),
            ms(row.ours.cpu),
            shell(&|figures| ms(figures.cpu)),
            row.ours.processes,
            shell(&|figures| figures.processes.to_string()),
            row.ours.calls,
            shell(&|figures| figures.calls.to_string()),
        );
    }
    out + "\nProcesses and system calls: ours / shell, counted by strace; the first process of each \
           is not counted.\n"
}

/// The same, shorter, for eighty columns.
pub fn terminal(rows: &[Row]) -> String {
    let mut out = format!("\n{}\n\n", machine());
    out += "agent: action          objects load     ours    no-op ratio     shell  gain\n";
    for row in rows {
        let case = &row.case;
        let name = format!("{}: {}", case.subject.agent(), case.action);
        let shell = row.shell.map_or("-".into(), |figures| ms(figures.median));
        let gain = row.gain().map_or("-".into(), |gain| format!("{gain:.0}x"));
        let _ = writeln!(
            out,
            "{name:<22} {:>7} {:>4} {:>8} {:>8} {:>5.2} {shell:>9} {gain:>5}",
            case.scale,
            case.load,
            ms(row.ours.median),
            ms(row.noop.median),
            row.to_noop,
        );
    }
    out
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

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    format!(
        "{cores} cores, Linux {}, {}. Times differ between machines, ratios hardly.",
        kernel.trim(),
        name.unwrap_or("unknown").trim_matches('"')
    )
}
