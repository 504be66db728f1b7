//! What the cluster says of the resource besides its parameters.

use std::ffi::OsString;
use std::time::Duration;

/// What an agent may need to know of the call it serves.
#[derive(Clone, Debug)]
pub struct Request {
    /// The instance's name, safe as a part of a file name. Pacemaker and heartbeat
    /// have different ones for one resource: it is for locks, not for a record that
    /// has to be found by either.
    pub instance: String,
    /// The instance's name as the cluster gave it.
    pub resource: String,
    /// Whether the cluster asks if the resource happens to run here.
    pub probe: bool,
    /// Whether a person asks what would be done.
    pub explained: bool,
    /// Whether the whole cluster knows the codes of a resource that runs with a
    /// fault.
    pub(crate) knows_degraded: bool,
    /// How deep a monitor is to look.
    pub level: u32,
    /// How long the cluster waits for the action.
    pub timeout: Duration,
    /// What is known of the clone that the instance is one of.
    pub clone: Option<CloneMeta>,
    meta: Vec<(String, String)>,
}

/// The meta attributes of a clone, as each of its instances is told them.
#[derive(Clone, Copy, Debug)]
pub struct CloneMeta {
    /// Which of the instances this is, from 0.
    pub number: u32,
    /// How many instances there may be.
    pub max: u32,
    /// How many of them on one node.
    pub node_max: u32,
    /// Whether the instances differ from each other.
    pub globally_unique: bool,
    /// Whether the instances hear of each other.
    pub notify: bool,
    /// How many of them may be promoted.
    pub promoted_max: u32,
    /// How many of them on one node.
    pub promoted_node_max: u32,
}

/// What the environment calls the meta attributes.
const META: &str = "OCF_RESKEY_CRM_meta_";

impl Request {
    /// The instance's name where neither the caller nor a parameter has one.
    pub const NAMELESS: &str = "default";

    /// Reads the environment's part; `instance` is the name that the dialect
    /// has found.
    pub(crate) fn read(env: &[(OsString, OsString)], resource: String, timeout: u32) -> Self {
        let meta: Vec<(String, String)> = env
            .iter()
            .filter_map(|(name, value)| Some((name.to_str()?.strip_prefix(META)?, value.to_str()?)))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let level = ["OCF_CHECK_LEVEL", "OCF_RESKEY_OCF_CHECK_LEVEL"]
            .iter()
            .find_map(|wanted| env.iter().find(|(name, _)| name == wanted))
            .and_then(|(_, value)| value.to_str()?.trim().parse().ok())
            .unwrap_or(0);
        let mut request = Self {
            instance: file_name(&resource),
            resource,
            probe: false,
            explained: false,
            knows_degraded: knows_degraded(env),
            level,
            timeout: Duration::from_secs(timeout.into()),
            clone: None,
            meta,
        };
        // Without an interval nobody calls again: that is a probe.
        request.probe = request.number("interval").unwrap_or(0) == 0;
        if let Some(milliseconds) = request.number("timeout").filter(|given| *given > 0) {
            request.timeout = Duration::from_millis(milliseconds.into());
        }
        request.clone = request.read_clone();
        request
    }

    /// As if a cluster of another age had asked.
    #[cfg(test)]
    pub(crate) fn of_feature_set(version: &str) -> Self {
        let env = [("OCF_RESKEY_crm_feature_set".into(), version.into())];
        Self::read(&env, "r".into(), 20)
    }

    /// A request as unit tests make it: no probe, no clone, twenty seconds.
    pub fn plain(instance: &str) -> Self {
        let mut request = Self::read(&[], instance.to_owned(), 20);
        request.probe = false;
        request
    }

    /// As [`plain`](Self::plain), with these meta attributes.
    pub fn with_meta(instance: &str, meta: &[(&str, &str)]) -> Self {
        let named = |(name, value): &(&str, &str)| (format!("{META}{name}").into(), value.into());
        let env: Vec<(OsString, OsString)> = meta.iter().map(named).collect();
        let mut request = Self::read(&env, instance.to_owned(), 20);
        request.probe = false;
        request
    }

    /// A meta attribute by its name without the prefix: `on_node`.
    pub fn meta(&self, name: &str) -> Option<&str> {
        self.meta
            .iter()
            .find(|(given, _)| given == name)
            .map(|(_, value)| value.trim())
            .filter(|value| !value.is_empty())
    }

    fn number(&self, name: &str) -> Option<u32> {
        self.meta(name)?.parse().ok()
    }

    fn read_clone(&self) -> Option<CloneMeta> {
        let truth = |name| self.meta(name).is_some_and(|value| value == "true");
        let promoted = |new, old| self.number(new).or_else(|| self.number(old)).unwrap_or(1);
        Some(CloneMeta {
            max: self.number("clone_max")?,
            number: self.number("clone").unwrap_or(0),
            node_max: self.number("clone_node_max").unwrap_or(1),
            globally_unique: truth("globally_unique"),
            notify: truth("notify"),
            promoted_max: promoted("promoted_max", "master_max"),
            promoted_node_max: promoted("promoted_node_max", "master_node_max"),
        })
    }
}

/// Pacemaker before 2.0.5 makes 1 of the codes 190 and 191, and restarts what
/// they are said of. The number that it passes on is the oldest node's.
fn knows_degraded(env: &[(OsString, OsString)]) -> bool {
    const FIRST: [u32; 3] = [3, 6, 1];
    let given = env.iter().find(|(name, _)| name == "OCF_RESKEY_crm_feature_set");
    let version = given.and_then(|(_, value)| value.to_str()).unwrap_or_default();
    let numbers: Vec<u32> = version.split('.').map_while(|part| part.parse().ok()).collect();
    numbers[..] >= FIRST[..]
}

/// The name with every byte that is special in a file name replaced. Names
/// that differ stay different.
pub fn file_name(name: &str) -> String {
    /// Leaves room for a prefix and a suffix in the 255 bytes of a file name.
    const LONGEST: usize = 160;
    let mut safe = String::new();
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => safe.push(byte.into()),
            b'.' if !safe.is_empty() => safe.push('.'),
            _ => safe.push_str(&format!("%{byte:02x}")),
        }
    }
    if safe.len() > LONGEST {
        let mut sum: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in safe.bytes() {
            sum = (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        safe.truncate(LONGEST);
        safe.push_str(&format!("%{sum:016x}"));
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Request {
        let env: Vec<_> = pairs.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
        Request::read(&env, "r".into(), 20)
    }

    #[test]
    fn a_monitor_without_an_interval_is_a_probe() {
        assert!(read(&[]).probe);
        assert!(read(&[("OCF_RESKEY_CRM_meta_interval", "0")]).probe);
        assert!(!read(&[("OCF_RESKEY_CRM_meta_interval", "10000")]).probe);
    }

    #[test]
    fn the_clusters_timeout_wins() {
        assert_eq!(read(&[]).timeout, Duration::from_secs(20));
        let given = read(&[("OCF_RESKEY_CRM_meta_timeout", "1500")]);
        assert_eq!(given.timeout, Duration::from_millis(1500));
    }

    #[test]
    fn degradation_is_known_since_pacemaker_2_0_5() {
        for known in ["3.6.1", "3.10.0", "3.20.5", "4.0", "3.7"] {
            assert!(Request::of_feature_set(known).knows_degraded, "{known}");
        }
        for not in ["3.0.14", "3.3.0", "3.6.0", "3.6", "3", "", "new", "-3.6.1"] {
            assert!(!Request::of_feature_set(not).knows_degraded, "{not}");
        }
        assert!(!read(&[]).knows_degraded);
    }

    #[test]
    fn a_name_is_safe_in_a_file_name_and_stays_its_own() {
        assert_eq!(file_name("../x"), "%2e.%2fx");
        assert_ne!(file_name("a/b"), file_name("a:b"));
        let long = file_name(&"x".repeat(1000));
        assert!(long.len() < 200 && long != file_name(&"x".repeat(1001)));
    }

    #[test]
    fn old_names_of_a_clone_are_read() {
        let clone = read(&[
            ("OCF_RESKEY_CRM_meta_clone_max", "2"),
            ("OCF_RESKEY_CRM_meta_master_max", "2"),
            ("OCF_RESKEY_CRM_meta_notify", "true"),
        ])
        .clone
        .unwrap();
        assert!(clone.promoted_max == 2 && clone.notify);
    }
}
