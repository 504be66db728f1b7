//! The local time, as RFC 9636 has the zones in files.
//!
//! The C library's own reading of them brings its `scanf`, and with it all that
//! reads numbers with a point: a hundred kilobytes in each agent, for the time
//! of a line in a log.

use std::path::{Path, PathBuf};

const DAY: i64 = 86_400;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A moment where the time is so much ahead of UTC, in words: those of
/// strftime(3) that stand for numbers and the month's short name.
pub(super) fn formatted(at: i64, ahead: i64, format: &str) -> String {
    let seconds = at + ahead;
    let days = seconds.div_euclid(DAY);
    let (year, month, day) = date(days);
    let within = seconds.rem_euclid(DAY);
    let (hour, minute, second) = (within / 3600, within / 60 % 60, within % 60);
    let mut text = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        match (letter, letter == '%') {
            (_, true) => match letters.next() {
                Some('Y') => text += &format!("{year:04}"),
                Some('m') => text += &format!("{month:02}"),
                Some('b') => text += MONTHS[month as usize - 1],
                Some('d') => text += &format!("{day:02}"),
                Some('e') => text += &format!("{day:2}"),
                Some('H') => text += &format!("{hour:02}"),
                Some('M') => text += &format!("{minute:02}"),
                Some('S') => text += &format!("{second:02}"),
                Some('F') => text += &format!("{year:04}-{month:02}-{day:02}"),
                Some('z') => {
                    let (sign, minutes) = (if ahead < 0 { '-' } else { '+' }, ahead.abs() / 60);
                    text += &format!("{sign}{:02}{:02}", minutes / 60, minutes % 60);
                }
                Some('T') => text += &format!("{hour:02}:{minute:02}:{second:02}"),
                other => text.extend(other),
            },
            (plain, _) => text.push(plain),
        }
    }
    text
}

/// Year, month and day of a day since 1970, after H. Hinnant's description of
/// the calendar by eras of 400 years.
fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// The day since 1970 on which a month begins.
fn first_of(year: i64, month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * from_march + 2) / 5;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// By how much the local time is ahead of UTC at this moment, in seconds; 0
/// where no zone can be read.
pub(super) fn offset(at: i64) -> i64 {
    let named = std::env::var("TZ").ok();
    let path = match named.as_deref().map(|name| name.trim_start_matches(':')) {
        None => PathBuf::from("/etc/localtime"),
        Some(path) if path.starts_with('/') => PathBuf::from(path),
        Some(name) if name.split('/').any(|part| part == "..") => return 0,
        Some(name) => Path::new("/usr/share/zoneinfo").join(name),
    };
    let of_file = std::fs::read(path).ok().and_then(|file| in_file(&file, at));
    of_file.or_else(|| by_rule(named.as_deref()?, at)).unwrap_or(0)
}

/// The counts in a header of such a file, and what follows it.
struct Block<'a> {
    times: usize,
    types: usize,
    /// Bytes of what stands behind times and types.
    rest: usize,
    body: &'a [u8],
}

fn block(file: &[u8], width: usize) -> Option<Block<'_>> {
    let number = |at: usize| {
        let bytes = file.get(20 + 4 * at..24 + 4 * at)?.try_into().ok()?;
        usize::try_from(u32::from_be_bytes(bytes)).ok()
    };
    file.starts_with(b"TZif").then_some(())?;
    let (utc, standard, leaps) = (number(0)?, number(1)?, number(2)?);
    let (times, types, letters) = (number(3)?, number(4)?, number(5)?);
    let rest = letters + leaps * (width + 4) + standard + utc;
    Some(Block { times, types, rest, body: file.get(44..)? })
}

fn in_file(file: &[u8], at: i64) -> Option<i64> {
    let first = block(file, 4)?;
    if *file.get(4)? == 0 {
        return None;
    }
    let skipped = first.times * 5 + first.types * 6 + first.rest;
    let Block { times, types, rest, body } = block(first.body.get(skipped..)?, 8)?;
    let moment = |n: usize| Some(i64::from_be_bytes(body.get(n * 8..n * 8 + 8)?.try_into().ok()?));
    let passed = (0..times).take_while(|n| moment(*n).is_some_and(|moment| moment <= at)).count();
    let end = times * 9 + types * 6 + rest;
    if passed == times
        && let Some(rule) = body.get(end..).and_then(|footer| std::str::from_utf8(footer).ok())
        && let Some(offset) = by_rule(rule.trim(), at)
    {
        return Some(offset);
    }
    let kind = match passed {
        0 => 0,
        some => usize::from(*body.get(times * 8 + some - 1)?),
    };
    let kind = body.get(times * 9 + kind * 6..)?.get(..4)?;
    Some(i32::from_be_bytes(kind.try_into().ok()?).into())
}

/// What a rule as `CET-1CEST,M3.5.0,M10.5.0/3` says.
fn by_rule(rule: &str, at: i64) -> Option<i64> {
    let rest = after_name(rule)?;
    let (west, rest) = clock(rest)?;
    let standard = -west;
    if rest.is_empty() {
        return Some(standard);
    }
    let rest = after_name(rest)?;
    let (summer, rest) = match rest.starts_with(',') {
        true => (standard + 3600, rest),
        false => clock(rest).map(|(west, rest)| (-west, rest))?,
    };
    let mut days = rest.strip_prefix(',')?.split(',');
    let (year, ..) = date((at + standard).div_euclid(DAY));
    let begins = moment(days.next()?, year)? - standard;
    let ends = moment(days.next()?, year)? - summer;
    let is_summer = match begins < ends {
        true => (begins..ends).contains(&at),
        false => !(ends..begins).contains(&at),
    };
    Some(if is_summer { summer } else { standard })
}

/// What follows the name of a zone: letters, or anything in angle brackets.
fn after_name(rule: &str) -> Option<&str> {
    match rule.strip_prefix('<') {
        Some(quoted) => Some(quoted.split_once('>')?.1),
        None => {
            let rest = rule.trim_start_matches(|c: char| c.is_ascii_alphabetic());
            (rule.len() - rest.len() >= 3).then_some(rest)
        }
    }
}

/// `[+-]hh[:mm[:ss]]` in seconds, and what follows.
fn clock(text: &str) -> Option<(i64, &str)> {
    let digits = text.trim_start_matches(['+', '-']);
    let end = digits.find(|c: char| !c.is_ascii_digit() && c != ':').unwrap_or(digits.len());
    let mut seconds = 0;
    for (part, unit) in digits[..end].split(':').zip([3600, 60, 1]) {
        seconds += part.parse::<i64>().ok()? * unit;
    }
    Some((if text.starts_with('-') { -seconds } else { seconds }, &digits[end..]))
}

/// The local second since 1970 that a day of a rule stands for: `M3.5.0/2`,
/// `J60`, `59`.
fn moment(day: &str, year: i64) -> Option<i64> {
    let (day, time) = day.split_once('/').unwrap_or((day, "2"));
    let (time, _) = clock(time)?;
    let january = first_of(year, 1);
    let day = if let Some(day) = day.strip_prefix('J') {
        let day = day.parse::<i64>().ok()?;
        let is_leap = first_of(year + 1, 1) - january == 366;
        january + day - 1 + i64::from(is_leap && day > 59)
    } else if let Some(day) = day.strip_prefix('M') {
        let mut numbers = day.split('.').map(|number| number.parse::<i64>().ok());
        let (month, week, weekday) = (numbers.next()??, numbers.next()??, numbers.next()??);
        (1..=12).contains(&month).then_some(())?;
        let first = first_of(year, month);
        let next = if month == 12 { first_of(year + 1, 1) } else { first_of(year, month + 1) };
        // 1970 began on a Thursday.
        let day = first + (weekday - (first + 4)).rem_euclid(7) + (week - 1) * 7;
        if day >= next { day - 7 } else { day }
    } else {
        january + day.parse::<i64>().ok()?
    };
    Some(day * DAY + time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_date_is_that_of_the_calendar() {
        let format = "%Y-%m-%d.%H:%M:%S %b %e %T";
        assert_eq!(formatted(0, 0, format), "1970-01-01.00:00:00 Jan  1 00:00:00");
        assert_eq!(formatted(951_782_399, 0, format), "2000-02-28.23:59:59 Feb 28 23:59:59");
        assert_eq!(formatted(951_782_400, 0, "%F"), "2000-02-29");
        assert_eq!(formatted(1_795_824_000, -12_600, "%b %d %z"), "Nov 27 -0330");
    }

    #[test]
    fn a_rule_says_when_it_is_summer() {
        let berlin = |at| by_rule("CET-1CEST,M3.5.0,M10.5.0/3", at);
        // 2026-03-29 01:00 UTC and 2026-10-25 01:00 UTC.
        assert_eq!((berlin(1_774_746_000 - 1), berlin(1_774_746_000)), (Some(3600), Some(7200)));
        assert_eq!((berlin(1_792_890_000 - 1), berlin(1_792_890_000)), (Some(7200), Some(3600)));
        let sydney = |at| by_rule("AEST-10AEDT,M10.1.0,M4.1.0/3", at);
        assert_eq!((sydney(1_767_225_600), sydney(1_783_000_000)), (Some(39_600), Some(36_000)));
        assert_eq!(by_rule("<+0545>-5:45", 0), Some(20_700));
        assert_eq!(by_rule("UTC0", 0), Some(0));
        for bad in ["", "X", "CET", "CET-1CEST,M13.1.0,M4.1.0", "CET-1CEST", "<+05-5"] {
            assert_eq!(by_rule(bad, 0), None, "{bad}");
        }
    }

    /// Held against date(1), which asks the C library.
    #[test]
    fn the_zones_of_this_machine_are_read_as_the_c_library_does() {
        let zones = ["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"];
        for zone in zones {
            let Ok(file) = std::fs::read(Path::new("/usr/share/zoneinfo").join(zone)) else {
                continue;
            };
            for at in
                [-1_000_000_000, 0, 1_700_000_000, 1_784_000_000, 2_100_000_000, 4_000_000_000]
            {
                let told = std::process::Command::new("date")
                    .env("TZ", zone)
                    .args(["-d", &format!("@{at}"), "+%Y-%m-%d.%H:%M:%S %z"])
                    .output()
                    .unwrap();
                let ahead = in_file(&file, at).unwrap();
                let told = String::from_utf8(told.stdout).unwrap();
                let ours = formatted(at, ahead, "%Y-%m-%d.%H:%M:%S %z");
                assert_eq!(ours, told.trim(), "{zone} {at}");
            }
        }
    }

    #[test]
    fn a_file_that_is_no_zone_is_none() {
        for bad in [&b""[..], b"TZif", b"TZif2", &[b'x'; 100]] {
            assert_eq!(in_file(bad, 0), None);
        }
        let mut huge = b"TZif2".to_vec();
        huge.extend([0xff; 60]);
        assert_eq!(in_file(&huge, 0), None);
    }
}
