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

/// The name most like `asked`, if one is near enough to be meant (Levenshtein distance at most a third of its length).
pub fn nearest(asked: &str, names: impl IntoIterator<Item = String>) -> Option<String> {
    let asked: Vec<char> = asked.chars().take(64).collect();
    let limit = (asked.len() / 3).max(1);
    names
        .into_iter()
        .map(|name| (distance(&asked, &name.chars().take(64).collect::<Vec<_>>()), name))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, name)| name)
}

fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (y, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let next = (diagonal + usize::from(x != y)).min(left + 1).min(*cell + 1);
            (diagonal, left, *cell) = (*cell, next, next);
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
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

    #[test]
    fn the_nearest_name_is_one_that_was_meant() {
        let names = || ["web-1", "web-2", "orders-1"].map(str::to_owned);
        assert_eq!(nearest("wep-1", names()).as_deref(), Some("web-1"));
        assert_eq!(nearest("order-1", names()).as_deref(), Some("orders-1"));
        assert_eq!(nearest("database", names()), None);
        assert_eq!(distance(&['a', 'b'], &[]), 2);
        assert_eq!(
            distance(&"kitten".chars().collect::<Vec<_>>(), &"sitting".chars().collect::<Vec<_>>()),
            3
        );
    }
}
