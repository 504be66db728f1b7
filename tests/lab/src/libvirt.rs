//! libvirt on the nodes, and the guests that the cluster runs there, or moves from
//! one to the other while they run. A guest has a sector of software, so that it
//! boots in seconds where a machine that is emulated emulates it once more.

use super::article::{Article, Domain, Group};
use super::client::Machine;
use super::guest::{SELF, serial_file};
use anyhow::{Context, Result};
use std::fmt::Write as _;
use std::time::Duration;

/// An emulated machine takes most of it for the daemon's start.
const LIMIT: Duration = Duration::from_secs(180);

/// Counts in the second sector of its disk, says each number on the serial line
/// once the disk has it, and goes on at the number that it finds there when it
/// boots. It counts each second tick of the clock, eighteen of which are a second,
/// and turns the machine off when the power button was pressed. By what it says, a
/// boot, a number and the end of a number are told apart; a number of which the
/// first half was said on one node and the rest on the other is told by neither.
///
/// ```text
///         xor ax,ax; mov ds,ax; mov es,ax; mov ss,ax; mov sp,0x7c00
///         mov dx,0x602; mov ax,0x100; out dx,ax        ; PM1 enable: the button
///         mov al,'!'; call put
///         mov ah,0x42; call disk                       ; read
/// next:   inc dword [0x8000]
/// again:  mov ax,0x4300; call disk; jc again           ; write
///         mov eax,[0x8000]; mov ebx,10; xor cx,cx
/// digit:  xor edx,edx; div ebx; add dl,'0'; push dx; inc cx
///         test eax,eax; jnz digit
///         mov al,'='; call put
/// print:  pop ax; call put; loop print
///         mov al,10; call put
///         sti; hlt; hlt
///         mov dx,0x600; in ax,dx; test ah,1; jz next   ; PM1 status: the button
///         mov dx,0x604; mov ax,0x2000; out dx,ax       ; PM1 control: off
/// done:   hlt; jmp done
/// disk:   mov si,packet; mov dl,0x80; int 0x13; ret
/// put:    xchg ah,al; mov dx,0x3fd
/// wait:   in al,dx; test al,0x20; jz wait
///         mov dx,0x3f8; xchg ah,al; out dx,al; ret
/// packet: db 16,0; dw 1; dw 0x8000,0; dq 1             ; one sector, the second
/// ```
const SOFTWARE: [&str; 17] = [
    "31c08ed88ec08ed0bc007c",
    "ba0206b80001ef",
    "b021e85c00",
    "b442e84f00",
    "66ff060080",
    "b80043e8440072f8",
    "66a1008066bb0a00000031c9",
    "6631d266f7f380c2305241",
    "6685c075f0",
    "b03de82900",
    "58e82500e2fa",
    "b00ae81e00",
    "fbf4f4ba0006edf6c40174bb",
    "ba0406b80020eff4ebfd",
    "be847cb280cd13c3",
    "86c4bafd03eca82074fbbaf80386c4eec3",
    "100001000080000001000000000000000000",
];

/// What a node's libvirt and its guests are like: root runs them, which no module
/// of the kernel's confines, in no control group, with their output in files.
const QEMU_CONF: &str = "\
user = \"root\"
group = \"root\"
security_driver = \"none\"
namespaces = []
cgroup_controllers = []
dynamic_ownership = 0
remember_owner = 0
stdio_handler = \"file\"
";

/// Whoever is on the private network may ask it, for migrations.
const LIBVIRTD_CONF: &str = "\
listen_tls = 0
listen_tcp = 1
auth_tcp = \"none\"
auth_unix_rw = \"none\"
auth_unix_ro = \"none\"
";

/// Whom libvirt's daemon has to find, though nothing is theirs; a package that
/// brings units for systemd would make them.
const USERS: &str = "\
grep -q ^libvirt-qemu: /etc/passwd || {
echo 'libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin' >> /etc/passwd
grep -q ^kvm: /etc/group || echo 'kvm:x:64055:' >> /etc/group
echo 'libvirt-qemu:x:64056:' >> /etc/group
}
";

/// What an init system would start at boot: libvirt's daemon, and what tells the
/// host what the guests say.
const AT_BOOT: &str = "\
[ -s /run/libvirt/qemu/driver.pid ] && kill -0 $(cat /run/libvirt/qemu/driver.pid) || \
{ mkdir -p /run/libvirt /var/lib/libvirt /var/log/libvirt; libvirtd --daemon --listen 2>&1; }
[ -e /run/lab/serial.pid ] || \
{ setsid SELF serial-follow GUESTS </dev/null >/dev/null 2>&1 & echo $! > /run/lab/serial.pid; }
";

/// Where libvirt notes what becomes of a guest.
fn status_file(domain: &Domain) -> String {
    format!("/run/libvirt/qemu/{}.xml", domain.name)
}

/// What is done once on a node, in shell, if the article has guests.
pub fn preparation(node: &str, article: &Article) -> String {
    if article.domains().next().is_none() {
        return String::new();
    }
    // Two hosts of one identity do not migrate, and the machines have none of their own.
    let digit = node.bytes().last().map_or('0', char::from);
    let identity = format!("{0}{0}-1111-2222-3333-444444444444", digit.to_string().repeat(4));
    format!(
        "{USERS}cat > /etc/libvirt/qemu.conf <<'END'\n{QEMU_CONF}END\n\
         cat > /etc/libvirt/libvirtd.conf <<'END'\n{LIBVIRTD_CONF}host_uuid = \"{identity}\"\nEND\n"
    )
}

/// Starts what is to run on a node for the article's guests, unless it does.
pub fn start(machine: &Machine, article: &Article) -> Result<()> {
    let guests: Vec<&str> = article.domains().map(|domain| domain.name).collect();
    if !guests.is_empty() {
        let script = AT_BOOT.replace("SELF", SELF).replace("GUESTS", &guests.join(" "));
        machine.shell(&script, LIMIT)?;
    }
    Ok(())
}

/// Puts the guests' software on their disks, in shell, on a node on which the volumes
/// are active.
pub fn install_software(article: &Article) -> String {
    let mut sector = String::new();
    for byte in software() {
        let _ = write!(sector, "\\{byte:03o}");
    }
    let write = |disk| format!("printf '{sector}' | dd of={disk} conv=fsync,notrunc 2>&1\n");
    disks(article).map(|(_, disk)| write(disk)).collect()
}

/// Puts the guests' definitions into a directory, in shell.
pub fn define(article: &Article, directory: &str) -> String {
    let write = |(domain, disk): (&Domain, String)| {
        let definition = definition(domain, &disk);
        format!("cat > {} <<'END'\n{definition}END\n", domain.config(directory))
    };
    format!("mkdir -p {directory}\n{}", disks(article).map(write).collect::<String>())
}

/// The guests, each with its disk.
fn disks(article: &Article) -> impl Iterator<Item = (&Domain, String)> {
    let group = article.group.as_ref();
    article.domains().filter_map(move |domain| Some((domain, domain.disk(group?))))
}

/// A boot sector.
fn software() -> Vec<u8> {
    let text = SOFTWARE.concat();
    let digit = |c: u8| char::from(c).to_digit(16).unwrap_or_default() as u8;
    let pairs = text.as_bytes().chunks_exact(2);
    let mut sector: Vec<u8> = pairs.map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect();
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    sector
}

/// A guest that needs as little as can be. What it has written is on the disk, and
/// in no memory of the node's, since that would not move with it.
fn definition(domain: &Domain, disk: &str) -> String {
    let name = domain.name;
    let serial = serial_file(name);
    let digits: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "<domain type='qemu'>
  <name>{name}</name>
  <uuid>5a3c2e10-77aa-4b7e-9d0e-{digits:0<12.12}</uuid>
  <memory unit='MiB'>16</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <features><acpi/></features>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    <disk type='block' device='disk'>
      <driver name='qemu' type='raw' cache='directsync'/>
      <source dev='{disk}'/>
      <target dev='hda' bus='ide'/>
      <shareable/>
    </disk>
    <serial type='file'><source path='{serial}' append='on'/></serial>
  </devices>
</domain>
"
    )
}

/// Whether the guest runs, and does not only exist, on a node whose files `read`
/// reads: while it is moved here it has a process that waits.
pub fn runs(domain: &Domain, read: &impl Fn(&str) -> Result<String>) -> bool {
    let status = read(&status_file(domain)).unwrap_or_default();
    let value = |name: &str| {
        let rest = status.split_once(&format!(" {name}='"))?.1;
        rest.split_once('\'').map(|(value, _)| value.to_owned())
    };
    let pid = value("pid").unwrap_or_default();
    let command = read(&format!("/proc/{pid}/cmdline")).unwrap_or_default();
    value("state").is_some_and(|state| state == "running")
        && command.contains(&format!("guest={},", domain.name))
}

/// The number on the guest's disk, past what the node has in memory.
pub fn number(machine: &Machine, domain: &Domain, group: &Group) -> Result<u64> {
    let script = format!(
        "dd if={} bs=512 skip=1 count=1 iflag=direct 2>/dev/null | od -A n -t u4 -N 4",
        domain.disk(group)
    );
    let said = machine.shell(&script, LIMIT)?;
    said.trim().parse().with_context(|| format!("no number on the guest's disk: {said:?}"))
}

/// Kills libvirt's daemon, and starts it again as its unit for systemd would.
pub fn kill_daemon(machine: &Machine, article: &Article) -> Result<()> {
    machine.shell("kill -KILL $(cat /run/libvirt/qemu/driver.pid) && sleep 1", LIMIT)?;
    start(machine, article)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNTER: Domain = Domain { name: "counter", volume: "counter" };

    #[test]
    fn the_software_is_one_sector_and_its_calls_lead_where_they_should() {
        let sector = software();
        assert_eq!((sector.len(), &sector[510..]), (512, &[0x55, 0xaa][..]));
        // Where `disk` has the packet's place in memory, and where that is.
        let code = SOFTWARE[..16].concat().len() / 2;
        assert_eq!(sector[code..code + 4], [16, 0, 1, 0]);
        let disk = SOFTWARE[..14].concat().len() / 2;
        assert_eq!(sector[disk + 1..disk + 3], (0x7c00 + code as u16).to_le_bytes());
    }

    #[test]
    fn a_guest_that_waits_for_its_memory_does_not_run() {
        let runs = |state: &str, command: &str| {
            runs(&COUNTER, &|path: &str| match path {
                "/run/libvirt/qemu/counter.xml" => {
                    Ok(format!("<domstatus state='{state}' reason='booted' pid='17'>\n"))
                }
                "/proc/17/cmdline" => Ok(command.to_owned()),
                _ => anyhow::bail!("no such file"),
            })
        };
        let command = "/usr/bin/qemu-system-x86_64\0-name\0guest=counter,debug-threads=on\0";
        assert!(runs("running", command));
        assert!(!runs("paused", command));
        assert!(!runs("running", "sleep\0"), "a number used again");
    }
}
