//! `fmt`: only blanks, line ends and the last comma of a list change. Every comment stays, in its order.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panic")]

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use toml_parser::lexer::TokenKind;
use warren_config::item::ItemTree;
use warren_config::layout::format;
use warren_config::resolve::{Source, resolve};

const FULL: &str = include_str!("../examples/full.toml");

fn source(text: &str) -> Source {
    Source { file: "p.toml".to_owned(), text: text.to_owned() }
}

fn laid_out(text: &str) -> String {
    format(&source(text)).unwrap_or_else(|faults| panic!("{:?}\n{text}", faults.findings))
}

/// Everything but blanks, line ends and commas.
fn substance(text: &str) -> Vec<&str> {
    let skipped = [TokenKind::Whitespace, TokenKind::Newline, TokenKind::Comma, TokenKind::Eof];
    let tokens = toml_parser::Source::new(text).lex().into_vec();
    let kept = tokens.into_iter().filter(|token| !skipped.contains(&token.kind()));
    kept.map(|token| text[token.span().start()..token.span().end()].trim_end()).collect()
}

fn comments(text: &str) -> Vec<&str> {
    substance(text).into_iter().filter(|token| token.starts_with('#')).collect()
}

fn root(text: &str) -> Option<String> {
    resolve(&[source(text)]).ok().map(|resolved| ItemTree::new(&resolved.policy).root().to_string())
}

fn obeys_the_laws(text: &str) {
    let once = laid_out(text);
    assert_eq!(laid_out(&once), once, "a second time changes something");
    assert_eq!(comments(&once), comments(text), "a comment is lost or moved\n{text}\n{once}");
    assert_eq!(substance(&once), substance(text));
    assert_eq!(root(&once), root(text), "the meaning changed");
}

/// The policy files of `folder` and the folders in it.
fn policies(folder: &str) -> Vec<PathBuf> {
    let mut todo = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    let mut found = Vec::new();
    while let Some(path) = todo.pop() {
        match path.is_dir() {
            true => todo.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path())),
            false if path.extension().is_some_and(|ext| ext == "toml") => found.push(path),
            false => {}
        }
    }
    found
}

#[test]
fn law_12_fmt_keeps_comments_order_and_meaning_of_every_file_here() {
    let texts = policies("examples").into_iter().chain(policies("tests/faults"));
    let texts = texts.map(|path| std::fs::read_to_string(path).unwrap());
    let good: Vec<String> = texts.filter(|text| format(&source(text)).is_ok()).collect();
    assert!(good.len() > 20);
    good.iter().for_each(|text| obeys_the_laws(text));
}

/// After a wanted change: `WARREN_BLESS=1 cargo test -p warren-config --test layout`.
#[test]
fn the_examples_stand_in_the_one_layout() {
    for path in policies("examples") {
        let text = std::fs::read_to_string(&path).unwrap();
        if std::env::var_os("WARREN_BLESS").is_some() {
            std::fs::write(&path, laid_out(&text)).unwrap();
        } else {
            assert!(laid_out(&text) == text, "{}:\n{}", path.display(), laid_out(&text));
        }
    }
}

const LOOSE: &str = r#"

# about the file

version=1   # the only one
mode  =  "enforce"
[ group . "platform" ]# people


members=[ "alice@example.com"  ,# Alice
  # the pipeline
  "ci:deployer"

  , "bob@example.com"
  # nobody else
]
# about web
# and more
[tag.web]

owners=["group:platform"]
[[grant]] # one
id="a"
from=["tag:web","tag:a-long-name-number-one","tag:a-long-name-number-two","tag:a-long-name-number-three"]
until = 2027-01-31 00:00:00Z
[[invariant]]
never={from=["tag:web"],to=["service:orders"],  via="any"}
only = { # TOML 1.1
  from = [ ], to = [] }
[dns]


# the end
"#;

const TIGHT: &str = r#"# about the file

version = 1  # the only one
mode    = "enforce"

[group."platform"]  # people
members = [
    "alice@example.com", # Alice
    # the pipeline
    "ci:deployer",

    "bob@example.com",
    # nobody else
]

# about web
# and more
[tag.web]
owners = ["group:platform"]

[[grant]]  # one
id    = "a"
from  = [
    "tag:web",
    "tag:a-long-name-number-one",
    "tag:a-long-name-number-two",
    "tag:a-long-name-number-three",
]
until = 2027-01-31 00:00:00Z

[[invariant]]
never = { from = ["tag:web"], to = ["service:orders"], via = "any" }
only  = {
    # TOML 1.1
    from = [],
    to = [],
}

[dns]
# the end
"#;

#[test]
fn law_12_a_loose_file_is_laid_out_as_shown_with_every_comment_in_its_place() {
    assert_eq!(laid_out(LOOSE), TIGHT);
    obeys_the_laws(LOOSE);
    obeys_the_laws(&LOOSE.replace('\n', "\r\n"));
    obeys_the_laws(&format!("\u{feff}{LOOSE}"));
    assert_eq!(laid_out(""), "");
    assert_eq!(laid_out("\n\n"), "");
    assert_eq!(laid_out("#x"), "#x\n");
}

#[test]
fn law_12_line_ends_and_comments_around_an_equals_sign_stay_in_an_inline_table() {
    for (loose, tight) in [
        ("{ a =\n 1 }", "{ a = 1 }"),
        ("{ a\n = 1, b = 2 }", "{ a = 1, b = 2 }"),
        ("{a=\r\n\r\n[\n1]}", "{ a = [1] }"),
        ("{ a = # why\n 1 }", "{ a = # why\n1 }"),
        ("{ a # why\n # so\n = # and\n\n # or\n 1 , b=2}", "{ a # why\n # so\n= # and\n# or\n1, b = 2 }"),
    ] {
        let (loose, tight) = (format!("x = {loose}\n"), format!("x = {tight}\n"));
        assert_eq!(laid_out(&loose), tight);
        obeys_the_laws(&loose);
    }
}

#[test]
fn what_is_no_toml_is_refused_and_what_is_unfinished_is_not() {
    let faults = format(&source("version = 1\n[tag.web\n")).unwrap_err();
    assert_eq!((faults.findings[0].id, faults.findings[0].line), ("syntax", 2));
    assert_eq!(laid_out("[tag.web]\nowners=['group:nobody']"), "[tag.web]\nowners = ['group:nobody']\n");
}

/// Where blanks, empty lines and comments may be thrown in: between the tokens of a line, or at its end.
fn disturbed(text: &str, throws: &[(usize, usize)]) -> String {
    const INLINE: [&str; 3] = [" ", "  ", "\t"];
    const AT_END: [&str; 5] = ["\n", "\n\n", " # one\n", "\n# two\n", "\r\n \t# é\r\n"];
    let tokens = toml_parser::Source::new(text).lex().into_vec();
    let mut out = String::new();
    for (i, token) in tokens.iter().enumerate() {
        let (_, what) = throws.iter().find(|(at, _)| *at == i).copied().unwrap_or((0, usize::MAX));
        match token.kind() {
            _ if what == usize::MAX => out.push_str(&text[token.span().start()..token.span().end()]),
            TokenKind::Whitespace => out.push_str(INLINE[what % 3]),
            TokenKind::Newline => out.push_str(AT_END[what % 5]),
            TokenKind::Comma if out.lines().next_back().is_some_and(|line| !line.contains('{')) => {
                out.push(',');
                out.push_str(AT_END[what % 5]);
            }
            _ => out.push_str(&text[token.span().start()..token.span().end()]),
        }
    }
    out
}

proptest! {
    #[test]
    fn law_12_fmt_keeps_comments_order_and_meaning_of_disturbed_files(
        throws in prop::collection::vec((0..600usize, 0..30usize), 0..80),
    ) {
        obeys_the_laws(&disturbed(FULL, &throws));
    }

    #[test]
    fn fmt_never_panics_and_is_stable_on_mutations(
        at in 0..FULL.len(), len in 0..30usize, insert in prop::sample::select(vec!["", "[", "]", "\"", "'''", "=", ".", "\n", "{", "}", ",", "# c\n", "\r\n", "[[a]]\n"]),
    ) {
        prop_assume!(FULL.is_char_boundary(at));
        let end = (at..=FULL.len()).find(|i| *i >= at + len && FULL.is_char_boundary(*i)).unwrap_or(FULL.len());
        let text = format!("{}{insert}{}", &FULL[..at], &FULL[end..]);
        if format(&source(&text)).is_ok() {
            obeys_the_laws(&text);
        }
    }
}
