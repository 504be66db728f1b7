//! The audience: shows each step as it happens, ends the stage when it is
//! interrupted, and presents the story in the end.

use super::disk::IMAGE;
use super::output::give_to_caller;
use super::space;
use super::words::{Scene, Script, hear, say};
use anyhow::{Context, Result, bail};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::Pid;
use std::io::{BufReader, IsTerminal, Write};
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};
use story::timeline::{Hue, Story, grouped};

nix::ioctl_read_bad!(window_size, nix::libc::TIOCGWINSZ, nix::libc::winsize);

/// What a shell adds to the number of the signal that has ended a program.
const SIGNALLED: i32 = 128;
const FAILED: i32 = 1;

/// Plays the script and returns its story.
pub fn play(script: &Script) -> Result<Story> {
    let signals = block_signals()?;
    let mut child = space::spawn("@stage")?;
    let interruption = Arc::new(Interruption::default());
    await_signals(signals, &child, Arc::clone(&interruption))?;
    let mut audience = Audience::new();
    let stdin = child.stdin.take();
    let told = stdin.context("the stage has a standard input").and_then(|mut stdin| {
        say(&mut stdin, script)?;
        audience.follow(&mut child)
    });
    interruption.over.store(true, Ordering::SeqCst);
    let status = child.wait().context("cannot await the stage's end")?;
    audience.clear_line();
    audience.await_loops()?;
    let signal = interruption.signal.load(Ordering::SeqCst);
    if signal != 0 {
        eprintln!("interrupted; nothing is left behind");
        std::process::exit(SIGNALLED + signal);
    }
    match told {
        Ok(Some(story)) => Ok(story),
        // The stage has said what went wrong.
        Ok(None) if status.code() == Some(FAILED) => std::process::exit(FAILED),
        Ok(None) => bail!("the story broke off ({status})"),
        Err(err) => Err(err),
    }
}

/// What passes between the thread that waits for signals and the one that
/// watches.
#[derive(Default)]
struct Interruption {
    /// The signal that came, or 0.
    signal: AtomicI32,
    /// The stage is about to be gone, and its process id with it.
    over: AtomicBool,
}

/// Takes the signals that would end this process out of their usual way.
fn block_signals() -> Result<SigSet> {
    let signals: SigSet = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().collect();
    signals.thread_block().context("cannot block signals")?;
    Ok(signals)
}

/// On a signal, kills the stage, and by that everything on it.
fn await_signals(signals: SigSet, stage: &Child, interruption: Arc<Interruption>) -> Result<()> {
    let stage = Pid::from_raw(i32::try_from(stage.id())?);
    std::thread::spawn(move || {
        while let Ok(signal) = signals.wait() {
            interruption.signal.store(signal as i32, Ordering::SeqCst);
            if interruption.over.load(Ordering::SeqCst) {
                std::process::exit(SIGNALLED + signal as i32);
            }
            // It may have ended by itself just now.
            let _ = kill(stage, Signal::SIGKILL);
        }
    });
    Ok(())
}

struct Audience {
    terminal: bool,
    /// Whose steps were shown, in the order of their first.
    known: Vec<String>,
    loops: Vec<u32>,
    acknowledged: u64,
}

impl Audience {
    fn new() -> Audience {
        Audience {
            terminal: std::io::stderr().is_terminal(),
            known: Vec::new(),
            loops: Vec::new(),
            acknowledged: 0,
        }
    }

    /// Shows scene after scene until the stage falls silent.
    fn follow(&mut self, stage: &mut Child) -> Result<Option<Story>> {
        let stdout = stage.stdout.take().context("the stage has a standard output")?;
        let mut lines = BufReader::new(stdout);
        let mut story = None;
        while let Some(scene) = hear(&mut lines)? {
            match scene {
                Scene::Step { at, who, text } => self.step(at, &who, &text),
                Scene::Acknowledged(count) => self.acknowledged = count,
                Scene::Loop(number) => self.loops.push(number),
                Scene::End(end) => story = Some(*end),
            }
            self.count();
        }
        Ok(story)
    }

    fn step(&mut self, at: Option<Duration>, who: &str, text: &str) {
        self.clear_line();
        let at = at.map_or(String::new(), |at| format!("{:.3} s", at.as_secs_f64()));
        let who: String = who.split('.').next().unwrap_or_default().chars().take(12).collect();
        let name = format!("{who:<8}");
        eprintln!("{at:>10}  {}  {text}", self.painted(&who, &name));
    }

    /// A name in the colour that the story has for it.
    fn painted(&mut self, who: &str, name: &str) -> String {
        if !self.terminal || who.is_empty() || std::env::var_os("NO_COLOR").is_some() {
            return name.into();
        }
        let place = self.known.iter().position(|known| known == who).unwrap_or(self.known.len());
        if place == self.known.len() {
            self.known.push(who.into());
        }
        let hue = [Hue::Blue, Hue::Amber, Hue::Green][place.min(2)];
        format!("\x1b[{}m{name}\x1b[0m", hue.code())
    }

    /// The line that changes, where there is a terminal to change it on.
    fn count(&self) {
        if self.terminal && self.acknowledged > 0 {
            let count = grouped(self.acknowledged);
            eprint!("\r{:>10}  {:<8}  {count} records acknowledged", "", "");
            let _ = std::io::stderr().flush();
        }
    }

    fn clear_line(&self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }

    /// The kernel detaches loop devices a moment after their last user's end.
    fn await_loops(&self) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(5);
        for number in &self.loops {
            let file = format!("/sys/block/loop{number}/loop/backing_file");
            let ours = || std::fs::read_to_string(&file).is_ok_and(|text| text.contains(IMAGE));
            while ours() {
                if Instant::now() > end {
                    bail!("loop{number} is still attached; see losetup -a");
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        Ok(())
    }
}

/// Shows the story in the terminal, draws it into a file, and ends with an
/// error when its promise was broken.
pub fn present(story: &Story, svg: &Path) -> Result<()> {
    let stdout = std::io::stdout();
    let colour = stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    print!("{}", story.terminal(columns().unwrap_or(100), colour));
    let name = svg.display();
    std::fs::write(svg, story.svg()).with_context(|| format!("cannot write {name}"))?;
    give_to_caller(svg)?;
    println!("  drawn into {name}\n");
    match &story.verdict {
        (true, _) => Ok(()),
        (false, sentence) => bail!("{sentence}"),
    }
}

/// How wide the terminal is.
fn columns() -> Option<usize> {
    // SAFETY: a structure of integers, for which all zero is a valid value.
    #[allow(unsafe_code)]
    let mut size: nix::libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes a `winsize` through the pointer, which is one.
    #[allow(unsafe_code)]
    unsafe { window_size(nix::libc::STDOUT_FILENO, &mut size) }.ok()?;
    (size.ws_col > 0).then_some(usize::from(size.ws_col))
}
