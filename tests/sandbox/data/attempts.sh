#!/bin/sh
# Attempts to get out of the sandbox. Before this stand, as variables: where (the name of the file of
# results), marker (a file of the host), device (numbers of a block device of the host), socket (an
# abstract address of the host that somebody listens on). Each line of the results is the name of
# an attempt and `refused`, or `POSSIBLE` and what was said.
#
# Where an attempt succeeds nothing may come to harm: settings get the value that they have, files
# of the kernel are opened for writing and not written, devices are made and opened, and what was
# made is removed again.
set -eu
export LC_ALL=C
mkdir -p /srv/seen /srv/mnt
seen=/srv/seen/$where
: >"$seen"
# Without its tools an attempt would seem to be refused.
for tool in perl mount umount unshare nsenter mknod find ip; do command -v "$tool" >/dev/null; done

case $(uname -m) in
x86_64) add_key=248 request_key=249 keyctl=250 ptrace=101 open_by_handle=304 module=313 swapon=167 ;;
aarch64) add_key=217 request_key=218 keyctl=219 ptrace=117 open_by_handle=265 module=273 swapon=224 ;;
*) exit 1 ;;
esac

attempt() {
    name=$1
    shift
    if said=$("$@" 2>&1 </dev/null); then
        echo "$name POSSIBLE $(echo "$said" | tr '\n' ' ' | head -c 400)"
    else
        echo "$name refused"
    fi >>"$seen"
}

# Whether one of the files on standard input can be opened for writing; names them.
opened() {
    perl -MFcntl -ne 'chomp; if (sysopen F, $_, O_WRONLY | O_NONBLOCK) { print "$_\n"; $n++ }
        END { exit !$n }'
}

writable() { find "$@" -type f 2>/dev/null | opened; }

readable() {
    perl -MFcntl -e 'exit !sysopen F, $ARGV[0], O_RDONLY | O_NONBLOCK' "$1"
}

# What a device such as null covers gives nothing.
file_readable() { [ ! -c "$1" ] && readable "$1"; }

# Sets a setting to what it is.
set_again() {
    value=$(cat "$1")
    (printf '%s\n' "$value" >"$1") 2>&1
}

# What the kernel offers in /proc besides the processes.
of_the_kernel() {
    find /proc -mindepth 1 -path '/proc/[0-9]*' -prune -o -type f -print 2>/dev/null | opened
}

# Takes away what may lie above a path, and looks whether it can be written then.
uncovered() {
    mount -o remount,bind,rw "$1"
    umount "$1"
    umount -l "$1"
    writable "$1"
} >/dev/null 2>&1

# Binds a directory elsewhere, without what is mounted below it, and looks there.
bound() {
    mount --bind "$1" /srv/mnt || return 1
    mount -o remount,bind,rw /srv/mnt || :
    status=0
    writable "/srv/mnt/$2" || status=1
    umount -l /srv/mnt
    return $status
}

# Mounts a file system of the kernel's anew, and looks whether something there can be written.
fresh() {
    type=$1 options=$2
    shift 2
    mount -t "$type" -o "$options" kuth /srv/mnt || return 1
    status=0
    (cd /srv/mnt && writable "$@") || status=1
    umount -l /srv/mnt
    return $status
}

# File systems in which opening is not harmless, or that show the host as soon as they are mounted.
mounts() {
    mount -t "$1" kuth /srv/mnt || return 1
    umount -l /srv/mnt
}

# The same in namespaces of the script's own.
fresh_below() {
    unshare --user --map-root-user --mount --pid --net --fork sh -c "
        mount -t $1 kuth /srv/mnt && cd /srv/mnt &&
            find $2 -type f 2>/dev/null | perl -MFcntl -ne '
                chomp; if (sysopen F, \$_, O_WRONLY | O_NONBLOCK) { print; \$n++ } END { exit !\$n }'"
}

# Control groups, as they are seen from a namespace of their own.
groups_below() {
    unshare --user --map-root-user --mount --cgroup --fork sh -c '
        mount -t cgroup2 kuth /srv/mnt && : >/srv/mnt/cgroup.procs'
}

# Makes a device in a directory and opens it.
node() {
    rm -f "$1/node"
    mknod "$1/node" "$2" "$3" "$4" || return 1
    status=0
    readable "$1/node" || status=1
    rm -f "$1/node"
    return $status
}

node_on_tmpfs() {
    mount -t tmpfs -o dev kuth /srv/mnt || return 1
    status=0
    node /srv/mnt "$@" || status=1
    umount -l /srv/mnt
    return $status
}

mount_device() {
    rm -f /srv/node
    mknod /srv/node b $device || return 1
    status=0
    mount -t ext4 -o ro,noload /srv/node /srv/mnt || status=1
    [ $status = 1 ] || umount -l /srv/mnt
    rm -f /srv/node
    return $status
}

# The file of the host, from wherever another process is.
by_processes() {
    found=1
    for process in /proc/[0-9]*; do
        for view in root cwd; do
            if [ -e "$process/$view$marker" ]; then
                echo "$process/$view"
                found=0
            fi
        done
    done
    return $found
}

# Where a directory's descriptor outlives a second chroot.
by_chroot() {
    perl -e 'mkdir "/srv/jail"; chroot "/srv/jail" or exit 1; for (1 .. 64) { chdir ".." }
        chroot "." or exit 1; exit !-e $ARGV[0]' "$marker"
}

# The root of the file system that the tree lies on, by its number.
by_handle() {
    perl -MFcntl -e 'my ($call, $marker) = @ARGV; opendir my $d, "/srv" or exit 1;
        for my $inode (2, 128, 256) {
            my $fd = syscall $call + 0, fileno $d, pack("IiII", 8, 1, $inode, 0), O_RDONLY;
            next if $fd < 0;
            print readlink "/proc/self/fd/$fd";
            exit 0 if -e "/proc/self/fd/$fd/etc/passwd" && -e "/proc/self/fd/$fd$marker"
        } exit 1' "$open_by_handle" "$marker"
}

# Whether the kernel has another answer to a system call than that it is forbidden.
call() {
    perl -MErrno=:POSIX -e 'my $number = shift; my @words = map { /^-?\d+$/ ? $_ + 0 : $_ } @ARGV;
        my $got = syscall $number + 0, @words; print "$got $!";
        exit($got < 0 && ($!{EPERM} || $!{EACCES} || $!{ENOSYS}))' "$@"
}

# Settings and switches of the kernel.
for setting in vm/swappiness vm/overcommit_memory kernel/core_pattern kernel/hostname kernel/sysrq \
    kernel/modprobe fs/file-max net/ipv4/ip_forward; do
    [ ! -e "/proc/sys/$setting" ] || attempt "set-$setting" set_again "/proc/sys/$setting"
done
attempt proc-sys writable /proc/sys
attempt proc-kernel of_the_kernel
attempt proc-kcore file_readable /proc/kcore
attempt proc-kmsg file_readable /proc/kmsg
attempt sys writable /sys
attempt uncover-proc-sys uncovered /proc/sys
attempt uncover-proc-sysrq uncovered /proc/sysrq-trigger
attempt uncover-sys uncovered /sys
attempt bound-proc-sys bound /proc/sys vm
attempt bound-proc bound /proc sys
attempt fresh-proc fresh proc rw sys sysrq-trigger
attempt fresh-sysfs fresh sysfs rw .
attempt fresh-cgroup2 fresh cgroup2 rw cgroup.procs
# Where the host has this hierarchy it is shown; elsewhere a new one would come into being.
if grep -q :devices: /proc/self/cgroup; then
    attempt fresh-cgroup fresh cgroup devices cgroup.procs
fi
attempt below-proc fresh_below proc sys
attempt below-sysfs fresh_below sysfs .
attempt below-cgroup2 groups_below
for type in devtmpfs debugfs tracefs securityfs configfs; do
    attempt "mount-$type" mounts "$type"
done

# Devices.
attempt node-disk node /srv b $device
attempt node-memory node /srv c 1 1
attempt node-kmsg node /srv c 1 11
attempt node-loop-control node /srv c 10 237
attempt node-in-dev node /dev b $device
attempt node-on-tmpfs node_on_tmpfs b $device
attempt mount-disk mount_device

# Other processes, and what is the host's of them.
others=$(for process in /proc/[0-9]*; do
    [ "$(cat "$process/comm")" != kuth ] || echo "${process#/proc/}"
done)
of_others() {
    status=1
    for process in 1 $others; do
        eval "$1" && status=0
    done
    return $status
}
# Their numbers are seen; where they lead to and what they give is not.
attempt process-files of_others 'found=1
    for file in /proc/$process/fd/*; do
        if readlink "$file" || readable "$file" || echo "$file" | opened; then found=0; fi
    done; [ $found = 0 ]'
attempt process-root of_others 'ls "/proc/$process/root/"'
attempt process-directory of_others 'ls "/proc/$process/cwd/"'
attempt process-environment of_others 'cat "/proc/$process/environ"'
attempt process-memory of_others '(exec 3<>"/proc/$process/mem")'
attempt process-maps of_others 'cat "/proc/$process/maps"'
# PTRACE_SEIZE, which does not stop it.
attempt process-trace of_others \
    'perl -e "exit(syscall(\$ARGV[0] + 0, 0x4206, \$ARGV[1] + 0, 0, 0) != 0)" $ptrace $process'
attempt process-namespaces of_others 'nsenter --target "$process" --mount ls /'
# pidfd_open and pidfd_getfd.
attempt process-descriptor of_others 'perl -e "my \$process = syscall 434, \$ARGV[0] + 0, 0;
    exit(syscall(438, \$process, 0, 0) < 0)" $process'
attempt inherited-file perl -e 'for (3 .. 255) { my $l = readlink "/proc/self/fd/$_" // next;
    print "$_ $l\n"; $n++ } exit !$n'
attempt host-by-processes by_processes
attempt host-by-chroot by_chroot
attempt host-by-handle by_handle

# What belongs to the kernel or to the user as a whole.
attempt key-add perl -e 'my @words = ("user", "kuth-test", "x");
    exit(syscall($ARGV[0] + 0, @words, 1, -2) < 0)' "$add_key"
# ENOKEY says that it was looked for.
attempt key-request perl -e 'my @words = ("user", "kuth-none");
    my $key = syscall $ARGV[0] + 0, @words, 0, 0; exit($key < 0 && $! != 126)' "$request_key"
attempt key-session perl -e 'exit(syscall($ARGV[0] + 0, 0, -3, 0, 0, 0) < 0)' "$keyctl"
attempt module call "$module" -1 "" 0
attempt swap call "$swapon" /srv/none 0

# The network.
connects() {
    perl -MSocket -e 'socket S, AF_UNIX, SOCK_STREAM, 0 or exit 1;
        exit !connect S, pack_sockaddr_un("\0$ARGV[0]")' "$1"
}
attempt abstract-socket connects "$socket"
added() {
    eval "ip $1" || return 1
    eval "ip $2"
}
if [ "$where" = with ]; then
    attempt network-device added 'link add kuthtest0 type dummy' 'link del kuthtest0'
    attempt network-address added 'addr add 127.9.9.9/32 dev lo' 'addr del 127.9.9.9/32 dev lo'
    attempt network-route added 'route add 198.51.100.0/24 dev lo' 'route del 198.51.100.0/24 dev lo'
    attempt network-setting ip link set lo mtu \
        "$(ip -o link show lo | sed 's/.* mtu \([0-9]*\) .*/\1/')"
    attempt network-packets perl -e 'exit !socket S, 17, 3, 0x300'
fi

# The devices that there are, and what becomes of the host's when these are changed.
ls -A /dev | sort >"/srv/seen/dev-$where"
{ chmod 666 /dev/null; chown 0:0 /dev/null; touch /dev/null; } 2>/dev/null || :
