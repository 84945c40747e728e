echo "== leases"; cat /var/lib/misc/dnsmasq.leases
