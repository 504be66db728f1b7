//! `/etc/ietd.conf`, the configuration of the iSCSI Enterprise Target, as its
//! manual page of version 1.4 describes it.
//!
//! One directive a line; `#` begins a comment only as the first thing on a
//! line, and a backslash at the end continues it. What stands before the first
//! `Target` is for discovery. Names are taken in any spelling of letters,
//! `Yes` and `No` are not, and never were.

use common::host::credentials::Credentials;
use common::host::lio::name;
use std::fmt;

/// What the file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ietd {
    /// What discovery asks for, and answers with.
    pub incoming: Option<Credentials>,
    pub outgoing: Option<Credentials>,
    pub targets: Vec<Target>,
    /// What is read and has no effect: the line, and why.
    pub ignored: Vec<Remark>,
}

/// A line, and what is to be said of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Remark {
    pub line: usize,
    pub text: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.text)
    }
}

/// One target.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub line: usize,
    pub iqn: String,
    pub incoming: Option<Credentials>,
    pub outgoing: Option<Credentials>,
    pub luns: Vec<Lun>,
    /// Keys of the login, by the names that LIO has for them.
    pub parameters: Vec<(&'static str, String)>,
}

/// One disk of a target.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Lun {
    pub line: usize,
    pub number: u64,
    pub path: String,
    /// `Type=blockio`, which leaves the cache out.
    pub is_blockio: bool,
    pub mode: Mode,
    pub scsi_id: Option<String>,
    pub scsi_sn: Option<String>,
    pub block_size: Option<u32>,
}

/// `IOMode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// `wt`, the default: a write is acknowledged when it is on disk.
    WriteThrough,
    /// `wb`: when it is in memory.
    WriteBack,
    /// `ro`.
    ReadOnly,
}

/// Keys of the login and which values they take.
const KEYS: &[(&str, Takes)] = &[
    ("DataDigest", Takes::Digests),
    ("DataPDUInOrder", Takes::YesNo),
    ("DataSequenceInOrder", Takes::YesNo),
    ("DefaultTime2Retain", Takes::Number(0, 3600)),
    ("DefaultTime2Wait", Takes::Number(0, 3600)),
    ("ErrorRecoveryLevel", Takes::Number(0, 0)),
    ("FirstBurstLength", Takes::Number(512, 0xff_ffff)),
    ("HeaderDigest", Takes::Digests),
    ("ImmediateData", Takes::YesNo),
    ("InitialR2T", Takes::YesNo),
    ("MaxBurstLength", Takes::Number(512, 0xff_ffff)),
    ("MaxConnections", Takes::Number(1, 65535)),
    ("MaxOutstandingR2T", Takes::Number(1, 65535)),
    ("MaxRecvDataSegmentLength", Takes::Number(512, 0xff_ffff)),
    ("MaxXmitDataSegmentLength", Takes::Number(512, 0xff_ffff)),
];

/// What tuned IET's own threads and sessions.
const OF_IET: &[&str] = &["MaxSessions", "NOPInterval", "NOPTimeout", "QueuedCommands", "Wthreads"];

#[derive(Clone, Copy)]
enum Takes {
    YesNo,
    Number(u32, u32),
    Digests,
}

impl Takes {
    fn fault(self, value: &str) -> Option<String> {
        match self {
            Self::YesNo => {
                (!matches!(value, "Yes" | "No")).then(|| format!("{value} is neither Yes nor No"))
            }
            Self::Number(least, most) => match value.parse::<u32>() {
                Ok(number) if (least..=most).contains(&number) => None,
                _ => Some(format!("{value} is not a number from {least} to {most}")),
            },
            Self::Digests => {
                let are_known =
                    value.split(',').all(|word| matches!(word.trim(), "CRC32C" | "None"));
                (!are_known).then(|| format!("{value} is no list of CRC32C and None"))
            }
        }
    }
}

impl Ietd {
    /// Reads the whole text, or says which line is wrong and why.
    pub(super) fn parse(text: &str) -> Result<Self, Remark> {
        let mut file = Self::default();
        for (line, directive) in directives(text) {
            let remark = |text: String| Remark { line, text };
            let (name, value) =
                directive.split_once(char::is_whitespace).unwrap_or((&directive, ""));
            file.take(line, name, value.trim()).map_err(remark)?;
        }
        file.check()?;
        Ok(file)
    }

    fn take(&mut self, line: usize, name: &str, value: &str) -> Result<(), String> {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        if is("Target") {
            let iqn = iqn(value)?;
            if self.targets.iter().any(|target| target.iqn == iqn) {
                return Err(format!("there is a second target {iqn}"));
            }
            self.targets.push(Target::new(line, iqn));
            return Ok(());
        }
        let Some(target) = self.targets.last_mut() else {
            return self.take_global(line, name, value);
        };
        if is("IncomingUser") {
            return set_user(&mut target.incoming, value).map_err(|what| match what {
                Users::Wrong(text) => text,
                Users::Another => format!(
                    "a second IncomingUser of {}: LIO holds one for a target; leave one, and give \
                     the other initiators its name",
                    target.iqn
                ),
            });
        }
        if is("OutgoingUser") {
            return set_user(&mut target.outgoing, value).map_err(|what| match what {
                Users::Wrong(text) => text,
                Users::Another => format!("a second OutgoingUser of {}", target.iqn),
            });
        }
        if is("Lun") {
            let lun = Lun::parse(line, value)?;
            if target.luns.iter().any(|other| other.number == lun.number) {
                return Err(format!("a second Lun {} of {}", lun.number, target.iqn));
            }
            target.luns.push(lun);
            return Ok(());
        }
        if is("Alias") {
            target.parameters.push(("TargetAlias", value.to_owned()));
            return Ok(());
        }
        if let Some((key, takes)) = KEYS.iter().find(|(key, _)| is(key)) {
            return match takes.fault(value) {
                Some(fault) => Err(format!("{key}: {fault}")),
                None => {
                    target.parameters.push((key, value.replace(' ', "")));
                    Ok(())
                }
            };
        }
        let Some(known) = OF_IET.iter().find(|known| is(known)) else {
            return Err(format!("{name} is no directive of ietd.conf"));
        };
        if value.parse::<u32>().is_err() {
            return Err(format!("{known}: {value} is not a number"));
        }
        self.ignored
            .push(Remark { line, text: format!("{known} tuned IET; LIO has no such thing") });
        Ok(())
    }

    /// What stands before the first target.
    fn take_global(&mut self, line: usize, name: &str, value: &str) -> Result<(), String> {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        let slot = if is("IncomingUser") {
            &mut self.incoming
        } else if is("OutgoingUser") {
            &mut self.outgoing
        } else if is("iSNSServer") || is("iSNSAccessControl") {
            let text = format!("{name}: LIO tells no iSNS server of its targets");
            self.ignored.push(Remark { line, text });
            return Ok(());
        } else if OF_IET.iter().chain(KEYS.iter().map(|(key, _)| key)).any(|known| is(known))
            || is("Lun")
            || is("Alias")
        {
            return Err(format!("{name} stands before the first Target"));
        } else {
            return Err(format!("{name} is no directive of ietd.conf"));
        };
        set_user(slot, value).map_err(|what| match what {
            Users::Wrong(text) => text,
            Users::Another => format!("a second {name} for discovery: LIO holds one"),
        })
    }

    /// What only the whole can tell.
    fn check(&self) -> Result<(), Remark> {
        for target in &self.targets {
            let remark = |text: String| Remark { line: target.line, text };
            if target.luns.is_empty() {
                return Err(remark(format!("target {} has no Lun", target.iqn)));
            }
            if target.outgoing.is_some() && target.incoming.is_none() {
                let text = "an OutgoingUser without an IncomingUser, which LIO does not ask for";
                return Err(remark(format!("target {} has {text}", target.iqn)));
            }
        }
        let first = self.targets.first().map_or(1, |target| target.line);
        if self.outgoing.is_some() && self.incoming.is_none() {
            let text = "discovery has an OutgoingUser without an IncomingUser".to_owned();
            return Err(Remark { line: first, text });
        }
        // Initiators that see two disks of one identity take them for two ways
        // to one disk, and write to both.
        let luns: Vec<(&Target, &Lun)> = self
            .targets
            .iter()
            .flat_map(|target| target.luns.iter().map(move |lun| (target, lun)))
            .collect();
        for (at, (target, lun)) in luns.iter().enumerate() {
            let identity = name::identity(&lun.serial(&target.iqn));
            let same = luns[..at]
                .iter()
                .find(|(other, earlier)| name::identity(&earlier.serial(&other.iqn)) == identity);
            if let Some((_, earlier)) = same {
                let text = format!(
                    "LIO makes a disk's identity of the hexadecimal digits in its serial number, \
                     and those of line {} are the same: give one of them another ScsiSN",
                    earlier.line
                );
                return Err(Remark { line: lun.line, text });
            }
        }
        Ok(())
    }
}

impl Target {
    fn new(line: usize, iqn: String) -> Self {
        let (luns, parameters) = (Vec::new(), Vec::new());
        Self { line, iqn, incoming: None, outgoing: None, luns, parameters }
    }
}

impl Lun {
    fn parse(line: usize, value: &str) -> Result<Self, String> {
        let (number, rest) = value.split_once(char::is_whitespace).unwrap_or((value, ""));
        let number = number
            .parse()
            .ok()
            // What the protocol can address without further ado.
            .filter(|number| *number <= 16383)
            .ok_or_else(|| format!("{number} is not the number of a Lun"))?;
        let mut lun = Self {
            line,
            number,
            path: String::new(),
            is_blockio: false,
            mode: Mode::WriteThrough,
            scsi_id: None,
            scsi_sn: None,
            block_size: None,
        };
        for pair in rest.trim().split(',').map(str::trim) {
            let Some((name, value)) = pair.split_once('=') else {
                return Err(format!("Lun {number}: {pair} is not NAME=VALUE"));
            };
            lun.set(name.trim(), value.trim()).map_err(|what| format!("Lun {number}: {what}"))?;
        }
        match lun.path.starts_with('/') {
            true => Ok(lun),
            false => Err(format!("Lun {number} has no Path that begins with /")),
        }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        let strange = || Err(format!("{name} is not {value}"));
        if is("Path") {
            value.clone_into(&mut self.path);
        } else if is("Type") {
            match value.to_ascii_lowercase().as_str() {
                "blockio" => self.is_blockio = true,
                "fileio" => self.is_blockio = false,
                "nullio" => return Err("Type=nullio keeps nothing, and is not offered".into()),
                _ => return strange(),
            }
        } else if is("IOMode") {
            self.mode = match value.to_ascii_lowercase().as_str() {
                "wt" => Mode::WriteThrough,
                "wb" => Mode::WriteBack,
                "ro" => Mode::ReadOnly,
                _ => return strange(),
            };
        } else if is("ScsiId") {
            self.scsi_id = Some(identifier(name, value, 16)?);
        } else if is("ScsiSN") {
            self.scsi_sn = Some(identifier(name, value, 16)?);
        } else if is("BlockSize") {
            let size = value.parse().ok().filter(|size| [512, 1024, 2048, 4096].contains(size));
            self.block_size = Some(size.ok_or(format!("BlockSize is not {value}"))?);
        } else if is("Blocks") || is("Sectors") {
            return Err(format!("{name} is for Type=nullio, which is not offered"));
        } else {
            return Err(format!("there is no {name}"));
        }
        Ok(())
    }

    /// What initiators know the disk by: as the file says, or else made of the
    /// target's name and the number, so that it is the same on each node.
    pub(super) fn serial(&self, iqn: &str) -> String {
        let given = self.scsi_sn.as_ref().or(self.scsi_id.as_ref()).cloned();
        given.unwrap_or_else(|| format!("{:016x}", digest(&format!("{iqn} {}", self.number))))
    }
}

enum Users {
    Wrong(String),
    Another,
}

/// An empty one is none, as for IET.
fn set_user(slot: &mut Option<Credentials>, value: &str) -> Result<(), Users> {
    let mut words = value.split_whitespace();
    let (user, secret) = match (words.next(), words.next(), words.next()) {
        (None, ..) => return Ok(()),
        (Some(user), Some(secret), None) => (user.to_owned(), secret.to_owned()),
        _ => return Err(Users::Wrong("not a user and a password".into())),
    };
    let credentials = Credentials { user, secret };
    if let Some(fault) = credentials.fault() {
        return Err(Users::Wrong(format!("the user or the password {fault}")));
    }
    match slot.replace(credentials) {
        Some(_) => Err(Users::Another),
        None => Ok(()),
    }
}

/// A target's name, in small letters as it goes over the wire.
fn iqn(value: &str) -> Result<String, String> {
    name::iscsi(value).map_err(|what| format!("{value} is {what}"))
}

fn identifier(name: &str, value: &str, longest: usize) -> Result<String, String> {
    let is_plain = value.bytes().all(|byte| byte.is_ascii_graphic());
    match !value.is_empty() && value.len() <= longest && is_plain {
        true => Ok(value.to_owned()),
        false => Err(format!("{name} takes up to {longest} letters and digits")),
    }
}

/// FNV-1a: the same on each node, for ever.
pub(super) fn digest(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The directives, each with the number of its line.
fn directives(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let mut whole = line.trim().to_owned();
        if whole.starts_with('#') {
            continue;
        }
        while let Some(begun) = whole.strip_suffix('\\') {
            whole = begun.to_owned() + lines.next().map_or("", |(_, next)| next).trim();
        }
        if !whole.trim().is_empty() {
            found.push((at + 1, whole.trim().to_owned()));
        }
    }
    found
}

#[cfg(test)]
mod tests;
