//! The name server of this node.

use std::sync::Arc;

use serde_json::Value;

use super::Driver;
use crate::socket::{Reply, Request, Waiting};

pub fn status(driver: &Driver) -> Value {
    let mut status = driver.parts.resolver.status();
    if let Some(status) = status.as_object_mut() {
        status.insert("host".to_owned(), driver.parts.host_dns.status());
    }
    status
}

/// An upstream may take its time: the control loop does not wait for it.
pub fn query(driver: &Driver, waiting: Waiting) {
    let Waiting { request: Request::DnsQuery { name, kind }, reply } = waiting else { return };
    let resolver = Arc::clone(&driver.parts.resolver);
    tokio::spawn(async move {
        let shown = resolver.show(&name, &kind).await;
        let _ = reply.send(shown.map_or_else(Reply::Bad, Reply::Ok));
    });
}

pub fn probe(driver: &Driver, waiting: Waiting) {
    let resolver = Arc::clone(&driver.parts.resolver);
    tokio::spawn(async move {
        resolver.probe().await;
        let _ = waiting.reply.send(Reply::Ok(resolver.status()));
    });
}
