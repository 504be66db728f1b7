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
