//! The scenarios of groups of guests.

use super::Side::{First, Second};
use super::Step::{
    Arm, AwaitClient, AwaitFault, AwaitGroup, ByHand, CleanUp, HandOver, PowerOff, PowerOn,
    StartNode, StopNode, TakeOver,
};
use super::{Fault, Scenario, Step, scenario, strikes};
use crate::setting::Engine;

const THERE: [Step; 2] = [AwaitGroup(Some(Second)), AwaitClient];
const BACK: [Step; 2] = [AwaitGroup(Some(First)), AwaitClient];

/// The group goes to the other node, and back.
fn around(away: Step, home: Step) -> Vec<Step> {
    [&[away][..], &THERE, &[home], &BACK].concat()
}

/// Of libvirt's guests.
pub fn of_libvirt(engine: Engine) -> Vec<Scenario> {
    if engine == Engine::Heartbeat {
        return under_heartbeat();
    }
    let mut all = vec![
        scenario(
            "hand-over",
            "the guests are handed over, and back",
            &around(HandOver(Second), HandOver(First)),
        ),
        scenario(
            "standby",
            "the guests' node stands by and comes back, and so does the other",
            &around(TakeOver(Second), TakeOver(First)),
        ),
        scenario(
            "power-cut",
            "the guests' node loses power, the other takes over; it comes back",
            &[&[PowerOff(First)][..], &THERE, &[PowerOn(First)]].concat(),
        ),
    ];
    all.extend(strikes("DomainGroup", engine));
    for (action, side) in [("start", Second), ("stop", First)] {
        let strike = Arm { side, agent: "DomainGroup", action, fault: Fault::DaemonKill };
        all.push(scenario(
            &format!("kill-daemon-{action}"),
            &format!("libvirt's daemon is killed in the middle of the group's {action}"),
            &[strike, HandOver(Second), AwaitFault, CleanUp, AwaitGroup(None)],
        ));
    }
    all
}

/// Of Xen's.
pub fn of_xen() -> Vec<Scenario> {
    let mut all = under_heartbeat();
    all.push(scenario(
        "by-hand",
        "heartbeat is stopped on both nodes, and the article's commands are given by hand",
        &[
            &[StopNode(Second), StopNode(First), ByHand(First)][..],
            &[StartNode(First), StartNode(Second)],
            &BACK,
        ]
        .concat(),
    ));
    all
}

/// On nodes where the group goes back to its own node as soon as that is there:
/// `auto_failback on`, as the article has it.
fn under_heartbeat() -> Vec<Scenario> {
    vec![
        scenario(
            "hand-over",
            "the guests are handed over, and back",
            &around(HandOver(Second), HandOver(First)),
        ),
        scenario(
            "stop-start",
            "heartbeat is stopped on the active node, and started again: it takes back",
            &around(StopNode(First), StartNode(First)),
        ),
        scenario(
            "power-cut",
            "the active node loses power, the other takes over; it comes back, and takes back",
            &around(PowerOff(First), PowerOn(First)),
        ),
    ]
}
