//! `history` and `show`: every generation there was.

use warren_coordinator_core::query::PolicyText;
use warren_coordinator_core::status::PolicyRow;
use warren_wire::id::Generation;

use crate::cli::{Context, Failure, Outcome, output, status};
use crate::client::url;

pub async fn fetch(context: &Context, generation: Option<Generation>) -> Result<PolicyText, Failure> {
    let query = [("generation", generation.map(|g| g.to_string()))];
    Ok(context.client.get(&url(&["v1", "policy"], &query)).await?)
}

pub async fn show(context: &Context, generation: Option<Generation>) -> Outcome {
    let policy = fetch(context, generation).await?;
    if context.json {
        output::json(&policy);
        return Ok(());
    }
    output::error_line(&format!("generation {}, root {}", policy.generation, policy.root));
    for source in &policy.sources {
        if policy.sources.len() > 1 {
            output::line(&format!("# --- {}", crate::text::plain(&source.file, 200)));
        }
        output::line(crate::text::plain_lines(&source.text).trim_end());
    }
    Ok(())
}

pub async fn history(context: &Context) -> Outcome {
    let rows: Vec<PolicyRow> = context.client.get("/v1/policy/history").await?;
    if context.json {
        output::json(&rows);
        return Ok(());
    }
    status::warn_if_observing(context).await?;
    let cells = rows.iter().map(|p| {
        vec![
            p.generation.to_string(),
            p.applied.to_string(),
            p.by.clone(),
            p.root.chars().take(16).collect(),
            p.items.to_string(),
            p.files.join(", "),
            if p.current { "in force".to_owned() } else { String::new() },
        ]
    });
    let head = ["GENERATION", "APPLIED", "BY", "ROOT", "ITEMS", "FILES", ""];
    output::table(
        &head,
        cells.collect(),
        "no policy was ever applied: everything is denied; see `warren policy apply`",
    );
    Ok(())
}
