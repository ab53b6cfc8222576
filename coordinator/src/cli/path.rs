//! `warren path`.

use warren_coordinator_core::paths::{MoveRow, PathRow, PathsView, PlaceRow};

use super::{Context, Failure, Outcome, output};
use crate::client::url;
use crate::text::plain;

/// Both directions: each end tells of its own packets.
pub async fn run(context: &Context, from: &str, to: &str) -> Outcome {
    let mut both = Vec::new();
    for (from, to) in [(from, to), (to, from)] {
        let query = [("from", Some(from.to_owned())), ("to", Some(to.to_owned()))];
        let view: PathsView = context.client.get(&url(&["v1", "paths"], &query)).await?;
        both.extend(view.paths);
    }
    if context.json {
        output::json(&both);
    } else {
        both.iter().for_each(show);
    }
    if both.is_empty() {
        let text =
            "neither end has told of a way to the other within an hour: nodes tell of those they talk to";
        return Err(Failure::finding(text));
    }
    Ok(())
}

fn show(row: &PathRow) {
    let name = |name: &Option<String>, id: String| plain(&name.clone().unwrap_or(id), 64);
    let (from, to) = (name(&row.from_name, row.from.to_string()), name(&row.to_name, row.to.to_string()));
    let place = row.in_use.as_deref().map_or("no place".to_owned(), |place| plain(place, 96));
    output::line(&format!("{from} -> {to}: {place}"));
    output::line(&format!("  {} (told {})", row.text, row.told));
    let head = ["  PLACE", "USED", "ANSWERED", "ROUND TRIP"];
    output::table(&head, row.places.iter().map(place_cells).collect(), "  no place is known");
    row.moves.iter().for_each(|moved| output::line(&moved_text(moved)));
}

fn place_cells(place: &PlaceRow) -> Vec<String> {
    vec![
        format!("  {}", plain(&place.place, 96)),
        if place.in_use { "yes" } else { "" }.to_owned(),
        output::or_dash(place.answered.map(|at| at.to_string())),
        output::or_dash(place.round_trip_us.map(output::micros)),
    ]
}

fn moved_text(moved: &MoveRow) -> String {
    let place =
        |place: &Option<String>| place.as_deref().map_or("nowhere".to_owned(), |place| plain(place, 96));
    let reason = serde_json::to_value(moved.reason).unwrap_or_default();
    let reason = reason.as_str().unwrap_or("unknown");
    format!("  {}  {} -> {}  ({reason})", moved.at, place(&moved.from), place(&moved.to))
}
