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

# vboxadd would build modules anew at the first boot. The service needs nothing of it: the kernel
# loads its modules by itself where there is the device.
systemctl disable vboxadd.service 2>/dev/null || true
systemctl enable vboxadd-service.service 2>/dev/null || true

# On other hypervisors the service must be left out rather than fail; and where the guest has an
# NTP daemon, two must not set the clock.
timesync=
for daemon in ntpd chronyd systemd-timesyncd; do
    [ ! -e "/usr/sbin/$daemon" ] && [ ! -e "/usr/lib/systemd/$daemon" ] || timesync=--disable-timesync
done
mkdir -p /etc/systemd/system/vboxadd-service.service.d
cat >/etc/systemd/system/vboxadd-service.service.d/kuth.conf <<UNIT
[Unit]
ConditionVirtualization=oracle

[Service]
Type=exec
ExecStart=
ExecStart=/usr/sbin/VBoxService --foreground $timesync
ExecStop=
RemainAfterExit=no
UNIT
rm -f /var/log/vboxadd*.log
