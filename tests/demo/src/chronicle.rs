//! What the stage notes while it plays, and the story that comes of it.

use super::haresources::Line;
use super::plan::Plan;
use super::words::Frame;
use super::{beat, network};
use std::fmt::Write;
use std::time::Duration;
use story::ledger::{Ack, Verdict, silence_around};
use story::timeline::{
    Action, Band, Chapter, Fact, Hue, Kind, Lane, Mark, Story, Tick, grouped, human, now,
};

const HUES: [Hue; 2] = [Hue::Blue, Hue::Amber];
/// What the stage does itself goes by this name among the actions.
pub const DISK: &str = "disk";
/// What is shown before a chapter's first action and after its last event.
const MARGIN: Duration = Duration::from_millis(12);

/// Everything noted so far; times count from the machine's boot.
#[derive(Debug)]
pub struct Chronicle {
    line: String,
    nodes: [String; 2],
    addresses: usize,
    begin: Duration,
    end: Duration,
    states: Vec<(usize, Duration, Kind)>,
    actions: Vec<Action>,
    marks: Vec<(Duration, String, bool)>,
    chapters: Vec<(Duration, Duration)>,
    power_loss: Duration,
    declared_dead: Duration,
    handover: Duration,
    log: String,
    /// The file systems that could not be shut down at the power loss.
    pub unstopped: Vec<String>,
}

impl Chronicle {
    /// An empty chronicle of a group.
    pub fn new(line: &Line, plan: &Plan) -> Chronicle {
        Chronicle {
            line: line.to_string(),
            nodes: plan.nodes.each_ref().map(|name| short(name)),
            addresses: plan.addresses.len(),
            begin: Duration::ZERO,
            end: Duration::ZERO,
            states: Vec::new(),
            actions: Vec::new(),
            marks: Vec::new(),
            chapters: Vec::new(),
            power_loss: Duration::ZERO,
            declared_dead: Duration::ZERO,
            handover: Duration::ZERO,
            log: String::new(),
            unstopped: Vec::new(),
        }
    }

    /// From here on times are told.
    pub fn begin(&mut self, at: Duration) {
        self.begin = at;
    }

    /// Here the story ends.
    pub fn end(&mut self, at: Duration) {
        self.end = at;
    }

    /// The time since the begin, once there was one.
    pub fn since_begin(&self, at: Duration) -> Option<Duration> {
        (self.begin > Duration::ZERO).then(|| at.saturating_sub(self.begin))
    }

    /// A node's state changes now.
    pub fn becomes(&mut self, lane: usize, kind: Kind) {
        self.states.push((lane, now(), kind));
    }

    /// An agent was called.
    pub fn acted(&mut self, action: Action, output: &str) {
        let took = human(action.to.saturating_sub(action.from));
        let Action { what, verb, answer, .. } = &action;
        let node = &self.nodes[action.lane];
        let _ = writeln!(self.log, "{node} {what} {verb}: {answer} after {took}\n{output}");
        self.actions.push(action);
    }

    /// All that the agents said.
    pub fn log(&self) -> &str {
        &self.log
    }

    /// Something that concerns everybody happens now.
    pub fn mark(&mut self, text: &str) {
        let text = format!("{} {text}", self.nodes[0]);
        self.marks.push((now(), text, false));
    }

    /// Node 1 lost its power.
    pub fn power_loss(&mut self, at: Duration) {
        self.power_loss = at;
        self.marks.push((at, format!("{} loses power", self.nodes[0]), true));
    }

    /// Node 2 gave node 1 up.
    pub fn declared_dead(&mut self, at: Duration) {
        self.declared_dead = at;
        self.marks.push((at, "declared dead".into(), false));
    }

    /// The handover begins.
    pub fn handover(&mut self, at: Duration) {
        self.handover = at;
        self.marks.push((at, "handover".into(), false));
    }

    /// A chapter begins now; returns its number.
    pub fn open_chapter(&mut self) -> usize {
        self.chapters.push((now(), now()));
        self.chapters.len() - 1
    }

    /// A chapter's actions are done.
    pub fn close_chapter(&mut self, number: usize) {
        self.chapters[number].1 = now();
    }

    /// The story, with what the client saw and what the disk held.
    pub fn story(&self, acks: &[Ack], frames: Vec<Frame>, verdict: &Verdict) -> Story {
        let crash = self.silence(acks, self.declared_dead);
        let handover = self.silence(acks, self.nobody_holds());
        Story {
            title: "A failover, and a clean way back".into(),
            subject: format!("{} ledger", self.line),
            length: self.rebased(self.end),
            lanes: self.lanes(acks, &frames, [crash, handover]),
            actions: self.told().map(|action| self.rebased_action(action)).collect(),
            marks: self.marks.iter().map(|mark| self.rebased_mark(mark)).collect(),
            chapters: self.chapters(acks, [crash, handover]),
            facts: self.facts(acks, &frames, [crash, handover]),
            notes: self.notes(),
            verdict: self.verdict(acks, verdict),
        }
    }

    /// When the resources were stopped for the handover.
    fn nobody_holds(&self) -> Duration {
        let given = |(lane, at, kind): &&(usize, Duration, Kind)| {
            *lane == 1 && *kind == Kind::Up && *at > self.handover
        };
        self.states.iter().find(given).map_or(self.handover, |state| state.1)
    }

    /// The client's wait around a moment; one without an end lasts to the
    /// story's.
    fn silence(&self, acks: &[Ack], moment: Duration) -> Option<(Duration, Duration)> {
        let (from, to) = silence_around(acks, moment)?;
        Some((from, to.unwrap_or(self.end)))
    }

    fn rebased(&self, at: Duration) -> Duration {
        at.clamp(self.begin, self.end).saturating_sub(self.begin)
    }

    /// The actions of the story, without the cleaning up behind it.
    fn told(&self) -> impl Iterator<Item = &Action> {
        self.actions.iter().filter(|action| action.from < self.end)
    }

    fn rebased_action(&self, action: &Action) -> Action {
        let (from, to) = (self.rebased(action.from), self.rebased(action.to));
        Action { from, to, ..action.clone() }
    }

    fn rebased_mark(&self, (at, label, grave): &(Duration, String, bool)) -> Mark {
        Mark { at: self.rebased(*at), label: label.clone(), grave: *grave }
    }

    fn lanes(
        &self,
        acks: &[Ack],
        frames: &[Frame],
        silences: [Option<(Duration, Duration)>; 2],
    ) -> Vec<Lane> {
        let mut lanes: Vec<Lane> = (0..2).map(|lane| self.node_lane(lane)).collect();
        let silent = |(from, to): (Duration, Duration)| Band {
            from: self.rebased(from),
            to: self.rebased(to),
            kind: Kind::Silence,
            label: human(to - from),
        };
        lanes.push(Lane {
            name: "client".into(),
            about: "acknowledgements".into(),
            hue: Hue::Green,
            bands: silences.into_iter().flatten().map(silent).collect(),
            pulse: acks.iter().map(|ack| self.rebased(ack.at)).collect(),
            ..Lane::default()
        });
        lanes.push(Lane {
            name: "wire".into(),
            about: "announcements".into(),
            hue: Hue::Slate,
            ticks: frames.iter().map(|frame| self.tick(frame)).collect(),
            ..Lane::default()
        });
        lanes
    }

    fn node_lane(&self, lane: usize) -> Lane {
        let own: Vec<_> = self.states.iter().filter(|state| state.0 == lane).collect();
        let ends = own.iter().skip(1).map(|state| state.1).chain([self.end]);
        let band = |((_, from, kind), to): (&&(usize, Duration, Kind), Duration)| Band {
            from: self.rebased(*from),
            to: self.rebased(to),
            kind: *kind,
            label: match kind {
                Kind::Holds => "holds the resources".into(),
                Kind::Off => "no power".into(),
                _ => String::new(),
            },
        };
        Lane {
            name: self.nodes[lane].clone(),
            about: ["the line's own node", "its partner"][lane].into(),
            hue: HUES[lane],
            bands: own.iter().zip(ends).map(band).filter(|band| band.from < band.to).collect(),
            ..Lane::default()
        }
    }

    fn tick(&self, frame: &Frame) -> Tick {
        let sender = (0..2).find(|node| (0..8).any(|nic| network::mac(*node, nic) == frame.mac));
        let mac = frame.mac.map(|byte| format!("{byte:02x}")).join(":");
        let address =
            if self.addresses > 1 { format!("{} ", frame.address) } else { String::new() };
        Tick {
            at: self.rebased(frame.at),
            hue: sender.map_or(Hue::Violet, |node| HUES[node]),
            label: frame.form.clone(),
            about: format!("{address}at {mac}"),
        }
    }

    fn chapters(&self, acks: &[Ack], silences: [Option<(Duration, Duration)>; 2]) -> Vec<Chapter> {
        let [one, two] = &self.nodes;
        let first = acks.first().map(|ack| ack.at);
        let heard = [first, silences[0].map(|it| it.1), silences[1].map(|it| it.1)];
        let texts = [
            (format!("{one} takes the resources"), "each word: status, then start".to_string()),
            (
                format!("{two} takes over"),
                format!(
                    "{} after the power loss; from here on it is the agents' work",
                    human(self.declared_dead.saturating_sub(self.power_loss))
                ),
            ),
            (
                format!("{two} hands over to {one}"),
                "stopped from right to left, started from left to right".into(),
            ),
        ];
        self.chapters
            .iter()
            .zip(heard)
            .zip(texts)
            .map(|(((from, to), heard), (title, about))| {
                let last = heard.map_or(*to, |heard| heard.max(*to));
                let margin = (last.saturating_sub(*from) / 8).max(MARGIN);
                let (from, to) = (self.rebased(*from - MARGIN), self.rebased(last + margin));
                Chapter { title, about, from, to }
            })
            .collect()
    }

    fn facts(
        &self,
        acks: &[Ack],
        frames: &[Frame],
        [crash, handover]: [Option<(Duration, Duration)>; 2],
    ) -> Vec<Fact> {
        let fact = |value: String, name: &str| Fact { value, name: name.into() };
        let lasted = |silence: Option<(Duration, Duration)>| match silence {
            Some((_, to)) if to == self.end => "no end".into(),
            Some((from, to)) => human(to - from),
            None => "none".into(),
        };
        let silence = self.declared_dead.saturating_sub(self.power_loss);
        let agents = self.chapters.get(1).map_or(Duration::ZERO, |chapter| self.busy(*chapter));
        let dead = human(beat::DEADTIME);
        vec![
            fact(lasted(crash), "the client's outage at the power loss"),
            fact(human(silence), &format!("of it until noticed (dead time: {dead})")),
            fact(human(agents), "of it in the agents of the group"),
            fact(lasted(handover), "the client's outage at the handover"),
            fact(grouped(acks.len() as u64), "records acknowledged"),
            fact(frames.len().to_string(), "announcements of the address heard"),
        ]
    }

    /// The time spent in actions of agents within a window.
    fn busy(&self, (from, to): (Duration, Duration)) -> Duration {
        let within = |action: &&Action| action.from >= from && action.to <= to;
        let agents = |action: &&Action| ![DISK, "ledger"].contains(&action.what.as_str());
        let ours = self.actions.iter().filter(within).filter(agents);
        ours.map(|action| action.to.saturating_sub(action.from)).sum()
    }

    fn notes(&self) -> Vec<String> {
        let mut caches = "At the power loss the file system is shut down without its journal \
                          being flushed: what only the node's caches held is lost, as on a real \
                          machine."
            .to_string();
        if !self.unstopped.is_empty() {
            let kinds = self.unstopped.join(", ");
            let _ = write!(caches, " Not so {kinds}, which knows no such shutdown.");
        }
        vec![
            "A disk image in memory stands where DRBD replicates a disk: it is attached to one node \
             at a time, and only once the kernel has let go of it on the other."
                .into(),
            caches,
            format!(
                "Nodes and client are namespaces of one kernel on a bridge. A heartbeat is sent \
                 every {}, and {} of silence mean death; published set-ups use 10 s and more.",
                human(beat::KEEPALIVE),
                human(beat::DEADTIME)
            ),
        ]
    }

    /// The promise, and that the story gave it a chance to be broken.
    fn verdict(&self, acks: &[Ack], verdict: &Verdict) -> (bool, String) {
        let parts = [
            (self.begin, self.power_loss, "before the power loss"),
            (self.declared_dead, self.handover, "after the takeover"),
            (self.handover, self.end, "after the handover"),
        ];
        let silent = parts
            .iter()
            .find(|(from, to, _)| !acks.iter().any(|ack| (*from..*to).contains(&ack.at)));
        match silent {
            Some((.., when)) if verdict.holds() => {
                (false, format!("no record was acknowledged {when}"))
            }
            _ => (verdict.holds(), verdict.sentence()),
        }
    }
}

/// A node's name as far as it tells it from the other.
fn short(name: &str) -> String {
    name.split('.').next().unwrap_or_default().chars().take(16).collect()
}

#[cfg(test)]
mod tests;
