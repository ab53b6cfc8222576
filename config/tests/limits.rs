//! Hostile sizes are refused with a clear limit, soon, and with bounded memory.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

use std::fmt::Write;
use std::time::{Duration, Instant};

use warren_config::layout;
use warren_config::resolve::{Finding, Source, render, resolve};

fn files(texts: Vec<String>) -> Vec<Source> {
    let source = |(i, text)| Source { file: format!("{i}.toml"), text };
    texts.into_iter().enumerate().map(source).collect()
}

fn faults(sources: &[Source]) -> Vec<Finding> {
    let findings = resolve(sources).unwrap_err().findings;
    assert!(findings.len() <= 501, "{}", findings.len());
    render(&findings, sources, false);
    findings
}

/// The most that this process ever had in memory, in MiB.
fn most_memory() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// One after the other, so that the memory of each is known. Cold limits: they guard against growth, not a busy machine.
#[test]
fn what_is_too_large_too_many_or_too_deep_is_refused_soon_and_in_bounded_memory() {
    let begun = Instant::now();
    a_file_of_100_megabytes();
    let large = most_memory();
    a_million_grants();
    let crowded = most_memory();
    deeply_nested();
    assert!(begun.elapsed() < Duration::from_secs(120), "{:?}", begun.elapsed());
    println!("most memory: {large} MiB, {crowded} MiB, {} MiB; {:?}", most_memory(), begun.elapsed());
    assert!(large < 400, "100 MB of text once, and its copy: {large} MiB");
    assert!(most_memory() < 1500, "{} MiB", most_memory());
}

fn a_file_of_100_megabytes() {
    for filler in ["#", "\n", "a=1\n"] {
        let sources = files(vec![filler.repeat(100 * 1024 * 1024 / filler.len())]);
        let findings = faults(&sources);
        assert_eq!(findings[0].id, "file-too-large");
        assert!(findings[0].message.ends_with("the limit is 4194304"), "{}", findings[0].message);
        assert_eq!(layout::format(&sources[0]).unwrap_err().findings[0].id, "file-too-large");
    }
}

fn a_million_grants() {
    let grant = |text: &mut String, i: usize| {
        write!(text, "[[grant]]\nid=\"g{i}\"\nfrom=[\"all-nodes\"]\nto=[\"service:s\"]\n").unwrap();
    };
    let written = |grants: std::ops::Range<usize>| {
        let mut text = String::new();
        grants.for_each(|i| grant(&mut text, i));
        text
    };
    // In as few files as they fit: too much text.
    let whole = (0..20).map(|i| written(i * 50_000..(i + 1) * 50_000)).collect();
    assert_eq!(faults(&files(whole))[0].id, "policy-too-large");
    // As short as can be: too many tables, in one file and over several.
    let ids: Vec<&str> = faults(&files(vec!["[[grant]]\n".repeat(400_000)])).iter().map(|f| f.id).collect();
    assert!(ids.contains(&"too-many"), "{:?}", &ids[..5]);
    let several = (0..3).map(|i| written(i * 40_000..(i + 1) * 40_000)).collect();
    let findings = faults(&files(several));
    assert!(findings.iter().any(|f| f.id == "too-many" && f.message.contains("120000")), "{:?}", findings[0]);
}

fn deeply_nested() {
    for text in [
        format!("a = {}", "[".repeat(200_000)),
        format!("a = {}", "{a=".repeat(200_000)),
        format!("a = {}{}", "[".repeat(1_000_000), "]".repeat(1_000_000)),
        format!("{}a = 1", "a.".repeat(200_000)),
        format!("[{}a]", "a.".repeat(200_000)),
        format!("[[{}a]]", "a.".repeat(200_000)),
        "=\n".repeat(100_000),
        "x=1\n".repeat(100_000),
        "[[grant]]\n".repeat(90_000),
        "[tag.a]\n".repeat(90_000),
    ] {
        let sources = files(vec![text]);
        faults(&sources);
        // Laid out or refused, but never lost in it.
        drop(layout::format(&sources[0]));
    }
}
