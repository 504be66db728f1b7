//! Text for the caller: what is printed, and what no terminal or reader of lines
//! would obey.

use std::io::Write;

/// The longest reason, in bytes. It is kept in the cluster's configuration and
/// shown in one line of its monitor.
const LONGEST: usize = 200;

/// Folds line breaks and control characters, and leaves out the middle of what
/// is too long: what was to be done stands at the beginning, why it was not at
/// the end.
pub(crate) fn one_line(text: &str) -> String {
    const CUT: &str = " ... ";
    let words = clean(text).split_whitespace().collect::<Vec<_>>().join(" ");
    if words.len() <= LONGEST {
        return words;
    }
    let half = (LONGEST - CUT.len()) / 2;
    let (head, tail) =
        (words.floor_char_boundary(half), words.ceil_char_boundary(words.len() - half));
    format!("{}{CUT}{}", words[..head].trim_end(), words[tail..].trim_start())
}

/// The text without what a terminal, or a reader of lines, would obey.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Prints to stdout; whoever has closed it does not want it.
pub(crate) fn out(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    let _ = std::io::stdout().flush();
}

/// Prints to stderr; whoever has closed it does not want it.
pub(crate) fn complain(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_short_line() {
        assert_eq!(one_line("a\nb\t\x1b[1mc"), "a b [1mc");
        let long = one_line(&"ä".repeat(500));
        assert!(long.len() <= LONGEST && long.contains("ä ... ä"), "{long}");
        let reason = format!("cannot mount {}: no medium found", "/dev/disk/by-id/x".repeat(40));
        let short = one_line(&reason);
        assert!(short.starts_with("cannot mount /dev") && short.ends_with("no medium found"));
        assert!(short.len() <= LONGEST);
    }
}
