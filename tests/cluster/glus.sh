echo "== hapx"; getent ahostsv4 hapx-node01
echo "== floating address"; timeout 20 bash -c '</dev/tcp/192.168.4.20/6443' && echo open
echo "== brick"; findmnt --noheadings --output SOURCE,FSTYPE,TARGET /srv/bricks/brick1
echo "== volumes"; sudo lvs --noheadings --options lv_name,pool_lv bricks
echo "== glusterd"; systemctl is-active glusterd
echo "== pool"; sudo gluster pool list
