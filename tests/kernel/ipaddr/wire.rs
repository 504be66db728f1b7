//! What the neighbour hears.

use super::{SECOND, VIP, announcements, vip};
use crate::harness::{Cases, Frame, Instants, Machine, logged};
use std::time::{Duration, Instant};

pub fn cases(cases: &mut Cases) {
    cases.add("IPaddr: the network knows before start returns", announces_at_once);
    cases.add("IPaddr: two bursts, at the interval asked for", bursts);
    cases.add("IPaddr: with arp_bg=no the burst is over when start returns", burst_in_front);
    cases.add("IPaddr: nothing is announced once stop has returned", silent_after_stop);
    cases.add("IPaddr: nothing is announced once the address is gone", silent_without_address);
    cases.add("IPaddr: a start killed at any instant is stopped into silence", killed_starts);
    cases.add("IPaddr: a stop killed at any instant is stopped again", killed_stops);
    cases.add("IPaddr: an IPv6 address is announced once it is unique", announces_v6);
    cases.add("IPaddr: a duplicate IPv6 address fails start, names the rival", duplicate_v6);
    cases.add("IPaddr: run_arping finds a duplicate and names the rival", duplicate_v4);
    cases.add("IPaddr: run_arping takes less than a second where there is none", no_duplicate);
    cases.add("IPaddr: a rival during the burst is logged", logs_rival);
    cases.add("IPaddr: a monitor refreshes what was asked for", refreshes);
    cases.add("IPaddr: only the forms asked for are sent", forms);
    cases.add("IPaddr: a macvlan announces its own hardware address", macvlan);
    cases
        .add("IPaddr: neither loopback nor a nic without ARP is announced on", nowhere_to_announce);
}

fn operations(frames: &[Frame]) -> Vec<u16> {
    let operation = |frame: &Frame| match frame {
        Frame::Arp { operation, .. } => Some(*operation),
        Frame::Advertisement { .. } => None,
    };
    frames.iter().filter_map(operation).collect()
}

fn announces_at_once(machine: &Machine) {
    let peer = machine.nic("eth0", &["10.0.0.1/24"]);
    let capture = peer.capture();
    let ipaddr = vip(machine).set("announce_again", "0").set("arp_count", "1");
    ipaddr.action("start").exits(0);
    let heard = announcements(capture.frames(), VIP);
    assert_eq!(operations(&heard), [1, 2], "{heard:?}");
    for frame in &heard {
        let Frame::Arp { destination, sender_mac, .. } = frame else { panic!("{frame:?}") };
        assert_eq!((destination.as_str(), sender_mac), ("ff:ff:ff:ff:ff:ff", &peer.our_mac()));
    }
    assert!(announcements(capture.listen(SECOND), VIP).is_empty());
    peer.add_address("10.0.0.2/24");
    assert!(peer.reaches(VIP));
}

fn bursts(machine: &Machine) {
    let peer = machine.nic("eth0", &["10.0.0.1/24"]);
    let capture = peer.capture();
    let ipaddr = vip(machine).set("arp_interval", "150").set("arp_count", "3");
    let begun = Instant::now();
    ipaddr.set("announce_again", "2").action("start").exits(0);
    let heard = announcements(capture.listen(Duration::from_millis(3000)), VIP);
    assert_eq!(operations(&heard), [1, 2].repeat(6), "{heard:?}");
    let at: Vec<_> = heard.iter().step_by(2).map(|frame| frame.at() - begun).collect();
    for (at, wanted) in at.iter().zip([0, 150, 300, 2000, 2150, 2300]) {
        let wanted = Duration::from_millis(wanted);
        // Loaded machines are late, and none is early.
        assert!(*at >= wanted && *at < wanted + Duration::from_millis(400), "{at:?}, {wanted:?}");
    }
}

fn burst_in_front(machine: &Machine) {
    let peer = machine.nic("eth0", &["10.0.0.1/24"]);
    let capture = peer.capture();
    let ipaddr = vip(machine).set("arp_bg", "no").set("announce_again", "0");
    let started = ipaddr.set("arp_interval", "50").action("start").exits(0);
    assert_eq!(announcements(capture.frames(), VIP).len(), 10);
    assert!(started.took >= Duration::from_millis(200), "{:?}", started.took);
}

fn silent_after_stop(machine: &Machine) {
    let peer = machine.nic("eth0", &["10.0.0.1/24"]);
    let capture = peer.capture();
    // As fast as it can, to have a frame on its way at any moment.
    let ipaddr = vip(machine).set("arp_interval", "1").set("arp_count", "1000");
    for _ in 0..10 {
        ipaddr.action("start").exits(0);
        capture.until(SECOND, |frames| frames.len() > 20);
        ipaddr.action("stop").exits(0);
        capture.frames();
        let late = capture.listen(Duration::from_millis(100));
        assert!(announcements(late, VIP).is_empty());
    }
}

fn silent_without_address(machine: &Machine) {
    let peer = machine.nic("eth0", &["10.0.0.1/24"]);
    let capture = peer.capture();
    let ipaddr = vip(machine).set("arp_interval", "20").set("arp_count", "100");
    ipaddr.action("start").exits(0);
    machine.ip(&["addr", "del", "10.0.0.9/24", "dev", "eth0"]);
    std::thread::sleep(Duration::from_millis(40));
    capture.frames();
    assert!(announcements(capture.listen(SECOND), VIP).is_empty());
}

fn killed_starts(machine: &Machine) {
    let peer = machine.nic("eth0", &["10.0.0.1/24"]);
    let before = machine.state();
    let capture = peer.capture();
    let ipaddr = vip(machine).set("arp_interval", "2").set("arp_count", "500");
    let mut instants = Instants::within(Duration::from_millis(4));
    for _ in 0..50 {
        let seed = instants.seed();
        ipaddr.killed("start", instants.next());
        let is_there = machine.address(VIP).is_some();
        let wanted = if is_there { 0 } else { 7 };
        assert_eq!(ipaddr.probe().code, Some(wanted), "STURDY_SEED={seed}");
        ipaddr.action("stop").exits(0);
        capture.frames();
        assert!(announcements(capture.listen(Duration::from_millis(10)), VIP).is_empty());
        ipaddr.probe().exits(7);
        before.unchanged(machine);
    }
}

fn killed_stops(machine: &Machine) {
    let peer = machine.nic("eth0", &["10.0.0.1/24"]);
    let before = machine.state();
    let capture = peer.capture();
    let ipaddr = vip(machine).set("arp_interval", "2").set("arp_count", "500");
    let mut instants = Instants::within(Duration::from_millis(4));
    for _ in 0..50 {
        let seed = instants.seed();
        ipaddr.action("start").exits(0);
        ipaddr.killed("stop", instants.next());
        let wanted = if machine.address(VIP).is_some() { 0 } else { 7 };
        assert_eq!(ipaddr.probe().code, Some(wanted), "STURDY_SEED={seed}");
        ipaddr.action("stop").exits(0);
        capture.frames();
        assert!(announcements(capture.listen(Duration::from_millis(10)), VIP).is_empty());
        before.unchanged(machine);
    }
}

fn announces_v6(machine: &Machine) {
    let peer = machine.nic("eth0", &["fd00::1/64"]);
    let capture = peer.capture();
    let ipaddr = machine.agent("IPaddr").set("ip", "fd00::9").set("announce_again", "0");
    ipaddr.action("start").exits(0);
    let heard = announcements(capture.frames(), "fd00::9");
    let Some(Frame::Advertisement {
        source, destination, hop_limit, overrides, target_mac, ..
    }) = heard.first()
    else {
        panic!("heard {heard:?}");
    };
    assert_eq!((source.to_string().as_str(), *hop_limit, *overrides), ("fd00::9", 255, true));
    assert_eq!(destination.to_string(), "ff02::1");
    assert_eq!(target_mac.as_ref(), Some(&peer.our_mac()));
    let address = machine.address("fd00::9").unwrap();
    assert_eq!((address.prefix, address.flags.as_slice()), (64, &[][..]));
    assert_eq!(announcements(capture.listen(2 * SECOND), "fd00::9").len(), 4);
    ipaddr.action("monitor").exits(0);
    peer.add_address("fd00::2/64");
    assert!(peer.reaches("fd00::9"));
    ipaddr.action("stop").exits(0);
    assert_eq!(machine.address("fd00::9"), None);
}

fn duplicate_v6(machine: &Machine) {
    let peer = machine.nic("eth0", &["fd00::1/64"]);
    peer.add_address("fd00::9/64");
    let before = machine.state();
    let ipaddr = machine.agent("IPaddr").set("ip", "fd00::9");
    ipaddr.action("start").exits(1).because(&peer.mac());
    before.unchanged(machine);
    ipaddr.probe().exits(7);
}

fn duplicate_v4(machine: &Machine) {
    let peer = machine.nic("eth0", &["10.0.0.1/24"]);
    peer.add_address("10.0.0.9/24");
    let before = machine.state();
    let ipaddr = vip(machine).set("run_arping", "yes");
    ipaddr.action("start").exits(1).because(&peer.mac());
    before.unchanged(machine);
}

fn no_duplicate(machine: &Machine) {
    let _peer = machine.nic("eth0", &["10.0.0.1/24"]);
    let started = vip(machine).set("run_arping", "yes").action("start").exits(0);
    assert!(started.took < Duration::from_millis(1200), "{:?}", started.took);
    assert!(started.took > Duration::from_millis(500), "{:?}", started.took);
}

fn logs_rival(machine: &Machine) {
    let peer = machine.nic("eth0", &["10.0.0.1/24"]);
    vip(machine).set("arp_interval", "500").action("start").exits(0);
    peer.add_address("10.0.0.9/24");
    peer.run("sysctl", &["-qw", "net.ipv4.conf.eth0.arp_notify=1"]);
    peer.unplug();
    peer.plug();
    let wanted = format!("is claimed by {} as well", peer.mac());
    let begun = Instant::now();
    loop {
        let log = logged();
        if log.contains(&wanted) {
            return;
        }
        assert!(begun.elapsed() < 4 * SECOND, "no {wanted:?} in {log:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn refreshes(machine: &Machine) {
    let peer = machine.nic("eth0", &["10.0.0.1/24"]);
    let ipaddr = vip(machine).set("arp_count", "1").set("announce_again", "0");
    ipaddr.action("start").exits(0);
    let capture = peer.capture();
    ipaddr.action("monitor").exits(0);
    assert!(announcements(capture.listen(SECOND), VIP).is_empty());
    let ipaddr = ipaddr.set("arp_count_refresh", "2").set("arp_interval", "50");
    ipaddr.action("monitor").exits(0);
    let heard = announcements(capture.listen(SECOND), VIP);
    assert_eq!(operations(&heard), [1, 2, 1, 2]);
}

fn forms(machine: &Machine) {
    let peer = machine.nic("eth0", &["10.0.0.1/24"]);
    let capture = peer.capture();
    let ipaddr = vip(machine).set("arp_count", "1").set("announce_again", "0");
    for (name, value, wanted) in
        [("announce_form", "request", 1), ("announce_form", "reply", 2), ("send_arp_opts", "-A", 2)]
    {
        let ipaddr = ipaddr.clone().set(name, value);
        ipaddr.action("start").exits(0);
        assert_eq!(operations(&announcements(capture.frames(), VIP)), [wanted], "{name}={value}");
        ipaddr.action("stop").exits(0);
    }
}

fn macvlan(machine: &Machine) {
    let peer = machine.nic("eth0", &[]);
    let own = "02:aa:00:00:00:01";
    let link = ["link", "add", "link", "eth0", "name", "mv0", "address", own, "type", "macvlan"];
    machine.ip(&link);
    machine.ip(&["link", "set", "mv0", "up"]);
    machine.add_address("mv0", "10.0.0.1/24");
    let capture = peer.capture();
    vip(machine).action("start").exits(0);
    let heard = announcements(capture.frames(), VIP);
    let Some(Frame::Arp { sender_mac, .. }) = heard.first() else { panic!("heard {heard:?}") };
    assert_eq!(sender_mac, own);
}

fn nowhere_to_announce(machine: &Machine) {
    let peer = machine.nic("eth0", &[]);
    machine.ip(&["link", "set", "eth0", "arp", "off"]);
    machine.add_address("eth0", "10.0.0.1/24");
    let capture = peer.capture();
    for ip in [VIP, "127.0.0.3"] {
        let ipaddr = machine.agent("IPaddr").set("ip", ip);
        ipaddr.action("start").exits(0);
        ipaddr.action("monitor").exits(0);
        assert!(announcements(capture.frames(), ip).is_empty(), "{ip}");
        ipaddr.action("stop").exits(0);
        assert_eq!(machine.address(ip), None);
    }
}
