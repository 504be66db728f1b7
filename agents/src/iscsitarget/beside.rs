//! The files beside ietd.conf: the init script's defaults, and the lists of
//! those who may log in.

use anyhow::{Result, bail};
use common::host::system::View;
use common::{configured, installed};
use std::io::ErrorKind;
use std::path::Path;

/// What they say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Beside {
    /// Where to listen, where that is said.
    pub address: Option<String>,
    pub port: Option<u16>,
    /// What has no effect, each with its file.
    pub ignored: Vec<String>,
}

const DEFAULTS: &str = "/etc/default/iscsitarget";

impl Beside {
    /// Reads them, as far as they are there.
    pub(super) fn read(view: &View, config: &Path) -> Result<Self> {
        let mut beside = Self::default();
        if let Some(text) = optional(view, Path::new(DEFAULTS))? {
            beside.take_defaults(&text)?;
        }
        let directory = config.parent().unwrap_or(Path::new("/etc"));
        for (name, is_allow) in [("initiators.allow", true), ("initiators.deny", false)] {
            let path = directory.join(name);
            if let Some(text) = optional(view, &path)? {
                check_access(&text, &path, is_allow)?;
            }
        }
        Ok(beside)
    }

    /// Assignments of the shell's, of which none is carried out.
    fn take_defaults(&mut self, text: &str) -> Result<()> {
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            let Some((name, value)) = line.split_once('=') else { continue };
            let value = value.trim().trim_matches(['"', '\'']);
            match name.trim() {
                "ISCSITARGET_ENABLE" if value != "true" => {
                    return Err(installed(format!(
                        "{DEFAULTS} has ISCSITARGET_ENABLE={value}: set it to true on each node"
                    )));
                }
                "ISCSITARGET_OPTIONS" => self.take_options(value)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// The words of ietd's command line.
    fn take_options(&mut self, options: &str) -> Result<()> {
        let mut words = options.split_whitespace();
        while let Some(word) = words.next() {
            let (name, joined) = match word.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (word, None),
            };
            let mut value = || joined.or_else(|| words.next()).unwrap_or_default().to_owned();
            match name {
                "-a" | "--address" => self.address = Some(value()),
                "-p" | "--port" => {
                    let text = value();
                    let wrong = || configured(format!("{DEFAULTS}: {text} is no port"));
                    self.port = Some(text.parse().map_err(|_| wrong())?);
                }
                _ => self.ignored.push(format!("{DEFAULTS}: {word}")),
            }
        }
        Ok(())
    }

    /// The places to listen at, the best first; the others are for hosts that
    /// lack it.
    pub(super) fn portals(&self) -> Vec<String> {
        const PORT: u16 = 3260;
        let port = self.port.unwrap_or(PORT);
        match &self.address {
            Some(address) if address.contains(':') => {
                vec![format!("[{}]:{port}", address.trim_matches(['[', ']']))]
            }
            Some(address) => vec![format!("{address}:{port}")],
            // Both kinds of address, unless this host has but one.
            None => vec![format!("[::]:{port}"), format!("0.0.0.0:{port}")],
        }
    }
}

fn optional(view: &View, path: &Path) -> Result<Option<String>> {
    match view.read(path) {
        Ok(text) => Ok(Some(text)),
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(None),
        Err(err) => bail!("cannot read {}: {err}", path.display()),
    }
}

/// LIO lets initiators in by name and password. What asks for more would be
/// dropped in silence.
fn check_access(text: &str, path: &Path, is_allow: bool) -> Result<()> {
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let who = line.split_once(char::is_whitespace).map_or("", |(_, who)| who.trim());
        if !(is_allow && who == "ALL") {
            return Err(configured(format!(
                "{} line {}: LIO cannot tell initiators by address: let a firewall do it, and remove `{line}`",
                path.display(),
                at + 1
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_say_whether_and_where() {
        let mut beside = Beside::default();
        let text =
            "ISCSITARGET_ENABLE=true\nISCSITARGET_OPTIONS=\"-p 3261 --address=fd00::1 -d 1\"\n";
        beside.take_defaults(text).unwrap();
        assert_eq!(beside.portals(), ["[fd00::1]:3261"]);
        assert_eq!(beside.ignored, ["/etc/default/iscsitarget: -d", "/etc/default/iscsitarget: 1"]);
        let off = beside.take_defaults("ISCSITARGET_ENABLE=false\n").unwrap_err();
        assert!(off.to_string().contains("ISCSITARGET_ENABLE=false"), "{off:#}");
        assert!(beside.take_defaults("ISCSITARGET_OPTIONS='-p x'").is_err());
    }

    #[test]
    fn an_entry_that_lio_cannot_hold_is_refused_by_its_line() {
        let path = Path::new("/etc/initiators.allow");
        check_access("# all\nALL ALL\niqn.2001-04.com.example:one ALL\n", path, true).unwrap();
        let refused = check_access("ALL ALL\niqn.2:x 10.0.0.0/8\n", path, true).unwrap_err();
        assert!(refused.to_string().starts_with("/etc/initiators.allow line 2: "), "{refused:#}");
        assert!(check_access("ALL ALL\n", Path::new("/etc/initiators.deny"), false).is_err());
        check_access("#iqn.2:x ALL\n", Path::new("/etc/initiators.deny"), false).unwrap();
    }
}
