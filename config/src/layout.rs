//! One layout for policy files: what `warren policy fmt` writes.
//!
//! Only blanks, line ends and the last comma of a list change. Every comment and every value stays, in its order, so
//! the meaning stays as well: the text is cut into the tokens of TOML and these are laid out again.
//!
//! The rules: one empty line before each table, its comments with it; `=` and trailing comments aligned among
//! neighbouring lines; a list on one line if it fits into [`WIDTH`] columns and nobody comments its parts, else one
//! part per line; an inline table on one line unless its parts are commented.

use toml_parser::lexer::{Token, TokenKind};

use crate::document;
use crate::resolve::report::Report;
use crate::resolve::{Faults, Source};

/// Lists that would reach beyond this column are written over several lines.
pub const WIDTH: usize = 100;

/// The same policy in the one layout.
///
/// # Errors
/// A file that is no TOML. Names and kinds do not matter here: an unfinished policy can be laid out, too.
pub fn format(source: &Source) -> Result<String, Faults> {
    let sources = std::slice::from_ref(source);
    let mut report = Report::new(sources);
    if document::parse(0, &source.text, &mut report).is_none() || report.has_errors() {
        return Err(Faults { findings: report.finish() });
    }
    Ok(write(Reader::new(&source.text).lines()))
}

/// One statement, or the nothing between two.
#[derive(Debug)]
enum Line<'i> {
    Blank,
    Comment(&'i str),
    Header { text: String, comment: Option<&'i str> },
    Entry { key: String, value: Value<'i>, comment: Option<&'i str> },
}

#[derive(Debug)]
enum Value<'i> {
    /// A string, number, truth or time, as written.
    Plain(&'i str),
    List(Parts<'i>),
    Table(Parts<'i>),
}

/// What stands between two brackets.
#[derive(Debug, Default)]
struct Parts<'i> {
    parts: Vec<Part<'i>>,
    /// Comments before the closing bracket.
    rest: Vec<&'i str>,
}

#[derive(Debug)]
struct Part<'i> {
    /// An empty line stood before it.
    apart: bool,
    before: Vec<&'i str>,
    /// With its `=` and what stands around that.
    key: Option<String>,
    value: Value<'i>,
    after: Option<&'i str>,
}

struct Reader<'i> {
    text: &'i str,
    tokens: std::iter::Peekable<std::vec::IntoIter<Token>>,
}

impl<'i> Reader<'i> {
    fn new(text: &'i str) -> Reader<'i> {
        let tokens: Vec<Token> = toml_parser::Source::new(text).lex().into_vec();
        Reader { text, tokens: tokens.into_iter().peekable() }
    }

    fn lines(mut self) -> Vec<Line<'i>> {
        let mut lines = Vec::new();
        loop {
            self.skip(TokenKind::Whitespace);
            match self.peek() {
                TokenKind::Eof => return lines,
                TokenKind::Newline => {
                    self.next();
                    lines.push(Line::Blank);
                }
                TokenKind::Comment => {
                    let comment = self.comment();
                    lines.extend(comment.map(Line::Comment));
                    self.line_end();
                }
                TokenKind::LeftSquareBracket => {
                    let text = self.joined_until(&[TokenKind::Comment, TokenKind::Newline]);
                    let comment = self.line_end();
                    lines.push(Line::Header { text, comment });
                }
                _ => {
                    let (key, value) = (self.key(), self.value());
                    let comment = self.line_end();
                    lines.push(Line::Entry { key, value, comment });
                }
            }
        }
    }

    fn peek(&mut self) -> TokenKind {
        self.tokens.peek().map_or(TokenKind::Eof, Token::kind)
    }

    fn next(&mut self) -> &'i str {
        let span = self.tokens.next().map(|token| token.span());
        span.and_then(|span| self.text.get(span.start()..span.end())).unwrap_or_default()
    }

    fn skip(&mut self, kind: TokenKind) {
        while self.peek() == kind {
            self.next();
        }
    }

    fn comment(&mut self) -> Option<&'i str> {
        (self.peek() == TokenKind::Comment).then(|| self.next().trim_end())
    }

    /// The comment at the end of a line, and the end itself.
    fn line_end(&mut self) -> Option<&'i str> {
        self.skip(TokenKind::Whitespace);
        let comment = self.comment();
        if self.peek() == TokenKind::Newline {
            self.next();
        }
        comment
    }

    /// Keys and headers: nothing in them needs a blank.
    fn joined_until(&mut self, ends: &[TokenKind]) -> String {
        let mut text = String::new();
        while self.peek() != TokenKind::Eof && !ends.contains(&self.peek()) {
            let blank = self.peek() == TokenKind::Whitespace;
            let token = self.next();
            text.push_str(if blank { "" } else { token });
        }
        text
    }

    fn key(&mut self) -> String {
        let key = self.joined_until(&[TokenKind::Equals]);
        self.next();
        key
    }

    /// In an inline table lines may end, and comments stand, on either side of `=`.
    fn key_of_part(&mut self) -> String {
        let mut text = String::new();
        let mut assigned = false;
        loop {
            match self.peek() {
                TokenKind::Whitespace | TokenKind::Newline => drop(self.next()),
                TokenKind::Comment => {
                    let comment = self.comment().unwrap_or_default();
                    text.push_str(&format!("{}{comment}\n", if assigned { "" } else { " " }));
                }
                TokenKind::Equals if !assigned => {
                    self.next();
                    text.push_str(if text.ends_with('\n') { "= " } else { " = " });
                    assigned = true;
                }
                TokenKind::Eof => return text,
                _ if assigned => return text,
                _ => text.push_str(self.next()),
            }
        }
    }

    fn value(&mut self) -> Value<'i> {
        self.skip(TokenKind::Whitespace);
        match self.peek() {
            TokenKind::LeftSquareBracket => Value::List(self.parts(TokenKind::RightSquareBracket)),
            TokenKind::LeftCurlyBracket => Value::Table(self.parts(TokenKind::RightCurlyBracket)),
            _ => Value::Plain(self.plain()),
        }
    }

    /// May hold a blank: `2027-01-31 00:00:00Z`.
    fn plain(&mut self) -> &'i str {
        use TokenKind::{Comma, Comment, Eof, Newline, RightCurlyBracket, RightSquareBracket};
        let start = self.tokens.peek().map_or(0, |token| token.span().start());
        let mut end = start;
        while !matches!(self.peek(), Comma | Comment | Eof | Newline | RightCurlyBracket | RightSquareBracket)
        {
            end = self.tokens.peek().map_or(end, |token| token.span().end());
            self.next();
        }
        self.text.get(start..end).unwrap_or_default().trim_end()
    }

    fn parts(&mut self, close: TokenKind) -> Parts<'i> {
        self.next();
        let mut all = Parts::default();
        // Line ends since anything else; more than one is an empty line.
        let (mut ends, mut apart) = (0, false);
        loop {
            match self.peek() {
                TokenKind::Whitespace | TokenKind::Comma => drop(self.next()),
                TokenKind::Newline => {
                    self.next();
                    ends += 1;
                }
                TokenKind::Comment => {
                    all.add_comment(self.comment().unwrap_or_default(), ends == 0);
                    (ends, apart) = (0, apart || ends > 1);
                }
                kind if kind == close || kind == TokenKind::Eof => {
                    self.next();
                    return all;
                }
                _ => {
                    let key = (close == TokenKind::RightCurlyBracket).then(|| self.key_of_part());
                    let (value, before) = (self.value(), std::mem::take(&mut all.rest));
                    all.parts.push(Part { apart: apart || ends > 1, before, key, value, after: None });
                    (ends, apart) = (0, false);
                }
            }
        }
    }
}

impl<'i> Parts<'i> {
    fn add_comment(&mut self, comment: &'i str, same_line: bool) {
        let free = same_line && self.rest.is_empty();
        match self.parts.last_mut().filter(|part| free && part.after.is_none()) {
            Some(part) => part.after = Some(comment),
            None => self.rest.push(comment),
        }
    }
}

impl Value<'_> {
    fn commented(&self) -> bool {
        match self {
            Value::Plain(_) => false,
            Value::List(all) | Value::Table(all) => {
                let part = |part: &Part<'_>| {
                    !part.before.is_empty() || part.after.is_some() || part.value.commented()
                };
                !all.rest.is_empty() || all.parts.iter().any(part)
            }
        }
    }

    /// On one line.
    fn flat(&self) -> String {
        let joined = |all: &Parts<'_>| {
            let part = |part: &Part<'_>| match &part.key {
                Some(key) => format!("{key}{}", part.value.flat()),
                None => part.value.flat(),
            };
            all.parts.iter().map(part).collect::<Vec<_>>().join(", ")
        };
        match self {
            Value::Plain(text) => (*text).to_owned(),
            Value::List(all) => format!("[{}]", joined(all)),
            Value::Table(all) if all.parts.is_empty() => "{}".to_owned(),
            Value::Table(all) => format!("{{ {} }}", joined(all)),
        }
    }

    /// `column`: where the value begins; `depth`: how far its lines are indented.
    fn text(&self, column: usize, depth: usize) -> String {
        let flat = self.flat();
        let (all, open, close) = match self {
            Value::List(all) => (all, '[', ']'),
            Value::Table(all) => (all, '{', '}'),
            Value::Plain(_) => return flat,
        };
        let fits = column + flat.chars().count() <= WIDTH || matches!(self, Value::Table(_)) || flat == "[]";
        if fits && !self.commented() {
            return flat;
        }
        let indent = " ".repeat(4 * (depth + 1));
        let mut text = format!("{open}\n");
        for (i, part) in all.parts.iter().enumerate() {
            if part.apart && i > 0 {
                text.push('\n');
            }
            part.before.iter().for_each(|comment| text.push_str(&format!("{indent}{comment}\n")));
            let key = part.key.as_deref().unwrap_or_default();
            let value = part.value.text(indent.len() + key.chars().count(), depth + 1);
            let after = part.after.map(|comment| format!(" {comment}")).unwrap_or_default();
            text.push_str(&format!("{indent}{key}{value},{after}\n"));
        }
        all.rest.iter().for_each(|comment| text.push_str(&format!("{indent}{comment}\n")));
        text.push_str(&" ".repeat(4 * depth));
        text.push(close);
        text
    }
}

/// No two empty lines, none at the ends and after a header, one before each header and its comments.
fn spaced(lines: Vec<Line<'_>>) -> Vec<Line<'_>> {
    let mut spaced: Vec<Line<'_>> = Vec::new();
    for line in lines {
        match &line {
            Line::Blank if matches!(spaced.last(), None | Some(Line::Blank | Line::Header { .. })) => {
                continue;
            }
            Line::Header { .. } => {
                let own = spaced.iter().rev().take_while(|line| matches!(line, Line::Comment(_))).count();
                let at = spaced.len() - own;
                if at > 0 && !matches!(spaced.get(at - 1), Some(Line::Blank)) {
                    spaced.insert(at, Line::Blank);
                }
            }
            _ => {}
        }
        spaced.push(line);
    }
    if matches!(spaced.last(), Some(Line::Blank)) {
        spaced.pop();
    }
    spaced
}

fn write(lines: Vec<Line<'_>>) -> String {
    let spaced = spaced(lines);
    let blocks = spaced.split(|line| matches!(line, Line::Blank)).map(block);
    blocks.collect::<Vec<String>>().join("\n")
}

/// Neighbouring lines, aligned.
fn block(lines: &[Line<'_>]) -> String {
    let width = |line: &Line<'_>| match line {
        Line::Entry { key, .. } => key.chars().count(),
        _ => 0,
    };
    let keys = lines.iter().map(width).max().unwrap_or(0);
    let written: Vec<(String, Option<&str>)> = lines.iter().map(|line| without_comment(line, keys)).collect();
    let aligned = |(text, comment): &&(String, Option<&str>)| comment.is_some() && !text.contains('\n');
    let column = written.iter().filter(aligned).map(|(text, _)| text.chars().count()).max().unwrap_or(0);
    let mut all = String::new();
    for (text, comment) in &written {
        all.push_str(text);
        if let Some(comment) = comment {
            let gap = if text.contains('\n') { 0 } else { column - text.chars().count() };
            all.push_str(&" ".repeat(gap + 2));
            all.push_str(comment);
        }
        all.push('\n');
    }
    all
}

fn without_comment<'i>(line: &Line<'i>, keys: usize) -> (String, Option<&'i str>) {
    match line {
        Line::Blank => (String::new(), None),
        Line::Comment(comment) => ((*comment).to_owned(), None),
        Line::Header { text, comment } => (text.clone(), *comment),
        Line::Entry { key, value, comment } => {
            let pad = " ".repeat(keys - key.chars().count());
            (format!("{key}{pad} = {}", value.text(keys + 3, 0)), *comment)
        }
    }
}
