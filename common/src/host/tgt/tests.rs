use super::*;
use crate::testing::Files;
use nix::fcntl::{FcntlArg, fcntl};
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::time::Duration;

const TOLD: &str =
    "Target 3: iqn.2001-04.com.example:a\n    System information:\n        State: ready\n";

/// A daemon that answers each request with this.
fn daemon(answer: Vec<u8>) -> Files {
    let machine = Files::new();
    machine.file(LOCK, "");
    let listener = UnixListener::bind(machine.path(SOCKET)).unwrap();
    std::thread::spawn(move || {
        for mut line in listener.incoming().flatten() {
            let mut head = [0; 120];
            if line.read_exact(&mut head).is_ok() {
                // In two parts, as a socket may give it.
                let (first, second) = answer.split_at(answer.len() / 2);
                let _ = line.write_all(first);
                std::thread::sleep(Duration::from_millis(2));
                let _ = line.write_all(second);
            }
        }
    });
    machine
}

fn answer(error: u32, text: &str) -> Vec<u8> {
    let length = 8 + text.len() as u32;
    [&error.to_ne_bytes()[..], &length.to_ne_bytes(), text.as_bytes()].concat()
}

#[test]
fn what_the_daemon_serves_is_known_by_name() {
    let machine = daemon(answer(0, &format!("{TOLD}\0")));
    let found = targets(&machine.view()).unwrap().unwrap();
    assert_eq!((found.len(), found[0].tid), (1, 3));
    let none = found.lacks(|target| target.iqn == "iqn.2001-04.com.example").unwrap();
    assert_eq!(none.to_string(), "none among 1 targets of tgtd");
    let refuses = daemon(answer(17, ""));
    let refused = targets(&refuses.view()).unwrap_err().to_string();
    assert_eq!(refused, "tgtd refuses: the request is not valid");
}

#[test]
fn a_list_that_was_cut_short_is_in_doubt() {
    let whole = answer(0, TOLD);
    for cut in [vec![0; 2], whole[..8].to_vec(), whole[..whole.len() - 1].to_vec()] {
        assert!(targets(&daemon(cut).view()).is_err());
    }
    assert!(targets(&daemon(answer(0, "nonsense")).view()).is_err());
}

#[test]
fn a_daemon_that_holds_its_lock_is_not_gone() {
    let machine = Files::new();
    machine.file(LOCK, "");
    let gone = targets(&machine.view()).unwrap().unwrap_err();
    assert_eq!(gone.to_string(), "no tgtd holds its lock");
    // Not of this process, whose own locks are not counted against it.
    let lock = File::options().write(true).open(machine.path(LOCK)).unwrap();
    fcntl(&lock, FcntlArg::F_OFD_SETLK(&pidlock::whole(libc::F_WRLCK))).unwrap();
    let held = targets(&machine.view()).unwrap_err().to_string();
    assert!(held.contains("does not listen"), "{held}");
    // A socket that nobody listens at any more.
    drop(lock);
    drop(UnixListener::bind(machine.path(SOCKET)).unwrap());
    assert!(targets(&machine.view()).unwrap().is_err());
}

#[test]
fn where_there_is_no_lock_the_processes_are_asked() {
    let gone = targets(&Files::new().view()).unwrap().unwrap_err();
    assert_eq!(gone.to_string(), "no tgtd among the processes");
}

#[test]
fn a_daemon_that_is_silent_is_not_waited_for_longer_than_said() {
    let machine = Files::new();
    machine.file(LOCK, "");
    let _listener = UnixListener::bind(machine.path(SOCKET)).unwrap();
    let begun = std::time::Instant::now();
    let view = machine.view_for(Duration::from_millis(200));
    let silent = format!("{:#}", targets(&view).unwrap_err());
    assert!(silent.ends_with("nothing comes before the deadline"), "{silent}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}
