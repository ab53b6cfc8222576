//! `warren policy fmt`: policy files in the one layout. All files are read and laid out before the first is written.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde_json::json;
use warren_config::layout;
use warren_config::resolve::{self, Source};

use super::{Context, Failure, Outcome, output, policy_file};

pub fn run(context: &Context, path: &Path, check: bool) -> Outcome {
    let sources = policy_file::read(path)?;
    let other = others(&sources)?;
    if !check {
        other.iter().try_for_each(replace)?;
    }
    let files: Vec<&str> = other.iter().map(|source| source.file.as_str()).collect();
    match context.json {
        true => output::json(
            &json!({ "checked": sources.len(), "changed": !check && !files.is_empty(), "other_layout": files }),
        ),
        false => say(&files, sources.len(), check),
    }
    if check && !files.is_empty() { Err(Failure::shown()) } else { Ok(()) }
}

fn say(files: &[&str], all: usize, check: bool) {
    let did = if check { "has another layout" } else { "laid out" };
    for file in files {
        output::line(&crate::text::plain(&format!("{did}: {file}"), 600));
    }
    if files.is_empty() {
        output::line(&format!("{all} file(s): nothing to change"));
    } else if check {
        output::line("`warren policy fmt` without --check writes them anew");
    }
}

/// Files that are not in the one layout, with the text they should have. A file that is no TOML: none of them.
fn others(sources: &[Source]) -> Result<Vec<Source>, Failure> {
    let mut other = Vec::new();
    let mut findings = Vec::new();
    for source in sources {
        match layout::format(source) {
            Ok(text) if text == source.text => {}
            Ok(text) => other.push(Source { file: source.file.clone(), text }),
            Err(faults) => findings.extend(faults.findings),
        }
    }
    if findings.is_empty() {
        return Ok(other);
    }
    output::error_line(resolve::render(&findings, sources, policy_file::colour()).trim_end());
    Err(Failure::finding("nothing was written: correct the faults above first"))
}

/// A new file takes the old one's place, with its mode: whoever reads meanwhile sees one or the other whole.
fn replace(source: &Source) -> Outcome {
    let wrong = |error: std::io::Error| Failure::usage(format!("{} cannot be written: {error}", source.file));
    // A link goes on pointing to what it names.
    let path = std::fs::canonicalize(&source.file).map_err(wrong)?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder.join(format!(".{name}.{}.fmt", std::process::id()));
    let written = write_beside(&path, &beside, &source.text).and_then(|()| std::fs::rename(&beside, &path));
    if let Err(error) = written.and_then(|()| File::open(folder)?.sync_all()) {
        let _ = std::fs::remove_file(&beside);
        return Err(wrong(error));
    }
    Ok(())
}

fn write_beside(path: &Path, beside: &Path, text: &str) -> std::io::Result<()> {
    let old = std::fs::metadata(path)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(old.permissions())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    const LOOSE: &str = "version=1 # one\n[tag.a]\n";
    const TIGHT: &str = "version = 1  # one\n\n[tag.a]\n";

    fn file(path: &Path) -> Source {
        Source { file: path.display().to_string(), text: std::fs::read_to_string(path).unwrap() }
    }

    #[test]
    fn a_file_keeps_its_mode_and_a_link_its_target_and_nothing_is_left_beside() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("p.toml"), dir.path().join("l.toml"));
        std::fs::write(&path, LOOSE).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&path, &link).unwrap();
        let other = others(&[file(&link)]).unwrap();
        replace(&other[0]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), TIGHT);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
        assert!(others(&[file(&link)]).unwrap().is_empty());
    }

    #[test]
    fn one_faulty_file_keeps_all_as_they_are() {
        let good = Source { file: "a".into(), text: LOOSE.into() };
        let faulty = Source { file: "b".into(), text: "[tag.a".into() };
        assert!(others(&[good, faulty]).is_err());
    }
}
