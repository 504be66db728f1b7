//! tgt's daemon on a machine of the tests, and an initiator that is a program.

use super::machine::Machine;
use super::wait::wait_until;

/// What a machine needs for it.
pub const TGT: &[&str] = &["tgtd", "iscsi-inq"];

impl Machine {
    /// Starts tgtd, and waits until it answers.
    pub fn tgtd(&self) {
        self.ip(&["link", "set", "lo", "up"]);
        self.must("mkdir", &["-p", "/run/tgtd"]);
        self.must(
            "sh",
            &["-c", "setsid tgtd -f </dev/null >/var/log/tgtd 2>&1 & echo $! >/run/tgtd/pid"],
        );
        wait_until(20, "tgtd answers", || {
            self.run("tgtadm", &["--op", "show", "--mode", "target"]).code == Some(0)
        });
    }

    /// Kills tgtd, and waits until it has ended.
    pub fn kill_tgtd(&self) {
        self.kill(self.must("cat", &["/run/tgtd/pid"]).trim());
    }

    /// Has tgtadm do something that must succeed.
    pub fn tgtadm(&self, words: &[&str]) -> String {
        self.must("tgtadm", &[&["--lld", "iscsi"], words].concat())
    }

    /// What an initiator is told of a LUN that it logs in for: nothing where it is
    /// not let in. `who` is a user and a password, `USER%PASSWORD@`, or empty.
    pub fn inquiry(&self, who: &str, iqn: &str, lun: u64, page: Option<&str>) -> Option<String> {
        let url = format!("iscsi://{who}127.0.0.1/{iqn}/{lun}");
        let page = page.map(|page| ["-e", "1", "-c", page]);
        let words: Vec<&str> = page.iter().flatten().copied().chain([url.as_str()]).collect();
        let told = self.run("iscsi-inq", &words);
        (told.code == Some(0)).then_some(told.stdout)
    }
}
