echo "== cloud-init"; cloud-init status --long --wait || true
echo "== faults of the first boot"; sudo grep -hE ' - .*\[(WARNING|ERROR|CRITICAL)\]' /var/log/cloud-init.log || true
echo "== failed units"; systemctl --failed --no-legend --plain
echo "== addresses"; ip -4 -brief address
echo "== route"; ip -4 route show default
echo "== gate"; getent ahostsv4 gate-node01 || true
echo "== hapx"; getent ahostsv4 hapx-node01 || true
echo "== outside"; out() { /usr/lib/apt/apt-helper download-file "$(sed -n 's/^URIs: //p' /etc/apt/sources.list.d/debian.sources)/dists/trixie/InRelease" /tmp/InRelease; }; out >&2 && cat /tmp/InRelease || true
echo "== floating address"; timeout 20 bash -c '</dev/tcp/192.168.4.20/6443' && echo open || true
echo "== brick"; findmnt --noheadings --output SOURCE,FSTYPE,TARGET /srv/bricks/brick1
echo "== volumes"; sudo lvs --noheadings --options lv_name,pool_lv bricks
echo "== glusterd"; systemctl is-active glusterd || true
echo "== pool"; sudo gluster pool list
