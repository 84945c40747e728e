#!/bin/sh
# What programs expect of the system that they run in. Each line of /srv/seen/rooms is a name and
# `works`, or `BROKEN` and what was said.
set -eu
mkdir -p /srv/seen
: >/srv/seen/rooms

works() {
    name=$1
    shift
    if said=$("$@" 2>&1 </dev/null); then
        echo "$name works"
    else
        echo "$name BROKEN $(echo "$said" | tr '\n' ' ' | head -c 400)"
    fi >>/srv/seen/rooms
}

# A server and a client over TCP.
talks() {
    perl -MSocket=:all -e 'my $address = $ARGV[0]; my $six = $address =~ /:/;
        my $family = $six ? AF_INET6 : AF_INET;
        my $at = sub { my $ip = inet_pton $family, $address;
            $six ? pack_sockaddr_in6($_[0], $ip) : pack_sockaddr_in($_[0], $ip) };
        socket S, $family, SOCK_STREAM, 0 or die "socket: $!";
        bind S, $at->(0) or die "bind: $!";
        listen S, 1 or die "listen: $!";
        my ($port) = $six ? unpack_sockaddr_in6(getsockname S) : unpack_sockaddr_in(getsockname S);
        socket C, $family, SOCK_STREAM, 0 or die "socket: $!";
        connect C, $at->($port) or die "connect: $!"' "$1"
}

writes() {
    echo text >"$1/file" && mkdir "$1/directory" && [ "$(stat -c %a "$1")" = "$2" ]
}

works loopback-4 talks 127.0.0.1
works loopback-6 talks ::1
works terminal script -qec 'test -t 0' /dev/null
works terminal-of-perl perl -MPOSIX -MFcntl -e 'sysopen M, "/dev/ptmx", O_RDWR | O_NOCTTY or die $!;
    my $n = pack "i", 0; ioctl M, 0x40045431, $n or die $!; ioctl M, 0x80045430, $n or die $!;
    sysopen S, "/dev/pts/" . unpack("i", $n), O_RDWR | O_NOCTTY or die $!; -t S or die'
works sudo-at-terminal script -qec 'sudo -n true' /dev/null
works sudo-to-another script -qec 'sudo -n -u games id -u' /dev/null
works shm sh -c 'echo text >/dev/shm/file'
works standard-streams sh -c 'echo text >/dev/stdout; : </dev/stdin; : 2>/dev/stderr; ls /dev/fd/'
works tmp writes /tmp 1777
works run writes /run 755
works var-tmp writes /var/tmp 1777
works null sh -c 'echo text >/dev/null; head -c 4 /dev/zero >/dev/null; head -c 4 /dev/urandom'
hostname >/srv/seen/hostname
