//! Switches of the kernel under `/proc/sys`: turned on for a gateway, and put back as they were. What they were is in a file
//! under `/run` before anything is turned, so that an agent that was killed leaves nothing behind for good.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

const ROOT: &str = "/proc/sys/net";

/// Values as they were, by path below `/proc/sys/net`.
#[derive(Debug)]
pub struct Switches {
    file: PathBuf,
    before: BTreeMap<String, String>,
}

impl Switches {
    /// With what an earlier agent turned and did not put back.
    pub fn open(run: &Path) -> Switches {
        let file = run.join("switches.json");
        let read = || serde_json::from_slice(&std::fs::read(&file).ok()?).ok();
        let before: BTreeMap<String, String> = read().unwrap_or_default();
        // Nothing else is ever written, whoever wrote the file.
        let before = before.into_iter().filter(|(path, value)| is_ours(path) && is_plain(value)).collect();
        Switches { file, before }
    }

    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.before.keys().map(String::as_str)
    }

    pub fn turned(&self, path: &str) -> bool {
        self.before.contains_key(path)
    }

    /// Sets it, and remembers what it was. What is so already is not touched.
    pub fn turn(&mut self, path: &str, value: &str) -> io::Result<()> {
        let now = read(path)?;
        if now == value {
            return Ok(());
        }
        if !self.turned(path) {
            self.before.insert(path.to_owned(), now);
            self.keep()?;
        }
        write(path, value)
    }

    /// Puts back all but these. What cannot be put back stays remembered.
    pub fn put_back_except(&mut self, kept: &BTreeSet<String>) -> io::Result<()> {
        let gone: Vec<(String, String)> = self
            .before
            .iter()
            .filter(|(path, _)| !kept.contains(*path))
            .map(|(p, v)| (p.clone(), v.clone()))
            .collect();
        for (path, value) in gone {
            match write(&path, &value) {
                // The interface went, and its switch with it.
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => drop(self.before.remove(&path)),
            }
            self.keep()?;
        }
        Ok(())
    }

    fn keep(&self) -> io::Result<()> {
        if self.before.is_empty() {
            return match std::fs::remove_file(&self.file) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
                _ => Ok(()),
            };
        }
        let new = self.file.with_extension("new");
        std::fs::write(&new, serde_json::to_vec(&self.before)?)?;
        std::fs::rename(&new, &self.file)
    }
}

/// `ipv4/conf/NAME/forwarding` and its like, without a way out of there.
fn is_ours(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    let (family, name, last) = match parts.as_slice() {
        [family, "conf", name, last] => (*family, *name, *last),
        _ => return false,
    };
    let plain = !name.is_empty() && name != "." && name != "..";
    plain && ["ipv4", "ipv6"].contains(&family) && ["forwarding", "accept_ra"].contains(&last)
}

fn is_plain(value: &str) -> bool {
    ["0", "1", "2"].contains(&value)
}

pub fn read(path: &str) -> io::Result<String> {
    Ok(std::fs::read_to_string(Path::new(ROOT).join(path))?.trim().to_owned())
}

fn write(path: &str, value: &str) -> io::Result<()> {
    // Never made anew: what is not there cannot be switched.
    use std::io::Write as _;
    std::fs::OpenOptions::new().write(true).open(Path::new(ROOT).join(path))?.write_all(value.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_switches_of_forwarding_are_ever_put_back() {
        assert!(is_ours("ipv4/conf/eth0/forwarding") && is_ours("ipv6/conf/all/forwarding"));
        for path in
            ["../kernel/x", "ipv4/conf/../forwarding", "ipv4/ip_forward", "ipv4/conf/a/b/forwarding", ""]
        {
            assert!(!is_ours(path), "{path}");
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("switches.json"),
            r#"{"../kernel/core_pattern":"1","ipv4/conf/lo/forwarding":"x"}"#,
        )
        .unwrap();
        assert!(Switches::open(dir.path()).before.is_empty());
    }
}
