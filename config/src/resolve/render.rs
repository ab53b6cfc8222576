//! Findings for people: the offending text underlined.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Element, Group, Level, Origin, Renderer, Snippet};

use super::{Finding, Severity, Source};

/// Renders findings with the offending text underlined (plain text, or with ANSI colours).
pub fn render(findings: &[Finding], sources: &[Source], colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.decor_style(DecorStyle::Ascii);
    let mut text = String::new();
    for finding in findings {
        let source = sources.iter().find(|source| source.file == finding.file);
        text.push_str(&renderer.render(&[group(finding, source)]));
        text.push_str("\n\n");
    }
    text
}

fn group<'a>(finding: &'a Finding, source: Option<&'a Source>) -> Group<'a> {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group =
        level.primary_title(finding.message.as_str()).id(finding.id).element(place(finding, source));
    if let Some(hint) = &finding.hint {
        group = group.element(Level::HELP.message(hint.as_str()));
    }
    group
}

/// Only the lines of the span are handed over, so that a large file costs nothing.
fn place<'a>(finding: &'a Finding, source: Option<&'a Source>) -> Element<'a> {
    let origin = || Origin::path(finding.file.as_str()).line(finding.line).char_column(finding.column).into();
    let Some(text) = source.map(|source| source.text.as_str()) else { return origin() };
    let span = finding.span.clone();
    let (Some(before), Some(after)) = (text.get(..span.start), text.get(span.start..)) else {
        return origin();
    };
    let start = before.rfind('\n').map_or(0, |i| i + 1);
    let line_end = after.find('\n').map_or(text.len(), |i| span.start + i);
    // A span over several lines is shown by its first.
    let end = span.end.clamp(span.start, line_end);
    let Some(line) = text.get(start..line_end) else { return origin() };
    if line.trim().is_empty() || line.len() > 500 || finding.span == (0..0) {
        return origin();
    }
    Snippet::source(line)
        .line_start(finding.line)
        .path(finding.file.as_str())
        .annotation(AnnotationKind::Primary.span(span.start - start..end - start))
        .into()
}
