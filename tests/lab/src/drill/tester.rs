//! `ocf-tester`, on the real module.

use super::stand::{GROUP, Stand};
use anyhow::{Result, ensure};

fn test(stand: &Stand, agent: &str, before: &str, options: &str) -> Result<String> {
    let node = stand.node(0);
    for node in stand.nodes() {
        node.pretend("/usr/sbin/crm_attribute", "#!/bin/sh\nexit 0\n")?;
    }
    node.shell(before)?;
    let command =
        format!("ocf-tester -n p_tested {options} /usr/lib/ocf/resource.d/sturdy/{agent} 2>&1");
    let output = node.machine.run(&["/bin/sh", "-c", &command], node.left()?)?;
    let said = output.stdout.trim().to_owned();
    let last: Vec<&str> = said.lines().rev().take(6).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    ensure!(output.code == 0, "ocf-tester ended with {}: {}", output.code, last.join(" | "));
    ensure!(said.contains("passed all tests"), "ocf-tester says {}", last.join(" | "));
    Ok(String::new())
}

/// See the catalogue.
pub fn drbd(stand: &Stand) -> Result<String> {
    let clone = "-o CRM_meta_clone=0 -o CRM_meta_clone_max=2 -o CRM_meta_clone_node_max=1 \
                 -o CRM_meta_promoted_max=1 -o CRM_meta_promoted_node_max=1 \
                 -o CRM_meta_master_max=1 -o CRM_meta_master_node_max=1 -o CRM_meta_notify=true";
    test(stand, "drbd", "drbdadm down r2", &format!("-o drbd_resource=r2 {clone}"))
}

/// See the catalogue.
pub fn drbddisk(stand: &Stand) -> Result<String> {
    test(stand, "drbddisk", "true", "-o drbd_resource=r2")
}

/// See the catalogue.
pub fn lvm(stand: &Stand) -> Result<String> {
    test(stand, "LVM", "drbdadm primary r0", &format!("-o vgname={GROUP}"))
}

/// See the catalogue.
pub fn lvm2(stand: &Stand) -> Result<String> {
    test(stand, "lvm2", "drbdadm primary r0", "")
}
