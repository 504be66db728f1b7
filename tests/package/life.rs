//! From the installation to the purge.

use crate::root::Root;

/// What Pacemaker says to an agent that binds a directory to another.
const BOUND: &str = "env OCF_ROOT=/usr/lib/ocf OCF_RA_VERSION_MAJOR=1 OCF_RESOURCE_INSTANCE=data \
                     OCF_RESKEY_device=/srv/from OCF_RESKEY_directory=/srv/data \
                     OCF_RESKEY_fstype=none OCF_RESKEY_options=bind \
                     /usr/lib/ocf/resource.d/sturdy/Filesystem";

pub fn upgrade(root: &Root) {
    root.install();
    // The same package by an older number: what is tried is dpkg's part in it.
    root.must(
        "cd /tmp && for package in /packages/*.deb; do dpkg-deb -R $package older \
         && sed -i 's/^Version: .*/Version: 0.0.1-1/; s/sturdy-agents (= [^)]*)/sturdy-agents (= 0.0.1-1)/' \
         older/DEBIAN/control && dpkg-deb -b older older-$(basename $package) && rm -r older; done",
    );
    root.dpkg("--purge sturdy-agents-haresources sturdy-agents");
    root.dpkg("-i /tmp/older-*.deb");
    root.must(&format!("mkdir -p /srv/from /srv/data && {BOUND} start"));
    let upgrade = root.install();
    assert!(upgrade.stdout.contains("over (0.0.1-1)"), "{upgrade}");
    root.must("mountpoint -q /srv/data");
    root.must(&format!("{BOUND} monitor && {BOUND} stop"));
    assert_eq!(root.run("mountpoint -q /srv/data").code, 32);
    assert_eq!(root.run(&format!("{BOUND} monitor")).code, 7);
}

pub fn purge(root: &Root) {
    let before = root.paths();
    root.install();
    let during = root.paths();
    let changed: Vec<_> = before.iter().filter(|path| !during.contains(path)).collect();
    assert!(changed.is_empty(), "the installation changed {changed:?}");
    root.dpkg("--remove sturdy-agents-haresources sturdy-agents");
    root.dpkg("--purge sturdy-agents-haresources sturdy-agents");
    let after = root.paths();
    let left: Vec<_> = after.iter().filter(|path| !before.contains(path)).collect();
    assert!(left.is_empty() && after.len() == before.len(), "left: {left:?}");
}

pub fn rpm(root: &Root) {
    // The scripts of the package need programs: those of Debian. The directories
    // are of packages that every such distribution has.
    root.must("mkdir -p /srv/other/usr && cp -a /bin /lib /lib64 /sbin /srv/other");
    root.must("cp -a /usr/bin /usr/lib64 /usr/sbin /srv/other/usr && mkdir -p /srv/other/usr/lib");
    root.must("cp -a /usr/lib/x86_64-linux-gnu /srv/other/usr/lib");
    root.must(
        "cd /srv/other/usr && mkdir -p lib/tmpfiles.d libexec share/doc share/licenses share/man/man7",
    );
    let paths = || -> Vec<String> {
        let list = "cd /srv/other && find . \\( -path ./var -o -path ./tmp -o -path ./run \\) -prune -o -print";
        root.must(list).lines().map(str::to_owned).collect()
    };
    let before = paths();
    // Debian's own does nothing for its users, in a release that is older, unless it is told.
    let force = match root.must("rpm --version").contains(" 4.18") {
        true => "--force-debian",
        false => "",
    };
    let rpm = "rpm --root /srv/other --dbpath /var/lib/rpm";
    root.must(&format!("{rpm} --initdb"));
    root.must(&format!("{rpm} -i {force} --nodeps /packages/sturdy-agents-*.rpm"));
    assert_eq!(root.must(&format!("{rpm} -V --nodeps sturdy-agents")), "");
    root.must(
        "chroot /srv/other /usr/lib/ocf/resource.d/sturdy/IPaddr2 meta-data | grep -q 'name=\"IPaddr\"'",
    );
    root.must("test -x /srv/other/usr/libexec/sturdy/drbd-fence-peer");
    root.must(&format!("{rpm} -e {force} sturdy-agents"));
    let left: Vec<_> = paths().into_iter().filter(|path| !before.contains(path)).collect();
    assert_eq!(left, [""; 0]);
}
