//! Golden texts: what the author of a faulty policy reads. Each `faults/NAME.toml` (or folder `NAME.d`) has its `NAME.txt` beside it.
//!
//! After a wanted change: `WARREN_BLESS=1 cargo test -p warren-config --test faults`, then read the difference.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

use std::path::{Path, PathBuf};

use warren_config::name::Name;
use warren_config::resolve::{Context, Severity, Source, render, resolve_in};
use warren_config::time::UnixTime;

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults");
    let mut cases: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_some_and(|ext| ext == "toml" || ext == "d"));
    cases.sort();
    cases
}

/// One file, or the files of a folder `NAME.d`.
fn sources(path: &Path) -> Vec<Source> {
    let source = |path: &Path| Source {
        file: path.file_name().unwrap().to_string_lossy().into_owned(),
        text: std::fs::read_to_string(path).unwrap(),
    };
    if !path.is_dir() {
        return vec![source(path)];
    }
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|path| source(path)).collect()
}

#[test]
fn every_fault_reads_as_reviewed() {
    let bless = std::env::var_os("WARREN_BLESS").is_some();
    let context =
        Context { at: Some(UnixTime(1_780_000_000)), nodes: Some([Name::parse("web-2").unwrap()].into()) };
    let mut wrong = Vec::new();
    assert!(cases().len() >= 50);
    for path in cases() {
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let sources = sources(&path);
        let (refused, findings) = match resolve_in(&sources, &context) {
            Ok(resolved) => (false, resolved.warnings),
            Err(faults) => (true, faults.findings),
        };
        assert_eq!(refused, findings.iter().any(|f| f.severity == Severity::Error), "{file}");
        assert_eq!(refused, file != "warnings.toml", "{file}");
        let text = render(&findings, &sources, false);
        let golden = path.with_extension("txt");
        if bless {
            std::fs::write(&golden, &text).unwrap();
        } else if std::fs::read_to_string(&golden).unwrap_or_default() != text {
            wrong.push(format!("--- {file}\n{text}"));
        }
    }
    assert!(wrong.is_empty(), "not as reviewed:\n{}", wrong.join("\n"));
}
