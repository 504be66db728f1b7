//! The root disk every machine starts from: Debian's own packages, installed
//! once by mmdebstrap and cached under a name made of the recipe.

use super::archive::Archive;
use super::debian::{Debian, mirror};
use super::hash::hash;
use super::hypervisor;
use super::jfsutils;
use super::place::Place;
use super::progress::Progress;
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What the machines need, by subject. Stock resource agents are there as the
/// yardstick only: ours need none of them.
const PACKAGES: &str = "linux-image-amd64 kmod \
    drbd-utils lvm2 lvm2-lockd dlm-controld gfs2-utils dmsetup thin-provisioning-tools cryptsetup-bin \
    heartbeat cluster-glue pacemaker pacemaker-cli-utils corosync crmsh resource-agents \
    nfs-kernel-server nfs-common vblade aoetools tgt targetcli-fb open-iscsi nvme-cli \
    nftables mariadb-server \
    e2fsprogs jfsutils xfsprogs quota fdisk \
    iproute2 net-tools iputils-arping iputils-ping procps psmisc tcpdump strace libxml2-utils";

/// What an image has besides. Each is an image of its own, built when a set-up
/// asks for it, and the others keep their recipe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Extra {
    /// Nothing.
    #[default]
    Nothing,
    /// libvirt, and a QEMU for guests in the machines.
    Libvirt,
    /// Xen, on which the nodes' kernel runs.
    Xen,
}

/// Says which, on a command line.
pub const OPTION: &str = "--with";

impl Extra {
    /// The word behind [`OPTION`].
    pub fn read(word: Option<&str>) -> Result<Self> {
        match word {
            Some("libvirt") => Ok(Self::Libvirt),
            Some("xen") => Ok(Self::Xen),
            other => bail!("{OPTION} wants libvirt or xen, not {}", other.unwrap_or("nothing")),
        }
    }

    /// That word; there is none for nothing.
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::Nothing => None,
            Self::Libvirt => Some("libvirt"),
            Self::Xen => Some("xen"),
        }
    }

    /// Megabytes of memory that a node needs for it.
    pub fn memory(self) -> u32 {
        match self {
            // The hypervisor's share is the nodes' own.
            Self::Nothing | Self::Xen => 0,
            Self::Libvirt => 384,
        }
    }
}

/// Parts of packages no machine of the lab looks at. Half the image and half
/// the time to build it would be theirs.
const LEFT_OUT: &[&str] = &[
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/locale/*",
    "/lib/modules/*/kernel/drivers/gpu/*",
    "/lib/modules/*/kernel/drivers/media/*",
    "/lib/modules/*/kernel/drivers/net/wireless/*",
    "/lib/modules/*/kernel/drivers/net/ethernet/*",
    "/lib/modules/*/kernel/drivers/infiniband/*",
    "/lib/modules/*/kernel/drivers/iio/*",
    "/lib/modules/*/kernel/drivers/input/*",
    "/lib/modules/*/kernel/drivers/usb/*",
    "/lib/modules/*/kernel/drivers/staging/*",
    "/lib/modules/*/kernel/sound/*",
];

/// The drivers of the root disk and the command channel. `crc32c_generic` is
/// asked for by name only when ext4 is mounted, so no list has it.
const BOOT_MODULES: &str = "virtio_pci virtio_blk virtio_console virtio-rng crc32c_generic ext4";

/// How Debian 13 has its modules packed; the kernel unpacks them.
pub const PACKED: &str = ".xz";

/// An image that is ready to start machines from.
#[derive(Clone, Debug)]
pub struct Image {
    dir: PathBuf,
    /// What it has besides.
    pub extra: Extra,
}

impl Image {
    /// The kernel.
    pub fn kernel(&self) -> PathBuf {
        self.dir.join("vmlinuz")
    }

    /// The initial memory disk, made anew from this binary at each start.
    pub fn initrd(&self) -> PathBuf {
        self.dir.join("initrd")
    }

    /// A file beside the root disk.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The root disk the machines' overlays lie on; never written to.
    pub fn root(&self) -> PathBuf {
        self.dir.join("root.raw")
    }
}

/// Finds the image of the present recipe, or builds it.
pub fn ready(
    place: &Place,
    debian: Debian,
    extra: Extra,
    progress: &mut Progress,
) -> Result<Image> {
    let (suite, packages) = (debian.suite(), packages(debian, extra));
    let mut recipe =
        format!("1 {suite} {packages} {LEFT_OUT:?} {BOOT_MODULES} {}", jfsutils::recipe());
    if extra == Extra::Xen {
        recipe += hypervisor::RECIPE;
    }
    let prefix = prefix(debian, extra);
    let dir = place.files.join(format!("{prefix}{:016x}", hash(recipe.as_bytes())));
    let image = Image { dir: dir.clone(), extra };
    if !image.root().exists() {
        discard_others(place, &prefix)?;
        let draft = dir.with_extension("draft");
        if draft.exists() {
            fs::remove_dir_all(&draft)?;
        }
        fs::create_dir_all(&draft)?;
        build(&draft, debian, &packages, progress)?;
        if extra == Extra::Xen {
            hypervisor::prepare(&draft, &draft.join(TREE))?;
        }
        finish(&draft, progress)?;
        fs::rename(&draft, &dir)?;
    }
    pack_initrd(&image)?;
    Ok(image)
}

/// What is installed.
fn packages(debian: Debian, extra: Extra) -> String {
    match extra {
        Extra::Nothing => PACKAGES.into(),
        Extra::Libvirt => format!(
            "{PACKAGES} libvirt-daemon libvirt-daemon-driver-qemu libvirt-clients qemu-system-x86"
        ),
        Extra::Xen => format!("{PACKAGES} {}", hypervisor::packages(debian)),
    }
}

/// What the names of a release's images begin with. No such begin is another's:
/// images are discarded by it.
fn prefix(debian: Debian, extra: Extra) -> String {
    let extra = extra.word().map(|word| format!("{word}-")).unwrap_or_default();
    format!("image-{extra}{}-", debian.number())
}

/// Images of older recipes would pile up.
fn discard_others(place: &Place, prefix: &str) -> Result<()> {
    for entry in fs::read_dir(&place.files)?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// Where the distribution is installed before it becomes a disk.
const TREE: &str = "tree";

fn build(dir: &Path, debian: Debian, packages: &str, progress: &mut Progress) -> Result<()> {
    let tree = dir.join(TREE);
    // What mmdebstrap mounts below the tree goes with it, however it ends.
    let mut debootstrap = Command::new("unshare");
    debootstrap
        .args(["--mount", "--propagation=private", "mmdebstrap"])
        .args(["--variant=apt", "--format=directory"])
        .arg(format!("--include={}", packages.split_whitespace().collect::<Vec<_>>().join(",")))
        .args(LEFT_OUT.iter().map(|path| format!("--dpkgopt=path-exclude={path}")))
        // The machines have a memory disk of their own.
        .env("INITRD", "No")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .arg(debian.suite())
        .arg(&tree)
        .args(mirror());
    progress.follow("image", "installing Debian's packages (about a minute)", &mut debootstrap)?;
    let release = take_kernel(&tree, dir)?;
    take_modules(&tree, &release, dir)?;
    jfsutils::build(dir, &tree, progress)?;
    prepare(&tree)
}

/// Makes the root disk of the tree.
fn finish(dir: &Path, progress: &mut Progress) -> Result<()> {
    let tree = dir.join(TREE);
    let mut mkfs = Command::new("mke2fs");
    mkfs.args(["-q", "-t", "ext4", "-m", "0", "-E", "lazy_itable_init=1", "-d"])
        .arg(&tree)
        .arg(dir.join("root.draft"))
        .arg("3G");
    progress.follow("image", "writing the root disk", &mut mkfs)?;
    fs::remove_dir_all(&tree)?;
    fs::rename(dir.join("root.draft"), dir.join("root.raw"))?;
    Ok(())
}

/// Copies the kernel out and returns its release.
fn take_kernel(tree: &Path, dir: &Path) -> Result<String> {
    let boot = tree.join("boot");
    for entry in fs::read_dir(&boot)?.flatten() {
        if let Some(release) = entry.file_name().to_string_lossy().strip_prefix("vmlinuz-") {
            fs::copy(entry.path(), dir.join("vmlinuz"))?;
            return Ok(release.to_owned());
        }
    }
    bail!("the packages brought no kernel to {}", boot.display())
}

/// Copies the drivers that come before the root disk, and says in which
/// order they are to be loaded.
fn take_modules(tree: &Path, release: &str, dir: &Path) -> Result<()> {
    let source = tree.join("lib/modules").join(release);
    let built_in = fs::read_to_string(source.join("modules.builtin"))?;
    let listed = fs::read_to_string(source.join("modules.dep"))
        .context("the kernel's packages left no list of modules")?;
    let target = dir.join("modules");
    fs::create_dir_all(&target)?;
    let mut order: Vec<&str> = Vec::new();
    for name in BOOT_MODULES.split_whitespace() {
        let file = format!("/{name}.ko");
        if built_in.lines().any(|line| line.ends_with(&file)) {
            continue;
        }
        let (path, needs) = listed
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(path, _)| path.trim_end_matches(PACKED).ends_with(&file))
            .with_context(|| format!("kernel {release} has no module {name}"))?;
        // What is needed is listed with the deepest need last.
        for path in needs.split_whitespace().rev().chain([path]) {
            let name = path.rsplit('/').next().unwrap_or(path);
            if !order.contains(&name) {
                fs::copy(source.join(path), target.join(name))?;
                order.push(name);
            }
        }
    }
    fs::write(target.join("order"), order.join("\n"))?;
    Ok(())
}

/// What differs from a plain installation.
fn prepare(tree: &Path) -> Result<()> {
    // LVM must see a volume once: through DRBD, not through what lies below.
    let lvm = tree.join("etc/lvm/lvmlocal.conf");
    fs::write(lvm, "devices {\n\tglobal_filter = [ \"a|^/dev/drbd|\", \"r|.*|\" ]\n}\n")?;
    fs::write(
        tree.join("etc/hosts"),
        "127.0.0.1\tlocalhost\n\
         10.10.1.251\tnode1.home.local\tnode1\n\
         10.10.1.252\tnode2.home.local\tnode2\n\
         10.10.1.1\tclient.home.local\tclient\n\
         10.10.2.251\tnode1-private\n\
         10.10.2.252\tnode2-private\n",
    )?;
    for name in ["etc/fstab", "etc/resolv.conf"] {
        let path = tree.join(name);
        let _ = fs::remove_file(&path);
        fs::write(path, "")?;
    }
    Ok(())
}

fn pack_initrd(image: &Image) -> Result<()> {
    let mut archive = Archive::default();
    for dir in ["dev", "proc", "sys", "root", "modules"] {
        archive.directory(dir);
    }
    archive.device("dev/console", 5, 1);
    archive.file("init", 0o755, &own_binary(&image.dir)?);
    let modules = image.dir.join("modules");
    for entry in fs::read_dir(&modules)?.flatten() {
        let name = entry.file_name();
        let path = format!("modules/{}", name.to_string_lossy());
        archive.file(&path, 0o644, &fs::read(entry.path())?);
    }
    archive.write(&image.initrd())
}

/// This binary without what only a debugger reads, where `strip` is there.
fn own_binary(dir: &Path) -> Result<Vec<u8>> {
    let own = std::env::current_exe()?;
    let stripped = dir.join("init.stripped");
    let strip = Command::new("strip").arg("-o").arg(&stripped).arg(&own).output();
    let chosen = if strip.is_ok_and(|output| output.status.success()) { &stripped } else { &own };
    let bytes = fs::read(chosen).with_context(|| format!("cannot read {}", chosen.display()))?;
    ensure!(
        !has_interpreter(&bytes),
        "this xtask is not static, so it cannot run in a machine; build it by cargo in this tree"
    );
    Ok(bytes)
}

/// Whether a dynamic loader's path is among the program headers.
fn has_interpreter(elf: &[u8]) -> bool {
    let number = |at: usize, size: usize| {
        elf.get(at..at + size)
            .map_or(0, |bytes| bytes.iter().rev().fold(0usize, |n, b| n << 8 | usize::from(*b)))
    };
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count).any(|index| number(table + index * size, 4) == 3)
}
