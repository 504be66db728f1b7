//! A scenario as a story to look at: the nodes and the writers as lanes, the
//! agents' calls as bars.

use super::journal::{Call, Journal};
use super::machine::NODES;
use super::play::Outcome;
use super::scenario::Scenario;
use super::setting::Setting;
use std::time::Duration;
use story::ledger::longest_silence;
use story::timeline::{Action, Band, Chapter, Fact, Hue, Kind, Lane, Mark, Story, grouped, human};

/// The figures that are reported and decide nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// The longest time without an acknowledgement.
    pub gap: Duration,
    /// The part of it in which an agent was at work: see [`Setting::workers`].
    pub agents: Duration,
    /// Acknowledgements during the scenario.
    pub records: usize,
}

/// Measures a scenario.
pub fn measure(setting: &Setting, journal: &Journal, outcome: &Outcome) -> Figures {
    let (from, to) = outcome.window;
    let acks = journal.acks(&setting.article.writers());
    let gap = longest_silence(&acks, from, to).unwrap_or((from, to));
    let calls = journal.calls(from);
    let agents = setting.workers();
    let mut spans: Vec<(Duration, Duration)> = calls
        .iter()
        .filter(|call| agents.contains(&&*short(&call.what)) && call.action != "monitor")
        .map(|call| (call.from.max(gap.0), call.to.unwrap_or(call.from).min(gap.1)))
        .filter(|(begin, end)| begin < end)
        .collect();
    spans.sort_unstable();
    let (mut agents, mut reached) = (Duration::ZERO, Duration::ZERO);
    for (begin, end) in spans {
        let begin = begin.max(reached);
        agents += end.saturating_sub(begin);
        reached = reached.max(end);
    }
    let records = acks.iter().filter(|ack| (from..=to).contains(&ack.at)).count();
    Figures { gap: gap.1 - gap.0, agents, records }
}

/// Draws a scenario.
pub fn tell(
    setting: &Setting,
    scenario: &Scenario,
    journal: &Journal,
    outcome: &Outcome,
    figures: &Figures,
) -> Story {
    let (begin, end) = outcome.window;
    let since = |at: Duration| at.saturating_sub(begin).min(end - begin);
    let calls: Vec<Call> =
        journal.calls(begin).into_iter().filter(|call| call.action != "monitor").collect();
    let actions: Vec<Action> = calls.iter().map(|call| action(call, end, &since)).collect();
    let marks: Vec<Mark> = outcome
        .marks
        .iter()
        .map(|(at, label, grave)| Mark { at: since(*at), label: label.clone(), grave: *grave })
        .collect();
    let mut lanes: Vec<Lane> =
        (0..2).map(|node| node_lane(node, journal, outcome, &since)).collect();
    let mut writers = setting.article.writers();
    writers.extend(setting.article.domain.map(|domain| domain.name));
    lanes.extend(writers.iter().map(|writer| writer_lane(writer, journal, outcome, &since)));
    let verdict = outcome.broken.first().cloned().unwrap_or_else(|| outcome.verdict.clone());
    Story {
        title: format!("{}: {}", setting.name(), scenario.name),
        subject: scenario.about.clone(),
        length: end - begin,
        lanes,
        chapters: chapters(&marks, &actions, end - begin),
        actions,
        marks,
        facts: vec![
            fact(human(figures.gap), "the longest time without an acknowledgement"),
            fact(human(figures.agents), "of it an agent was at work"),
            fact(grouped(figures.records as u64), "records acknowledged meanwhile"),
        ],
        notes: Vec::new(),
        verdict: (outcome.broken.is_empty(), verdict),
    }
}

fn fact(value: String, name: &str) -> Fact {
    Fact { value, name: name.into() }
}

fn action(call: &Call, end: Duration, since: &impl Fn(Duration) -> Duration) -> Action {
    let answer = match (call.killed, call.code) {
        (true, _) => "killed".to_owned(),
        (_, Some(code)) => format!("exit {code}"),
        (_, None) => "cut off".to_owned(),
    };
    // An exit code of status is an answer, not a failure.
    let succeeded = !call.killed && (call.code == Some(0) || call.action == "status");
    Action {
        lane: call.node,
        what: short(&call.what),
        verb: call.action.clone(),
        from: since(call.from),
        to: since(call.to.unwrap_or(call.from + Duration::from_millis(1)).min(end)),
        answer,
        succeeded,
    }
}

/// `Filesystem` of `Filesystem::/dev/drbd0::/srv/data` or `Filesystem(fs)`.
pub fn short(what: &str) -> String {
    what.split([':', '(']).next().unwrap_or(what).to_owned()
}

fn node_lane(
    node: usize,
    journal: &Journal,
    outcome: &Outcome,
    since: &impl Fn(Duration) -> Duration,
) -> Lane {
    let (begin, end) = outcome.window;
    let mut bands: Vec<Band> = Vec::new();
    for look in journal.looks(begin).iter().filter(|look| look.at <= end) {
        let state = &look.nodes[node];
        let kind = match () {
            () if !state.up => Kind::Off,
            () if state.active() => Kind::Holds,
            () if state.idle() => Kind::Up,
            () => Kind::Moving,
        };
        let at = since(look.at);
        match bands.last_mut() {
            Some(band) if band.kind == kind => band.to = at,
            last => {
                let from = last.map_or(Duration::ZERO, |band| {
                    band.to = at;
                    at
                });
                bands.push(Band { from, to: at, kind, label: String::new() });
            }
        }
    }
    if let Some(band) = bands.last_mut() {
        band.to = end - begin;
    }
    let hue = [Hue::Blue, Hue::Amber][node];
    Lane { name: NODES[node].into(), about: "node".into(), hue, bands, ..Lane::default() }
}

fn writer_lane(
    writer: &str,
    journal: &Journal,
    outcome: &Outcome,
    since: &impl Fn(Duration) -> Duration,
) -> Lane {
    let (begin, end) = outcome.window;
    let acks = journal.acks_of(writer);
    let pulse: Vec<Duration> = acks
        .iter()
        .filter(|ack| (begin..=end).contains(&ack.at))
        .map(|ack| since(ack.at))
        .collect();
    let silence = longest_silence(&acks, begin, end).map(|(from, to)| Band {
        from: since(from),
        to: since(to),
        kind: Kind::Silence,
        label: human(to - from),
    });
    Lane {
        name: if writer == "client" { writer.into() } else { format!("{writer} acks") },
        about: "acknowledged".into(),
        hue: Hue::Green,
        bands: silence.into_iter().collect(),
        pulse,
        ..Lane::default()
    }
}

/// A window around each deed that agents answered to.
fn chapters(marks: &[Mark], actions: &[Action], length: Duration) -> Vec<Chapter> {
    let mut chapters = Vec::new();
    for (index, mark) in marks.iter().enumerate() {
        let until = marks.get(index + 1).map_or(length, |next| next.at);
        let within: Vec<&Action> =
            actions.iter().filter(|action| (mark.at..until).contains(&action.from)).collect();
        let (Some(first), Some(last)) = (
            within.iter().map(|action| action.from).min(),
            within.iter().map(|action| action.to).max(),
        ) else {
            continue;
        };
        let margin = (last - first) / 20 + Duration::from_millis(5);
        chapters.push(Chapter {
            title: mark.label.clone(),
            about: format!("the agents' calls, {} after it", human(first - mark.at)),
            from: first.saturating_sub(margin),
            to: (last + margin).min(length),
        });
    }
    chapters
}
