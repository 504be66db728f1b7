//! The scenarios where both nodes write at once. What is cut off must be fenced
//! before the other goes on; the seed chooses which node is the first.

use super::Side::{First, Second};
use super::Step::{
    AwaitFenced, AwaitWriter, Cut, Mend, PowerOff, PowerOn, StartNode, StopNode, Wait,
};
use super::{Network, Scenario, scenario};

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
