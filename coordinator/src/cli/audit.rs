//! `warren audit`.

use super::args::AuditCommand;
use super::{Context, Outcome, output};
use crate::api::types::{AuditPage, AuditVerified};
use crate::client::url;

pub async fn run(context: &Context, command: AuditCommand) -> Outcome {
    match command {
        AuditCommand::List { after, limit } => {
            let query = [("after", after.map(|a| a.to_string())), ("limit", Some(limit.to_string()))];
            let page: AuditPage = context.client.get(&url(&["v1", "audit"], &query)).await?;
            show(context, &page);
        }
        AuditCommand::Verify => {
            let verified: AuditVerified = context.client.get("/v1/audit/verify").await?;
            match context.json {
                true => output::json(&verified),
                false => output::line(&format!(
                    "the log holds: {} entries, head {}",
                    verified.revision, verified.hash
                )),
            }
        }
    }
    Ok(())
}

fn show(context: &Context, page: &AuditPage) {
    if context.json {
        return output::json(page);
    }
    let rows = page.rows.iter().map(|row| {
        vec![row.revision.to_string(), row.at.to_string(), row.principal.to_string(), row.what.join("; ")]
    });
    output::table(&["REVISION", "AT", "WHO", "WHAT"], rows.collect(), "no changes after that revision");
}
