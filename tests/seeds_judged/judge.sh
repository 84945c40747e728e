#!/bin/sh
# Judges /seeds/DISTRIBUTION/MACHINE/*: a line for each sound file, and a failure at the first that
# is not.
set -eu

fail() {
    echo "$*" >&2
    exit 1
}

# Writes what `write_files` of a user-data would, below a folder.
cat >/tmp/unpack.py <<'END'
import os, sys, yaml
source, folder = sys.argv[1:]
for file in yaml.safe_load(open(source)).get("write_files", []):
    path = folder + file["path"]
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as out:
        out.write(file["content"])
END

if cloud-init schema --config-file /seeds/wrong/user-data; then
    fail "cloud-init takes anything"
fi

for machine in /seeds/*/*/; do
    machine=${machine%/}
    told=$(cloud-init schema --config-file "$machine/user-data" 2>&1) || fail "$machine: $told"
    case $told in
    *eprecat*) fail "$machine: $told" ;;
    esac
    echo "user-data is sound: $machine"
    told=$(cloud-init schema --schema-type network-config --config-file "$machine/network-config" 2>&1) ||
        fail "$machine: $told"
    echo "network-config is sound: $machine"

    root=/tmp/root$machine
    python3 /tmp/unpack.py "$machine/user-data" "$root"
    cd "$root"
    for script in $(grep --recursive --files-with-matches '^#!/bin/sh' .); do
        sh -n "$script" || fail "$machine: $script"
        echo "sh takes $machine $script"
    done
    if [ -e etc/nftables.conf ]; then
        nft --check --file etc/nftables.conf || fail "$machine: nftables.conf"
        echo "nft takes $machine"
    fi
    if [ -e etc/dnsmasq.d/gate.conf ]; then
        dnsmasq --test --conf-file=etc/dnsmasq.d/gate.conf || fail "$machine: gate.conf"
        echo "dnsmasq takes $machine"
    fi
    if [ -e etc/haproxy/haproxy.cfg ]; then
        haproxy -c -f etc/haproxy/haproxy.cfg || fail "$machine: haproxy.cfg"
        echo "haproxy takes $machine"
    fi
    for configuration in etc/corosync/corosync.conf*; do
        [ -e "$configuration" ] || continue
        head -c 128 /dev/zero | tr '\0' k >/etc/corosync/authkey
        # It looks for itself among the nodes, by the host's name.
        unshare --uts sh -c 'hostname "$1" && corosync -t -c "$2"' sh \
            "${machine##*/}" "$PWD/$configuration" || fail "$machine: $configuration"
        echo "corosync takes $machine"
    done
    if [ -e etc/containerd/config.toml ]; then
        containerd --config etc/containerd/config.toml config dump >/tmp/dump || fail "$machine: config.toml"
        grep -q 'SystemdCgroup = true' /tmp/dump || fail "$machine: containerd leaves SystemdCgroup out"
        echo "containerd takes $machine"
    fi
done
