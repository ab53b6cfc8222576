//! WireGuard key pairs, and the file they lie in.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use warren_wire::id::WgKey;
use zeroize::Zeroizing;

pub struct Pair {
    pub private: Zeroizing<[u8; 32]>,
    pub public: WgKey,
}

pub fn random<const N: usize>() -> Zeroizing<[u8; N]> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(bytes.as_mut()).unwrap();
    bytes
}

pub fn generate(count: u32) -> Vec<Pair> {
    (0..count)
        .map(|_| {
            let private = random();
            Pair { public: WgKey::of(&private), private }
        })
        .collect()
}

pub fn append(file: &str, pairs: &[Pair]) {
    let mut file = File::options().create(true).append(true).mode(0o600).open(file).unwrap();
    for pair in pairs {
        writeln!(file, "{} {}", STANDARD.encode(*pair.private), pair.public).unwrap();
    }
}

pub fn read(file: &str) -> Vec<Pair> {
    let text = std::fs::read_to_string(file).unwrap();
    let private = |line: &str| Zeroizing::new(key(line.split(' ').next().unwrap()).0);
    text.lines()
        .map(|line| {
            let private = private(line);
            Pair { public: WgKey::of(&private), private }
        })
        .collect()
}

pub fn key(text: &str) -> WgKey {
    WgKey(STANDARD.decode(text).unwrap().try_into().unwrap_or_else(|_| panic!("`{text}` is not a key")))
}
