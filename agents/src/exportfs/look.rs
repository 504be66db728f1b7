//! What is exported.

use super::place::{Made, Record};
use super::{Asked, Exportfs, Seen, State};
use anyhow::{Context, Result, bail};
use common::View;
use common::host::absence::Whole;
use common::host::mount::Table;
use common::host::nfs::exports::{self, Export};
use common::host::nfs::server;
use common::host::record::Damaged;
use std::path::{Path, PathBuf};

impl Exportfs {
    pub(super) fn look(&self, view: &View) -> Result<State> {
        let (record, damaged) = Damaged::apart(Record::of(view, &self.request.instance));
        let (noted_as, record) = match (record, &damaged) {
            (None, None) => self.noted_by_another(view)?.unzip(),
            (record, _) => (None, record),
        };
        let asked = self.asked(record.as_ref());
        let paths = match self.paths(view, record.as_ref()) {
            Ok(paths) => paths,
            Err(err) => return self.look_wherever(view, damaged, err),
        };
        let path = |asked: &Asked| {
            let found = paths.iter().find(|(directory, _)| *directory == asked.directory);
            found.map_or_else(|| asked.directory.clone(), |(_, path)| path.clone())
        };
        let made = record.as_ref().map(|record| record.made.as_slice()).unwrap_or_default();
        let mut wanted: Vec<&Path> = paths.iter().map(|(_, path)| path.as_path()).collect();
        wanted.extend(made.iter().map(|made| made.path.as_path()));
        wanted.sort_unstable();
        wanted.dedup();
        let listed = exports::of(view, &wanted)?;
        if self.params.clientspec.is_none() && record.is_none() {
            return self.look_without_clients(view, &paths, &listed, damaged);
        }
        let exports: Vec<Seen> = asked
            .into_iter()
            .map(|asked| {
                let path = path(&asked);
                let entry = find(&listed, &asked, &path, made).cloned();
                Seen { asked, path, entry }
            })
            .collect();
        let is_asked =
            |export: &Export| exports.iter().any(|seen| seen.entry.as_ref() == Some(export));
        let is_made = |export: &&Export| made.iter().any(|made| made.is(export));
        let others: Vec<Export> =
            listed.iter().filter(is_made).filter(|export| !is_asked(export)).cloned().collect();
        let mut state = State { exports, others, record, noted_as, damaged, ..State::default() };
        if state.entries().next().is_none() {
            refuse_doubt(view, state.damaged.as_ref())?;
            self.look_behind(view, &listed, &mut state)?;
        } else if state.others.is_empty() && self.is_leftover(view, &state)? {
            state.absent = server::is_idle(view)?;
        } else {
            state.moved = moved(view, &state)?;
        }
        Ok(state)
    }

    /// What an instance of another name has recorded of the same exports, and
    /// under which name: Pacemaker, heartbeat and a person have different names for
    /// one resource.
    fn noted_by_another(&self, view: &View) -> Result<Option<(String, Record)>> {
        let mut same: Vec<_> = Record::beside(view, &self.request.instance)?
            .into_iter()
            .filter(|(_, record)| self.is_asked(record))
            .collect();
        let found = same.pop();
        if !same.is_empty() && self.params.clientspec.is_none() {
            view.note(format_args!("more than one record speaks of these directories"));
            return Ok(None);
        }
        Ok(found)
    }

    /// Whether a record speaks of all that is asked for, and of nothing else.
    fn is_asked(&self, record: &Record) -> bool {
        let directories = &self.params.directory.0;
        let clients: Option<Vec<String>> = self
            .params
            .clientspec
            .as_ref()
            .map(|clients| clients.0.iter().map(ToString::to_string).collect());
        let is_meant = |made: &Made| {
            directories.contains(&made.directory)
                && clients.as_ref().is_none_or(|clients| clients.contains(&made.asked))
        };
        let has = |directory: &PathBuf, client: Option<&String>| {
            record.made.iter().any(|made| {
                made.directory == *directory && client.is_none_or(|client| made.asked == *client)
            })
        };
        record.made.iter().all(is_meant)
            && directories.iter().all(|directory| match &clients {
                None => has(directory, None),
                Some(clients) => clients.iter().all(|client| has(directory, Some(client))),
            })
    }

    /// Whose the entries of a directory are is told by the client that was asked
    /// for or by the record of the start. Where there is neither, proof that no
    /// entry can be this resource's, or an error.
    fn look_without_clients(
        &self,
        view: &View,
        paths: &[(PathBuf, PathBuf)],
        listed: &Whole<Export>,
        damaged: Option<Damaged>,
    ) -> Result<State> {
        refuse_doubt(view, damaged.as_ref())?;
        let (claims, _) = Record::claims(view)?;
        let is_others = |entry: &Export| claims.iter().any(|made| made.is(entry));
        let paths: Vec<&Path> = paths.iter().map(|(_, path)| &**path).collect();
        let absent = match listed.iter().find(|entry| !is_others(entry)) {
            None => match exports::forgotten_by_all(view, &paths)? {
                Ok(of_kernel) => {
                    listed.lacks(|entry| !is_others(entry)).map(|absent| absent.and(of_kernel))
                }
                Err(path) => bail!(
                    "the kernel serves {} from its cache, and whether that is this resource's cannot be \
                     told: parameter clientspec is not set",
                    path.display()
                ),
            },
            Some(entry) => match server::is_idle(view)? {
                // From before the machine was up: no start has made it since.
                Some(idle) => Some(idle),
                None => bail!(
                    "{} is exported to {}, and whether that is this resource's cannot be told: parameter \
                     clientspec is not set",
                    entry.path.display(),
                    entry.client
                ),
            },
        };
        let absent = absent.context("the table of exports contradicts itself")?;
        Ok(State { absent: Some(absent), damaged, ..State::default() })
    }

    /// What the directories lead to cannot be told, as a file system on the way
    /// does not answer. Proof that nothing is exported, of whichever directory,
    /// that could be this resource's; or the error.
    fn look_wherever(
        &self,
        view: &View,
        damaged: Option<Damaged>,
        err: anyhow::Error,
    ) -> Result<State> {
        refuse_doubt(view, damaged.as_ref())?;
        let is_client = |name: &str| {
            let clients = self.params.clientspec.as_ref();
            clients.is_none_or(|clients| clients.0.iter().any(|client| client.is_listed_as(name)))
        };
        let others = Record::beside(view, &self.request.instance)?;
        let is_others = |entry: &Export| {
            others.iter().flat_map(|(_, record)| &record.made).any(|made| made.is(entry))
        };
        let listed = exports::all(view)?;
        let in_table = listed.lacks(|entry| is_client(&entry.client) && !is_others(entry));
        let of_kernel = exports::forgotten_wherever(view, &listed, is_client)?;
        let (Some(in_table), Some(of_kernel)) = (in_table, of_kernel) else { return Err(err) };
        let unknown = Some(format!("{err:#}"));
        Ok(State { absent: Some(in_table.and(of_kernel)), damaged, unknown, ..State::default() })
    }

    /// The directories without links. Those that start has exported are known by
    /// what they were then.
    fn paths(&self, view: &View, record: Option<&Record>) -> Result<Vec<(PathBuf, PathBuf)>> {
        let mut table = None;
        let mut paths = Vec::new();
        for directory in &self.params.directory.0 {
            let made = record
                .and_then(|record| record.made.iter().find(|made| made.directory == *directory));
            let path = match (made, &table) {
                (Some(made), _) => made.path.clone(),
                (None, Some(table)) => Table::resolve(table, view, directory)?,
                (None, None) => {
                    let read = Table::read(view)?;
                    let path = read.resolve(view, directory)?;
                    table = Some(read);
                    path
                }
            };
            paths.push((directory.clone(), path));
        }
        Ok(paths)
    }

    /// Nothing is in the table. The kernel may go on with what it has cached.
    fn look_behind(&self, view: &View, listed: &Whole<Export>, state: &mut State) -> Result<()> {
        let asked: Vec<String> =
            state.exports.iter().map(|seen| seen.asked.client.to_string()).collect();
        let asked = state.exports.iter().zip(&asked);
        let mut gone: Vec<(&Path, &str)> =
            asked.map(|(seen, client)| (&*seen.path, client.as_str())).collect();
        let made = state.record.iter().flat_map(|record| &record.made);
        gone.extend(made.map(|made| (&*made.path, made.client.as_str())));
        let is_ours = |export: &Export| {
            let mut exports = state.exports.iter();
            gone.iter().any(|(path, client)| export.path == *path && export.client == *client)
                || exports.any(|seen| seen.is_listed_as(export))
        };
        match exports::forgotten(view, &gone)? {
            Ok(of_kernel) => {
                state.absent = listed.lacks(is_ours).map(|absent| absent.and(of_kernel));
            }
            Err(outlived) => {
                let told = |(path, client): (PathBuf, String)| {
                    format!(
                        "the kernel still serves {} to {client}, which the table of exports lacks",
                        path.display()
                    )
                };
                state.outlived = outlived.into_iter().map(told).collect();
            }
        }
        Ok(())
    }

    /// Whether the entries are from before the machine was up: no start has made
    /// them since, and nobody serves them.
    fn is_leftover(&self, view: &View, state: &State) -> Result<bool> {
        if state.record.is_some() || state.damaged.is_some() {
            return Ok(false);
        }
        let (claims, is_whole) = Record::claims(view)?;
        // Where a record cannot be read, it may be the one of the start.
        let is_claimed = |export: &Export| claims.iter().any(|made| made.is(export));
        if !is_whole || state.entries().any(is_claimed) {
            return Ok(false);
        }
        Ok(server::is_idle(view)?.is_some())
    }
}

impl Seen {
    fn is_listed_as(&self, export: &Export) -> bool {
        export.path == self.path && self.asked.client.is_listed_as(&export.client)
    }
}

impl State {
    /// All entries of the table that are ours.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Export> {
        self.exports.iter().filter_map(|seen| seen.entry.as_ref()).chain(&self.others)
    }
}

/// The entry of a directory and a client. One that start has made is known by
/// the name that the table had for it.
fn find<'l>(
    listed: &'l Whole<Export>,
    asked: &Asked,
    path: &Path,
    made: &[Made],
) -> Option<&'l Export> {
    let here = || listed.iter().filter(|export| export.path == path);
    let known =
        made.iter().filter(|made| made.path == path && made.asked == asked.client.to_string());
    let by_record =
        known.filter_map(|made| here().find(|export| export.client == made.client)).next();
    by_record.or_else(|| here().find(|export| asked.client.is_listed_as(&export.client)))
}

/// Of what is asked for, nothing is in the table. A record that cannot be read
/// may name something else there, unless all of it is other instances'.
fn refuse_doubt(view: &View, damaged: Option<&Damaged>) -> Result<()> {
    let Some(damaged) = damaged else { return Ok(()) };
    let (claims, _) = Record::claims(view)?;
    let all = exports::all(view)?;
    if let Some(entry) = all.iter().find(|entry| !claims.iter().any(|made| made.is(entry))) {
        let (path, client) = (entry.path.display(), &entry.client);
        bail!("{}", damaged.doubt(format_args!("{path} to {client} may be what it names")));
    }
    Ok(())
}

/// That a directory does not lie where start has found it.
fn moved(view: &View, state: &State) -> Result<Option<String>> {
    let mut seen: Vec<&Path> = Vec::new();
    for made in state.record.iter().flat_map(|record| &record.made) {
        if seen.contains(&&*made.path) {
            continue;
        }
        seen.push(&made.path);
        if let Some(moved) = made.place.left(view, &made.path)? {
            return Ok(Some(moved));
        }
    }
    Ok(None)
}
