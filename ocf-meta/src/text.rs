//! Doc comments as running text.

/// The doc comment's paragraphs: lines joined, empty lines between paragraphs.
pub(crate) fn paragraphs(doc: &[&str]) -> Vec<String> {
    let mut paragraphs = vec![String::new()];
    for line in doc.iter().flat_map(|chunk| chunk.split('\n')) {
        let line = line.trim();
        let last = paragraphs.last_mut().expect("one paragraph to begin with");
        if line.is_empty() {
            if !last.is_empty() {
                paragraphs.push(String::new());
            }
        } else {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(line);
        }
    }
    paragraphs.retain(|paragraph| !paragraph.is_empty());
    paragraphs
}

/// Wraps words to `width` columns, each line after `indent` blanks.
pub(crate) fn wrap(words: &str, indent: usize, width: usize) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in words.split_whitespace() {
        if column > 0 && column + 1 + word.len() > width {
            out.push('\n');
            column = 0;
        }
        if column == 0 {
            out.push_str(&" ".repeat(indent));
            column = indent;
        } else {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += word.len();
    }
    out.push('\n');
    out
}
