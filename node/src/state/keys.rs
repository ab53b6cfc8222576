//! Private keys as they lie on disk: text, so that a damaged file can be seen to be one.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::SigningKey;
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use warren_wire::id::WgKey;
use warren_wire::trust::MAX_LANES;

/// Lanes (WireGuard keys) of a node: two for each packet worker, one a direction, so that none waits for another.
pub fn lanes_for(workers: usize) -> usize {
    workers.saturating_mul(2).clamp(1, MAX_LANES)
}

/// Older keys that are kept for files of external devices; beyond that the oldest go.
pub const MAX_KEPT: usize = 16;

const IDENTITY_HEAD: &str = "warren identity key v1";
const WG_HEAD: &str = "warren wireguard keys v1";

/// A new seed from the operating system.
pub fn new_seed() -> Result<Zeroizing<[u8; 32]>, getrandom::Error> {
    let mut seed = Zeroizing::new([0u8; 32]);
    getrandom::fill(seed.as_mut())?;
    Ok(seed)
}

pub fn identity_from_seed(seed: &[u8; 32]) -> SigningKey {
    SigningKey::from_bytes(seed)
}

/// The X25519 private keys of this node. No `Debug`; wiped when dropped.
#[derive(Clone)]
pub struct WgKeys {
    /// A newer set has a greater serial; from 1.
    pub serial: u64,
    pub lanes: Vec<Zeroizing<[u8; 32]>>,
    /// Keys of before, oldest first, that files of external devices still name.
    pub kept: Vec<Zeroizing<[u8; 32]>>,
}

fn public(private: &[u8; 32]) -> WgKey {
    WgKey(PublicKey::from(&StaticSecret::from(*private)).to_bytes())
}

impl WgKeys {
    pub fn generate(serial: u64, lanes: usize) -> Result<WgKeys, getrandom::Error> {
        let lanes = (0..lanes).map(|_| new_seed()).collect::<Result<_, _>>()?;
        Ok(WgKeys { serial, lanes, kept: Vec::new() })
    }

    /// The set `serial`, with new keys behind those of this one; `None` if it has as many already. What peers have agreed on
    /// with the old keys goes on.
    pub fn widened(&self, serial: u64, lanes: usize) -> Result<Option<WgKeys>, getrandom::Error> {
        let Some(missing) = lanes.checked_sub(self.lanes.len()).filter(|missing| *missing > 0) else {
            return Ok(None);
        };
        let more = WgKeys::generate(serial, missing)?;
        let lanes = self.lanes.iter().cloned().chain(more.lanes.iter().cloned()).collect();
        Ok(Some(WgKeys { lanes, kept: self.kept.clone(), ..more }))
    }

    pub fn public(&self) -> Vec<WgKey> {
        self.lanes.iter().map(|lane| public(lane)).collect()
    }

    pub fn public_kept(&self) -> Vec<WgKey> {
        self.kept.iter().map(|key| public(key)).collect()
    }

    /// Takes over from `old` what files of external devices name. While nobody knows (`None`): what they may name.
    pub fn keep_filed(&mut self, old: &WgKeys, filed: Option<&BTreeSet<WgKey>>) {
        let is_named = |key: &WgKey| filed.is_none_or(|filed| filed.contains(key));
        // A file names the first lane.
        let before =
            old.kept.iter().chain(old.lanes.iter().take(if filed.is_none() { 1 } else { usize::MAX }));
        let own = self.public();
        let kept = before.filter(|key| is_named(&public(key)) && !own.contains(&public(key)));
        self.kept = kept.cloned().collect();
        let excess = self.kept.len().saturating_sub(MAX_KEPT);
        self.kept.drain(..excess);
    }

    pub(super) fn encode(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(format!("{WG_HEAD}\nserial {}\n", self.serial));
        for lane in &self.lanes {
            text.push_str("lane ");
            text.push_str(&Zeroizing::new(STANDARD.encode(**lane)));
            text.push('\n');
        }
        for key in &self.kept {
            text.push_str("kept ");
            text.push_str(&Zeroizing::new(STANDARD.encode(**key)));
            text.push('\n');
        }
        text
    }

    pub(super) fn decode(text: &str) -> Result<WgKeys, String> {
        let mut lines = text.lines();
        if lines.next() != Some(WG_HEAD) {
            return Err(format!("it does not begin with `{WG_HEAD}`"));
        }
        let serial = lines
            .next()
            .and_then(|line| line.strip_prefix("serial "))
            .and_then(|n| n.parse::<u64>().ok())
            .filter(|serial| *serial > 0)
            .ok_or("its second line is not `serial N`")?;
        let (mut lanes, mut kept) = (Vec::new(), Vec::new());
        for line in lines {
            match (line.strip_prefix("lane "), line.strip_prefix("kept ")) {
                (Some(key), _) => lanes.push(decode_key(key)?),
                (_, Some(key)) => kept.push(decode_key(key)?),
                _ => return Err("a line is neither `lane KEY` nor `kept KEY`".to_owned()),
            }
        }
        match (lanes.len(), kept.len()) {
            (1..=MAX_LANES, 0..=MAX_KEPT) => Ok(WgKeys { serial, lanes, kept }),
            (lanes, kept) => Err(format!("it holds {lanes} keys and {kept} of before")),
        }
    }
}

pub(super) fn encode_seed(seed: &[u8; 32]) -> Zeroizing<String> {
    let key = Zeroizing::new(STANDARD.encode(seed));
    Zeroizing::new(format!("{IDENTITY_HEAD}\n{}\n", *key))
}

pub(super) fn decode_seed(text: &str) -> Result<Zeroizing<[u8; 32]>, String> {
    let mut lines = text.lines();
    if lines.next() != Some(IDENTITY_HEAD) {
        return Err(format!("it does not begin with `{IDENTITY_HEAD}`"));
    }
    let key = decode_key(lines.next().unwrap_or_default())?;
    match lines.next() {
        None => Ok(key),
        Some(_) => Err("it has too many lines".to_owned()),
    }
}

/// The error never repeats the text: it may be most of a key.
fn decode_key(text: &str) -> Result<Zeroizing<[u8; 32]>, String> {
    let bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| "a key is not base64".to_owned())?);
    let key: [u8; 32] =
        bytes.as_slice().try_into().map_err(|_| format!("a key has {} bytes, not 32", bytes.len()))?;
    Ok(Zeroizing::new(key))
}
