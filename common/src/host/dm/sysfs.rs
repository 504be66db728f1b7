//! What sysfs tells of the device-mapper's devices.

use super::table::{Device, Table, is_gone};
use crate::host::block::Number;
use crate::host::system::View;
use std::io;

/// Where the kernel shows its device-mapper. What is mounted on /sys instead
/// has no such thing, and would have no device either.
const DRIVER: &str = "/sys/class/misc/device-mapper";

pub(super) fn devices(view: &View, mut each: impl FnMut(Number, &str, &str)) -> io::Result<()> {
    if !view.exists(DRIVER)? {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no {DRIVER}")));
    }
    let names = view.list("/sys/block")?;
    for kernel_name in names.iter().filter(|name| name.starts_with("dm-")) {
        match device(view, kernel_name) {
            Ok(Device { number, name, uuid }) => each(number, &name, &uuid),
            // It went while we looked.
            Err(err) if is_gone(&err) && !view.exists(format!("/sys/block/{kernel_name}"))? => {}
            Err(err) => return Err(err),
        }
    }
    Ok(())
}

fn device(view: &View, kernel_name: &str) -> io::Result<Device> {
    let attribute = |name: &str| view.read(format!("/sys/block/{kernel_name}/{name}"));
    let number = number(&attribute("dev")?)?;
    let (name, uuid) = (attribute("dm/name")?, attribute("dm/uuid")?);
    Ok(Device { number, name: name.trim_end().into(), uuid: uuid.trim_end().into() })
}

pub(super) fn table(view: &View, device: Number) -> io::Result<Table> {
    let dir = format!("/sys/dev/block/{device}");
    let attribute = |name: &str| view.read(format!("{dir}/{name}"));
    let suspended = attribute("dm/suspended")?.trim() == "1";
    // A device whose table was never made live has no size.
    let live = attribute("size")?.trim() != "0";
    let mut beneath = Vec::new();
    for name in view.list(format!("{dir}/slaves"))? {
        beneath.push(number(&attribute(&format!("slaves/{name}/dev"))?)?);
    }
    let multipath = attribute("dm/uuid")?.starts_with("mpath-");
    Ok(Table { open: None, suspended, live, multipath, beneath })
}

fn number(text: &str) -> io::Result<Number> {
    let odd = || io::Error::new(io::ErrorKind::InvalidData, format!("odd number `{text}`"));
    Number::parse(text).ok_or_else(odd)
}
