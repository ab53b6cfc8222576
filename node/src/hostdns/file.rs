//! `/etc/resolv.conf`, replaced whole and atomically; what was there lies beside it, as it was (a link stays a link).

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use warren_node_core::host::resolv::{is_ours, render};

use super::HostDnsError;

const SYSTEM: &str = "/etc/resolv.conf";
/// Content of the copy where there was no file at all.
const ABSENT: &str = "# There was no file.\n";

#[derive(Clone, Debug)]
pub struct File {
    path: PathBuf,
    before: PathBuf,
    new: PathBuf,
}

impl File {
    pub fn system() -> File {
        File::at(Path::new(SYSTEM))
    }

    pub fn at(path: &Path) -> File {
        let beside = |suffix: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        File { before: beside(".before-warren"), new: beside(".warren-new"), path: path.to_owned() }
    }

    /// Ours is written if it is not there. What another program wrote meanwhile is from then on what was there before.
    pub fn tell(&self, servers: &[IpAddr], everything: bool) -> Result<(), HostDnsError> {
        let now = self.read(&self.path)?;
        if !now.as_deref().is_some_and(is_ours) {
            self.keep()?;
        }
        let before = self.read(&self.before)?.unwrap_or_default();
        let text = render(&before, servers, everything);
        if now.as_deref() == Some(text.as_str()) {
            return Ok(());
        }
        self.replace(&text)
    }

    /// A file of somebody else stays; then only our copy goes.
    pub fn restore(&self) -> Result<(), HostDnsError> {
        let ours = self.read(&self.path)?.is_some_and(|text| is_ours(&text));
        let before = self.read(&self.before)?;
        let there = fs::symlink_metadata(&self.before).is_ok();
        match (ours, there) {
            (false, false) => Ok(()),
            (false, true) => fs::remove_file(&self.before).map_err(self.failed("remove", &self.before)),
            (true, false) => Err(HostDnsError::NoBackup(self.path.clone())),
            (true, true) if before.as_deref() == Some(ABSENT) => {
                fs::remove_file(&self.path).map_err(self.failed("remove", &self.path))?;
                fs::remove_file(&self.before).map_err(self.failed("remove", &self.before))
            }
            (true, true) => self.rename(&self.before),
        }
    }

    /// A copy of what is there now. A link is copied as a link.
    fn keep(&self) -> Result<(), HostDnsError> {
        match fs::remove_file(&self.before) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(self.failed("remove", &self.before)(e)),
            _ => {}
        }
        let kept = match fs::read_link(&self.path) {
            Ok(target) => symlink(target, &self.before),
            Err(_) => match fs::copy(&self.path, &self.before) {
                Err(e) if e.kind() == ErrorKind::NotFound => fs::write(&self.before, ABSENT),
                other => other.map(drop),
            },
        };
        kept.map_err(self.failed("write", &self.before))
    }

    fn replace(&self, text: &str) -> Result<(), HostDnsError> {
        let written = (|| {
            match fs::remove_file(&self.new) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(&self.new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })();
        written.map_err(self.failed("write", &self.new))?;
        self.rename(&self.new)
    }

    fn rename(&self, from: &Path) -> Result<(), HostDnsError> {
        match fs::rename(from, &self.path) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == ErrorKind::ResourceBusy => {
                let _ = fs::remove_file(&self.new);
                Err(HostDnsError::Mounted(self.path.clone()))
            }
            Err(e) => Err(self.failed("replace", &self.path)(e)),
        }
    }

    /// `None` if there is no file, or a link to none.
    fn read(&self, path: &Path) -> Result<Option<String>, HostDnsError> {
        match fs::read(path) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(self.failed("read", path)(e)),
        }
    }

    fn failed(&self, what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HostDnsError + use<> {
        let path = path.to_owned();
        move |source| HostDnsError::File { what, path, source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REAL: &str = "search example.com\nnameserver 192.0.2.1\n";

    fn servers() -> Vec<IpAddr> {
        vec!["100.64.0.1".parse().expect("address")]
    }

    fn place() -> (tempfile::TempDir, File) {
        let dir = tempfile::tempdir().expect("directory");
        let file = File::at(&dir.path().join("resolv.conf"));
        (dir, file)
    }

    fn text(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_default()
    }

    #[test]
    fn what_was_there_comes_back_as_it_was() {
        let (dir, file) = place();
        fs::write(&file.path, REAL).expect("write");
        file.tell(&servers(), true).expect("tell");
        assert!(text(&file.path).contains("nameserver 100.64.0.1\nsearch example.com\n"));
        file.tell(&servers(), true).expect("again");
        file.restore().expect("restore");
        file.restore().expect("twice");
        assert_eq!(text(&file.path), REAL);
        assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 1, "nothing else is left");
    }

    #[test]
    fn a_link_stays_a_link_and_its_target_is_not_touched() {
        let (dir, file) = place();
        let target = dir.path().join("stub-resolv.conf");
        fs::write(&target, REAL).expect("write");
        symlink("stub-resolv.conf", &file.path).expect("link");
        file.tell(&servers(), true).expect("tell");
        assert_eq!(text(&target), REAL);
        file.restore().expect("restore");
        assert_eq!(fs::read_link(&file.path).expect("a link"), Path::new("stub-resolv.conf"));
    }

    #[test]
    fn what_another_program_writes_meanwhile_is_what_comes_back() {
        let (_dir, file) = place();
        fs::write(&file.path, REAL).expect("write");
        file.tell(&servers(), true).expect("tell");
        fs::write(&file.path, "nameserver 198.51.100.9\n").expect("a DHCP client");
        file.tell(&servers(), true).expect("tell");
        assert!(is_ours(&text(&file.path)));
        file.restore().expect("restore");
        assert_eq!(text(&file.path), "nameserver 198.51.100.9\n");
        // Written after our last look: it is not ours, and stays.
        file.tell(&servers(), true).expect("tell");
        fs::write(&file.path, REAL).expect("write");
        file.restore().expect("restore");
        assert_eq!(text(&file.path), REAL);
        assert!(!file.before.exists());
    }

    #[test]
    fn where_there_was_no_file_there_is_none_afterwards_and_a_lost_copy_is_said() {
        let (_dir, file) = place();
        file.tell(&servers(), true).expect("tell");
        file.restore().expect("restore");
        assert!(!file.path.exists() && !file.before.exists());
        file.tell(&servers(), true).expect("tell");
        fs::remove_file(&file.before).expect("lose it");
        assert!(matches!(file.restore(), Err(HostDnsError::NoBackup(_))));
    }
}
