//! Text from elsewhere (names, messages, reasons) made safe for a terminal, a log line and a table cell.

/// At most `max` characters, with control characters, line ends, bidirectional marks and other invisible characters
/// written as escapes.
pub fn plain(text: &str, max: usize) -> String {
    let mut out = String::new();
    for (i, c) in text.chars().enumerate() {
        if i == max {
            out.push('…');
            break;
        }
        match hidden(c) {
            true => out.extend(c.escape_unicode()),
            false => out.push(c),
        }
    }
    out
}

/// Like [`plain`], but line ends stay: for text of many lines that was made here around foreign words.
pub fn plain_lines(text: &str) -> String {
    text.chars()
        .flat_map(|c| if c != '\n' && hidden(c) { c.escape_unicode().collect::<Vec<_>>() } else { vec![c] })
        .collect()
}

fn hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_moves_the_cursor_or_hides_gets_through() {
        assert_eq!(plain("a\u{1b}[31mb\nc", 80), "a\\u{1b}[31mb\\u{a}c");
        assert_eq!(plain("x\u{202e}y\u{200b}", 80), "x\\u{202e}y\\u{200b}");
        assert_eq!(plain("abcdef", 3), "abc…");
        assert_eq!(plain_lines("ä\n\u{9b}"), "ä\n\\u{9b}");
    }
}
