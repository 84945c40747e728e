# The cluster takes a while after the boot.
timeout 300 sh -c 'until sudo crm_mon --one-shot | grep -q "haproxy.*Started"; do sleep 5; done' || true
echo "== cloud-init"; cloud-init status --long --wait || true
echo "== faults of the first boot"; sudo grep -hE ' - .*\[(WARNING|ERROR|CRITICAL)\]' /var/log/cloud-init.log || true
echo "== failed units"; systemctl --failed --no-legend --plain
echo "== addresses"; ip -4 -brief address
echo "== route"; ip -4 route show default
echo "== full name"; hostname --fqdn
echo "== gate"; getent ahostsv4 gate-node01 || true
echo "== glus"; getent ahostsv4 glus-node01 || true
echo "== outside"; out() { /usr/lib/apt/apt-helper download-file "$(sed -n 's/^URIs: //p' /etc/apt/sources.list.d/debian.sources)/dists/trixie/InRelease" /tmp/InRelease; }; out >&2 && cat /tmp/InRelease || true
echo "== listening"; ss -ltn
echo "== haproxy at boot"; systemctl is-enabled haproxy || true
echo "== corosync"; cat /etc/corosync/corosync.conf
echo "== resources"; sudo crm_mon --one-shot
echo "== configuration"; sudo crm configure show
