//! Stock programs that no Debian package has.

use std::path::{Path, PathBuf};

use crate::process::run;
use crate::street::Host;

/// A program that `scripts/test` installed.
pub fn tool(name: &str) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let places =
        std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from).into_iter().chain([root.join("target")]);
    let found = places.map(|target| target.join("tools/bin").join(name)).find(|path| path.is_file());
    match found {
        Some(path) => path.to_string_lossy().into_owned(),
        None => panic!("{name} is not in target/tools: scripts/test installs it (cargo install {name})"),
    }
}

/// A static program with musl's resolver: `resolve NAME` prints addresses.
pub fn musl(host: &Host) -> String {
    let (source, program) = (host.path("resolve.c"), host.path("resolve"));
    std::fs::write(&source, include_str!("stock/resolve.c")).unwrap();
    run(None, &["musl-gcc", "-static", "-O1", "-o", &program, &source], &[]).ok();
    program
}
