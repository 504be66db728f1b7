//! The iSCSI target, configured in the kernel from the article's
//! `/etc/ietd.conf`. What that file was for, a module named IET, is in no
//! kernel any more; LIO, which took its place, is configured by directories.
//!
//! The disk and who may log in come first, and the switch last: whoever
//! reaches the target before is refused and tries again, while one who found
//! a target without its disk would report an error.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

const CONFIGFS: &str = "/sys/kernel/config";
/// The store that has the disk.
const STORE: &str = "/sys/kernel/config/target/core/iblock_0/disk";
const ISCSI: &str = "/sys/kernel/config/target/iscsi";

/// The target's name in the article.
const NAME: &str = "iqn.2008-04.local.home:storage.disk.0";

/// The file that says whether the target serves.
pub fn switch() -> String {
    format!("{ISCSI}/{NAME}/tpgt_1/enable")
}

/// Whether the target serves.
pub fn runs() -> bool {
    fs::read_to_string(switch()).is_ok_and(|text| text.trim() == "1")
}

/// One target of an ietd.conf.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    name: String,
    device: String,
    /// What initiators log in with, and what the target answers with: user
    /// and password.
    incoming: Option<(String, String)>,
    outgoing: Option<(String, String)>,
    /// Everything else: names and values of the protocol.
    rest: Vec<(String, String)>,
}

impl Target {
    fn parse(text: &str) -> Result<Self, String> {
        let mut target = Target {
            name: String::new(),
            device: String::new(),
            incoming: None,
            outgoing: None,
            rest: Vec::new(),
        };
        for line in text.lines().map(str::trim).filter(|line| !line.starts_with('#')) {
            let Some((word, value)) = line.split_once(char::is_whitespace) else { continue };
            let value = value.trim();
            let pair =
                || value.split_once(' ').map(|(user, word)| (user.to_owned(), word.to_owned()));
            match word {
                "Target" => target.name = value.into(),
                "IncomingUser" => target.incoming = pair(),
                "OutgoingUser" => target.outgoing = pair(),
                "Lun" => {
                    let path = value.split_once("Path=").map_or("", |(_, path)| path);
                    target.device = path.split(',').next().unwrap_or(path).into();
                }
                _ => target.rest.push((word.into(), value.into())),
            }
        }
        if target.name != NAME || target.device.is_empty() {
            return Err(format!("/etc/ietd.conf does not say Target {NAME} and its Lun"));
        }
        Ok(target)
    }
}

/// Makes the target; what is there already stays.
pub fn start() -> Result<(), String> {
    if runs() {
        return Ok(());
    }
    // The remains of an interrupted start would be in the way.
    stop()?;
    let text = fs::read_to_string("/etc/ietd.conf").map_err(|err| format!("ietd.conf: {err}"))?;
    let target = Target::parse(&text)?;
    run("modprobe", &["-a", "configfs", "target_core_mod", "target_core_iblock"])?;
    if !Path::new(CONFIGFS).join("target").exists() {
        run("mount", &["-t", "configfs", "configfs", CONFIGFS])?;
    }
    run("modprobe", &["-a", "iscsi_target_mod", "crc32c"])?;

    make(STORE)?;
    set(STORE, "control", &format!("udev_path={}", target.device))?;
    set(STORE, "enable", "1")?;
    // Both nodes show the same disk.
    set(STORE, "wwn/vpd_unit_serial", "sturdy-lab-disk-0")?;

    let group = format!("{ISCSI}/{NAME}/tpgt_1");
    make(&group)?;
    make(&format!("{group}/lun/lun_0"))?;
    std::os::unix::fs::symlink(STORE, format!("{group}/lun/lun_0/disk"))
        .map_err(|err| format!("cannot give the target its disk: {err}"))?;
    for (name, value) in &target.rest {
        if Path::new(&group).join("param").join(name).exists() {
            set(&group, &format!("param/{name}"), value)?;
        }
    }
    for name in ["generate_node_acls", "cache_dynamic_acls"] {
        set(&group, &format!("attrib/{name}"), "1")?;
    }
    set(&group, "attrib/demo_mode_write_protect", "0")?;
    let ask = if target.incoming.is_some() { "1" } else { "0" };
    set(&group, "attrib/authentication", ask)?;
    let discovery = format!("{ISCSI}/discovery_auth");
    for (user, word, pair) in [
        ("userid", "password", &target.incoming),
        ("userid_mutual", "password_mutual", &target.outgoing),
    ] {
        let Some((name, secret)) = pair else { continue };
        set(&group, &format!("auth/{user}"), name)?;
        set(&group, &format!("auth/{word}"), secret)?;
        if user == "userid" {
            set(&discovery, user, name)?;
            set(&discovery, word, secret)?;
        }
    }
    set(&discovery, "enforce_discovery_auth", ask)?;
    make(&format!("{group}/np/0.0.0.0:3260"))?;
    set(&group, "enable", "1")
}

/// Takes the target apart, whatever there is of it.
pub fn stop() -> Result<(), String> {
    let group = PathBuf::from(format!("{ISCSI}/{NAME}/tpgt_1"));
    if group.exists() && runs() {
        set(&group.to_string_lossy(), "enable", "0")?;
    }
    for acl in fs::read_dir(group.join("acls")).into_iter().flatten().flatten() {
        gone(&acl.path(), fs::remove_dir)?;
    }
    gone(&group.join("lun/lun_0/disk"), fs::remove_file)?;
    gone(&group.join("lun/lun_0"), fs::remove_dir)?;
    gone(&group.join("np/0.0.0.0:3260"), fs::remove_dir)?;
    gone(&group, fs::remove_dir)?;
    gone(Path::new(&format!("{ISCSI}/{NAME}")), fs::remove_dir)?;
    gone(Path::new(STORE), fs::remove_dir)?;
    gone(Path::new(STORE).parent().unwrap_or(Path::new(STORE)), fs::remove_dir)
}

fn make(path: &str) -> Result<(), String> {
    fs::create_dir_all(path).map_err(|err| format!("cannot make {path}: {err}"))
}

/// Without a line feed, which would become a part of a name or a password.
fn set(below: &str, name: &str, value: &str) -> Result<(), String> {
    let path = format!("{below}/{name}");
    fs::write(&path, value).map_err(|err| format!("cannot set {path}: {err}"))
}

fn gone(path: &Path, remove: impl Fn(PathBuf) -> std::io::Result<()>) -> Result<(), String> {
    match remove(path.to_path_buf()) {
        Err(err) if err.kind() != ErrorKind::NotFound => {
            Err(format!("cannot remove {}: {err}", path.display()))
        }
        _ => Ok(()),
    }
}

fn run(program: &str, words: &[&str]) -> Result<(), String> {
    let status = Command::new(program).args(words).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{program} {}: {status}", words.join(" "))),
        Err(err) => Err(format!("cannot run {program}: {err}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_articles_file_is_read() {
        let text = include_str!("../../setups/iscsi/ietd.conf");
        let target = Target::parse(text).unwrap();
        let pair = |user: &str, word: &str| Some((user.to_owned(), word.to_owned()));
        assert_eq!(target.device, "/dev/drbd1");
        assert_eq!(target.incoming, pair("geekshlby", "secret"));
        assert_eq!(target.outgoing, pair("geekshlby", "password"));
        assert!(target.rest.contains(&("MaxBurstLength".into(), "262144".into())));
        assert!(target.rest.contains(&("HeaderDigest".into(), "CRC32C,None".into())));
        assert!(Target::parse("Target iqn.other\n").is_err());
    }
}
