//! A flow on one line of so many characters. Pure.

use serde_json::Value;

use super::text::field;

/// What a line has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Characters of the terminal; `None`: nobody counts them.
    width: Option<usize>,
    /// Refusals in a colour of their own.
    colour: bool,
}

/// Head, width, to the right; the order in which they go where there is too little room (0: never).
const COLUMNS: [(&str, usize, bool, u8); 9] = [
    ("TIME", 8, false, 0),
    ("VERDICT", 11, false, 0),
    ("PEER", 18, false, 0),
    ("WHAT", 15, false, 0),
    ("GRANT", 22, false, 2),
    ("OUT", 8, true, 4),
    ("BACK", 8, true, 4),
    ("STATE", 12, false, 3),
    ("PROCESS", 12, false, 1),
];
const GAP: usize = 2;

impl Layout {
    pub fn new(width: Option<usize>, colour: bool) -> Layout {
        Layout { width, colour }
    }

    pub fn head(self) -> String {
        let heads = COLUMNS.iter().map(|(head, ..)| (*head).to_owned()).collect();
        self.line(heads)
    }

    pub fn flow(self, flow: &Value) -> String {
        let line = self.line(cells(flow));
        match (self.colour, field(flow, "verdict").as_str()) {
            (true, "deny") => format!("\u{1b}[31m{line}\u{1b}[0m"),
            (true, "would-deny") => format!("\u{1b}[33m{line}\u{1b}[0m"),
            _ => line,
        }
    }

    /// The last column is never filled up, and is as long as the line allows.
    fn line(self, cells: Vec<String>) -> String {
        let kept = self.kept();
        let last = kept.last().copied().unwrap_or(0);
        let mut line = String::new();
        for (at, cell) in cells.iter().enumerate().filter(|(at, _)| kept.contains(at)) {
            let Some(&(_, width, right, _)) = COLUMNS.get(at) else { continue };
            let room = self.width.map_or(usize::MAX, |width| width.saturating_sub(line.chars().count()));
            match (at == last, right) {
                (true, _) => line.push_str(&cut(cell, room)),
                (false, true) => line.push_str(&format!("{:>width$}", cut(cell, width))),
                (false, false) => line.push_str(&format!("{:<width$}", cut(cell, width))),
            }
            if at != last {
                line.push_str(&" ".repeat(GAP));
            }
        }
        cut(line.trim_end(), self.width.unwrap_or(usize::MAX))
    }

    fn kept(self) -> Vec<usize> {
        let room = self.width.unwrap_or(usize::MAX).saturating_add(GAP);
        let most = COLUMNS.iter().map(|(.., goes)| *goes).max().unwrap_or(0);
        let gone = (0..=most).find(|gone| need_without(*gone) <= room).unwrap_or(most);
        let stays = |at: &usize| COLUMNS.get(*at).is_some_and(|(.., goes)| *goes == 0 || *goes > gone);
        (0..COLUMNS.len()).filter(stays).collect()
    }
}

/// Characters of all columns that are still there when those up to `gone` are not.
fn need_without(gone: u8) -> usize {
    COLUMNS.iter().filter(|(.., goes)| *goes == 0 || *goes > gone).map(|(_, width, ..)| width + GAP).sum()
}

fn cut(text: &str, room: usize) -> String {
    match text.chars().count() > room {
        true => text.chars().take(room.saturating_sub(1)).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

fn cells(flow: &Value) -> Vec<String> {
    let number = |name: &str| flow.get(name).and_then(Value::as_u64).unwrap_or_default();
    let outbound = flow.get("outbound") == Some(&Value::Bool(true));
    let verdict = field(flow, "verdict");
    let refused = field(flow, "end") == "refused";
    let amount = |name: &str| if refused { "-".to_owned() } else { bytes(number(name)) };
    vec![
        clock(number("last_ms")),
        if verdict == "deny" { "DENY".to_owned() } else { verdict },
        format!("{} {}", if outbound { "→" } else { "←" }, other_end(flow, outbound)),
        what(flow),
        field(flow, "grant"),
        amount("bytes_out"),
        amount("bytes_back"),
        state(flow),
        process(flow),
    ]
}

/// The node at the other end, or an address that is none's.
fn other_end(flow: &Value, outbound: bool) -> String {
    match field(flow, "peer").as_str() {
        "-" => field(flow, if outbound { "dst" } else { "src" }),
        peer => peer.to_owned(),
    }
}

/// `tcp/8443`; port 0 are several put together.
fn what(flow: &Value) -> String {
    let protocol = field(flow, "protocol");
    match (protocol.as_str(), flow.get("dst_port").and_then(Value::as_u64).unwrap_or_default()) {
        ("tcp" | "udp", 0) => format!("other {protocol} ports"),
        ("tcp" | "udp", port) => format!("{protocol}/{port}"),
        _ => protocol,
    }
}

fn state(flow: &Value) -> String {
    match flow.get("count").and_then(Value::as_u64) {
        Some(count @ 2..) => format!("{} x{count}", field(flow, "end")),
        _ => field(flow, "end"),
    }
}

/// `nginx (www-data) in nginx.service`, as far as it is known.
fn process(flow: &Value) -> String {
    let Some(workload) = flow.get("workload").filter(|workload| !workload.is_null()) else {
        return "-".to_owned();
    };
    let word = |name: &str| Some(field(workload, name)).filter(|word| !word.is_empty() && word != "-");
    let name = word("process").or_else(|| word("executable")).unwrap_or_else(|| "-".to_owned());
    let user = word("user").map(|user| format!(" ({user})")).unwrap_or_default();
    let place = word("container").or_else(|| word("unit"));
    format!("{name}{user}{}", place.map(|place| format!(" in {place}")).unwrap_or_default())
}

/// The time of day, UTC.
fn clock(ms: u64) -> String {
    let second = ms / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}", second / 3600, second / 60 % 60, second % 60)
}

/// `1.2 MB`, decimal units.
fn bytes(count: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB"];
    let (mut value, mut unit) = (count as f64, 0);
    while value >= 999.95 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let unit = units.get(unit).copied().unwrap_or("B");
    if count < 1000 { format!("{count} {unit}") } else { format!("{value:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn flow() -> Value {
        json!({
            "flow": 1, "peer": "orders-1", "outbound": true, "protocol": "tcp", "src": "100.64.0.2", "src_port": 40000,
            "dst": "100.64.0.3", "dst_port": 8443, "verdict": "allow", "grant": "web-reads-orders",
            "bytes_out": 1234, "bytes_back": 5_600_000, "last_ms": 64_984_123, "end": "closed", "count": 1,
            "workload": { "process": "curl", "executable": "/usr/bin/curl", "user": "root", "unit": "shop.service", "container": "" },
        })
    }
    const WIDTHS: [usize; 5] = [40, 60, 80, 100, 200];

    #[test]
    fn a_flow_says_who_what_how_much_and_by_which_process() {
        let line = Layout::new(None, false).flow(&flow());
        let words =
            ["18:03:04", "allow", "→ orders-1", "tcp/8443", "web-reads-orders", "1.2 kB", "5.6 MB", "closed"];
        for word in words.iter().chain(&["curl (root) in shop.service"]) {
            assert!(line.contains(word), "no {word} in {line}");
        }
    }

    #[test]
    fn lines_stand_under_their_heads_and_none_is_longer_than_the_terminal() {
        let refused = json!({
            "peer": null, "outbound": false, "protocol": "tcp", "src": "fd7a:115c:a1e0:1234:5678:9abc:def0:1111",
            "dst_port": 0, "verdict": "deny", "grant": "", "last_ms": 1, "end": "refused", "count": 4711, "workload": null,
        });
        for width in WIDTHS {
            let layout = Layout::new(Some(width), false);
            let head = layout.head();
            for line in [layout.flow(&flow()), layout.flow(&refused)] {
                println!("{head}\n{line}");
                assert!(line.chars().count() <= width && head.chars().count() <= width, "{line}");
                let place = |text: &str, word: &str| text.find(word).map(|at| text[..at].chars().count());
                let what = place(&line, "tcp/8443").or(place(&line, "other tcp"));
                assert!(width < 60 || what.is_some() && what == place(&head, "WHAT"), "{width}");
            }
        }
    }

    #[test]
    fn ports_that_are_not_told_apart_are_words() {
        let mut scan = flow();
        scan["dst_port"] = json!(0);
        let line = Layout::new(Some(60), false).flow(&scan);
        assert!(line.contains("other tcp ports") && !line.contains("tcp/0"), "{line}");
    }

    #[test]
    fn a_refusal_is_a_word_and_where_there_are_colours_a_colour() {
        let mut refused = flow();
        refused["verdict"] = json!("deny");
        assert!(Layout::new(None, false).flow(&refused).contains("DENY"));
        assert!(!Layout::new(None, false).flow(&refused).contains('\u{1b}'));
        assert!(Layout::new(None, true).flow(&refused).starts_with("\u{1b}[31m"));
        assert!(!Layout::new(None, true).flow(&flow()).contains('\u{1b}'), "what is allowed is plain ink");
    }

    #[test]
    fn what_a_process_calls_itself_moves_no_cursor() {
        let mut evil = flow();
        evil["workload"]["process"] = json!("\u{1b}[2Jx\n");
        let line = Layout::new(None, true).flow(&evil);
        assert!(!line.contains('\u{1b}') && !line.contains('\n'), "{line:?}");
    }
}
