# Installs VirtualBox Guest Additions into a tree: $1 is the installer, $2 is `kernel` to use the
# modules that the kernel ships, or `build` to build the installer's own for the tree's kernel.
set -eu

kernel=$(ls /lib/modules | sort -V | tail -n 1)
[ -n "$kernel" ] || { echo 'the tree has no kernel: add the package linux-image-amd64' >&2; exit 1; }

# Without the running kernel's modules the installer always ends with status 1: judge by the files.
INSTALL_NO_MODULE_BUILDS=1 TARGET_VER=$kernel sh "$1" --nox11 || true
[ -x /usr/sbin/VBoxService ] || { echo 'VBoxService was not installed' >&2; exit 1; }

if [ "$2" = build ]; then
    [ -e "/lib/modules/$kernel/build" ] ||
        { echo "no headers of $kernel: add the package linux-headers-amd64" >&2; exit 1; }
    TARGET_VER=$kernel /sbin/rcvboxadd quicksetup "$kernel"
    depmod "$kernel"
    for module in vboxguest vboxsf; do
        [ -f "/lib/modules/$kernel/misc/$module.ko" ] ||
            { echo "the module $module was not built for $kernel" >&2; exit 1; }
    done
fi
find "/lib/modules/$kernel" -name 'vboxguest.ko*' | grep -q . ||
    { echo "the kernel $kernel has no module vboxguest: use \`modules = \"build\"\`" >&2; exit 1; }

# vboxadd would build modules anew at the first boot, and fail on any other hypervisor. The service
# needs nothing of it: the kernel loads its modules by itself where the device is there. Where the
# guest has an NTP daemon, two must not set the clock.
timesync=
for daemon in /usr/sbin/ntpd /usr/sbin/chronyd /usr/lib/systemd/systemd-timesyncd; do
    [ ! -e "$daemon" ] || timesync=--disable-timesync
done
systemctl disable vboxadd.service vboxadd-service.service
rm -f /etc/init.d/vboxadd /etc/init.d/vboxadd-service /etc/rc?.d/[SK]??vboxadd*
rm -f /usr/lib/systemd/system/vboxadd.service /usr/lib/systemd/system/vboxadd-service.service
cat >/etc/systemd/system/vboxadd-service.service <<UNIT
[Unit]
Description=VirtualBox Guest Additions service
ConditionVirtualization=oracle
After=network.target

[Service]
Type=exec
ExecStart=/usr/sbin/VBoxService --foreground $timesync
Restart=on-failure

[Install]
WantedBy=multi-user.target
UNIT
systemctl enable vboxadd-service.service
rm -f /var/log/vboxadd*.log
