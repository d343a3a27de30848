//! Machines without a home, directories with odd names, and directories without a project: it works, or a sentence says at once why not.

use std::ffi::{OsStr, OsString};
use std::fs::Permissions;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use clap::CommandFactory as _;
use cursus::cli::Cli;
use nix::unistd::Uid;
use tempfile::TempDir;

use crate::secrets::{arguments, leaves};
use crate::support::other_user::open_to_all;
use crate::support::workdir::PATIENCE;
use crate::support::{OtherUser, Ran, SCALE, Workdir, page_requests, simulator};

const COUNTED: &str = "requests are counted in ";

/// Whether requests were counted in the project.
fn counts_in_project(workdir: &Workdir) -> bool {
    let names = std::fs::read_dir(workdir.path(".cursus"))
        .into_iter()
        .flatten()
        .flatten();
    let mut names = names.map(|entry| entry.file_name());
    names.any(|name| name.to_string_lossy().starts_with("hits-"))
}

#[tokio::test]
async fn without_a_home_requests_are_counted_in_the_project() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    workdir.pipeline(&[("min_age = \"20h\"", "min_age = \"0s\"")]);
    workdir.unset("XDG_STATE_HOME");
    workdir.write("file", "");
    let homes = ["/", "/nonexistent", "file", "/proc"].map(OsString::from);
    for home in homes {
        workdir.set("HOME", &home);
        let two = [
            "watch", "--every", "10ms", "--rounds", "2", "--select", "cursus",
        ];
        let ran = workdir.cursus(two).await.exits(0);
        let home = home.display();
        assert_eq!(ran.stderr.matches(COUNTED).count(), 1, "{home}: {ran}");
        assert!(counts_in_project(&workdir), "{home}");
        assert!(!Path::new("/.local/state/cursus").exists(), "{home}");
        std::fs::remove_dir_all(workdir.path(".cursus")).unwrap();
    }
    // A home of one's own needs none.
    workdir.set("HOME", workdir.path(""));
    let ran = workdir
        .cursus(["extract", "--select", "cursus", "--force"])
        .await
        .exits(0);
    assert!(!ran.stderr.contains(COUNTED), "{ran}");
    assert!(!counts_in_project(&workdir));
    assert!(workdir.path(".local/state/cursus/hits").exists());
}

#[tokio::test]
async fn a_system_user_without_a_home_works() {
    let Some(other) = OtherUser::find(4) else {
        return;
    };
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    workdir.unset("XDG_STATE_HOME");
    open_to_all(&workdir.path(""));
    other.give_all(&workdir.path(""));
    let theirs = workdir.path("theirs");
    std::fs::create_dir(&theirs).unwrap();
    for home in [
        None,
        Some(OsStr::new("")),
        Some(OsStr::new("/root")),
        Some(theirs.as_os_str()),
    ] {
        match home {
            Some(home) => workdir.set("HOME", home),
            None => workdir.unset("HOME"),
        }
        let extract = ["extract", "--select", "cursus", "--force"];
        let ran = other.cursus(&workdir, &extract).await.exits(0);
        assert_eq!(ran.stderr.matches(COUNTED).count(), 1, "{home:?}: {ran}");
        assert!(counts_in_project(&workdir), "{home:?}");
    }
}

/// `sudo` that keeps the home of its caller.
#[tokio::test]
async fn root_leaves_nothing_in_the_home_of_another_user() {
    let Some(other) = OtherUser::find(2) else {
        return;
    };
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    workdir.unset("XDG_STATE_HOME");
    let home = workdir.path("home");
    std::fs::create_dir(&home).unwrap();
    other.give(&home);
    workdir.set("HOME", &home);
    let extract = ["extract", "--select", "cursus"];
    let ran = workdir.cursus(extract).await.exits(0);
    assert!(ran.stderr.contains(COUNTED), "{ran}");
    workdir.cursus(["demo"]).await.exits(2).says("--dir DIR");
    assert_eq!(std::fs::read_dir(&home).unwrap().count(), 0);
}

/// Runs the binary in a directory below that of the test, with the private PostgreSQL.
async fn within(workdir: &Workdir, folder: &OsStr, arguments: &[&str]) -> Ran {
    let mut command = workdir.command(arguments);
    command.current_dir(workdir.path(folder));
    command.env_remove("CURSUS_DATABASE_URL");
    Ran::of(command, arguments).await
}

#[tokio::test]
async fn directories_with_odd_names_work() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    open_to_all(&workdir.path(""));
    let long = "d".repeat(200);
    for (name, temporary) in [
        (
            OsStr::from_bytes(b"two\nlines, a \xff, 'quotes' and \"more\""),
            None,
        ),
        (OsStr::new(&long), Some(OsStr::from_bytes(b"t\n\xff"))),
    ] {
        let folder = workdir.path(name);
        std::fs::create_dir(&folder).unwrap();
        open_to_all(&folder);
        if let Some(temporary) = temporary {
            std::fs::create_dir(workdir.path(temporary)).unwrap();
            let path = workdir.path(temporary);
            workdir.set("TMPDIR", path);
        }
        within(&workdir, name, &["init"]).await.exits(0);
        let run = ["run", "--select", "cursus"];
        within(&workdir, name, &run).await.exits(0);
        // Until then the server would be started for each command.
        let mut sleep = workdir.command(["sql", "SELECT pg_sleep(3600)"]);
        sleep.current_dir(&folder).stderr(Stdio::null());
        sleep.env_remove("CURSUS_DATABASE_URL");
        let _held = sleep.spawn().unwrap();
        for command in [&run[..], &["status"], &["stage", "ls"]] {
            within(&workdir, name, command).await.exits(0);
            let json = [command, &["--json"]].concat();
            within(&workdir, name, &json).await.exits(0).json();
        }
        let rows = within(
            &workdir,
            name,
            &["sql", "--csv", "SELECT count(*) FROM cursus"],
        )
        .await;
        let count = SCALE.cursus.to_string();
        assert!(rows.exits(0).stdout.contains(&count));
        within(&workdir, name, &["doctor"]).await.exits(0);
    }
}

#[tokio::test]
async fn who_only_looks_makes_no_private_cluster() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    workdir.unset("CURSUS_DATABASE_URL");
    let nothing = "nothing has been loaded here";
    for (command, code) in [
        (&["sql", "SELECT 1"][..], 1),
        (&["sql"], 1),
        (&["explain", "users", "1"], 1),
        (&["diff", "live", "past"], 1),
        (&["prune", "ls"], 1),
        (&["quarantine", "ls"], 1),
        (&["quarantine", "show", "1"], 1),
        (&["quarantine", "drop", "1"], 1),
        (&["status"], 0),
        (&["stage", "ls"], 0),
        (&["plan", "--offline"], 0),
        (&["doctor"], 0),
    ] {
        let ran = workdir.cursus(command).await.exits(code);
        if code != 0 {
            let ran = ran.says(nothing).says("`cursus run` makes and fills it");
            ran.says("`cursus init`");
        }
        assert!(!workdir.path(".cursus/pg").exists(), "{command:?}");
    }
    let status = workdir.cursus(["status"]).await;
    assert!(
        status.stdout.contains("nothing was ever loaded there"),
        "{status}"
    );
    status.says("`cursus init`");
    workdir.pipeline(&[]);
    let ran = workdir
        .cursus(["sql", "SELECT 1"])
        .await
        .exits(1)
        .says(nothing);
    assert!(
        !ran.stderr.contains("cursus init"),
        "there is a project: {ran}"
    );
}

#[tokio::test]
async fn a_project_is_found_from_the_directories_below_it() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.pipeline(&[]);
    workdir.write("a/b/file", "");
    let below = async |arguments: &[&str]| {
        let mut command = workdir.command(arguments);
        command.current_dir(workdir.path("a/b"));
        Ran::of(command, arguments).await
    };
    below(&["extract", "--select", "cursus"]).await.exits(0);
    assert!(workdir.path("staging").exists() && workdir.path(".cursus").exists());
    let here = workdir.json(["stage", "ls"]).await;
    let there = below(&["stage", "ls", "--json"]).await.exits(0).json();
    assert_eq!(there, here);
    let names = |folder: &str| std::fs::read_dir(workdir.path(folder)).unwrap().count();
    assert_eq!(
        (names("a"), names("a/b")),
        (1, 1),
        "nothing is written below"
    );
    // What was found is judged like any other.
    let seen = page_requests(&simulator);
    let path = workdir.path("pipeline.toml");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o664)).unwrap();
    let ran = below(&["extract", "--force"]).await.exits(2);
    ran.says(&format!("`chmod go-w {}`", path.display()));
    assert_eq!(page_requests(&simulator), seen);
    // Nobody is stopped by what somebody puts into a directory for everybody.
    let everybody = std::fs::Permissions::from_mode(0o1777);
    std::fs::set_permissions(workdir.path(""), everybody).unwrap();
    below(&["stage", "ls"]).await.exits(0);
    std::fs::set_permissions(workdir.path(""), std::fs::Permissions::from_mode(0o700)).unwrap();
    // The nearest one counts, and one that is named before all.
    workdir.write("a/b/pipeline.toml", "version = 2\n");
    below(&["stage", "ls"])
        .await
        .exits(2)
        .says("a/b/pipeline.toml:1:");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let named = below(&["stage", "ls", "--config", "../../pipeline.toml"]).await;
    named.exits(0);
}

/// The binary alone: no user of this number, no home, no certificates, no device, nothing that may be written.
#[tokio::test]
#[expect(clippy::print_stderr, reason = "for readers of the tests' output")]
async fn every_command_answers_in_a_root_with_nothing_in_it() {
    if !Uid::effective().is_root() {
        eprintln!("skipped: only root can go to another root");
        return;
    }
    let mut found = Vec::new();
    leaves(&Cli::command(), "", &mut found);
    let root = TempDir::new().unwrap();
    std::fs::set_permissions(root.path(), Permissions::from_mode(0o755)).unwrap();
    let binary = env!("CARGO_BIN_EXE_cursus");
    let linked = std::process::Command::new("ldd").arg(binary).output();
    let linked = String::from_utf8(linked.unwrap().stdout).unwrap();
    let libraries = linked
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    for file in libraries.chain([binary]) {
        let to = match file {
            file if file == binary => root.path().join("cursus"),
            library => root.path().join(library.trim_start_matches('/')),
        };
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(file, to).unwrap();
    }
    for leaf in &found {
        // They serve until they are stopped.
        if matches!(leaf.as_str(), "simulate" | "serve") {
            continue;
        }
        let typed = arguments(leaf, "1", "1");
        let mut command = tokio::process::Command::new("chroot");
        command.arg("--userspec=4242:4242").arg(root.path());
        command.arg("/cursus").args(typed).env_clear();
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        let ran = tokio::time::timeout(PATIENCE, command.stdin(Stdio::null()).output()).await;
        let ran = ran.expect("it does not end").unwrap();
        let said = [&ran.stdout[..], &ran.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(ran.status.code().is_some(), "{leaf}: {ran:?}");
        assert!(
            !said.is_empty(),
            "{leaf} ends with {} and says nothing",
            ran.status
        );
        assert!(!said.contains("a fault in cursus"), "{leaf}: {said}");
    }
}
