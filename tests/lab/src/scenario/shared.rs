//! The scenarios where both nodes write at once. What is cut off must be fenced
//! before the other goes on; the seed chooses which node is the first.

use super::Side::{First, Second};
use super::Step::{
    Arm, AwaitFault, AwaitFenced, AwaitGuest, AwaitWriter, CleanUp, Cut, HandOver, Mend, PowerOff,
    PowerOn, StartNode, StopNode, TakeOver, Wait,
};
use super::{Fault, Network, Scenario, Side, Step, scenario};

/// All of them.
pub fn scenarios() -> Vec<Scenario> {
    let cut = |network| Cut { side: First, network, silent: true };
    vec![
        scenario("both-write", "both nodes write for a while, and nothing happens", &[Wait(10)]),
        scenario(
            "private-cut",
            "DRBD loses its link: its handler has one node fenced, the other goes on",
            &[cut(Network::Private), AwaitFenced, AwaitWriter, Wait(5), Mend],
        ),
        scenario(
            "public-cut",
            "the cluster loses a node that DRBD still reaches: it is fenced, the other goes on",
            &[cut(Network::Public), AwaitFenced, AwaitWriter, Wait(5), Mend],
        ),
        scenario(
            "cut-off",
            "a node loses both networks: one is fenced, the other goes on",
            &[cut(Network::Private), cut(Network::Public), AwaitFenced, AwaitWriter, Wait(5), Mend],
        ),
        scenario(
            "power-cut",
            "a node loses power; the other goes on once the cluster knows that it is off",
            &[PowerOff(First), AwaitFenced, AwaitWriter, Wait(5), PowerOn(First)],
        ),
        scenario(
            "stop-start",
            "a node leaves in good order and comes back; nobody is fenced",
            &[StopNode(Second), Wait(5), AwaitWriter, StartNode(Second)],
        ),
    ]
}

/// All of those in which a guest runs on one of the nodes, which is the first.
pub fn with_guest() -> Vec<Scenario> {
    let arrived = |side| [AwaitGuest(Some(side)), Wait(5)];
    let moved = |side| [&[HandOver(side)][..], &arrived(side)].concat();
    let struck = |side, action, fault| {
        let strike = Arm { side, agent: "VirtualDomain", action, fault };
        [strike, HandOver(Second), AwaitFault, CleanUp, AwaitGuest(None)]
    };
    let mut all = vec![
        scenario(
            "live-move",
            "the guest is moved while it runs, and back",
            &[moved(Second), moved(First)].concat(),
        ),
        scenario(
            "standby",
            "the guest's node stands by, which moves it, comes back, and so does the other",
            &[
                &[TakeOver(Second)][..],
                &arrived(Second),
                &[AwaitWriter, TakeOver(First)],
                &arrived(First),
            ]
            .concat(),
        ),
        scenario(
            "guest-power-cut",
            "the guest's node loses power; it is fenced, and the guest boots on the other",
            &[&[PowerOff(First), AwaitFenced][..], &arrived(Second), &[PowerOn(First)]].concat(),
        ),
        scenario(
            "twenty-moves",
            "twenty moves in a row, there and back",
            &[Second, First].into_iter().cycle().take(20).flat_map(moved).collect::<Vec<Step>>(),
        ),
    ];
    let strikes: [(&str, &str, Side, &str, Fault); 4] = [
        ("agent", "VirtualDomain is killed", First, "migrate_to", Fault::Kill),
        ("agent", "VirtualDomain is killed", Second, "migrate_from", Fault::Kill),
        ("daemon", "libvirt's daemon is killed", First, "migrate_to", Fault::DaemonKill),
        (
            "peer-daemon",
            "the other node's libvirt is killed",
            First,
            "migrate_to",
            Fault::PeerDaemonKill,
        ),
    ];
    for (what, about, side, action, fault) in strikes {
        all.push(scenario(
            &format!("kill-{what}-{}", action.replace('_', "-")),
            &format!("{about} in the middle of {action}"),
            &struck(side, action, fault),
        ));
    }
    all
}
