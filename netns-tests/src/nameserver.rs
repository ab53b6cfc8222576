//! Encrypted DNS servers on the street: stock ones from Debian, and the one for bad manners.

use std::time::Duration;

use crate::process::{Daemon, run};
use crate::stock::tool;
use crate::street::Host;
use crate::wait::until;
use crate::warren::example_binary;

/// The name in every certificate.
pub const NAME: &str = "dns.test";
/// What they all say about names under `example`.
pub const ADDRESS: &str = "203.0.113.7";

/// Where unbound says `coordinator.lab` is: the first host of a street.
pub const COORDINATOR: &str = "10.91.0.2";

const LIMIT: Duration = Duration::from_secs(20);

/// A running server and the authority that signed its certificate.
#[derive(Debug)]
pub struct NameServer {
    pub daemon: Daemon,
    pub ca: String,
}

pub(crate) fn certificate(host: &Host) -> (String, String, String) {
    let [ca, certificate, key] = ["ca.pem", "server.pem", "server.key"].map(|file| host.path(file));
    let program = example_binary("dns-upstream");
    run(None, &[&program, "tls", "127.0.0.1:0", NAME, "honest", &ca, &certificate, &key], &[]).ok();
    (ca, certificate, key)
}

pub(crate) fn listens(host: &Host, ports: &[&str]) {
    for port in ports {
        let filter = format!("sport = :{port}");
        until("the name server listens", LIMIT, || {
            !host.run(&["ss", "-Hlntu", &filter]).stdout.trim().is_empty()
        });
    }
}

/// Debian's unbound: DNS over TLS on port 853, over HTTPS on 443, and in clear on 53.
pub fn unbound(host: &Host) -> NameServer {
    unbound_at(host, &host.v4)
}

/// The same at another address of the host.
pub fn unbound_at(host: &Host, address: &str) -> NameServer {
    let (ca, certificate, key) = certificate(host);
    let config = format!(
        "server:\n  interface: {address}@53\n  interface: {address}@853\n  interface: {address}@443\n  tls-service-pem: {certificate}\n  \
         tls-service-key: {key}\n  tls-port: 853\n  https-port: 443\n  access-control: 0.0.0.0/0 allow\n  access-control: ::/0 allow\n  \
         username: \"\"\n  chroot: \"\"\n  directory: \"{dir}\"\n  pidfile: \"\"\n  use-syslog: no\n  logfile: \"\"\n  do-daemonize: no\n  \
         module-config: \"iterator\"\n  local-zone: example. redirect\n  local-data: \"example. 60 A {ADDRESS}\"\n  \
         local-data: \"example. 60 AAAA 2001:db8::7\"\n  local-data: \"coordinator.lab. 60 A {COORDINATOR}\"\nremote-control:\n  control-enable: no\n",
        dir = host.dir.display(),
    );
    let file = host.path("unbound.conf");
    std::fs::write(&file, config).unwrap();
    let daemon = host.daemon("unbound", &["unbound", "-d", "-c", &file]);
    listens(host, &["853", "443", "53"]);
    NameServer { daemon, ca }
}

/// Debian's knot-resolver, the second implementation: TLS on 853, HTTPS on 443.
pub fn knot(host: &Host) -> NameServer {
    let (ca, certificate, key) = certificate(host);
    let config = format!(
        "net.listen('{v4}', 853, {{ kind = 'tls' }})\nnet.listen('{v4}', 443, {{ kind = 'doh2' }})\n\
         net.tls('{certificate}', '{key}')\nmodules.load('policy')\n\
         policy.add(policy.suffix(policy.ANSWER({{ [kres.type.A] = {{ ttl = 60, rdata = kres.str2ip('{ADDRESS}') }}, \
         [kres.type.AAAA] = {{ ttl = 60, rdata = kres.str2ip('2001:db8::7') }} }}), {{ todname('example.') }}))\n",
        v4 = host.v4,
    );
    let file = host.path("kresd.conf");
    std::fs::write(&file, config).unwrap();
    let directory = host.path("kresd");
    std::fs::create_dir_all(&directory).unwrap();
    let daemon = host.daemon("kresd", &["kresd", "-n", "-c", &file, &directory]);
    listens(host, &["853", "443"]);
    NameServer { daemon, ca }
}

/// The `hickory-dns` program: TLS and QUIC on 853, HTTPS on 443, and nothing in clear.
pub fn hickory(host: &Host) -> NameServer {
    let (ca, certificate, key) = certificate(host);
    // It takes a file with another ending for DER.
    let key_pem = host.path("hickory-key.pem");
    std::fs::copy(key, &key_pem).unwrap();
    let zone = format!(
        "$ORIGIN example.\n$TTL 60\n@ IN SOA ns admin 1 60 60 60 60\n@ IN NS ns\nns IN A {ADDRESS}\n\
         * IN A {ADDRESS}\n* IN AAAA 2001:db8::7\n"
    );
    std::fs::write(host.path("example.zone"), zone).unwrap();
    let config = format!(
        "listen_addrs_ipv4 = [\"{v4}\"]\ntls_listen_port = 853\nhttps_listen_port = 443\nquic_listen_port = 853\n\
         disable_tcp = true\ndisable_udp = true\ndrop_privileges = false\ndirectory = \"{dir}\"\n\
         tls_cert = {{ path = \"{certificate}\", private_key = \"{key_pem}\", endpoint_name = \"{NAME}\" }}\n\
         [[zones]]\nzone = \"example\"\nzone_type = \"Primary\"\nfile = \"example.zone\"\n",
        v4 = host.v4,
        dir = host.dir.display(),
    );
    let file = host.path("hickory.toml");
    std::fs::write(&file, config).unwrap();
    let daemon = host.daemon("hickory", &[&tool("hickory-dns"), "--config", &file]);
    listens(host, &["853", "443"]);
    NameServer { daemon, ca }
}

/// Over QUIC (Debian has no server for that), or with bad manners.
pub fn special(host: &Host, scheme: &str, manner: &str) -> NameServer {
    let port = if scheme == "https" { "443" } else { "853" };
    let (at, ca) = (format!("{}:{port}", host.v4), host.path("special-ca.pem"));
    let program = example_binary("dns-upstream");
    let daemon = host.daemon("special", &[&program, scheme, &at, NAME, manner, &ca]);
    listens(host, &[port]);
    NameServer { daemon, ca }
}
