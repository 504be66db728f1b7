//! What becomes of connections.

use super::{PORT, Pair, VIP, connects, listen, network, ruleset};
use crate::harness::{Case, Cases, Machine, Peer, wait_until};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

pub fn cases(cases: &mut Cases) {
    let mut add = |sentence: &str, case: fn(&Machine)| {
        cases.push(Case::new(format!("portblock: {sentence}"), case).needs(&["nft", "ss"]));
    };
    add("a connection is held by a block, and goes on after it", held);
    add("a client of a service that has moved is told at once, by IPv4 and IPv6", moved);
    add("a stop ends our side of the connections, and clients hear nothing", reset);
    add("a stop lets connections finish, and takes no new ones", drained);
    add("a stop that drains ends before its own time does", drained_in_time);
    add("the list is that of the shell agents, and written when it changes", list);
    add("sync_script is given the list, and leaves no stream open", script);
    add("a directory that does not answer stops no monitor and no stop", silent);
}

/// A client, and the server's end of its connection.
fn connected(peer: &Peer, ip: &str) -> (TcpStream, TcpStream) {
    let server = listen(ip, PORT);
    let client = connects(peer, ip, PORT).expect("the port is open");
    let ours = server.accept().expect("the client is there").0;
    for end in [&client, &ours] {
        end.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    }
    (client, ours)
}

fn hears(end: &mut TcpStream) -> Result<usize, ErrorKind> {
    end.read(&mut [0; 8]).map_err(|err| err.kind())
}

fn held(machine: &Machine) {
    let peer = network(machine);
    for ip in [VIP, "fd00::9"] {
        let pair = Pair::usual(machine).set("ip", ip);
        let (mut client, mut ours) = connected(&peer, ip);
        pair.block.action("start").exits(0);
        client.write_all(b"held").unwrap();
        assert_eq!(hears(&mut ours), Err(ErrorKind::WouldBlock), "{ip}");
        pair.unblock.action("start").exits(0);
        ours.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        assert_eq!(hears(&mut ours), Ok(4), "{ip}");
        pair.unblock.action("stop").exits(0);
        pair.block.action("stop").exits(0);
    }
}

fn moved(machine: &Machine) {
    let peer = network(machine);
    machine.must("mkdir", &["/srv/tickle"]);
    for ip in [VIP, "fd00::9"] {
        let given = [("tickle_dir", "/srv/tickle"), ("reset_local_on_unblock_stop", "yes")];
        let pair = Pair::usual(machine).set("ip", ip).unblock_with(&given).started();
        let (mut client, _ours) = connected(&peer, ip);
        pair.unblock.action("monitor").exits(0);
        // The service has gone, and comes to a node that knows no connection.
        pair.unblock.action("stop").exits(0);
        assert_eq!(hears(&mut client), Err(ErrorKind::WouldBlock), "{ip}");
        let _server = listen(ip, PORT);
        pair.unblock.action("start").exits(0);
        client.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        assert_eq!(hears(&mut client), Err(ErrorKind::ConnectionReset), "{ip}");
        assert!(connects(&peer, ip, PORT).is_some());
        pair.unblock.action("stop").exits(0);
        pair.block.action("stop").exits(0);
    }
}

fn reset(machine: &Machine) {
    let peer = network(machine);
    for ip in [VIP, "fd00::9"] {
        let given = [("reset_local_on_unblock_stop", "true")];
        let pair = Pair::usual(machine).set("ip", ip).unblock_with(&given).started();
        let (mut client, _ours) = connected(&peer, ip);
        let (mut bystander, _other) = {
            let server = listen(ip, 80);
            (connects(&peer, ip, 80).unwrap(), server.accept().unwrap())
        };
        pair.unblock.action("stop").exits(0);
        let left = machine.must("ss", &["-Htn", "state", "established"]);
        assert!(!left.contains(":2049") && left.contains(":80"), "{left}");
        // Neither end nor reset has reached them.
        for end in [&mut client, &mut bystander] {
            end.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            assert_eq!(hears(end), Err(ErrorKind::WouldBlock), "{ip}");
        }
        assert!(!ruleset(machine).contains("reset"), "{}", ruleset(machine));
        pair.block.action("stop").exits(0);
    }
}

fn drained(machine: &Machine) {
    let peer = network(machine);
    let pair = Pair::usual(machine).unblock_with(&[("drain_timeout", "10")]).started();
    let (mut client, mut ours) = connected(&peer, VIP);
    let _server = listen(VIP, PORT);
    let stop = pair.unblock.spawn("stop");
    wait_until(5, "the port drains", || ruleset(machine).contains("drain"));
    assert!(connects(&peer, VIP, PORT).is_none());
    pair.unblock.probe().exits(0);
    client.write_all(b"last").unwrap();
    assert_eq!(hears(&mut ours), Ok(4));
    drop(client);
    assert_eq!(hears(&mut ours), Ok(0));
    drop(ours);
    let begun = Instant::now();
    let stop = stop.wait(Duration::from_secs(10));
    assert_eq!(stop.code, Some(0), "{stop}");
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(!ruleset(machine).contains("drain"), "{}", ruleset(machine));
    pair.monitors(0, 7);
}

fn drained_in_time(machine: &Machine) {
    let peer = network(machine);
    let pair = Pair::usual(machine).unblock_with(&[("drain_timeout", "60")]).started();
    let (_client, _ours) = connected(&peer, VIP);
    let stop = pair.unblock.clone().timeout(Duration::from_secs(6)).action("stop").exits(0);
    assert!(stop.took < Duration::from_secs(5), "{:?}", stop.took);
    assert!(stop.took > Duration::from_secs(1), "{:?}", stop.took);
    pair.monitors(0, 7);
}

fn list(machine: &Machine) {
    let peer = network(machine);
    machine.must("mkdir", &["/srv/tickle"]);
    let pair = Pair::usual(machine).unblock_with(&[("tickle_dir", "/srv/tickle")]).started();
    let (client, _ours) = connected(&peer, VIP);
    pair.unblock.action("monitor").exits(0);
    let read = || std::fs::read_to_string("/srv/tickle/10.0.0.9").unwrap();
    let port = client.local_addr().unwrap().port();
    assert_eq!(read(), format!("10.0.0.9:2049\t10.0.0.2:{port}\n"));
    machine.must("rm", &["/srv/tickle/10.0.0.9"]);
    pair.unblock.action("monitor").exits(0);
    assert!(!std::fs::exists("/srv/tickle/10.0.0.9").unwrap());
    drop(client);
    pair.unblock.action("monitor").exits(0);
    assert_eq!(read(), "");
    pair.unblock.action("stop").exits(0);
    assert_eq!(std::fs::read_dir("/srv/tickle").unwrap().count(), 1);
}

fn script(machine: &Machine) {
    let peer = network(machine);
    machine.must("mkdir", &["/srv/tickle"]);
    machine.script(
        "carry",
        "#!/bin/sh\necho \"$*\" >> /tmp/carried\nls -l /proc/$$/fd > /tmp/streams\n",
    );
    let given = [("tickle_dir", "/srv/tickle"), ("sync_script", "carry -x  -v")];
    let pair = Pair::usual(machine).unblock_with(&given).started();
    let (_client, _ours) = connected(&peer, VIP);
    for _ in 0..2 {
        pair.unblock.action("monitor").exits(0);
    }
    let carried = || std::fs::read_to_string("/tmp/carried").unwrap_or_default();
    wait_until(5, "the list is carried", || carried() == "-x -v /srv/tickle/10.0.0.9\n");
    pair.unblock.action("stop").exits(0);
    assert_eq!(carried().lines().count(), 2);
    machine.script("carry", "#!/bin/sh\nexit 1\n");
    pair.unblock.action("start").exits(0);
    pair.unblock.action("monitor").exits(0);
    pair.unblock.action("stop").exits(0);
}

fn silent(machine: &Machine) {
    let peer = network(machine);
    let pair = Pair::usual(machine).started();
    let _client = connected(&peer, VIP);
    let _asked = machine.automount_point("/srv/tickle");
    let unblock =
        pair.unblock.clone().set("tickle_dir", "/srv/tickle").timeout(Duration::from_secs(6));
    unblock.action("monitor").exits(0);
    unblock.action("stop").exits(0);
    pair.monitors(0, 7);
}
