//! The flow table on its way from one agent to the next, in a file under `/run`.
//!
//! It is written about every second when something changed, and at the end; the next agent judges every flow in it
//! again before its first packet, so the file can keep a flow alive that is still allowed and nothing else.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use warren_wire::id::NodeId;

const MAGIC: &[u8; 8] = b"wflows1\n";
/// Far above what the tables of a thousand peers hold.
const MAX_BYTES: u64 = 512 * 1024 * 1024;

pub type Flows = BTreeMap<NodeId, Vec<u8>>;

pub struct FlowFile {
    path: PathBuf,
}

impl FlowFile {
    /// In `directory`, which is made (0700) if it is missing.
    pub fn new(directory: &Path) -> std::io::Result<FlowFile> {
        match std::fs::DirBuilder::new().mode(0o700).create(directory) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(e),
            _ => Ok(FlowFile { path: directory.join("flows") }),
        }
    }

    /// What an earlier agent left; empty if there is nothing, or nothing that can be read (which is said).
    pub fn read(&self) -> Flows {
        match read(&self.path) {
            Ok(Some(bytes)) => decode(&bytes).unwrap_or_else(|| {
                tracing::warn!(path = %self.path.display(), "the saved flow table is not whole: connections begin anew");
                Flows::new()
            }),
            Ok(None) => Flows::new(),
            Err(e) => {
                tracing::warn!(path = %self.path.display(), "the saved flow table cannot be read ({e}): connections begin anew");
                Flows::new()
            }
        }
    }

    /// New file, then rename.
    pub fn write(&self, flows: &Flows) -> std::io::Result<()> {
        let bytes = encode(flows);
        let fresh = self.path.with_extension("new");
        let _ = std::fs::remove_file(&fresh);
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(&bytes)?;
        std::fs::rename(&fresh, &self.path)
    }

    pub fn remove(&self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn read(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    let file = match std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(e),
    };
    let meta = file.metadata()?;
    if !meta.is_file() || meta.len() > MAX_BYTES {
        return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "not a flow table"));
    }
    let mut bytes = Vec::new();
    std::io::Read::read_to_end(&mut std::io::Read::take(file, MAX_BYTES), &mut bytes)?;
    Ok(Some(bytes))
}

fn encode(flows: &Flows) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    for (node, table) in flows {
        bytes.extend_from_slice(&node.0);
        bytes.extend_from_slice(&u32::try_from(table.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(table);
    }
    bytes
}

/// `None` unless every byte is accounted for.
fn decode(bytes: &[u8]) -> Option<Flows> {
    let mut rest = bytes.strip_prefix(MAGIC)?;
    let mut flows = Flows::new();
    while !rest.is_empty() {
        let (node, tail) = rest.split_first_chunk::<16>()?;
        let (length, tail) = tail.split_first_chunk::<4>()?;
        let (table, tail) = tail.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        flows.insert(NodeId(*node), table.to_vec());
        rest = tail;
    }
    Some(flows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Flows {
        [(NodeId([1; 16]), vec![1, 2, 3]), (NodeId([2; 16]), Vec::new())].into()
    }

    #[test]
    fn flows_survive_from_one_agent_to_the_next() {
        let base = tempfile::tempdir().expect("directory");
        let directory = base.path().join("warren0");
        FlowFile::new(&directory).expect("make").write(&sample()).expect("write");
        assert_eq!(FlowFile::new(&directory).expect("again").read(), sample());
    }

    #[test]
    fn a_cut_file_gives_no_flows_at_all() {
        let bytes = encode(&sample());
        assert_eq!(decode(&bytes), Some(sample()));
        for end in (0..bytes.len()).filter(|end| ![MAGIC.len(), MAGIC.len() + 23].contains(end)) {
            assert_eq!(decode(&bytes[..end]), None, "{end}");
        }
    }
}
