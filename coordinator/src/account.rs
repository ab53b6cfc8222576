//! Users and groups of this host, read from `/etc/passwd` and `/etc/group` (passwd(5), group(5)). Names served only
//! by a directory service are not seen: such a caller is known by number, and is in no group.

use std::path::Path;

const MAX_BYTES: u64 = 8 * 1024 * 1024;

#[derive(Clone, Debug, Default)]
pub struct Accounts {
    passwd: String,
    group: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
}

impl Accounts {
    /// Reads both files anew: a group membership taken away counts at the next request.
    pub fn of_host() -> Accounts {
        Accounts { passwd: read("/etc/passwd"), group: read("/etc/group") }
    }
    pub fn of_text(passwd: &str, group: &str) -> Accounts {
        Accounts { passwd: passwd.to_owned(), group: group.to_owned() }
    }

    pub fn user_name(&self, uid: u32) -> Option<&str> {
        rows(&self.passwd).find(|row| number(row, 2) == Some(uid)).and_then(|row| row.first().copied())
    }
    pub fn user(&self, name: &str) -> Option<User> {
        let row = rows(&self.passwd).find(|row| row.first() == Some(&name))?;
        Some(User { uid: number(&row, 2)?, gid: number(&row, 3)? })
    }
    pub fn group_id(&self, name: &str) -> Option<u32> {
        rows(&self.group).find(|row| row.first() == Some(&name)).and_then(|row| number(&row, 2))
    }
    /// Is the user in the group, by primary group or by the member list?
    pub fn is_member(&self, uid: u32, gid: u32, group: &str) -> bool {
        let Some(row) = rows(&self.group).find(|row| row.first() == Some(&group)) else { return false };
        let listed = |name: &str| row.get(3).is_some_and(|members| members.split(',').any(|m| m == name));
        number(&row, 2) == Some(gid) || self.user_name(uid).is_some_and(listed)
    }
}

fn read(path: &str) -> String {
    let small = std::fs::metadata(Path::new(path)).is_ok_and(|meta| meta.len() <= MAX_BYTES);
    if small { std::fs::read_to_string(path).unwrap_or_default() } else { String::new() }
}

fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split(':').collect())
}

fn number(row: &[&str], column: usize) -> Option<u32> {
    row.get(column)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts() -> Accounts {
        Accounts::of_text(
            "root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/:/bin/sh\nbob:x:1001:900::/:/bin/sh\nbroken\n",
            "warren:x:900:ada,eve\nother:x:901:\nshort\n",
        )
    }

    #[test]
    fn membership_is_by_primary_group_or_by_name() {
        let a = accounts();
        assert!(a.is_member(1000, 1000, "warren"));
        assert!(a.is_member(1001, 900, "warren"));
        assert!(!a.is_member(1002, 1002, "warren"));
        assert!(!a.is_member(1000, 1000, "other"));
        assert!(!a.is_member(1000, 1000, "absent"));
        assert!(!a.is_member(1000, 1000, ""));
    }

    #[test]
    fn what_cannot_be_read_is_nobody() {
        let a = accounts();
        assert_eq!(a.user_name(0), Some("root"));
        assert_eq!((a.user_name(7), a.user("broken"), a.group_id("short")), (None, None, None));
        assert_eq!(a.user("bob"), Some(User { uid: 1001, gid: 900 }));
    }
}
