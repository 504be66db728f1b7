//! A clean Debian, made once and kept, and copies of it that end with their case.

use std::fmt::{self, Display};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A release of Debian.
#[derive(Hash)]
pub struct Base {
    pub release: u8,
    suite: &'static str,
    packages: &'static str,
    hook: &'static str,
}

/// What our packages stand beside, and what lists them.
const PACKAGES: &str = "heartbeat,drbd-utils,lvm2,resource-agents,nfs-kernel-server,psmisc,net-tools,\
                        iproute2,iputils-arping,pacemaker-cli-utils,crmsh,pcs,man-db,systemd,rpm,\
                        procps,kmod";

/// Nothing is started in a root, and heartbeat can be installed once more
/// without a network.
const HOOK: &str = "printf '#!/bin/sh\\nexit 101\\n' > \"$1/usr/sbin/policy-rc.d\" \
                    && chmod 755 \"$1/usr/sbin/policy-rc.d\" && mkdir -p \"$1/var/local/kept\" \
                    && chroot \"$1\" sh -c 'cd /var/local/kept && apt-get -qq download heartbeat'";

impl Base {
    pub const ALL: &[Self] = &[
        Self { release: 12, suite: "bookworm", packages: PACKAGES, hook: HOOK },
        Self { release: 13, suite: "trixie", packages: PACKAGES, hook: HOOK },
    ];

    /// A name made of the recipe: another recipe is another root.
    fn path(&self) -> PathBuf {
        let mut hash = DefaultHasher::new();
        self.hash(&mut hash);
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let name = format!("target/clean/debian-{}-{:08x}", self.release, hash.finish() as u32);
        workspace.join(name)
    }

    /// Makes it unless it is there; one cut short is under another name.
    pub fn make(&self) {
        let path = self.path();
        if path.exists() {
            return;
        }
        eprintln!("making a clean root of Debian {}; about half a minute", self.release);
        let new = path.with_extension("new");
        let _ = std::fs::remove_dir_all(&new);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let output = Command::new("mmdebstrap")
            .args(["--quiet", "--variant=minbase", "--skip=cleanup/apt/lists"])
            // Manual pages are what a case looks for.
            .arg(format!("--include={}", self.packages))
            .arg(format!("--customize-hook={}", self.hook))
            .arg(self.suite)
            .arg(&new)
            .args(std::env::var_os("LAB_MIRROR"))
            .stdin(Stdio::null())
            .output()
            .expect("mmdebstrap");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::rename(&new, &path).unwrap();
    }
}

/// A copy of a root in namespaces of its own, without a network. The packages
/// lie in `/packages`.
pub struct Root {
    holder: Child,
    /// The first process in there, by its number out here.
    first: String,
    stage: tempfile::TempDir,
}

/// Copied on write; ends as the first process of the new root, which lives as
/// long as the other end of its input is open. That is closed when the test
/// program ends, also by a kill, and the kernel ends what is left in there.
const ENTER: &str = r#"set -e
mount -t tmpfs none "$STAGE"
mkdir "$STAGE/upper" "$STAGE/work" "$STAGE/root"
mount -t overlay -o "lowerdir=$BASE,upperdir=$STAGE/upper,workdir=$STAGE/work" none "$STAGE/root"
cd "$STAGE/root"
mount -t proc none proc
mount --rbind /dev dev
mount -t sysfs none sys
mount -t tmpfs -o mode=0755 none run
mount -t tmpfs -o mode=1777 none tmp
mkdir packages
mount --bind "$PACKAGES" packages
ip link set lo up
ip link add eth0 type veth peer name peer0
ip address add 10.10.0.1/24 dev eth0
ip link set eth0 up
ip link set peer0 up
hostname node1
exec chroot . sh -c 'echo ready; exec cat'
"#;

/// What a line came to.
pub struct Said {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Root {
    pub fn of(base: &Base, packages: &Path) -> Self {
        let stage = tempfile::tempdir().unwrap();
        let mut holder = Command::new("unshare")
            .args(["--mount", "--net", "--pid", "--ipc", "--uts", "--fork", "--kill-child"])
            .args(["--propagation", "private", "sh", "-c", ENTER])
            .env("BASE", base.path())
            .env("STAGE", stage.path())
            .env("PACKAGES", packages)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        assert_eq!(ready, "ready\n", "no copy of the root");
        let id = holder.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let first = children.split_whitespace().next().unwrap().to_owned();
        Self { holder, first, stage }
    }

    /// Runs a line of shell as root; never outside, whatever has become of the
    /// first process in there.
    pub fn run(&self, line: &str) -> Said {
        let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let output = Command::new("nsenter")
            .args(["--target", &self.first, "--mount", "--net", "--pid", "--ipc", "--uts"])
            .args(["--root", "--wd=/", "timeout", "120", "env", "-i", path, "HOME=/root"])
            .args(["LC_ALL=C.UTF-8", "TERM=dumb", "DEBIAN_FRONTEND=noninteractive"])
            .args(["sh", "-c", &format!("test -d /packages || exit 99\n{line}")])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Said {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs a line that must succeed, and returns what it prints.
    pub fn must(&self, line: &str) -> String {
        let said = self.run(line);
        assert!(said.code == 0, "{line}: {said}");
        said.stdout
    }

    /// Installs our packages, those for heartbeat too.
    pub fn install(&self) -> Said {
        self.dpkg("-i /packages/sturdy-agents_*.deb /packages/sturdy-agents-haresources_*.deb")
    }

    /// dpkg's words; it must succeed.
    pub fn dpkg(&self, words: &str) -> Said {
        let said = self.run(&format!("dpkg {words}"));
        assert!(said.code == 0, "dpkg {words}: {said}");
        said
    }

    /// Every path that packages may have put somewhere, with what it is.
    pub fn paths(&self) -> Vec<String> {
        let list = self.must(
            "find / -xdev \\( -path /var/lib/dpkg -o -path /var/log -o -path /var/cache \
             -o -path /tmp -o -path /run -o -path /packages -o -path /var/lib/systemd \\) -prune \
             -o -type d -printf '%p/ %m %u\\n' -o -type l -printf '%p -> %l\\n' \
             -o -printf '%p %m %u %s %T@\\n'",
        );
        let mut paths: Vec<_> = list.lines().map(str::to_owned).collect();
        paths.sort_unstable();
        paths
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
        debug_assert!(self.stage.path().exists());
    }
}

/// The word by which this program knows that it is to make a root and wait.
const HOLDER: &str = "--makes-a-root-and-waits";

/// Whether this program was started for that.
pub fn is_holder() -> bool {
    std::env::args().nth(1).is_some_and(|word| word == HOLDER)
}

/// Makes a root, tells its two processes, and waits to be killed.
pub fn hold() -> ! {
    let root = Root::of(&Base::ALL[0], Path::new("/usr/share/doc"));
    println!("{} {}", root.holder.id(), root.first);
    loop {
        std::thread::park();
    }
}

pub fn ends_with_its_program() {
    let mut program = Command::new(std::env::current_exe().unwrap())
        .arg(HOLDER)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = String::new();
    BufReader::new(program.stdout.take().unwrap()).read_line(&mut told).unwrap();
    let lives = |id: &&str| Path::new("/proc").join(id).exists();
    assert_eq!(told.split_whitespace().filter(lives).count(), 2, "{told}");
    program.kill().unwrap();
    program.wait().unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    while told.split_whitespace().any(|id| lives(&id)) {
        assert!(Instant::now() < end, "ten seconds later one of these still lives: {told}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "exit code {}\n{}{}", self.code, self.stdout, self.stderr)
    }
}
