//! `drbdupper`: a DRBD resource that is stacked on another one, made Primary
//! on one node together with the one it lies on.
//!
//! The lower resource is what DRBD's own service keeps up on both nodes. The
//! upper one can be up only where the lower one is Primary, so this agent
//! brings it up there and takes it down again. What of it is up, and in which
//! role, is read from the kernel.
//!
//! The script of this name that came with DRBD looked for the text `Primary/`
//! in what `drbdadm` prints, which DRBD 9 does not print, and waited for the
//! far node for as long as the configuration said: without an end, by default.

use crate::drbd::advice;
use crate::drbd::connection::until_connected;
use crate::drbd::facts::facts_of;
use crate::drbd::name::Name;
use crate::drbd::params::Seconds;
use crate::drbd::start::check_size;
use crate::drbddisk::{make_primary, make_secondary};
use anyhow::{Result, bail};
use common::host::drbd::tool::{self, Admin};
use common::host::drbd::{self, Found, Resource};
use common::{
    Agent, Extras, Fact, Plan, Request, Status, System, View, configured, file_name, installed,
};
use ocf_meta::action::{META_DATA, MONITOR, START, STOP, VALIDATE_ALL};
use ocf_meta::{Examples, Meta, Params, Value, Words, params};
use std::path::Path;
use std::time::Duration;

params! {
    /// What the agent is given.
    pub struct DrbdupperParams {
        /// Upper DRBD resource.
        ///
        /// The one that is stacked, by its name in the DRBD configuration.
        [required, names, unique, position = 1] drbd_resource: Name,
        /// Wait for the far node.
        ///
        /// How many seconds a start waits for the upper resource's connection. Anything that is no number means not at all.
        [] wfc_timeout: Seconds = "5",
    }
}

/// How often the upper resource is adjusted before it is given up.
const ADJUST_TRIES: u32 = 2;

/// An upper resource, and the one it lies on.
pub struct Drbdupper {
    params: DrbdupperParams,
}

/// What was seen.
#[derive(Debug)]
pub struct State {
    upper: Found,
    /// The lower resource, where a start has made it Primary.
    taken: Option<Lower>,
    /// Whether there is a record of that, whatever is in it.
    is_noted: bool,
}

/// What the upper resource lies on.
#[derive(Clone, Debug)]
struct Lower {
    name: String,
    found: Found,
}

impl Agent for Drbdupper {
    const META: &'static Meta = &Meta {
        name: "drbdupper",
        shortdesc: "Makes a stacked DRBD resource Primary on one node",
        longdesc: "Makes the lower DRBD resource Primary, brings the upper one up on it, and makes that Primary too; and the other way round to stop.\n\nMeant for heartbeat's haresources. Under Pacemaker use the agent drbd twice, for the lower and the upper resource, with the upper one as a clone of one instance that follows the lower one's promotion.",
        params: DrbdupperParams::TABLE,
        words: Words::Positions,
        actions: &[
            START.timeout(120),
            STOP.timeout(100),
            MONITOR.timeout(20).every(20),
            VALIDATE_ALL,
            META_DATA,
        ],
        examples: Examples {
            pacemaker: "p_upper ocf:sturdy:drbdupper params drbd_resource=r0-U",
            haresources: "drbdupper::r0-U",
            by_hand: "r0-U start",
        },
        differences: &[
            "The role is read from the kernel, of DRBD 8 and 9 alike.",
            "A start waits for the far node for wfc_timeout seconds, and not for the wfc-timeout of the configuration, which may be for ever. A node that does not come is no failure.",
            "A stop that fails because a device is in use says who uses it.",
            "Where drbd.conf is broken, a stop finds the lower resource by what the kernel says of the upper one's disk, and uses drbdsetup.",
            "A lower resource that a start or a stop that was cut short has left Primary is a failure, and not stopped.",
        ],
    };
    type Params = DrbdupperParams;
    type State = State;

    fn new(params: DrbdupperParams, _request: &Request) -> Result<Self> {
        Ok(Self { params })
    }

    fn observe(&self, view: &View) -> Result<State> {
        let upper = drbd::find(view, self.name())?;
        let noted = view.record(&self.record_name(), noted_name);
        let is_noted = !matches!(noted, Ok(None));
        let taken = match noted {
            Ok(None) => None,
            Ok(Some(name)) => Some(look(view, name)?),
            Err(damaged) => {
                view.warn(format_args!("{damaged}; the lower resource is found by other ways"));
                let lower = self.lower(view, &upper);
                if lower.is_none()
                    && let Ok(all) = drbd::all(view)?
                    && let Some(other) = all.iter().find(|other| other.is_primary())
                {
                    let name = &other.name;
                    bail!("{}", damaged.doubt(format_args!("{name} is Primary and may be in it")));
                }
                lower
            }
        };
        Ok(State { upper, taken, is_noted })
    }

    fn status(&self, state: &State) -> Status {
        let started = common::Role::Started;
        if let Found::Configured(upper) = &state.upper
            && upper.is_primary()
        {
            return match upper.laggards().first() {
                None => Status::Running(started),
                Some(volume) => Status::Failed(
                    started,
                    format!("volume {volume} of {} is not Primary, others are", upper.name),
                ),
            };
        }
        let failed = |why: String| Status::Failed(started, why);
        let Some(absent) = state.upper.demoted() else {
            return failed(format!("the role of {} is not known", self.name()));
        };
        match &state.taken {
            None => Status::Stopped(absent),
            Some(lower) => match lower.found.demoted() {
                Some(too) => Status::Stopped(absent.and(too)),
                None => failed(format!(
                    "the lower resource {} is Primary, and {} is not",
                    lower.name,
                    self.name()
                )),
            },
        }
    }

    fn facts(&self, state: &State) -> Vec<Fact> {
        let mut facts = match &state.upper {
            Found::NoModule(_) => vec![Fact::new("drbd", "not in this kernel")],
            Found::Unconfigured(_) => vec![Fact::new("role", "Unconfigured")],
            Found::Configured(upper) => facts_of(upper),
        };
        if let Some(Lower { found: Found::Configured(lower), .. }) = &state.taken {
            facts.push(Fact::new("lower", format!("{} {}", lower.name, lower.role)));
        }
        facts
    }

    fn start<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        if let Found::NoModule(_) = from.upper {
            return Err(installed("there is no DRBD in this kernel: load the module drbd"));
        }
        let mut plan = Plan::new();
        let name = self.name();
        let lower = self.configured_lower(view)?;
        if !drbd::find(view, &lower)?.is_primary() {
            let noted = lower.clone();
            plan.step(format!("note that {lower} is made Primary for {name}"), move |system| {
                system.write_record(&self.record_name(), &format!("{noted}\n"))
            });
            plan.step(format!("make DRBD resource {lower} Primary"), move |system| {
                let known = drbd::find(system, &lower)?;
                make_primary(system, &Admin::of(system, &lower, None), known.configured())
            });
        }
        plan.step(format!("bring DRBD resource {name} up on it"), |system| {
            let admin = self.admin();
            check_size(system, &admin);
            let attempt = || admin.change(system, &["adjust"]);
            tool::persist(system, ADJUST_TRIES, attempt, |_| Ok(true))
        });
        if self.params.wfc_timeout.0 > 0 {
            let limit = Duration::from_secs(self.params.wfc_timeout.0.into());
            plan.step(format!("wait up to {limit:?} for the far node"), move |system| {
                until_connected(system, self.name(), None, limit);
                Ok(())
            });
        }
        plan.step(format!("make DRBD resource {name} Primary"), |system| {
            let known = drbd::find(system, self.name())?;
            make_primary(system, &self.admin(), known.configured())
        });
        Ok(plan)
    }

    fn stop<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        let mut plan = Plan::new();
        // Found before the upper one, which may lead to it, is gone.
        let lower = from.taken.clone().or_else(|| self.lower(view, &from.upper));
        let name = self.name();
        if let Found::Configured(upper) = &from.upper {
            if upper.is_primary() {
                let upper = upper.clone();
                plan.step(format!("make DRBD resource {name} Secondary"), move |system| {
                    make_secondary(system, &self.admin(), &upper)
                });
            }
            plan.step(format!("take DRBD resource {name} down"), |system| {
                self.admin().down(system)
            });
        }
        if let Some(lower) = lower.filter(|lower| lower.found.is_primary()) {
            let what = format!("make DRBD resource {} Secondary", lower.name);
            plan.step(what, move |system| self.release(system, &lower.name));
        }
        if from.is_noted {
            plan.step("forget what was made Primary", |system| match self.observe(system)?.taken {
                Some(lower) if lower.found.is_primary() => Ok(()),
                _ => system.remove_record(&self.record_name()),
            });
        }
        Ok(plan)
    }
}

impl Extras for Drbdupper {
    fn validate(&self) -> Result<()> {
        match self.name() {
            "all" => Err(configured("drbdupper needs the name of one resource, not `all`")),
            _ => Ok(()),
        }
    }

    fn suits(&self, view: &View) -> Result<()> {
        view.program("drbdadm")?;
        self.configured_lower(view).map(drop)
    }

    fn advice(&self, view: &View, state: &State) -> Vec<Fact> {
        match &state.upper {
            Found::Configured(upper) => advice::advice(view, upper),
            _ => Vec::new(),
        }
    }

    fn word(&self, state: &State) -> Option<&'static str> {
        match (self.status(state), &state.upper) {
            (Status::Running(_), _) => Some("Primary"),
            (Status::Stopped(_), Found::Configured(_)) => Some("Secondary"),
            (Status::Stopped(_), _) => Some("Unconfigured"),
            _ => None,
        }
    }

    fn no_status(&self) -> Option<(u8, &'static str)> {
        let why = "status needs the name of a resource: drbdupper RESOURCE status";
        (self.name() == "all").then_some((10, why))
    }
}

impl Drbdupper {
    fn name(&self) -> &str {
        &self.params.drbd_resource.0
    }

    fn admin(&self) -> Admin {
        Admin::new(self.name()).stacked()
    }

    /// By the resource and not by the instance: whoever stops it may call it
    /// by another name than whoever has started it.
    fn record_name(&self) -> String {
        format!("drbdupper-{}.lower", file_name(self.name()))
    }

    /// The lower resource, as the configuration has it.
    fn configured_lower(&self, view: &View) -> Result<String> {
        let name = self.name();
        let lower = tool::lower(view, name, None)
            .map_err(|err| installed(format!("cannot tell what {name} is stacked on: {err:#}")))?;
        lower.ok_or_else(|| installed(format!("resource {name} is not stacked on this node")))
    }

    /// The lower resource, by whatever still tells.
    fn lower(&self, view: &View, upper: &Found) -> Option<Lower> {
        let by_kernel = upper.configured().and_then(|upper| beneath(view, upper));
        let found = by_kernel.map_or_else(
            || look(view, self.configured_lower(view)?),
            |lower| Ok(Lower { name: lower.name.clone(), found: Found::Configured(lower) }),
        );
        found.map_err(|err| view.note(format_args!("no lower resource: {err:#}"))).ok()
    }

    /// Once the upper resource is down; before, it is in the way.
    fn release(&self, system: &System<'_>, lower: &str) -> Result<()> {
        if let Found::Configured(upper) = drbd::find(system, self.name())?
            && !upper.is_idle()
        {
            bail!("{lower} stays Primary, {} is up on it", upper.name);
        }
        match drbd::find(system, lower)? {
            Found::Configured(found) if found.is_primary() => {
                make_secondary(system, &Admin::of(system, lower, None), &found)
            }
            _ => Ok(()),
        }
    }
}

/// The name in a record, if it is whole.
fn noted_name(noted: &str) -> Option<String> {
    Name::parse(noted.strip_suffix('\n')?).ok().map(|Name(name)| name)
}

fn look(view: &View, name: String) -> Result<Lower> {
    Ok(Lower { found: drbd::find(view, &name)?, name })
}

/// The resource that the disk of another one belongs to.
fn beneath(view: &View, upper: &Resource) -> Option<Resource> {
    let disk = upper.volumes.iter().find_map(|volume| volume.backing.as_deref())?;
    let device = common::host::holders::resolved(view, Path::new(disk));
    let minor = device.to_str()?.strip_prefix("/dev/drbd")?.parse::<u32>().ok()?;
    drbd::known(view)
        .into_iter()
        .find(|resource| resource.volumes.iter().any(|v| v.minor == Some(minor)))
}

#[cfg(test)]
mod tests;
