//! What will be in the way one day.

use super::Vblade;
use super::look::State;
use common::host::block;
use common::host::opened::Thing;
use common::{Fact, View};

/// What stands for the package's own exports.
const OWN: &str = "/etc/vblade.conf.d";

/// Where the package's unit, or the init script, is switched on.
const UNITS: &[&str] = &[
    "/etc/systemd/system/multi-user.target.wants/vblade.service",
    "/etc/systemd/system/multi-user.target.wants/vbladed.service",
];

pub(super) fn advice(agent: &Vblade, view: &View, state: &State) -> Vec<Fact> {
    let mut said = Vec::new();
    let mut say = |text: String| said.push(Fact::new("advice", text));
    if let Some(unit) = UNITS.iter().find(|unit| view.exists(unit).unwrap_or(false)) {
        let name = unit.rsplit('/').next().unwrap_or_default();
        let files = view.list(OWN).unwrap_or_default();
        let count = files
            .iter()
            .filter(|file| file.ends_with(".conf"))
            .filter(|file| exports_something(view, file))
            .count();
        if count > 0 {
            say(format!(
                "{name} is enabled and serves {count} of {OWN} from boot on, on every node: \
                 systemctl disable --now {name}, if they are the cluster's"
            ));
        }
    }
    if let Some(script) = init_script(view) {
        say(format!(
            "{script} starts vblade at boot, before the cluster does: update-rc.d vblade remove"
        ));
    }
    for seen in state.exports() {
        if let Thing::Device(number) = seen.noted.thing
            && !agent.params.sync
            && has_volatile_cache(view, number)
        {
            let path = seen.noted.path.display();
            say(format!(
                "{path} has a cache of its own, and vblade does not empty it when a client asks: \
                 if it is lost with the power, set sync=yes"
            ));
            break;
        }
    }
    said
}

/// Whether a file of the package's exports something: its example does not.
fn exports_something(view: &View, file: &str) -> bool {
    let text = view.read(format!("{OWN}/{file}")).unwrap_or_default();
    text.lines().any(|line| line.trim_start().starts_with("filename="))
}

/// The link by which an init script of this name is started at boot.
fn init_script(view: &View) -> Option<String> {
    let directory = "/etc/rc2.d";
    let names = view.list(directory).ok()?;
    let starts = |name: &&String| {
        let number = name.strip_prefix('S').and_then(|rest| rest.get(..2));
        number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
            && matches!(&name[3..], "vblade" | "vbladed")
    };
    let name = names.iter().find(starts)?;
    // The package's own script takes only what is in its directory.
    let script = view.read(format!("/etc/init.d/{}", &name[3..])).unwrap_or_default();
    (!script.contains(OWN)).then(|| format!("{directory}/{name}"))
}

fn has_volatile_cache(view: &View, number: block::Number) -> bool {
    let Some(name) = block::name(view, number) else { return false };
    let told = view.read(format!("/sys/class/block/{name}/queue/write_cache"));
    told.is_ok_and(|text| text.trim() == "write back")
}
