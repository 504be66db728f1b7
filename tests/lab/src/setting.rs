//! A setting: an article's group of resources under an engine, with stock
//! agents or ours.

use super::article::{Article, Group, Service, Word};

/// What runs the resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// heartbeat 3 with a haresources file.
    Heartbeat,
    /// corosync and Pacemaker 2.1.
    Pacemaker,
}

/// Whose resource agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agents {
    /// Debian's shell agents, the yardstick.
    Stock,
    /// Ours.
    Sturdy,
}

/// Who takes the places of the NFS server's init scripts under Pacemaker.
const EXPORT_AGENTS: [&str; 2] = ["nfsserver", "exportfs"];

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The engine.
    pub engine: Engine,
    /// The resources.
    pub article: &'static Article,
    /// The agents.
    pub agents: Agents,
}

impl Engine {
    /// Its name in a terminal.
    pub fn name(self) -> &'static str {
        match self {
            Engine::Heartbeat => "heartbeat",
            Engine::Pacemaker => "pacemaker",
        }
    }
}

impl Agents {
    /// Their name in a terminal.
    pub fn name(self) -> &'static str {
        match self {
            Agents::Stock => "stock",
            Agents::Sturdy => "sturdy",
        }
    }
}

impl Setting {
    /// Such as `heartbeat/nfs/sturdy`.
    pub fn name(&self) -> String {
        format!("{}/{}/{}", self.engine.name(), self.article.name, self.agents.name())
    }

    /// The promotable agents bring their own resource up.
    pub fn drbd_at_boot(&self) -> bool {
        self.is_heartbeat()
    }

    /// Whether there are such agents: Debian has no init script `lvm2`,
    /// `iscsitarget` or `vblade` any more, which the articles call, and never had
    /// `xenHA`, which heartbeat calls, or anything like DomainGroup; and our handler
    /// is Pacemaker's.
    pub fn exists(&self) -> bool {
        match self.article.service {
            Service::Guest => return self.is_heartbeat() && self.agents == Agents::Sturdy,
            Service::Domains(_) => return self.agents == Agents::Sturdy,
            _ => {}
        }
        if self.article.has_handler() {
            return self.engine == Engine::Pacemaker && self.agents == Agents::Sturdy;
        }
        let is_stock = self.agents == Agents::Stock;
        let has_lvm2 = self.article.group.as_ref().is_some_and(|group| group.agent == "lvm2");
        !(is_stock && (self.article.service.is_disk() || has_lvm2 && self.is_heartbeat()))
    }

    fn is_heartbeat(&self) -> bool {
        self.engine == Engine::Heartbeat
    }

    /// Whether the group goes back to its own node as soon as that is there.
    pub fn moves_back(&self) -> bool {
        self.is_heartbeat() && self.article.moves_back()
    }

    /// The agents under test from left to right, as the recorder names them;
    /// what the group serves comes after them.
    pub fn group(&self) -> Vec<&'static str> {
        let article = self.article;
        let disk = match self.engine {
            Engine::Pacemaker => "drbd",
            Engine::Heartbeat => "drbddisk",
        };
        let volumes = article.group.as_ref().map(|group| self.volume_agent(group));
        let files = (!article.mounts.is_empty()).then_some("Filesystem");
        let mut group: Vec<_> = [disk].into_iter().chain(volumes).chain(files).collect();
        group.extend(article.domain.is_some().then_some("VirtualDomain"));
        if article.address.is_some() {
            let place = if article.address_first { 0 } else { group.len() };
            group.insert(place, self.address_agent());
        }
        group
    }

    /// Those of the service's words that are agents under test, as the recorder
    /// names them.
    pub fn serving(&self) -> Vec<&'static str> {
        let servers = self.servers().into_iter();
        servers.filter(|(_, origin)| *origin == Origin::Suite).map(|(name, _)| name).collect()
    }

    /// Whose calls count as work: all but the lab's own programs.
    pub fn workers(&self) -> Vec<&'static str> {
        let servers = self.servers().into_iter();
        let servers = servers.filter(|(_, origin)| *origin != Origin::Lab).map(|(name, _)| name);
        self.group().into_iter().chain(servers).collect()
    }

    /// Who serves, as the recorder names them, and whose program each is.
    pub fn servers(&self) -> Vec<(&'static str, Origin)> {
        if self.has_export_agents() {
            return EXPORT_AGENTS.map(|name| (name, Origin::Suite)).to_vec();
        }
        let words = self.article.service.words().iter();
        words.map(|word| (word.name, self.origin(word))).collect()
    }

    /// Whether each export is a resource of its own, as under Pacemaker.
    pub fn has_export_agents(&self) -> bool {
        let serves = matches!(self.article.service, Service::Nfs(_));
        serves && self.engine == Engine::Pacemaker && self.agents == Agents::Sturdy
    }

    /// Whether what the NFS server knows of its clients moves with the data.
    pub fn keeps_clients(&self) -> bool {
        self.has_export_agents()
    }

    /// Who has the address.
    pub fn address_agent(&self) -> &'static str {
        match (self.engine, self.agents) {
            (Engine::Pacemaker, Agents::Stock) => "IPaddr2",
            _ => "IPaddr",
        }
    }

    /// Who activates the volume group.
    pub fn volume_agent(&self, group: &Group) -> &'static str {
        match (self.engine, self.agents) {
            (Engine::Heartbeat, _) => group.agent,
            (Engine::Pacemaker, Agents::Stock) => "LVM-activate",
            (Engine::Pacemaker, Agents::Sturdy) => "LVM",
        }
    }

    /// The provider of an agent under Pacemaker.
    pub fn provider(&self, agent: &str) -> &'static str {
        match (self.agents, agent) {
            (Agents::Sturdy, _) => "sturdy",
            (Agents::Stock, "drbd") => "linbit",
            (Agents::Stock, _) => "heartbeat",
        }
    }

    /// Whose program a word of the service is.
    pub fn origin(&self, word: &Word) -> Origin {
        let is_ours = agents::ALL.iter().any(|meta| meta.name == word.name);
        match self.agents {
            Agents::Sturdy if is_ours => Origin::Suite,
            _ if word.stand_in => Origin::Lab,
            _ => Origin::Distribution,
        }
    }

    /// What Pacemaker calls it.
    pub fn class(&self, word: &Word) -> String {
        let class = match self.origin(word) {
            Origin::Suite => "ocf:sturdy",
            Origin::Lab => "ocf:lab",
            Origin::Distribution => "lsb",
        };
        format!("{class}:{}", word.name)
    }
}

/// Whose program a word of a service stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// An agent of ours.
    Suite,
    /// A program of the lab's.
    Lab,
    /// An init script of the distribution's.
    Distribution,
}
