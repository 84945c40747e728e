echo "== cloud-init"; cloud-init status --long --wait || true
echo "== faults of the first boot"; sudo grep -hE ' - .*\[(WARNING|ERROR|CRITICAL)\]' /var/log/cloud-init.log || true
echo "== failed units"; systemctl --failed --no-legend --plain
echo "== addresses"; ip -4 -brief address
echo "== leases"; cat /var/lib/misc/dnsmasq.leases
