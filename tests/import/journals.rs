//! Journals of ext4 that debugfs wrote, of every version of checksums and both widths of block
//! numbers: what kuth reads is what e2fsck makes of a copy. Where e2fsck drops or aborts because of a
//! checksum, kuth refuses.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crate::world::{World, have, import, run, text};
use kuth_test_support::judge::verdict;

const TOOLS: &[&str] = &["mke2fs", "debugfs", "dumpe2fs", "e2fsck"];
const MAGIC: [u8; 4] = [0xc0, 0x3b, 0x39, 0x98];
/// What e2fsck says of a commit with a wrong checksum, and of other blocks.
const ABORTED: &str = "was corrupt, replay was aborted";
const INVALID: &str = "Journal checksum error found";
/// What kuth says of a commit.
const COMMIT: &str = "the checksum of its commit is wrong";
/// Blocks of the file that the journals write to.
const VICTIM: usize = 300;

/// How a journal is written.
#[derive(Clone, Copy, Debug)]
struct Way {
    block: usize,
    features: &'static str,
    /// Of debugfs's `journal_open`.
    open: &'static str,
    /// What dumpe2fs says of the journal.
    shown: &'static str,
}

const WAYS: [Way; 8] = [
    way(1024, "^metadata_csum,^64bit", "", ""),
    way(4096, "^metadata_csum,64bit", "", "journal_64bit"),
    way(4096, "^metadata_csum,^64bit", "-c", "journal_checksum"),
    way(1024, "^metadata_csum,64bit", "-c", "journal_checksum journal_64bit"),
    way(1024, "metadata_csum,^64bit", "-c -v 2", "journal_checksum_v2"),
    way(4096, "metadata_csum,64bit", "-c -v 2", "journal_64bit journal_checksum_v2"),
    way(4096, "metadata_csum,^64bit", "-c -v 3", "journal_checksum_v3"),
    way(1024, "metadata_csum,64bit", "-c -v 3", "journal_64bit journal_checksum_v3"),
];

const fn way(block: usize, features: &'static str, open: &'static str, shown: &'static str) -> Way {
    Way { block, features, open, shown }
}

impl Way {
    /// Whether each block of a journal has its checksum.
    fn sums_blocks(&self) -> bool {
        self.shown.contains("checksum_v")
    }

    /// Whether a transaction has one as a whole.
    fn sums_transactions(&self) -> bool {
        self.shown.contains("checksum") && !self.sums_blocks()
    }
}

/// The content of a block of the victim: which one, and which version of it. Every other version
/// begins with the journal's magic number.
fn content(way: Way, index: usize, version: u8) -> Vec<u8> {
    let mut bytes: Vec<u8> =
        (0..way.block).map(|at| (at * 7 + index * 3) as u8 ^ version).collect();
    bytes[8..16].copy_from_slice(&(index as u64).to_le_bytes());
    bytes[16] = version;
    if version.is_multiple_of(2) {
        bytes[..4].copy_from_slice(&MAGIC);
    }
    bytes
}

/// One transaction.
#[derive(Clone, Debug, Default)]
struct Transaction {
    /// Blocks of the victim, and the versions that are written.
    writes: Vec<(usize, u8)>,
    revokes: Vec<usize>,
    uncommitted: bool,
}

/// Blocks of the victim, and which version of each is found.
type Versions = Vec<(usize, u8)>;

fn writes(writes: &[(usize, u8)]) -> Transaction {
    Transaction { writes: writes.to_vec(), ..Transaction::default() }
}

fn revokes(revokes: &[usize]) -> Transaction {
    Transaction { revokes: revokes.to_vec(), ..Transaction::default() }
}

impl Transaction {
    fn and(self, other: Transaction) -> Transaction {
        Transaction {
            writes: [self.writes, other.writes].concat(),
            revokes: [self.revokes, other.revokes].concat(),
            uncommitted: self.uncommitted,
        }
    }

    fn uncommitted(self) -> Transaction {
        Transaction { uncommitted: true, ..self }
    }

    /// Whether debugfs writes a checksum that e2fsck, and the kernel, do not expect: debugfs counts
    /// revocations into the checksum of a whole transaction.
    fn misjudged(&self, way: Way) -> bool {
        way.sums_transactions() && !self.uncommitted && !self.revokes.is_empty()
    }
}

/// Which versions are found: what was written last, unless it was revoked then or later.
fn found(transactions: &[Transaction]) -> Versions {
    let mut found = BTreeMap::new();
    for transaction in transactions.iter().filter(|transaction| !transaction.uncommitted) {
        found.extend(transaction.writes.iter().copied());
        found.extend(transaction.revokes.iter().map(|index| (*index, 1)));
    }
    found.into_iter().collect()
}

/// A file system with the victim, which is not unmounted.
struct Disk {
    world: World,
    way: Way,
    image: PathBuf,
    /// Where the victim's blocks are.
    victim: Vec<u64>,
    /// Where the journal's blocks are.
    journal: Vec<u64>,
}

impl Disk {
    fn new(way: Way) -> Disk {
        let world = World::new();
        let root = world.at("root");
        std::fs::create_dir_all(root.join("etc")).unwrap();
        let whole: Vec<u8> = (0..VICTIM).flat_map(|index| content(way, index, 1)).collect();
        std::fs::write(root.join("etc/victim"), whole).unwrap();
        std::fs::write(root.join("etc/fstab"), "/dev/vda1 / ext4\n").unwrap();
        let image = world.at("fs.raw");
        File::create(&image).unwrap().set_len(8192 * way.block as u64).unwrap();
        let size = way.block.to_string();
        let of = ["-q", "-F", "-t", "ext4", "-b", &size, "-O", way.features, "-d", text(&root)];
        run("mke2fs", &[&of[..], &[text(&image)]].concat());
        let blocks = |of: &str| -> Vec<u64> {
            let numbers = run("debugfs", &["-R", &format!("blocks {of}"), text(&image)]);
            numbers.split_whitespace().map(|number| number.parse().unwrap()).collect()
        };
        let (victim, journal) = (blocks("/etc/victim"), blocks("<8>"));
        assert_eq!(victim.len(), VICTIM);
        assert!(journal.len() >= 1024);
        Disk { world, way, image, victim, journal }
    }

    /// A file system whose journal debugfs wrote.
    fn with(way: Way, transactions: &[Transaction]) -> Disk {
        let disk = Disk::new(way);
        for transaction in transactions {
            disk.write(transaction);
        }
        let told = run("dumpe2fs", &["-h", text(&disk.image)]);
        let features = told.lines().find_map(|line| line.strip_prefix("Journal features:"));
        let features = features.unwrap().replace("journal_incompat_revoke", "");
        let mut words: Vec<&str> =
            features.split_whitespace().filter(|word| *word != "(none)").collect();
        words.sort();
        let mut expected: Vec<&str> = way.shown.split_whitespace().collect();
        expected.sort();
        assert_eq!(words, expected, "{way:?}");
        assert!(told.contains("needs_recovery"), "{told}");
        disk
    }

    /// Each with a journal opened anew: debugfs counts one that revokes and writes wrongly.
    fn write(&self, transaction: &Transaction) {
        let data: Vec<u8> = transaction
            .writes
            .iter()
            .flat_map(|(index, version)| content(self.way, *index, *version))
            .collect();
        std::fs::write(self.world.at("data"), data).unwrap();
        let list = |indices: &mut dyn Iterator<Item = usize>| -> String {
            let numbers: Vec<String> =
                indices.map(|index| self.victim[index].to_string()).collect();
            numbers.join(",")
        };
        let mut command = "jw".to_string();
        if transaction.uncommitted {
            command += " -c";
        }
        if !transaction.revokes.is_empty() {
            command += &format!(" -r {}", list(&mut transaction.revokes.iter().copied()));
        }
        if !transaction.writes.is_empty() {
            let written = list(&mut transaction.writes.iter().map(|(index, _)| *index));
            command += &format!(" -b {written} {}", self.world.at("data").display());
        }
        let script = self.world.at("script");
        std::fs::write(&script, format!("jo {}\n{command}\njc\n", self.way.open)).unwrap();
        let said = run("debugfs", &["-w", "-f", text(&script), text(&self.image)]);
        assert!(!said.contains("while writing"), "{said}");
    }

    /// A block of the journal.
    fn block(&self, number: usize) -> Vec<u8> {
        let mut bytes = vec![0; self.way.block];
        let at = self.journal[number] * self.way.block as u64;
        File::open(&self.image).unwrap().read_exact_at(&mut bytes, at).unwrap();
        bytes
    }

    fn set_block(&self, number: usize, bytes: &[u8]) {
        let at = self.journal[number] * self.way.block as u64;
        let file = File::options().write(true).open(&self.image).unwrap();
        file.write_all_at(bytes, at).unwrap();
    }

    /// Changes a byte of a block of the journal.
    fn flip(&self, number: usize, at: usize) {
        let mut block = self.block(number);
        block[at] ^= 0x40;
        self.set_block(number, &block);
    }

    /// Changes the superblock of the journal, and its checksum with it.
    fn change_superblock(&self, change: impl FnOnce(&mut [u8])) {
        let mut superblock = self.block(0);
        change(&mut superblock);
        if self.way.sums_blocks() {
            superblock[252..256].fill(0);
            let sum = crc32c(&superblock[..1024]);
            superblock[252..256].copy_from_slice(&sum.to_be_bytes());
        }
        self.set_block(0, &superblock);
    }

    /// The blocks of the journal of this kind, in order: 1 descriptors, 2 commits, 5 revocations.
    fn blocks_of(&self, kind: u8) -> Vec<usize> {
        let is = |block: &[u8]| block[..4] == MAGIC && block[4..8] == [0, 0, 0, kind];
        (1..self.journal.len()).filter(|number| is(&self.block(*number))).collect()
    }

    /// What e2fsck makes of a copy: what it says, and the victim.
    fn judged(&self) -> (String, Vec<u8>) {
        let (copy, out) = (self.world.at("copy.raw"), self.world.at("victim"));
        std::fs::copy(&self.image, &copy).unwrap();
        let (_, told, more) = verdict("e2fsck", &["-fy", text(&copy)]).unwrap();
        run("debugfs", &["-R", &format!("dump /etc/victim {}", out.display()), text(&copy)]);
        (told + &more, std::fs::read(out).unwrap())
    }

    /// The victim that kuth finds.
    fn imported(&self) -> Result<Vec<u8>, String> {
        let to = self.world.at("out.tar");
        let _ = std::fs::remove_file(&to);
        import(&self.image, &to)?;
        let mut archive = tar::Archive::new(File::open(&to).unwrap());
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            if entry.path().unwrap().ends_with("etc/victim") {
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                return Ok(content);
            }
        }
        panic!("the victim is not in the tree");
    }

    /// Kuth and e2fsck find the victim with these versions; all others are the first.
    fn check(&self, name: &str, versions: &[(usize, u8)]) {
        let versions: BTreeMap<usize, u8> = versions.iter().copied().collect();
        let version = |index| versions.get(&index).copied().unwrap_or(1);
        let (told, judged) = self.judged();
        let imported = self.imported().unwrap_or_else(|error| panic!("{name}: {error}"));
        for index in 0..VICTIM {
            let expected = content(self.way, index, version(index));
            let block =
                |bytes: &[u8]| bytes[index * self.way.block..][..self.way.block] == expected;
            let way = self.way;
            assert!(block(&judged), "{name}, {way:?}: block {index} of e2fsck's\n{told}");
            assert!(block(&imported), "{name}, {way:?}: block {index} of kuth's");
        }
        assert_eq!(imported.len(), VICTIM * self.way.block);
    }

    /// Kuth refuses, and so does e2fsck in its own way.
    fn check_refused(&self, name: &str, judge: &str, why: &str) {
        let (told, _) = self.judged();
        assert!(told.contains(judge), "{name}, {:?}: e2fsck says\n{told}", self.way);
        let error = self.imported().unwrap_err();
        assert!(error.contains("replaying the journal: "), "{name}, {:?}: {error}", self.way);
        assert!(error.contains(why) && error.contains("e2fsck"), "{name}, {:?}: {error}", self.way);
    }
}

#[test]
fn transactions_are_applied_as_e2fsck_does() {
    if !have(TOOLS) {
        return;
    }
    let all: Vec<(usize, u8)> = (0..VICTIM).map(|index| (index, 2 + index as u8 % 2)).collect();
    let cases: [(&str, Vec<Transaction>, Versions); 8] = [
        (
            "the last of several counts",
            vec![writes(&[(1, 3), (2, 3), (9, 3)]), writes(&[(2, 5)]), writes(&[(9, 7), (4, 7)])],
            vec![(1, 3), (2, 5), (9, 7), (4, 7)],
        ),
        ("more than one descriptor", vec![writes(&all)], all.clone()),
        (
            "the magic number of the journal",
            vec![writes(&[(1, 2), (2, 3), (3, 4)]), writes(&[(2, 4), (3, 5)])],
            vec![(1, 2), (2, 4), (3, 5)],
        ),
        ("revoked later", vec![writes(&[(1, 3), (2, 3), (3, 2)]), revokes(&[1, 3])], vec![(2, 3)]),
        (
            "revoked before",
            vec![writes(&[(4, 3)]), revokes(&[1, 4]), writes(&[(1, 3), (2, 3)])],
            vec![(1, 3), (2, 3)],
        ),
        (
            "revoked twice and written between",
            vec![revokes(&[1, 2]), writes(&[(1, 3), (2, 3)]), revokes(&[2]), writes(&[(5, 3)])],
            vec![(1, 3), (5, 3)],
        ),
        (
            "a transaction that never ended",
            vec![writes(&[(1, 3)]), writes(&[(1, 5), (2, 5)]).uncommitted()],
            vec![(1, 3)],
        ),
        (
            "a revocation that never ended",
            vec![writes(&[(1, 3), (2, 3)]), revokes(&[1]).uncommitted()],
            vec![(1, 3), (2, 3)],
        ),
    ];
    for way in WAYS {
        for (name, transactions, expected) in &cases {
            let disk = Disk::with(way, transactions);
            match transactions.iter().any(|transaction| transaction.misjudged(way)) {
                true => disk.check_refused(name, ABORTED, COMMIT),
                false => disk.check(name, expected),
            }
        }
    }
}

#[test]
fn a_block_revoked_where_it_is_written_is_not_written() {
    if !have(TOOLS) {
        return;
    }
    let both = writes(&[(1, 3), (2, 3)]).and(revokes(&[1]));
    for way in WAYS {
        let disk = Disk::with(way, &[writes(&[(7, 3)]), both.clone()]);
        if both.misjudged(way) {
            disk.check_refused("both", ABORTED, COMMIT);
            continue;
        }
        disk.check("both", &[(2, 3), (7, 3)]);
        // A later transaction writes it after all.
        disk.write(&writes(&[(1, 5)]));
        disk.check("both and again", &[(1, 5), (2, 3), (7, 3)]);
    }
}

#[test]
fn what_is_cut_off_ends_the_journal() {
    if !have(TOOLS) {
        return;
    }
    let transactions = [writes(&[(1, 3)]), writes(&[(2, 3), (3, 2)]), writes(&[(4, 3)])];
    let hows = [("no magic number", 1), ("another sequence", 11), ("a new kind", 7)];
    for (turn, way) in WAYS.into_iter().enumerate() {
        for (name, kind, which, expected) in [
            ("no last commit", 2, 2, vec![(1, 3), (2, 3), (3, 2)]),
            ("no second commit", 2, 1, vec![(1, 3)]),
            ("no second descriptor", 1, 1, vec![(1, 3)]),
            ("nothing at all", 1, 0, vec![]),
        ] {
            let (how, at) = hows[(turn + kind as usize + which) % hows.len()];
            let disk = Disk::with(way, &transactions);
            disk.flip(disk.blocks_of(kind)[which], at);
            disk.check(&format!("{name}: {how}"), &expected);
        }
    }
}

#[test]
fn wrong_checksums_are_refused() {
    if !have(TOOLS) {
        return;
    }
    let transactions = [writes(&[(1, 3)]), revokes(&[1]), writes(&[(2, 3), (3, 2)])];
    for way in WAYS {
        let flipped = |kind: u8, which: usize, behind: usize, at: usize| {
            let disk = Disk::with(way, &transactions);
            disk.flip(disk.blocks_of(kind)[which] + behind, at);
            disk
        };
        let last = way.block - 1;
        if way.sums_blocks() {
            let block = "the checksum of one of its blocks is wrong";
            for which in [0, 1] {
                // Of the descriptor its last byte, in the checksum, and one that is not used.
                for at in [last, 500] {
                    flipped(1, which, 0, at).check_refused("descriptor", INVALID, block);
                }
            }
            flipped(5, 0, 0, last).check_refused("revocation", INVALID, block);
            flipped(5, 0, 0, 500).check_refused("revocation", INVALID, block);
            for which in [0, 2] {
                for at in [19, 500] {
                    flipped(2, which, 0, at).check_refused("commit", ABORTED, COMMIT);
                }
            }
            let data = "the checksum of a block in the journal is wrong";
            flipped(1, 1, 1, 77).check_refused("data", INVALID, data);
            flipped(1, 1, 2, 0).check_refused("escaped data", INVALID, data);
            // What is revoked is not even looked at.
            flipped(1, 0, 1, 77).check("revoked data", &[(2, 3), (3, 2)]);
        } else if way.sums_transactions() {
            let name = "one checksum for all";
            let transactions = [writes(&[(1, 3)]), writes(&[(2, 3), (3, 2)])];
            for (kind, which, behind, at) in
                [(1, 0, 0, 500), (1, 1, 1, 77), (1, 1, 2, last), (2, 1, 0, 19), (2, 0, 0, 12)]
            {
                let disk = Disk::with(way, &transactions);
                disk.check(name, &[(1, 3), (2, 3), (3, 2)]);
                disk.flip(disk.blocks_of(kind)[which] + behind, at);
                disk.check_refused(name, ABORTED, COMMIT);
            }
            // A commit may be without one.
            let disk = Disk::with(way, &transactions);
            let number = disk.blocks_of(2)[1];
            let mut commit = disk.block(number);
            commit[12..20].fill(0);
            disk.set_block(number, &commit);
            disk.check("no checksum", &[(1, 3), (2, 3), (3, 2)]);
        } else {
            // Nobody can tell.
            let disk = flipped(1, 1, 1, 77);
            assert_eq!(disk.imported().unwrap(), disk.judged().1);
        }
    }
}

/// Blocks of an earlier use of the journal may have the right number: their time tells.
#[test]
fn what_an_earlier_journal_left_ends_it() {
    if !have(TOOLS) {
        return;
    }
    for way in WAYS.into_iter().filter(|way| way.shown.contains("checksum")) {
        let kinds: &[u8] = if way.sums_blocks() { &[1, 2] } else { &[2] };
        for kind in kinds {
            let disk = Disk::with(way, &[writes(&[(1, 3)]), writes(&[(1, 5), (2, 3)])]);
            let commit = disk.blocks_of(2)[1];
            let mut bytes = disk.block(commit);
            bytes[48..56].fill(0);
            disk.set_block(commit, &bytes);
            disk.flip(disk.blocks_of(*kind)[1], 500);
            if way.sums_transactions() {
                disk.flip(commit, 19);
            }
            disk.check("an older one", &[(1, 3)]);
        }
    }
}

/// CRC-32C as RFC 3720 has it, bit by bit, not inverted.
fn crc32c(bytes: &[u8]) -> u32 {
    bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 * (crc & 1)))
    })
}

#[test]
fn a_journal_goes_on_at_its_beginning() {
    if !have(TOOLS) {
        return;
    }
    let many: Vec<(usize, u8)> = (0..20).map(|index| (index, 2 + index as u8 % 2)).collect();
    let all = [
        writes(&many),
        revokes(&[3]),
        writes(&[(3, 5), (5, 6)]),
        revokes(&[6]),
        writes(&[(30, 3)]),
    ];
    for (turn, way) in WAYS.into_iter().enumerate() {
        let transactions: Vec<Transaction> =
            all.iter().filter(|transaction| !transaction.misjudged(way)).cloned().collect();
        let expected = found(&transactions);
        let disk = Disk::with(way, &transactions);
        disk.check("before", &expected);
        let ring: Vec<Vec<u8>> = (1..disk.journal.len()).map(|number| disk.block(number)).collect();
        let length = ring.len();
        // The end of the journal after a descriptor, within data, before and after a commit ...
        let ends = [1, 2, 5, 21, 22, 23, 24, 25, 26, 28, 29];
        for before in ends.into_iter().skip(turn % 3).step_by(3) {
            let shift = length - before;
            for (index, block) in ring.iter().enumerate() {
                disk.set_block(1 + (index + shift) % length, block);
            }
            let start = (1 + shift as u32).to_be_bytes();
            disk.change_superblock(|superblock| superblock[28..32].copy_from_slice(&start));
            disk.check(&format!("{before} before the end"), &expected);
        }
    }
}

#[test]
fn any_order_of_writes_and_revocations() {
    if !have(TOOLS) {
        return;
    }
    for (seed, way) in WAYS.into_iter().enumerate() {
        let mut state = 77 + seed as u64;
        let mut roll = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % below
        };
        let mut transactions = Vec::new();
        for turn in 0..14 {
            let mut indices: Vec<usize> = (0..10).filter(|_| roll(3) == 0).collect();
            let revoked = turn % 3 == 1 && !indices.is_empty();
            let of = |index: &usize| (*index, 2 + turn as u8);
            let some = if indices.is_empty() { vec![(11, 2 + turn as u8)] } else { Vec::new() };
            let mut transaction = match revoked && !way.sums_transactions() {
                true => revokes(&indices),
                false => writes(&[some, indices.iter().map(of).collect()].concat()),
            };
            if !revoked && !way.sums_transactions() && roll(3) == 0 {
                indices.truncate(1);
                transaction = transaction.and(revokes(&indices));
            }
            transaction.uncommitted = turn == 13;
            transactions.push(transaction);
        }
        let disk = Disk::with(way, &transactions);
        let expected = found(&transactions);
        assert!(expected.len() > 5, "{expected:?}");
        disk.check("any", &expected);
    }
}

#[test]
fn flags_and_features_that_nobody_writes() {
    if !have(TOOLS) {
        return;
    }
    // The flag "deleted" says nothing to a replay.
    let disk = Disk::with(WAYS[0], &[writes(&[(1, 3), (2, 3)])]);
    let number = disk.blocks_of(1)[0];
    let mut descriptor = disk.block(number);
    descriptor[19] |= 4;
    disk.set_block(number, &descriptor);
    disk.check("deleted", &[(1, 3), (2, 3)]);
    // Features of the superblock that kuth does not replay, e2fsck perhaps.
    for (at, value, why) in [
        (43, 0x80, "unknown features: 0x80"),
        (47, 0x80, "unknown read-only features: 0x80"),
        (43, 0x18, "checksums of several versions"),
        (43, 0x04, "its commits need not be behind their blocks"),
    ] {
        let disk = Disk::with(WAYS[0], &[writes(&[(1, 3)])]);
        disk.change_superblock(|superblock| superblock[at] = value);
        let error = disk.imported().unwrap_err();
        assert!(error.contains(why), "{error}");
    }
}

/// The room for them changes nothing, nor do those that are left over from another transaction.
#[test]
fn fast_commits_are_refused_where_there_are_some() {
    if !have(TOOLS) {
        return;
    }
    for way in [WAYS[0], WAYS[7]] {
        let disk = Disk::with(way, &[writes(&[(1, 3)]), writes(&[(2, 5)])]);
        // Less than e2fsck wants beside a journal of this length.
        disk.change_superblock(|superblock| {
            superblock[43] |= 0x20;
            superblock[84..88].copy_from_slice(&16_u32.to_be_bytes());
        });
        disk.imported().unwrap();
        let superblock = disk.block(0);
        let number = |at: usize| u32::from_be_bytes(superblock[at..at + 4].try_into().unwrap());
        let first = number(16) as usize - 16;
        for (sequence, is_refused) in [(number(24) + 1, false), (number(24) + 2, true)] {
            let mut head = vec![0; way.block];
            head[..4].copy_from_slice(&[9, 0, 8, 0]);
            head[8..12].copy_from_slice(&sequence.to_le_bytes());
            disk.set_block(first, &head);
            match disk.imported() {
                Ok(_) => assert!(!is_refused),
                Err(error) => {
                    assert!(is_refused && error.contains("ends with fast commits"), "{error}");
                    assert!(error.contains("e2fsck -fy"), "{error}");
                }
            }
        }
    }
}

/// e2fsck asks, the kernel drops: kuth leaves it to the user.
#[test]
fn changes_that_the_superblock_denies_are_refused() {
    if !have(TOOLS) {
        return;
    }
    for way in WAYS {
        let disk = Disk::with(way, &[writes(&[(1, 3)])]);
        let command = ["-w", "-R", "feature -needs_recovery"];
        run("debugfs", &[&command[..], &[text(&disk.image)]].concat());
        let (told, _) = disk.judged();
        assert!(told.contains("Run journal anyway?"), "{told}");
        let error = disk.imported().unwrap_err();
        assert!(error.contains("its journal holds changes, and it says"), "{error}");
        assert!(error.contains("run e2fsck on the file system"), "{error}");
    }
}

/// Where commits may be written before their blocks, a wrong checksum is one that was cut off.
#[test]
fn a_commit_written_early_ends_the_journal() {
    if !have(TOOLS) {
        return;
    }
    let transactions = [writes(&[(1, 3)]), writes(&[(1, 5), (2, 3)]), writes(&[(3, 3)])];
    for way in WAYS.into_iter().filter(Way::sums_blocks) {
        for (which, expected) in [(0, vec![]), (1, vec![(1, 3)]), (2, vec![(1, 5), (2, 3)])] {
            let disk = Disk::with(way, &transactions);
            disk.change_superblock(|superblock| superblock[43] |= 4);
            disk.check("as written", &[(1, 5), (2, 3), (3, 3)]);
            disk.flip(disk.blocks_of(2)[which], 500);
            disk.check("early", &expected);
        }
    }
}
