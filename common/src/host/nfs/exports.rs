//! The table of exports, and what the kernel has cached of it.
//!
//! The kernel asks rpc.mountd for an export when a client first wants it, and
//! mountd answers from the table, `etab`. So the table is what is exported;
//! what the kernel has cached is what it goes on serving when the table has
//! it no more, until the cache is flushed.
//!
//! | file        | what is in it                                    |
//! |-------------|--------------------------------------------------|
//! | `client.rs` | who a directory is exported to                   |
//! | `change.rs` | putting entries in, and taking them out under the locks of nfs-utils |
//! | `rmtab.rs`  | who has mounted by NFSv3                         |

pub mod change;
pub mod client;
pub mod rmtab;

use crate::host::absence::{Absent, Whole};
use crate::host::mount::table::unescaped;
use crate::host::nfs::server;
use crate::host::reading;
use crate::host::system::View;
use anyhow::{Context, Result, ensure};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The table that mountd answers from.
pub const TABLE: &str = "/var/lib/nfs/etab";

/// What the kernel has cached of it.
const CACHED: &str = "/proc/net/rpc/nfsd.export/content";

/// A directory that one client may mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// The directory, without links.
    pub path: PathBuf,
    /// The client as it is listed; in the kernel's cache all clients that a
    /// host counts among, with commas between them.
    pub client: String,
    /// The words in brackets.
    pub options: String,
}

impl Export {
    /// The value of `name=value`.
    pub fn option(&self, name: &str) -> Option<&str> {
        let mut words = self.options.split(',');
        words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    /// Whether this is one of the options.
    pub fn has(&self, wanted: &str) -> bool {
        self.options.split(',').any(|word| word == wanted)
    }

    /// `path<blank>client(options)`.
    fn parse(line: &str) -> Option<Self> {
        let (path, rest) = line.split_once(['\t', ' '])?;
        let (client, options) = rest.trim().strip_suffix(')')?.split_once('(')?;
        let is_whole = path.starts_with('/') && !client.is_empty();
        is_whole.then(|| Self {
            path: unescaped(path),
            client: client.to_owned(),
            options: options.to_owned(),
        })
    }
}

/// The exports of these directories. A table that is not there exports nothing.
pub fn of(view: &View, paths: &[&Path]) -> Result<Whole<Export>> {
    let wanted: Vec<Wanted<'_>> = paths.iter().map(|path| Wanted::of(path)).collect();
    let (count, found) = table(view, |line| wanted.iter().any(|path| path.begins(line)))?;
    view.note(format_args!("read {TABLE} = {count} exports, {} of them meant", found.len()));
    Ok(Whole::told("exports of the directory in etab", found))
}

/// All exports.
pub fn all(view: &View) -> Result<Whole<Export>> {
    let (count, found) = table(view, |_| true)?;
    view.note(format_args!("read {TABLE} = {count} exports"));
    Ok(Whole::told("exports in etab", found))
}

fn read(line: &[u8]) -> Result<Export> {
    let line = String::from_utf8_lossy(line);
    Export::parse(&line)
        .with_context(|| format!("cannot make sense of the line `{line}` of {TABLE}"))
}

/// A path as lines of the table may begin with it.
struct Wanted<'a> {
    path: &'a Path,
    /// Whether it has none of the characters that are written as numbers.
    is_plain: bool,
}

impl<'a> Wanted<'a> {
    fn of(path: &'a Path) -> Self {
        let special = |byte: &u8| !byte.is_ascii_graphic() || matches!(byte, b'\\' | b'"' | b'#');
        Self { path, is_plain: !path.as_os_str().as_bytes().iter().any(special) }
    }

    fn begins(&self, line: &[u8]) -> bool {
        let path = self.path.as_os_str().as_bytes();
        if self.is_plain {
            return matches!(line.get(path.len()), Some(b'\t' | b' ')) && line.starts_with(path);
        }
        let end = line.iter().position(|byte| matches!(byte, b'\t' | b' '));
        let field = &line[..end.unwrap_or(line.len())];
        unescaped(field) == self.path
    }
}

/// How many lines the table has, and those that are meant. It may lie on a file
/// system that travels with the data, and whose disk is gone by now.
fn table(view: &View, is_meant: impl Fn(&[u8]) -> bool) -> Result<(usize, Vec<Export>)> {
    let read = reading::read(view, Path::new(TABLE), |table| lines(table, &is_meant))?;
    Ok(read.unwrap_or_default())
}

/// Goes through the table's lines, to its end. It is put in its place as a
/// whole, so that one which ends in the middle of a line is none.
fn lines(table: &mut dyn Read, is_meant: &impl Fn(&[u8]) -> bool) -> Result<(usize, Vec<Export>)> {
    /// The table is read piece by piece: 10,000 exports are two megabytes, of which
    /// none but the lines that are meant is copied.
    const PIECE: usize = 64 << 10;
    let (mut count, mut found) = (0, Vec::new());
    let mut piece = vec![0; PIECE];
    // As much as there is of a line whose end is still to come.
    let mut begun = 0;
    loop {
        if begun == piece.len() {
            piece.resize(2 * begun, 0);
        }
        let length = match table.read(&mut piece[begun..]) {
            Err(err) if err.kind() == io::ErrorKind::Interrupted => continue,
            read => read.with_context(|| format!("cannot read {TABLE}"))?,
        };
        if length == 0 {
            ensure!(begun == 0, "{TABLE} ends in the middle of a line");
            return Ok((count, found));
        }
        let end = begun + length;
        let mut at = 0;
        while let Some(length) = line_end(&piece[at..end]) {
            let line = &piece[at..at + length];
            at += length + 1;
            if !line.is_empty() && line[0] != b'#' {
                count += 1;
                if is_meant(line) {
                    found.push(read(line)?);
                }
            }
        }
        piece.copy_within(at..end, 0);
        begun = end - at;
    }
}

/// Where the first line ends. The C library's search is several times as fast as
/// what is built for size.
#[allow(unsafe_code)]
fn line_end(text: &[u8]) -> Option<usize> {
    // SAFETY: what is searched is as long as is told.
    let found = unsafe { libc::memchr(text.as_ptr().cast(), b'\n'.into(), text.len()) };
    (!found.is_null()).then(|| found as usize - text.as_ptr() as usize)
}

/// What the kernel serves from its cache; nothing where it has no NFS server.
fn cached(view: &View) -> Result<Whole<Export>> {
    let text = match view.read(CACHED) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            let absent = server::no_module(view)?;
            absent.with_context(|| format!("cannot tell what the kernel exports: no {CACHED}"))?;
            String::new()
        }
        read => read.with_context(|| format!("cannot read {CACHED}"))?,
    };
    // Those with a `#` in front are refusals, and entries that have expired.
    let lines = text.lines().filter(|line| line.starts_with('/'));
    let parsed = |line: &str| {
        Export::parse(line).with_context(|| format!("cannot make sense of `{line}` in {CACHED}"))
    };
    Ok(Whole::told("exports in the kernel's cache", lines.map(parsed).collect::<Result<_>>()?))
}

/// The entries of the table by which the directory can be served: its own, and
/// those of directories above that let clients cross into what is mounted below.
fn sources(view: &View, path: &Path) -> Result<Vec<Export>> {
    let line: Vec<&Path> = path.ancestors().collect();
    let found = of(view, &line)?.into_items().into_iter();
    Ok(found.filter(|export| export.path == path || export.has("crossmnt")).collect())
}

/// Proof that the kernel serves none of these directories to its client from
/// its cache, without an entry of the table that it could come from; or those
/// that it does.
pub fn forgotten(
    view: &View,
    gone: &[(&Path, &str)],
) -> Result<Result<Absent, Vec<(PathBuf, String)>>> {
    let cached = cached(view)?;
    let mut outlived = Vec::new();
    for (path, client) in gone {
        let left = if cached.is_empty() { Vec::new() } else { sources(view, path)? };
        if cached.iter().any(|export| has_outlived(export, path, client, &left)) {
            outlived.push((path.to_path_buf(), (*client).to_owned()));
        }
    }
    if outlived.is_empty() {
        let look = format!("none among {} exports that the kernel has cached", cached.len());
        return Ok(Ok(Absent::seen(look)));
    }
    Ok(Err(outlived))
}

/// The same of whichever clients; or the first directory that the kernel serves
/// to some.
pub fn forgotten_by_all(view: &View, paths: &[&Path]) -> Result<Result<Absent, PathBuf>> {
    let cached = cached(view)?;
    for path in paths {
        let left = if cached.is_empty() { Vec::new() } else { sources(view, path)? };
        let is_left = |name: &str| left.iter().any(|export| export.client == name);
        let outlives = |export: &&Export| {
            let is_meant = export.path == *path && !export.has("v4root");
            is_meant && !export.client.split(',').any(is_left)
        };
        if cached.iter().find(outlives).is_some() {
            return Ok(Err(path.to_path_buf()));
        }
    }
    let look = format!("none among {} exports that the kernel has cached", cached.len());
    Ok(Ok(Absent::seen(look)))
}

/// Proof that the kernel serves no directory to such a client from its cache that
/// the table, all of which is `listed`, does not have; nothing where it does.
pub fn forgotten_wherever(
    view: &View,
    listed: &[Export],
    is_client: impl Fn(&str) -> bool,
) -> Result<Option<Absent>> {
    let is_listed = |cached: &Export| listed.iter().any(|export| export.path == cached.path);
    Ok(cached(view)?.lacks(|cached| {
        !cached.has("v4root") && !is_listed(cached) && cached.client.split(',').any(&is_client)
    }))
}

/// Whether what is cached is the directory for the client, and comes from no
/// entry that is left.
fn has_outlived(cached: &Export, path: &Path, client: &str, left: &[Export]) -> bool {
    // The way to other exports of NFSv4 is made up by mountd.
    if cached.path != path || cached.has("v4root") {
        return false;
    }
    let is_left = |name: &str| left.iter().any(|export| export.client == name);
    let mut names = cached.client.split(',');
    left.is_empty() || names.clone().any(|name| name == client) && !names.any(is_left)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Files;

    fn machine(files: &[(&str, &str)]) -> Files {
        let machine = Files::new();
        for (path, text) in files {
            machine.file(path, text);
        }
        machine
    }

    const ETAB: &str = "\
/srv/a\t10.0.0.0/24(rw,sync,fsid=17,anonuid=65534,sec=sys,rw)
/srv/ab\t*(ro,sync,fsid=18)
/srv/with\\040blank\tfd00::/64(rw,fsid=19)
# a comment
/srv/a\t::/0(rw,fsid=17)
";

    #[test]
    fn the_entries_of_a_directory_are_not_those_of_a_longer_name() {
        let fake = machine(&[(TABLE, ETAB)]);
        let clients = |path: &str| -> Vec<String> {
            let found = of(&fake.view(), &[Path::new(path)]).unwrap();
            found.iter().map(|export| export.client.clone()).collect()
        };
        assert_eq!(clients("/srv/a"), ["10.0.0.0/24", "::/0"]);
        assert_eq!(clients("/srv/ab"), ["*"]);
        assert_eq!(clients("/srv/with blank"), ["fd00::/64"]);
        assert_eq!(clients("/srv"), [""; 0]);
        assert_eq!(all(&fake.view()).unwrap().len(), 4);
        let first = &of(&fake.view(), &[Path::new("/srv/a")]).unwrap()[0];
        assert_eq!((first.option("fsid"), first.has("rw")), (Some("17"), true));
    }

    #[test]
    fn a_table_that_is_cut_short_proves_nothing() {
        for cut in ["/srv/a\t*(rw)", "/srv/ab\t*(ro)\n/srv/a\t10.0", "/srv/a\n"] {
            let fake = machine(&[(TABLE, cut)]);
            assert!(of(&fake.view(), &[Path::new("/srv/x")]).is_err() || cut == "/srv/a\n");
            assert!(all(&fake.view()).is_err(), "{cut}");
        }
        assert!(of(&machine(&[]).view(), &[Path::new("/srv/a")]).unwrap().is_empty());
    }

    #[test]
    fn lines_are_whole_however_the_table_comes_in_pieces() {
        let long = format!("/srv/long\t*(ro,refer={})\n", "x".repeat(200_000));
        let text: String = (0..3_000).map(|n| format!("/srv/d{n}\t*(rw,fsid={n})\n")).collect();
        let fake = machine(&[(TABLE, &(text.clone() + &long + "/srv/last\t*(rw)\n"))]);
        assert_eq!(all(&fake.view()).unwrap().len(), 3_002);
        let paths = ["/srv/d0", "/srv/d2999", "/srv/long", "/srv/last"].map(Path::new);
        assert_eq!(of(&fake.view(), &paths).unwrap().len(), 4);
        let cut = machine(&[(TABLE, long.trim_end())]);
        assert!(all(&cut.view()).is_err());
    }

    #[test]
    fn what_the_kernel_has_cached_may_have_outlived_the_table() {
        let content = "#path domain(flags)\n\
            /srv/a\t127.0.0.0/8,10.0.0.0/24(rw,sync,fsid=17,sec=1)\n\
            /srv/c\t10.0.0.0/24(ro,v4root)\n\
            # /srv/b\t10.0.0.0/24\n";
        let outlived = |table: &str, path: &str, client: &str| {
            let fake = machine(&[(CACHED, content), (TABLE, table)]);
            forgotten(&fake.view(), &[(Path::new(path), client)]).unwrap().is_err()
        };
        let (net, other) = ("/srv/a\t127.0.0.0/8(rw)\n", "/srv/a\t*(rw)\n");
        assert!(outlived("", "/srv/a", "10.0.0.0/24"));
        assert!(outlived(other, "/srv/a", "10.0.0.0/24"));
        assert!(!outlived(net, "/srv/a", "10.0.0.0/24"), "it comes from that one");
        assert!(!outlived(other, "/srv/a", "10.9.0.0/24"));
        assert!(!outlived("", "/srv", "10.0.0.0/24"));
        assert!(!outlived("", "/srv/c", "10.0.0.0/24"), "on the way to others");
        assert!(!outlived("", "/srv/b", "10.0.0.0/24"), "a refusal");

        let by_any = |table: &str, path: &str| {
            let fake = machine(&[(CACHED, content), (TABLE, table)]);
            forgotten_by_all(&fake.view(), &[Path::new(path)]).unwrap().is_err()
        };
        let wherever = |table: &str, client: &str| {
            let fake = machine(&[(CACHED, content), (TABLE, table)]);
            let listed = all(&fake.view()).unwrap();
            forgotten_wherever(&fake.view(), &listed, |name| name == client).unwrap().is_some()
        };
        assert!(!wherever("", "10.0.0.0/24") && wherever(net, "10.0.0.0/24"));
        assert!(wherever("", "10.9.0.0/24"));
        assert!(by_any("", "/srv/a") && by_any(other, "/srv/a"));
        assert!(!by_any(net, "/srv/a") && !by_any("", "/srv/b") && !by_any("", "/srv/c"));
    }

    #[test]
    fn an_export_above_serves_what_is_mounted_below_if_it_says_so() {
        let text = "/srv\t*(ro,crossmnt)\n/\t*(ro)\n/srv/a/b\t*(rw)\n/srv/a\t@g(rw)\n";
        let fake = machine(&[(TABLE, text)]);
        let found = sources(&fake.view(), Path::new("/srv/a")).unwrap();
        let paths: Vec<_> = found.iter().map(|export| export.path.to_str().unwrap()).collect();
        assert_eq!(paths, ["/srv", "/srv/a"]);
    }
}
