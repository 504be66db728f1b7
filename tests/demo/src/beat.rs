//! Heartbeats between the nodes, as heartbeat's `ucast` sends them: whoever
//! has not been heard for the dead time is held to be dead.

use anyhow::{Context, Result};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;
use story::timeline::now;

/// How often a node shows that it is there.
pub const KEEPALIVE: Duration = Duration::from_millis(100);
/// After which silence its peer takes over.
pub const DEADTIME: Duration = Duration::from_secs(1);
const PORT: u16 = 694;

/// What becomes known of the peer.
pub enum Peer {
    /// It is heard, for the first time or again.
    Back,
    /// It has not been heard for the dead time, last at this moment.
    Silent(Duration),
}

/// Sends heartbeats from a thread and tells what becomes of those of the peer.
pub fn run(own: IpAddr, peer: IpAddr, tell: impl Fn(Peer) + Send + 'static) -> Result<()> {
    let socket = UdpSocket::bind(SocketAddr::new(own, PORT))
        .with_context(|| format!("cannot listen for heartbeats on {own}"))?;
    let to = SocketAddr::new(peer, PORT);
    let send = socket.try_clone().context("cannot share the heartbeat socket")?;
    std::thread::spawn(move || {
        loop {
            // A peer without power or a link that is down is what silence is for.
            let _ = send.send_to(b"alive", to);
            std::thread::sleep(KEEPALIVE);
        }
    });
    socket.set_read_timeout(Some(KEEPALIVE / 2)).context("cannot bound the heartbeat's wait")?;
    std::thread::spawn(move || {
        let mut heard: Option<Duration> = None;
        loop {
            let mut bytes = [0; 16];
            if socket.recv_from(&mut bytes).is_ok_and(|(_, from)| from.ip() == peer) {
                if heard.is_none() {
                    tell(Peer::Back);
                }
                heard = Some(now());
            }
            if let Some(last) = heard.filter(|last| now() > *last + DEADTIME) {
                tell(Peer::Silent(last));
                heard = None;
            }
        }
    });
    Ok(())
}
