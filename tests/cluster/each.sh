# What every machine is asked.
echo "== cloud-init"; cloud-init status --long --wait
echo "== faults"; sudo grep -hE ' - .*\[(WARNING|ERROR|CRITICAL)\]' /var/log/cloud-init.log
echo "== failed units"; systemctl --failed --no-legend --plain
echo "== addresses"; ip -4 -brief address
echo "== route"; ip -4 route show default
echo "== gate"; getent ahostsv4 gate-node01
archive=$(sed -n 's/^URIs: //p' /etc/apt/sources.list.d/debian.sources)
echo "== outside"
/usr/lib/apt/apt-helper download-file "$archive/dists/trixie-updates/InRelease" /tmp/InRelease >&2 &&
    cat /tmp/InRelease
