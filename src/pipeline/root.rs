//! Where a pipeline's project begins: the directory that its relative paths start from, and the
//! file that is meant where links lead to one. It reads no file.

use std::path::{Path, PathBuf};

/// The directory that holds the innermost `pipelines` directory above the file, else the file's
/// own.
pub fn project_root(path: &Path) -> PathBuf {
    let directory = path.parent().unwrap_or(Path::new(""));
    let holder = directory.ancestors().find(|above| is_pipelines(above)).and_then(Path::parent);
    match holder.unwrap_or(directory) {
        root if root.as_os_str().is_empty() => PathBuf::from("."),
        root => root.to_path_buf(),
    }
}

/// The pipeline file that `path` means. Where links lead out of the project that `path` seems to be
/// in, it is the file they lead to, so that a link to `pipelines/` or to a file in it finds the
/// same project and lock as the file itself. A file that lies in no `pipelines` directory is of the
/// project that its link is in.
pub fn resolved(path: &Path) -> PathBuf {
    let (Ok(real), Ok(whole)) = (path.canonicalize(), std::path::absolute(path)) else {
        return path.to_path_buf();
    };
    let is_of_a_project = |path: &Path| path.ancestors().skip(1).any(is_pipelines);
    let same_place = |one: Option<&Path>, other: Option<&Path>| match (one, other) {
        (Some(one), Some(other)) => one.canonicalize().is_ok_and(|one| one == other),
        _ => false,
    };
    let is_same = whole.file_name() == real.file_name()
        && same_place(whole.parent(), real.parent())
        && same_place(Some(&project_root(path)), Some(&project_root(&real)));
    match is_same || (is_of_a_project(&whole) && !is_of_a_project(&real)) {
        true => path.to_path_buf(),
        false => real,
    }
}

fn is_pipelines(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "pipelines")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_root_lies_above_pipelines() {
        for (path, root) in [
            ("pipelines/debian.toml", "."),
            ("pipelines/legacy/x.toml", "."),
            ("/p/pipelines/x.toml", "/p"),
            ("/p/pipelines/a/b/x.toml", "/p"),
            ("../p/pipelines/x.toml", "../p"),
            ("/elsewhere/x.toml", "/elsewhere"),
            ("x.toml", "."),
        ] {
            assert_eq!(project_root(Path::new(path)), Path::new(root), "{path}");
        }
    }

    #[test]
    fn links_lead_to_the_project_of_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().canonicalize().unwrap();
        let at = |name: &str| directory.join(name);
        for name in ["p/pipelines/sub", "other/pipelines", "store"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        for name in ["p/pipelines/x.toml", "p/pipelines/sub/x.toml", "store/y.toml", "store/z.toml"]
        {
            std::fs::write(at(name), "").unwrap();
        }
        for (target, link) in [
            ("p", "linked"),
            ("p/pipelines", "short"),
            ("p/pipelines/x.toml", "x.toml"),
            ("p/pipelines/x.toml", "p/pipelines/today.toml"),
            ("p/pipelines/x.toml", "other/pipelines/x.toml"),
            ("store/y.toml", "other/pipelines/y.toml"),
            ("store/z.toml", "z.toml"),
        ] {
            symlink(at(target), at(link)).unwrap();
        }
        for (path, expected) in [
            // No link, or one above the project: the path as it was given.
            ("p/pipelines/x.toml", "p/pipelines/x.toml"),
            ("p/pipelines/../pipelines/x.toml", "p/pipelines/../pipelines/x.toml"),
            ("linked/pipelines/sub/x.toml", "linked/pipelines/sub/x.toml"),
            ("p/pipelines/none.toml", "p/pipelines/none.toml"),
            // Links to `pipelines/` and to a file in it.
            ("short/x.toml", "p/pipelines/x.toml"),
            ("x.toml", "p/pipelines/x.toml"),
            ("p/pipelines/today.toml", "p/pipelines/x.toml"),
            ("other/pipelines/x.toml", "p/pipelines/x.toml"),
            // Its target is in no project; the link is.
            ("other/pipelines/y.toml", "other/pipelines/y.toml"),
            ("z.toml", "store/z.toml"),
        ] {
            assert_eq!(resolved(&at(path)), at(expected), "{path}");
        }
    }
}
