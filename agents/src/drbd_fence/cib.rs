//! What the cluster's configuration and status say of a DRBD resource: which
//! clone it is in, who lives, and what bars it from whom.

use anyhow::{Context, Result, anyhow, bail, ensure};
use common::host::xml::{self, Element};
use common::{System, View};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long one change of the cluster's configuration may take.
pub const CHANGE: Duration = Duration::from_secs(20);

/// What the cluster thinks of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// A member, and reachable.
    Online,
    /// Gone, and known to be down: it left cleanly or was fenced.
    Down,
    /// Gone, and may still be writing.
    Unclean,
    /// The cluster has nothing on it.
    Unknown,
}

/// The cluster's configuration and status, at one moment.
#[derive(Debug)]
pub struct Cib(Element);

/// A constraint that lets nobody but one node be promoted, and those whose data
/// are as good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Constraint {
    /// Its id in the configuration.
    pub id: String,
    /// The clone.
    pub clone: String,
    /// The DRBD resource, for the ids of its parts.
    pub resource: String,
    /// The node that has placed it, and may be promoted.
    pub owner: String,
    /// The others that may.
    pub spared: BTreeSet<String>,
}

impl Constraint {
    /// Whom it is for, in words; of none too.
    pub fn described(constraint: Option<&Self>) -> String {
        let Some(constraint) = constraint else { return "none".into() };
        let others: String = constraint.spared.iter().map(|node| format!(" {node}")).collect();
        format!("for {}{others}", constraint.owner)
    }

    /// Whose id is made of a prefix, the resource and the clone.
    pub fn new(prefix: &str, resource: &str, clone: &str, owner: &str) -> Self {
        let id = format!("{prefix}-{resource}-{clone}");
        let [clone, resource, owner] = [clone, resource, owner].map(str::to_owned);
        Self { id, clone, resource, owner, spared: BTreeSet::new() }
    }

    /// As it stands in the configuration: whose it is, and whom it spares.
    pub fn found(&self, cib: &Cib) -> Option<Self> {
        let spared = cib.allowed(&self.id);
        let owner = cib.owner(&self.id)?.to_owned();
        let spared = spared.into_iter().filter(|node| *node != owner).map(str::to_owned).collect();
        Some(Self { owner, spared, ..self.clone() })
    }

    /// Whether it lets the node be promoted.
    pub fn allows(&self, node: &str) -> bool {
        self.owner == node || self.spared.contains(node)
    }

    /// The same, without whom another one bars: what a node was barred for,
    /// only whoever has barred it can know to be over.
    pub fn within(&self, other: &Self) -> Self {
        let mut narrower = self.clone();
        narrower.spared.retain(|node| other.allows(node));
        narrower
    }

    fn xml(&self, role: &str) -> String {
        let [id, clone] = [&self.id, &self.clone].map(|text| xml::escaped(text));
        let expression = |node: &str, id: String| {
            let node = xml::escaped(node);
            format!(
                "<expression attribute=\"#uname\" operation=\"ne\" value=\"{node}\" id=\"{id}\"/>"
            )
        };
        let owner = expression(&self.owner, format!("{id}-expr"));
        let spared = self.spared.iter().enumerate();
        let spared: String =
            spared.map(|(n, node)| expression(node, format!("{id}-expr-{n}"))).collect();
        format!(
            "<rsc_location rsc=\"{clone}\" id=\"{id}\">\
             <rule role=\"{role}\" score=\"-INFINITY\" id=\"{id}-rule\">{owner}{spared}\
             </rule></rsc_location>"
        )
    }

    /// Puts it into the configuration. One of the same id is in the way.
    pub fn place(&self, system: &System<'_>, role: &str, limit: Duration) -> Result<()> {
        let xml = self.xml(role);
        let words = ["--create", "--scope", "constraints", "--xml-text", &xml];
        change(system, &format!("place the constraint {}", self.id), &words, limit)
    }

    /// Puts it into the place of the one that was `seen`; one that has changed
    /// since is left, with an error. The cluster decides in which order two
    /// nodes that do so at once come.
    pub fn replace(
        &self,
        seen: &Self,
        system: &System<'_>,
        role: &str,
        limit: Duration,
    ) -> Result<()> {
        let (xml, path) = (self.xml(role), seen.path()?);
        let words = ["--replace", "--xpath", &path, "--xml-text", &xml];
        change(system, &format!("replace the constraint {}", self.id), &words, limit)
    }

    /// Takes it out of the configuration, as it was seen; one that has changed
    /// since is left, with an error.
    pub fn lift(&self, system: &System<'_>, limit: Duration) -> Result<()> {
        let path = self.path()?;
        let what = format!("lift the constraint {}", self.id);
        change(system, &what, &["--delete", "--xpath", &path], limit)?;
        match self.found(&Cib::query(system)?) {
            None => Ok(()),
            Some(now) => bail!("cannot {what}: it is now {}'s, or of other nodes", now.owner),
        }
    }

    /// An XPath expression that finds the constraint with just these nodes.
    fn path(&self) -> Result<String> {
        const OURS: &str = "@attribute='#uname' and @operation='ne'";
        let nodes = || std::iter::once(&self.owner).chain(&self.spared);
        let mut path = format!(
            "//rsc_location[@id={}][count(.//expression[{OURS}])={}]",
            literal(&self.id)?,
            nodes().count()
        );
        for node in nodes() {
            path += &format!("[.//expression[{OURS} and @value={}]]", literal(node)?);
        }
        Ok(path)
    }
}

/// A text as XPath quotes it, which has no way to quote both marks.
fn literal(text: &str) -> Result<String> {
    let mark = ['\'', '"'].into_iter().find(|mark| !text.contains(*mark));
    let mark = mark.with_context(|| format!("a name has both quotation marks: {text}"))?;
    Ok(format!("{mark}{text}{mark}"))
}

fn change(system: &System<'_>, what: &str, words: &[&str], limit: Duration) -> Result<()> {
    let said = system.change_within(limit, &[], "cibadmin", words)?;
    ensure!(said.success(), "cannot {what}: {}", said.reason());
    Ok(())
}

impl Cib {
    /// Asks the cluster.
    pub fn query(view: &View) -> Result<Self> {
        let said = view.query("cibadmin", &["--query"])?;
        ensure!(said.success(), "the cluster does not answer: {}", said.reason());
        Self::parse(&said.stdout)
    }

    /// Reads what it answers.
    pub fn parse(text: &str) -> Result<Self> {
        let tree = xml::parse(text).context("cannot read the cluster's configuration")?;
        ensure!(tree.name == "cib", "the cluster's configuration is a `{}`", tree.name);
        Ok(Self(tree))
    }

    /// All of it.
    pub fn tree(&self) -> &Element {
        &self.0
    }

    /// Whether enough nodes are together to decide anything.
    pub fn has_quorum(&self) -> bool {
        self.0.get("have-quorum") == Some("1")
    }

    /// What the cluster calls the promoted role: the newer word since its
    /// configuration is of version 4.
    pub fn promoted(&self) -> &'static str {
        let version = self.0.get("validate-with").and_then(|name| name.strip_prefix("pacemaker-"));
        let major = version.and_then(|version| version.split('.').next()?.parse::<u32>().ok());
        if major.is_some_and(|major| major >= 4) { "Promoted" } else { "Master" }
    }

    /// Whether the cluster fences at all.
    pub fn fences(&self) -> bool {
        let option =
            self.0.named("nvpair").find(|pair| pair.get("name") == Some("stonith-enabled"));
        !option.is_some_and(|pair| matches!(pair.get("value"), Some("false" | "0" | "no" | "off")))
    }

    /// The clone with a primitive for this DRBD resource; of several, the one of
    /// this id.
    pub fn clone_of(&self, resource: &str, id: Option<&str>) -> Option<&str> {
        let is_ours = |primitive: &Element| {
            primitive.named("nvpair").any(|pair| {
                pair.get("name") == Some("drbd_resource") && pair.get("value") == Some(resource)
            })
        };
        let clones = self.0.all().filter(|found| matches!(&*found.name, "clone" | "master"));
        let ours = clones.filter(|clone| clone.named("primitive").any(is_ours));
        let mut ids = ours.filter_map(|clone| clone.get("id"));
        ids.find(|found| id.is_none_or(|id| id == *found))
    }

    /// The node that has placed the constraint of this id, if there is one.
    pub fn owner(&self, id: &str) -> Option<&str> {
        let own = format!("{id}-expr");
        let all = self.expressions(id);
        let by_id = all.iter().find(|found| found.get("id") == Some(&own));
        // Of those that others than we have placed, the first is the owner's.
        by_id.or_else(|| all.first())?.get("value")
    }

    /// The nodes that the constraint of this id lets be promoted.
    fn allowed(&self, id: &str) -> Vec<&str> {
        self.expressions(id).into_iter().filter_map(|found| found.get("value")).collect()
    }

    fn expressions(&self, id: &str) -> Vec<&Element> {
        let found = self.0.named("rsc_location").find(|found| found.get("id") == Some(id));
        let is_ours = |found: &&Element| {
            found.get("attribute") == Some("#uname") && found.get("operation") == Some("ne")
        };
        found.into_iter().flat_map(|found| found.named("expression")).filter(is_ours).collect()
    }

    /// The nodes of the cluster.
    pub fn nodes(&self) -> Vec<&str> {
        self.0.named("node").filter_map(|node| node.get("uname")).collect()
    }

    /// The node of the cluster that a name stands for: the same, or the one whose
    /// name is equal up to the first dot. DRBD and the cluster need not agree on
    /// whether a host's name has its domain.
    pub fn node(&self, name: &str) -> Option<&str> {
        let short = |name: &str| name.split('.').next().unwrap_or_default().to_ascii_lowercase();
        let nodes = self.nodes();
        if let Some(same) = nodes.iter().find(|node| **node == name) {
            return Some(same);
        }
        let mut alike = nodes.into_iter().filter(|node| short(node) == short(name));
        alike.next().filter(|_| alike.next().is_none())
    }

    /// That a name stands for none of the cluster's nodes, or for several.
    pub fn lacks(&self, whom: &str, name: &str) -> anyhow::Error {
        let named = if name.is_empty() { String::new() } else { format!(", {name},") };
        let nodes = self.nodes().join(" ");
        anyhow!("cannot tell which of the cluster's nodes ({nodes}) {whom}{named} is")
    }

    /// How long one change of the cluster's configuration may take.
    pub const CHANGE: Duration = Duration::from_secs(20);

    /// What the cluster thinks of a node.
    pub fn health(&self, node: &str) -> Health {
        let Some(state) = self.0.named("node_state").find(|state| state.get("uname") == Some(node))
        else {
            return Health::Unknown;
        };
        // Since 2.1.7 these are times of joining, 0 for not at all.
        let is = |name: &str| !matches!(state.get(name), None | Some("false" | "0"));
        let is_peer =
            matches!(state.get("crmd"), Some(value) if value != "offline" && value != "0");
        match (is("in_ccm") && is_peer, state.get("expected"), state.get("join")) {
            (true, Some("member"), Some("member")) => Health::Online,
            (true, ..) => Health::Unclean,
            (false, Some("down"), _) if !is("in_ccm") => Health::Down,
            (false, ..) => Health::Unclean,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CIB: &str = include_str!("../../../tests/data/drbd/cib-2-nodes.xml");

    fn changed(from: &str, to: &str) -> Cib {
        assert!(CIB.contains(from), "{from}");
        Cib::parse(&CIB.replace(from, to)).unwrap()
    }

    #[test]
    fn the_clone_of_a_resource_is_found() {
        let cib = Cib::parse(CIB).unwrap();
        assert_eq!(cib.clone_of("r1", None), Some("ms_r1"));
        assert_eq!(cib.clone_of("r1", Some("ms_r1")), Some("ms_r1"));
        assert_eq!((cib.clone_of("r1", Some("ms")), cib.clone_of("r2", None)), (None, None));
        assert!(cib.has_quorum() && cib.fences());
        assert_eq!(cib.promoted(), "Master");
        assert_eq!(cib.nodes(), ["node1", "node2"]);
    }

    #[test]
    fn a_name_stands_for_one_node_or_for_none() {
        let cib = Cib::parse(CIB).unwrap();
        for name in ["node1", "node1.example.org", "NODE1"] {
            assert_eq!(cib.node(name), Some("node1"), "{name}");
        }
        assert_eq!((cib.node("node"), cib.node("node3"), cib.node("")), (None, None, None));
        let cib = changed("uname=\"node2\"/>", "uname=\"node1.example.org\"/>");
        assert_eq!(cib.node("node1"), Some("node1"));
        assert_eq!(cib.node("node1.example.org"), Some("node1.example.org"));
        assert_eq!(cib.node("node1.example.net"), None, "it may be either");
    }

    #[test]
    fn a_path_has_all_nodes_of_a_constraint() {
        let mut constraint = Constraint::new("fence", "r1", "ms_r1", "node'1");
        constraint.spared.insert("node2".into());
        let ours = "@attribute='#uname' and @operation='ne'";
        let wanted = format!(
            "//rsc_location[@id='fence-r1-ms_r1'][count(.//expression[{ours}])=2]\
             [.//expression[{ours} and @value=\"node'1\"]][.//expression[{ours} and @value='node2']]"
        );
        assert_eq!(constraint.path().unwrap(), wanted);
        constraint.spared.insert("'\"".into());
        assert!(constraint.path().is_err());
    }

    #[test]
    fn a_node_is_online_down_or_unclean() {
        let cib = Cib::parse(CIB).unwrap();
        assert_eq!((cib.health("node1"), cib.health("node2")), (Health::Online, Health::Online));
        assert_eq!(cib.health("node3"), Health::Unknown);
        let online =
            "uname=\"node2\" in_ccm=\"true\" crmd=\"online\" join=\"member\" expected=\"member\"";
        let gone = |expected: &str| {
            let to = format!(
                "uname=\"node2\" in_ccm=\"false\" crmd=\"offline\" join=\"down\" expected=\"{expected}\""
            );
            changed(online, &to).health("node2")
        };
        assert_eq!((gone("down"), gone("member")), (Health::Down, Health::Unclean));
        let times = "uname=\"node2\" in_ccm=\"1700000000\" crmd=\"1700000001\" join=\"member\" expected=\"member\"";
        assert_eq!(changed(online, times).health("node2"), Health::Online);
        let zero = "uname=\"node2\" in_ccm=\"0\" crmd=\"0\" join=\"down\" expected=\"down\"";
        assert_eq!(changed(online, zero).health("node2"), Health::Down);
    }

    #[test]
    fn a_constraint_reads_as_it_is_written() {
        let constraint = Constraint::new("drbd-fence-by-handler", "r1", "ms_r1", "node1");
        assert_eq!(constraint.id, "drbd-fence-by-handler-r1-ms_r1");
        let with = format!("<constraints>{}</constraints>", constraint.xml("Master"));
        let cib = changed("<constraints/>", &with);
        assert_eq!(cib.owner(&constraint.id), Some("node1"));
        assert_eq!(cib.owner("drbd-fence-by-handler-r2-ms_r1"), None);
        assert_eq!(constraint.found(&cib), Some(constraint.clone()));
    }

    #[test]
    fn whoever_is_spared_is_told_apart_from_the_owner() {
        let mut constraint = Constraint::new("fence", "r1", "ms_r1", "node2");
        constraint.spared.extend(["node1".to_owned(), "node3".to_owned()]);
        let with = format!("<constraints>{}</constraints>", constraint.xml("Master"));
        let cib = changed("<constraints/>", &with);
        let found = Constraint::new("fence", "r1", "ms_r1", "node1").found(&cib).unwrap();
        assert_eq!(found, constraint);
        assert!(found.allows("node1") && found.allows("node2") && !found.allows("node4"));
        // As crm-fence-peer.sh names its parts.
        let theirs = with.replace("fence-r1-ms_r1-expr", "fence-expr-r1-ms_r1");
        let cib = changed("<constraints/>", &theirs);
        assert_eq!(cib.owner(&constraint.id), Some("node2"));
    }

    #[test]
    fn what_is_no_configuration_is_refused() {
        assert!(Cib::parse("").is_err() && Cib::parse("<html/>").is_err());
    }
}
