//! `/etc/resolv.conf`, replaced whole and atomically; what was there lies beside it. It is that very file (or link), moved and
//! not copied, so that its owner, its mode and everything else about it come back with it.

use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;
use warren_node_core::host::resolv::{is_ours, render};

use super::HostDnsError;

const SYSTEM: &str = "/etc/resolv.conf";
/// Every program of the host reads it, whatever the agent's umask is.
const MODE: u32 = 0o644;
/// What lies beside where there was no file at all.
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
        let ours = now.as_deref().is_some_and(is_ours);
        let before = if ours { self.read(&self.before)? } else { now.clone() };
        let text = render(&before.unwrap_or_default(), servers, everything);
        if now.as_deref() == Some(text.as_str()) {
            return Ok(());
        }
        self.write(&text)?;
        match fs::symlink_metadata(&self.path).is_ok() {
            true if !ours => self.exchange(),
            true => self.rename(&self.new),
            false => {
                fs::write(&self.before, ABSENT).map_err(self.failed("write", &self.before))?;
                self.rename(&self.new)
            }
        }
    }

    /// A file of somebody else stays; then what lies beside it is of no use any more.
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

    /// Ours and theirs change places in one step. Until then ours lies beside theirs, where [`File::restore`] throws it away:
    /// a crash at any moment leaves what can be put back.
    fn exchange(&self) -> Result<(), HostDnsError> {
        fs::rename(&self.new, &self.before).map_err(self.failed("write", &self.before))?;
        match renameat_with(CWD, &self.before, CWD, &self.path, RenameFlags::EXCHANGE) {
            Ok(()) => Ok(()),
            // NFS, say.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => self.move_aside(),
            Err(e) => {
                let _ = fs::remove_file(&self.before);
                Err(self.explained(e.into()))
            }
        }
    }

    /// Where a file system cannot exchange two files: theirs gets a second name first. Only a link is made anew.
    fn move_aside(&self) -> Result<(), HostDnsError> {
        fs::rename(&self.before, &self.new).map_err(self.failed("write", &self.new))?;
        let kept = match fs::read_link(&self.path) {
            Ok(target) => symlink(target, &self.before),
            Err(_) => fs::hard_link(&self.path, &self.before),
        };
        kept.map_err(self.failed("write", &self.before))?;
        self.rename(&self.new)
    }

    fn write(&self, text: &str) -> Result<(), HostDnsError> {
        let written = (|| {
            match fs::remove_file(&self.new) {
                Err(e) if e.kind() != ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&self.new)?;
            file.write_all(text.as_bytes())?;
            // Not as it is opened: the umask would take from that.
            file.set_permissions(Permissions::from_mode(MODE))?;
            file.sync_all()
        })();
        written.map_err(self.failed("write", &self.new))
    }

    fn rename(&self, from: &Path) -> Result<(), HostDnsError> {
        fs::rename(from, &self.path).map_err(|e| {
            let _ = fs::remove_file(&self.new);
            self.explained(e)
        })
    }

    fn explained(&self, e: io::Error) -> HostDnsError {
        match e.kind() {
            ErrorKind::ResourceBusy => HostDnsError::Mounted(self.path.clone()),
            _ => self.failed("replace", &self.path)(e),
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

    /// As the shipped unit runs it. The umask is the whole process's, so the test is one of its own.
    #[test]
    fn every_program_can_read_it_whatever_the_agents_umask_is() {
        const INSIDE: &str = "WARREN_TEST_UMASK";
        if std::env::var_os(INSIDE).is_none() {
            let name = "hostdns::file::tests::every_program_can_read_it_whatever_the_agents_umask_is";
            let mut shell = std::process::Command::new("sh");
            shell.args(["-c", "umask 077; exec \"$0\" --exact \"$1\""]);
            let test = std::env::current_exe().expect("this test");
            let output = shell.arg(test).arg(name).env(INSIDE, "1").output().expect("sh");
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success() && said.contains("1 passed"), "{said}");
            return;
        }
        let (_dir, file) = place();
        let mode = |path: &Path| fs::metadata(path).expect("metadata").permissions().mode() & 0o7777;
        file.tell(&servers(), true).expect("tell");
        assert_eq!(mode(&file.path), 0o644, "where there was none");
        file.restore().expect("restore");
        fs::write(&file.path, REAL).expect("write");
        assert_eq!(mode(&file.path), 0o600, "the umask holds");
        file.tell(&servers(), true).expect("tell");
        assert_eq!(mode(&file.path), 0o644);
        file.tell(&["100.64.0.9".parse().expect("address")], true).expect("other servers");
        assert_eq!(mode(&file.path), 0o644);
    }

    #[test]
    fn what_comes_back_is_the_very_file_with_all_that_belongs_to_it() {
        use std::os::unix::fs::MetadataExt;
        let (dir, file) = place();
        fs::write(&file.path, REAL).expect("write");
        fs::set_permissions(&file.path, Permissions::from_mode(0o640)).expect("mode");
        let facts = |path: &Path| {
            let seen = fs::symlink_metadata(path).expect("metadata");
            (seen.ino(), seen.mode(), seen.uid(), seen.mtime_nsec())
        };
        let before = facts(&file.path);
        for exchange in [true, false] {
            if exchange {
                file.tell(&servers(), true).expect("tell");
            } else {
                file.write(&render(REAL, &servers(), true)).expect("write");
                fs::rename(&file.new, &file.before).expect("as far as it was");
                file.move_aside().expect("without an exchange");
            }
            assert!(is_ours(&text(&file.path)) && facts(&file.path).0 != before.0);
            file.tell(&["100.64.0.9".parse().expect("address")], true).expect("other servers");
            file.restore().expect("restore");
            assert_eq!(facts(&file.path), before);
        }
        assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 1, "nothing else is left");
    }

    #[test]
    fn cut_off_before_ours_is_in_place_theirs_stays() {
        let (_dir, file) = place();
        fs::write(&file.path, REAL).expect("write");
        file.write(&render(REAL, &servers(), true)).expect("write");
        fs::rename(&file.new, &file.before).expect("as far as it came");
        file.restore().expect("restore");
        assert_eq!(text(&file.path), REAL);
        assert!(!file.before.exists());
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
