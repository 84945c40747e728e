//! Files with holes of every shape, made on the spot, and what is in them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use kuth::files::sparse;

pub const MIB: u64 = 1 << 20;

/// A file: its name, its size, where it has data, and whether its zeros are written.
pub struct Sample {
    pub name: String,
    pub size: u64,
    data: Vec<u64>,
    zeros: bool,
}

/// What stands at each place of data.
const TEXT: &[u8] = b"data";

/// All that a tree should keep.
pub fn samples() -> Vec<Sample> {
    let sample = |name: &str, size: u64, data: &[u64], zeros: bool| Sample {
        name: name.to_string(),
        size,
        data: data.to_vec(),
        zeros,
    };
    // More parts than a header and two blocks behind it hold.
    let many: Vec<u64> = (0..60).map(|at| at * 3 * MIB + at).collect();
    vec![
        sample("all", 3 << 30, &[], false),
        sample("begin", 3 << 30, &[(3 << 30) - 4], false),
        sample("dense", 2 * MIB + 9, &[0, MIB, 2 * MIB], false),
        sample("end", 3 << 30, &[0], false),
        // Its places and sizes do not fit in octal.
        sample("far", 20 << 30, &[7, 9 << 30, (20 << 30) - 9], false),
        sample("just", MIB, &[], false),
        sample("less", MIB - 1, &[], false),
        sample(&format!("long-{}", "n".repeat(150)), 64 * MIB, &[32 * MIB - 2], false),
        sample("many", 180 * MIB + 1, &many, false),
        sample("middle", 64 * MIB + 1, &[0, 64 * MIB - 4], false),
        sample("more", MIB + 1, &[], false),
        sample("zeros", 40 * MIB, &[20 * MIB], true),
    ]
}

impl Sample {
    /// Makes it in `directory`.
    pub fn make(&self, directory: &Path) {
        let file = File::create_new(directory.join(&self.name)).unwrap();
        match self.zeros {
            true => file.write_all_at(&vec![0; self.size as usize], 0).unwrap(),
            false => file.set_len(self.size).unwrap(),
        }
        self.data.iter().for_each(|at| file.write_all_at(TEXT, *at).unwrap());
    }

    /// The least that is to be stored of it, in units that are not zero alone.
    pub fn stored(&self) -> u64 {
        let mut units: Vec<u64> =
            self.data.iter().flat_map(|at| [at / MIB, (at + 3) / MIB]).collect();
        units.dedup();
        units.len() as u64 * MIB
    }

    /// Compares the file `path`, which should have its content and no more blocks than it must.
    pub fn compare(&self, path: &Path, original: &Path, who: &str) {
        use std::os::unix::fs::MetadataExt;
        let file = File::open(path).unwrap();
        let found = file.metadata().unwrap();
        assert_eq!(found.len(), self.size, "{who}: {}", self.name);
        if self.size > 3 * MIB {
            let blocks = found.blocks() * 512;
            assert!(blocks <= self.stored() + MIB, "{who}: {} takes {blocks}", self.name);
        }
        self.compare_content(&file, original, who);
    }

    /// The content alone.
    pub fn compare_content(&self, file: &File, original: &Path, who: &str) {
        let original = File::open(original.join(&self.name)).unwrap();
        // Of gigabytes the hash reads what is not a hole.
        let hash = |file: &File| sparse::tree_hash(file).unwrap();
        assert_eq!(hash(file), hash(&original), "{who}: {}", self.name);
        for at in &self.data {
            let mut bytes = [0; TEXT.len()];
            file.read_exact_at(&mut bytes, *at).unwrap();
            assert_eq!(bytes, TEXT, "{who}: {} at {at}", self.name);
        }
    }
}
