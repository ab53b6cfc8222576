//! Collects findings with their lines and columns.

use std::ops::Range;

use super::{Finding, Severity, Source};
use crate::document::{MAX_FILE, Spot};
use crate::text::Malformed;

/// More findings than anyone reads are counted, not kept.
const MAX_FINDINGS: usize = 500;

pub(crate) struct Report<'a> {
    sources: &'a [Source],
    /// Byte offsets at which lines begin, per source.
    lines: Vec<Vec<usize>>,
    findings: Vec<Finding>,
    errors: usize,
    unkept: usize,
    /// What stands behind these places was not read as it was meant.
    blind: Vec<Spot>,
}

impl<'a> Report<'a> {
    pub fn new(sources: &'a [Source]) -> Report<'a> {
        // A file that is too large is refused unread; its lines are not counted either.
        let readable = |text: &str| if text.len() > MAX_FILE { Vec::new() } else { line_starts(text) };
        let lines = sources.iter().map(|source| readable(&source.text)).collect();
        Report { sources, lines, findings: Vec::new(), errors: 0, unkept: 0, blind: Vec::new() }
    }

    pub fn error(&mut self, id: &'static str, spot: &Spot, message: String, hint: Option<String>) {
        self.errors += 1;
        self.add(Severity::Error, id, spot, message, hint);
    }

    pub fn warning(&mut self, id: &'static str, spot: &Spot, message: String, hint: Option<String>) {
        self.add(Severity::Warning, id, spot, message, hint);
    }

    /// A fault inside the string that stands at `spot`.
    pub fn malformed(&mut self, spot: &Spot, wrong: Malformed) {
        let inside = self.inside(spot, wrong.at);
        self.error(wrong.id, &inside, wrong.message, wrong.hint);
    }

    /// The place of `part` of the string at `spot`; the whole string when its spelling has escapes.
    pub fn inside(&self, spot: &Spot, part: Range<usize>) -> Spot {
        let written = self.sources.get(spot.file).and_then(|source| source.text.get(spot.span.clone()));
        let plain = written.is_some_and(|text| {
            !text.contains('\\') && !text.starts_with("\"\"\"") && !text.starts_with("'''")
        });
        let quoted = written.is_some_and(|text| text.starts_with(['"', '\'']));
        let lead = spot.span.start + usize::from(quoted);
        let span = lead + part.start..lead + part.end;
        let fits = !part.is_empty() && span.end <= spot.span.end;
        Spot { file: spot.file, span: if plain && fits { span } else { spot.span.clone() } }
    }

    fn add(
        &mut self,
        severity: Severity,
        id: &'static str,
        spot: &Spot,
        message: String,
        hint: Option<String>,
    ) {
        if self.blind.iter().any(|b| b.file == spot.file && b.span.start < spot.span.start) {
            return;
        }
        if self.findings.len() >= MAX_FINDINGS {
            self.unkept += 1;
            return;
        }
        let finding = self.finding(severity, id, spot, message, hint);
        self.findings.push(finding);
    }

    /// What could be told about a place.
    pub fn finding(
        &self,
        severity: Severity,
        id: &'static str,
        spot: &Spot,
        message: String,
        hint: Option<String>,
    ) -> Finding {
        let (line, column) = self.position(spot);
        let file = self.sources.get(spot.file).map(|source| source.file.clone()).unwrap_or_default();
        let span = spot.span.clone();
        Finding { severity, id, message, file, span, line, column, hint }
    }

    fn position(&self, spot: &Spot) -> (usize, usize) {
        let starts = self.lines.get(spot.file).map(Vec::as_slice).unwrap_or_default();
        let line = starts.partition_point(|start| *start <= spot.span.start);
        let start = line.checked_sub(1).and_then(|i| starts.get(i)).copied().unwrap_or(0);
        let text = self.sources.get(spot.file).map(|source| source.text.as_str()).unwrap_or_default();
        let before = text.get(start..spot.span.start).unwrap_or_default();
        (line.max(1), before.chars().count() + 1)
    }

    /// Findings behind this place, in its file, would only puzzle.
    pub fn blind_after(&mut self, spot: Spot) {
        self.blind.push(spot);
    }

    /// `FILE:LINE` of a place.
    pub fn place(&self, spot: &Spot) -> String {
        let file = self.sources.get(spot.file).map(|source| source.file.as_str()).unwrap_or_default();
        format!("{file}:{}", self.position(spot).0)
    }

    pub fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// All findings: errors first, each kind in the order of files and lines.
    pub fn finish(mut self) -> Vec<Finding> {
        self.forget_echoes();
        let order: std::collections::BTreeMap<&str, usize> =
            self.sources.iter().enumerate().map(|(i, source)| (source.file.as_str(), i)).collect();
        let place = |f: &Finding| order.get(f.file.as_str()).copied();
        self.findings.sort_by(|a, b| {
            (a.severity, place(a), a.span.start, a.id).cmp(&(b.severity, place(b), b.span.start, b.id))
        });
        self.findings.dedup();
        if self.unkept > 0 {
            let mut more = self.findings.last().cloned();
            if let Some(more) = &mut more {
                more.severity = if self.errors > 0 { Severity::Error } else { Severity::Warning };
                more.id = "more-findings";
                more.message = format!("{} more findings are not shown", self.unkept);
                more.hint = None;
                more.span = 0..0;
                (more.line, more.column) = (1, 1);
            }
            self.findings.extend(more);
        }
        self.findings
    }

    /// Where TOML itself is broken, the rest of a table may be lost: what only follows from the loss is no finding.
    fn forget_echoes(&mut self) {
        let broken: std::collections::BTreeSet<(String, usize)> =
            self.findings.iter().filter(|f| f.id == "syntax").map(|f| (f.file.clone(), f.line)).collect();
        if broken.is_empty() {
            return;
        }
        // A broken header leaves the keys below it to nobody.
        let headless = self.broken_headers();
        self.findings.retain(|f| {
            let stray = f.id == "unknown-key" && f.message.ends_with(" of a policy");
            let after = |(file, line): &(String, usize)| *file == f.file && *line < f.line;
            if stray && headless.iter().any(after) {
                return false;
            }
            let echo = f.id.starts_with("unknown-") && f.id != "unknown-key" && f.id != "unknown-protocol"
                || f.id.starts_with("missing-")
                || f.severity == Severity::Warning;
            f.id == "syntax" || !echo && !broken.contains(&(f.file.clone(), f.line))
        });
    }
}

impl Report<'_> {
    fn broken_headers(&self) -> Vec<(String, usize)> {
        let is_header = |f: &&Finding| {
            let source = self.sources.iter().find(|source| source.file == f.file);
            let line = source.and_then(|source| source.text.lines().nth(f.line - 1));
            f.id == "syntax" && line.is_some_and(|line| line.trim_start().starts_with('['))
        };
        self.findings.iter().filter(is_header).map(|f| (f.file.clone(), f.line)).collect()
    }
}

fn line_starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect()
}
