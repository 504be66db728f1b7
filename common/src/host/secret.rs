//! Secrets in option lists, kept out of argument lists, logs and traces.

/// The options whose value is nobody's business.
const SECRET: &[&str] = &["password", "password2", "passwd", "pass", "secret"];

/// Whether the option's name says that its value is a secret.
fn is_secret(option: &str) -> bool {
    let name = option.split_once('=').map_or(option, |(name, _)| name);
    SECRET.iter().any(|secret| name.trim().eq_ignore_ascii_case(secret))
}

/// The text with stars for the value of each secret in a comma-separated list.
pub fn masked(text: &str) -> String {
    let mask = |option: &str| match option.rsplit_once('=') {
        // The list may have something in front of it: `OCF_RESKEY_options=`.
        Some((names, _)) if is_secret(names.rsplit('=').next().unwrap_or(names)) => {
            format!("{names}=***")
        }
        _ => option.to_owned(),
    };
    if SECRET.iter().all(|secret| !text.contains(secret)) {
        return text.to_owned();
    }
    text.split(',').map(mask).collect::<Vec<_>>().join(",")
}

/// The list without the password in it, and the password.
pub fn without_password(options: &str) -> (String, Option<&str>) {
    let mut password = None;
    let mut kept: Vec<&str> = Vec::new();
    for option in options.split(',') {
        match option.split_once('=') {
            Some(("password" | "pass", value)) => password = Some(value),
            _ => kept.push(option),
        }
    }
    (kept.join(","), password)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_masked_wherever_the_list_stands() {
        assert_eq!(masked("user=a,password=b,vers=3"), "user=a,password=***,vers=3");
        assert_eq!(masked("OCF_RESKEY_options=secret=b"), "OCF_RESKEY_options=secret=***");
        assert_eq!(masked("rw,noatime"), "rw,noatime");
    }

    #[test]
    fn a_password_is_taken_out_of_its_list() {
        let (kept, password) = without_password("user=a,password=b=c,vers=3");
        assert_eq!((kept.as_str(), password), ("user=a,vers=3", Some("b=c")));
        assert_eq!(without_password("rw"), ("rw".to_owned(), None));
    }
}
