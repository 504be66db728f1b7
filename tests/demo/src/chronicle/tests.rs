//! The verdict and the figures must follow from what the client saw.

use super::*;
use crate::{haresources, plan};

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A story from 1 s to 11 s: power lost at 4 s, noticed at 5 s, handed over
/// at 8 s.
fn chronicle() -> Chronicle {
    let text = "node1.example.org 10.0.0.1/24 Filesystem::/dev/d::/srv::ext4";
    let line = haresources::parse(text).unwrap();
    let mut chronicle = Chronicle::new(&line, &plan::plan(&line).unwrap());
    chronicle.begin(ms(1000));
    chronicle.power_loss(ms(4000));
    chronicle.declared_dead(ms(5000));
    chronicle.handover(ms(8000));
    chronicle.end(ms(11_000));
    chronicle.states = vec![(1, ms(8050), Kind::Up)];
    chronicle.chapters = vec![(ms(1000), ms(1100)), (ms(5000), ms(5100)), (ms(8000), ms(8100))];
    chronicle
}

/// An acknowledgement every 10 ms, but none within these windows.
fn acks(silences: &[(u64, u64)]) -> Vec<Ack> {
    let heard = |at: &u64| !silences.iter().any(|(from, to)| (from..to).contains(&at));
    let times = (1100..11_000).step_by(10).filter(heard);
    times.zip(1..).map(|(at, number)| Ack { number, at: ms(at) }).collect()
}

fn whole(acks: &[Ack]) -> Verdict {
    let count = acks.len() as u64;
    Verdict { acknowledged: count, on_disk: count, ..Verdict::default() }
}

#[test]
fn outages_are_measured_from_acknowledgement_to_acknowledgement() {
    let acks = acks(&[(4000, 5200), (8010, 8300)]);
    let story = chronicle().story(&acks, Vec::new(), &whole(&acks));
    assert!(story.verdict.0, "{}", story.verdict.1);
    let values: Vec<&str> = story.facts.iter().map(|fact| fact.value.as_str()).collect();
    assert_eq!(values[0], "1.21 s");
    assert_eq!(values[1], "1.00 s");
    assert_eq!(values[3], "300 ms");
    assert_eq!(story.length, ms(10_000));
    assert_eq!(story.lanes[0].name, "node1");
    assert_eq!(story.lanes[2].bands[0].from, ms(2990));
    assert!(story.chapters.iter().all(|chapter| chapter.to <= story.length));
}

#[test]
fn a_client_that_never_returns_breaks_the_verdict() {
    for (silent, when) in [((4000, 11_000), "takeover"), ((8000, 11_000), "handover")] {
        let acks = acks(&[silent]);
        let story = chronicle().story(&acks, Vec::new(), &whole(&acks));
        assert!(!story.verdict.0);
        assert!(story.verdict.1.contains(when), "{}", story.verdict.1);
        assert!(story.facts.iter().any(|fact| fact.value == "no end"));
    }
}

#[test]
fn a_lost_record_breaks_the_verdict_and_is_what_it_says() {
    let acks = acks(&[(4000, 8000)]);
    let lost = Verdict { missing: vec![7], ..whole(&acks) };
    let (kept, sentence) = chronicle().story(&acks, Vec::new(), &lost).verdict;
    assert!(!kept && sentence.contains("lost [7]"), "{sentence}");
}

#[test]
fn frames_have_their_senders_colour() {
    let frame = |machine| Frame {
        at: ms(5050),
        address: "10.0.0.1".parse().unwrap(),
        mac: network::mac(machine, 0),
        form: "request".into(),
    };
    let acks = acks(&[]);
    let story = chronicle().story(&acks, vec![frame(0), frame(1), frame(2)], &whole(&acks));
    let hues: Vec<Hue> = story.lanes[3].ticks.iter().map(|tick| tick.hue).collect();
    assert_eq!(hues, [HUES[0], HUES[1], Hue::Violet]);
    assert_eq!(story.lanes[3].ticks[0].about, "at 02:00:00:00:00:01");
}
