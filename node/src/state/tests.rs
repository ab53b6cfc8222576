use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;
use warren_wire::id::{IdentityKey, NetworkId};

fn fresh() -> (tempfile::TempDir, PathBuf) {
    let base = tempfile::tempdir().expect("temporary directory");
    let path = base.path().join("state");
    (base, path)
}

fn mode(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).expect("metadata").mode() & 0o7777
}

fn trust() -> StoredTrust {
    StoredTrust {
        network: NetworkId([1; 16]),
        authorities: vec![IdentityKey([2; 32])],
        coordinators: vec!["192.0.2.1:7946".to_owned()],
        coordinator_keys: vec![IdentityKey([3; 32])],
    }
}

#[test]
fn everything_is_private_whatever_the_umask_says() {
    let (_base, path) = fresh();
    let old = rustix::process::umask(Mode::empty());
    let state = StateDir::open(&path).expect("open");
    state.store_identity(&[7; 32]).expect("store");
    state.store_wg_keys(&WgKeys::generate(1, 2).expect("random")).expect("store");
    state.store_trust(&trust()).expect("store");
    rustix::process::umask(old);
    assert_eq!(mode(&path), 0o700);
    for entry in std::fs::read_dir(&path).expect("list") {
        let entry = entry.expect("entry").path();
        assert_eq!(mode(&entry), 0o600, "{}", entry.display());
    }
}

/// What is written down of a mapping without end is what the next start reads.
#[test]
fn what_is_owed_to_a_gateway_comes_back_and_its_file_goes_with_the_last() {
    let (_base, path) = fresh();
    let state = StateDir::open(&path).expect("open");
    let text =
        r#"[{"gateway":"192.168.1.1","outside":51820,"kind":"ip1","control":"http://192.168.1.1:5000/ctl"}]"#;
    assert_eq!(state.owed().expect("none"), vec![]);
    std::fs::write(path.join(MAPPINGS), text).expect("write");
    std::fs::set_permissions(path.join(MAPPINGS), std::fs::Permissions::from_mode(0o600)).expect("mode");
    let owed = state.owed().expect("read");
    assert_eq!(owed.len(), 1);
    state.store_owed(&owed).expect("store");
    assert_eq!(std::fs::read_to_string(path.join(MAPPINGS)).expect("read"), text);
    state.store_owed(&[]).expect("remove");
    assert!(!path.join(MAPPINGS).exists() && state.owed().expect("none").is_empty());
}

#[test]
fn what_was_stored_comes_back() {
    let (_base, path) = fresh();
    let keys = WgKeys::generate(4, 6).expect("random");
    {
        let state = StateDir::open(&path).expect("open");
        assert!(!state.is_enrolled().expect("read"));
        state.store_identity(&[7; 32]).expect("store");
        state.store_wg_keys(&keys).expect("store");
        state.store_trust(&trust()).expect("store");
        state.store_record(b"record").expect("store");
        state.store_view(b"view").expect("store");
        state.store_legacy(b"legacy").expect("store");
        state.store_stamp(1_700_000_000_123).expect("store");
    }
    let state = StateDir::open(&path).expect("open again");
    assert!(state.is_enrolled().expect("read"));
    assert_eq!(*state.identity().expect("read").expect("there"), [7; 32]);
    let back = state.wg_keys().expect("read").expect("there");
    assert_eq!((back.serial, back.public()), (4, keys.public()));
    assert_eq!(state.trust().expect("read"), Some(trust()));
    assert_eq!(state.record().expect("read").as_deref(), Some(&b"record"[..]));
    assert_eq!(state.view().expect("read").as_deref(), Some(&b"view"[..]));
    assert_eq!(state.stamp().expect("read"), 1_700_000_000_123);
    assert_eq!(state.legacy().expect("read").as_deref(), Some(&b"legacy"[..]));
    for _ in 0..2 {
        state.remove_legacy().expect("removed, or not there");
        assert_eq!(state.legacy().expect("read"), None);
    }
}

#[test]
fn a_second_agent_is_told_that_the_directory_is_in_use() {
    let (_base, path) = fresh();
    let first = StateDir::open(&path).expect("open");
    assert!(matches!(StateDir::open(&path), Err(StateError::InUse { .. })));
    drop(first);
    StateDir::open(&path).expect("free again");
}

#[test]
fn a_directory_others_may_enter_is_refused() {
    let (_base, path) = fresh();
    drop(StateDir::open(&path).expect("open"));
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("chmod");
    let error = StateDir::open(&path).err().expect("refused");
    assert!(error.to_string().contains("chmod 0700"), "{error}");
}

#[test]
fn a_key_others_may_read_is_refused() {
    let (_base, path) = fresh();
    let state = StateDir::open(&path).expect("open");
    state.store_identity(&[7; 32]).expect("store");
    std::fs::set_permissions(path.join(IDENTITY), PermissionsExt::from_mode(0o640)).expect("chmod");
    let error = state.identity().expect_err("refused");
    assert!(matches!(error, StateError::Mode { mode: 0o640, .. }), "{error}");
}

#[test]
fn links_are_neither_followed_nor_written_through() {
    let (base, path) = fresh();
    let state = StateDir::open(&path).expect("open");
    let target = base.path().join("target");
    std::fs::write(&target, "precious").expect("write");
    symlink(&target, path.join(IDENTITY)).expect("link");
    assert!(matches!(state.identity(), Err(StateError::Kind { .. })));
    symlink(&target, path.join(".view.new")).expect("link");
    state.store_view(b"view").expect("the planted temporary file is replaced");
    state.store_identity(&[1; 32]).expect("the link itself is replaced");
    assert_eq!(std::fs::read_to_string(&target).expect("read"), "precious");
    std::fs::hard_link(&target, path.join(RECORD)).expect("hard link");
    assert!(matches!(state.record(), Err(StateError::Kind { .. })));
}

#[test]
fn a_fifo_does_not_hang_the_agent() {
    let (_base, path) = fresh();
    let state = StateDir::open(&path).expect("open");
    rustix::fs::mknodat(&state.dir, VIEW, rustix::fs::FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
        .expect("mkfifo");
    assert!(matches!(state.view(), Err(StateError::Kind { .. })));
}

#[test]
fn a_directory_of_a_newer_version_is_left_as_it_is() {
    let (_base, path) = fresh();
    drop(StateDir::open(&path).expect("open"));
    std::fs::write(path.join(VERSION_FILE), "2\n").expect("write");
    let error = StateDir::open(&path).err().expect("refused");
    assert!(matches!(error, StateError::Version { found: 2, known: 1, .. }), "{error}");
    assert_eq!(std::fs::read_to_string(path.join(VERSION_FILE)).expect("read"), "2\n");
}

#[test]
fn damaged_files_are_called_damaged_and_kept() {
    let (_base, path) = fresh();
    let state = StateDir::open(&path).expect("open");
    for (name, text) in [(IDENTITY, "warren identity key v1\nshort\n"), (WG_KEYS, ""), (TRUST, "{}")] {
        state.write(name, text.as_bytes()).expect("write");
    }
    let errors = [
        state.identity().expect_err("damaged"),
        state.wg_keys().err().expect("damaged"),
        state.trust().expect_err("damaged"),
    ];
    for error in errors {
        assert!(matches!(error, StateError::Damaged { .. }), "{error}");
    }
    assert!(path.join(IDENTITY).exists());
}

#[test]
fn a_missing_parent_says_which_directory_and_what_to_do() {
    let (base, _) = fresh();
    let error = StateDir::open(&base.path().join("no/such")).err().expect("refused");
    assert!(error.to_string().contains("--state"), "{error}");
}

#[test]
fn a_full_disk_keeps_the_old_content() {
    let (_base, path) = fresh();
    let state = StateDir::open(&path).expect("open");
    state.store_view(b"old").expect("store");
    // A directory in the way of the temporary file stands for any write that fails.
    std::fs::create_dir(path.join(".view.new")).expect("mkdir");
    state.store_view(b"new").expect_err("cannot write");
    assert_eq!(state.view().expect("read").as_deref(), Some(&b"old"[..]));
    let full = StateError::io(path, "write", std::io::Error::from_raw_os_error(28));
    assert!(matches!(full, StateError::Full { .. }));
}

#[test]
fn more_workers_have_more_keys_and_those_that_peers_know_stay_in_their_places() {
    let old = WgKeys::generate(7, lanes_for(1)).expect("random");
    assert!(old.widened(8, lanes_for(1)).expect("random").is_none());
    let new = old.widened(8, lanes_for(3)).expect("random").expect("four more");
    assert_eq!((new.serial, new.lanes.len()), (8, 6));
    assert_eq!(new.public()[..2], old.public()[..]);
    let all: std::collections::BTreeSet<_> = new.public().into_iter().collect();
    assert_eq!(all.len(), 6, "no key serves two lanes");
    assert!(new.widened(9, lanes_for(2)).expect("random").is_none(), "fewer workers take no key away");
    assert_eq!(lanes_for(crate::worker::MAX_WORKERS), warren_wire::trust::MAX_LANES);
}
