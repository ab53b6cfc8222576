//! `warren names`.

use warren_coordinator_core::names::{NameRow, NamesView};
use warren_wire::names::NameClass;

use super::{Context, Outcome, output};
use crate::client::url;
use crate::text::plain;

pub async fn run(context: &Context, node: Option<String>, limit: u32) -> Outcome {
    let query = [("node", node), ("limit", Some(limit.to_string()))];
    let view: NamesView = context.client.get(&url(&["v1", "names"], &query)).await?;
    match context.json {
        true => output::json(&view),
        false => show(&view),
    }
    Ok(())
}

const HEAD: [&str; 6] = ["NODE", "NAME", "CLASS", "ASKED", "UNANSWERED", "LAST"];

fn show(view: &NamesView) {
    if !view.told {
        return output::line(
            "names stay on the nodes: the policy does not ask for them (report = \"names\" in [dns])",
        );
    }
    let rows = view.names.iter().map(cells).collect();
    output::table(&HEAD, rows, "no node has told a name since the coordinator started");
    if view.left_off > 0 {
        output::line(&format!("{} more: --limit", view.left_off));
    }
    if view.others > 0 {
        output::line(&format!("{} questions for names that are not kept", view.others));
    }
}

fn cells(row: &NameRow) -> Vec<String> {
    vec![
        plain(&row.node_name.clone().unwrap_or_else(|| row.node.to_string()), 64),
        // Graphic ASCII, but it may be long.
        plain(&row.name, 120),
        class(row.class).to_owned(),
        row.asked.to_string(),
        row.unanswered.to_string(),
        row.last.to_string(),
    ]
}

fn class(class: NameClass) -> &'static str {
    match class {
        NameClass::Unknown => "unknown",
        NameClass::Overlay => "overlay",
        NameClass::Special => "special",
        NameClass::Split => "split",
        NameClass::Forwarded => "forwarded",
        NameClass::Elsewhere => "elsewhere",
    }
}
