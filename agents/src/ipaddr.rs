//! An IP address that follows the service: IPv4 or IPv6.
//!
//! What is seen comes from the kernel's own tables, by rtnetlink: the address
//! by its bytes, prefix, interface, label and flags; the link by its operational
//! state. A monitor asks for the one address, not for the list of all of them,
//! and falls back to the list for anything but a plain yes. Which interface an
//! address belongs on is asked of the kernel as the route it would take itself,
//! so there is never more than one answer; but only by start. Start notes what
//! it adds, and that is what stop takes away, wherever it is by then: routes
//! change, interfaces are renamed, and a network namespace outlives its name.
//!
//! What differs from the shell agents: no external program sends, probes or
//! looks; the network hears of the address before start returns, and hears
//! nothing of it once stop has begun; an address that was there only in part
//! is put right by a start.

mod add;
mod announce;
mod clusterip;
mod find;
mod network;
mod params;
mod record;
mod remove;
mod state;
mod values;
mod words;

use common::host::address::Uniqueness;
use common::host::announce::Line;
use common::host::netns::{self, Entered};
use common::host::pidlock::PidLock;
use common::{Agent, Extras, Fact, Plan, Request, Role, Status, System, View, installed};
use ocf_meta::{Examples, Meta, Params, Words, action};
use params::IpaddrParams;
use state::{Assignment, State, Stray};
use std::cell::{Cell, RefCell};
use std::net::IpAddr;

/// The agent.
pub struct Ipaddr {
    params: IpaddrParams,
    /// The address, with the clone's number added where that is wanted.
    ip: IpAddr,
    /// The interface's name, without a label.
    nic: Option<String>,
    /// The whole label: `eth0:web`. Without a nic only the part after the colon.
    tag: Option<String>,
    request: Request,
    share: Option<clusterip::Share>,
    entered: RefCell<Option<Entered>>,
    /// Whether something that was to be removed is still there.
    leaves: Cell<bool>,
    silence: RefCell<Option<PidLock>>,
    line: RefCell<Option<Line>>,
}

impl Agent for Ipaddr {
    const META: &'static Meta = &Meta {
        name: "IPaddr",
        shortdesc: "IPv4 or IPv6 address that moves with the service",
        longdesc: "\
Adds an IP address to an interface, tells the network where it lives now, and takes it away again.

The interface is the one through which the kernel itself would reach the address's network, unless \
nic names another one. Prefix and broadcast follow from that network unless they are given. The \
network is told by gratuitous ARP in both forms, or by unsolicited neighbour advertisements for \
IPv6: once before start returns, then in two bursts from the background, which ends at once when \
the address goes away.

As a clone with globally-unique=true and more than one instance the address is shared by several \
nodes, each of which answers a part of the clients. This needs nftables.",
        params: IpaddrParams::TABLE,
        words: Words::Own { form: words::FORM, split: words::split },
        actions: &[
            action::START,
            action::STOP,
            action::MONITOR,
            action::RELOAD_AGENT,
            action::VALIDATE_ALL,
            action::META_DATA,
        ],
        examples: Examples {
            pacemaker: "vip ocf:sturdy:IPaddr params ip=10.10.1.250 cidr_netmask=24",
            haresources: "IPaddr::10.10.1.250/24/bond0:web",
            by_hand: "10.10.1.250/24 start",
        },
        differences: &[
            "An unusable value of a parameter is code 6 on start as well as on validate-all; the \
             shell agent answers 5 on start.",
            "nic defaults to the kernel's own choice, not to eth0, and a choice between several \
             routes is never an error.",
            "An address that has the wrong label, or waits on a link that was down, is put right \
             by start; the shell agents answer 1 or 5.",
            "A start that fails for want of a carrier takes the address away again.",
            "Announcements of IPv6 addresses are sent from the background as well unless arp_bg \
             is set.",
            "arp_interval is kept to. Each announcement consists of a request and a reply.",
            "arp_sender and mac choose no program: there is none. Of send_arp_opts, -A asks for \
             replies only and -U for requests only.",
            "Duplicate address detection that fails, or has not ended, is a failure of monitor.",
            "What start adds it notes: by the number of the interface and by its prefix. A stop \
             takes that away whatever the routes say by then and whatever the interface is called, \
             also out of a network namespace whose name was deleted. Without a note it takes away \
             every copy of the address that is not on a loopback.",
            "An address whose link is down is a failure of monitor, not a resource that is stopped.",
            "Without cidr_netmask the address counts with any prefix.",
            "Where no route names the network, the interface's own addresses do: a link that is \
             down is set up, and one of a VRF or without a prefix route needs no cidr_netmask.",
            "An address that is there already and would expire is given the lifetimes asked for.",
            "The removal of an address leaves the others of its network in place, whatever the \
             kernel's promote_secondaries says.",
            "An address without iflabel carries no alias label of its own.",
            "There is no check level with a ping to the address. On an interface that has thousands of \
             addresses, prefix and label are looked at by a check level of 10 and more only.",
        ],
    };
    type Params = IpaddrParams;
    type State = State;

    fn new(params: IpaddrParams, request: &Request) -> anyhow::Result<Self> {
        let (nic, tag) = params.nic_and_tag();
        let share = clusterip::Share::of(&params, request);
        let number = request.clone.map_or(0, |clone| clone.number);
        let ip = if params.unique_clone_address { step(params.ip, number) } else { params.ip };
        let (entered, leaves, silence, line) = Default::default();
        Ok(Self {
            params,
            ip,
            nic,
            tag,
            request: request.clone(),
            share,
            entered,
            leaves,
            silence,
            line,
        })
    }

    fn observe(&self, view: &View) -> anyhow::Result<State> {
        let is_inside = matches!(self.enter_namespace(view)?, Entered::Inside);
        let state = match self.glance(view).filter(|_| is_inside) {
            Some(state) => state,
            None => self.look(view)?,
        };
        match &self.share {
            Some(share) if is_inside => share.observe(view, state),
            _ => Ok(state),
        }
    }

    fn status(&self, state: &State) -> Status {
        let failed = |reason: String| Status::Failed(Role::Started, reason);
        match &state.found {
            Some(found) => self.status_of(found, state),
            None => match (self.misplaced(state), &state.gone, &state.absent) {
                (Some(misplaced), ..) => failed(misplaced),
                // A probe, a start and a stop ask whether it runs; a monitor
                // asks what has become of it.
                (None, Some(gone), _) if !self.request.probe => failed(gone.clone()),
                (None, _, Some(absent)) => Status::Stopped(absent.clone()),
                (None, _, None) => failed(format!("it is not known where {} is", self.ip)),
            },
        }
    }

    fn facts(&self, state: &State) -> Vec<Fact> {
        let mut facts = vec![Fact::new("address", self.ip.to_string())];
        let found = state.found.as_ref().map_or("on no interface".into(), Assignment::to_string);
        facts.push(Fact::new("found", state.gone.clone().unwrap_or(found)));
        facts.extend(state.strays.iter().map(|stray| Fact::new("added", stray.to_string())));
        for other in state.again.iter().chain(&state.others).chain(&state.local) {
            facts.push(Fact::new("also", other.to_string()));
        }
        facts.extend(state.share.as_ref().map(|share| Fact::new("share", share.to_string())));
        facts
    }

    fn start<'a>(&'a self, view: &View, from: &State) -> anyhow::Result<Plan<'a>> {
        self.need_namespace(view)?;
        self.plan_start(view, from)
    }

    fn stop<'a>(&'a self, view: &View, from: &State) -> anyhow::Result<Plan<'a>> {
        Ok(self.plan_stop(view, from))
    }
}

impl Extras for Ipaddr {
    fn validate(&self) -> anyhow::Result<()> {
        self.params.check(&self.request)
    }

    fn suits(&self, view: &View) -> anyhow::Result<()> {
        self.need_namespace(view)?;
        if let Some(share) = &self.share {
            share.suits(view)?;
        }
        self.place(view).map(drop)
    }

    fn started<'a>(&'a self, view: &View, _state: &State) -> anyhow::Result<Plan<'a>> {
        self.plan_settle(view)
    }

    fn upkeep<'a>(&'a self, view: &View, state: &State, _level: u32) -> anyhow::Result<Plan<'a>> {
        let mut plan = Plan::new();
        if let Some(found) = state.found.as_ref().filter(|_| state.dear) {
            self.plan_note_many(view, &mut plan, found);
        }
        self.plan_refresh(view, &mut plan, state);
        Ok(plan)
    }

    fn reload<'a>(&'a self, _view: &View, _from: &State) -> anyhow::Result<Plan<'a>> {
        // What can be reloaded is read anew by each action.
        Ok(Plan::new())
    }

    fn background(words: &[String], system: &System<'_>) -> anyhow::Result<()> {
        Self::announce_in_background(words, system)
    }
}

impl Ipaddr {
    /// Looks, from now on, where the resource lives, if there is such a place.
    fn enter_namespace(&self, view: &View) -> anyhow::Result<Entered> {
        let entered = self.entered.borrow().clone();
        match (entered, &self.params.network_namespace) {
            (None, Some(name)) => {
                let entered = netns::enter(view, name)?;
                if let Entered::Inside = &entered {
                    self.entered.replace(Some(entered.clone()));
                }
                Ok(entered)
            }
            _ => Ok(Entered::Inside),
        }
    }

    fn need_namespace(&self, view: &View) -> anyhow::Result<()> {
        match self.enter_namespace(view)? {
            Entered::Inside => Ok(()),
            Entered::Absent(_) => Err(installed(self.no_namespace())),
        }
    }

    fn no_namespace(&self) -> String {
        let name = self.params.network_namespace.as_deref().unwrap_or_default();
        format!("there is no network namespace {name} on this node")
    }

    /// What an address means that is where it was asked for.
    fn status_of(&self, found: &Assignment, state: &State) -> Status {
        let failed = |reason: String| Status::Failed(Role::Started, reason);
        let place = format!("{} is on {}", found.address_text(), found.nic);
        // Nobody is served through a dead link. But the address is there, and
        // the link may come back.
        if self.params.check_link_status && !found.carries {
            return failed(format!("{place}, whose link is down"));
        }
        if let Some(wanted) = self.wrong_label(found) {
            let label = found.label.as_deref().unwrap_or("none");
            return failed(format!("{place} with the label {label}, wanted {wanted}"));
        }
        match found.uniqueness {
            Uniqueness::Settled => {}
            // Without a carrier the kernel cannot ask.
            Uniqueness::Tentative if !found.carries => {}
            Uniqueness::Tentative => {
                return failed(format!("{place}, but is not known to be the only one yet"));
            }
            Uniqueness::Duplicate => {
                return failed(format!("{place}, but another host of the network has it too"));
            }
        }
        match &state.share {
            Some(share) if !share.is_whole() => share.status(&place),
            _ => Status::Running(Role::Started),
        }
    }

    /// Where the address is instead of where it was asked for, if it is ours
    /// or may be: what start has added, or, where that is not known and the
    /// interface has gone, any.
    fn misplaced(&self, state: &State) -> Option<String> {
        if let Some(Stray { held, was, within }) = state.strays.first() {
            let mut place = format!("{} is on {}", held.address_text(), held.nic);
            if *was != held.nic {
                place += &format!(", which was {was} when it was added");
            }
            let name = self.params.network_namespace.as_deref();
            return Some(match (within, name, &state.gone) {
                (Some(within), Some(name), _) => format!(
                    "{place}, in a network namespace that is not {name} any more and lives on in {}",
                    within.holder()
                ),
                (Some(within), None, _) => {
                    format!("{place}, in the network namespace of {}", within.holder())
                }
                (None, _, Some(gone)) => format!("{place}; {gone}"),
                (None, ..) => format!("{place}, wanted {}", self.place_wanted()),
            });
        }
        let gone = state.gone.as_ref().filter(|_| !state.recorded)?;
        let other = state.others.first()?;
        Some(format!("{} is on {}, and {gone}", other.address_text(), other.nic))
    }

    /// `10.0.0.9/24 on eth0`, as far as it was said.
    fn place_wanted(&self) -> String {
        let prefix = self.params.cidr_netmask.map(|prefix| format!("/{}", prefix.bits));
        let nic = self.nic.as_ref().map(|nic| format!(" on {nic}"));
        format!("{}{}{}", self.ip, prefix.unwrap_or_default(), nic.unwrap_or_default())
    }

    /// The label that was asked for, if the address has another one.
    fn wrong_label(&self, found: &Assignment) -> Option<String> {
        let wanted = self.label(&found.nic)?;
        (found.label.as_ref() != Some(&wanted)).then_some(wanted)
    }

    /// The label for the address on this interface, if one is wanted.
    fn label(&self, nic: &str) -> Option<String> {
        let tag = self.tag.as_ref().filter(|_| self.ip.is_ipv4())?;
        Some(format!("{nic}:{tag}"))
    }
}

/// The address with the number added to its last part.
fn step(ip: IpAddr, number: u32) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            let d = u32::from(d) + number;
            // What does not fit is refused by `check`.
            IpAddr::from([a, b, c, u8::try_from(d).unwrap_or(u8::MAX)])
        }
        IpAddr::V6(_) => ip,
    }
}
