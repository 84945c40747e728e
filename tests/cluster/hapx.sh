# The cluster takes a while after the boot.
timeout 300 sh -c 'until sudo crm_mon --one-shot | grep -q "haproxy.*Started"; do sleep 5; done'
echo "== full name"; hostname --fqdn
echo "== glus"; getent ahostsv4 glus-node01
echo "== floating"; ip -4 -brief address
echo "== listening"; ss -ltn
echo "== haproxy at boot"; systemctl is-enabled haproxy
echo "== corosync"; cat /etc/corosync/corosync.conf
echo "== resources"; sudo crm_mon --one-shot
echo "== configuration"; sudo crm configure show
