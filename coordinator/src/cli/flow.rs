//! `warren flow`.

use std::io::IsTerminal;
use std::time::Duration;

use warren_coordinator_core::flows::{FlowList, FlowRow, newest_first};
use warren_wire::flow::{FlowEnd, FlowPath, FlowVerdict, Workload};

use super::args::{FlowArgs, FlowCommand};
use super::flowline::Layout;
use super::{Context, Failure, Outcome, output};
use crate::api::types::FlowsSince;
use crate::client::url;
use crate::clock;
use warren_config::time::UnixTime;

/// How often `watch` asks: a flow is shown well within two seconds of its report.
const INTERVAL: Duration = Duration::from_millis(400);

pub async fn run(context: &Context, command: FlowCommand) -> Outcome {
    match command {
        FlowCommand::List { filter, history, within, limit, before } => {
            let since = within.map(|w| clock::now().0.saturating_sub(w.0));
            list(context, &filter, history, since, (limit as usize, before)).await
        }
        FlowCommand::Accounts => super::accounts::run(context).await,
        FlowCommand::Watch { filter, count } => watch(context, &filter, count).await,
    }
}

fn query(filter: &FlowArgs) -> Vec<(&'static str, Option<String>)> {
    let verdict = filter.verdict.map(|v| verdict(v.into()).to_owned());
    vec![
        ("from", filter.from.clone()),
        ("to", filter.to.clone()),
        ("verdict", verdict),
        ("grant", filter.grant.clone()),
        ("service", filter.service.clone()),
        ("protocol", filter.port.and_then(|target| target.protocol).map(|number| number.to_string())),
        ("port", filter.port.and_then(|target| target.port).map(|port| port.to_string())),
    ]
}

async fn list(
    context: &Context,
    filter: &FlowArgs,
    history: bool,
    since: Option<u64>,
    (limit, before): (usize, Option<String>),
) -> Outcome {
    let path: &[&str] = if history { &["v1", "flows", "history"] } else { &["v1", "flows"] };
    let mut query = query(filter);
    query.push(("since", since.map(|s| s.to_string())));
    let found = pages(context, path, &query, limit, before).await?;
    super::status::warn_if_observing(context).await?;
    match context.json {
        true => output::json(&found.rows),
        false => output::table(&HEAD, found.rows.iter().map(cells).collect(), &empty(history, &found)),
    }
    if let Some(next) = &found.next {
        output::error_line(&format!("there are older ones: `--before {next}` shows them"));
    }
    Ok(())
}

/// As many rows as are wanted, or all there are: a search that takes long is made in several pages.
async fn pages(
    context: &Context,
    path: &[&str],
    query: &[(&'static str, Option<String>)],
    limit: usize,
    before: Option<String>,
) -> Result<FlowList, Failure> {
    let mut found = FlowList { next: before, ..FlowList::default() };
    loop {
        let mut query = query.to_vec();
        query.push(("limit", Some((limit - found.rows.len()).to_string())));
        query.push(("before", found.next.take()));
        let page: FlowList = context.client.get(&url(path, &query)).await?;
        found.rows.extend(page.rows);
        (found.next, found.kept_since) = (page.next, page.kept_since);
        if found.next.is_none() || found.rows.len() >= limit {
            newest_first(&mut found.rows);
            return Ok(found);
        }
    }
}

fn empty(history: bool, found: &FlowList) -> String {
    let since = |words: &str| found.kept_since.map(|at| format!("{words} {at}")).unwrap_or_default();
    match history {
        true => format!("no flows match{}", since("; records are kept since")),
        false => format!(
            "no flows match since the coordinator started{}; older ones: --history",
            since(", of those in memory, which begin")
        ),
    }
}

async fn watch(context: &Context, filter: &FlowArgs, count: Option<u64>) -> Outcome {
    let mut left = count.unwrap_or(u64::MAX);
    let mut cursor: Option<String> = None;
    if !context.json && std::io::stdout().is_terminal() {
        output::line(&layout().head());
    }
    super::status::warn_if_observing(context).await?;
    loop {
        let mut query = query(filter);
        query.push(("cursor", cursor.clone()));
        let page: FlowsSince = context.client.get(&url(&["v1", "flows", "since"], &query)).await?;
        if page.missed > 0 {
            output::error_line(&format!(
                "{} records were overwritten before they could be shown",
                page.missed
            ));
        }
        if page.restarted {
            output::error_line(
                "the coordinator was started anew: what it took just before is in `warren flow list --history`",
            );
        }
        for row in &page.rows {
            match context.json {
                true => output::json_line(row),
                false => output::line(&layout().flow(row)),
            }
            left = left.saturating_sub(1);
            if left == 0 {
                return Ok(());
            }
        }
        cursor = Some(page.cursor);
        if page.rows.is_empty() {
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

/// As wide as the terminal is now, in colours if it wants any (https://no-color.org).
fn layout() -> Layout {
    if !std::io::stdout().is_terminal() {
        return Layout { width: None, colour: false };
    }
    let width = ratatui::crossterm::terminal::size().ok().map(|(columns, _)| columns);
    let colour = std::env::var_os("NO_COLOR").is_none_or(|no| no.is_empty());
    Layout { width: width.filter(|columns| *columns > 0), colour }
}

const HEAD: [&str; 13] = [
    "LAST",
    "FROM",
    "TO",
    "PORT",
    "VERDICT",
    "BY",
    "BYTES OUT/BACK",
    "END",
    "SEEN AT",
    "PATH",
    "RTT",
    "RESENT",
    "WORKLOADS",
];

fn cells(row: &FlowRow) -> Vec<String> {
    vec![
        UnixTime(row.last_ms / 1000).to_string(),
        row.from.label(),
        row.to.label(),
        output::port(row.protocol, row.to.port),
        verdict(row.verdict).to_owned(),
        by(row),
        format!("{}/{}", output::bytes(row.bytes_out), output::bytes(row.bytes_back)),
        end(row),
        seen_at(row),
        path(row).to_owned(),
        output::or_dash(row.rtt_us.map(output::micros)),
        output::or_dash(row.retransmissions.map(|again| again.to_string())),
        workloads(row),
    ]
}

/// The same in the order of `flow watch`.
pub fn pieces(row: &FlowRow) -> [String; 14] {
    let last = UnixTime(row.last_ms / 1000).to_string();
    let time = last.get(11..19).unwrap_or(&last).to_owned();
    [
        time,
        verdict(row.verdict).to_owned(),
        row.from.label(),
        row.to.label(),
        output::port(row.protocol, row.to.port),
        row.grant.clone().unwrap_or_else(|| "no grant".to_owned()),
        output::bytes(row.bytes_out),
        output::bytes(row.bytes_back),
        end(row),
        seen_at(row),
        path(row).to_owned(),
        output::or_dash(row.rtt_us.map(output::micros)),
        output::or_dash(row.retransmissions.map(|again| again.to_string())),
        workloads(row),
    ]
}

/// Both ends report a flow, each what it saw itself.
fn seen_at(row: &FlowRow) -> String {
    let own = if row.to.node == Some(row.reporter) { &row.to } else { &row.from };
    own.node_label()
}

fn path(row: &FlowRow) -> &'static str {
    match row.path {
        FlowPath::Unknown => "-",
        FlowPath::Direct => "direct",
        FlowPath::Relayed => "relayed",
    }
}

/// Of the opener and of the other end, as far as their nodes know; then what does not fit together.
fn workloads(row: &FlowRow) -> String {
    let other = row.other.as_ref().and_then(|other| other.workload.as_ref());
    let own = row.workload.as_ref();
    let (from, to) = if row.outbound { (own, other) } else { (other, own) };
    let word = |workload: Option<&Workload>| match workload {
        None => "-".to_owned(),
        Some(w) => {
            let place = [&w.container, &w.unit].into_iter().find(|place| !place.is_empty());
            let place = place.map(|place| format!(" in {place}")).unwrap_or_default();
            // Of a socket that was gone when it was looked at, only its user may be known.
            let process = if w.process.is_empty() { "?" } else { &w.process };
            format!("{process} ({}){place}", w.user)
        }
    };
    let mismatch = row.mismatch.as_ref().map(|why| format!("  !! {why}")).unwrap_or_default();
    match (from, to) {
        (None, None) => mismatch.trim_start().to_owned(),
        _ => format!("{} -> {}{mismatch}", word(from), word(to)),
    }
}

fn by(row: &FlowRow) -> String {
    let service = row.service.as_deref().unwrap_or("-");
    match &row.grant {
        Some(grant) => format!("{grant} ({service}) gen {}", row.generation),
        None => format!("no grant, gen {}", row.generation),
    }
}

fn verdict(verdict: FlowVerdict) -> &'static str {
    match verdict {
        FlowVerdict::Unknown => "unknown",
        FlowVerdict::Allow => "allow",
        FlowVerdict::Deny => "deny",
        FlowVerdict::WouldAllow => "would-allow",
        FlowVerdict::WouldDeny => "would-deny",
    }
}

fn end(row: &FlowRow) -> String {
    let word = match row.end {
        FlowEnd::Open => "open",
        FlowEnd::Closed => "closed",
        FlowEnd::Reset => "reset",
        FlowEnd::Idle => "idle",
        FlowEnd::Cut => "cut",
        FlowEnd::Refused => "refused",
        FlowEnd::Evicted => "evicted",
    };
    if row.count > 1 { format!("{word} x{}", row.count) } else { word.to_owned() }
}
