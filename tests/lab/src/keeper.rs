//! The keeper: one process in the background that owns the machines and the
//! networks between them, so that `lab up`, `lab shell` and `lab run` may
//! come and go. Everything it started ends when it ends, also by SIGKILL.
//!
//! It passes requests on to the agents in the machines and carries out the
//! verbs that are not a guest's to carry out: power, freezing, networks and
//! disks. A machine that restarts by itself is started again at once. To the
//! machines it is the fencing device, see [`power`].

mod power;

use super::image::Image;
use super::machine::{Monitor, Network, Plan, connect};
use super::place::Place;
use super::qemu::Qemu;
use super::switch::{self, Silenced};
use super::wire::{Done, Frame, Kind};
use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::HashMap;
use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Child;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// A verb about the machines.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub enum Verb {
    /// Cut the power: the process of the machine is gone, nothing shut down.
    PowerOff { machine: String },
    /// Switch it on again, with the disks as they are.
    PowerOn { machine: String },
    /// Stop all its processors.
    Freeze { machine: String },
    /// Let them go on.
    Thaw { machine: String },
    /// Take a machine off a network.
    Cut { machine: String, network: String, silent: bool },
    /// One of a machine's network cards loses its carrier.
    Unplug { machine: String, card: u8 },
    /// Connect it again, whatever the cut was.
    Mend { machine: String, network: String },
    /// Allow a disk this many bytes a second; 0 for no limit.
    Slow { machine: String, disk: u8, bytes: u64 },
    /// End everything.
    Down,
    /// Live on when the connection that started all this ends.
    Keep,
    /// End when this connection ends.
    Lease,
}

/// A connection of a task; its frames are written whole.
type Task = Arc<Mutex<UnixStream>>;

/// One machine as the keeper knows it.
struct Slot {
    plan: &'static Plan,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Whether it is to run; restarted if it ends by itself.
    on: bool,
    /// Whether a thread follows it from boot to boot.
    followed: bool,
    process: Option<Child>,
    monitor: Option<Monitor>,
    port: Option<UnixStream>,
    /// The agent in it has said hello.
    ready: bool,
    pending: HashMap<u32, (Task, u32)>,
}

/// Everything the keeper's threads share.
pub struct Keeper {
    place: Place,
    image: Image,
    qemu: Qemu,
    slots: Vec<Slot>,
    networks: Vec<(Network, Silenced)>,
    listeners: Mutex<Vec<Task>>,
    next: AtomicU32,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the keeper of these machines until it is told to end.
pub fn run(place: Place, image: Image, qemu: Qemu, plans: &[&'static Plan]) -> Result<()> {
    let _ = fs::remove_dir_all(&place.sockets);
    place.make()?;
    let networks = start_networks(&place, plans)?;
    for plan in plans {
        plan.make_disks(&image, &qemu, &place)?;
    }
    let slots = plans.iter().map(|plan| Slot { plan, state: Mutex::default() }).collect();
    let keeper = Arc::new(Keeper {
        image,
        qemu,
        slots,
        networks,
        listeners: Mutex::default(),
        next: AtomicU32::new(1),
        place,
    });
    for index in 0..plans.len() {
        keeper.power_on(index)?;
    }
    let listener = UnixListener::bind(keeper.place.control())?;
    for stream in listener.incoming() {
        let (stream, keeper) = (stream?, keeper.clone());
        thread::spawn(move || keeper.attend(stream));
    }
    Ok(())
}

fn start_networks(place: &Place, plans: &[&Plan]) -> Result<Vec<(Network, Silenced)>> {
    let cards = |network: Network| -> Vec<_> {
        plans
            .iter()
            .filter(|plan| plan.networks().contains(&network))
            .flat_map(|plan| {
                network.cards().map(|card| (plan.name.to_owned(), plan.card(place, card)))
            })
            .collect()
    };
    Network::ALL.into_iter().map(|net| Ok((net, switch::start(&cards(net))?))).collect()
}

impl Keeper {
    fn serve_boot(self: &Arc<Self>, slot: &Slot) -> Result<()> {
        let name = slot.plan.name;
        let monitor = Monitor::connect(slot.plan, &self.place)?;
        let port = connect(&self.place.socket(&format!("{name}.port")))?;
        let mut reader = port.try_clone()?;
        {
            let mut state = lock(&slot.state);
            state.monitor = Some(monitor);
            state.port = Some(port);
        }
        loop {
            let Ok(frame) = Frame::receive(&mut reader) else { return Ok(()) };
            match frame.kind {
                Kind::Ask => self.consider(slot, frame),
                Kind::Hello => {
                    lock(&slot.state).ready = true;
                    self.announce(name, "up");
                }
                Kind::Event => self.announce(name, &frame.text()),
                _ => self.return_to_task(slot, frame),
            }
        }
    }

    fn return_to_task(&self, slot: &Slot, mut frame: Frame) {
        let task = {
            let mut state = lock(&slot.state);
            if frame.kind == Kind::Done {
                state.pending.remove(&frame.id)
            } else {
                state.pending.get(&frame.id).cloned()
            }
        };
        if let Some((task, id)) = task {
            frame.id = id;
            // A task that went away does not want its answer any more.
            let _ = frame.send(&mut *lock(&task));
        }
    }

    /// Tells everyone who listens: the time, the machine, what happened.
    fn announce(&self, machine: &str, text: &str) {
        let line = format!("{} {machine} {text}", story::timeline::now().as_micros());
        println!("{line}");
        let frame = Frame::new(0, Kind::Event, line);
        lock(&self.listeners).retain(|task| frame.send(&mut *lock(task)).is_ok());
    }

    /// Serves one connection of a task.
    fn attend(self: &Arc<Self>, stream: UnixStream) {
        let Ok(mut reader) = stream.try_clone() else { return };
        let task: Task = Arc::new(Mutex::new(stream));
        let mut slot = None;
        let mut ids = HashMap::new();
        let mut leased = false;
        while let Ok(frame) = Frame::receive(&mut reader) {
            match frame.kind {
                Kind::Select if frame.text() == "events" => {
                    lock(&self.listeners).push(task.clone());
                    finish(&task, frame.id, 0, None);
                }
                Kind::Select => {
                    slot = self.slots.iter().find(|slot| slot.plan.name == frame.text());
                }
                Kind::Control => match frame.value::<Verb>() {
                    Ok(Verb::Lease) => leased = true,
                    Ok(Verb::Keep) => leased = false,
                    Ok(verb) => match self.carry_out(&verb) {
                        Ok(()) => finish(&task, frame.id, 0, None),
                        Err(err) => finish(&task, frame.id, 255, Some(format!("{err:#}"))),
                    },
                    Err(err) => finish(&task, frame.id, 255, Some(err.to_string())),
                },
                _ => self.pass_on(slot, frame, &task, &mut ids),
            }
        }
        if leased {
            self.end();
        }
    }

    fn pass_on(
        &self,
        slot: Option<&Slot>,
        mut frame: Frame,
        task: &Task,
        ids: &mut HashMap<u32, u32>,
    ) {
        let Some(slot) = slot else {
            return finish(task, frame.id, 255, Some("no such machine".into()));
        };
        let mine = frame.id;
        let first = frame.kind != Kind::Stdin;
        if first {
            ids.insert(mine, self.next.fetch_add(1, Ordering::Relaxed));
        }
        let Some(id) = ids.get(&mine) else { return };
        frame.id = *id;
        let port = {
            let mut state = lock(&slot.state);
            let port = if state.ready { state.port.as_ref() } else { None };
            let port = port.and_then(|port| port.try_clone().ok());
            if port.is_some() && first {
                state.pending.insert(frame.id, (task.clone(), mine));
            }
            // Two tasks must not write into each other's frames.
            port.map(|mut port| frame.send(&mut port))
        };
        if !matches!(port, Some(Ok(()))) {
            lock(&slot.state).pending.remove(&frame.id);
            finish(task, mine, 255, Some(format!("{} does not run", slot.plan.name)));
        }
    }

    fn carry_out(self: &Arc<Self>, verb: &Verb) -> Result<()> {
        match verb {
            Verb::PowerOff { machine } => self.power_off(self.index(machine)?)?,
            Verb::PowerOn { machine } => self.power_on(self.index(machine)?)?,
            Verb::Freeze { machine } => self.qmp(machine, "stop", &json!({}))?,
            Verb::Thaw { machine } => self.qmp(machine, "cont", &json!({}))?,
            Verb::Cut { machine, network, silent: true } => {
                self.silenced(network)?.1.set(machine, true);
            }
            Verb::Cut { machine, network, silent: false } => {
                self.carrier(machine, network, false)?
            }
            Verb::Unplug { machine, card } => {
                let link = json!({"name": format!("eth{card}"), "up": false});
                self.qmp(machine, "set_link", &link)?;
            }
            Verb::Mend { machine, network } => {
                self.silenced(network)?.1.set(machine, false);
                // One that is off has its carrier when it is on again.
                if lock(&self.slots[self.index(machine)?].state).monitor.is_some() {
                    self.carrier(machine, network, true)?;
                }
            }
            Verb::Slow { machine, disk, bytes } => self.qmp(
                machine,
                "block_set_io_throttle",
                // By the drive's name: the device's is that of a shell around it.
                &json!({"device": format!("drive{disk}"), "bps": bytes, "bps_rd": 0, "bps_wr": 0,
                        "iops": 0, "iops_rd": 0, "iops_wr": 0}),
            )?,
            Verb::Down => self.end(),
            Verb::Keep | Verb::Lease => {}
        }
        Ok(())
    }

    fn index(&self, machine: &str) -> Result<usize> {
        self.slots
            .iter()
            .position(|slot| slot.plan.name == machine)
            .with_context(|| format!("no machine {machine}"))
    }

    fn silenced(&self, network: &str) -> Result<&(Network, Silenced)> {
        self.networks
            .iter()
            .find(|(known, _)| known.name() == network)
            .with_context(|| format!("no network {network}"))
    }

    fn qmp(&self, machine: &str, command: &str, arguments: &serde_json::Value) -> Result<()> {
        let slot = &self.slots[self.index(machine)?];
        let mut state = lock(&slot.state);
        let Some(monitor) = &mut state.monitor else { bail!("{machine} does not run") };
        monitor.tell(command, arguments.clone())?;
        Ok(())
    }

    fn carrier(&self, machine: &str, network: &str, up: bool) -> Result<()> {
        let (network, _) = self.silenced(network)?;
        let plan = self.slots[self.index(machine)?].plan;
        if plan.networks().contains(network) {
            for card in network.cards() {
                let name = format!("eth{card}");
                self.qmp(machine, "set_link", &json!({"name": name, "up": up}))?;
            }
        }
        Ok(())
    }

    /// Ends every machine, removes its files, and ends this process.
    #[allow(clippy::exit)]
    fn end(&self) {
        for slot in &self.slots {
            slot.quit();
        }
        for dir in [&self.place.sockets, &self.place.machines()] {
            let _ = fs::remove_dir_all(dir);
        }
        std::process::exit(0);
    }
}

fn finish(task: &Task, id: u32, code: i32, why: Option<String>) {
    if let Ok(frame) = Frame::of(id, Kind::Done, &Done { code, why }) {
        let _ = frame.send(&mut *lock(task));
    }
}
