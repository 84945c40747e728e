//! Which packages of a resolved set are installed first. The set is split into a few batches, each
//! of which is installed on what those before it left, so that a package added to the set need not
//! install all others again. The split depends on the set alone, never on what was built before.
//!
//! A batch has the packages whose files have at least a certain length, and what they depend on. So
//! a new package changes the batch that it is large enough for, and the later ones, which are small.

use std::collections::HashMap;
use std::fs::File;

use crate::artifact::{ArtifactKind, Output};
use crate::error::{Context, Result};
use crate::format::deb;
use crate::format::deb822;
use crate::lock::Package;
use crate::recipe::Recipe;
use crate::stage_context::StageContext;

/// Raised when the same packages would be split in another way.
const REVISION: u32 = 1;

/// The least length in bytes of the files that each batch is made for; one more has the rest.
const LEAST: [u64; 2] = [8 << 20, 512 << 10];

/// A set with fewer bytes is one batch: installing it takes little longer than starting apt again.
const WORTH_IT: u64 = 32 << 20;

/// What of a package's control file matters.
struct Relations {
    /// The names under which others depend on it.
    names: Vec<String>,
    /// All names in its dependencies, alternatives too.
    needs: Vec<String>,
}

/// The batches of `packages`, at least one, none empty, each in the order of `packages`. `fetch`
/// puts their files into the store of packages; only called when the split is not in the cache.
pub fn split<'p>(
    context: &StageContext,
    packages: &'p [Package],
    fetch: impl FnOnce() -> Result<()>,
) -> Result<Vec<Vec<&'p Package>>> {
    if packages.iter().map(|package| package.size).sum::<u64>() < WORTH_IT {
        return Ok(vec![packages.iter().collect()]);
    }
    let mut recipe = Recipe::new("batches", REVISION);
    recipe.list("package", packages.iter().map(|package| package.sha256));
    let (answer, _) = context.cached(&recipe, |context| {
        fetch()?;
        let relations = packages.iter().map(|package| relations(context, package));
        let sizes: Vec<u64> = packages.iter().map(|package| package.size).collect();
        let batches = batches(&sizes, &relations.collect::<Result<Vec<_>>>()?);
        let text = serde_json::to_string(&batches).context("writing the batches")?;
        Output::text(ArtifactKind::File, &context.work, "batches.json", &text)
    })?;
    let path = context.object(&answer);
    let what = || format!("reading {}", path.display());
    let numbers: Vec<usize> =
        serde_json::from_slice(&std::fs::read(&path).with_context(what)?).with_context(what)?;
    let mut split = vec![Vec::new(); LEAST.len() + 1];
    for (package, number) in packages.iter().zip(numbers) {
        split.get_mut(number).with_context(what)?.push(package);
    }
    split.retain(|batch| !batch.is_empty());
    Ok(split)
}

fn relations(context: &StageContext, package: &Package) -> Result<Relations> {
    let path = context.cache.package(&package.sha256);
    let control = File::open(&path)
        .and_then(deb::read)
        .with_context(|| format!("reading the package {package} in {}", path.display()))?;
    Ok(relations_of(&control.text))
}

fn relations_of(control: &str) -> Relations {
    let mut relations = Relations { names: Vec::new(), needs: Vec::new() };
    for field in deb822::paragraphs(control).flat_map(|paragraph| paragraph.fields()) {
        let value = || std::iter::once(field.value).chain(field.continuation()).map(str::trim);
        let value: String = value().collect::<Vec<_>>().join(" ");
        let into = match field.name {
            "Package" | "Provides" => &mut relations.names,
            "Depends" | "Pre-Depends" => &mut relations.needs,
            _ => continue,
        };
        // `libc6 (>= 2.38), awk:any | mawk`
        let names = value.split([',', '|']).map(|one| {
            one.trim().split([' ', '(', ':', '[']).next().unwrap_or_default().to_string()
        });
        into.extend(names.filter(|name| !name.is_empty()));
    }
    relations
}

/// The number of the batch of each package.
fn batches(sizes: &[u64], relations: &[Relations]) -> Vec<usize> {
    let mut named: HashMap<&str, Vec<usize>> = HashMap::new();
    for (at, package) in relations.iter().enumerate() {
        package.names.iter().for_each(|name| named.entry(name).or_default().push(at));
    }
    let mut numbers = vec![LEAST.len(); sizes.len()];
    for (number, least) in LEAST.iter().enumerate() {
        let mut todo: Vec<usize> = (0..sizes.len()).filter(|at| sizes[*at] >= *least).collect();
        while let Some(at) = todo.pop() {
            if numbers[at] < LEAST.len() {
                continue;
            }
            numbers[at] = number;
            let needs = relations[at].needs.iter();
            todo.extend(needs.filter_map(|name| named.get(name.as_str())).flatten());
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn set(packages: &[(u64, &str)]) -> Vec<usize> {
        let sizes: Vec<u64> = packages.iter().map(|(size, _)| *size).collect();
        let relations: Vec<_> = packages.iter().map(|(_, text)| relations_of(text)).collect();
        batches(&sizes, &relations)
    }

    const KERNEL: (u64, &str) =
        (100 * MIB, "Package: kernel\nDepends: kmod (>= 1), x | initrd-maker\n");
    const KMOD: (u64, &str) = (1, "Package: kmod\nPre-Depends:\n libkmod:any (= 1)\n");
    const LIBKMOD: (u64, &str) = (1, "Package: libkmod\nDepends: kmod\n");
    const MAKER: (u64, &str) = (1, "Package: maker\nProvides: other, initrd-maker (= 2)\n");
    const PERL: (u64, &str) = (4 * MIB, "Package: perl\nDepends: libkmod, libperl\n");
    const LIBPERL: (u64, &str) = (1, "Package: libperl\n");
    const HTOP: (u64, &str) = (1, "Package: htop\nDepends: libkmod\nRecommends: kernel\n");

    #[test]
    fn what_large_packages_depend_on_is_installed_with_them() {
        let packages = [HTOP, KERNEL, KMOD, LIBKMOD, LIBPERL, MAKER, PERL];
        assert_eq!(set(&packages), [2, 0, 0, 0, 1, 0, 1]);
    }

    #[test]
    fn a_package_moves_none_of_an_earlier_batch() {
        let packages = [HTOP, KERNEL, KMOD, LIBKMOD, LIBPERL, MAKER, PERL];
        let all = set(&packages);
        for added in 0..packages.len() {
            let mut without = packages.to_vec();
            without.remove(added);
            let mut expected = all.clone();
            let number = expected.remove(added);
            for (was, is) in set(&without).into_iter().zip(expected) {
                assert!(was == is || (was > number && is >= number), "{added}: {was} -> {is}");
            }
        }
    }
}
