//! The scenarios of guests of Xen, on nodes where the group goes back to its own node
//! as soon as that is there: `auto_failback on`, as the article has it.

use super::Side::{First, Second};
use super::Step::{
    AwaitClient, AwaitGroup, ByHand, HandOver, PowerOff, PowerOn, StartNode, StopNode,
};
use super::{Scenario, scenario};

/// All of them.
pub fn scenarios() -> Vec<Scenario> {
    let there = [AwaitGroup(Some(Second)), AwaitClient];
    let back = [AwaitGroup(Some(First)), AwaitClient];
    let around = |away: &[_], home: &[_]| [away, &there, home, &back].concat();
    vec![
        scenario(
            "hand-over",
            "the guests are handed over, and back",
            &around(&[HandOver(Second)], &[HandOver(First)]),
        ),
        scenario(
            "stop-start",
            "heartbeat is stopped on the active node, and started again: it takes back",
            &around(&[StopNode(First)], &[StartNode(First)]),
        ),
        scenario(
            "power-cut",
            "the active node loses power, the other takes over; it comes back, and takes back",
            &around(&[PowerOff(First)], &[PowerOn(First)]),
        ),
        scenario(
            "by-hand",
            "heartbeat is stopped on both nodes, and the article's commands are given by hand",
            &[
                &[StopNode(Second), StopNode(First), ByHand(First)][..],
                &[StartNode(First), StartNode(Second)],
                &back,
            ]
            .concat(),
        ),
    ]
}
