//! What a server is to be, on its way to the child that starts it.

use anyhow::{Context, Result, anyhow, bail};
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;

/// A server to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// How many threads.
    pub threads: u32,
    /// What clients of NFSv4 know it by; none for the name of the machine.
    pub scope: Option<String>,
    /// Seconds in which clients may take back what they had.
    pub grace: Option<u32>,
    /// Seconds after which a silent client loses what it has.
    pub lease: Option<u32>,
    /// Versions to be on or off: `3`, `4.0`, `4.1`, `4.2`. Others stay as they
    /// are.
    pub versions: Vec<(String, bool)>,
    /// Where it listens.
    pub listeners: Vec<Address>,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `tcp`, `udp`, `rdma`.
    pub transport: String,
    /// The address and the port.
    pub at: SocketAddr,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.transport, self.at)
    }
}

impl Wanted {
    /// As the child is given it.
    pub(super) fn words(&self) -> Vec<String> {
        let mut words = vec![format!("threads={}", self.threads)];
        words.extend(self.scope.iter().map(|scope| format!("scope={scope}")));
        words.extend(self.grace.iter().map(|time| format!("grace={time}")));
        words.extend(self.lease.iter().map(|time| format!("lease={time}")));
        let sign = |on: &bool| if *on { '+' } else { '-' };
        words.extend(self.versions.iter().map(|(name, on)| format!("version={}{name}", sign(on))));
        words.extend(self.listeners.iter().map(|one| format!("{}={}", one.transport, one.at)));
        words
    }

    /// What the child was given.
    pub(super) fn parse(words: &[OsString]) -> Result<Self> {
        let mut wanted = Self::default();
        for word in words {
            let word = word.to_str().context("no text")?;
            let (key, value) = word.split_once('=').with_context(|| format!("odd word {word}"))?;
            match key {
                "threads" => wanted.threads = value.parse()?,
                "scope" => wanted.scope = Some(value.to_owned()),
                "grace" => wanted.grace = Some(value.parse()?),
                "lease" => wanted.lease = Some(value.parse()?),
                "version" => {
                    let (sign, name) = value.split_at_checked(1).context("no version")?;
                    wanted.versions.push((name.to_owned(), sign == "+"));
                }
                "tcp" | "udp" | "rdma" => {
                    let at = value.parse().map_err(|_| anyhow!("no address: {value}"))?;
                    wanted.listeners.push(Address { transport: key.to_owned(), at });
                }
                _ => bail!("there is no word {key}"),
            }
        }
        Ok(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_arrives_in_the_child() {
        let address = |transport: &str, at: &str| Address {
            transport: transport.into(),
            at: at.parse().unwrap(),
        };
        let wanted = Wanted {
            threads: 8,
            scope: Some("10.0.0.9".into()),
            grace: Some(15),
            lease: None,
            versions: vec![("3".into(), false), ("4.2".into(), true)],
            listeners: vec![address("tcp", "0.0.0.0:2049"), address("rdma", "[fd00::1]:20049")],
        };
        let words: Vec<OsString> = wanted.words().into_iter().map(Into::into).collect();
        assert_eq!(Wanted::parse(&words).unwrap(), wanted);
    }
}
