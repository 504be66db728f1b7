//! What DRBD's programs complain of.

use crate::host::program::Output;

/// Why one of DRBD's programs has refused, in a line: not the advice or the
/// command line after it, and not what it says of a module that is not there.
/// A complaint of a file begins with the file's name and the number of the line,
/// and goes on in lines that are indented.
pub fn complaint(said: &Output) -> String {
    let telling = |line: &str| {
        [" failed: ", "Failure:", "not defined", "rror", "Permission", "not found", "conflicting"]
            .iter()
            .any(|mark| line.contains(mark))
    };
    let mut lines = said.stderr.lines().filter(|line| !line.starts_with("modinfo:"));
    let mut last = None;
    while let Some(line) = lines.next() {
        let more = |line: &&str| line.starts_with(char::is_whitespace);
        let is_of_a_file = is_of_a_file(line);
        if telling(line) || is_of_a_file {
            let all = std::iter::once(line).chain(lines.take_while(more));
            let all: Vec<&str> = all.take(MOST_LINES).map(str::trim).collect();
            return without_the_grammar(&all.join(" "));
        }
        last = Some(line).filter(|line| !line.trim().is_empty()).or(last);
    }
    last.map_or_else(|| said.reason(), |line| line.trim().to_owned())
}

/// Of all that the grammar has in a place, the first few are enough: the file,
/// the line and the word that is wrong have to fit into a reason.
fn without_the_grammar(text: &str) -> String {
    const ENOUGH: usize = 3;
    let shortened = |part: &str| match part.split(" | ").collect::<Vec<_>>() {
        words if words.len() > ENOUGH => format!("{} | ...", words[..ENOUGH].join(" | ")),
        _ => part.to_owned(),
    };
    text.split('\'').map(shortened).collect::<Vec<_>>().join("'")
}

/// No complaint goes on for longer.
const MOST_LINES: usize = 4;

/// Whether a line begins as `/etc/drbd.d/r1.res:5: ` or `/etc/drbd.conf: ` do.
fn is_of_a_file(line: &str) -> bool {
    line.split_once(':').is_some_and(|(file, _)| {
        [".res", ".conf"].iter().any(|end| file.ends_with(end)) && !file.contains(' ')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(stderr: &str) -> String {
        complaint(&Output::failed(10, stderr))
    }

    /// As drbdadm 9.22 was heard.
    #[test]
    fn a_complaint_is_whole_and_has_its_file_and_line() {
        let no_module = "modinfo: ERROR: Module drbd not found.\n";
        assert_eq!(
            said(&format!(
                "{no_module}drbd.d/r1.res:4: Parse error: 'protocol | on | disk | net | skip' expected,\n\tbut got 'fooo' (TK 281)\n"
            )),
            "drbd.d/r1.res:4: Parse error: 'protocol | on | disk | ...' expected, but got 'fooo' (TK 281)"
        );
        assert_eq!(
            said(&format!(
                "{no_module}/etc/drbd.conf: in resource r1, on vm:\n\tIP 10.0.0.1 not found on this host.\nadvice\n"
            )),
            "/etc/drbd.conf: in resource r1, on vm: IP 10.0.0.1 not found on this host."
        );
        assert_eq!(
            said(&format!("{no_module}Can not open 'nothere.conf'.\n")),
            "Can not open 'nothere.conf'."
        );
        assert_eq!(said(no_module), "modinfo: ERROR: Module drbd not found.");
        assert_eq!(said(""), "exit code 10");
    }

    #[test]
    fn a_refusal_of_the_kernels_is_told_without_the_command_line_after_it() {
        let refused = "1: State change failed: (-2) Need access to UpToDate data\n\
            Command 'drbdsetup-84 primary 1' terminated with exit code 17\n";
        assert_eq!(said(refused), "1: State change failed: (-2) Need access to UpToDate data");
        let unknown = "'r1' not defined in your config (for this host).\n";
        assert_eq!(said(unknown), "'r1' not defined in your config (for this host).");
    }
}
