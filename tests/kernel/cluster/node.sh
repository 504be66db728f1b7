# A cluster node: the first process of namespaces of its own. Called with the
# node's number; the interface eth0 is given to it from outside.
set -eu
number=$1

mount --make-rprivate /
hostname "node$number"
for directory in /run /dev/shm /etc/corosync /etc/pacemaker /var/log \
    /var/lib/corosync /var/lib/heartbeat /var/lib/pacemaker; do
    mkdir -p "$directory"
    mount -t tmpfs -o mode=0755 none "$directory"
done
chmod 1777 /dev/shm
mkdir -p /run/resource-agents /var/log/corosync /var/log/pacemaker /var/lib/heartbeat/cores
for directory in blackbox cib cores pengine; do
    mkdir -m 0750 "/var/lib/pacemaker/$directory"
done

cat > /etc/corosync/corosync.conf << EOF
totem {
  version: 2
  cluster_name: test
  transport: udpu
  crypto_cipher: none
  crypto_hash: none
  token: 1000
}
quorum {
  provider: corosync_votequorum
  two_node: 1
  wait_for_all: 0
}
nodelist {
  node {
    ring0_addr: 10.9.0.1
    name: node1
    nodeid: 1
  }
  node {
    ring0_addr: 10.9.0.2
    name: node2
    nodeid: 2
  }
}
logging {
  to_stderr: no
  to_syslog: no
  to_logfile: yes
  logfile: /var/log/corosync/corosync.log
}
EOF
# A lone node would wait twenty seconds for another to lead it.
cat > /var/lib/pacemaker/cib/cib.xml << EOF
<cib crm_feature_set="3.0.14" validate-with="pacemaker-3.2" epoch="1" num_updates="0" admin_epoch="0">
  <configuration>
    <crm_config>
      <cluster_property_set id="options">
        <nvpair id="no-fencing" name="stonith-enabled" value="false"/>
        <nvpair id="quick-lead" name="dc-deadtime" value="2s"/>
      </cluster_property_set>
    </crm_config>
    <nodes/>
    <resources/>
    <constraints/>
  </configuration>
  <status/>
</cib>
EOF
chmod 600 /var/lib/pacemaker/cib/cib.xml
chown -R hacluster:haclient /var/lib/pacemaker /var/log/pacemaker

ip link set lo up
until ip link show eth0 > /dev/null 2>&1; do sleep 0.01; done
ip addr add "10.9.0.$number/24" dev eth0
ip link set eth0 up

corosync -f &
until corosync-cfgtool -s > /dev/null 2>&1; do sleep 0.05; done
PCMK_logfacility=none PCMK_logfile=/var/log/pacemaker/pacemaker.log pacemakerd -f &
wait
