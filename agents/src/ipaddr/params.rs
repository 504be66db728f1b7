//! The parameters, and what they must not be.

use super::values::{
    AnnounceForm, Broadcast, Firewall, Lifetime, Mac, Origin, Prefix, Seed, unusable,
};
use anyhow::Result;
use common::host::link::LONGEST_NAME;
use common::{Request, configured};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

ocf_meta::params! {
    /// What the agent is given.
    pub struct IpaddrParams {
        /// IPv4 or IPv6 address.
        ///
        /// In digits: host names are not looked up.
        [required, names, unique, position = 1] ip: IpAddr,
        /// Interface for the address.
        ///
        /// Its name or one of its alternative names. By default it is the interface through which the kernel would reach the address's network. `eth0:web` also gives the label.
        [names] nic: Option<String>,
        /// Prefix length of the network.
        ///
        /// Bits (24) or a mask (255.255.255.0). By default that of the network which the kernel finds the address in.
        [alias = "netmask"] cidr_netmask: Option<Prefix>,
        /// Broadcast address.
        ///
        /// An address, `+` for the network's highest address, which is the default, or `-` for its lowest. IPv4 only.
        [] broadcast: Option<Broadcast>,
        /// Only routes of this origin name the network.
        ///
        /// As `ip route` calls it: kernel, boot, static, ra, dhcp, or a number.
        [] proto: Option<Origin>,
        /// Label for the address.
        ///
        /// Appended to the interface's name with a colon, 15 characters in all. IPv4 only.
        [] iflabel: Option<String>,
        /// Whether the address stays on lo while stopped.
        ///
        /// For real servers of LVS direct routing: the address that start takes off lo is put back there by stop. IPv4 only.
        [] lvs_support: bool = "false",
        /// Whether the address shall not be the source of connections to others.
        ///
        /// By a label for the address in the kernel's table for source address selection, RFC 6724. IPv6 only.
        [] lvs_ipv6_addrlabel: bool = "true",
        /// The value of that label.
        [] lvs_ipv6_addrlabel_value: u32 = "99",
        /// What filters the packets of a shared address.
        ///
        /// Only nft can: the iptables target for this has gone from the kernel.
        [] clusterip_firewall: Firewall = "auto",
        /// Seed for sharing out the clients.
        ///
        /// A number, 0x for hexadecimal. By default it is derived from the address.
        [] clusterip_hash_seed: Option<Seed>,
        /// Table for iptables; not used.
        [] clusterip_table: String = "mangle",
        /// Chain for iptables; not used.
        [] clusterip_chain: String = "PREROUTING",
        /// Whether ARP answers are rewritten to the shared hardware address.
        [] clusterip_mac_mangle: bool = "false",
        /// Shared hardware address of a shared address.
        ///
        /// By default it is derived from the address. It has to be a group address: its first byte is odd.
        [] mac: Option<Mac>,
        /// Whether each instance of a clone has an address of its own.
        ///
        /// The clone's number is added to the last part of ip. IPv4 only, needs globally-unique=true.
        [names] unique_clone_address: bool = "false",
        /// Milliseconds between two announcements.
        [reloadable, alias = "ARP_INTERVAL_MS"] arp_interval: u32 = "200",
        /// How many announcements a burst has.
        [reloadable, alias = "ARP_REPEAT"] arp_count: u32 = "5",
        /// How many announcements a monitor makes.
        [reloadable] arp_count_refresh: u32 = "0",
        /// Whether start leaves announcements to the background.
        ///
        /// All but the first, which is always sent before start returns. If not, start returns after the first burst.
        [reloadable, alias = "ARP_BACKGROUND"] arp_bg: bool = "true",
        /// Seconds from the first burst to the second; 0 for none.
        ///
        /// A switch may still have been learning at the time of the first.
        [reloadable] announce_again: Duration = "5",
        /// In which form IPv4 addresses are announced.
        [reloadable] announce_form: AnnounceForm = "both",
        /// Taken and not used: no program sends the announcements.
        [] arp_sender: Option<String>,
        /// Options of such a program.
        ///
        /// -A stands for replies only, -U for requests only; others are not used.
        [] send_arp_opts: Option<String>,
        /// Taken and not used: the mask of IPaddr's announcements.
        [alias = "ARP_NETMASK"] arp_netmask: Option<String>,
        /// Taken and not used: the kernel has no cache of routes any more.
        [] flush_routes: bool = "false",
        /// Whether to ask the network before an IPv4 address is added.
        ///
        /// An answer means that somebody has it, and start fails.
        [reloadable] run_arping: bool = "false",
        /// Whether an IPv6 address is used without duplicate address detection.
        [] nodad: bool = "false",
        /// Whether the address brings no route to its network.
        [] noprefixroute: bool = "false",
        /// Seconds for which an IPv6 address is preferred as a source.
        ///
        /// `forever`, or a number; with 0 it is never chosen as the source of a connection.
        [] preferred_lft: Lifetime = "forever",
        /// Network namespace that the address lives in.
        ///
        /// As `ip netns` calls it.
        [names] network_namespace: Option<String>,
        /// Whether the address counts as running only where its link works.
        [reloadable] check_link_status: bool = "true",
        /// Program that is run before the address is added.
        [] local_start_script: Option<PathBuf>,
        /// Program that is run before the address is removed.
        [] local_stop_script: Option<PathBuf>,
    }
}

impl IpaddrParams {
    /// The interface's name, and the part of the label after the colon. What
    /// comes with the name wins over iflabel.
    pub fn nic_and_tag(&self) -> (Option<String>, Option<String>) {
        let (name, tag) = match self.nic.as_deref().map(|nic| nic.split_once(':')) {
            Some(Some((name, tag))) => (Some(name), Some(tag)),
            Some(None) => (self.nic.as_deref(), None),
            None => (None, None),
        };
        let tag = tag.filter(|tag| !tag.is_empty()).or(self.iflabel.as_deref());
        (name.map(str::to_owned), tag.map(str::to_owned))
    }

    /// Refuses what cannot be right on any node.
    pub fn check(&self, request: &Request) -> Result<()> {
        if let Some(refusal) = unusable(self.ip) {
            return Err(refusal);
        }
        self.check_names()?;
        self.check_prefix()?;
        self.check_family()?;
        self.check_clone(request)?;
        for (name, value) in [("arp_interval", self.arp_interval), ("arp_count", self.arp_count)] {
            if value == 0 {
                return Err(configured(format!("parameter {name} has to be more than 0")));
            }
        }
        Ok(())
    }

    fn check_names(&self) -> Result<()> {
        let (nic, tag) = self.nic_and_tag();
        let odd = |text: &str| text.contains(['/', ' ']) || matches!(text, "." | "..");
        if let Some(nic) = nic.as_deref().filter(|nic| nic.is_empty() || odd(nic)) {
            return Err(configured(format!("parameter nic is no name of an interface: `{nic}`")));
        }
        if let Some(name) = self.network_namespace.as_deref().filter(|name| odd(name)) {
            return Err(configured(format!("parameter network_namespace is no name: `{name}`")));
        }
        let longest = nic.as_ref().map_or(1, String::len);
        match tag {
            Some(tag) if self.ip.is_ipv4() && longest + 1 + tag.len() > LONGEST_NAME => {
                let label = format!("{}:{tag}", nic.unwrap_or_default());
                Err(configured(format!(
                    "the label {label} is too long: at most {LONGEST_NAME} characters with the interface's name"
                )))
            }
            _ => Ok(()),
        }
    }

    fn check_prefix(&self) -> Result<()> {
        let Some(prefix) = self.cidr_netmask else { return Ok(()) };
        let fits = match self.ip {
            // An address for the whole internet would be its default route.
            _ if prefix.bits == 0 => false,
            IpAddr::V4(_) => prefix.bits <= 32,
            IpAddr::V6(_) => !prefix.is_mask,
        };
        if fits {
            return Ok(());
        }
        let what = match prefix {
            Prefix { bits: 0, .. } => "no network",
            Prefix { is_mask: true, .. } => "a netmask",
            _ => "too long",
        };
        Err(configured(format!("parameter cidr_netmask is {what}, for the address {}", self.ip)))
    }

    fn check_family(&self) -> Result<()> {
        let IpAddr::V6(ip) = self.ip else { return Ok(()) };
        if self.lvs_support {
            return Err(configured("parameter lvs_support is for IPv4 only"));
        }
        if self.unique_clone_address {
            return Err(configured("parameter unique_clone_address is for IPv4 only"));
        }
        if self.clusterip_mac_mangle {
            return Err(configured("parameter clusterip_mac_mangle is for IPv4 only"));
        }
        if ip.is_unicast_link_local() && self.nic.is_none() {
            return Err(configured(format!(
                "{ip} is link-local: there is one such network on each interface, so nic has to name it"
            )));
        }
        Ok(())
    }

    fn check_clone(&self, request: &Request) -> Result<()> {
        let clone = request.clone.filter(|clone| clone.max > 1);
        if clone.is_some() && self.lvs_support {
            return Err(configured("parameter lvs_support does not go with a clone"));
        }
        if !self.unique_clone_address {
            return Ok(());
        }
        if !request.clone.is_some_and(|clone| clone.globally_unique) {
            return Err(configured(
                "parameter unique_clone_address needs a clone with globally-unique=true",
            ));
        }
        let (IpAddr::V4(ip), Some(clone)) = (self.ip, request.clone) else { return Ok(()) };
        let last = ip.octets()[3];
        if u32::from(last) + clone.max.saturating_sub(1) > 254 {
            return Err(configured(format!(
                "{} instances do not fit behind {ip}: the last part would pass 254",
                clone.max
            )));
        }
        Ok(())
    }
}
