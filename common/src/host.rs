//! What is found on the machine and how it is changed: one file for each
//! facility. Nothing here knows what a cluster is.

pub mod absence;
pub mod address;
pub mod announce;
pub mod aoe;
mod beneath;
pub mod block;
pub mod child;
pub mod clock;
pub mod configfs;
pub mod credentials;
pub mod daemon;
pub mod device_number;
pub mod dm;
pub mod drbd;
pub mod file;
pub mod floor;
pub mod fuser;
pub mod genl;
pub mod holders;
pub mod ifreq;
pub mod io_test;
pub mod iptables;
pub mod journal;
pub mod libvirt;
pub mod link;
pub mod lio;
pub mod lock;
pub mod lookup;
pub mod lvm;
pub(crate) mod mark;
pub mod module;
pub mod mount;
pub mod netlink;
pub mod netns;
pub mod nfs;
pub mod nftables;
pub mod nvmet;
pub(crate) mod openat2;
pub mod opened;
pub mod pidfd;
pub mod pidlock;
pub mod process;
pub mod program;
pub mod reading;
pub mod record;
pub mod route;
pub mod secret;
pub mod signal;
pub mod sockets;
pub mod statx;
pub mod stuck;
pub mod system;
pub mod systemd;
pub mod tasks;
pub mod tgt;
pub mod tickle;
pub mod traffic;
mod unix_socket;
pub mod xen;
pub mod xml;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    /// The words of the table's second column.
    fn named() -> BTreeSet<String> {
        let text = include_str!("../../ARCHITECTURE.md");
        let rows =
            text.lines().skip_while(|line| !line.starts_with("| facility | files |")).skip(2);
        let rows = rows.take_while(|line| line.starts_with('|'));
        let words = rows.flat_map(|row| row.split('`').skip(1).step_by(2));
        words.map(str::to_owned).collect()
    }

    #[test]
    fn the_table_of_facilities_has_each_file_and_nothing_else() {
        let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/host");
        let names = |directory: &Path| -> BTreeSet<String> {
            let entries = std::fs::read_dir(directory).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.filter_map(|name| Some(name.strip_suffix(".rs")?.to_owned())).collect()
        };
        let (named, files) = (named(), names(&home));
        // What the text above the table is about.
        let is_named = |file: &str| {
            let below = format!("{file}/");
            file == "system" || named.iter().any(|word| word == file || word.starts_with(&below))
        };
        let unnamed: Vec<&String> = files.iter().filter(|file| !is_named(file)).collect();
        assert!(unnamed.is_empty(), "ARCHITECTURE.md does not name {unnamed:?}");
        let is_below = |word: &str| files.iter().any(|file| home.join(file).join(word).exists());
        let is_file = |word: &str| {
            let file = format!("{word}.rs");
            home.join(&file).exists() || is_below(&file)
        };
        let unknown: Vec<&String> = named.iter().filter(|word| !is_file(word)).collect();
        assert!(unknown.is_empty(), "ARCHITECTURE.md names {unknown:?}, which are no files");
    }
}
