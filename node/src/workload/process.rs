//! From a socket's inode to the process that holds it, and what it is.
//!
//! A socket does not know its process: the descriptors of all processes are looked through, the youngest first, because who
//! has just opened a connection has often just begun. What was found is kept by inode and only checked again.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use warren_node_core::workload::cgroup;
use warren_wire::flow::Workload;

/// An owner is believed so long without being looked at.
const FRESH: Duration = Duration::from_secs(1);
/// Sockets whose owner is remembered.
const KNOWN: usize = 8192;
/// Descriptors looked at for one question, and how much of the time may go into looking: of a host with very many, some
/// sockets stay unknown instead of a processor being used up.
const LOOKED_AT: usize = 200_000;
const SHARE: u32 = 10;
/// User names are read anew after this.
const USERS: Duration = Duration::from_secs(60);

#[derive(Default)]
pub struct Processes {
    owners: HashMap<u32, Owner>,
    users: BTreeMap<u32, String>,
    users_read: Option<Instant>,
    /// Not looked through again before.
    rests_until: Option<Instant>,
}

/// Who held a socket when it was looked at.
struct Owner {
    descriptor: PathBuf,
    workload: Workload,
    at: Instant,
}

impl Processes {
    /// Who holds the socket; of one that nobody holds any more, or that was not found, only whose it was made for.
    pub fn owner(&mut self, inode: u32, uid: u32) -> Option<Workload> {
        let name = format!("socket:[{inode}]");
        let holds =
            |descriptor: &Path| fs::read_link(descriptor).is_ok_and(|link| link.as_os_str() == name.as_str());
        let known = self.owners.get(&inode);
        // A server that many come to is looked at once a second.
        if let Some(known) = known.filter(|known| known.at.elapsed() < FRESH) {
            return Some(known.workload.clone());
        }
        let held = known.map(|known| known.descriptor.clone()).filter(|descriptor| holds(descriptor));
        // A connection without an inode has no process any more, and its user is not told either.
        if inode == 0 {
            return None;
        }
        let found = held.or_else(|| self.look_for(&name, uid));
        self.owners.remove(&inode);
        let Some(descriptor) = found else {
            return Some(Workload { user: self.user(uid), ..Workload::default() });
        };
        let workload = self.describe(&descriptor, uid)?;
        if self.owners.len() >= KNOWN {
            self.owners.clear();
        }
        self.owners.insert(inode, Owner { descriptor, workload: workload.clone(), at: Instant::now() });
        Some(workload)
    }

    fn look_for(&mut self, name: &str, uid: u32) -> Option<PathBuf> {
        let began = Instant::now();
        if self.rests_until.is_some_and(|until| began < until) {
            return None;
        }
        let found = look_through(name, uid);
        if found.is_none() {
            self.rests_until = Some(Instant::now() + began.elapsed() * SHARE);
        }
        found
    }

    /// `descriptor` is `/proc/PID/fd/NUMBER`.
    fn describe(&mut self, descriptor: &Path, uid: u32) -> Option<Workload> {
        let process = descriptor.parent()?.parent()?;
        let place = cgroup::parse(&read(&process.join("cgroup"), 16 * 1024));
        let executable = fs::read_link(process.join("exe"));
        Some(Workload {
            process: read(&process.join("comm"), 256).trim_end_matches('\n').to_owned(),
            executable: executable.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default(),
            user: self.user(uid),
            unit: place.unit,
            container: place.container,
        })
    }

    pub fn user(&mut self, uid: u32) -> String {
        if self.users_read.is_none_or(|at| at.elapsed() > USERS) {
            self.users = users(&read(Path::new("/etc/passwd"), 1024 * 1024));
            self.users_read = Some(Instant::now());
        }
        self.users.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }
}

/// Those of the socket's user first, then all others: a descriptor may have been handed on.
fn look_through(name: &str, uid: u32) -> Option<PathBuf> {
    let mut numbers: Vec<u32> =
        fs::read_dir("/proc").ok()?.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    let is_users = |number: &u32| fs::metadata(format!("/proc/{number}")).is_ok_and(|meta| meta.uid() == uid);
    let (own, others): (Vec<u32>, Vec<u32>) = numbers.into_iter().partition(is_users);
    let mut left = LOOKED_AT;
    own.into_iter().chain(others).find_map(|number| descriptor(number, name, &mut left))
}

fn descriptor(process: u32, name: &str, left: &mut usize) -> Option<PathBuf> {
    for entry in fs::read_dir(format!("/proc/{process}/fd")).ok()?.flatten() {
        *left = left.checked_sub(1)?;
        if fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str().as_bytes() == name.as_bytes()) {
            return Some(entry.path());
        }
    }
    None
}

/// The beginning of a file, whatever bytes are in it.
fn read(path: &Path, most: u64) -> String {
    let mut bytes = Vec::new();
    let _ = fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// passwd(5).
fn users(text: &str) -> BTreeMap<u32, String> {
    let user = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        Some((fields.nth(1)?.parse().ok()?, name.to_owned()))
    };
    text.lines().rev().filter_map(user).collect()
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn the_holder_of_a_socket_is_named() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("bind");
        let link = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).expect("link");
        let text = link.to_string_lossy().into_owned();
        let inode = text.trim_start_matches("socket:[").trim_end_matches(']').parse().expect("inode");
        let uid = rustix::process::getuid().as_raw();
        let mut processes = Processes::default();
        for _ in 0..2 {
            let found = processes.owner(inode, uid).expect("found");
            let own = std::env::current_exe().expect("exe");
            assert_eq!(found.executable, own.to_string_lossy());
            assert!(
                own.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&found.process)),
                "{found:?}"
            );
        }
        drop(socket);
        let gone = Processes::default().owner(inode, uid).expect("its user");
        assert_eq!((gone.process.as_str(), gone.executable.as_str()), ("", ""), "no process has it");
        assert!(!gone.user.is_empty());
        assert_eq!(Processes::default().owner(0, uid), None, "a connection that only waits for its end");
    }

    #[test]
    fn users_have_names_where_the_host_knows_them() {
        let names = users(
            "root:x:0:0:root:/root:/bin/sh\n:x:7:\nbad\nada:x:1000:1000::/home/ada:\nroot2:x:0:0::/:\n",
        );
        assert_eq!(names.into_iter().collect::<Vec<_>>(), [(0, "root".to_owned()), (1000, "ada".to_owned())]);
    }
}
