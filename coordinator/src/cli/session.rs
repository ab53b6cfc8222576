//! `warren session`: who is signed in on the page.

use super::args::SessionCommand;
use super::{Context, Failure, Outcome, output};
use crate::api::web::sessions::{SessionId, SessionRow, Which};

pub async fn run(context: &Context, command: SessionCommand) -> Outcome {
    match command {
        SessionCommand::List => {
            let rows: Vec<SessionRow> = context.client.get("/v1/sessions").await?;
            show(context, &rows, "nobody is signed in on the page");
            Ok(())
        }
        SessionCommand::End { session, .. } => end(context, session).await,
    }
}

async fn end(context: &Context, session: Option<String>) -> Outcome {
    let which = match session {
        None => Which::All,
        Some(text) if text.contains(':') => Which::Name(text),
        Some(text) => {
            let id = SessionId::parse(&text).ok_or_else(|| {
                let text = crate::text::plain(&text, 64);
                Failure::usage(format!(
                    "`{text}` is neither the id of a session (16 of 0-9 and a-f) nor `local:NAME` or `key:NAME`: see `warren session list`"
                ))
            })?;
            Which::Id(id)
        }
    };
    let rows: Vec<SessionRow> = context.client.post("/v1/sessions/end", &which).await?;
    show(context, &rows, "nobody was signed in on the page");
    Ok(())
}

fn show(context: &Context, rows: &[SessionRow], empty: &str) {
    if context.json {
        output::json(&rows);
        return;
    }
    let cells = rows.iter().map(|row| {
        vec![
            row.id.as_str().to_owned(),
            row.name.clone(),
            row.scope.word().to_owned(),
            row.began.to_string(),
            row.used.map_or_else(|| "link, not opened".to_owned(), |used| used.to_string()),
            row.ends.to_string(),
            output::or_dash(row.from.map(|from| from.to_string())),
        ]
    });
    let head = ["SESSION", "WHO", "SCOPE", "BEGAN", "LAST USED", "UNTIL", "FROM"];
    output::table(&head, cells.collect(), empty);
}
