//! A small internet whose names are signed: a root of its own and seven zones, good and bad, at Debian's nsd, which Debian's
//! unbound asks for those who ask it over TLS and HTTPS.
//!
//! | zone | what is wrong with it |
//! |---|---|
//! | `signed`, `nsec3` | nothing; absence is proven with NSEC and with NSEC3 |
//! | `plain` | it is not signed, and the root says so |
//! | `forged` | one record was changed after it was signed, and one was taken away |
//! | `expired` | signed, but until 2020 |
//! | `stripped` | the root says it is signed, and it is not |
//! | `wild` | nothing but `taken.wild`, at which the answer for `*.wild` is given again, with its signature |

use std::fs;

use crate::nameserver::{ADDRESS, NameServer, certificate, listens};
use crate::process::{Daemon, run};
use crate::street::Host;

/// What forgers put in place of [`ADDRESS`].
pub const LIE: &str = "203.0.113.66";

const SIGNED: &str = "www.signed. 60 IN A 203.0.113.7
alias.signed. 60 IN CNAME www.signed.
out.signed. 60 IN CNAME www.plain.
to-forged.signed. 60 IN CNAME www.forged.
old.signed. 60 IN DNAME tree.signed.
a.tree.signed. 60 IN A 203.0.113.7
*.to.signed. 60 IN CNAME www.signed.
*.away.signed. 60 IN CNAME www.plain.
via.signed. 60 IN CNAME x.to.signed.
far.signed. 60 IN CNAME any.wild.
to-taken.signed. 60 IN CNAME taken.wild.
";

/// Names that an asterisk makes, and one that stands for itself.
const WILD: &str = "*.wild. 60 IN A 203.0.113.7
taken.wild. 60 IN A 203.0.113.9
*.deep.wild. 60 IN A 203.0.113.7
there.deep.wild. 60 IN TXT there
";

/// Zone and how it is signed; `None`: not at all.
const ZONES: [(&str, Option<&[&str]>); 7] = [
    ("signed", Some(&[])),
    ("nsec3", Some(&["-n", "-t", "1"])),
    ("plain", None),
    ("forged", Some(&[])),
    ("expired", Some(&["-i", "20200101000000", "-e", "20200201000000"])),
    ("stripped", Some(&[])),
    ("wild", Some(&[])),
];

const AUTHORITY_PORT: &str = "5300";

/// The root's key as a file of trust anchors, and the server.
pub struct SignedWorld {
    pub server: NameServer,
    pub anchors: String,
    /// Who holds the zones; it is reached on the server's own host only.
    pub authority: Daemon,
}

fn head(apex: &str) -> String {
    let under = if apex == "." { "root." } else { apex };
    format!(
        "{apex} 3600 IN SOA ns.{under} host.{under} 1 3600 600 86400 60\n{apex} 3600 IN NS ns.{under}\n\
         ns.{under} 3600 IN A 203.0.113.1\n"
    )
}

/// Signs `zone` in `dir`; gives the path of its key without an ending.
fn sign(dir: &str, apex: &str, zone: &str, options: &[&str]) -> String {
    let script = format!("cd {dir} && ldns-keygen -a ECDSAP256SHA256 -k {apex}");
    let key = run(None, &["sh", "-c", &script], &[]).ok().trim().to_owned();
    let script =
        format!("cd {dir} && ldns-signzone {} -o {apex} -f {zone}.signed {zone} {key}", options.join(" "));
    run(None, &["sh", "-c", &script], &[]).ok();
    format!("{dir}/{key}")
}

/// What `*.wild` is signed for stands at `taken.wild` too, which has an address of its own (RFC 4035 section 5.3.4).
fn expand(file: &str) {
    let of = |line: &str, owner: &str| {
        let words: Vec<&str> = line.split_whitespace().take(5).collect();
        words.first() == Some(&owner) && (words[3] == "A" || words[3..] == ["RRSIG", "A"])
    };
    let signed = fs::read_to_string(file).unwrap();
    let kept = signed.lines().filter(|line| !of(line, "taken.wild."));
    let again = signed.lines().filter(|line| of(line, "*.wild."));
    let again = again.map(|line| line.replacen("*.wild.", "taken.wild.", 1));
    let all: Vec<String> = kept.map(str::to_owned).chain(again).collect();
    fs::write(file, all.join("\n") + "\n").unwrap();
}

fn zones(dir: &str) -> String {
    let mut root = head(".");
    for (name, signed) in ZONES {
        let apex = format!("{name}.");
        let own = match name {
            "signed" => SIGNED.to_owned(),
            "wild" => WILD.to_owned(),
            "nsec3" => format!("www.{apex} 60 IN A {ADDRESS}\n*.any.{apex} 60 IN A {ADDRESS}\n"),
            _ => format!("www.{apex} 60 IN A {ADDRESS}\ntaken.{apex} 60 IN A {ADDRESS}\n"),
        };
        let file = format!("{dir}/{name}.zone");
        let text = head(&apex) + &own;
        fs::write(&file, &text).unwrap();
        root.push_str(&format!("{apex} 3600 IN NS ns.root.\n"));
        match signed {
            None => fs::write(format!("{file}.signed"), &text).unwrap(),
            Some(options) => {
                let key = sign(dir, &apex, &format!("{name}.zone"), options);
                root.push_str(&fs::read_to_string(format!("{key}.ds")).unwrap());
            }
        }
        if name == "stripped" {
            fs::write(format!("{file}.signed"), &text).unwrap();
        }
    }
    let signed = fs::read_to_string(format!("{dir}/forged.zone.signed")).unwrap();
    let without = signed.lines().filter(|line| !line.starts_with("taken."));
    let forged: Vec<String> = without.map(|line| line.replace(ADDRESS, LIE)).collect();
    fs::write(format!("{dir}/forged.zone.signed"), forged.join("\n") + "\n").unwrap();
    expand(&format!("{dir}/wild.zone.signed"));
    fs::write(format!("{dir}/root.zone"), root).unwrap();
    sign(dir, ".", "root.zone", &[])
}

/// Debian's nsd: unbound alone would put the name asked for in place of the asterisk in its denials.
fn hold_zones(host: &Host, dir: &str) -> Daemon {
    let mut config = format!(
        "server:\n  ip-address: 127.0.0.1@{AUTHORITY_PORT}\n  username: \"\"\n  chroot: \"\"\n  zonesdir: \"\"\n  \
         pidfile: \"\"\n  zonelistfile: \"{dir}/zone.list\"\n  xfrdfile: \"{dir}/xfrd\"\n  xfrdir: \"{dir}\"\n\
         remote-control:\n  control-enable: no\n"
    );
    for (name, _) in ZONES {
        config.push_str(&format!("zone:\n  name: \"{name}.\"\n  zonefile: \"{dir}/{name}.zone.signed\"\n"));
    }
    let file = host.path("nsd.conf");
    fs::write(&file, config).unwrap();
    let daemon = host.daemon("nsd", &["nsd", "-d", "-c", &file]);
    listens(host, &[AUTHORITY_PORT]);
    daemon
}

/// Over TLS on 853 and HTTPS on 443.
pub fn start(host: &Host) -> SignedWorld {
    let dir = host.path("zones");
    fs::create_dir_all(&dir).unwrap();
    let key = zones(&dir);
    let anchors = format!("{key}.key");
    let (ca, certificate, key) = certificate(host);
    let mut config = format!(
        "server:\n  interface: {v4}@853\n  interface: {v4}@443\n  tls-service-pem: {certificate}\n  tls-service-key: {key}\n  \
         tls-port: 853\n  https-port: 443\n  access-control: 0.0.0.0/0 allow\n  username: \"\"\n  chroot: \"\"\n  \
         directory: \"{dir}\"\n  pidfile: \"\"\n  use-syslog: no\n  logfile: \"\"\n  do-daemonize: no\n  \
         module-config: \"iterator\"\n  do-not-query-localhost: no\nremote-control:\n  control-enable: no\n",
        v4 = host.v4,
    );
    config.push_str(&format!(
        "auth-zone:\n  name: \".\"\n  zonefile: \"{dir}/root.zone.signed\"\n  for-downstream: no\n  for-upstream: yes\n  \
         fallback-enabled: no\n"
    ));
    for (name, _) in ZONES {
        config
            .push_str(&format!("stub-zone:\n  name: \"{name}\"\n  stub-addr: 127.0.0.1@{AUTHORITY_PORT}\n"));
    }
    let authority = hold_zones(host, &dir);
    let file = host.path("signed.conf");
    fs::write(&file, config).unwrap();
    let daemon = host.daemon("signed", &["unbound", "-d", "-c", &file]);
    listens(host, &["853", "443"]);
    SignedWorld { server: NameServer { daemon, ca }, anchors, authority }
}
