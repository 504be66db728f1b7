//! What a guest needs besides: its definition kept up to date, its image, the
//! pools and networks that it names.

use super::VirtualDomain;
use anyhow::{Context, Result, ensure};
use common::host::io_test;
use common::host::libvirt::{self, Definition};
use common::host::program::Output;
use common::host::reading;
use common::{System, View};
use std::ffi::OsStr;
use std::path::Path;

impl VirtualDomain {
    /// Saves what the running guest's definition has become, secrets included.
    /// What goes wrong is told, and is no reason not to stop.
    pub(super) fn save_config(&self, system: &System<'_>, name: &str) -> Result<()> {
        if let Err(err) = self.try_save_config(system, name) {
            system.warn(format_args!("{} stays as it is: {err:#}", self.params.config.display()));
        }
        Ok(())
    }

    fn try_save_config(&self, system: &System<'_>, name: &str) -> Result<()> {
        let words = ["dumpxml", "--inactive", "--security-info", name];
        let dumped = libvirt::virsh(system, self.hypervisor(), &words)?;
        ensure!(dumped.success(), "{}", dumped.reason());
        let text = format!("{}\n", dumped.stdout.trim());
        let new = Definition::parse(&text)?;
        ensure!(new.identity.name == name, "libvirt has told of {}", new.identity);
        if reading::text(system, &self.params.config)?.as_deref() == Some(&text) {
            return Ok(());
        }
        self.replace(system, &text)?;
        let config = self.params.config.display();
        system.info(format_args!("saved what was changed on {name} to {config}"));
        if self.params.sync_config_on_stop {
            must(system, "csync2", &["-x".as_ref(), self.params.config.as_os_str()])?;
        }
        Ok(())
    }

    /// Puts the text in the place of the configuration, whole or not at all, with
    /// the rights that it had. The text is no program's word: it has secrets.
    fn replace(&self, system: &System<'_>, text: &str) -> Result<()> {
        let staged = format!("{}.xml", self.record);
        let config = self.params.config.as_os_str();
        let real = system.query("readlink", &["-f".as_ref(), config])?;
        ensure!(real.success(), "readlink: {}", real.reason());
        let real = Path::new(real.stdout.trim_end_matches('\n'));
        let draft = real.with_extension("draft");
        system.write_record(&staged, text)?;
        let copied = || -> Result<()> {
            let rights = ["--attributes-only", "--preserve=mode,ownership"].map(OsStr::new);
            must(system, "cp", &[&rights[..], &[real.as_os_str(), draft.as_os_str()]].concat())?;
            let from = system.run_dir().join(&staged);
            must(system, "cp", &[from.as_os_str(), draft.as_os_str()])?;
            rename(system, &draft, real)
        };
        let done = copied();
        system.remove_record(&staged)?;
        done
    }
}

/// What changes files where a disk or a server may be gone: a program, which is
/// not waited for longer than there is time.
fn must(system: &System<'_>, program: &str, words: &[&OsStr]) -> Result<()> {
    let done = system.change(program, words)?;
    ensure!(done.success(), "{program}: {}", done.reason());
    Ok(())
}

/// Gives the file its name, now that it is whole.
pub(super) fn rename(system: &System<'_>, draft: &Path, name: &Path) -> Result<()> {
    must(system, "mv", &["-fT".as_ref(), draft.as_os_str(), name.as_os_str()])
}

/// Removes a file; one that is not there is removed already.
pub(super) fn remove(system: &System<'_>, file: &Path) -> Result<()> {
    must(system, "rm", &["-f".as_ref(), file.as_os_str()])
}

/// Starts the pools and networks, where they are not; pools that are, are read
/// anew.
pub(super) fn start_resources(
    system: &System<'_>,
    uri: &str,
    pools: &[String],
    networks: &[String],
) -> Result<()> {
    let virsh = |words: &[&str]| -> Result<Output> {
        system.change("virsh", &[&["--quiet", "--connect", uri], words].concat())
    };
    for (kind, names) in [("pool", pools), ("net", networks)] {
        if names.is_empty() {
            continue;
        }
        let listed = virsh(&[&format!("{kind}-list"), "--name"])?;
        ensure!(listed.success(), "virsh {kind}-list: {}", listed.reason());
        for name in names {
            let runs = listed.stdout.lines().any(|line| line.trim() == name);
            let verb = match (runs, kind) {
                (false, _) => "start",
                (true, "pool") => "refresh",
                (true, _) => continue,
            };
            let done = virsh(&[&format!("{kind}-{verb}"), name])?;
            ensure!(done.success(), "virsh {kind}-{verb} {name}: {}", done.reason());
        }
    }
    Ok(())
}

/// Makes the guest's image from the backing file, where there is none or it is
/// to be made anew: whether it was made. Under its name there is never a part of
/// one.
pub(super) fn make_image(
    system: &System<'_>,
    backing: &Path,
    image: &Path,
    anew: bool,
) -> Result<bool> {
    if !anew && system.exists(image)? {
        return Ok(false);
    }
    let draft = image.with_extension("draft");
    let told = system
        .query("qemu-img", &["info".as_ref(), "--output=json".as_ref(), backing.as_os_str()])?;
    ensure!(told.success(), "{}: {}", backing.display(), told.reason());
    let format =
        format_of(&told.stdout).with_context(|| format!("{} has no format", backing.display()))?;
    let head = ["create", "-q", "-f", "qcow2", "-F", &format, "-b"].map(OsStr::new);
    let words = [&head[..], &[backing.as_os_str(), draft.as_os_str()]].concat();
    must(system, "qemu-img", &words)?;
    rename(system, &draft, image)?;
    Ok(true)
}

/// `"format": "qcow2"`, of the image itself, which comes last.
fn format_of(json: &str) -> Option<String> {
    let (_, rest) = json.rsplit_once("\n    \"format\": \"")?;
    Some(rest.split_once('"')?.0.to_owned())
}

/// Copies directories into the image of the guest, which must not run.
pub(super) fn copy_in(system: &System<'_>, name: &str, directories: &str) -> Result<()> {
    let mut words = vec!["-d", name];
    words.extend(directories.split_whitespace());
    words.push("/");
    let words: Vec<&OsStr> = words.into_iter().map(OsStr::new).collect();
    must(system, "virt-copy-in", &words)
}

/// Calls a program of the administrator's that says whether what runs in the
/// guest is well.
pub(super) fn call(system: &System<'_>, script: &Path) -> Result<()> {
    let said = system.script(script)?;
    ensure!(said.success(), "{} says {}: {}", script.display(), said.code, said.reason());
    Ok(())
}

/// Whether the disk reads: a device or a file.
pub(super) fn reads(view: &View, disk: &Path) -> Result<()> {
    let limit = view.deadline().at_most(view.deadline().left() / 3);
    io_test::read_device(view, disk, limit)
        .with_context(|| format!("{} does not read", disk.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_the_images_own_and_not_that_of_what_it_lies_on() {
        let json = "{\n    \"children\": [\n        {\n            \"info\": {\n                \"format\": \"file\"\n            }\n        }\n    ],\n    \"virtual-size\": 1,\n    \"format\": \"qcow2\",\n    \"x\": 1\n}\n";
        assert_eq!(format_of(json).as_deref(), Some("qcow2"));
        assert_eq!(format_of("{}"), None);
    }
}
