//! Names of targets and initiators, and the identities of disks.

/// The name of a target or an initiator, in small letters as it goes over the
/// wire; the error ends the sentence "it is ...".
pub fn iscsi(text: &str) -> Result<String, String> {
    /// As the protocol has it.
    const LONGEST: usize = 223;
    let name = text.to_ascii_lowercase();
    let is_kind = ["iqn.", "eui.", "naa."].iter().any(|kind| name.starts_with(kind));
    // The underscore is not allowed, and has been in use all the same.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".:-_".contains(&byte);
    match is_kind && name.len() <= LONGEST && name.bytes().all(is_plain) {
        true => Ok(name),
        false => Err("no iSCSI name: iqn.YEAR-MONTH.DOMAIN:NAME, eui.HEX or naa.HEX".into()),
    }
}

/// What LIO makes of a serial number: up to 25 of its hexadecimal digits.
/// Initiators take two disks of one identity for two ways to one disk, and
/// write to both.
pub fn identity(serial: &str) -> String {
    let digits = serial.chars().filter(char::is_ascii_hexdigit).take(25);
    let digits: String = digits.map(|digit| digit.to_ascii_lowercase()).collect();
    // The rest of the field is zero.
    digits.trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_name_in_either_case_and_no_path() {
        assert_eq!(
            iscsi("iqn.2001-04.com.Example:Disk_1").unwrap(),
            "iqn.2001-04.com.example:disk_1"
        );
        assert!(iscsi("eui.02004567a425678d").is_ok() && iscsi("naa.5001405").is_ok());
        for bad in ["", "disk", "iqn.2001-04.com.example:a/b", "iqn.x y", "../iqn.x", "iqn.\u{e4}"]
        {
            assert!(iscsi(bad).is_err(), "{bad}");
        }
        assert!(iscsi(&format!("iqn.{}", "x".repeat(220))).is_err());
    }

    #[test]
    fn an_identity_is_made_of_hexadecimal_digits_alone() {
        assert_eq!(identity("vol-G1"), identity("vol-h1"));
        assert_ne!(identity("5ba72d17"), identity("5ba72d18"));
        assert_eq!(identity("AB0"), "ab");
    }
}
