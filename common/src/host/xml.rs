//! XML as a tree, as far as what programs print needs it: elements, their
//! attributes, and the text in them.

use anyhow::{Context, Result, bail};
use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// An element and what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Element {
    /// Its name: `primitive`.
    pub name: String,
    attributes: Vec<(String, String)>,
    /// The text in it, without the blanks around it and without that of the
    /// elements in it.
    pub text: String,
    /// The elements in it.
    pub children: Vec<Element>,
}

impl Element {
    /// The value of an attribute.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Itself and all the elements below it, from the top.
    pub fn all(&self) -> impl Iterator<Item = &Element> {
        let mut waiting = vec![self];
        std::iter::from_fn(move || {
            let next = waiting.pop()?;
            waiting.extend(next.children.iter().rev());
            Some(next)
        })
    }

    /// The first element of this name right in it.
    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|element| element.name == name)
    }

    /// The elements of this name below it.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.all().filter(move |element| element.name == name)
    }
}

/// Reads a document; what it begins with but an element is passed over.
pub fn parse(text: &str) -> Result<Element> {
    let mut reader = Reader::from_str(text);
    let mut open = vec![Element::default()];
    loop {
        match reader.read_event().context("the XML is broken")? {
            Event::Start(start) => open.push(element(&start)?),
            Event::Empty(empty) => {
                let empty = element(&empty)?;
                if let Some(outer) = open.last_mut() {
                    outer.children.push(empty);
                }
            }
            // Escaped as it is, until all of it is there.
            Event::Text(text) => hear(&mut open, &text.into_inner()),
            Event::GeneralRef(entity) => hear(&mut open, &format!("&{};", entity.into_inner())),
            Event::CData(text) => hear(&mut open, &escaped(&text.into_inner())),
            Event::End(_) => {
                let mut closed = open.pop().context("the XML closes what is not open")?;
                let text = quick_xml::escape::unescape(closed.text.trim());
                closed.text = text.context("a text in the XML is broken")?.into_owned();
                open.last_mut().context("the XML closes too much")?.children.push(closed);
            }
            Event::Eof => break,
            _ => {}
        }
    }
    let [document] = &mut open[..] else { bail!("the XML ends in the middle") };
    document.children.pop().context("there is no XML")
}

fn hear(open: &mut [Element], text: &str) {
    if let Some(inner) = open.last_mut() {
        inner.text.push_str(text);
    }
}

fn element(start: &BytesStart<'_>) -> Result<Element> {
    let mut element = Element { name: start.name().as_ref().to_owned(), ..Element::default() };
    for attribute in start.attributes() {
        let attribute = attribute.context("an attribute in the XML is broken")?;
        let value = quick_xml::escape::unescape(&attribute.value)
            .context("an attribute in the XML is broken")?;
        element.attributes.push((attribute.key.as_ref().to_owned(), value.into_owned()));
    }
    Ok(element)
}

/// Text as the value of an attribute.
pub fn escaped(text: &str) -> String {
    quick_xml::escape::escape(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_and_attributes_are_found_at_any_depth() {
        let tree =
            parse("<?xml version=\"1.0\"?><a><b id=\"1\"/><c><b id=\"a&amp;b\">x</b></c></a>")
                .unwrap();
        let ids: Vec<_> = tree.named("b").filter_map(|b| b.get("id")).collect();
        assert_eq!(ids, ["1", "a&b"]);
        assert_eq!(tree.child("c").unwrap().child("b").unwrap().text, "x");
        assert_eq!(tree.child("d"), None);
    }

    #[test]
    fn text_is_read_as_it_was_meant() {
        let text = |of: &str| parse(of).unwrap().text;
        assert_eq!(text("<a>\n  R&amp;D <b>not this</b>&#x31;<![CDATA[<2>]]>\n</a>"), "R&D 1<2>");
        assert_eq!(text("<a/>"), "");
        assert!(parse("<a>&nobody;</a>").is_err());
    }

    #[test]
    fn a_broken_text_is_an_error() {
        for broken in ["", "<a>", "<a></b>", "<a", "</a>", "no xml"] {
            assert!(parse(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn what_is_escaped_reads_back() {
        let text = "a\"<&>'";
        let tree = parse(&format!("<a b=\"{}\"/>", escaped(text))).unwrap();
        assert_eq!(tree.get("b"), Some(text));
    }
}
