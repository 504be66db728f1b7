use super::*;

/// The published set-up's own file.
const PUBLISHED: &str = include_str!("../../../../tests/lab/setups/iscsi/ietd.conf");

fn fault(text: &str) -> String {
    Ietd::parse(text).unwrap_err().to_string()
}

fn with_lun(rest: &str) -> String {
    format!("Target iqn.2001-04.com.example:one\n  Lun 0 Path=/dev/drbd1{rest}\n")
}

#[test]
fn the_published_file_is_read_whole() {
    let file = Ietd::parse(PUBLISHED).unwrap();
    let [target] = file.targets.as_slice() else { panic!("{file:?}") };
    assert_eq!(target.iqn, "iqn.2008-04.local.home:storage.disk.0");
    let pair = |user: &str, secret: &str| {
        Some(Credentials { user: user.to_owned(), secret: secret.to_owned() })
    };
    assert_eq!(target.incoming, pair("geekshlby", "secret"));
    assert_eq!(target.outgoing, pair("geekshlby", "password"));
    let [lun] = target.luns.as_slice() else { panic!("{target:?}") };
    assert_eq!((lun.number, lun.path.as_str(), lun.is_blockio), (0, "/dev/drbd1", true));
    assert!(target.parameters.contains(&("TargetAlias", "disk0".into())));
    assert!(target.parameters.contains(&("MaxBurstLength", "262144".into())));
    assert!(target.parameters.contains(&("HeaderDigest", "CRC32C,None".into())));
    assert_eq!(target.parameters.len(), 16);
    let ignored: Vec<String> = file.ignored.iter().map(ToString::to_string).collect();
    assert!(ignored.len() == 1 && ignored[0].contains("Wthreads"), "{ignored:?}");
    assert_eq!(file.incoming, None, "discovery is open");
}

#[test]
fn what_stands_before_the_first_target_is_for_discovery() {
    let text = "# all\nincominguser john secret\niSNSServer 10.0.0.1\n".to_owned() + &with_lun("");
    let file = Ietd::parse(&text).unwrap();
    assert_eq!(file.incoming.unwrap().user, "john");
    assert_eq!(file.ignored[0].line, 3);
    assert!(fault("Lun 0 Path=/x\n").starts_with("line 1: Lun stands before the first Target"));
}

#[test]
fn a_line_goes_on_behind_a_backslash_and_keeps_its_number() {
    let text =
        "Target iqn.2001-04.com.example:one\n  Lun 0 Path=/dev/drbd1,\\\n  Type=fileio\n  Oops 1\n";
    assert_eq!(fault(text), "line 4: Oops is no directive of ietd.conf");
}

#[test]
fn each_wrong_line_is_named_with_what_is_wrong() {
    let target = "Target iqn.2001-04.com.example:one\n";
    for (line, named) in [
        ("Lun x Path=/a", "x is not the number of a Lun"),
        ("Lun 0 Path=a", "Lun 0 has no Path that begins with /"),
        ("Lun 0 Type=blockio", "Lun 0 has no Path that begins with /"),
        ("Lun 0 Path=/a,Type=nullio", "nullio keeps nothing"),
        ("Lun 0 Path=/a,Type=other", "Type is not other"),
        ("Lun 0 Path=/a,IOMode=x", "IOMode is not x"),
        ("Lun 0 Path=/a,BlockSize=700", "BlockSize is not 700"),
        ("Lun 0 Path=/a,ScsiSN=12345678901234567", "ScsiSN takes up to 16"),
        ("Lun 0 Path=/a,Size=1", "there is no Size"),
        ("Lun 0 Path=/a,Type", "Type is not NAME=VALUE"),
        ("IncomingUser john", "not a user and a password"),
        ("IncomingUser john NULL", "begins with NULL"),
        ("InitialR2T yes", "yes is neither Yes nor No"),
        ("MaxBurstLength 1", "1 is not a number from 512 to 16777215"),
        ("HeaderDigest MD5", "MD5 is no list of CRC32C and None"),
        ("Wthreads many", "many is not a number"),
        ("Target disk", "disk is no iSCSI name"),
        ("Target iqn.2001-04.com.example:ONE", "there is a second target"),
        ("MaxBurst 1", "MaxBurst is no directive"),
    ] {
        let told = fault(&format!("{target}{line}\n"));
        assert!(told.starts_with("line 2: ") && told.contains(named), "{line}: {told}");
        assert!(!told.contains("john") || !told.contains("NULL "), "{told}");
    }
}

#[test]
fn what_lio_cannot_hold_is_refused_by_its_line() {
    let users = with_lun("") + "  IncomingUser a secret1\n  IncomingUser b secret2\n";
    let told = fault(&users);
    assert!(told.starts_with("line 4: a second IncomingUser"), "{told}");
    assert!(!told.contains("secret"), "{told}");
    assert!(fault(&(with_lun("") + "  OutgoingUser a b\n")).contains("without an IncomingUser"));
    assert!(fault("IncomingUser a b\nIncomingUser c d\n").starts_with("line 2: a second"));
}

#[test]
fn two_disks_never_have_one_identity() {
    let two = |one: &str, two: &str| {
        format!(
            "Target iqn.2001-04.com.example:one\nLun 0 Path=/a,ScsiSN={one}\nLun 1 Path=/b,ScsiSN={two}\n"
        )
    };
    // Of "zone1" and "more1", "e1" is hexadecimal.
    assert!(fault(&two("zone1", "more1")).starts_with("line 3: "));
    assert!(fault(&two("ab", "AB00")).starts_with("line 3: "));
    Ietd::parse(&two("zone1", "zone2")).unwrap();
    let unsaid = "Target iqn.2001-04.com.example:one\nLun 0 Path=/a\nLun 1 Path=/b\n";
    let file = Ietd::parse(unsaid).unwrap();
    let target = &file.targets[0];
    assert_eq!(target.luns[0].serial(&target.iqn), target.luns[0].serial(&target.iqn));
    assert_ne!(target.luns[0].serial(&target.iqn), target.luns[1].serial(&target.iqn));
}

#[test]
fn an_empty_user_is_none_as_it_was() {
    let file = Ietd::parse(&(with_lun("") + "  IncomingUser\n")).unwrap();
    assert_eq!(file.targets[0].incoming, None);
}

/// Each text is either read or refused with a line that it has, however it was
/// damaged.
#[test]
fn a_damaged_file_is_refused_by_one_of_its_lines() {
    let mut seed = 7_u64;
    let mut next = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).unwrap() % below
    };
    let mut refused = 0;
    for _ in 0..5000 {
        let mut bytes = PUBLISHED.as_bytes().to_vec();
        for _ in 0..=next(3) {
            if bytes.len() < 2 {
                break;
            }
            let at = next(bytes.len());
            match next(3) {
                0 => drop(bytes.remove(at)),
                1 => bytes[at] = b" \n\\=,#0zT"[next(9)],
                _ => bytes.truncate(at.max(1)),
            }
        }
        let text = String::from_utf8(bytes).unwrap();
        if let Err(remark) = Ietd::parse(&text) {
            refused += 1;
            assert!((1..=text.lines().count()).contains(&remark.line), "{remark} of\n{text}");
        }
    }
    assert!((500..4900).contains(&refused), "{refused} of 5000 were refused");
}

/// Numbers that look random and are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        usize::try_from(self.0 >> 33).unwrap() % count
    }

    fn one_of<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    /// Names are taken in any spelling of letters.
    fn spelt(&mut self, name: &str) -> String {
        match self.below(3) {
            0 => name.to_lowercase(),
            1 => name.to_uppercase(),
            _ => name.to_owned(),
        }
    }
}

/// Where a directive stands, which values it takes, and which are wrong.
type Known = (&'static str, &'static [&'static str], &'static [&'static str]);

const YES_NO: (&[&str], &[&str]) = (&["Yes", "No"], &["yes", "NO", "", "1", "Yes No"]);
const DIGESTS: (&[&str], &[&str]) =
    (&["None", "CRC32C", "CRC32C,None", "None, CRC32C"], &["", "crc32c", "CRC32C None", "None,"]);
const SIZE: (&[&str], &[&str]) =
    (&["512", "8192", "16777215"], &["", "511", "16777216", "-1", "0x200", "8 k", "4294967808"]);
const TIME: (&[&str], &[&str]) = (&["0", "2", "3600"], &["", "3601", "two"]);
const COUNT: (&[&str], &[&str]) = (&["1", "8", "65535"], &["", "0", "65536", "one"]);
const TUNED: (&[&str], &[&str]) = (&["0", "8", "32"], &["", "many", "-1"]);

/// Each directive that may stand once in a target, besides Lun.
const OF_TARGET: &[Known] = &[
    ("IncomingUser", &["someone secret", "a\tb"], &["someone", "a b c", "a NULLx"]),
    ("Alias", &["disk0", "two words", ""], &[]),
    ("DataDigest", DIGESTS.0, DIGESTS.1),
    ("DataPDUInOrder", YES_NO.0, YES_NO.1),
    ("DataSequenceInOrder", YES_NO.0, YES_NO.1),
    ("DefaultTime2Retain", TIME.0, TIME.1),
    ("DefaultTime2Wait", TIME.0, TIME.1),
    ("ErrorRecoveryLevel", &["0"], &["1", "2", "", "none"]),
    ("FirstBurstLength", SIZE.0, SIZE.1),
    ("HeaderDigest", DIGESTS.0, DIGESTS.1),
    ("ImmediateData", YES_NO.0, YES_NO.1),
    ("InitialR2T", YES_NO.0, YES_NO.1),
    ("MaxBurstLength", SIZE.0, SIZE.1),
    ("MaxConnections", COUNT.0, COUNT.1),
    ("MaxOutstandingR2T", COUNT.0, COUNT.1),
    ("MaxRecvDataSegmentLength", SIZE.0, SIZE.1),
    ("MaxXmitDataSegmentLength", SIZE.0, SIZE.1),
    ("MaxSessions", TUNED.0, TUNED.1),
    ("NOPInterval", TUNED.0, TUNED.1),
    ("NOPTimeout", TUNED.0, TUNED.1),
    ("QueuedCommands", TUNED.0, TUNED.1),
    ("Wthreads", TUNED.0, TUNED.1),
];

/// What may stand before the first target. A user for discovery has to be there
/// for the other one.
const OF_DISCOVERY: &[Known] = &[
    ("IncomingUser", &["john secret"], &["john", "john NULL"]),
    ("OutgoingUser", &["jack secret"], &["jack", "a b c"]),
    ("iSNSServer", &["10.0.0.1"], &[]),
    ("iSNSAccessControl", &["Yes", "No"], &[]),
];

/// What a Lun takes besides its path.
const OF_LUN: &[Known] = &[
    ("Type", &["blockio", "fileio", "FileIO"], &["nullio", "", "disk"]),
    ("IOMode", &["wt", "wb", "RO"], &["", "rw"]),
    ("BlockSize", &["512", "4096"], &["", "513", "8192"]),
];

/// A file that is put together of directives.
struct Draft {
    dice: Dice,
    text: String,
    /// How many lines there are.
    lines: usize,
    /// Each directive: its line, where it begins and ends in the text, and what
    /// it could be instead to be wrong.
    directives: Vec<(usize, std::ops::Range<usize>, Vec<String>)>,
    /// What is to be read: keys of the login, and what has no effect.
    parameters: usize,
    ignored: usize,
    /// Each Lun's path, and whether its cache is left out.
    luns: Vec<(String, bool)>,
}

impl Draft {
    fn line(&mut self, text: &str, wrong: Vec<String>) {
        for _ in 0..self.dice.below(3) {
            self.text += self.dice.one_of(&["\n", "# Target x\n", "  \t\n", "   #\n"]);
            self.lines += 1;
        }
        self.text += self.dice.one_of(&["", "  ", "\t"]);
        let from = self.text.len();
        self.text += text;
        self.directives.push((self.lines + 1, from..self.text.len(), wrong));
        self.text += self.dice.one_of(&["\n", " \n", "\r\n"]);
        self.lines += 1 + text.matches('\n').count();
    }

    fn directive(&mut self, (name, good, bad): Known) {
        let (spelt, blank) = (self.dice.spelt(name), self.dice.one_of(&[" ", "\t", "   "]));
        let wrong = bad.iter().map(|value| format!("{spelt}{blank}{value}"));
        let wrong = wrong.chain([format!("{name}s 1"), format!("-{name} 1")]).collect();
        let value = self.dice.one_of(good);
        self.line(&format!("{spelt}{blank}{value}"), wrong);
        let has_no_effect = OF_IET.contains(&name) || name.starts_with("iSNS");
        self.ignored += usize::from(has_no_effect);
        let is_key = KEYS.iter().any(|(key, _)| *key == name) || name == "Alias";
        self.parameters += usize::from(is_key);
    }

    fn lun(&mut self, number: usize) {
        let count = self.luns.len();
        let path = format!("/dev/disk{count}");
        let path_is = format!("{}={path}", self.dice.spelt("Path"));
        let mut options = vec![path_is, format!("ScsiSN=5ba7{count:04}")];
        let (mut wrong, mut is_blockio) = (Vec::new(), false);
        for (name, good, bad) in OF_LUN {
            let (spelt, value) = (self.dice.spelt(name), self.dice.one_of(good));
            if self.dice.below(2) == 0 {
                options.push(format!("{spelt}={value}"));
                is_blockio |= value == "blockio";
            }
            wrong.extend(bad.iter().map(|bad| format!("Lun {number} Path={path},{name}={bad}")));
        }
        wrong.extend(
            ["", "x Path=/a", "16384 Path=/a", "-1 Path=/a", "0 Path=a", "0 Path", "0 Size=1"]
                .map(|rest| format!("Lun {rest}")),
        );
        let gap = self.dice.one_of(&[",", ", ", ",\\\n    "]);
        self.line(&format!("Lun {number} {}", options.join(gap)), wrong);
        self.luns.push((path, is_blockio));
    }

    fn of(seed: u64) -> Self {
        let (text, directives, luns) = Default::default();
        let dice = Dice(seed);
        let mut file = Self { dice, text, lines: 0, directives, parameters: 0, ignored: 0, luns };
        for known in &OF_DISCOVERY[..file.dice.below(OF_DISCOVERY.len() + 1)] {
            file.directive(*known);
        }
        for number in 0..=file.dice.below(3) {
            let wrong =
                ["Target", "Target disk", "Target iqn.2001-04.com.example:a b", "Targets a"];
            let line = format!("Target iqn.2001-04.com.example:t{number}");
            file.line(&line, wrong.map(str::to_owned).to_vec());
            file.lun(0);
            for known in OF_TARGET {
                match file.dice.below(4) {
                    0 => file.directive(*known),
                    1 if *known == OF_TARGET[0] => {
                        file.directive(*known);
                        file.directive(("OutgoingUser", &["target secret"], &["target"]));
                    }
                    _ => {}
                }
            }
            (1..=file.dice.below(3)).for_each(|lun| file.lun(lun));
        }
        file
    }
}

/// Every directive, in any order and spelling, is read as it was written; where
/// one is spoilt, it is its line that is named.
#[test]
fn each_directive_is_read_and_the_one_that_is_spoilt_is_named() {
    let mut spoilt = std::collections::BTreeSet::new();
    for seed in 0..5000 {
        let mut file = Draft::of(seed);
        let text = file.text.clone();
        let read = Ietd::parse(&text).unwrap_or_else(|remark| panic!("{remark} of\n{text}"));
        let luns = read.targets.iter().flat_map(|target| &target.luns);
        let luns: Vec<_> = luns.map(|lun| (lun.path.clone(), lun.is_blockio)).collect();
        assert_eq!(luns, file.luns, "{text}");
        let parameters: usize = read.targets.iter().map(|target| target.parameters.len()).sum();
        assert_eq!((parameters, read.ignored.len()), (file.parameters, file.ignored), "{text}");
        let chosen = file.dice.below(file.directives.len());
        let (line, place, wrong) = file.directives.swap_remove(chosen);
        if wrong.is_empty() {
            continue;
        }
        let wrong = &wrong[file.dice.below(wrong.len())];
        let damaged = text[..place.start].to_owned() + wrong + &text[place.end..];
        let remark = Ietd::parse(&damaged).expect_err(&damaged);
        assert_eq!(remark.line, line, "{remark}, for `{wrong}` in\n{damaged}");
        spoilt.insert(wrong.split_whitespace().next().unwrap_or_default().to_lowercase());
    }
    let all = OF_TARGET.iter().chain(OF_DISCOVERY).filter(|(_, _, bad)| !bad.is_empty());
    for (name, ..) in all {
        assert!(spoilt.contains(&name.to_lowercase()), "{name} was never spoilt");
    }
    assert!(spoilt.contains("lun") && spoilt.contains("target"), "{spoilt:?}");
}
