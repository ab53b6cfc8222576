//! Writing to the terminal or the pipe. A reader that goes away (`| head`) ends the command quietly.

use std::io::{ErrorKind, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use warren_config::policy::{Listen, Protocol};

use crate::text::plain;

pub fn line(text: &str) {
    put(&mut std::io::stdout().lock(), text);
}

pub fn error_line(text: &str) {
    put(&mut std::io::stderr().lock(), text);
}

pub fn json<T: Serialize>(value: &T) {
    line(&serde_json::to_string_pretty(value).unwrap_or_default());
}

/// One value per line, for streams.
pub fn json_line<T: Serialize>(value: &T) {
    line(&serde_json::to_string(value).unwrap_or_default());
}

pub fn error_json<T: Serialize>(value: &T) {
    error_line(&serde_json::to_string(value).unwrap_or_default());
}

fn put(out: &mut impl Write, text: &str) {
    if let Err(error) = writeln!(out, "{text}").and_then(|()| out.flush())
        && error.kind() == ErrorKind::BrokenPipe
    {
        std::process::exit(0);
    }
}

/// A table for people. Cells are made safe here: no caller has to remember it.
pub fn table(head: &[&str], rows: Vec<Vec<String>>, empty: &str) {
    if rows.is_empty() {
        return line(empty);
    }
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(head.to_vec());
    for row in rows {
        table.add_row(row.iter().map(|cell| plain(cell, 200)).collect::<Vec<_>>());
    }
    let text = table.to_string();
    line(
        &text
            .lines()
            .map(|l| l.trim_end().strip_prefix(' ').unwrap_or(l.trim_end()))
            .collect::<Vec<_>>()
            .join("\n"),
    );
}

/// Pairs, one a line.
pub fn pairs(rows: &[(&str, String)]) {
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in rows {
        line(format!("{name:<width$}  {}", plain(value, 600)).trim_end());
    }
}

/// As the policy writes it: `tcp/8443`, `tcp/9000-9010`, `icmp/echo`, `proto/132`.
pub fn listen(listen: &Listen) -> String {
    let ports = match listen.first == listen.last {
        true => listen.first.to_string(),
        false => format!("{}-{}", listen.first, listen.last),
    };
    match listen.protocol {
        Protocol::Tcp => format!("tcp/{ports}"),
        Protocol::Udp => format!("udp/{ports}"),
        Protocol::IcmpEcho => "icmp/echo".to_owned(),
        Protocol::Number(number) => format!("proto/{number}"),
    }
}

/// The port of traffic: `tcp/8443`, `icmp`, `proto/132`. Port 0 are several put together: refused attempts at more ports than
/// are told apart, or flows for which there was no room.
pub fn port(protocol: u8, port: u16) -> String {
    match (protocol, port) {
        (6, 0) => "other tcp ports".to_owned(),
        (17, 0) => "other udp ports".to_owned(),
        (6, port) => format!("tcp/{port}"),
        (17, port) => format!("udp/{port}"),
        (1 | 58, _) => "icmp".to_owned(),
        (other, _) => format!("proto/{other}"),
    }
}

/// `1.2 MB`, decimal units.
pub fn bytes(count: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    let unit = units.get(unit).copied().unwrap_or("B");
    if count < 1000 { format!("{count} {unit}") } else { format!("{value:.1} {unit}") }
}

/// `1 flow`, `2 flows`.
pub fn count(count: u64, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

/// `350 µs`, `1.2 ms`, `3.4 s`.
pub fn micros(count: u64) -> String {
    match count {
        0..1000 => format!("{count} µs"),
        1000..1_000_000 => format!("{:.1} ms", count as f64 / 1e3),
        _ => format!("{:.1} s", count as f64 / 1e6),
    }
}

pub fn or_dash(text: Option<String>) -> String {
    text.filter(|t| !t.is_empty()).unwrap_or_else(|| "-".to_owned())
}
