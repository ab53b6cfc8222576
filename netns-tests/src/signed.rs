//! A small internet whose names are signed: a root of its own and six zones, good and bad, behind Debian's unbound.
//!
//! | zone | what is wrong with it |
//! |---|---|
//! | `signed`, `nsec3` | nothing; absence is proven with NSEC and with NSEC3 |
//! | `plain` | it is not signed, and the root says so |
//! | `forged` | one record was changed after it was signed, and one was taken away |
//! | `expired` | signed, but until 2020 |
//! | `stripped` | the root says it is signed, and it is not |

use std::fs;

use crate::nameserver::{ADDRESS, NameServer, certificate, listens};
use crate::process::run;
use crate::street::Host;

/// What forgers put in place of [`ADDRESS`].
pub const LIE: &str = "203.0.113.66";

const SIGNED: &str = "www.signed. 60 IN A 203.0.113.7
alias.signed. 60 IN CNAME www.signed.
out.signed. 60 IN CNAME www.plain.
to-forged.signed. 60 IN CNAME www.forged.
old.signed. 60 IN DNAME tree.signed.
a.tree.signed. 60 IN A 203.0.113.7
";

/// Zone and how it is signed; `None`: not at all.
const ZONES: [(&str, Option<&[&str]>); 6] = [
    ("signed", Some(&[])),
    ("nsec3", Some(&["-n", "-t", "1"])),
    ("plain", None),
    ("forged", Some(&[])),
    ("expired", Some(&["-i", "20200101000000", "-e", "20200201000000"])),
    ("stripped", Some(&[])),
];

/// The root's key as a file of trust anchors, and the server.
pub struct SignedWorld {
    pub server: NameServer,
    pub anchors: String,
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

fn zones(dir: &str) -> String {
    let mut root = head(".");
    for (name, signed) in ZONES {
        let apex = format!("{name}.");
        let own = match name {
            "signed" => SIGNED.to_owned(),
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
    fs::write(format!("{dir}/root.zone"), root).unwrap();
    sign(dir, ".", "root.zone", &[])
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
         module-config: \"iterator\"\nremote-control:\n  control-enable: no\n",
        v4 = host.v4,
    );
    let all = std::iter::once((".", "root")).chain(ZONES.iter().map(|(name, _)| (*name, *name)));
    for (name, file) in all {
        config.push_str(&format!(
            "auth-zone:\n  name: \"{name}\"\n  zonefile: \"{dir}/{file}.zone.signed\"\n  for-downstream: yes\n  \
             for-upstream: yes\n  fallback-enabled: no\n"
        ));
    }
    let file = host.path("signed.conf");
    fs::write(&file, config).unwrap();
    let daemon = host.daemon("signed", &["unbound", "-d", "-c", &file]);
    listens(host, &["853", "443"]);
    SignedWorld { server: NameServer { daemon, ca }, anchors }
}
