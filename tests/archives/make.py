#!/usr/bin/env python3
"""Makes the archives of this directory: `python3 tests/archives/make.py`, the same every time.

bad/ holds archives that must be refused, good/ odd ones that must be read. INDEX says of each what
it is, and of the bad ones what the refusal says.
"""

import bz2, gzip, io, lzma, os, struct, tarfile, zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
INDEX = []


def tar(*entries, format=tarfile.GNU_FORMAT, end=True):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue() if end else out.getvalue().rstrip(b"\0")


def entry(name, kind=tarfile.REGTYPE, link="", data=b"", mode=0o644, **more):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.size = kind, link, mode, len(data)
    info.mtime = 1000
    for key, value in more.items():
        setattr(info, key, value)
    return info, data


def folder(name):
    return entry(name, tarfile.DIRTYPE, mode=0o755)


def link(name, to):
    return entry(name, tarfile.SYMTYPE, to, mode=0o777)


def hard(name, to):
    return entry(name, tarfile.LNKTYPE, to)


def file(name, data=b"text\n", **more):
    return entry(name, data=data, **more)


def add(where, name, what, told, data):
    os.makedirs(os.path.join(HERE, where), exist_ok=True)
    with open(os.path.join(HERE, where, name), "wb") as out:
        out.write(data)
    INDEX.append(f"{where}/{name} | {what} | {told}\n")


def bad(name, what, told, data):
    add("bad", name, what, told, data)


def good(name, what, data):
    add("good", name, what, "", data)


def packed(data):
    """Small in the repository; the unpacker looks through it."""
    return gzip.compress(data, 9, mtime=0)


def zipped(*entries):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data, mode in entries:
            info = zipfile.ZipInfo(name, (2020, 1, 2, 3, 4, 6))
            info.create_system, info.external_attr = 3, mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return out.getvalue()


def pax(name, records, data=b""):
    info, data = file(name, data)
    info.pax_headers = records
    return tar((info, data), format=tarfile.PAX_FORMAT)


def sparse(name, parts, size, data):
    """GNU's old sparse file."""
    block = bytearray(tar(file(name, data))[:512])
    block[156:157] = b"S"
    block[257:265] = b"ustar  \0"
    for at, (offset, length) in enumerate(parts):
        block[386 + at * 24: 410 + at * 24] = b"%011o\0%011o\0" % (offset, length)
    block[483:495] = number(size)
    return checksum(block) + data + bytes(-len(data) % 512) + bytes(1024)


def number(value):
    return b"%011o\0" % value if value < 1 << 33 else b"\x80" + value.to_bytes(11, "big")


def checksum(block):
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


OUT = "out of the directory"
bad("up.tgz", "a name climbs out", OUT, packed(tar(file("a/../../x"))))
bad("up-and-in.tgz", "a name climbs, but not out", OUT, packed(tar(file("a/../x"))))
bad("absolute.tgz", "an absolute name", OUT, packed(tar(file("/tmp/kuth-was-here"))))
bad("absolute-folder.tgz", "an absolute directory", OUT, packed(tar(folder("/tmp/kuth-was-here"))))
bad("pax-up.tgz", "the name in a pax record climbs out", OUT, packed(pax("x", {"path": "../x"})))
bad("through-link.tgz", "a file below a link that leads out", "lies below a, a link",
    packed(tar(link("a", "/tmp"), file("a/kuth-was-here"))))
bad("through-link-inside.tgz", "a file below a link that stays inside", "lies below a, a link",
    packed(tar(folder("b"), link("a", "b"), file("a/x"))))
bad("through-file.tgz", "a file below a file", "lies below a, a file",
    packed(tar(file("a"), file("a/x"))))
bad("folder-to-link.tgz", "a directory that becomes a link", "first a directory, then a link",
    packed(tar(folder("rootfs"), link("rootfs", "/tmp"), file("rootfs/x"))))
bad("link-to-folder.tgz", "a link that becomes a directory", "first a link, then a directory",
    packed(tar(link("rootfs", "/tmp"), folder("rootfs"), file("rootfs/x"))))
bad("file-to-link.tgz", "a file that becomes a link", "first a file, then a link",
    packed(tar(file("a"), link("a", "b"))))
bad("link-absolute.tgz", "a link to an absolute path", "the link a leads out, to /etc/passwd",
    packed(tar(link("a", "/etc/passwd"))))
bad("link-up.tgz", "a link that climbs out", "the link a/b leads out, to ../../x",
    packed(tar(folder("a"), link("a/b", "../../x"))))
bad("link-through-link.tgz", "two links that lead out only together", "leads out",
    packed(tar(folder("a"), folder("a/b"), link("a/b/up", "../.."), link("x", "a/b/up/../y"))))
bad("hard-out.tgz", "a hard link to a file outside", OUT, packed(tar(hard("a", "/etc/passwd"))))
bad("hard-up.tgz", "a hard link that climbs out", OUT, packed(tar(hard("a", "../../etc/passwd"))))
bad("hard-to-link.tgz", "a hard link to a link", "hard link to a, a link",
    packed(tar(link("a", "b"), hard("c", "a"))))
bad("hard-early.tgz", "a hard link to a file that comes later", "which is not there yet",
    packed(tar(hard("a", "b"), file("b"))))
bad("device.tgz", "a character device", "is a device",
    packed(tar(entry("null", tarfile.CHRTYPE, devmajor=1, devminor=3))))
bad("disk.tgz", "a block device", "is a device",
    packed(tar(entry("sda", tarfile.BLKTYPE, devmajor=8, devminor=0))))
bad("pipe.tgz", "a pipe", "is a pipe", packed(tar(entry("p", tarfile.FIFOTYPE))))
bad("unknown.tgz", "an entry of an unknown kind", "of the unknown kind `Q`",
    packed(tar(entry("q", b"Q"))))
bad("nothing.tgz", "no tar in it", "checksum of a header", packed(b"text\n" * 200))
bad("name-in-all.tgz", "pax records that name all files", "for all files",
    packed(tar(file("x"), format=tarfile.PAX_FORMAT).join([tarfile.TarInfo.create_pax_global_header({"path": "y"}), b""])))
whole = tar(file("x", b"y" * 5000))
bad("cut.tar", "cut short inside a file", "cut short", whole[:3000])
bad("no-end.tgz", "a tar that ends behind a header for the next", "cut short",
    packed(tar(file("l" * 120), format=tarfile.PAX_FORMAT)[:1024]))
bad("empty.tgz", "nothing at all", "cut short", packed(b""))
bad("header.tgz", "a flipped bit in a header", "checksum of a header",
    packed(bytes([whole[0] ^ 1]) + whole[1:]))
bad("behind.tgz", "something behind the end of the tar", "follows the end",
    packed(whole + b"more"))
bad("cut.tar.gz", "gzip data cut short", "", packed(whole)[:-6])
bad("checksum.tar.gz", "a flipped bit in gzip's checksum", "",
    packed(whole)[:-6] + bytes([packed(whole)[-6] ^ 1]) + packed(whole)[-5:])
bad("zeros.tar.gz", "gzip data, zeros, and gzip data", "something follows the gzip data",
    packed(whole[:1000]) + bytes(512) + packed(whole[1000:]))
bad("garbage.tar.gz", "garbage behind gzip data", "", packed(whole) + b"garbage")
bad("cut.tar.bz2", "bzip2 data cut short", "", bz2.compress(whole)[:-5])
bad("garbage.tar.bz2", "garbage behind bzip2 data", "followed by something else",
    bz2.compress(whole) + b"garbage")
bad("cut.tar.xz", "xz data cut short", "", lzma.compress(whole)[:-8])
bad("garbage.tar.xz", "garbage behind xz data", "", lzma.compress(whole) + b"garbage!")
bad("old-sparse-overlap.tgz", "parts of a sparse file that overlap", "overlap",
    packed(sparse("s", [(4096, 512), (0, 512)], 8192, b"x" * 1024)))
bad("old-sparse-past.tgz", "a sparse file with a part behind its end", "not that of its data",
    packed(sparse("s", [(0, 512), (8000, 512)], 8192, b"x" * 1024)))
bad("sparse-huge.tgz", "a sparse file of 1 TiB", "more than 64 GiB",
    packed(sparse("s", [(0, 512)], 1 << 40, b"x" * 512)))
bad("pax-sparse-map.tgz", "a sparse map that is not numbers", "something else than numbers",
    packed(pax("s", {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "s",
                     "GNU.sparse.realsize": "5"}, b"x" * 1024)))
bad("zip-up.zip", "a zip with a name that climbs out", OUT, zipped(("../x", b"x", 0o100644)))
bad("zip-absolute.zip", "a zip with an absolute name", OUT, zipped(("/x", b"x", 0o100644)))
bad("zip-link.zip", "a zip with a link that leads out", "leads out",
    zipped(("a", b"../x", 0o120777)))
bad("zip-through.zip", "a zip with a file below a link", "lies below a, a link",
    zipped(("a", b"b", 0o120777), ("a/x", b"x", 0o100644)))
bad("zip-device.zip", "a zip with a device", "it is a device", zipped(("d", b"", 0o020600)))
bad("zip-cut.zip", "a zip cut short", "directory of the zip is missing",
    zipped(("a", b"text" * 100, 0o100644))[:-30])
broken = bytearray(zipped(("a", b"text" * 100, 0o100644)))
at = broken.find(b"PK\1\2")
broken[at + 16] ^= 1
bad("zip-checksum.zip", "a zip with a wrong checksum", "checksum or its length", bytes(broken))
twice = zipped(("a", b"x" * 999, 0o100644), ("b", b"x" * 999, 0o100644))
first = twice.find(b"PK\1\2")
second = twice.find(b"PK\1\2", first + 1)
twice = bytearray(twice)
twice[second + 42: second + 46] = struct.pack("<I", 0)
bad("zip-shared.zip", "a zip of which two files share their bytes", "share their bytes",
    bytes(twice))
block = bytearray(tar(file("zeros"))[:512])
block[124:136] = number(7 << 30)
def counted(change):
    """A zip of three files whose end record is changed."""
    data = bytearray(zipped(*((name, b"text", 0o100644) for name in ("a", "b", "c"))))
    change(data, data.rfind(b"PK\5\6"))
    return bytes(data)


def fewer(data, end):
    data[end + 8: end + 12] = struct.pack("<HH", 1, 1)


def shorter(data, end):
    fewer(data, end)
    length = data.find(b"PK\1\2", data.find(b"PK\1\2") + 1) - data.find(b"PK\1\2")
    data[end + 12: end + 16] = struct.pack("<I", length)


bad("zip-fewer.zip", "a zip whose end counts one of its three files",
    "counts 1 files, its directory holds 3", counted(fewer))
bad("zip-shorter.zip", "the same, and the length of the directory is that of one",
    "counts 1 files, its directory holds more", counted(shorter))
bad("zip-backslash-up.zip", "a zip of Windows with a name that climbs out", OUT,
    zipped(("..\\x", b"x", 0o100644)).replace(b"\x14\x03", b"\x14\x00"))
bad("bomb.tar.bz2", "7 GiB of zeros in 10 KB", "of the archive unpack to more than",
    bz2.compress(checksum(block)) + bz2.compress(bytes(45_899_235)) * 60)

good("twice.tgz", "a file twice: the last counts",
     packed(tar(file("a", b"one"), file("a", b"two"), folder("d"), folder("d"))))
good("links.tgz", "links that stay inside, one that leads nowhere, one in a circle",
     packed(tar(folder("d"), file("d/f"), link("d/up", "../d/f"), link("none", "d/none"),
                link("circle", "circle"), hard("h", "d/f"))))
good("modes.tgz", "set-id bits, owners and odd modes",
     packed(tar(file("s", mode=0o4755, uid=1000, gid=5, uname="u"), file("w", mode=0o666),
                entry("t", tarfile.DIRTYPE, mode=0o1777))))
good("old.tgz", "a tar of before ustar",
     packed(checksum(bytearray(tar(file("old"))[:257] + bytes(255))) + tar(file("old"))[512:]))
good("long.tgz", "names of 200 characters, GNU's way",
     packed(tar(file("l" * 120 + "/" + "m" * 80), link("k" * 150, "l" * 120))))
good("long-pax.tgz", "names of 200 characters, pax's way",
     packed(tar(file("l" * 120 + "/" + "m" * 80), link("k" * 150, "l" * 120),
                format=tarfile.PAX_FORMAT)))
good("sparse.tgz", "a sparse file",
     packed(sparse("s", [(4096, 512), (1 << 30, 512), ((1 << 30) + 4096, 0)], (1 << 30) + 4096, b"x" * 1024)))
good("sizes.tgz", "a directory and a hard link with a size, and no data",
     packed(b"".join(checksum(block) + data for block, data in (
         (bytearray(tar(file("a", b"a"))[:512]), b"a".ljust(512, b"\0")),
         (bytearray(tar(folder("d"))[:124] + number(1024) + tar(folder("d"))[136:512]), b""),
         (bytearray(tar(hard("h", "a"))[:124] + number(1024) + tar(hard("h", "a"))[136:512]), b""),
         (bytearray(tar(file("b", b"b"))[:512]), b"b".ljust(512, b"\0")))) + bytes(1024)))
good("targets.tgz", "links whose targets are not in their shortest form",
     packed(tar(folder("d"), link("one", "d//x"), link("two", "./d/./x"), link("three", "d/."),
                link("four", "d//" * 60), link("d/five", "..//d///"))))
good("streams.tar.bz2", "three bzip2 streams, one of them empty",
     bz2.compress(whole[:1000]) + bz2.compress(b"") + bz2.compress(whole[1000:], 1))
good("padded.tar.bz2", "bzip2 data filled up with zeros", bz2.compress(whole) + bytes(5000))
good("ends.tgz", "a tar without the zeros at its end", packed(whole[: 512 + 5120]))
good("filled.tgz", "a long name that is filled up with zeros",
     packed(b"".join(checksum(block) + data for block, data in (
         (bytearray(tar(entry("././@LongLink", b"L"))[:124] + number(512) + tar(entry("././@LongLink", b"L"))[136:512]),
          (b"n" * 150).ljust(512, b"\0")),
         (bytearray(tar(file("short", b"a"))[:512]), b"a".ljust(512, b"\0")))) + bytes(1024)))
good("label.tgz", "a tar with a label", packed(tar(entry("label", b"V"))[:512] + whole))
good("lines.tgz", "a name with a line end", packed(tar(file("a\nb"))))
good("lines-pax.tgz", "the same, pax's way", packed(pax("x", {"path": "a\nb"})))
good("zeros.tar.gz", "gzip data filled up with zeros", packed(whole) + bytes(1000))
good("members.tar.gz", "two gzip members", packed(whole[:1000]) + packed(whole[1000:]))
good("stdin.zip", "a zip of what came from standard input",
     zipped(("-", b"text", 0o010600)))
parted = bytearray(b"PK00" + zipped(("a", b"text", 0o100644)))
at = parted.find(b"PK\1\2")
parted[at + 42: at + 46] = struct.pack("<I", 4)
at = parted.find(b"PK\5\6")
parted[at + 16: at + 20] = struct.pack("<I", struct.unpack("<I", parted[at + 16: at + 20])[0] + 4)
good("parted.zip", "a zip that was to be in several parts", bytes(parted))
good("modes.zip", "a zip with a link, a script and a directory",
     zipped(("d/", b"", 0o040755), ("d/s", b"#!/bin/sh\n", 0o100755), ("l", b"d/s", 0o120777)))

with open(os.path.join(HERE, "INDEX"), "w") as out:
    out.write("# Written by make.py: FILE | WHAT | WHAT THE REFUSAL SAYS\n")
    out.writelines(sorted(INDEX))
