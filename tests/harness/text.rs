//! How the kernel writes what it says.

/// The kernel writes blanks and backslashes of paths as octal numbers.
pub(super) fn unescape(field: &str) -> String {
    let codes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    codes.iter().fold(field.to_owned(), |text, (code, plain)| text.replace(code, plain))
}
