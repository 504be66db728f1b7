//! The file itself: static, small, of the right kind.

use crate::harness::{AGENTS, Cases, Machine};
use ocf_meta::Meta;
use std::path::{Path, PathBuf};

/// The most a binary may take, in bytes.
const LARGEST: u64 = 2 << 20;

pub fn cases(cases: &mut Cases, meta: &'static Meta) {
    let name = meta.name;
    cases.add(format!("{name}: the binary is static"), move |_| is_static(name));
    cases.add(format!("{name}: the binary takes at most 2 MB"), move |_| is_small(name));
    cases.add(format!("{name}: what it advertises is what it does"), move |machine| {
        does_what_it_advertises(machine, meta);
    });
}

fn path(name: &str) -> PathBuf {
    Path::new(AGENTS).join(name)
}

/// Read from the program headers: no interpreter, nothing to load.
fn is_static(name: &str) {
    let elf = std::fs::read(path(name)).unwrap();
    assert_eq!(elf[..5], *b"\x7fELF\x02", "a 64-bit ELF file");
    let number = |at: usize, bytes: usize| {
        let field = elf[at..at + bytes].iter().rev();
        field.fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    let kinds: Vec<_> = (0..count).map(|entry| number(table + entry * size, 4)).collect();
    const LOAD: usize = 1;
    const INTERPRETER: usize = 3;
    assert!(kinds.contains(&LOAD), "it has something to run: {kinds:?}");
    assert!(!kinds.contains(&INTERPRETER), "it asks for a dynamic loader");
}

fn is_small(name: &str) {
    let size = std::fs::metadata(path(name)).unwrap().len();
    let shipped = std::env::var_os("STURDY_AGENTS").is_some();
    assert!(!shipped || size <= LARGEST, "{name} has {size} bytes");
}

/// An action that is listed is never "not implemented", and one that is not
/// listed always is.
fn does_what_it_advertises(machine: &Machine, meta: &'static Meta) {
    let sample = crate::sample::prepare(machine, meta.name);
    let call = sample.call(machine, meta.name);
    for action in meta.actions {
        let outcome = call.action(action.name);
        assert!(outcome.code != Some(3), "{} is listed: {}", action.name, *outcome);
    }
    let others = ["promote", "demote", "notify", "migrate_to", "migrate_from", "reload", "recover"];
    for action in others.into_iter().filter(|action| !meta.offers(action)) {
        call.action(action).exits(3);
    }
}
