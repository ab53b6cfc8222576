//! `warren flow accounts`.

use warren_coordinator_core::accounts::{AccountsView, Balance};
use warren_wire::flow::Amount;

use super::{Context, Failure, Outcome, output};
use crate::client::url;
use crate::text::plain;

pub async fn run(context: &Context) -> Outcome {
    let view: AccountsView = context.client.get(&url(&["v1", "accounts"], &[])).await?;
    match context.json {
        true => output::json(&view),
        false => show(&view),
    }
    match view.total.excess == Amount::default() {
        true => Ok(()),
        false => Err(Failure::finding("more was recorded than was judged: see the nodes above")),
    }
}

const HEAD: [&str; 7] = ["NODE", "JUDGED", "RECORDED", "LOST", "NOT TAKEN", "LOST AT ENDS", "UNDER WAY"];

fn show(view: &AccountsView) {
    let row = |name: String, balance: &Balance| {
        let mut cells = vec![plain(&name, 64)];
        cells.extend(amounts(balance).map(|amount| words(&amount)));
        cells
    };
    let mut rows: Vec<Vec<String>> = Vec::new();
    for node in &view.nodes {
        rows.push(row(node.name.clone().unwrap_or_else(|| node.node.to_string()), &node.balance));
    }
    if view.nodes.len() > 1 {
        rows.push(row("all".to_owned(), &view.total));
    }
    output::table(&HEAD, rows, "no node has reported a flow yet");
    for node in &view.nodes {
        let name = node.name.clone().unwrap_or_else(|| node.node.to_string());
        if node.balance.excess != Amount::default() {
            let more = words(&node.balance.excess);
            output::line(&plain(&format!("!! {name} reported more than it judged: {more} too much"), 300));
        }
        if node.balance.untold_ends > 0 {
            let times = node.balance.untold_ends;
            output::line(&plain(
                &format!(
                    "{name}: what was judged after the last report is not known of {times} of its starts"
                ),
                300,
            ));
        }
    }
}

fn amounts(b: &Balance) -> [Amount; 6] {
    let mut not_taken = b.rejected;
    not_taken.add(b.skipped);
    [b.offered, b.recorded, b.lost, not_taken, b.lost_at_end, b.underway]
}

fn words(amount: &Amount) -> String {
    format!("{} packets, {}", amount.packets, output::bytes(amount.bytes))
}
