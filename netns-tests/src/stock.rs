//! Stock resolvers that no package has as a program.

use crate::process::run;
use crate::street::Host;

/// A static program with musl's resolver: `resolve NAME` prints addresses.
pub fn musl(host: &Host) -> String {
    let (source, program) = (host.path("resolve.c"), host.path("resolve"));
    std::fs::write(&source, include_str!("stock/resolve.c")).unwrap();
    run(None, &["musl-gcc", "-static", "-O1", "-o", &program, &source], &[]).ok();
    program
}
