//! Questions to the running agent.

use std::path::Path;

use serde_json::Value;

use super::{Said, text};
use crate::error::{Error, Exit};
use crate::socket::{Reply, Request, ask};

pub fn status(socket: &Path) -> Result<Said, Error> {
    said(ask(socket, &Request::Status)?, text::status)
}

pub fn peers(socket: &Path) -> Result<Said, Error> {
    loudly(socket, said(ask(socket, &Request::Peers)?, text::peers)?)
}

/// An answer under the warning that the policy only observes, if it does.
fn loudly(socket: &Path, said: Said) -> Result<Said, Error> {
    let observes = match ask(socket, &Request::Status)? {
        Reply::Ok(status) => status.get("observe") == Some(&Value::Bool(true)),
        Reply::Finding(_) | Reply::Bad(_) => false,
    };
    let warning = if observes { text::OBSERVE } else { "" };
    Ok(Said { text: format!("{warning}{}", said.text), ..said })
}

pub fn flows(socket: &Path, limit: usize) -> Result<Said, Error> {
    loudly(socket, said(ask(socket, &Request::Flows { limit })?, text::flows)?)
}

pub fn path(socket: &Path, peer: &str) -> Result<Said, Error> {
    said(ask(socket, &Request::Path { peer: peer.to_owned() })?, text::path)
}

pub fn counters(socket: &Path) -> Result<Said, Error> {
    said(ask(socket, &Request::Counters)?, text::counters)
}

pub fn metrics(socket: &Path) -> Result<Said, Error> {
    said(ask(socket, &Request::Metrics)?, |text| text.as_str().unwrap_or_default().to_owned())
}

pub fn dns_query(socket: &Path, name: &str, kind: &str) -> Result<Said, Error> {
    let request = Request::DnsQuery { name: name.to_owned(), kind: kind.to_owned() };
    match ask(socket, &request)? {
        Reply::Ok(json) => {
            let good = json["code"] == "NOERROR";
            let exit = if good { Exit::Ok } else { Exit::Finding };
            Ok(Said { text: text::dns_query(&json), json, exit })
        }
        other => said(other, text::dns_query),
    }
}

pub fn dns_status(socket: &Path) -> Result<Said, Error> {
    said(ask(socket, &Request::DnsStatus)?, text::dns_status)
}

pub fn why(socket: &Path, words: &[String]) -> Result<Said, Error> {
    let (from, to, port) = match words {
        [to, port] => (None, to, port),
        [from, to, port] => (Some(from.clone()), to, port),
        _ => return Err(Error::Usage("`why` takes [FROM] TO PORT".to_owned())),
    };
    let request = Request::Why { from, to: to.clone(), port: port.clone() };
    said(ask(socket, &request)?, text::why)
}

/// A finding is printed like an answer and ends with 1.
fn said(reply: Reply, show: fn(&Value) -> String) -> Result<Said, Error> {
    match reply {
        Reply::Ok(json) => Ok(Said { text: show(&json), json, exit: Exit::Ok }),
        Reply::Finding(json) => {
            let text = json.get("why").and_then(Value::as_str).map_or_else(|| show(&json), str::to_owned);
            Ok(Said { text, json, exit: Exit::Finding })
        }
        Reply::Bad(text) => Err(Error::Usage(text)),
    }
}
