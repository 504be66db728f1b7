//! Secrets in option lists, kept out of argument lists, logs and traces.

use crate::host::mount::option_words::is_generic;
use anyhow::{Context, Result};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;

/// The options whose value is nobody's business. Those of cifs may hold commas.
const PASSWORDS: &[&str] = &["password", "password2", "passwd", "pass", "pass2"];
const KEYS: &[&str] = &["secret"];

/// Where in an option the value of its secret begins. The option may have
/// something in front of it: `OCF_RESKEY_options=`.
fn secret_in(option: &str, names: &[&str]) -> Option<usize> {
    let mut from = 0;
    for name in option.split_inclusive('=') {
        let bare = name.strip_suffix('=')?.trim();
        from += name.len();
        if names.iter().any(|secret| bare.eq_ignore_ascii_case(secret)) {
            return Some(from);
        }
    }
    None
}

/// The options of a comma-separated list, as they are written. A comma in
/// double quotes is part of its option.
///
/// In a password a comma is doubled, as for the kernel; and where a single one
/// is not followed by an option that cifs or mount(8) knows, it is the
/// password that goes on: better a mount that is refused than half a password
/// in everybody's sight.
pub fn options(list: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = list;
    loop {
        let length = match secret_in(&rest[..first(rest)], PASSWORDS) {
            Some(value) => value + password(&rest[value..]),
            None => first(rest),
        };
        found.push(&rest[..length]);
        match rest[length..].strip_prefix(',') {
            Some(after) => rest = after,
            None => return found,
        }
    }
}

/// How long the first option is, commas in quotes included.
fn first(list: &str) -> usize {
    let mut quoted = false;
    let end = list.bytes().position(|byte| {
        quoted ^= byte == b'"';
        byte == b',' && !quoted
    });
    end.unwrap_or(list.len())
}

/// How long the password is that the list begins with.
fn password(list: &str) -> usize {
    if let Some(end) = list.strip_prefix('"').and_then(|rest| rest.find('"')) {
        let end = end + 2;
        if list[end..].is_empty() || list[end..].starts_with(',') {
            return end;
        }
    }
    let mut at = 0;
    loop {
        at += list[at..].find(',').unwrap_or(list.len() - at);
        let Some(after) = list[at..].strip_prefix(',') else { return at };
        if after.starts_with(',') {
            at += 2;
        } else if after.is_empty() || is_option(&after[..first(after)]) {
            return at;
        } else {
            at += 1;
        }
    }
}

/// The password as it is typed.
fn typed(written: &str) -> String {
    let quoted = written.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match quoted.filter(|inside| inside.contains(',')) {
        Some(inside) => inside.to_owned(),
        None => written.replace(",,", ","),
    }
}

/// Whether the word is an option of cifs or of mount(8).
fn is_option(word: &str) -> bool {
    /// Those of fs/smb/client/fs_context.c and of mount.cifs, by their names;
    /// the kernel takes most flags with `no` before them.
    const CIFS: &str = "ac acdirmax acl acregmax actimeo addr autotune backupgid backupuid blocksend \
        brl bsize cache cifsacl closetimeo compress cred credentials cruid dfltperm dfs dir_mode \
        direct dirm dirmode dmask dom domain domainauto dynperm echo_interval esize file_mode fmask \
        forcedirectio forceforcegid forcegid forcemand forcemandatorylock forceuid fsc gid guest \
        handlecache handletimeout hard idsfromsid ignore_signature ignorecase intr iocharset ip \
        lease linux locallease lock loose mand mapchars mapposix max_cached_dirs max_channels \
        max_credits mfsymlinks min_enc_offload modefromsid modesid multichannel multiuser \
        nativesocket netbiosname pass pass2 passwd password password2 path perm persistenthandles \
        port posix posixpaths prefixpath rasize rdma reparse resilienthandles retrans rootfs rsize \
        rwpidforward seal sec sep serverino servern setuidfromacl setuids sfu sharesock sign \
        signloosely sloppy snapshot soft source sparse srcaddr strictcache strictsync symlink \
        symlinkroot target tcpnodelay uid unc unicode unix upcall_target user user_xattr username \
        ver vers witness workgroup wsize";
    let name = word.split_once('=').map_or(word, |(name, _)| name).trim();
    let is_of_cifs = |name: &str| CIFS.split_whitespace().any(|known| known == name);
    is_of_cifs(name) || name.strip_prefix("no").is_some_and(is_of_cifs) || is_generic(word.trim())
}

/// The text with stars for the value of each secret in a comma-separated list.
pub fn masked(text: &str) -> String {
    let mask = |option: &&str| match secret_in(option, &[PASSWORDS, KEYS].concat()) {
        Some(value) => format!("{}***", &option[..value]),
        None => (*option).to_owned(),
    };
    options(text).iter().map(mask).collect::<Vec<_>>().join(",")
}

/// The list without the options of these names in it, and their values.
pub fn taken_out(list: &str, names: &[&str]) -> (String, Vec<String>) {
    let (mut kept, mut secrets) = (Vec::new(), Vec::new());
    for option in options(list) {
        match option.split_once('=') {
            Some((name, value)) if names.contains(&name.trim()) => secrets.push(typed(value)),
            _ => kept.push(option),
        }
    }
    (kept.join(","), secrets)
}

/// A file without a name, for a program that takes a secret from a file and
/// runs while we wait for it. It is gone with us, however we end.
#[derive(Debug)]
pub struct Nameless(File);

impl Nameless {
    /// A file that holds this.
    pub fn holding(text: &str) -> Result<Self> {
        let fd = memfd_create(c"secret", MFdFlags::MFD_CLOEXEC).context("no memory file")?;
        let mut file = File::from(fd);
        file.write_all(text.as_bytes()).context("no room in a memory file")?;
        Ok(Self(file))
    }

    /// Where another process of the same user finds it, and nobody else.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_masked_wherever_the_list_stands() {
        assert_eq!(masked("user=a,password=b,vers=3"), "user=a,password=***,vers=3");
        assert_eq!(masked("OCF_RESKEY_options=secret=b"), "OCF_RESKEY_options=secret=***");
        assert_eq!(masked("rw,noatime"), "rw,noatime");
    }

    #[test]
    fn a_key_that_ends_with_equals_signs_is_masked() {
        assert_eq!(masked("name=a,secret=AQB+x==,noatime"), "name=a,secret=***,noatime");
        assert_eq!(masked("OCF_RESKEY_options=password=a=b"), "OCF_RESKEY_options=password=***");
    }

    #[test]
    fn a_comma_in_a_password_ends_neither_the_stars_nor_the_password() {
        let names = &["password", "pass"];
        for (list, kept, password) in [
            ("user=a,password=b=c,vers=3", "user=a,vers=3", "b=c"),
            ("user=a,password=x,,y,vers=3", "user=a,vers=3", "x,y"),
            ("password=x,,,,y,ro", "ro", "x,,y"),
            ("password=x,,,ro", "ro", "x,"),
            ("password=,,x,ro", "ro", ",x"),
            ("password=x,y,vers=3", "vers=3", "x,y"),
            ("password=x,y=z,_netdev", "_netdev", "x,y=z"),
            ("pass=\"x,ro\",noserverino", "noserverino", "x,ro"),
            ("pass=\"x\",ro", "ro", "\"x\""),
            ("pass=x\"y,ro", "ro", "x\"y"),
            ("password=x,", "", "x"),
            ("password=x,,bind", "", "x,bind"),
        ] {
            let (rest, secrets) = taken_out(list, names);
            assert_eq!(secrets, [password], "{list}");
            assert_eq!(rest.trim_end_matches(','), kept, "{list}");
            assert_eq!(masked(list).matches("***").count(), 1, "{list}");
            assert_eq!(masked(list).len(), masked(&list.replace('x', "xxxx")).len(), "{list}");
        }
        assert_eq!(taken_out("rw", names), ("rw".to_owned(), vec![]));
        let (rest, both) = taken_out("password=a,password2=b,,c,ro", &["password", "password2"]);
        assert_eq!((rest.as_str(), both), ("ro", vec!["a".to_owned(), "b,c".to_owned()]));
    }

    #[test]
    fn a_nameless_file_is_read_by_its_path_and_has_no_name() {
        let file = Nameless::holding("AQB=").unwrap();
        assert_eq!(std::fs::read_to_string(file.path()).unwrap(), "AQB=");
        let path = file.path();
        drop(file);
        // Another test may have opened a file by that number since.
        assert!(std::fs::read_to_string(path).map_or(true, |text| text != "AQB="));
    }
}
