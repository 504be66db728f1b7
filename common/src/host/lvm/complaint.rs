//! What lvm complains of.

use crate::host::program::Output;

/// Why lvm has failed, in a line: the first, since those that follow only say
/// what became of it. Warnings are passed over if there is more.
pub fn why(output: &Output) -> String {
    // It also complains of open descriptors that are the caller's, gives advice
    // on what it has warned of, and does without sysfs.
    let is_said = |line: &&str| {
        !line.is_empty()
            && !line.starts_with("File descriptor ")
            && !line.starts_with("See vgck ")
            && *line != "Failed to find sysfs mount point"
    };
    let lines = || output.stderr.lines().map(str::trim).filter(is_said);
    let found = lines().find(|line| !line.starts_with("WARNING:")).or_else(|| lines().next());
    found.map_or_else(|| output.reason(), str::to_owned)
}
