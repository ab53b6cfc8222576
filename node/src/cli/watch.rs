//! `warren-node flows --watch`: this node's side of its flows, a line each time one begins, goes on, or ends.

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::Said;
use super::flowline::Layout;
use crate::error::Error;
use crate::socket::{Reply, Request, ask};

/// The agent closes windows every second: a line is at most that late, and this.
const EVERY: Duration = Duration::from_millis(400);
/// Flows the agent is asked for each time: all it remembers of those that ended, and as many that live.
const NEWEST: usize = 4096;

/// Until the reader or the agent goes away, or `count` lines were written.
pub fn flows(socket: &Path, count: Option<u64>, json: bool) -> Result<Said, Error> {
    let mut seen = Seen::default();
    let mut left = count.unwrap_or(u64::MAX);
    let mut out = std::io::stdout().lock();
    // What was before is `flows` without --watch.
    seen.news(&newest(socket)?);
    if out.is_terminal() && !json && writeln!(out, "{}", layout().head()).is_err() {
        return Ok(Said::nothing());
    }
    while left > 0 {
        std::thread::sleep(EVERY);
        let flows = newest(socket)?;
        if flows.len() >= NEWEST && !seen.knows_any(&flows) {
            eprintln!(
                "more than {NEWEST} flows changed at once: some of them are not shown here; `warren flow list` at the coordinator has all"
            );
        }
        for flow in seen.news(&flows).iter().take(usize::try_from(left).unwrap_or(usize::MAX)) {
            let line = if json { flow.to_string() } else { layout().flow(flow) };
            if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
                return Ok(Said::nothing());
            }
            left -= 1;
        }
    }
    Ok(Said::nothing())
}

/// As wide as the terminal is now, in colours if it wants any (https://no-color.org).
fn layout() -> Layout {
    let out = std::io::stdout();
    if !out.is_terminal() {
        return Layout::new(None, false);
    }
    let width = rustix::termios::tcgetwinsize(&out).ok().map(|size| usize::from(size.ws_col));
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
    Layout::new(width.filter(|width| *width > 0), wanted)
}

fn newest(socket: &Path) -> Result<Vec<Value>, Error> {
    match ask(socket, &Request::Flows { limit: NEWEST })? {
        Reply::Ok(Value::Array(flows)) => Ok(flows),
        Reply::Ok(_) | Reply::Finding(_) => Ok(Vec::new()),
        Reply::Bad(text) => Err(Error::Usage(text)),
    }
}

/// How each flow stood when it was seen last. Numbers of flows are those of one start of the agent.
#[derive(Default)]
struct Seen(BTreeMap<u64, (u64, String)>);

impl Seen {
    fn knows_any(&self, flows: &[Value]) -> bool {
        let number = |flow: &Value| flow.get("flow").and_then(Value::as_u64).unwrap_or_default();
        flows.iter().any(|flow| self.0.contains_key(&number(flow)))
    }

    /// Those that are new, went on or ended, oldest first.
    fn news(&mut self, flows: &[Value]) -> Vec<Value> {
        let mut now = BTreeMap::new();
        let mut news: Vec<Value> = Vec::new();
        for flow in flows {
            let number = |name: &str| flow.get(name).and_then(Value::as_u64).unwrap_or_default();
            let end = flow.get("end").and_then(Value::as_str).unwrap_or_default().to_owned();
            let standing = (number("last_ms"), end);
            if self.0.get(&number("flow")) != Some(&standing) {
                news.push(flow.clone());
            }
            now.insert(number("flow"), standing);
        }
        self.0 = now;
        news.sort_by_key(|flow| flow.get("last_ms").and_then(Value::as_u64));
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_flow_is_shown_when_it_begins_goes_on_and_ends_and_never_twice() {
        let mut seen = Seen::default();
        let flow = |number: u64, last: u64, end: &str| json!({ "flow": number, "last_ms": last, "end": end });
        let mut numbers = |flows: &[Value]| -> Vec<u64> {
            seen.news(flows).iter().map(|f| f["flow"].as_u64().expect("a number")).collect()
        };
        assert_eq!(numbers(&[flow(2, 20, "open"), flow(1, 10, "open")]), [1, 2], "oldest first");
        assert_eq!(numbers(&[flow(2, 20, "open"), flow(1, 10, "open")]), [0_u64; 0]);
        assert_eq!(numbers(&[flow(2, 30, "open"), flow(1, 10, "closed")]), [1, 2]);
        // The agent began anew, and with it the numbers.
        assert_eq!(numbers(&[flow(1, 40, "open")]), [1]);
    }
}
