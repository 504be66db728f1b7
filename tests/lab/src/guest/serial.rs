//! What the guests of a node say on their serial lines, told to the host.

use super::record::tell;
use std::fs::File;
use std::io::Read;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

/// Where a guest's serial line leads on the node that it runs on.
pub fn file(guest: &str) -> String {
    format!("/run/lab/serial-{guest}")
}

/// `serial-follow GUEST...`: tells of each boot and of each number, until it is ended.
pub fn follow(guests: &[String]) -> ExitCode {
    let mut lines: Vec<(&String, Option<File>, Line)> =
        guests.iter().map(|guest| (guest, None, Line::default())).collect();
    loop {
        for (guest, open, line) in &mut lines {
            let mut said = Vec::new();
            if open.is_none() {
                *open = File::open(file(guest)).ok();
            }
            if let Some(file) = open {
                // What could be read is in there also where it ends with an error.
                let _ = file.read_to_end(&mut said);
            }
            let told = said.into_iter().filter_map(|byte| line.hear(byte));
            told.for_each(|what| tell(&format!("{what} {guest}")));
        }
        sleep(Duration::from_millis(50));
    }
}

/// The number that is being said.
#[derive(Default)]
struct Line(Option<String>);

impl Line {
    /// What is to be told once this byte was said.
    fn hear(&mut self, byte: u8) -> Option<String> {
        match byte {
            b'!' => return Some("booted".into()),
            b'=' => self.0 = Some(String::new()),
            b'\n' => return self.0.take().map(|digits| format!("count {digits}")),
            digit => {
                if let Some(digits) = &mut self.0 {
                    digits.push(char::from(digit));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_number_is_none() {
        let heard = |said: &str| -> Vec<String> {
            let mut line = Line::default();
            said.bytes().filter_map(|byte| line.hear(byte)).collect()
        };
        assert_eq!(heard("!=1\n=2\n"), ["booted", "count 1", "count 2"]);
        assert_eq!(heard("=12=45\n"), ["count 45"]);
        assert_eq!(heard("3\n=14\n"), ["count 14"]);
    }
}
