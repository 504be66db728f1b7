//! How a guest is moved to another node while it runs.

use super::VirtualDomain;
use super::config;
use super::look::{Found, State};
use super::start::outlast;
use anyhow::{Context, Result, bail};
use common::host::libvirt::{self, Connection, Domain, Seen};
use common::{Plan, System, View};
use std::time::Duration;

/// How long it may take to find out what has become of a migration.
const JUDGING: Duration = Duration::from_secs(15);

/// Where a guest is moved to, and how.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Way {
    /// The other node.
    node: String,
    /// Its libvirt.
    pub(super) remote: String,
    /// Where its memory goes, where that is said.
    pub(super) data: Option<String>,
    /// Words of virsh's besides.
    pub(super) options: Vec<String>,
}

impl VirtualDomain {
    /// The way to the other node, as the parameters have it.
    pub(super) fn way(&self, node: &str) -> Result<Way> {
        let params = &self.params;
        let named = |uri: &str| uri.replace("%n", node);
        let network = params.migration_network_suffix.as_deref().map(|suffix| {
            let (host, domain) = node.split_at(node.find('.').unwrap_or(node.len()));
            format!("{host}{suffix}{domain}")
        });
        let host = network.as_deref().unwrap_or(node);
        let remote = match &params.remoteuri {
            Some(uri) => named(uri),
            None => self.remote(host)?,
        };
        let words = params.migrate_options.as_deref().unwrap_or_default().split_whitespace();
        let (uris, options): (Vec<&str>, Vec<&str>) =
            words.partition(|word| word.starts_with("--migrateuri="));
        let from_options = uris.last().and_then(|word| word.strip_prefix("--migrateuri="));
        let data = match (params.migrateuri.as_deref().or(from_options), &network) {
            (Some(uri), _) => Some(named(uri)),
            (None, Some(host)) => match (self.hypervisor().driver(), params.migrateport) {
                ("qemu", Some(port)) => Some(format!("tcp://{host}:{port}")),
                ("qemu", None) => Some(format!("tcp://{host}")),
                ("xen", _) => Some(host.clone()),
                (driver, _) => bail!("migration_network_suffix is not for {driver}"),
            },
            (None, None) => None,
        };
        let options = options.into_iter().map(str::to_owned).collect();
        Ok(Way { node: node.to_owned(), remote, data, options })
    }

    /// The hypervisor's URI with the other host in it.
    fn remote(&self, host: &str) -> Result<String> {
        let uri = self.hypervisor().to_string();
        let (scheme, rest) = uri.split_once("://").context("hypervisor is no URI")?;
        let driver = scheme.split('+').next().unwrap_or(scheme);
        let path = rest.split('?').next().unwrap_or_default();
        let transport = self.params.migration_transport.as_deref();
        let transport = transport.map(|word| format!("+{word}")).unwrap_or_default();
        let user = self.params.migration_user.as_deref();
        let user = user.map(|user| format!("{user}@")).unwrap_or_default();
        Ok(format!("{driver}{transport}://{user}{host}{path}"))
    }

    pub(super) fn plan_migrate_to<'a>(&'a self, view: &View, from: &State) -> Result<Plan<'a>> {
        let node = self.request.meta("migrate_target");
        let way = self.way(node.context("the cluster does not say to which node")?)?;
        view.program("virsh")?;
        let seen = from.seen().context("the guest is not here")?.clone();
        let name = seen.identity.name.clone();
        let mut plan = Plan::new();
        if self.saves_config() {
            let name = name.clone();
            plan.step(format!("save what was changed on {name}"), move |system| {
                self.save_config(system, &name)
            });
        }
        if self.params.start_resources {
            let (remote, name) = (way.remote.clone(), name.clone());
            plan.step(
                format!("start the pools and networks of {name} on {}", way.node),
                move |system| {
                    let definition = libvirt::definition(system, &name)?;
                    config::start_resources(
                        system,
                        &remote,
                        &definition.pools,
                        &definition.networks,
                    )
                },
            );
        }
        plan.step(format!("move {name} to {} by {}", way.node, way.remote), move |system| {
            self.limit(system, &name)?;
            self.migrate(system, &seen, &way)
        });
        Ok(plan)
    }

    /// Says how fast it may be, and how long the guest may stand still. An older
    /// libvirt takes the one only while the guest is on its way.
    fn limit(&self, system: &System<'_>, name: &str) -> Result<()> {
        for (verb, value) in [
            ("migrate-setspeed", self.params.migration_speed),
            ("migrate-setmaxdowntime", self.params.migration_downtime),
        ] {
            if value != 0 {
                let words = [verb, name, &value.to_string()];
                let said = libvirt::virsh(system, self.hypervisor(), &words)?;
                if !said.success() {
                    let reason = said.reason();
                    system.warn(format_args!("virsh {verb} {name} {value}: {reason}"));
                }
            }
        }
        Ok(())
    }

    fn migrate(&self, system: &System<'_>, seen: &Seen, way: &Way) -> Result<()> {
        let name = seen.identity.name.as_str();
        let mut words = vec!["migrate", "--live"];
        words.extend(way.options.iter().map(String::as_str));
        words.extend([name, &way.remote]);
        words.extend(way.data.as_deref());
        let reserve = JUDGING.min(system.deadline().left() / 3);
        let limit = system.deadline().left().saturating_sub(reserve);
        let said = libvirt::virsh_within(system, limit, self.hypervisor(), &words);
        let why = match said {
            Ok(said) if said.success() => None,
            Ok(said) => Some(said.reason()),
            Err(err) => {
                // virsh is gone, and what it has asked for may go on without it.
                self.abort(system, seen);
                Some(format!("{err:#}"))
            }
        };
        self.judge(system, seen, way, why)
    }

    /// What has become of it, by what is here, and in doubt by what is there.
    fn judge(
        &self,
        system: &System<'_>,
        seen: &Seen,
        way: &Way,
        why: Option<String>,
    ) -> Result<()> {
        let (name, node) = (&seen.identity.name, &way.node);
        let here = || self.look(system).map(|state| matches!(state.found, Found::Nothing(_)));
        let Some(why) = why else {
            return system.until(&format!("{name} to have left"), || {
                Ok(if here()? { Ok(()) } else { Err("it here".to_owned()) })
            });
        };
        if !here()? {
            bail!("{name} stays here, and was not moved to {node}: {why}");
        }
        let words = ["--quiet", "--connect", &way.remote, "domstate", name];
        let asked = system.query("virsh", &words);
        match asked {
            Ok(said) if said.success() && said.stdout.trim() == "running" => {
                system.warn(format_args!("{name} runs on {node}, though virsh said: {why}"));
                Ok(())
            }
            Ok(said) => {
                let there =
                    if said.success() { said.stdout.trim().to_owned() } else { said.reason() };
                bail!("{name} is not here any more, and {node} says: {there}; virsh said: {why}")
            }
            Err(err) => bail!(
                "{name} is not here any more, and {node} cannot be asked: {err:#}; virsh said: {why}"
            ),
        }
    }

    /// Has libvirt end the migration. It may be over by then.
    fn abort(&self, system: &System<'_>, seen: &Seen) {
        let abort = || -> Result<()> {
            let domain = Domain::known(&seen.identity).context("its UUID is not known")?;
            let mut line = Connection::open(system, self.hypervisor(), libvirt::prompt(system))?;
            line.abort_job(system, &domain)
        };
        let done = abort();
        system.info(format_args!(
            "{}: the migration took too long and was ended: {done:?}",
            seen.identity
        ));
    }

    pub(super) fn plan_migrate_from<'a>(&'a self, from: &State) -> Result<Plan<'a>> {
        if let Found::Nothing(_) = from.found {
            let source = self.request.meta("migrate_source").unwrap_or("another node");
            bail!("{} was not moved here from {source}", from.meant);
        }
        let meant = from.meant.clone();
        let mut plan = Plan::new();
        plan.step("have the cluster stopped before libvirt", outlast);
        plan.step(format!("wait for {meant} to run"), {
            let meant = meant.clone();
            move |system| self.await_guest(system, &meant)
        });
        if self.saves_config() {
            plan.step(format!("save what was changed on {meant}"), move |system| {
                self.save_config(system, &meant.name)
            });
        }
        Ok(plan)
    }
}
