//! The directory of a cluster when others interfere with it.

use super::*;

#[test]
fn a_shared_directory_that_is_not_surely_ours_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let (uid, gid) = (geteuid(), nix::unistd::getegid());
    let open = root.path().join("open");
    fs::create_dir(&open).unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o755)).unwrap();
    let link = root.path().join("link");
    symlink(root.path(), &link).unwrap();
    for dir in [&open, &link] {
        let error = make_shared(dir, uid, gid).unwrap_err();
        assert!(matches!(error, EmbeddedError::Refused { .. }), "{error}");
    }
    make_shared(&root.path().join("new"), uid, gid).unwrap();
}

/// Only root gives anything away.
#[test]
fn nothing_is_given_away_that_is_not_the_clusters() {
    if !geteuid().is_root() {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let (uid, gid) = server_user().unwrap();
    let path = root.path().join("pg");
    make_private(&path).unwrap();
    own(&path, uid, gid).unwrap();
    let home = Home::of(path, uid, gid).unwrap();
    let secret = root.path().join("secret");
    fs::write(&secret, "").unwrap();
    fs::hard_link(&secret, home.path.join("same")).unwrap();
    symlink(&secret, home.path.join("link")).unwrap();
    symlink(root.path(), home.path.join("folder")).unwrap();
    // As one that the server's user has moved there.
    fs::write(home.path.join("full"), "secret").unwrap();
    mkfifoat(home.folder.as_file(), "pipe", Mode::S_IRWXU).unwrap();
    for name in ["same", "link", "full", "pipe"] {
        home.lock_file(name).unwrap_err();
    }
    own(&home.path.join("folder"), uid, gid).unwrap_err();
    for path in [secret, root.path().to_owned(), home.path.join("full")] {
        assert_eq!(fs::metadata(&path).unwrap().uid(), 0, "{}", path.display());
    }

    home.lock_file("lock").unwrap();
    home.make_pipe("held").unwrap();
    for name in [".", "lock", "held"] {
        let there = fs::symlink_metadata(home.path.join(name)).unwrap();
        assert_eq!(there.uid(), uid.as_raw(), "{name}");
    }
}

/// What root would follow or wait for.
#[test]
fn planted_files_in_the_cluster_are_reported_at_once() {
    let root = crate::trusted::test_directory();
    let home = Home::prepare(&root.path().join("pg")).unwrap();
    let secret = root.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    let data = home.path.join("data");
    fs::create_dir(&data).unwrap();
    own(&data, home.uid, home.gid).unwrap();
    let refused = |name: &str| {
        let error = home.read(name).unwrap_err();
        assert!(matches!(error, EmbeddedError::Untrusted(_)), "{error}");
    };
    for name in ["data/postmaster.pid", "data/PG_VERSION", "postgres.log"] {
        let path = home.path.join(name);
        assert_eq!(home.read(name).unwrap(), None);
        symlink(&secret, &path).unwrap();
        refused(name);
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
        refused(name);
        fs::remove_file(&path).unwrap();
    }
    fs::rename(&data, root.path().join("data")).unwrap();
    symlink(root.path().join("data"), &data).unwrap();
    refused("data/PG_VERSION");
    home.remove_data("postmaster.pid").unwrap_err();
    // A log is read from its end.
    fs::remove_file(&data).unwrap();
    fs::write(home.path.join("postgres.log"), "x".repeat(100_000) + "end").unwrap();
    let log = home.path.join("postgres.log");
    fchown(File::open(log).unwrap(), Some(home.uid.as_raw()), None).unwrap();
    let read = home.read("postgres.log").unwrap().unwrap();
    assert!(read.len() as u64 == LARGEST && read.ends_with(b"end"));
}

#[test]
fn a_deep_or_odd_directory_has_a_short_plain_socket() {
    use std::os::unix::ffi::OsStrExt;
    let root = tempfile::tempdir().unwrap();
    let long = "d".repeat(120);
    for name in [long.as_bytes(), b"a,b", b"a\nb", b"\xff", b"it's", b"\""] {
        let dir = root.path().join(OsStr::from_bytes(name));
        let home = Home::prepare(&dir).unwrap();
        let socket = home.socket_dir().unwrap();
        assert!(is_fit_for_socket(&socket), "{}", socket.display());
        assert_ne!(socket, home.path);
        fs::remove_dir(&socket).unwrap();
    }
    let plain = Home::prepare(&root.path().join("two words é")).unwrap();
    assert_eq!(plain.socket_dir().unwrap(), plain.path);
}
