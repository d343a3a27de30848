//! Nothing commands cursus that another user of the machine could have written, and nothing is left in what is another user's.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use cursus_simulator::Simulator;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::support::other_user::open_to_all;
use crate::support::running::until;
use crate::support::workdir::PIPELINE;
use crate::support::{OtherUser, Ran, Workdir, boxes, figures, page_requests, simulator};

/// What commands cursus, relative to a project.
const COMMANDING: [&str; 9] = [
    "",
    "pipeline.toml",
    ".env",
    "sql",
    "sql/users_campus.sql",
    "migrations",
    "migrations/mirror",
    "migrations/mirror/V1000__mine.sql",
    ".cursus",
];

/// Commands of every kind, whatever they would do.
const COMMANDS: [&[&str]; 22] = [
    &["extract"],
    &["load"],
    &["run"],
    &["watch", "--every", "1s", "--rounds", "1"],
    &["replay", "--rebuild"],
    &["plan"],
    &["status"],
    &["sql", "SELECT 1"],
    &["sql"],
    &["stage", "ls"],
    &["stage", "cat", "latest"],
    &["stage", "verify", "latest"],
    &["stage", "gc"],
    &["explain", "users", "1"],
    &["diff", "live", "latest"],
    &["quarantine", "ls"],
    &["prune", "ls"],
    &["doctor"],
    &["migrate"],
    &["token", "show"],
    &["token", "refresh"],
    &["load", "--dry-run"],
];

/// A project with all that can command cursus.
async fn project(simulator: &Simulator) -> Workdir {
    let workdir = Workdir::with(simulator).await;
    workdir.pipeline(&[]);
    workdir.write(".env", "# nothing\n");
    workdir.write(
        "sql/users_campus.sql",
        include_str!("../sql/users_campus.sql"),
    );
    workdir.write(
        "migrations/mirror/V1000__mine.sql",
        "CREATE TABLE mine (id bigint);",
    );
    workdir.write(".cursus/mine", "");
    workdir
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// The path as it is printed: without the slash at the end.
fn answer(workdir: &Workdir, name: &str) -> String {
    let path = if name.is_empty() {
        workdir.path("x").parent().unwrap().to_owned()
    } else {
        workdir.path(name)
    };
    path.display().to_string()
}

/// Everything under a directory: its owner, its mode, its length.
fn owners(root: &Path) -> BTreeMap<PathBuf, (u32, u32, u64)> {
    let entries = walkdir::WalkDir::new(root).into_iter().map(Result::unwrap);
    let state = |entry: walkdir::DirEntry| {
        let there = entry.metadata().unwrap();
        let length = if there.is_file() { there.len() } else { 0 };
        (entry.into_path(), (there.uid(), there.mode(), length))
    };
    entries.map(state).collect()
}

#[tokio::test]
async fn what_others_can_write_is_refused_with_its_chmod() {
    let simulator = simulator().await;
    let workdir = project(&simulator).await;
    let mut refused = 0;
    for name in COMMANDING {
        let path = workdir.path(name);
        let before = std::fs::metadata(&path).unwrap().mode() & 0o7777;
        for more in [0o020, 0o002, 0o022] {
            chmod(&path, before | more);
            let path = answer(&workdir, name);
            for command in [&["extract"][..], &["status"], &["stage", "ls"]] {
                let ran = workdir.cursus(command).await.exits(2);
                let sentence = format!("{path} is writable by ");
                let ran = ran.says(&sentence).says(&format!("`chmod go-w {path}`"));
                assert_eq!(ran.stderr.lines().count(), 1, "{ran}");
                refused += 1;
            }
        }
        chmod(&path, before);
    }
    figures::note("refusals of what others could have written", refused);
    assert_eq!(simulator.statistics().requests, 0);
    assert!(!workdir.path("staging").exists());
    workdir
        .cursus(["extract", "--select", "cursus"])
        .await
        .exits(0);
}

#[tokio::test]
async fn every_command_refuses_what_others_can_write() {
    let simulator = simulator().await;
    let workdir = project(&simulator).await;
    chmod(&workdir.path("pipeline.toml"), 0o666);
    let before = owners(&workdir.path(""));
    for command in COMMANDS {
        let ran = workdir.cursus(command).await.exits(2);
        ran.says("pipeline.toml is writable by its group and others");
    }
    assert_eq!(owners(&workdir.path("")), before);
    assert_eq!(simulator.statistics().requests, 0);
}

#[tokio::test]
async fn all_files_that_others_can_write_are_reported_at_once() {
    let simulator = simulator().await;
    let workdir = project(&simulator).await;
    let mut modes = Vec::new();
    for name in COMMANDING {
        let mode = std::fs::metadata(workdir.path(name)).unwrap().mode() & 0o7777;
        modes.push((name, mode));
        chmod(&workdir.path(name), mode | 0o020);
    }
    let ran = workdir.cursus(["load"]).await.exits(2);
    for name in COMMANDING {
        let sentence = format!("{} is writable by its group", answer(&workdir, name));
        assert!(ran.stderr.contains(&sentence), "{name}: {ran}");
    }
    // The last line mends all of it.
    let (_, command) = ran.stderr.trim_end().rsplit_once("all at once: `").unwrap();
    let status = std::process::Command::new("sh")
        .args(["-c", command.trim_end_matches('`')])
        .status();
    assert!(status.unwrap().success());
    for (name, mode) in modes {
        let now = std::fs::metadata(workdir.path(name)).unwrap().mode() & 0o7777;
        assert_eq!(now, mode, "{name}");
    }
    workdir.cursus(["stage", "ls"]).await.exits(0);
}

#[tokio::test]
async fn links_and_pipes_are_refused_by_name_at_once() {
    let simulator = simulator().await;
    let workdir = project(&simulator).await;
    for name in COMMANDING.iter().filter(|name| !name.is_empty()) {
        let path = workdir.path(name);
        let aside = workdir.path("aside");
        std::fs::rename(&path, &aside).unwrap();
        let says = async |what: &str| {
            let ran = workdir.cursus(["extract"]).await.exits(2);
            ran.says(&format!("{} is {what}", path.display()));
        };
        symlink(&aside, &path).unwrap();
        says("a symbolic link").await;
        std::fs::remove_file(&path).unwrap();
        symlink(workdir.path("nowhere"), &path).unwrap();
        says("a symbolic link").await;
        std::fs::remove_file(&path).unwrap();
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        says("a pipe").await;
        std::fs::remove_file(&path).unwrap();
        std::fs::rename(&aside, &path).unwrap();
    }
    assert_eq!(simulator.statistics().requests, 0);
    // A configuration that is named is no other.
    symlink(workdir.path("pipeline.toml"), workdir.path("link.toml")).unwrap();
    let ran = workdir.cursus(["plan", "--config", "link.toml"]).await;
    ran.exits(2).says("link.toml is a symbolic link");
    // The way to a project may have links in it.
    let way = workdir.path("aside");
    symlink(workdir.path(""), &way).unwrap();
    let ran = workdir
        .cursus(["stage", "ls", "--config", "aside/pipeline.toml"])
        .await;
    ran.exits(0);
}

#[tokio::test]
async fn what_another_user_owns_commands_nothing() {
    let Some(other) = OtherUser::find(COMMANDING.len()) else {
        return;
    };
    let simulator = simulator().await;
    let workdir = project(&simulator).await;
    for name in COMMANDING {
        let path = workdir.path(name);
        other.give(&path);
        let ran = workdir.cursus(["run"]).await.exits(2);
        let sentence = format!("{} belongs to {}: ", answer(&workdir, name), other.name());
        let ran = ran.says(&sentence);
        assert!(
            ran.stderr
                .contains(&format!("`sudo -u {} cursus …`", other.name())),
            "{ran}"
        );
        other.take_back(&path);
    }
    assert_eq!(simulator.statistics().requests, 0);
    assert!(!workdir.path("staging").exists());
}

#[tokio::test]
async fn root_leaves_nothing_in_another_users_project() {
    let Some(other) = OtherUser::find(COMMANDS.len()) else {
        return;
    };
    let simulator = simulator().await;
    let workdir = project(&simulator).await;
    open_to_all(&workdir.path(""));
    other.give_all(&workdir.path(""));
    other
        .cursus(&workdir, &["extract", "--select", "cursus"])
        .await
        .exits(0);
    let before = owners(&workdir.path(""));
    let requests = simulator.statistics().requests;
    let refused = |ran: Ran| {
        let sentence = format!("belongs to {}: ", other.name());
        ran.exits(2).says(&sentence).says("`sudo -u ");
    };
    for command in COMMANDS.iter().copied().chain([
        &["init"][..],
        &["init", "--force"],
        &["demo", "--dir", "."],
    ]) {
        refused(workdir.cursus(command).await);
        assert_eq!(owners(&workdir.path("")), before, "{command:?}");
    }
    // A staging directory that is named is no other.
    let elsewhere = Workdir::with(&simulator).await;
    let staging = workdir.path("staging").display().to_string();
    for command in [&["stage", "ls"][..], &["extract"]] {
        let command = [command, &["--staging", &staging]].concat();
        refused(elsewhere.cursus(&command).await);
    }
    assert_eq!(owners(&workdir.path("")), before);
    assert_eq!(simulator.statistics().requests, requests);
    other
        .cursus(&workdir, &["extract", "--select", "cursus", "--force"])
        .await
        .exits(0);
}

/// As below /etc, for a service.
#[tokio::test]
async fn a_configuration_of_root_serves_another_user() {
    let Some(other) = OtherUser::find(2) else {
        return;
    };
    let simulator = simulator().await;
    let workdir = project(&simulator).await;
    std::fs::remove_dir_all(workdir.path(".cursus")).unwrap();
    open_to_all(&workdir.path(""));
    for name in ["staging", ".state"] {
        std::fs::create_dir(workdir.path(name)).unwrap();
        other.give(&workdir.path(name));
    }
    let extract = ["extract", "--select", "cursus"];
    other.cursus(&workdir, &extract).await.exits(0);
    // What an earlier version has left there as root.
    std::fs::create_dir(workdir.path(".cursus")).unwrap();
    let ran = other.cursus(&workdir, &extract).await.exits(2);
    ran.says(".cursus belongs to root: ")
        .says("`sudo chown -R ");
    std::fs::remove_dir(workdir.path(".cursus")).unwrap();
    other.take_back(&workdir.path("staging"));
    let ran = other.cursus(&workdir, &extract).await.exits(2);
    ran.says("staging belongs to root: ");
    // Its lock file alone.
    other.give(&workdir.path("staging"));
    other.take_back(&workdir.path("staging/.lock"));
    let ran = other.cursus(&workdir, &extract).await.exits(1);
    ran.says("staging/.lock belongs to root: ")
        .says("`sudo chown -R ");
}

/// The user of root's private PostgreSQL, or a program of that user's.
#[tokio::test]
async fn what_the_servers_user_plants_stops_root_at_once() {
    if OtherUser::find(4).is_none() {
        return;
    }
    let mut workdir = Workdir::new().await;
    open_to_all(&workdir.path(""));
    workdir.unset("CURSUS_DATABASE_URL");
    workdir.pipeline(&[]);
    workdir.cursus(["migrate"]).await.exits(0);
    let pid_file = workdir.path(".cursus/pg/data/postmaster.pid");
    until("the server has stopped", async || !pid_file.exists()).await;
    for name in ["data/postmaster.pid", "data/PG_VERSION", "lock", "running"] {
        let path = workdir.path(".cursus/pg").join(name);
        let aside = workdir.path("aside");
        let is_there = path.exists();
        if is_there {
            std::fs::rename(&path, &aside).unwrap();
        }
        for plant in [
            |path: &Path| mkfifo(path, Mode::S_IRWXU).unwrap(),
            |path: &Path| symlink("/etc/passwd", path).unwrap(),
        ] {
            let _ = std::fs::remove_file(&path);
            plant(&path);
            let began = std::time::Instant::now();
            let ran = workdir.cursus(["migrate"]).await.exits(1);
            assert!(ran.stderr.contains(name), "{ran}");
            assert!(began.elapsed().as_secs() < 60, "{name}: it waited");
        }
        std::fs::remove_file(&path).unwrap();
        if is_there {
            std::fs::rename(&aside, &path).unwrap();
        }
    }
    workdir.cursus(["migrate"]).await.exits(0);
}

#[tokio::test]
async fn a_run_of_another_user_is_refused() {
    let Some(other) = OtherUser::find(3) else {
        return;
    };
    let workdir = boxes::with_empty_database().await;
    boxes::stage(&workdir, &[boxes::full("boxes", boxes::boxes(1..=3))]);
    workdir.json(["load"]).await;
    let directory = workdir.run_directory();
    let record = directory.join("run.json");
    let page = directory.join("boxes/page-00001.json.gz");
    for (path, command) in [
        (&directory, &["load", "--again"][..]),
        (&record, &["stage", "ls"]),
        (&page, &["stage", "cat", "latest", "boxes"]),
    ] {
        other.give(path);
        let ran = workdir.cursus(command).await.exits(1);
        ran.says(&format!("{} belongs to {}", path.display(), other.name()));
        other.take_back(path);
        workdir.cursus(command).await.exits(0);
    }
    // A run that is named lies nowhere of theirs.
    let elsewhere = boxes::with_empty_database().await;
    other.give_all(&directory);
    let ran = elsewhere
        .cursus(["stage", "verify", &directory.display().to_string()])
        .await;
    ran.exits(1).says("belongs to");
}

/// The literal value is a wrong secret.
#[tokio::test]
async fn no_variable_is_put_into_dotenv() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    workdir.pipeline(&[]);
    workdir.unset("CURSUS_CLIENT_SECRET");
    let secret = simulator.client_secret().to_owned();
    workdir.set("CANARY", &secret);
    let extract = ["extract", "--select", "cursus"];
    for value in [
        "${CANARY}",
        "$CANARY",
        "\"${CANARY}\"",
        "'$CANARY'",
        "$(printenv CANARY)",
    ] {
        workdir.write(".env", format!("CURSUS_CLIENT_SECRET={value}\n"));
        let ran = workdir.cursus(extract).await.exits(1);
        ran.says("invalid_client");
    }
    for value in [
        secret.clone(),
        format!("'{secret}'  # mine"),
        format!(" \"{secret}\"\r"),
    ] {
        workdir.write(
            ".env",
            format!("\u{feff}export CURSUS_CLIENT_SECRET={value}\n"),
        );
        let extract = ["extract", "--select", "cursus", "--force"];
        workdir.cursus(extract).await.exits(0);
    }
}

#[tokio::test]
async fn faults_of_dotenv_and_configuration_come_at_once() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let canary = "s-s4t2ud-canary";
    let mut dotenv =
        format!("# fine\nA='{canary}\nB=\"{canary}\\x\"\n{canary}\nC={canary}\nC={canary}\nD=")
            .into_bytes();
    dotenv.extend(b"\xff\nE=1\n");
    workdir.write(".env", &dotenv);
    let lines = [2, 3, 4, 6, 7];
    for configuration in [PIPELINE.to_owned(), "version = 2\n".to_owned()] {
        let is_fine = configuration == PIPELINE;
        workdir.write("pipeline.toml", configuration);
        let ran = workdir.cursus(["plan", "--offline"]).await.exits(2);
        for line in lines {
            assert!(
                ran.stderr.contains(&format!("/.env:{line}: ")),
                "{line}: {ran}"
            );
        }
        assert!(!ran.stderr.contains("canary"), "{ran}");
        assert_eq!(ran.stderr.contains("/pipeline.toml:1: "), !is_fine, "{ran}");
    }
}

#[tokio::test]
async fn init_writes_through_no_link_and_closes_its_directory() {
    let workdir = Workdir::new().await;
    workdir.write("victim", "mine");
    for name in ["pipeline.toml", ".env", ".gitignore"] {
        symlink(workdir.path("victim"), workdir.path(name)).unwrap();
    }
    std::fs::hard_link(workdir.path("victim"), workdir.path("second")).unwrap();
    chmod(&workdir.path(""), 0o775);
    workdir.cursus(["init"]).await.exits(0);
    assert!(workdir.path("pipeline.toml").is_symlink());
    let ran = workdir.cursus(["init", "--force"]).await.exits(0);
    assert!(ran.stdout.contains("wrote pipeline.toml"), "{ran}");
    assert_eq!(
        std::fs::read_to_string(workdir.path("victim")).unwrap(),
        "mine"
    );
    assert_eq!(
        std::fs::read_to_string(workdir.path("pipeline.toml")).unwrap(),
        PIPELINE
    );
    assert!(!workdir.path("pipeline.toml").is_symlink());
    // Also a second name of another file.
    std::fs::remove_file(workdir.path("pipeline.toml")).unwrap();
    std::fs::hard_link(workdir.path("victim"), workdir.path("pipeline.toml")).unwrap();
    workdir.cursus(["init", "--force"]).await.exits(0);
    assert_eq!(
        std::fs::read_to_string(workdir.path("second")).unwrap(),
        "mine"
    );

    for mode in [0o775, 0o777, 0o757] {
        let folder = workdir.path("new");
        std::fs::create_dir(&folder).unwrap();
        chmod(&folder, mode);
        let mut command = workdir.command(["init"]);
        let output = command.current_dir(&folder).output().await.unwrap();
        assert!(output.status.success());
        assert_eq!(std::fs::metadata(&folder).unwrap().mode() & 0o777, 0o755);
        let mut command = workdir.command(["stage", "ls"]);
        let output = command.current_dir(&folder).output().await.unwrap();
        assert!(output.status.success(), "what it made works");
        std::fs::remove_dir_all(&folder).unwrap();
    }
    let shared = workdir.path("shared");
    std::fs::create_dir(&shared).unwrap();
    chmod(&shared, 0o1777);
    let output = workdir
        .command(["init"])
        .current_dir(&shared)
        .output()
        .await
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(std::fs::read_dir(&shared).unwrap().count(), 0);
}

#[tokio::test]
async fn what_init_makes_under_any_umask_is_trusted() {
    let workdir = Workdir::new().await;
    for umask in ["000", "002", "022", "077"] {
        let folder = workdir.path(umask);
        let made = workdir
            .cursus_after(
                &format!("umask {umask}; mkdir {umask}; cd {umask}"),
                ["init"],
            )
            .await;
        made.exits(0);
        let output = workdir
            .command(["stage", "ls"])
            .current_dir(&folder)
            .output()
            .await;
        assert_eq!(output.unwrap().status.code(), Some(0), "{umask}");
    }
}

#[tokio::test]
async fn a_demonstration_works_in_no_directory_of_others() {
    let workdir = Workdir::new().await;
    let demo = async |dir: &str| workdir.cursus(["demo", "--dir", dir]).await.exits(2);
    for mode in [0o777, 0o775, 0o1777] {
        let open = workdir.path("open");
        std::fs::create_dir_all(&open).unwrap();
        chmod(&open, mode);
        demo("open").await;
        assert_eq!(std::fs::read_dir(&open).unwrap().count(), 0, "{mode:o}");
    }
    workdir.write("mine/file", "");
    demo("mine")
        .await
        .says("mine is not empty and not from an earlier demo");
    symlink(workdir.path("mine"), workdir.path("link")).unwrap();
    demo("link").await.says("link is a symbolic link");
    mkfifo(&workdir.path("pipe"), Mode::S_IRWXU).unwrap();
    demo("pipe").await.says("pipe is a pipe");
    // The marker of an earlier one is a file that it has written.
    std::fs::create_dir(workdir.path("marked")).unwrap();
    symlink(
        workdir.path("mine/file"),
        workdir.path("marked/.cursus-demo"),
    )
    .unwrap();
    demo("marked").await.says(".cursus-demo is a symbolic link");
    let Some(other) = OtherUser::find(1) else {
        return;
    };
    std::fs::create_dir(workdir.path("theirs")).unwrap();
    other.give(&workdir.path("theirs"));
    demo("theirs")
        .await
        .says(&format!("theirs belongs to {}", other.name()));
    assert_eq!(
        std::fs::read_dir(workdir.path("theirs")).unwrap().count(),
        0
    );
}

/// As unpacked from an archive of somebody else's: it belongs to the caller.
#[tokio::test]
async fn a_prepared_demonstration_runs_nothing_of_it() {
    let workdir = Workdir::new().await;
    let evil = "SELECT evil FROM nowhere";
    workdir.write("prepared/.cursus-demo", "1:2\n");
    workdir.write("prepared/migrations/mirror/V1000__evil.sql", evil);
    workdir.write("prepared/sql/users_campus.sql", evil);
    workdir.write("prepared/sql/campus_achievements.sql", evil);
    workdir.write("prepared/.env", "no line of it is read\n");
    workdir.write("prepared/.cursus/pg/data/PG_VERSION", "15\n");
    workdir.write("prepared/.cursus/pg/data/postgresql.conf", "evil\n");
    workdir.write("victim/staged", "mine");
    workdir.write("victim.toml", "mine");
    symlink(workdir.path("victim"), workdir.path("prepared/staging")).unwrap();
    symlink(
        workdir.path("victim.toml"),
        workdir.path("prepared/pipeline.toml"),
    )
    .unwrap();
    for _ in 0..2 {
        workdir.cursus(["demo", "--dir", "prepared"]).await.exits(0);
        assert_eq!(
            std::fs::read_to_string(workdir.path("victim/staged")).unwrap(),
            "mine"
        );
        assert_eq!(
            std::fs::read_to_string(workdir.path("victim.toml")).unwrap(),
            "mine"
        );
        assert_eq!(
            std::fs::read_to_string(workdir.path("prepared/.env")).unwrap(),
            "no line of it is read\n"
        );
    }
}

#[tokio::test]
async fn a_ledger_that_another_could_write_is_refused() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let extract = ["extract", "--select", "cursus", "--force"];
    workdir.cursus(extract).await.exits(0);
    let folder = workdir.path(".state/cursus/hits");
    let entry = std::fs::read_dir(&folder).unwrap().next().unwrap().unwrap();
    let ledger = entry.path();
    let seen = page_requests(&simulator);
    let refused = async |what: &str| {
        let ran = workdir.cursus(extract).await.exits(1);
        ran.says("the ledger of API requests is not used")
            .says(what);
    };
    for mode in [0o620, 0o602, 0o666] {
        chmod(&ledger, mode);
        refused("is writable by ").await;
        chmod(&ledger, 0o600);
    }
    for mode in [0o770, 0o777] {
        chmod(&folder, mode);
        refused("hits is writable by ").await;
        chmod(&folder, 0o700);
    }
    let aside = workdir.path("aside");
    std::fs::rename(&ledger, &aside).unwrap();
    symlink(&aside, &ledger).unwrap();
    refused("is a symbolic link").await;
    std::fs::remove_file(&ledger).unwrap();
    mkfifo(&ledger, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    refused("is a pipe").await;
    std::fs::remove_file(&ledger).unwrap();
    assert_eq!(page_requests(&simulator), seen);
    workdir.cursus(extract).await.exits(0);
}
