//! The checker must find every loss, or its verdict is worth nothing.

use super::*;

fn record(number: u64) -> Record {
    Record::new(number, "client", number * 1000)
}

fn acks(numbers: impl IntoIterator<Item = u64>) -> Vec<Ack> {
    numbers.into_iter().map(|number| Ack { number, at: Duration::from_millis(number) }).collect()
}

fn written(count: u64) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger");
    let mut ledger = Ledger::open(&path).unwrap();
    for number in 1..=count {
        assert_eq!(ledger.append(&record(number)).unwrap(), Appended::New);
    }
    (directory, path)
}

#[test]
fn a_whole_ledger_holds() {
    let (_directory, path) = written(5);
    let verdict = check(&path, &acks(1..=4)).unwrap();
    assert!(verdict.holds());
    assert_eq!((verdict.on_disk, verdict.unacknowledged), (5, 1));
}

#[test]
fn a_record_sent_twice_is_stored_once_and_a_gap_is_refused() {
    let (_directory, path) = written(3);
    let mut ledger = Ledger::open(&path).unwrap();
    assert_eq!(ledger.last, 3);
    assert_eq!(ledger.append(&record(3)).unwrap(), Appended::Known);
    assert!(ledger.append(&Record::new(3, "other", 1)).is_err());
    assert!(ledger.append(&record(5)).is_err());
    assert_eq!(ledger.append(&record(4)).unwrap(), Appended::New);
    assert_eq!(check(&path, &acks(1..=4)).unwrap().on_disk, 4);
}

#[test]
fn a_torn_end_is_cut_off_and_a_whole_one_is_left() {
    let (_directory, path) = written(3);
    let whole = std::fs::read(&path).unwrap();
    for torn in [&record(4).encode()[..20], &[0; 100], &[&[0; RECORD][..], b"x"].concat()] {
        std::fs::write(&path, [&whole[..], torn].concat()).unwrap();
        assert_eq!(Ledger::open(&path).unwrap().last, 3);
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }
    std::fs::write(&path, &whole[..3 * RECORD - 1]).unwrap();
    assert_eq!(check(&path, &acks(1..=3)).unwrap().torn, RECORD - 1);
    assert_eq!(Ledger::open(&path).unwrap().last, 2);
}

#[test]
fn every_kind_of_loss_breaks_the_verdict() {
    let (_directory, path) = written(4);
    let whole = std::fs::read(&path).unwrap();
    assert!(!check_bytes(&whole, &[]).holds(), "nothing acknowledged shows nothing");
    assert_eq!(check_bytes(&whole[..3 * RECORD], &acks(1..=4)).missing, [4]);
    assert_eq!(check_bytes(&whole[..3 * RECORD + 9], &acks(1..=4)).missing, [4]);
    let mut swapped = whole.clone();
    swapped[..2 * RECORD].rotate_left(RECORD);
    assert_eq!(check_bytes(&swapped, &acks(1..=4)).missing, [1, 2]);
    let mut holed = whole;
    holed[RECORD..2 * RECORD].fill(0);
    let verdict = check_bytes(&holed, &acks([1, 3]));
    assert!(!verdict.holds(), "damage in front of a record is never the trace of an interruption");
    assert_eq!(verdict.damaged, [(2, "zeros".to_string())]);
}

#[test]
fn a_silence_reaches_from_the_last_answer_to_the_next() {
    let times = [10, 20, 500, 510].map(Duration::from_millis);
    let acks: Vec<Ack> =
        times.iter().zip(1..).map(|(at, number)| Ack { number, at: *at }).collect();
    let around = |ms| silence_around(&acks, Duration::from_millis(ms));
    assert_eq!(around(100), Some((times[1], Some(times[2]))));
    assert_eq!(around(600), Some((times[3], None)));
    assert_eq!(around(5), None);
    assert_eq!(longest_silence(&acks, times[0], times[3]), Some((times[1], times[2])));
    assert_eq!(longest_silence(&acks, times[2], times[3]), Some((times[2], times[3])));
    assert_eq!(longest_silence(&acks, times[3], times[3]), None);
}

#[test]
fn the_service_acknowledges_what_is_on_disk_and_keeps_order_over_a_reconnect() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let ledger = Ledger::open(&path).unwrap();
    std::thread::spawn(move || service::serve(&listener, ledger));
    let mut acked = Vec::new();
    for half in [1..=20u64, 20..=40] {
        let mut client = service::Client::new(address);
        for number in half {
            client.append(&record(number)).unwrap();
            acked.push(Ack { number, at: Duration::ZERO });
        }
    }
    let mut client = service::Client::new(address);
    let refusal = client.append(&record(99)).unwrap_err().to_string();
    assert!(refusal.contains("does not follow 40"), "{refusal}");
    assert!(check(&path, &acked).unwrap().holds());
}
