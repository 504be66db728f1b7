//! The scenarios, as data: what is done to a cluster whose group runs on one
//! node, the first, while the other, the second, stands by. What must hold
//! afterwards is the same for all and stands in `play`.

mod guests;
mod shared;

use super::article::{self, Service};
use super::machine::Network;
use super::setting::{Agents, Engine, Setting};
use anyhow::{Context, Result};

/// A node by its part in the scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Where the group runs at the beginning.
    First,
    /// The other.
    Second,
}

/// What happens to an agent in the middle of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Its machine loses power.
    PowerCut,
    /// The other node loses power.
    PeerPowerCut,
    /// The agent and all it started are killed.
    Kill,
    /// libvirt's daemon on its machine is killed, and started again.
    DaemonKill,
    /// The other node's.
    PeerDaemonKill,
}

/// One thing that is done or waited for.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// The engine is asked to move the group, with nothing wrong.
    HandOver(Side),
    /// The node that is to have the group asks for it.
    TakeOver(Side),
    /// A machine loses power.
    PowerOff(Side),
    /// It comes back, and starts what its init system would start.
    PowerOn(Side),
    /// A machine is taken off a network: its frames vanish, or its cards
    /// lose their carrier.
    Cut { side: Side, network: Network, silent: bool },
    /// A machine's card of this number loses its carrier, and the bond has one left.
    Unplug { side: Side, card: u8 },
    /// All processors of a machine stand still for so many seconds.
    Freeze(Side, u64),
    /// All networks are whole again.
    Mend,
    /// The disk under DRBD fails.
    FailDisk(Side),
    /// It works again.
    RepairDisk(Side),
    /// The disk under DRBD takes this many bytes a second; 0 for no limit.
    SlowDisk(Side, u64),
    /// The file system is full to the last block.
    Fill,
    /// There is room again.
    Empty,
    /// The disk under DRBD becomes larger on both nodes, and all above it.
    Grow,
    /// The client uses what its disk has grown by.
    Enlarge,
    /// DRBD's resource with what says what is served is down on a node.
    Spoil(Side),
    /// It is up again.
    Restore(Side),
    /// Until what serves has refused to start there; nothing of it may be.
    AwaitRefusal(Side),
    /// Nothing, for so many seconds.
    Wait(u64),
    /// The fault strikes when the agent is called with the action there.
    Arm { side: Side, agent: &'static str, action: &'static str, fault: Fault },
    /// Until the armed fault has struck.
    AwaitFault,
    /// Until the whole group runs on a side, or on any.
    AwaitGroup(Option<Side>),
    /// Until it runs on a side that has come back to a cluster in which that takes
    /// everything back.
    AwaitReturn(Side),
    /// Until the client is served.
    AwaitClient,
    /// What an administrator does once the cause is mended.
    CleanUp,
    /// The node leaves the cluster in good order.
    StopNode(Side),
    /// It comes back.
    StartNode(Side),
    /// The group is brought up and taken down by hand on a node, as its article does.
    ByHand(Side),
    /// Until a node has been fenced, whichever it is.
    AwaitFenced,
    /// Until the node that has not been fenced writes on; any, if none has.
    AwaitWriter,
    /// Until DRBD's handler has barred the other node from promotion.
    AwaitBarred(Side),
    /// Until nobody is barred any more.
    AwaitUnbarred,
    /// Until the guest runs on a side, or on any, and nowhere else, and counts.
    AwaitGuest(Option<Side>),
}

/// A named sequence of steps.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: String,
    /// What happens, in one line.
    pub about: String,
    /// Whether it belongs to the bounded subset that runs on every change.
    pub core: bool,
    /// From the first to the last.
    pub steps: Vec<Step>,
}

/// The settings: every set-up under both engines, for the given agents.
pub fn settings(agents: &[Agents]) -> Vec<Setting> {
    let mut settings = Vec::new();
    for article in article::ALL {
        for engine in [Engine::Heartbeat, Engine::Pacemaker] {
            settings.extend(agents.iter().map(|agents| Setting {
                engine,
                article,
                agents: *agents,
            }));
        }
    }
    settings.retain(Setting::exists);
    settings
}

/// The setting of that name; the agents are ours where none are named.
pub fn setting(name: &str) -> Result<Setting> {
    let both = [Agents::Stock, Agents::Sturdy];
    let meant = |setting: &Setting| {
        setting.name() == name || setting.name() == format!("{name}/{}", Agents::Sturdy.name())
    };
    settings(&both).into_iter().find(meant).with_context(|| {
        let names: Vec<String> = settings(&both).iter().map(Setting::name).collect();
        format!("no setting {name}; there are {}", names.join(", "))
    })
}

/// Whether a setting belongs to the bounded subset: under Pacemaker with the
/// volume group, for which heartbeat has no stock agent to compare with.
pub fn is_core(setting: &Setting) -> bool {
    let article = match setting.engine {
        Engine::Heartbeat => "nfs",
        Engine::Pacemaker => "lvm",
    };
    setting.article.name == article
}

/// The scenarios of a setting, in the order they are played.
pub fn scenarios(setting: &Setting) -> Vec<Scenario> {
    use Side::{First, Second};
    use Step::{AwaitClient, AwaitGroup, Cut, HandOver, Mend, PowerOff, PowerOn, Wait};
    if setting.article.is_shared() {
        return match setting.article.domain {
            Some(_) => shared::with_guest(),
            None => shared::scenarios(),
        };
    }
    match setting.article.service {
        Service::Guest => return guests::of_xen(),
        Service::Domains(_) => return guests::of_libvirt(setting.engine),
        _ => {}
    }
    if setting.moves_back() {
        return films(setting.article.service);
    }
    let mut all = vec![
        scenario(
            "hand-over",
            "a clean hand-over, and back",
            &[
                HandOver(Second),
                AwaitGroup(Some(Second)),
                AwaitClient,
                HandOver(First),
                AwaitGroup(Some(First)),
            ],
        )
        .core(),
        scenario(
            "power-cut",
            "the active node loses power, the other takes over",
            &[PowerOff(First), AwaitGroup(Some(Second)), AwaitClient, PowerOn(First)],
        )
        .core(),
        standby_power_cut(),
        scenario(
            "both-power-cut",
            "both nodes lose power at once and come back",
            &[
                PowerOff(First),
                PowerOff(Second),
                Wait(2),
                PowerOn(First),
                PowerOn(Second),
                AwaitGroup(None),
            ],
        ),
        freeze(),
        scenario(
            "private-cut",
            "the private network swallows every frame for a while",
            &[Cut { side: First, network: Network::Private, silent: true }, Wait(20), Mend],
        ),
        scenario(
            "private-carrier",
            "the private network's cards lose their carrier for a while",
            &[Cut { side: First, network: Network::Private, silent: false }, Wait(20), Mend],
        ),
        scenario(
            "public-cut",
            "the active node is cut off from the client for a while",
            &[Cut { side: First, network: Network::Public, silent: true }, Wait(20), Mend],
        ),
    ];
    if setting.article.is_async() {
        all.truncate(2);
        return all;
    }
    if setting.article.has_handler() {
        all.truncate(3);
        all.push(barring());
        return all;
    }
    match setting.article.service {
        Service::Nfs(_) => all.extend(moves()),
        // The group's power cuts and moves are what a database is to survive.
        Service::Sql => return all,
        _ => {}
    }
    all.push(resync());
    all.extend(disk_faults());
    if setting.engine == Engine::Pacemaker {
        all.push(apart());
    }
    if !setting.article.service.is_disk() {
        all.push(full());
    }
    for agent in setting.group().into_iter().chain(setting.serving()) {
        all.extend(strikes(agent, setting.engine));
    }
    all
}

/// What is done where heartbeat moves nothing on request and takes everything back
/// by itself: its own stop and start, which is how the articles try it, and faults.
fn films(service: Service) -> Vec<Scenario> {
    use Side::{First, Second};
    use Step::{AwaitClient, AwaitGroup, AwaitRefusal, AwaitReturn, Cut, Enlarge, Grow, Mend};
    use Step::{PowerOff, PowerOn, Restore, Spoil, StartNode, StopNode, Wait};
    let away = [StopNode(First), AwaitGroup(Some(Second)), AwaitClient];
    let back = [StartNode(First), AwaitReturn(First), AwaitClient];
    let cut = |network| [Cut { side: First, network, silent: true }, Wait(20), Mend, AwaitClient];
    // vblade measures its device when it starts.
    let growth = match service {
        Service::Aoe => [&[Grow][..], &away, &[Enlarge, AwaitClient], &back].concat(),
        _ => [&[Grow, Enlarge, AwaitClient][..], &away, &back].concat(),
    };
    vec![
        scenario(
            "stop-start",
            "heartbeat is stopped on the active node, and started again",
            &[&away[..], &back].concat(),
        ),
        scenario(
            "power-cut",
            "the active node loses power, the other takes over; it comes back, and takes back",
            &[
                &[PowerOff(First), AwaitGroup(Some(Second)), AwaitClient, PowerOn(First)][..],
                &back[1..],
            ]
            .concat(),
        ),
        standby_power_cut(),
        scenario(
            "both-power-cut",
            "both nodes lose power at once and come back",
            &[
                PowerOff(First),
                PowerOff(Second),
                Wait(2),
                PowerOn(First),
                PowerOn(Second),
                AwaitGroup(Some(First)),
                AwaitClient,
            ],
        ),
        freeze(),
        scenario(
            "private-cut",
            "the private network swallows every frame for a while",
            &cut(Network::Private),
        ),
        scenario(
            "public-cut",
            "the active node is cut off from the client for a while",
            &cut(Network::Public),
        ),
        scenario(
            "first-line",
            "the other node cannot have the first line's group, and is asked for both: it serves \
             nothing from an empty directory",
            // Once the first is dead to it, the second tries again by itself. One that
            // comes back in that very moment asks for what is just being taken:
            // heartbeat says yes to it, and goes on taking.
            &[
                &[Spoil(Second), StopNode(First), AwaitRefusal(Second), Restore(Second)][..],
                &[Wait(40)],
                &back,
            ]
            .concat(),
        ),
        scenario(
            "growth",
            "disk, DRBD, target, partition and file system grow while the client writes",
            &growth,
        ),
        scenario(
            "twenty",
            "twenty moves in a row, there and back",
            &[&away[..], &back].concat().repeat(10),
        ),
    ]
}

fn standby_power_cut() -> Scenario {
    let other = Side::Second;
    scenario(
        "standby-power-cut",
        "the node that stands by loses power; the service must not notice",
        &[Step::PowerOff(other), Step::Wait(15), Step::PowerOn(other)],
    )
}

fn freeze() -> Scenario {
    scenario(
        "freeze",
        "the active node stands still, for less than it takes to be called dead",
        &[Step::Freeze(Side::First, 4), Step::Wait(5)],
    )
}

/// Every way in which people move a group, and many moves in a row.
fn moves() -> Vec<Scenario> {
    use Side::{First, Second};
    use Step::{AwaitClient, AwaitGroup, HandOver, Mend, StartNode, StopNode, TakeOver};
    use Step::{Unplug, Wait};
    let twenty = [Second, First]
        .into_iter()
        .cycle()
        .take(20)
        .flat_map(|side| [HandOver(side), AwaitGroup(Some(side)), AwaitClient])
        .collect::<Vec<Step>>();
    vec![
        scenario(
            "stop-start",
            "the active node's cluster software is stopped and started again",
            &[StopNode(First), AwaitGroup(Some(Second)), AwaitClient, StartNode(First)],
        ),
        scenario(
            "take-over",
            "the other node asks for the group, and then the first one does",
            &[
                TakeOver(Second),
                AwaitGroup(Some(Second)),
                AwaitClient,
                TakeOver(First),
                AwaitGroup(Some(First)),
            ],
        ),
        scenario("twenty", "twenty hand-overs in a row, there and back", &twenty),
        scenario(
            "card",
            "the active node loses a card of each bond for a while",
            &[
                Unplug { side: First, card: 0 },
                Unplug { side: First, card: 2 },
                Wait(15),
                AwaitClient,
                Mend,
            ],
        ),
        scenario(
            "switch",
            "both nodes lose the switch that their first public cards are at, and the group moves",
            &[
                Unplug { side: First, card: 0 },
                Unplug { side: Second, card: 0 },
                Wait(10),
                AwaitClient,
                HandOver(Second),
                AwaitGroup(Some(Second)),
                AwaitClient,
                Mend,
            ],
        ),
        scenario(
            "growth",
            "disk, DRBD, volume and file system grow while the client writes; then a hand-over",
            &[Step::Grow, AwaitClient, HandOver(Second), AwaitGroup(Some(Second)), AwaitClient],
        ),
    ]
}

/// DRBD in the middle of a synchronisation.
fn resync() -> Scenario {
    use Side::{First, Second};
    use Step::{AwaitGroup, Cut, HandOver, Mend, SlowDisk, Wait};
    scenario(
        "resync-hand-over",
        "a hand-over to a node that is still being sent what it missed",
        &[
            Cut { side: First, network: Network::Private, silent: true },
            Wait(15),
            SlowDisk(Second, 64 << 10),
            Mend,
            Wait(3),
            HandOver(Second),
            AwaitGroup(Some(Second)),
            SlowDisk(Second, 0),
        ],
    )
}

/// A hand-over to a node that does not have what was written last.
fn apart() -> Scenario {
    use Side::{First, Second};
    use Step::{AwaitGroup, Cut, HandOver, Mend, Wait};
    scenario(
        "apart-hand-over",
        "a hand-over while DRBD is not connected; it waits for the link, and nothing is lost",
        &[
            Cut { side: First, network: Network::Private, silent: true },
            Wait(15),
            HandOver(Second),
            Wait(20),
            Mend,
            AwaitGroup(Some(Second)),
        ],
    )
}

/// DRBD's link is lost, and nothing else: the peer must not be promoted before
/// it has what it has missed.
fn barring() -> Scenario {
    use Side::First;
    use Step::{AwaitBarred, AwaitUnbarred, Cut, Mend, Wait};
    scenario(
        "private-cut",
        "DRBD loses its link; its peer is barred from promotion until it is up to date again",
        &[
            Cut { side: First, network: Network::Private, silent: true },
            AwaitBarred(First),
            Wait(5),
            Mend,
            AwaitUnbarred,
        ],
    )
}

/// The disk of the active node in trouble.
fn disk_faults() -> Vec<Scenario> {
    use Side::{First, Second};
    use Step::{AwaitGroup, FailDisk, HandOver, RepairDisk, SlowDisk, Wait};
    vec![
        scenario(
            "disk-failure",
            "the active node's disk fails under DRBD, which goes on with the other node's",
            &[FailDisk(First), Wait(15), RepairDisk(First)],
        ),
        scenario(
            "disk-failure-hand-over",
            "the active node's disk fails, and the group is moved to the good one",
            &[
                FailDisk(First),
                Wait(5),
                HandOver(Second),
                AwaitGroup(Some(Second)),
                RepairDisk(First),
            ],
        ),
        scenario(
            "disk-slow",
            "the active node's disk becomes very slow during a hand-over",
            &[
                SlowDisk(First, 256 << 10),
                HandOver(Second),
                AwaitGroup(Some(Second)),
                SlowDisk(First, 0),
            ],
        ),
    ]
}

fn full() -> Scenario {
    use Side::Second;
    use Step::{AwaitGroup, Empty, Fill, HandOver};
    scenario(
        "disk-full",
        "a hand-over of a file system that is full to the last block",
        &[Fill, HandOver(Second), AwaitGroup(Some(Second)), Empty],
    )
}

/// The faults that strike one agent in the middle of its start and stop.
fn strikes(agent: &'static str, engine: Engine) -> Vec<Scenario> {
    use Side::{First, Second};
    use Step::{Arm, AwaitFault, AwaitGroup, CleanUp, HandOver, PowerOn};
    let named = |name: &str, about: String, steps: &[Step]| {
        scenario(&format!("{name}-{}", agent.to_lowercase()), &about, steps)
    };
    let mut all = Vec::new();
    let (up, down) = if agent == "drbd" { ("promote", "demote") } else { ("start", "stop") };
    for (action, side) in [(up, Second), (down, First)] {
        let arm = |fault| Arm { side, agent, action, fault };
        all.push(named(
            &format!("power-cut-{action}"),
            format!("power is lost while {agent} is in its {action}"),
            &[arm(Fault::PowerCut), HandOver(Second), AwaitFault, AwaitGroup(None), PowerOn(side)],
        ));
        if agent.starts_with("drbd") && side == Second {
            all.push(named(
                &format!("peer-lost-in-{action}"),
                format!("the other node loses power while {agent} is in its {action}"),
                &[
                    arm(Fault::PeerPowerCut),
                    HandOver(Second),
                    AwaitFault,
                    AwaitGroup(Some(Second)),
                    PowerOn(First),
                ],
            ));
        }
        let kill = named(
            &format!("kill-{action}"),
            format!("{agent} is killed in the middle of its {action}"),
            &[arm(Fault::Kill), HandOver(Second), AwaitFault, CleanUp, AwaitGroup(None)],
        );
        // heartbeat repeats a stop at once, and leaves a failed start to people.
        let telling = if engine == Engine::Heartbeat { "stop" } else { "start" };
        let core = agent == "Filesystem" && action == telling;
        all.push(if core { kill.core() } else { kill });
    }
    all
}

fn scenario(name: &str, about: &str, steps: &[Step]) -> Scenario {
    Scenario { name: name.into(), about: about.into(), core: false, steps: steps.to_vec() }
}

impl Scenario {
    /// Whether it has a fault in the middle of an action, at a moment that the
    /// seed chooses.
    pub fn strikes(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Arm { .. }))
    }

    fn core(mut self) -> Self {
        self.core = true;
        self
    }
}
