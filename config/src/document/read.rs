//! From text to [`Document`]: syntax, keys and types. What names mean is the resolver's business.

use toml::Spanned;
use toml::de::DeTable;

use super::fields::Fields;
use super::syntax;
use super::{
    At, Dns, Document, End, Grant, Group, Invariant, LawBody, MAX_FILE, Service, Split, Spot, Tag, Test,
};
use crate::resolve::report::Report;
use crate::text::shown;

/// Above this size only the first syntax error is looked for: recovery costs memory per error.
const MAX_RECOVERY: usize = 512 * 1024;

/// Adds what `text` says to `document`.
pub(crate) fn read(file: usize, text: &str, document: &mut Document, report: &mut Report<'_>) {
    if let Some(table) = parse(file, text, report) {
        read_top(file, table.get_ref(), document, report);
    }
}

/// The tables of a file, as far as it is TOML; its syntax errors are reported.
pub(crate) fn parse<'i>(file: usize, text: &'i str, report: &mut Report<'_>) -> Option<Spanned<DeTable<'i>>> {
    if text.len() > MAX_FILE {
        let message = format!("the file has {} bytes, the limit is {MAX_FILE}", text.len());
        let hint = "split it into several files of policy.d/".to_owned();
        report.error("file-too-large", &Spot { file, span: 0..0 }, message, Some(hint));
        return None;
    }
    let (table, errors) = if text.len() > MAX_RECOVERY {
        match DeTable::parse(text) {
            Ok(table) => (Some(table), Vec::new()),
            Err(error) => (None, vec![error]),
        }
    } else {
        let (table, errors) = DeTable::parse_recoverable(text);
        (Some(table), errors)
    };
    syntax::report(file, text, &errors, report);
    table
}

const TOP: &[&str] = &["version", "mode", "group", "tag", "service", "grant", "invariant", "test", "dns"];

fn read_top(file: usize, table: &DeTable<'_>, document: &mut Document, report: &mut Report<'_>) {
    let fields = Fields::new("a policy".to_owned(), table, TOP, Spot { file, span: 0..0 }, report);
    if let Some(key) = table.keys().next() {
        document.any.get_or_insert(Spot { file, span: key.span() });
    }
    document.has_version |= fields.get("version").is_some();
    document.version.extend(fields.integer("version", report));
    document.mode.extend(fields.string("mode", report));
    if let Some((spot, dns)) = fields.table("dns", report) {
        document.dns.push(read_dns(spot, dns, report));
    }
    for (name, table) in fields.named_tables("group", report) {
        document.groups.push(read_group(name, table, report));
    }
    for (name, table) in fields.named_tables("tag", report) {
        document.tags.push(read_tag(name, table, report));
    }
    for (name, table) in fields.named_tables("service", report) {
        document.services.push(read_service(name, table, report));
    }
    for (spot, table) in fields.table_list("grant", report) {
        document.grants.push(read_grant(spot, table, report));
    }
    for (spot, table) in fields.table_list("invariant", report) {
        document.invariants.push(read_invariant(spot, table, report));
    }
    for (spot, table) in fields.table_list("test", report) {
        document.tests.push(read_test(spot, table, report));
    }
}

fn read_dns(spot: Spot, table: &DeTable<'_>, report: &mut Report<'_>) -> At<Dns> {
    let known = &["zone", "upstream", "split", "private", "report"];
    let fields = Fields::new("[dns]".to_owned(), table, known, spot.clone(), report);
    let mut dns = Dns {
        zone: fields.string("zone", report),
        upstream: fields.list("upstream", report),
        split: Vec::new(),
        private: fields.list("private", report),
        report: fields.string("report", report),
    };
    for (spot, table) in fields.table_list("split", report) {
        let fields = Fields::new("[[dns.split]]".to_owned(), table, &["suffix", "upstream"], spot, report);
        let upstream = fields.needed_list("upstream", report);
        dns.split.extend(fields.needed_string("suffix", report).map(|suffix| Split { suffix, upstream }));
    }
    At { value: dns, spot }
}

fn headed(kind: &str, name: &At<String>) -> String {
    format!("[{kind}.{}]", shown(&name.value))
}

fn read_group(name: At<String>, table: &DeTable<'_>, report: &mut Report<'_>) -> Group {
    let fields = Fields::new(headed("group", &name), table, &["members"], name.spot.clone(), report);
    Group { members: fields.needed_list("members", report), name }
}

fn read_tag(name: At<String>, table: &DeTable<'_>, report: &mut Report<'_>) -> Tag {
    let known = &["owners", "not-with"];
    let fields = Fields::new(headed("tag", &name), table, known, name.spot.clone(), report);
    Tag { owners: fields.list("owners", report), not_with: fields.list("not-with", report), name }
}

fn read_service(name: At<String>, table: &DeTable<'_>, report: &mut Report<'_>) -> Service {
    let known = &["on", "via", "addresses", "listen"];
    let fields = Fields::new(headed("service", &name), table, known, name.spot.clone(), report);
    let via = fields.list("via", report);
    let addresses = fields.list("addresses", report);
    // One of the two is enough to know what is meant; the resolver says what is missing then.
    let behind = fields.get("via").is_some() || fields.get("addresses").is_some();
    let on = if behind { fields.list("on", report) } else { fields.needed_list("on", report) };
    Service { on, via, addresses, listen: fields.needed_list("listen", report), name }
}

const GRANT: &[&str] = &["id", "from", "except", "to", "mode", "until", "why"];

fn read_grant(spot: Spot, table: &DeTable<'_>, report: &mut Report<'_>) -> Grant {
    let fields = Fields::new("a grant".to_owned(), table, GRANT, spot, report);
    let id = fields.needed_string("id", report);
    let from = fields.needed_list("from", report);
    let except = fields.list("except", report);
    let to = fields.needed_list("to", report);
    let mode = fields.string("mode", report);
    let until = fields.datetime("until", report);
    let why = fields.string("why", report);
    Grant { id, from, except, to, mode, until, why }
}

const LAWS: [&str; 3] = ["never", "only", "always"];

fn read_invariant(spot: Spot, table: &DeTable<'_>, report: &mut Report<'_>) -> Invariant {
    let known = &["id", "never", "only", "always"];
    let fields = Fields::new("an invariant".to_owned(), table, known, spot.clone(), report);
    let id = fields.needed_string("id", report);
    let mut laws = Vec::new();
    for law in LAWS {
        if let Some((spot, body)) = fields.table(law, report) {
            laws.push((law, read_law(law, spot, body, report)));
        }
    }
    let written = LAWS.iter().filter(|law| fields.get(law).is_some()).count();
    Invariant { id, laws, written, spot }
}

fn read_law(law: &str, spot: Spot, table: &DeTable<'_>, report: &mut Report<'_>) -> LawBody {
    let fields = Fields::new(format!("`{law}`"), table, &["from", "to", "via"], spot, report);
    LawBody {
        from: fields.needed_list("from", report),
        to: fields.needed_list("to", report),
        via: fields.string("via", report),
    }
}

fn read_test(spot: Spot, table: &DeTable<'_>, report: &mut Report<'_>) -> Test {
    let known = &["id", "from", "to", "expect", "by"];
    let fields = Fields::new("a test".to_owned(), table, known, spot, report);
    let id = fields.needed_string("id", report);
    let from = read_end(&fields, "from", &["node", "tags"], report);
    let to = read_end(&fields, "to", &["node", "tags", "service", "port"], report);
    let expect = fields.needed_string("expect", report);
    let by = fields.string("by", report);
    Test { id, from, to, expect, by }
}

fn read_end(
    fields: &Fields<'_, '_>,
    key: &str,
    known: &'static [&'static str],
    report: &mut Report<'_>,
) -> Option<End> {
    let is_table = fields.get(key).is_some_and(|value| value.get_ref().is_table());
    if !is_table {
        return fields.needed_string(key, report).map(End::Text);
    }
    let (spot, table) = fields.table(key, report)?;
    let end = Fields::new(format!("`{key}` of a test"), table, known, spot, report);
    let node = end.needed_string("node", report);
    let tags = end.list("tags", report);
    let service = end.string("service", report);
    let port = end.string("port", report);
    Some(End::Wearing { node: node?, tags, service, port })
}
