//! What an fsid is for, and what will happen without.

use super::{Exportfs, Seen, State};
use common::View;
use common::host::nfs::exports;

impl Exportfs {
    /// What will go wrong one day: a sentence each.
    pub(super) fn warnings(&self, view: &View, state: &State) -> Vec<String> {
        let mut found = Vec::new();
        if self.fsid().is_none() {
            found.push(
                "no fsid is set: on another node, or another device, clients may get stale handles \
                 after a hand-over"
                    .into(),
            );
        }
        found.extend(state.exports.iter().filter_map(|seen| self.changed(seen)));
        let all = exports::all(view).map(|all| all.into_items()).unwrap_or_default();
        for seen in &state.exports {
            let Some(fsid) = &seen.asked.fsid else { continue };
            let twin = all.iter().find(|export| {
                export.path != seen.path
                    && export.option("fsid").is_some_and(|other| fsid.is(other))
            });
            if let Some(twin) = twin {
                found.push(format!(
                    "{} has fsid={fsid} as well as {}: clients of one get the files of the other",
                    twin.path.display(),
                    seen.path.display()
                ));
            }
            if self.options.has("async") {
                found.push(
                    "async acknowledges what is in memory alone: after a power cut clients miss what \
                     they have written"
                        .into(),
                );
            }
        }
        found.sort();
        found.dedup();
        found
    }

    /// That an export is not what was asked for: a clause.
    pub(super) fn changed(&self, seen: &Seen) -> Option<String> {
        let entry = seen.entry.as_ref()?;
        let (path, client) = (seen.path.display(), &entry.client);
        let listed = entry.option("fsid").unwrap_or("none");
        if let Some(fsid) = &seen.asked.fsid
            && !fsid.is(listed)
        {
            return Some(format!(
                "{path} is exported to {client} with fsid {listed} and not {fsid}: clients get stale \
                 handles when that changes"
            ));
        }
        let may_write = entry.has("rw");
        if may_write != self.options.may_write() {
            let (is, wanted) = if may_write { ("rw", "ro") } else { ("ro", "rw") };
            return Some(format!("{path} is exported to {client} {is} and not {wanted}"));
        }
        None
    }
}
