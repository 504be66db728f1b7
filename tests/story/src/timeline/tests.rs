//! What is drawn must say what happened, at any width.

use super::*;

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn story() -> Story {
    let action = |lane, what: &str, verb: &str, from, to| Action {
        lane,
        what: what.into(),
        verb: verb.into(),
        from: ms(from),
        to: ms(to),
        answer: "exit 1".into(),
        succeeded: verb != "stop",
    };
    let lane = |name: &str, hue, bands| Lane {
        name: name.into(),
        about: "a lane".into(),
        hue,
        bands,
        ticks: vec![Tick {
            at: ms(1520),
            hue: Hue::Blue,
            label: "reply".into(),
            about: "<tell>".into(),
        }],
        pulse: (0..100).map(|count| ms(count * 10)).collect(),
    };
    let band = |kind, from, to| Band { from: ms(from), to: ms(to), kind, label: "a & b".into() };
    Story {
        title: "a failover".into(),
        subject: "node1 IPaddr::10.10.0.10/24/eth0".into(),
        length: ms(4000),
        lanes: vec![
            lane("node1", Hue::Blue, vec![band(Kind::Holds, 0, 1000), band(Kind::Off, 1000, 4000)]),
            lane("client", Hue::Green, vec![band(Kind::Silence, 1000, 1600)]),
        ],
        actions: vec![
            action(0, "IPaddr", "status", 1500, 1501),
            action(0, "IPaddr", "start", 1501, 1520),
            action(0, "Filesystem", "stop", 1520, 1560),
        ],
        marks: vec![Mark { at: ms(1000), label: "power loss".into(), grave: true }],
        chapters: vec![Chapter {
            title: "node1 takes over".into(),
            about: "what is to be seen".into(),
            from: ms(1450),
            to: ms(1650),
        }],
        facts: vec![Fact { value: "600 ms".into(), name: "the client's outage".into() }],
        notes: vec!["a note".into()],
        verdict: (true, "all is well".into()),
    }
}

#[test]
fn the_terminal_shows_actions_silence_and_verdict_at_any_width() {
    for width in [20, 80, 300] {
        let text = story().terminal(width, false);
        assert!(text.contains("status 1.0 ms, start 19 ms"), "{text}");
        assert!(text.contains("stop 40 ms (exit 1)"), "{text}");
        assert!(text.contains('×') && text.contains('█') && text.contains('▲'), "{text}");
        assert!(text.contains("↑ 1.00 s power loss"), "{text}");
        assert!(text.contains("✔ all is well"), "{text}");
        assert!(!text.contains('\x1b'), "no colour was asked for");
    }
    assert!(story().terminal(80, true).contains("\x1b["));
}

#[test]
fn the_drawing_is_well_formed_and_escapes_what_it_is_given() {
    let svg = story().svg();
    assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
    assert!(svg.contains("a &amp; b") && svg.contains("reply &lt;tell&gt;"));
    assert!(svg.contains("status 1.0 ms  ·  start 19 ms"));
    assert!(svg.contains("no acknowledgement for 600 ms"));
    assert!(!svg.contains("NaN") && !svg.contains("inf"));
}

#[test]
fn an_empty_story_can_be_drawn() {
    assert!(!Story::default().svg().contains("NaN"));
    assert!(Story::default().terminal(80, false).contains('✘'));
}

#[test]
fn scales_have_round_steps() {
    let ends = |length, most| scale(Duration::from_secs_f64(length), most);
    assert_eq!(ends(10.0, 10), (0..=10).map(Duration::from_secs).collect::<Vec<_>>());
    assert_eq!(ends(23.0, 12).last(), Some(&Duration::from_secs(22)));
    assert_eq!(ends(0.13, 12)[1], ms(20));
}

#[test]
fn durations_and_numbers_read_well() {
    let texts = [ms(0), Duration::from_micros(1940), ms(43), ms(999), ms(1310)].map(human);
    assert_eq!(texts, ["0.0 ms", "1.9 ms", "43 ms", "999 ms", "1.31 s"]);
    assert_eq!([7, 1234, 1_234_567].map(grouped), ["7", "1,234", "1,234,567"]);
}
