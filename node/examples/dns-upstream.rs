//! The tests' encrypted DNS server as a program: `dns-upstream SCHEME ADDRESS:PORT NAME MANNER CA.pem [CERT.pem KEY.pem]`.
//!
//! It makes a certificate authority of its own and writes it to CA.pem; with CERT and KEY it writes a certificate for a
//! stock server instead and ends.

#[path = "../tests/upstream/mod.rs"]
mod upstream;

use warren_config::upstream::Scheme;

#[tokio::main]
async fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [scheme, address, name, manner, ca, rest @ ..] = words.as_slice() else {
        eprintln!("usage: dns-upstream SCHEME ADDRESS:PORT NAME MANNER CA.pem [CERT.pem KEY.pem]");
        std::process::exit(2);
    };
    let authority = upstream::Authority::new();
    std::fs::write(ca, &authority.pem).expect("write the authority");
    if let [certificate, key] = rest {
        let (certificate_pem, key_pem) = authority.pems(name);
        std::fs::write(certificate, certificate_pem).expect("write the certificate");
        std::fs::write(key, key_pem).expect("write the key");
        return;
    }
    let scheme = match scheme.as_str() {
        "tls" => Scheme::Tls,
        "https" => Scheme::Https,
        _ => Scheme::Quic,
    };
    let manner = manner.parse().expect("a manner");
    let served =
        upstream::serve(scheme, address.parse().expect("an address"), &authority, name, manner).await;
    println!("listening on {}", served.address);
    std::future::pending::<()>().await;
}
