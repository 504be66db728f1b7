//! The stage: builds what the group needs and plays the failover on it.
//!
//! It is process 1 of a pid namespace and has its own network and mounts, so
//! that its end is the end of everything that was built.

use super::cast::{Client, Node, tell};
use super::chronicle::{Chronicle, DISK};
use super::disk::{self, Attached, IMAGE};
use super::plan::{Plan, plan};
use super::words::{Boot, Errand, Frame, Order, Saying, Scene, Script, hear};
use super::{beat, network, output, root};
use anyhow::{Context, Result, bail, ensure};
use nix::mount::{MsFlags, mount, umount};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use story::ledger::{self, Ack, Verdict};
use story::timeline::{Action, Kind, human, now};

/// How long the client works undisturbed in each part of the story.
const RUN: Duration = Duration::from_millis(3000);
/// How long the returned node is watched before it gets the resources back.
const SETTLE: Duration = Duration::from_millis(1200);
/// The most that anything may take before the demo gives up on it.
const MOST: Duration = Duration::from_secs(60);
/// The client's place among the machines; the nodes have 0 and 1.
const CLIENT: usize = 2;

/// Plays the script that stands on standard input.
pub fn main() -> Result<()> {
    let script: Script = hear(&mut std::io::stdin().lock())?.context("no script")?;
    let mut stage = Stage::build(&script)?;
    stage.switch_on(0)?;
    stage.switch_on(1)?;
    stage.await_peers()?;
    let client = stage.open()?;
    stage.first_take()?;
    stage.power_loss()?;
    stage.take_over()?;
    stage.come_back()?;
    stage.hand_over()?;
    stage.chronicle.end(now());
    stage.step("client", "ends its work; the resources are stopped and the disk is read")?;
    let (acks, frames) = client.finish()?;
    stage.close(&script, &acks, frames)
}

struct Stage {
    plan: Plan,
    boots: [Boot; 2],
    /// A directory in memory: images, device nodes, mount points.
    place: PathBuf,
    nodes: [Option<Node>; 2],
    says: Receiver<(usize, Saying)>,
    sayings: Sender<(usize, Saying)>,
    /// Whether each node hears the other's heartbeats.
    hears: [bool; 2],
    /// The loop devices that the current holder of the disks uses.
    devices: Vec<PathBuf>,
    chronicle: Chronicle,
}

impl Stage {
    fn build(script: &Script) -> Result<Stage> {
        let plan = plan(&script.line)?;
        let place = place(&[Some(&script.agents), script.keep.as_ref()])?;
        root::make_private()?;
        root::memory(&place)?;
        root::processes(Path::new("/proc"))?;
        step(None, "", "a network of its own, and a disk image standing where DRBD stands")?;
        network::bridges(plan.nics[0].len())?;
        for (number, disk) in plan.disks.iter().enumerate() {
            disk::make(&image(&place, number), &disk.kind)?;
        }
        std::fs::create_dir(place.join("root"))?;
        let (sayings, says) = channel();
        let boots = [0, 1].map(|lane| boot(script, &plan, &place, lane));
        let chronicle = Chronicle::new(&script.line, &plan);
        let devices = Vec::new();
        Ok(Stage {
            plan,
            boots,
            place,
            nodes: [None, None],
            says,
            sayings,
            hears: [false; 2],
            devices,
            chronicle,
        })
    }

    fn switch_on(&mut self, lane: usize) -> Result<()> {
        let name = self.plan.nodes[lane].clone();
        self.step(&name, "switched on")?;
        self.nodes[lane] = Some(Node::boot(&self.boots[lane], &self.sayings)?);
        self.await_saying(lane, "its start", |saying| matches!(saying, Saying::Ready))?;
        Ok(())
    }

    /// Both nodes hear one another's heartbeats.
    fn await_peers(&mut self) -> Result<()> {
        [0, 1].into_iter().try_for_each(|lane| self.await_peer(lane, true))
    }

    /// The story begins: its clock runs, the client tries.
    fn open(&mut self) -> Result<Client> {
        let errand = Errand {
            nics: self.plan.nics[CLIENT].clone(),
            service: self.plan.service,
            addresses: self.plan.addresses.clone(),
        };
        self.chronicle.begin(now());
        [0, 1].into_iter().for_each(|lane| self.chronicle.becomes(lane, Kind::Up));
        self.step("client", "writes to the ledger without pause, as soon as it answers")?;
        Client::start(&errand, CLIENT)
    }

    fn first_take(&mut self) -> Result<()> {
        let chapter = self.chronicle.open_chapter();
        self.take(0)?;
        self.chronicle.close_chapter(chapter);
        self.run(RUN)
    }

    /// Link, disk and processes of node 1 end, in this order and within a few
    /// milliseconds: nobody may hear of a disk that is dead.
    fn power_loss(&mut self) -> Result<()> {
        let mut node = self.nodes[0].take().context("node 1 is off already")?;
        let name = self.plan.nodes[0].clone();
        let roots = PathBuf::from(format!("/proc/{}/root", node.pid()));
        network::cut(0, self.plan.nics[0].len())?;
        let at = now();
        self.chronicle.power_loss(at);
        for disk in &self.plan.disks {
            let inside = disk.directory.strip_prefix("/").unwrap_or(&disk.directory);
            if !disk::freeze(&roots.join(inside))? {
                self.chronicle.unstopped.push(disk.kind.clone());
            }
        }
        node.kill()?;
        self.await_saying(0, "its end", |saying| matches!(saying, Saying::Gone))?;
        network::unplug(0, self.plan.nics[0].len());
        self.chronicle.becomes(0, Kind::Off);
        let lost = "loses power: link cut, disk cut off, every process killed";
        step(self.chronicle.since_begin(at), &name, lost)?;
        let released = self.await_disks()?;
        let text = format!("its mount is gone after {}", human(released));
        self.step(&name, &text)
    }

    fn take_over(&mut self) -> Result<()> {
        self.await_peer(1, false)?;
        self.chronicle.declared_dead(now());
        let chapter = self.chronicle.open_chapter();
        let dead = human(beat::DEADTIME);
        let text = format!("has heard nothing for {dead}, holds its peer to be dead, takes over");
        let name = self.plan.nodes[1].clone();
        self.step(&name, &text)?;
        self.take(1)?;
        self.chronicle.close_chapter(chapter);
        self.run(RUN)
    }

    fn come_back(&mut self) -> Result<()> {
        self.switch_on(0)?;
        self.chronicle.becomes(0, Kind::Up);
        self.chronicle.mark("comes back");
        self.await_peer(1, true)?;
        self.run(SETTLE)
    }

    fn hand_over(&mut self) -> Result<()> {
        let name = self.plan.nodes[1].clone();
        self.step(&name, "gives the resources back")?;
        self.chronicle.handover(now());
        let chapter = self.chronicle.open_chapter();
        self.give(1)?;
        self.take(0)?;
        self.chronicle.close_chapter(chapter);
        self.run(RUN)
    }

    /// The end: everything is stopped, the image is read, the story told.
    fn close(mut self, script: &Script, acks: &[Ack], frames: Vec<Frame>) -> Result<()> {
        self.give(0)?;
        self.nodes.iter_mut().flatten().try_for_each(Node::kill)?;
        let verdict = self.read_ledger(acks)?;
        if let Some(directory) = &script.keep {
            self.keep(directory, acks)?;
        }
        tell(&Scene::End(Box::new(self.chronicle.story(acks, frames, &verdict))))
    }

    /// Makes the disks primary on a node and brings the group up there.
    fn take(&mut self, lane: usize) -> Result<()> {
        let from = now();
        self.await_disks()?;
        self.chronicle.becomes(lane, Kind::Moving);
        let attached = self.attach(lane)?;
        self.disk_moved(lane, "attach", from)?;
        self.order(lane, &Order::Take)?;
        drop(attached);
        for device in &self.devices {
            ensure!(disk::in_use(device), "the group is up, but not on the disk it was given");
        }
        self.chronicle.becomes(lane, Kind::Holds);
        let name = self.plan.nodes[lane].clone();
        self.step(&name, "holds the resources")
    }

    fn attach(&mut self, lane: usize) -> Result<Vec<Attached>> {
        let mut attached = Vec::new();
        for number in 0..self.plan.disks.len() {
            let disk = disk::attach(&image(&self.place, number), &self.place, false)?;
            tell(&Scene::Loop(disk.number))?;
            let path = self.plan.disks[number].device.clone();
            self.order(lane, &Order::Disk { path, number: disk.number })?;
            self.devices.push(disk.node().to_path_buf());
            attached.push(disk);
        }
        Ok(attached)
    }

    fn give(&mut self, lane: usize) -> Result<()> {
        self.chronicle.becomes(lane, Kind::Moving);
        self.order(lane, &Order::Give)?;
        let from = now();
        self.await_disks()?;
        self.chronicle.becomes(lane, Kind::Up);
        self.disk_moved(lane, "release", from)
    }

    /// Notes what would have been drbddisk's work, and the stage does instead.
    fn disk_moved(&mut self, lane: usize, verb: &str, from: Duration) -> Result<()> {
        let action = Action {
            lane,
            what: DISK.into(),
            verb: verb.into(),
            from,
            to: now(),
            answer: "by the stage".into(),
            succeeded: true,
        };
        self.note(lane, &Saying::Acted { action, output: String::new() })
    }

    /// Waits until no node uses a disk: the kernel says so, not we.
    fn await_disks(&mut self) -> Result<Duration> {
        let mut longest = Duration::ZERO;
        for device in std::mem::take(&mut self.devices) {
            longest = longest.max(disk::await_release(&device, Duration::from_secs(10))?);
        }
        Ok(longest)
    }

    fn order(&mut self, lane: usize, order: &Order) -> Result<()> {
        let name = self.plan.nodes[lane].clone();
        let node = self.nodes[lane].as_mut().with_context(|| format!("{name} is off"))?;
        node.order(order)?;
        let done = |saying: &Saying| matches!(saying, Saying::Done { .. });
        match self.await_saying(lane, "an order", done)? {
            Saying::Done { failure: Some(failure) } => bail!("{name}: {failure}"),
            _ => Ok(()),
        }
    }

    /// Waits until a node hears its peer, or does not any more.
    fn await_peer(&mut self, lane: usize, heard: bool) -> Result<()> {
        while self.hears[lane] != heard {
            self.await_saying(lane, "a change of its peer", |saying| {
                matches!(saying, Saying::PeerBack | Saying::PeerSilent { .. })
            })?;
        }
        Ok(())
    }

    fn await_saying(
        &mut self,
        lane: usize,
        what: &str,
        wanted: impl Fn(&Saying) -> bool,
    ) -> Result<Saying> {
        let end = Instant::now() + MOST;
        let name = self.plan.nodes[lane].clone();
        loop {
            let rest = end.saturating_duration_since(Instant::now());
            let Ok((from, saying)) = self.says.recv_timeout(rest) else {
                bail!("{name} did not finish {what} within {} s", MOST.as_secs());
            };
            self.note(from, &saying)?;
            if from == lane && wanted(&saying) {
                return Ok(saying);
            }
        }
    }

    /// Lets the client work for a while.
    fn run(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while let Ok((from, saying)) =
            self.says.recv_timeout(end.saturating_duration_since(Instant::now()))
        {
            self.note(from, &saying)?;
            ensure!(
                !matches!(saying, Saying::PeerSilent { .. }),
                "{} holds its peer to be dead, but it is not",
                self.plan.nodes[from]
            );
        }
        Ok(())
    }

    fn note(&mut self, lane: usize, saying: &Saying) -> Result<()> {
        match saying {
            Saying::PeerBack => self.hears[lane] = true,
            Saying::PeerSilent { .. } => self.hears[lane] = false,
            Saying::Gone if self.nodes[lane].is_some() => {
                bail!("{} has died, and not by our hand", self.plan.nodes[lane])
            }
            _ => {}
        }
        if let Saying::Acted { action, output } = saying {
            let took = human(action.to.saturating_sub(action.from));
            let text = format!("{} {}  {took}  {}", action.what, action.verb, action.answer);
            self.chronicle.acted(action.clone(), output);
            let name = self.plan.nodes[lane].clone();
            self.step(&name, &text)?;
        }
        Ok(())
    }

    fn step(&self, who: &str, text: &str) -> Result<()> {
        step(self.chronicle.since_begin(now()), who, text)
    }

    /// Mounts the image, which nobody uses any more, and reads the ledger.
    fn read_ledger(&self, acks: &[Ack]) -> Result<Verdict> {
        let disk = &self.plan.disks[0];
        let attached = disk::attach(&image(&self.place, 0), &self.place, true)?;
        let directory = self.place.join("root");
        let kind = Some(disk.kind.as_str());
        mount(Some(attached.node()), &directory, kind, MsFlags::MS_RDONLY, None::<&str>)
            .context("cannot mount the disk image to read it")?;
        let inside = self.plan.ledger.strip_prefix(&disk.directory)?;
        let verdict = ledger::check(&directory.join(inside), acks);
        umount(&directory).context("cannot unmount the disk image")?;
        verdict
    }

    fn keep(&self, directory: &Path, acks: &[Ack]) -> Result<()> {
        let keep = |name: &str, write: &dyn Fn(&Path) -> Result<()>| {
            let path = directory.join(name);
            write(&path)
                .and_then(|()| output::give_to_caller(&path))
                .with_context(|| format!("cannot keep {}", path.display()))
        };
        for number in 0..self.plan.disks.len() {
            let image = image(&self.place, number);
            keep(&format!("disk{number}.img"), &|path| disk::copy(&image, path))?;
        }
        let lines = acks.iter().map(|ack| format!("{} {}\n", ack.number, ack.at.as_nanos()));
        let acknowledged: String = lines.collect();
        keep("acknowledged", &|path| Ok(std::fs::write(path, &acknowledged)?))?;
        keep("agents.log", &|path| Ok(std::fs::write(path, self.chronicle.log())?))
    }
}

fn step(at: Option<Duration>, who: &str, text: &str) -> Result<()> {
    tell(&Scene::Step { at, who: who.into(), text: text.into() })
}

fn image(place: &Path, number: usize) -> PathBuf {
    place.join(format!("{IMAGE}{number}.img"))
}

fn boot(script: &Script, plan: &Plan, place: &Path, lane: usize) -> Boot {
    let own = |lane: usize| plan.nics[lane][0].addresses[0].0;
    let words = script.line.words.clone();
    let mount_points = words.iter().filter(|word| word.script == "Filesystem");
    Boot {
        node: plan.nodes[lane].clone(),
        lane,
        root: place.join("root"),
        agents: script.agents.clone(),
        directories: mount_points.filter_map(|word| word.args.get(1)).map(PathBuf::from).collect(),
        nics: plan.nics[lane].clone(),
        beats: (own(lane), own(1 - lane)),
        words,
        ledger: (plan.ledger.clone(), plan.service),
    }
}

/// A directory that every machine has and that hides nothing needed here when
/// it is mounted over in the stage's own mount namespace.
fn place(needed: &[Option<&PathBuf>]) -> Result<PathBuf> {
    let hides = |directory: &Path| needed.iter().flatten().any(|path| path.starts_with(directory));
    ["/mnt", "/media", "/srv", "/tmp"]
        .map(PathBuf::from)
        .into_iter()
        .find(|directory| directory.is_dir() && !hides(directory))
        .context("none of /mnt, /media, /srv and /tmp can be mounted over")
}
