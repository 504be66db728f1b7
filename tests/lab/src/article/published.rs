//! The set-ups themselves.

use super::{Article, Change, Domain, Group, Mount, Owner, Service, Settings};
use crate::disk::LOWER;

/// Every set-up, in the order they are played.
pub const ALL: [&Article; 15] = [
    &NFS, &LVM, &NFS4, &NFS3, &ASYNC, &MYSQL, &XEN, &XENHA, &DOMAINS, &JFS, &ISCSI, &AOE, &GFS2,
    &KVM, &FENCED,
];

const WEB: &str = "/redundantstorage/web_files";
const OTHER: &str = "/redundantstorage/other_files";
/// The NFS article's mount options.
const OPTIONS: &str = "nosuid,usrquota,noatime";

/// heartbeat moves a group on request only where this is decided, which the
/// storage article left to it; as the NFS article decided.
const NOTHING_MOVES_BACK: Change = ("initdead 120\n", "initdead 120\nauto_failback off\n");

const NFS_FILES: &[(&str, &str)] = &[
    ("ha.cf", include_str!("../../setups/nfs/ha.cf")),
    ("authkeys", include_str!("../../setups/nfs/authkeys")),
    ("haresources", include_str!("../../setups/nfs/haresources")),
    ("redundantstorage.res", include_str!("../../setups/nfs/redundantstorage.res")),
];

/// The NFS article's names, devices and addresses, as they are here.
const NFS_PLACES: &[Change] = &[
    ("storage-server0.example.org", "node1"),
    ("storage-server1.example.org", "node2"),
    ("10.10.0.10/24/eth0", "10.10.1.10/24/bond0"),
    ("/dev/sda3", LOWER),
    ("10.10.0.86:7788", "10.10.2.251:7788"),
    ("10.10.0.88:7788", "10.10.2.252:7788"),
];

/// heartbeat hears the other node on both networks, so that a fault of one is
/// no split; the article has one.
const TWO_PATHS: &[Change] = &[("bcast eth0", "bcast bond0 bond1")];

/// The article's one path.
const ONE_PATH: Change = ("bcast eth0", "bcast bond0");

/// Where its clients are.
const SUBNET: Change = ("10.10.0.0/24", "10.10.1.0/24");

/// The NFS article with one file system on the DRBD device itself.
const WITHOUT_LVM: &[Change] = &[
    ("lvm2 \\\n", ""),
    ("/dev/redundantstorage/web_files", "/dev/drbd0"),
    (
        "Filesystem::/dev/redundantstorage/other_files::/redundantstorage/other_files\
         ::ext4::nosuid,usrquota,noatime \\\n",
        "",
    ),
];

/// The lab's ledger in the place of the NFS server.
const WITHOUT_SERVER: &[Change] = &[("nfs-common \\\nnfs-kernel-server", "ledger")];

/// The NFS article's lower half on ext4 without LVM, the address first.
const NFS: Article = Article {
    name: "nfs",
    about: "the NFS article's lower half without LVM: address, DRBD, ext4",
    files: NFS_FILES,
    changes: &[NFS_PLACES, TWO_PATHS, WITHOUT_LVM, WITHOUT_SERVER],
    resource: "redundantstorage",
    minor: 0,
    settings: None,
    group: None,
    mounts: &[Mount { device: "/dev/drbd0", directory: WEB, fstype: "ext4", options: OPTIONS }],
    address: Some("10.10.1.10"),
    address_first: true,
    service: Service::Ledger,
    domain: None,
};

/// The NFS article with its two volumes, everything but the NFS server.
const LVM: Article = Article {
    name: "lvm",
    about: "the NFS article's lower half: address, DRBD, lvm2, two volumes with ext4",
    files: NFS_FILES,
    changes: &[NFS_PLACES, TWO_PATHS, WITHOUT_SERVER],
    resource: "redundantstorage",
    minor: 0,
    settings: None,
    group: Some(Group {
        name: "redundantstorage",
        volumes: &[("web_files", 20), ("other_files", 12)],
        agent: "lvm2",
        owner: Owner::SystemId,
    }),
    mounts: &[
        Mount {
            device: "/dev/redundantstorage/web_files",
            directory: WEB,
            fstype: "ext4",
            options: OPTIONS,
        },
        Mount {
            device: "/dev/redundantstorage/other_files",
            directory: OTHER,
            fstype: "ext4",
            options: OPTIONS,
        },
    ],
    address: Some("10.10.1.10"),
    address_first: true,
    service: Service::Ledger,
    domain: None,
};

/// The NFS article to its last word.
const NFS4: Article = Article {
    name: "nfs4",
    about: "the NFS article: address, DRBD, lvm2, two volumes with ext4, NFS server",
    files: &[
        NFS_FILES[0],
        NFS_FILES[1],
        NFS_FILES[2],
        NFS_FILES[3],
        ("exports", include_str!("../../setups/nfs/exports")),
    ],
    changes: &[
        NFS_PLACES,
        &[
            ONE_PATH,
            SUBNET,
            // As published, the server acknowledges what is in its memory, and a
            // power cut lost 40 acknowledged records of 2441.
            ("rw,async", "rw,sync"),
        ],
    ],
    service: Service::Nfs("4.2"),
    ..LVM
};

/// The same for a client of the older protocol, with locks and mounts by
/// daemons of their own.
const NFS3: Article = Article {
    name: "nfs3",
    about: "the NFS article, mounted by NFSv3",
    service: Service::Nfs("3"),
    ..NFS4
};

/// The NFS article with the option of its exports as it was printed: the server
/// acknowledges what is in its memory.
const ASYNC: Article = Article {
    name: "nfs-async",
    about: "the NFS article, exported with async as there: a power cut loses what was acknowledged",
    changes: &[NFS_PLACES, &[ONE_PATH, SUBNET]],
    ..NFS4
};

const XEN_FILES: &[(&str, &str)] = &[
    ("ha.cf", include_str!("../../setups/xen/ha.cf")),
    ("authkeys", include_str!("../../setups/xen/authkeys")),
    ("haresources", include_str!("../../setups/xen/haresources")),
    ("r1.res", include_str!("../../setups/xen/r1.res")),
    ("lvm.conf", include_str!("../../setups/xen/lvm.conf")),
];

/// The Xen article's names, devices and addresses, as they are here.
const XEN_PLACES: &[Change] = &[
    ("milo1", "node1"),
    ("milo2", "node2"),
    // The article's nodes have one way to hear each other; here the peer's
    // addresses are named, as its own are.
    ("ucast xen-br0 192.168.0.1", "ucast bond1 10.10.2.251"),
    ("ucast xen-br0 192.168.0.2", "ucast bond1 10.10.2.252"),
    ("192.168.0.1:7789", "10.10.2.251:7789"),
    ("192.168.0.2:7789", "10.10.2.252:7789"),
    ("/dev/sda3", LOWER),
    ("/dev/hdd3", LOWER),
    // Words of DRBD 0.7 that today's does not know.
    (
        "   incon-degr-cmd \"echo '!DRBD! pri on incon-degr' | wall\u{a0}; sleep 60\u{a0}; halt -f\";\n",
        "",
    ),
    ("    group 2;\n", ""),
];

/// The Xen article's DRBD and volume group, with a file system where its
/// guests were.
const XEN: Article = Article {
    name: "xen",
    about: "the Xen article's lower half: DRBD, LVM, and ext4 on a volume",
    files: XEN_FILES,
    changes: &[
        XEN_PLACES,
        &[(
            "xenHA",
            "Filesystem::/dev/vg/data::/mnt/lvm1::ext4 IPaddr::10.10.1.20/24/bond0 ledger",
        )],
    ],
    resource: "r1",
    minor: 1,
    settings: None,
    group: Some(Group { name: "vg", volumes: &[("data", 20)], agent: "LVM", owner: Owner::Tag }),
    mounts: &[Mount {
        device: "/dev/vg/data",
        directory: "/mnt/lvm1",
        fstype: "ext4",
        options: "",
    }],
    address: Some("10.10.1.20"),
    address_first: false,
    service: Service::Ledger,
    domain: None,
};

/// The Xen article to its last word: its line as printed, on two nodes with the
/// hypervisor.
const XENHA: Article = Article {
    name: "xenha",
    about: "the Xen article: DRBD, LVM, and a guest of Xen's whose disk is a volume",
    changes: &[XEN_PLACES],
    group: Some(Group { name: "vg", volumes: &[("guest", 8)], agent: "LVM", owner: Owner::Tag }),
    mounts: &[],
    address: None,
    service: Service::Guest,
    ..XEN
};

/// The Xen article's line for guests of libvirt's, of which it has none: they are
/// ours.
const DOMAINS: Article = Article {
    name: "domains",
    about: "the Xen article's line for guests of libvirt's whose disks are volumes",
    changes: &[XEN_PLACES, &[("xenHA", "DomainGroup::/etc/libvirt/ha.d::qemu:///system")]],
    group: Some(Group {
        name: "vg",
        volumes: &[("web", 4), ("mail", 4)],
        agent: "LVM",
        owner: Owner::Tag,
    }),
    service: Service::Domains(&[
        Domain { name: "web", volume: "web" },
        Domain { name: "mail", volume: "mail" },
    ]),
    ..XENHA
};

/// The storage article's replicated jfs with its address, the address last.
const JFS: Article = Article {
    name: "jfs",
    about: "the storage article's DRBD and jfs, with its address last",
    files: &[
        ("ha.cf", include_str!("../../setups/iscsi/ha.cf")),
        ("authkeys", include_str!("../../setups/iscsi/authkeys")),
        ("haresources", include_str!("../../setups/iscsi/haresources")),
        ("redundantstorage.res", include_str!("../../setups/nfs/redundantstorage.res")),
    ],
    changes: &[&[
        NOTHING_MOVES_BACK,
        ("storage-server0.example.org", "node1"),
        ("storage-server1.example.org", "node2"),
        ("/dev/sda3", LOWER),
        ("10.10.0.86:7788", "10.10.2.251:7788"),
        ("10.10.0.88:7788", "10.10.2.252:7788"),
        ("drbddisk::iscsi.config", "drbddisk::redundantstorage"),
        (
            "::jfs\nnode1 IPaddr::10.10.1.250/24/bond0 drbddisk::iscsi.target.0 iscsitarget",
            "::jfs IPaddr::10.10.1.250/24/bond0 ledger",
        ),
    ]],
    resource: "redundantstorage",
    minor: 0,
    settings: None,
    group: None,
    mounts: &[Mount { device: "/dev/drbd0", directory: "/srv/data", fstype: "jfs", options: "" }],
    address: Some("10.10.1.250"),
    address_first: false,
    service: Service::Ledger,
    domain: None,
};

/// The disks of the two storage articles, as they are here: one for DRBD's
/// metadata, one for the small file system, one for the target.
const STORAGE_DISKS: &[Change] =
    &[("/dev/vdd1", LOWER), ("/dev/vdc1", "/dev/vdd"), ("/dev/vdb1", "/dev/vdc")];

/// Where both keep the file that says what is served.
const SETTINGS: Mount =
    Mount { device: "/dev/drbd0", directory: "/srv/data", fstype: "jfs", options: "" };

/// The storage article to its last word: a small file system with the target's
/// configuration, and a disk for iSCSI's initiators.
const ISCSI: Article = Article {
    name: "iscsi",
    about: "the storage article: DRBD and jfs for ietd.conf; address, DRBD, iSCSI with CHAP",
    files: &[
        ("ha.cf", include_str!("../../setups/iscsi/ha.cf")),
        ("authkeys", include_str!("../../setups/iscsi/authkeys")),
        ("haresources", include_str!("../../setups/iscsi/haresources")),
        ("drbd.conf", include_str!("../../setups/iscsi/drbd.conf")),
        ("ietd.conf", include_str!("../../setups/iscsi/ietd.conf")),
        ("iscsid.conf", include_str!("../../setups/iscsi/iscsid.conf")),
        ("initiatorname.iscsi", include_str!("../../setups/iscsi/initiatorname.iscsi")),
    ],
    changes: &[
        STORAGE_DISKS,
        // ietd.conf has no user for discovery, and IET let in whoever gave one. LIO
        // does not: open-iscsi offers `AuthMethod=CHAP,None` where it has a user's
        // name, LIO takes CHAP, and declares the login complete without a question.
        &[
            ("discovery.sendtargets.auth.username = geekshlby\n", ""),
            ("discovery.sendtargets.auth.password = secret\n", ""),
        ],
    ],
    resource: "iscsi.target.0",
    minor: 1,
    settings: Some(Settings {
        resource: "iscsi.config",
        minor: 0,
        file: "ietd.conf",
        directory: "/srv/data/iscsi",
    }),
    group: None,
    mounts: &[SETTINGS],
    address: Some("10.10.1.250"),
    address_first: true,
    service: Service::Iscsi,
    domain: None,
};

/// The ATA over Ethernet article to its last word.
const AOE: Article = Article {
    name: "aoe",
    about: "the ATA over Ethernet article: DRBD and jfs for vblade.conf; DRBD, vblade",
    files: &[
        ("ha.cf", include_str!("../../setups/aoe/ha.cf")),
        ("authkeys", include_str!("../../setups/aoe/authkeys")),
        ("haresources", include_str!("../../setups/aoe/haresources")),
        ("drbd.conf", include_str!("../../setups/aoe/drbd.conf")),
        ("vblade.conf", include_str!("../../setups/aoe/vblade.conf")),
    ],
    changes: &[STORAGE_DISKS],
    resource: "aoe.target.0",
    minor: 1,
    settings: Some(Settings {
        resource: "aoe.config",
        minor: 0,
        file: "vblade.conf",
        directory: "/srv/data/aoe",
    }),
    group: None,
    mounts: &[SETTINGS],
    address: None,
    address_first: false,
    service: Service::Aoe,
    domain: None,
};

/// The database that the NFS article's author describes in the same way: virtual
/// address, DRBD, a file system on /var/lib/mysql, the server on the primary
/// alone. He prints no configuration, so the line is ours.
const MYSQL: Article = Article {
    name: "mysql",
    about: "the NFS article's sibling: address, DRBD, ext4 on /var/lib/mysql, MariaDB",
    changes: &[
        NFS_PLACES,
        &[
            ONE_PATH,
            (
                "lvm2 \\\nFilesystem::/dev/redundantstorage/web_files::/redundantstorage/web_files\
                 ::ext4::nosuid,usrquota,noatime \\\n",
                "Filesystem::/dev/drbd0::/var/lib/mysql::ext4::noatime \\\n",
            ),
            (
                "Filesystem::/dev/redundantstorage/other_files::/redundantstorage/other_files\
                 ::ext4::nosuid,usrquota,noatime \\\n",
                "",
            ),
            ("nfs-common \\\nnfs-kernel-server", "mariadb"),
        ],
    ],
    mounts: &[Mount {
        device: "/dev/drbd0",
        directory: "/var/lib/mysql",
        fstype: "ext4",
        options: "noatime",
    }],
    service: Service::Sql,
    ..NFS
};

/// The cluster tutorial's DRBD with two primaries, a shared volume group and
/// GFS2. Its cman, fenced and clvmd are Pacemaker, the keeper of the lab's
/// power and lvmlockd; its `obliterate-peer.sh` is our handler.
const GFS2: Article = Article {
    name: "gfs2",
    about: "the KVM tutorial's storage: DRBD Primary on both nodes, a shared group, GFS2",
    files: &[
        ("r0.res", include_str!("../../setups/gfs2/r0.res")),
        ("global_common.conf", include_str!("../../setups/gfs2/global_common.conf")),
    ],
    changes: &[&[
        ("an-node01.alteeve.com", "node1"),
        ("an-node02.alteeve.com", "node2"),
        ("10.10.0.1:7789", "10.10.2.251:7789"),
        ("10.10.0.2:7789", "10.10.2.252:7789"),
        ("/dev/sda5", LOWER),
        // The lines were added to a file; here they are all there is in it.
        (
            "\t\tfence-peer\t\t\"/sbin/obliterate-peer.sh\";",
            "global { usage-count no; }\ncommon {\n\thandlers {\n\
             \t\tfence-peer\t\t\"/usr/lib/sturdy/drbd-fence-peer --stonith --timeout 240\";\n\
             \t\tafter-resync-target\t\"/usr/lib/sturdy/drbd-unfence-peer\";\n\t}\n\tstartup {",
        ),
        ("degr-wfc-timeout\t120;", "degr-wfc-timeout\t120;\n\t}\n\tdisk {"),
        (
            "\t\tallow-two-primaries;",
            // As fast as there; what DRBD sends again must not wait for writers.
            "\t\tresync-rate\t\t20M;\n\t\tc-plan-ahead\t\t0;\n\t\tc-min-rate\t\t0;\n\
             \t}\n\tnet {\n\t\tallow-two-primaries;",
        ),
        ("\t\trate\t\t\t20M;", "\t}\n}"),
    ]],
    resource: "r0",
    minor: 0,
    settings: None,
    group: Some(Group {
        name: "vg0",
        volumes: &[("shared", 40)],
        agent: "LVM",
        owner: Owner::Locks,
    }),
    mounts: &[Mount {
        device: "/dev/vg0/shared",
        directory: "/shared",
        fstype: "gfs2",
        options: "",
    }],
    address: None,
    address_first: false,
    service: Service::Writers,
    domain: None,
};

/// The same with a guest, which the tutorial's excerpt ends before: it is ours.
const KVM: Article = Article {
    name: "kvm",
    about: "the KVM tutorial's storage, and a guest of ours that is moved while it runs",
    group: Some(Group {
        name: "vg0",
        volumes: &[("shared", 40), ("counter", 4)],
        agent: "LVM",
        owner: Owner::Locks,
    }),
    domain: Some(Domain { name: "counter", volume: "counter" }),
    ..GFS2
};

/// The NFS article's set-up with a handler: before DRBD goes on alone, the
/// cluster bars the peer from promotion.
const FENCED: Article = Article {
    name: "fenced",
    about: "the NFS article's lower half without LVM; DRBD has its peer barred by the cluster",
    changes: &[
        NFS_PLACES,
        TWO_PATHS,
        WITHOUT_LVM,
        WITHOUT_SERVER,
        &[(
            "disk { on-io-error detach; }",
            "disk { on-io-error detach; fencing resource-only; }\n handlers {\n  \
             fence-peer \"/usr/lib/sturdy/drbd-fence-peer\";\n  \
             after-resync-target \"/usr/lib/sturdy/drbd-unfence-peer\";\n }",
        )],
    ],
    ..NFS
};
