//! The device-mapper's control device.

use super::message::{Message, STILL, TABLE, UUIDS};
use super::table::{Device, Prefix, Table};
use crate::host::block::Number;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

const REMOVE: u8 = 4;
const LIST: u8 = 2;
const BENEATH: u8 = 11;
const STATUS: u8 = 12;

/// Room for what is in a list besides the devices, and for one of LVM's with
/// a name of usual length. The kernel copies all the room that it is given,
/// used or not.
const LIST_ROOM: usize = 2 << 10;
const DEVICE_ROOM: usize = 128;
/// A list of two hundred kinds of segments fits.
const KINDS_ROOM: usize = 32 << 10;
/// A device that stripes over seventy others fits.
const TABLE_ROOM: usize = 1 << 10;
/// Tens of thousands of volumes.
const LARGEST: usize = 16 << 20;

/// The open control device.
#[derive(Debug)]
pub struct Control(File);

impl Control {
    /// None where there is no such file, or where it is not for us.
    pub(super) fn open() -> io::Result<Option<Self>> {
        let flags = libc::O_CLOEXEC | libc::O_NOFOLLOW;
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(flags)
            .open("/dev/mapper/control");
        match opened {
            Ok(file) => Ok(Some(Self(file))),
            Err(err) => match err.raw_os_error() {
                Some(libc::ENOENT | libc::ENODEV | libc::ENXIO | libc::EACCES | libc::EPERM) => {
                    Ok(None)
                }
                _ => Err(err),
            },
        }
    }

    /// What there is. Kernels that cannot sort out by prefix list everything.
    pub(super) fn devices(
        &self,
        prefix: Prefix<'_>,
        mut each: impl FnMut(Number, &str, &str),
    ) -> io::Result<()> {
        let answer = self.ask(LIST, LIST_ROOM + prefix.expected * DEVICE_ROOM, |message| {
            message.named(prefix.name, prefix.uuid).flag(UUIDS)
        })?;
        answer.list(|number, name, uuid| {
            match uuid {
                Some(uuid) => each(number, name, uuid),
                None if !name.starts_with(prefix.name) => {}
                None => match self.table(number) {
                    Ok((device, _)) => each(number, name, &device.uuid),
                    Err(err) if super::is_gone(&err) => {}
                    Err(err) => return Err(err),
                },
            }
            Ok(())
        })
    }

    /// The device by its number, and what lies beneath.
    pub(super) fn table(&self, device: Number) -> io::Result<(Device, Table)> {
        let answer = self.ask(BENEATH, TABLE_ROOM, |message| message.about(device))?;
        Ok((answer.device()?, answer.table()?))
    }

    /// What its segments are.
    pub(super) fn kinds(&self, device: Number) -> io::Result<Vec<String>> {
        self.ask(STATUS, KINDS_ROOM, |message| message.about(device).flag(TABLE))?.kinds()
    }

    /// The paths of a map of multipath's.
    pub(super) fn paths(&self, device: Number) -> io::Result<Vec<(Number, bool)>> {
        self.ask(STATUS, KINDS_ROOM, |message| message.about(device).flag(STILL))?.paths()
    }

    /// Removes a device that nobody has open; EBUSY if somebody has.
    pub(super) fn remove(&self, device: Number) -> io::Result<()> {
        // A table can be asked for by number, a removal goes by name.
        let (found, _) = self.table(device)?;
        self.ask(REMOVE, 0, |message| message.named(&found.name, "")).map(drop)
    }

    /// Asks again with more room for as long as the answer does not fit.
    fn ask(
        &self,
        command: u8,
        mut room: usize,
        question: impl Fn(Message) -> Message,
    ) -> io::Result<Message> {
        loop {
            let mut message = question(Message::new(room));
            self.call(command, &mut message)?;
            if !message.is_cut() {
                return Ok(message);
            }
            room = message.room() * 16;
            if room > LARGEST {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "the device-mapper's answer is larger than 16 MiB",
                ));
            }
        }
    }

    #[allow(unsafe_code)]
    fn call(&self, command: u8, message: &mut Message) -> io::Result<()> {
        let request = nix::request_code_readwrite!(0xfd, command, super::message::HEADER);
        // SAFETY: the message begins with a whole header that says how many
        // bytes the kernel may read and write, and it has as many.
        let done = unsafe { libc::ioctl(self.0.as_raw_fd(), request, message.as_mut_ptr()) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}
