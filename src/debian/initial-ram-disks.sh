# Makes the initial RAM disk of every kernel in /boot, and the links to it beside the kernel's.
set -eu
command -v update-initramfs >/dev/null || exit 0
for kernel in /boot/vmlinuz-*; do
    [ -e "$kernel" ] || continue
    version=${kernel#/boot/vmlinuz-}
    mode=-c
    [ ! -e "/boot/initrd.img-$version" ] || mode=-u
    update-initramfs "$mode" -k "$version"
done
for directory in / /boot; do
    for old in "" .old; do
        link=$directory/vmlinuz$old
        [ -L "$link" ] || continue
        target=$(readlink "$link")
        ln -sf "${target%vmlinuz-*}initrd.img-${target##*vmlinuz-}" "$directory/initrd.img$old"
    done
done
