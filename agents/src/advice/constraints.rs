//! Pacemaker's constraints, as far as `explain` looks into them: whether what
//! lies on DRBD waits for the promotion of DRBD, and goes before its demotion.

use crate::drbd_fence::cib::Cib;
use common::View;
use common::host::xml::Element;
use std::collections::{BTreeMap, BTreeSet};

/// A primitive of the configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Primitive<'a>(&'a Element);

impl<'a> Primitive<'a> {
    fn id(self) -> &'a str {
        self.0.get("id").unwrap_or_default()
    }

    /// The agent's name, whoever provides it.
    pub(crate) fn agent(self) -> &'a str {
        self.0.get("type").unwrap_or_default()
    }

    /// The value of a parameter; empty if it is not given.
    pub(crate) fn param(self, name: &str) -> &'a str {
        let given = self.0.named("instance_attributes").flat_map(|all| all.named("nvpair"));
        let mut ours = given.filter(|pair| pair.get("name") == Some(name));
        ours.find_map(|pair| pair.get("value")).unwrap_or_default()
    }

    /// Whether it promotes the DRBD resource of this name.
    pub(crate) fn promotes(self, resource: &str) -> bool {
        self.agent() == "drbd" && self.param("drbd_resource") == resource
    }
}

/// A sentence for each primitive that lies on DRBD and is not ordered after the
/// promotion, in a cluster that promotes it. Without a cluster there is none.
pub(crate) fn missing(
    view: &View,
    promotes: impl Fn(Primitive<'_>) -> bool,
    lies_on_it: impl Fn(Primitive<'_>) -> bool,
) -> Vec<String> {
    match Cib::query(view) {
        Ok(cib) => missing_in(&cib, promotes, lies_on_it),
        Err(err) => {
            view.note(format_args!("{err:#}"));
            Vec::new()
        }
    }
}

fn missing_in(
    cib: &Cib,
    promotes: impl Fn(Primitive<'_>) -> bool,
    lies_on_it: impl Fn(Primitive<'_>) -> bool,
) -> Vec<String> {
    let primitives = || cib.tree().named("primitive").map(Primitive);
    let Some(drbd) = primitives().find(|one| promotes(*one)) else { return Vec::new() };
    let orders = Orders::read(cib.tree());
    let promoted = orders.whole(drbd.id());
    primitives()
        .filter(|one| lies_on_it(*one))
        .filter_map(|one| {
            let (id, name) = (one.id(), one.agent());
            Some(match orders.between(promoted, orders.whole(id)) {
                Between::Ordered => return None,
                Between::StartOnly => format!(
                    "Pacemaker orders {id} ({name}) after the start of {promoted}, and not after its \
                     promotion: crm configure order {id}-after-{promoted} Mandatory: {promoted}:promote {id}:start"
                ),
                Between::OneWay => format!(
                    "Pacemaker may demote {promoted} before {id} ({name}) has stopped: the order is not symmetrical"
                ),
                Between::Nothing => format!(
                    "Pacemaker has no order between the promotion of {promoted} and {id} ({name}): crm configure \
                     order {id}-after-{promoted} Mandatory: {promoted}:promote {id}:start"
                ),
            })
        })
        .collect()
}

/// What stands between a promotion and a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Between {
    Ordered,
    /// A start waits for a start.
    StartOnly,
    /// There is an order, but not for the way back.
    OneWay,
    Nothing,
}

/// One thing waits for another.
struct Edge<'a> {
    first: &'a str,
    then: &'a str,
    promotion: bool,
    symmetrical: bool,
}

/// Who waits for whom, by the ids of primitives and clones.
struct Orders<'a> {
    edges: Vec<Edge<'a>>,
    /// What a primitive is ordered as: the clone that it is alone in.
    clones: BTreeMap<&'a str, &'a str>,
    /// The members of groups.
    groups: BTreeMap<&'a str, Vec<&'a str>>,
}

impl<'a> Orders<'a> {
    fn read(tree: &'a Element) -> Self {
        let mut orders =
            Self { edges: Vec::new(), clones: BTreeMap::new(), groups: BTreeMap::new() };
        for clone in tree.all().filter(|found| matches!(&*found.name, "clone" | "master")) {
            let Some(id) = clone.get("id") else { continue };
            for primitive in clone.named("primitive").filter_map(|found| found.get("id")) {
                orders.clones.insert(primitive, id);
            }
        }
        for group in tree.named("group") {
            let members: Vec<&str> =
                group.named("primitive").filter_map(|found| found.get("id")).collect();
            // Of a cloned group the clone is ordered, as a whole.
            if let Some(id) = group.get("id")
                && !members.iter().any(|member| orders.clones.contains_key(member))
            {
                orders.chain(&members, &|first, then| Edge {
                    first,
                    then,
                    promotion: false,
                    symmetrical: true,
                });
                orders.groups.insert(id, members);
            }
        }
        for order in tree.named("rsc_order").filter(|order| is_mandatory(order)) {
            orders.add(order);
        }
        orders
    }

    /// What the primitive is ordered as.
    fn whole(&self, id: &'a str) -> &'a str {
        self.clones.get(id).copied().unwrap_or(id)
    }

    fn chain(&mut self, ids: &[&'a str], edge: &dyn Fn(&'a str, &'a str) -> Edge<'a>) {
        self.edges.extend(ids.windows(2).map(|pair| edge(pair[0], pair[1])));
    }

    /// A group waits with its first member, and is waited for with its last.
    fn ends(&self, id: &'a str) -> (&'a str, &'a str) {
        match self.groups.get(id).map(Vec::as_slice) {
            Some([first, .., last]) => (first, last),
            Some([only]) => (only, only),
            _ => (self.whole(id), self.whole(id)),
        }
    }

    fn add(&mut self, order: &'a Element) {
        let symmetrical = order.get("symmetrical") != Some("false");
        if let (Some(first), Some(then)) = (order.get("first"), order.get("then")) {
            let promotion = order.get("first-action") == Some("promote");
            let (first, then) = (self.ends(first).1, self.ends(then).0);
            self.edges.push(Edge { first, then, promotion, symmetrical });
            return;
        }
        // Sets: each as a whole after the one before it.
        let mut before: Vec<(&'a str, bool)> = Vec::new();
        for set in order.children.iter().filter(|child| child.name == "resource_set") {
            let ids: Vec<&str> =
                set.named("resource_ref").filter_map(|found| found.get("id")).collect();
            let promotion = set.get("action") == Some("promote");
            let is_chain = set.get("sequential") != Some("false");
            let firsts = if is_chain { &ids[..ids.len().min(1)] } else { &ids[..] };
            for then in firsts {
                let then = self.ends(then).0;
                for (first, promotion) in &before {
                    self.edges.push(Edge { first, then, promotion: *promotion, symmetrical });
                }
            }
            if is_chain {
                for pair in ids.windows(2) {
                    let (first, then) = (self.ends(pair[0]).1, self.ends(pair[1]).0);
                    self.edges.push(Edge { first, then, promotion, symmetrical });
                }
            }
            let lasts = if is_chain { &ids[ids.len().saturating_sub(1)..] } else { &ids[..] };
            before = lasts.iter().map(|id| (self.ends(id).1, promotion)).collect();
        }
    }

    fn between(&self, promoted: &str, wanted: &str) -> Between {
        let there = |usable: &dyn Fn(&Edge<'_>) -> bool| {
            let mut seen = BTreeSet::from([promoted]);
            let mut waiting = vec![promoted];
            while let Some(at) = waiting.pop() {
                for edge in self.edges.iter().filter(|edge| edge.first == at && usable(edge)) {
                    if seen.insert(edge.then) {
                        waiting.push(edge.then);
                    }
                }
            }
            seen.contains(wanted)
        };
        let promotes = |edge: &Edge<'_>| edge.first != promoted || edge.promotion;
        if there(&|edge| promotes(edge) && edge.symmetrical) {
            Between::Ordered
        } else if there(&promotes) {
            Between::OneWay
        } else if there(&|_| true) {
            Between::StartOnly
        } else {
            Between::Nothing
        }
    }
}

/// Whether it holds also where it would be in the way.
fn is_mandatory(order: &Element) -> bool {
    match (order.get("kind"), order.get("score")) {
        (Some(kind), _) => kind == "Mandatory",
        (None, Some(score)) => score != "0",
        (None, None) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CIB: &str = include_str!("../../../tests/data/drbd/cib-2-nodes.xml");

    fn primitive(id: &str, agent: &str, param: &str, value: &str) -> String {
        format!(
            "<primitive id=\"{id}\" class=\"ocf\" provider=\"sturdy\" type=\"{agent}\">\
             <instance_attributes id=\"{id}-params\">\
             <nvpair id=\"{id}-{param}\" name=\"{param}\" value=\"{value}\"/>\
             </instance_attributes></primitive>"
        )
    }

    /// A group of an address and what lies on DRBD, under these constraints.
    fn said(constraints: &str) -> Vec<String> {
        let group = format!(
            "<group id=\"storage\">{}{}{}</group></resources>",
            primitive("p_vg", "LVM", "vgname", "vg"),
            primitive("p_fs", "Filesystem", "device", "/dev/vg/a"),
            primitive("p_other", "LVM", "vgname", "local"),
        );
        let text = CIB
            .replace("</resources>", &group)
            .replace("<constraints/>", &format!("<constraints>{constraints}</constraints>"));
        missing_in(
            &Cib::parse(&text).unwrap(),
            |one| one.promotes("r1"),
            |one| one.agent() == "LVM" && one.param("vgname") == "vg",
        )
    }

    #[test]
    fn an_order_after_the_promotion_is_what_is_wanted() {
        for fine in [
            "<rsc_order id=\"o\" first=\"ms_r1\" first-action=\"promote\" then=\"storage\" then-action=\"start\"/>",
            "<rsc_order id=\"o\" kind=\"Mandatory\" first=\"ms_r1\" first-action=\"promote\" then=\"p_vg\"/>",
            "<rsc_order id=\"o\" score=\"INFINITY\" first=\"p_r1\" first-action=\"promote\" then=\"p_vg\"/>",
            "<rsc_order id=\"o\"><resource_set id=\"a\" action=\"promote\"><resource_ref id=\"ms_r1\"/>\
             </resource_set><resource_set id=\"b\"><resource_ref id=\"storage\"/></resource_set></rsc_order>",
        ] {
            assert_eq!(said(fine), Vec::<String>::new(), "{fine}");
        }
    }

    #[test]
    fn an_order_by_way_of_another_resource_counts() {
        let by_way = "<rsc_order id=\"o\" first=\"ms_r1\" first-action=\"promote\" then=\"x\"/>\
                      <rsc_order id=\"p\" first=\"x\" then=\"storage\"/>";
        assert!(said(by_way).is_empty());
    }

    #[test]
    fn what_is_missing_is_said_with_the_command_that_helps() {
        let told = |constraints: &str| said(constraints).join("\n");
        let wanted = "order p_vg-after-ms_r1 Mandatory: ms_r1:promote p_vg:start";
        let none = told("");
        assert!(none.contains("no order") && none.contains(wanted), "{none}");
        let start = told("<rsc_order id=\"o\" first=\"ms_r1\" then=\"storage\"/>");
        assert!(start.contains("after the start of ms_r1") && start.contains(wanted), "{start}");
        let one_way = told(
            "<rsc_order id=\"o\" symmetrical=\"false\" first=\"ms_r1\" first-action=\"promote\" then=\"storage\"/>",
        );
        assert!(one_way.contains("not symmetrical"), "{one_way}");
        let weak = told(
            "<rsc_order id=\"o\" kind=\"Optional\" first=\"ms_r1\" first-action=\"promote\" then=\"storage\"/>",
        );
        assert!(weak.contains("no order"), "{weak}");
        // The group's second member waits for its first, not the other way round.
        let late =
            told("<rsc_order id=\"o\" first=\"ms_r1\" first-action=\"promote\" then=\"p_fs\"/>");
        assert!(late.contains("no order"), "{late}");
    }

    #[test]
    fn a_cluster_that_does_not_promote_it_has_nothing_to_say() {
        let cib = Cib::parse(CIB).unwrap();
        assert!(missing_in(&cib, |one| one.promotes("r2"), |_| true).is_empty());
    }
}
