//! What the guest of a node says on its serial line, told to the host.

use super::record::tell;
use std::fs::File;
use std::io::Read;
use std::process::ExitCode;
use std::thread::sleep;
use std::time::Duration;

/// `serial-follow FILE`: tells of each boot and of each number, until it is ended.
pub fn follow(words: &[String]) -> ExitCode {
    let [path] = words else { return ExitCode::from(2) };
    let mut line = Line::default();
    let mut file = None;
    loop {
        let mut said = Vec::new();
        if file.is_none() {
            file = File::open(path).ok();
        }
        if let Some(file) = &mut file {
            // What could be read is in there also where it ends with an error.
            let _ = file.read_to_end(&mut said);
        }
        said.into_iter().filter_map(|byte| line.hear(byte)).for_each(|what| tell(&what));
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
