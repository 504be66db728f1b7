//! Records: what an action leaves for those that come later, in a directory
//! that is gone with the next boot.
//!
//! A record is never proof: it is held against the kernel. A record that is not
//! there says that nothing was left. One that is there and cannot be read says
//! nothing at all, which is not the same: what is known by it alone may live on.
//!
//! A record that is to be found by whoever stops the resource is named by what
//! names that, and not by the instance: Pacemaker, heartbeat and a person have
//! different names for one. Where nothing names the resource but the instance,
//! the records beside its own are looked through for one that speaks of the
//! same thing.

use crate::host::file;
use crate::host::system::{System, View, outcome};
use anyhow::{Context, Result};
use std::fmt;
use std::fs::File;
use std::io;
use std::path::PathBuf;

/// The name of a record that another instance has left, and what it says.
pub type Beside<T> = (String, Result<T, Damaged>);

/// A record is there, and what it says cannot be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    path: PathBuf,
    why: String,
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the record {} is damaged ({})", self.path.display(), self.why)
    }
}

impl std::error::Error for Damaged {}

impl Damaged {
    /// What a record says, and why it says nothing: for those that look on without.
    pub fn apart<T: Default>(read: Result<T, Self>) -> (T, Option<Self>) {
        match read {
            Ok(record) => (record, None),
            Err(damaged) => (T::default(), Some(damaged)),
        }
    }

    /// Since the record cannot say whether it means `what`, a person has to. As
    /// a reason that says what to do next.
    pub fn doubt(&self, what: impl fmt::Display) -> String {
        format!("{self}, and {what}: look what is there, end it, and remove the file")
    }
}

impl View {
    /// What an earlier action has left as a record, as `parse` reads it. Nothing
    /// where there is none; an error where there is one that cannot be read, is
    /// not ours alone, or is none that `parse` can make sense of.
    pub fn record<T>(
        &self,
        name: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Damaged> {
        self.record_whole(name, |text| parse(&text))
    }

    /// The same, for one of which most is read later, if ever.
    pub fn record_whole<T>(
        &self,
        name: &str,
        parse: impl FnOnce(String) -> Option<T>,
    ) -> Result<Option<T>, Damaged> {
        let path = self.run_dir().join(name);
        let read = file::read_trusted(&path);
        let shown = read.as_ref().map(|text| text.trim_end());
        self.note(format_args!("record {name} = {shown:?}"));
        let damaged = |why: String| Damaged { path: path.clone(), why };
        match read {
            Ok(text) => parse(text).map(Some).ok_or_else(|| damaged("it makes no sense".into())),
            Err(err) if is_absence(&err) => Ok(None),
            Err(err) => Err(damaged(format!("{err:#}"))),
        }
    }

    /// A record without a form of its own.
    pub fn record_text(&self, name: &str) -> Result<Option<String>, Damaged> {
        self.record_whole(name, Some)
    }

    /// What the records say that begin and end so, but for one's own, by their
    /// names.
    pub fn records_beside<T>(
        &self,
        own: &str,
        (beginning, end): (&str, &str),
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Vec<Beside<T>>, Damaged> {
        let listed = self.records(beginning, end);
        let mut names = listed.map_err(|err| Damaged {
            path: self.run_dir().join(format!("{beginning}*{end}")),
            why: format!("{err:#}"),
        })?;
        names.retain(|name| name != own);
        names.sort_unstable();
        let read = |name: String| {
            let record = self.record(&name, &parse).transpose()?;
            Some((name, record))
        };
        Ok(names.into_iter().filter_map(read).collect())
    }

    /// The names of the records that begin and end so.
    pub fn records(&self, beginning: &str, end: &str) -> Result<Vec<String>> {
        let shown = self.run_dir().display();
        let entries = match std::fs::read_dir(self.run_dir()) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            listed => listed.with_context(|| format!("cannot list {shown}"))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot list {shown}"))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with(beginning) && name.ends_with(end) {
                names.push(name);
            }
        }
        Ok(names)
    }
}

fn is_absence(err: &anyhow::Error) -> bool {
    err.downcast_ref::<io::Error>().is_some_and(|err| err.kind() == io::ErrorKind::NotFound)
}

impl System<'_> {
    /// Leaves a record for later actions, durable until the next boot.
    pub fn write_record(&self, name: &str, text: &str) -> Result<()> {
        let path = self.run_dir().join(name);
        self.note(format_args!("record {} <- {}", path.display(), text.trim_end()));
        file::trusted_dir(self.run_dir())?;
        file::replace(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Calls a record otherwise. That takes no room, where there is none left.
    pub fn rename_record(&self, from: &str, to: &str) -> Result<()> {
        let [old, new] = [from, to].map(|name| self.run_dir().join(name));
        self.note(format_args!("record {} is called {to}", old.display()));
        std::fs::rename(&old, &new).with_context(|| format!("cannot rename {}", old.display()))
    }

    /// Makes an empty file of `size` bytes beside the records, for programs to
    /// work on; [`remove_record`](Self::remove_record) removes it.
    pub fn scratch(&self, name: &str, size: u64) -> Result<(PathBuf, File)> {
        let path = self.run_dir().join(name);
        file::trusted_dir(self.run_dir())?;
        self.remove_record(name)?;
        let made = file::create(&path).and_then(|file| file.set_len(size).map(|()| file));
        self.note(format_args!("scratch {} = {}", path.display(), outcome(&made)));
        let file = made.with_context(|| format!("cannot make {}", path.display()))?;
        Ok((path, file))
    }

    /// Removes a record; one that is not there is removed already.
    pub fn remove_record(&self, name: &str) -> Result<()> {
        let path = self.run_dir().join(name);
        match std::fs::remove_file(&path) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => {
                Err(err).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::host::system::View;
    use crate::testing::Files;
    use std::os::unix::fs::{PermissionsExt, symlink};

    const NAME: &str = "Lamp-kitchen.state";

    fn number(text: &str) -> Option<u32> {
        text.trim_end().parse().ok()
    }

    /// What a view makes of a record after `damage` to its file.
    fn read_after(damage: impl FnOnce(&std::path::Path)) -> Result<Option<u32>, String> {
        let machine = Files::new();
        machine.file(&format!("/run/resource-agents/{NAME}"), "7\n");
        let view: View = machine.view();
        damage(&view.run_dir().join(NAME));
        view.record(NAME, number).map_err(|damaged| damaged.to_string())
    }

    #[test]
    fn a_record_that_is_not_there_is_none_and_one_that_cannot_be_read_is_damaged() {
        assert_eq!(read_after(|_| ()), Ok(Some(7)));
        assert_eq!(read_after(|file| std::fs::remove_file(file).unwrap()), Ok(None));
        let gone = |file: &std::path::Path| {
            std::fs::remove_dir_all(file.parent().unwrap()).unwrap();
        };
        assert_eq!(read_after(gone), Ok(None));
        let says = |damage: &dyn Fn(&std::path::Path), why: &str| {
            let said = read_after(damage).unwrap_err();
            assert!(said.contains(NAME) && said.contains(why), "{said}");
        };
        says(&|file| std::fs::write(file, "seven").unwrap(), "it makes no sense");
        says(&|file| std::fs::write(file, "").unwrap(), "it makes no sense");
        let open = std::fs::Permissions::from_mode(0o666);
        let opened = |file: &std::path::Path| {
            std::fs::set_permissions(file, open.clone()).unwrap();
        };
        says(&opened, "only we can write");
        let linked = |file: &std::path::Path| {
            std::fs::remove_file(file).unwrap();
            symlink("/etc/hostname", file).unwrap();
        };
        says(&linked, "symbolic link");
        let replaced = |file: &std::path::Path| {
            std::fs::remove_file(file).unwrap();
            std::fs::create_dir(file).unwrap();
        };
        says(&replaced, "only we can write");
    }

    #[test]
    fn records_that_cannot_be_listed_are_an_error() {
        let machine = Files::new();
        assert_eq!(machine.view().records("Lamp-", ".state").unwrap(), [""; 0]);
        machine.file("/run/resource-agents", "no directory\n");
        assert!(machine.view().records("Lamp-", ".state").is_err());
        let beside = machine.view().records_beside(NAME, ("Lamp-", ".state"), number);
        assert!(beside.is_err());
    }

    #[test]
    fn beside_ones_own_those_of_other_instances_are_read() {
        let machine = Files::new();
        for (name, text) in [(NAME, "7\n"), ("Lamp-b.state", "8\n"), ("Lamp-a.state", "x\n")] {
            machine.file(&format!("/run/resource-agents/{name}"), text);
        }
        machine.file("/run/resource-agents/Lamp-c.lock", "");
        let beside = machine.view().records_beside(NAME, ("Lamp-", ".state"), number).unwrap();
        let told: Vec<_> =
            beside.iter().map(|(name, told)| (&**name, told.as_ref().ok())).collect();
        assert_eq!(told, [("Lamp-a.state", None), ("Lamp-b.state", Some(&8))]);
    }
}
