//! jfs's journal.
//!
//! The kernel never replays it: after a power cut it refuses to mount a jfs
//! for writing until `fsck.jfs` has run. And the `fsck.jfs` of Debian and of
//! those who took its patch cannot. Since jfsutils 1.1.15-5 of 2020, to this
//! day, the two halves of the replay each have a buffer of their own where the
//! one should read what the other has found. It says `logredo failed`, goes on
//! to throw the journal away, calls the file system clean and ends with 0. All
//! that was written since the last mount is gone, however often it was synced.
//!
//! So no `fsck.jfs` comes near a journal that is needed before it has shown on
//! a scratch file system that what was committed is there after its check.

use anyhow::{Context, Result, bail, ensure};
use common::host::io_test;
use common::{System, installed};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Where the superblock is, and its copy.
const SUPERBLOCKS: [u64; 2] = [0x8000, 0xf000];

/// The only block size of jfs on Linux, and the size of a page of its log.
const PAGE: u64 = 4096;

/// No jfs is smaller.
const SMALLEST: u64 = 16 << 20;

/// The state in the superblock while it is mounted: `FM_MOUNT`.
const MOUNTED: u32 = 1;

/// Bytes of an inode that a transaction logs, its base: and the unit in which
/// the log gives places in a page.
const SLOT: usize = 128;

/// Whether the file system was unmounted, so that its journal is not needed.
pub(super) fn is_clean(system: &System<'_>, device: &Path) -> Result<bool> {
    let block = io_test::block(system, device, SUPERBLOCKS[0], system.deadline())
        .with_context(|| format!("cannot read {}", device.display()))?;
    ensure!(block.starts_with(b"JFS1"), "there is no jfs on {}", device.display());
    Ok(number(&block, 40) == 0)
}

/// Fails if the `fsck.jfs` of this machine loses what was committed: makes a
/// small file system in a file, with one committed transaction in its log, has
/// it checked and looks for the transaction's work.
pub(super) fn rehearse(system: &System<'_>, name: &str) -> Result<()> {
    let result = rehearse_on(system, name);
    system.remove_record(name)?;
    result
}

fn rehearse_on(system: &System<'_>, name: &str) -> Result<()> {
    let (path, file) = system.scratch(name, SMALLEST)?;
    let made = system.change("mkfs.jfs", &["-q".as_ref(), path.as_os_str()])?;
    if !made.success() {
        bail!("fsck.jfs cannot be tried out: mkfs.jfs has failed: {}", made.reason());
    }
    let wanted = commit(&file).context("fsck.jfs cannot be tried out")?;
    system.change("fsck.jfs", &["-p".as_ref(), path.as_os_str()])?;
    let mut found = [0; 4];
    file.read_exact_at(&mut found, wanted.at)?;
    if found != wanted.bytes {
        return Err(installed(
            "fsck.jfs here loses it, as Debian's does since jfsutils 1.1.15-5; install one that is \
             built from its authors' source",
        ));
    }
    Ok(())
}

/// What is to be found on the file system after the replay.
struct Wanted {
    at: u64,
    bytes: [u8; 4],
}

/// Writes into the log that the root directory was changed, as the kernel does
/// it: a point of synchronisation, a mount, the changed inode, the commit.
fn commit(file: &File) -> Result<Wanted> {
    let mut start = vec![0; 1 << 20];
    file.read_exact_at(&mut start, 0)?;
    let superblock = &start[SUPERBLOCKS[0] as usize..];
    ensure!(superblock.starts_with(b"JFS1"), "mkfs.jfs has made no jfs");

    // The root directory is inode 2 of file set 16, wherever it lies.
    let is_root = |at: &usize| number(&start, at + 4) == 16 && number(&start, at + 8) == 2;
    let inode = (0..start.len() - SLOT).step_by(512).find(is_root);
    let inode = inode.context("the file system has no root directory")?;
    let mut changed = start[inode..inode + SLOT].to_vec();
    const MODIFIED: usize = 72;
    let time = (!number(&changed, MODIFIED)).to_le_bytes();
    changed[MODIFIED..MODIFIED + 4].copy_from_slice(&time);

    let log = u64::from(number(superblock, 76)) * PAGE;
    let mut head = vec![0; PAGE as usize];
    file.read_exact_at(&mut head, log + PAGE)?;
    ensure!(number(&head, 0) == 0x8765_4321, "mkfs.jfs has made no log");
    // Page and place in it where the last record ends: that of mkfs, in the
    // page after the log's own superblock.
    let end = number(&head, 32);
    let mut page = Page { number: end / PAGE as u32, end: end % PAGE as u32, bytes: Vec::new() };

    page.append(Record { kind: 0x4000, ..Record::default() });
    page.append(Record { kind: 0x2000, ..Record::default() });
    let (block, slot) = (inode / PAGE as usize, inode % PAGE as usize / SLOT);
    page.bytes.extend(&changed);
    page.bytes.extend([slot as u16, 1].iter().flat_map(|number| number.to_le_bytes()));
    let place = [1, 16, 1 | 7 << 16, 1, block as u32];
    page.append(Record { id: 1, kind: 0x800, length: SLOT as u16 + 4, place, ..Record::default() });
    let before = page.address();
    page.append(Record { id: 1, before, kind: 0x8000, ..Record::default() });

    let at = log + u64::from(page.number) * PAGE;
    file.write_all_at(&page.bytes, at + u64::from(page.end))?;
    let end = ((page.address() % PAGE as u32) as u16).to_le_bytes();
    // Where the records end stands in the page's first and last eight bytes.
    for place in [6, PAGE - 2] {
        file.write_all_at(&end, at + place)?;
    }
    file.write_all_at(&0u32.to_le_bytes(), log + PAGE + 28)?;
    for place in SUPERBLOCKS {
        file.write_all_at(&MOUNTED.to_le_bytes(), place + 40)?;
    }
    Ok(Wanted { at: (inode + MODIFIED) as u64, bytes: time })
}

/// A page of the log, with what is to be appended to it.
struct Page {
    number: u32,
    end: u32,
    bytes: Vec<u8>,
}

/// The descriptor that ends each record.
#[derive(Default)]
struct Record {
    id: u32,
    before: u32,
    kind: u16,
    length: u16,
    place: [u32; 5],
}

impl Page {
    /// Where the records end by now, which is the last one's address.
    fn address(&self) -> u32 {
        self.number * PAGE as u32 + self.end + self.bytes.len() as u32
    }

    fn append(&mut self, record: Record) {
        let aggregate = 0;
        let kind = u32::from(record.kind) | u32::from(record.length) << 16;
        let words = [record.id, record.before, kind, aggregate];
        let words = words.iter().chain(&record.place);
        self.bytes.extend(words.flat_map(|word| word.to_le_bytes()));
    }
}

/// A number as jfs writes it; bytes that are not there count as 0.
fn number(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    u32::from_le_bytes(bytes.unwrap_or_default())
}
