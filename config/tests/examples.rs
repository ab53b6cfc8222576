//! Every example file loads; the demo's policies say what the demo tells.

use warren_config::resolve::{Resolved, Source, render, resolve};

fn load(name: &str) -> Resolved {
    let path = format!("{}/examples/{name}", env!("CARGO_MANIFEST_DIR"));
    let sources = [Source { file: name.to_owned(), text: std::fs::read_to_string(path).unwrap() }];
    resolve(&sources).unwrap_or_else(|faults| panic!("{}", render(&faults.findings, &sources, false)))
}

#[test]
fn every_example_loads() {
    let folder = format!("{}/examples", env!("CARGO_MANIFEST_DIR"));
    let names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".toml"))
        .collect();
    assert!(names.len() >= 4, "{names:?}");
    for name in names {
        let resolved = load(&name);
        let ids: Vec<&str> = resolved.warnings.iter().map(|warning| warning.id).collect();
        assert!(ids.iter().all(|id| *id == "invariant-not-proved"), "{name}: {:?}", resolved.warnings);
    }
}

#[test]
fn an_unproved_invariant_is_never_silent() {
    let resolved = load("full.toml");
    assert_eq!(resolved.policy.invariants.len(), 3);
    assert_eq!(resolved.warnings.len(), 3);
}
