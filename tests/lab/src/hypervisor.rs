//! Xen beneath the nodes of a set-up that has guests: what is installed for it, and
//! how QEMU starts it with Debian's kernel as the first domain.

use super::debian::Debian;
use super::image::Image;
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// The recipe's part that is not in the packages.
pub const RECIPE: &str = "unpacked kernel";

/// The kernel that the guests of a node have, on the node.
pub const KERNEL: &str = "/var/lib/lab-guest/kernel";

/// The hypervisor's file beside an image.
const HYPERVISOR: &str = "xen";

/// That of the first domain's kernel.
const UNPACKED: &str = "vmlinux";

/// Megabytes that a machine has for the hypervisor and the guests, besides what the
/// first domain has.
const BESIDES: u32 = 384;

/// The packages, which have the version of Xen in their names.
pub fn packages(debian: Debian) -> &'static str {
    match debian {
        Debian::Twelve => "xen-hypervisor-4.17-amd64 xen-utils-4.17",
        Debian::Thirteen => "xen-hypervisor-4.20-amd64 xen-utils-4.20",
    }
}

/// Puts what starts with the hypervisor beside an image's tree, and the guests' kernel
/// into it.
///
/// Both kernels are what Debian's unpacks itself to. In an emulated machine that takes
/// longer than all else of a guest's start.
pub fn prepare(dir: &Path, tree: &Path) -> Result<()> {
    take_hypervisor(tree, &dir.join(HYPERVISOR))?;
    let kernel = dir.join(UNPACKED);
    unpack_kernel(&dir.join("vmlinuz"), &kernel)?;
    let of_guests = tree.join(KERNEL.trim_start_matches('/'));
    fs::create_dir_all(of_guests.parent().unwrap_or(tree))?;
    fs::copy(&kernel, of_guests)?;
    Ok(())
}

/// Writes the ELF file that is packed in a kernel: by xz in Debian 12's, by zstd in 13's.
fn unpack_kernel(packed: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(packed)?;
    let payload = payload(&bytes).with_context(|| format!("{} is no kernel", packed.display()))?;
    let program = match payload {
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => "xz",
        [0x28, 0xb5, 0x2f, 0xfd, ..] => "zstd",
        _ => bail!("{} is packed neither by xz nor by zstd", packed.display()),
    };
    let mut unpack = Command::new(program);
    unpack.arg("-dc").stdin(Stdio::piped()).stdout(File::create(to)?);
    let mut child = unpack.spawn().with_context(|| format!("cannot run {program}"))?;
    let written = child.stdin.take().map(|mut stdin| stdin.write_all(payload));
    ensure!(child.wait()?.success(), "{program} cannot unpack {}", packed.display());
    Ok(written.transpose().map(drop)?)
}

/// What is packed in a kernel. Its header says where, counted from the end of the
/// sectors for real mode, and how long it is with the length of what was packed,
/// which stands behind it: the kernel's Documentation/arch/x86/boot.rst.
fn payload(kernel: &[u8]) -> Option<&[u8]> {
    const SECTORS: usize = 0x1f1;
    const OFFSET: usize = 0x248;
    const LENGTH: usize = 0x24c;
    let number = |at: usize| {
        let bytes = kernel.get(at..at + 4)?;
        Some(u32::from_le_bytes(bytes.try_into().ok()?) as usize)
    };
    let begin = (usize::from(*kernel.get(SECTORS)?) + 1) * 512 + number(OFFSET)?;
    kernel.get(begin..begin + number(LENGTH)?.checked_sub(4)?)
}

/// Copies the hypervisor out of a tree, unpacked: QEMU starts an ELF file.
fn take_hypervisor(tree: &Path, to: &Path) -> Result<()> {
    let boot = tree.join("boot");
    for entry in fs::read_dir(&boot)?.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("xen-") && name.ends_with(".gz") && !entry.path().is_symlink() {
            let mut unpack = Command::new("gzip");
            unpack.arg("-dc").arg(entry.path()).stdout(File::create(to)?);
            let unpacked = unpack.status().context("cannot run gzip")?;
            ensure!(unpacked.success(), "cannot unpack {name}");
            return Ok(());
        }
    }
    bail!("the packages brought no hypervisor to {}", boot.display())
}

/// Has QEMU start an image's hypervisor, and that the kernel, with `memory` megabytes.
///
/// The first domain's pages are not where it believes them to be, so the devices
/// have to leave addresses to the kernel's DMA interface.
pub fn boot(command: &mut Command, image: &Image, memory: u32, words: &str) {
    let words_of_xen = format!(
        "console=com1 com1=115200,8n1 loglvl=warning guest_loglvl=warning noreboot=0 \
         dom0_mem={memory}M,max:{memory}M spec-ctrl=no xpti=no"
    );
    let (kernel, initrd) = (image.beside(UNPACKED), image.initrd());
    let modules = format!("{} console=hvc0 {words},{}", kernel.display(), initrd.display());
    command.args(["-m", &(memory + BESIDES).to_string()]);
    command.args(["-append", &words_of_xen, "-initrd", &modules]);
    command.arg("-kernel").arg(image.beside(HYPERVISOR));
    for property in ["virtio-device.iommu_platform=on", "virtio-pci.disable-legacy=on"] {
        command.args(["-global", property]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_says_where_it_is_packed() {
        let mut kernel = vec![0; 0x400];
        kernel[0x1f1] = 1;
        kernel[0x248..0x250].copy_from_slice(&[2, 0, 0, 0, 10, 0, 0, 0]);
        kernel.extend(b"..packed\x40\0\0\0rest");
        assert_eq!(payload(&kernel), Some(&b"packed"[..]));
        assert_eq!(payload(&kernel[..0x404]), None);
    }
}
