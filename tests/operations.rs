//! What an operator does: units, users and rights, backup and restore, another server. docs/operations.md has each of these as a
//! procedure.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use cursus_simulator::Simulator;
use nix::sys::signal::Signal;
use tokio_postgres::{Client, NoTls};

use crate::support::other_user::open_to_all;
use crate::support::running::until;
use crate::support::workdir::{copy_all, url_at};
use crate::support::{
    OtherUser, Ran, Running, Template, Workdir, files, oracle, simulator, testing,
};

const URL: &str = "CURSUS_DATABASE_URL";
const DAY: Duration = Duration::from_hours(25);

const MANUAL: &str = include_str!("../docs/operations.md");

const UNITS: [&str; 7] = [
    "cursus-metrics.service",
    "cursus-metrics.timer",
    "cursus-notify@.service",
    "cursus-run.service",
    "cursus-run.timer",
    "cursus-serve.service",
    "cursus-watch.service",
];

/// Names that mean something to systemd, to a shell or to nobody.
const ODD_NAMES: [&str; 12] = [
    "two words",
    "50% off %h",
    "$HOME ${HOME} $$",
    "it's",
    "\"quoted\"",
    "back\\slash \\x41",
    "ends in \\",
    "ends in a space ",
    " begins with one",
    "ünïcödé 学校",
    "a;b #c",
    "-begins with a dash",
];

/// Fails unless systemd takes the units of a directory; true if it could be asked.
#[track_caller]
fn verified(units: &Path) -> bool {
    let mut files: Vec<PathBuf> = std::fs::read_dir(units)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no"]).args(files);
    let Ok(output) = verify.env("SYSTEMD_LOG_LEVEL", "warning").output() else {
        return false;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
    true
}

fn unit(directory: &Path, name: &str) -> String {
    std::fs::read_to_string(directory.join(name)).unwrap()
}

/// The value of a key that a unit has once.
#[track_caller]
fn value<'u>(unit: &'u str, key: &str) -> &'u str {
    let mut values = unit
        .lines()
        .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let value = values.next();
    assert!(value.is_some() && values.next().is_none(), "{key}: {unit}");
    value.unwrap()
}

#[tokio::test]
async fn units_are_written_once_and_kept() {
    let workdir = Workdir::new().await;
    let arguments = ["init", "--systemd", "etc/units"];
    let first = workdir.cursus(arguments).await.exits(0);
    let units = workdir.path("etc/units");
    for name in UNITS {
        assert!(
            first.stdout.contains(&format!("wrote etc/units/{name}\n")),
            "{first}"
        );
        let mode = std::fs::metadata(units.join(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o644, "{name}");
    }
    assert!(
        first.stdout.contains("enable --now cursus-run.timer"),
        "{first}"
    );
    assert!(
        first
            .stdout
            .contains("/etc/units/cursus-* /etc/systemd/system/"),
        "{first}"
    );
    let run = unit(&units, "cursus-run.service");
    assert_eq!(
        value(&run, "WorkingDirectory"),
        workdir.path("").to_str().unwrap().trim_end_matches('/')
    );
    assert_eq!(
        value(&run, "ExecStart"),
        format!(":{} run -q --wait-lock 1h", env!("CARGO_BIN_EXE_cursus"))
    );
    verified(&units);

    workdir.write("etc/units/cursus-run.timer", "[Timer]\nOnCalendar=hourly\n");
    let again = workdir
        .cursus(["init", "--systemd", "etc/units", "--force"])
        .await
        .exits(0);
    assert!(again.stdout.contains("wrote pipeline.toml"), "{again}");
    assert!(
        again
            .stdout
            .contains("kept  etc/units/cursus-run.service (it exists)"),
        "{again}"
    );
    let differs = "kept  etc/units/cursus-run.timer (it exists and differs; remove it, and";
    assert!(again.stdout.contains(differs), "{again}");
    assert_eq!(
        unit(&units, "cursus-run.timer"),
        "[Timer]\nOnCalendar=hourly\n"
    );
    let json = workdir.json(arguments).await;
    assert_eq!(json["written"], serde_json::json!([]));
    assert_eq!(
        json["differing"],
        serde_json::json!(["etc/units/cursus-run.timer"])
    );
}

/// With a binary and a project of these names, as a user without rights where one can be had.
#[tokio::test]
async fn units_name_odd_directories_as_systemd_reads_them() {
    let other = OtherUser::find(ODD_NAMES.len());
    let workdir = Workdir::new().await;
    open_to_all(&workdir.path(""));
    for name in ODD_NAMES {
        let folder = workdir.path(name);
        let binary = folder.join("bin 1/cursus");
        std::fs::create_dir_all(binary.parent().unwrap()).unwrap();
        std::fs::hard_link(env!("CARGO_BIN_EXE_cursus"), &binary)
            .or_else(|_| std::fs::copy(env!("CARGO_BIN_EXE_cursus"), &binary).map(drop))
            .unwrap();
        let project = folder.join(name);
        std::fs::create_dir(&project).unwrap();
        let arguments = ["init", "--systemd", "units"];
        let mut command = workdir.command_of(&binary, arguments);
        command.current_dir(&project);
        if let Some(other) = &other {
            other.give_all(&project);
            command.uid(65_534).gid(65_534);
        }
        Ran::of(command, &arguments).await.exits(0);
        let units = project.join("units");
        verified(&units);
        for service in UNITS.iter().filter(|unit| unit.ends_with(".service")) {
            let unit = unit(&units, service);
            let directory = value(&unit, "WorkingDirectory").replace("%%", "%");
            assert_eq!(directory.trim_end_matches('/'), project.to_str().unwrap());
            assert!(!directory.ends_with([' ', '\\']), "{directory:?}");
        }
        // The program of a unit that systemd takes is there: it looks.
        let run = unit(&units, "cursus-run.service");
        std::fs::remove_file(&binary).unwrap();
        let is_direct = !value(&run, "ExecStart").starts_with(":/bin/sh ");
        let output = Command::new("systemd-analyze")
            .args(["verify", "--man=no"])
            .arg(units.join("cursus-run.service"))
            .output();
        if let Ok(output) = output {
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(
                said.contains("is not executable"),
                is_direct,
                "{name}: {said}"
            );
        }
    }
}

#[tokio::test]
async fn what_no_unit_can_name_is_refused_before_a_write() {
    let workdir = Workdir::new().await;
    for name in [&b"two\nlines"[..], b"tab\t", b"\xff", b"\x1b[1m"] {
        let project = workdir.path(OsStr::from_bytes(name));
        std::fs::create_dir(&project).unwrap();
        let arguments = ["init", "--systemd", "units"];
        let mut command = workdir.command(arguments);
        command.current_dir(&project);
        let ran = Ran::of(command, &arguments).await.exits(2);
        ran.says("no systemd unit can name ")
            .says("give it another name");
        assert_eq!(std::fs::read_dir(&project).unwrap().count(), 0);
    }
    for arguments in [
        &["init", "--user"][..],
        &["init", "--name", "lyon"],
        &["init", "--systemd", "units", "--name", "a/b"],
        &["init", "--systemd", "units", "--name", ""],
        &["init", "--systemd", "units", "--name", "a-b"],
    ] {
        workdir.cursus(arguments).await.exits(2);
    }
    assert!(!workdir.path("pipeline.toml").exists());
    workdir.write("occupied", "");
    let ran = workdir
        .cursus(["init", "--systemd", "occupied/units"])
        .await
        .exits(1);
    ran.says("cannot write ");
}

#[tokio::test]
async fn units_of_a_user_ask_for_no_rights() {
    let workdir = Workdir::new().await;
    let arguments = ["init", "--systemd", "units", "--user", "--name", "lyon"];
    let ran = workdir.cursus(arguments).await.exits(0);
    assert!(
        ran.stdout
            .contains("systemctl --user enable --now cursus-lyon-run.timer"),
        "{ran}"
    );
    let units = workdir.path("units");
    verified(&units);
    let watch = unit(&units, "cursus-lyon-watch.service");
    assert_eq!(value(&watch, "WantedBy"), "default.target");
    assert_eq!(value(&watch, "OnFailure"), "cursus-lyon-notify@%n.service");
    for key in [
        "User=",
        "Protect",
        "Private",
        "ReadWritePaths=",
        "Capability",
    ] {
        assert!(!watch.lines().any(|line| line.starts_with(key)), "{watch}");
    }
}

/// Under the restrictions everything else is read-only.
#[tokio::test]
async fn units_may_write_to_a_staging_directory_elsewhere() {
    let mut workdir = Workdir::new().await;
    let elsewhere = tempfile::Builder::new()
        .prefix("staging 2 ")
        .tempdir()
        .unwrap();
    let elsewhere = elsewhere.path().canonicalize().unwrap();
    let dotenv = format!("CURSUS_STAGING_DIR={}/new\n", elsewhere.display());
    workdir.write(".env", dotenv);
    workdir.set("CURSUS_PG_BIN", "/opt/pg 17/bin");
    workdir
        .cursus(["init", "--systemd", "units"])
        .await
        .exits(0);
    let run = unit(&workdir.path("units"), "cursus-run.service");
    let written = format!(" \"{}/new\"", elsewhere.display());
    assert!(value(&run, "ReadWritePaths").contains(&written), "{run}");
    assert!(
        run.contains("\nEnvironment=\"CURSUS_PG_BIN=/opt/pg 17/bin\"\n"),
        "{run}"
    );
    let state = workdir.path(".state").display().to_string();
    assert!(
        run.contains(&format!("\nEnvironment=XDG_STATE_HOME={state}\n")),
        "{run}"
    );
    let mode = std::fs::metadata(elsewhere.join("new"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);

    workdir.write("pipeline.toml", "version = 2\n");
    let ran = workdir
        .cursus(["init", "--systemd", "other"])
        .await
        .exits(2);
    ran.says("pipeline.toml");
    assert!(!workdir.path("other").exists());
}

/// As an administrator would look at them.
#[tokio::test]
async fn units_of_a_user_without_rights_are_hardly_exposed() {
    let Some(other) = OtherUser::find(4) else {
        return;
    };
    let workdir = Workdir::new().await;
    other.give(&workdir.path(""));
    other
        .cursus(&workdir, &["init", "--systemd", "units"])
        .await
        .exits(0);
    let units = workdir.path("units");
    let services = UNITS.iter().filter(|unit| unit.ends_with(".service"));
    for service in services {
        let output = Command::new("systemd-analyze")
            .args(["security", "--no-pager", "--offline=true", "--threshold=20"])
            .arg(units.join(service))
            .output();
        if let Ok(output) = output {
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{said}");
            assert!(said.contains("Overall exposure level"), "{said}");
        }
    }
    let run = unit(&units, "cursus-run.service");
    assert_eq!(value(&run, "User"), other.name());
}

/// What is in deploy/ by the checkers that this machine has.
#[test]
fn deployed_files_are_what_their_programs_take() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/check-deploy.sh");
    let output = Command::new("sh").arg(script).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

// ---- The manual --------------------------------------------------------------------------------------------------------------

/// Variables of cursus in what is shipped: names between quotes, and those of shells.
#[test]
fn the_manual_names_every_variable() {
    let is_of_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let mut variables = BTreeSet::new();
    for folder in ["src", "crates", "scripts", "deploy"] {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for path in files::files(&root) {
            let text = std::fs::read(&path).unwrap();
            let text = String::from_utf8_lossy(&text);
            for (at, _) in text.match_indices("CURSUS_") {
                let name: String = text[at..].chars().take_while(|c| is_of_name(*c)).collect();
                if text[..at].ends_with(['"', '`', '$', '{']) && name.len() > "CURSUS_".len() {
                    variables.insert(name);
                }
            }
        }
    }
    assert!(variables.len() > 8, "{variables:?}");
    let missing: Vec<&String> = variables
        .iter()
        .filter(|name| !MANUAL.contains(&format!("\n| `{name}` |")))
        .collect();
    assert!(
        missing.is_empty(),
        "docs/operations.md has no row for {missing:?}"
    );
}

/// What commands leave in a project and in the user's state directory.
#[tokio::test]
async fn the_manual_names_every_file() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    open_to_all(&workdir.path(""));
    workdir.cursus(["init"]).await.exits(0);
    workdir.set(URL, "embedded");
    workdir.json(["run"]).await;
    workdir.json(["load"]).await;
    let (_, rows) = MANUAL.split_once("\n## Every file\n").unwrap();
    let rows = rows.split("\n## ").next().unwrap();
    let mut named = BTreeSet::new();
    for path in files::files(&workdir.path("")) {
        let path = path.strip_prefix(workdir.path("")).unwrap().to_owned();
        if path.starts_with(".cursus/pg") || path.ends_with(".gitignore") {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap();
        let name = match name.split_once('-') {
            Some(("page", _)) => "page-*.json.gz",
            Some(("token", _)) => "token-*.json",
            Some(("hits", _)) => "cursus/hits/",
            _ => name,
        };
        assert!(
            rows.contains(&format!("{name}`")),
            "docs/operations.md has no row for {}",
            path.display()
        );
        named.insert(name.to_owned());
    }
    assert!(named.len() >= 9, "{named:?}");
}

/// The blocks of a language below a heading of the manual.
fn blocks_of(heading: &str, language: &str) -> Vec<&'static str> {
    let (_, section) = MANUAL.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let fence = format!("```{language}\n");
    let blocks = section.split(&fence).skip(1);
    let blocks = blocks.map(|block| block.split("```").next().unwrap());
    blocks.collect()
}

async fn connect(role: &str, database: &str) -> Client {
    let mut config = tokio_postgres::Config::new();
    let socket = testing::cluster().await.socket_dir();
    config
        .host_path(socket)
        .port(5432)
        .user(role)
        .dbname(database);
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// The manual's roles and database, under names that no other test has.
struct Manual {
    mirror: String,
    metabase: String,
    readers: String,
}

impl Manual {
    fn new(case: &str) -> Self {
        let end = format!("test_{}_{case}", std::process::id());
        let name = |kind: &str| format!("{kind}_{end}");
        Self {
            mirror: name("mirror"),
            metabase: name("metabase"),
            readers: name("readers"),
        }
    }

    /// Types SQL of the manual as a superuser, in the database that it connects to, else in that of the mirror.
    async fn types(&self, sql: &str) {
        let sql = sql
            .replace("mirror_readers", "READERS")
            .replace("mirror", &self.mirror)
            .replace("metabase", &self.metabase)
            .replace("READERS", &self.readers);
        let (before, after) = sql
            .split_once("\\connect")
            .map_or(("", &*sql), |(before, after)| {
                (before, after.split_once('\n').unwrap().1)
            });
        for (database, statements) in [("postgres", before), (&self.mirror, after)] {
            if statements.is_empty() {
                continue;
            }
            let client = connect("cursus", database).await;
            for statement in statements.split_inclusive(";\n") {
                let done = client.batch_execute(statement).await;
                done.unwrap_or_else(|error| panic!("{statement}: {:?}", error.as_db_error()));
            }
        }
    }

    async fn end(self) {
        let Self {
            mirror,
            metabase,
            readers,
        } = self;
        let client = connect("cursus", "postgres").await;
        for statement in [
            format!("DROP DATABASE {mirror} WITH (FORCE)"),
            format!("DROP ROLE {metabase}, {readers}, {mirror}"),
        ] {
            client.batch_execute(&statement).await.unwrap();
        }
    }
}

#[tokio::test]
async fn the_manuals_roles_have_what_they_need_and_no_more() {
    let simulator = simulator().await;
    let server = blocks_of("A server of your own", "sql");
    let readers = blocks_of("Who reads the mirror", "sql");
    let (&[server], &[before, later]) = (&server[..], &readers[..]) else {
        panic!("the manual has other blocks: {server:?} {readers:?}");
    };
    for is_before in [true, false] {
        let manual = Manual::new(if is_before { "before" } else { "after" });
        let mut workdir = Workdir::with(&simulator).await;
        let cluster = testing::cluster().await;
        workdir.set(
            URL,
            url_at(cluster.socket_dir(), &manual.mirror, &manual.mirror),
        );
        manual.types(server).await;
        if is_before {
            manual.types(before).await;
        }
        workdir.cursus(["doctor"]).await.exits(0);
        workdir.cursus(["run", "-q"]).await.exits(0);
        if !is_before {
            manual.types(before).await;
            manual.types(later).await;
        }
        // A full load, with readers there.
        workdir.cursus(["run", "--full", "-q"]).await.exits(0);

        let reader = connect(&manual.metabase, &manual.mirror).await;
        for query in [
            "SELECT count(*) FROM users",
            "SELECT count(*) FROM pipeline.freshness",
        ] {
            let row = reader.query_one(query, &[]).await.unwrap();
            assert!(row.get::<_, i64>(0) > 0, "{query}");
        }
        reader
            .batch_execute("SET default_transaction_read_only = off")
            .await
            .unwrap();
        for statement in [
            "DELETE FROM users",
            "CREATE TABLE public.mine (id int)",
            "CREATE TEMPORARY TABLE mine (id int)",
            "CREATE SCHEMA mine",
            "UPDATE pipeline.load SET staged = 0",
        ] {
            let refused = reader.batch_execute(statement).await.unwrap_err();
            assert_eq!(refused.code().unwrap().code(), "42501", "{statement}");
        }
        drop(reader);
        let cursus = url_at(cluster.socket_dir(), &manual.metabase, &manual.mirror);
        workdir.set(URL, cursus);
        workdir.cursus(["status"]).await.exits(0);
        manual.end().await;
    }
}

#[tokio::test]
async fn two_campuses_share_a_database_and_a_key() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let campuses = simulator.rows("campus");
    for (name, campus) in [("lyon", &campuses[0]), ("paris", &campuses[1])] {
        workdir.pipeline(&[
            (
                "campus_ids = []",
                &format!("campus_ids = [{}]", campus["id"]),
            ),
            ("schema = \"public\"", &format!("schema = \"{name}\"")),
        ]);
        std::fs::create_dir(workdir.path(name)).unwrap();
        std::fs::rename(
            workdir.path("pipeline.toml"),
            workdir.path(name).join("pipeline.toml"),
        )
        .unwrap();
        for arguments in [
            &["init", "--systemd", "../units", "--name", name][..],
            &["run", "-q"],
        ] {
            let mut command = workdir.command(arguments);
            command.current_dir(workdir.path(name));
            Ran::of(command, arguments).await.exits(0);
        }
        assert!(
            workdir
                .number(&format!("SELECT count(*) FROM {name}.projects"))
                .await
                > 0
        );
    }
    assert_eq!(
        workdir.number("SELECT count(*) FROM pipeline.source").await,
        2
    );
    // One ledger of requests, and units that stand side by side.
    assert_eq!(
        std::fs::read_dir(workdir.path(".state/cursus/hits"))
            .unwrap()
            .count(),
        1
    );
    let units = workdir.path("units");
    assert_eq!(std::fs::read_dir(&units).unwrap().count(), 2 * UNITS.len());
    verified(&units);
}

#[tokio::test]
async fn the_private_server_lives_while_a_command_runs() {
    let mut workdir = Workdir::new().await;
    open_to_all(&workdir.path(""));
    workdir.set(URL, "embedded");
    workdir.cursus(["migrate"]).await.exits(0);
    // As the manual tells other programs of the same user.
    let connect = || {
        let mut config = tokio_postgres::Config::new();
        config
            .host_path(workdir.path(".cursus/pg"))
            .port(5432)
            .user("cursus")
            .dbname("cursus");
        async move { config.connect(NoTls).await }
    };
    assert!(connect().await.is_err());
    let running = Running::start(&workdir, &["sql", "SELECT pg_sleep(1000)"]);
    until("the server is up", async || connect().await.is_ok()).await;
    let (client, connection) = connect().await.unwrap();
    let session = tokio::spawn(connection);
    let row = client
        .query_one("SELECT count(*) FROM users", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, i64>(0), 0);
    running.signal(Signal::SIGINT);
    running.end().await.exits(130);
    drop(client);
    let _ = session.await;
    until("the server is down", async || connect().await.is_err()).await;
}

/// Types the manual's own commands, in the project of a database with another name.
#[tokio::test]
#[expect(clippy::print_stderr, reason = "for the reader of the tests' output")]
async fn the_manuals_backup_and_restore_work() {
    let commands = blocks_of("Backup and restore", "sh");
    let &[backup, restore] = &commands[..] else {
        panic!("the manual has other blocks: {commands:?}");
    };
    let cluster = testing::cluster().await;
    if !cluster.bin_dir().join("pg_dump").exists() {
        eprintln!("skipped: 1 check needs pg_dump");
        return;
    }
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    workdir.cursus(["init"]).await.exits(0);
    workdir.json(["run"]).await;
    let binary = Path::new(env!("CARGO_BIN_EXE_cursus")).parent().unwrap();
    let path = [cluster.bin_dir(), binary].map(|dir| dir.display().to_string());
    let path = format!("{}:{}", path.join(":"), workdir.variable("PATH"));
    workdir.set("PATH", path);
    workdir.set("PGHOST", cluster.socket_dir());
    workdir.set("PGUSER", "cursus");
    let types = async |workdir: &Workdir, commands: &str| {
        let mut shell = workdir.program("sh");
        shell.args(["-euc", commands]);
        Ran::of(shell, &[commands]).await.exits(0)
    };
    let database = workdir.column("SELECT current_database()").await.remove(0);
    let backup = backup.replace("mirror.dump mirror ", &format!("mirror.dump {database} "));
    types(&workdir, &backup).await;
    let who_may = format!("SELECT datacl::text FROM pg_database WHERE datname = '{database}'");
    let those_who_may = workdir.column(&who_may).await;
    for name in ["mirror.dump", "mirror.tar.gz"] {
        let mode = std::fs::metadata(workdir.path(name))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }

    simulator.advance(DAY);
    let server = connect("cursus", "postgres").await;
    let drop = format!("DROP DATABASE {database} WITH (FORCE)");
    server.batch_execute(&drop).await.unwrap();
    std::fs::remove_dir_all(workdir.path("staging")).unwrap();
    std::fs::remove_file(workdir.path("pipeline.toml")).unwrap();
    let ran = types(&workdir, restore).await;
    assert!(ran.stdout.contains("no row differs"), "{ran}");
    workdir.client = connect("cursus", &database).await;
    assert!(workdir.count("users").await > 0);
    assert_eq!(workdir.column(&who_may).await, those_who_may);
}

/// A project and its database as they were at a backup and as they are now.
struct Halves {
    simulator: Simulator,
    old: Template,
    new: Template,
}

impl Halves {
    async fn new() -> Self {
        let simulator = simulator().await;
        let workdir = Workdir::with(&simulator).await;
        workdir.json(["run"]).await;
        simulator.advance(DAY);
        workdir.json(["run"]).await;
        let old = Template::of(workdir).await;
        let workdir = old.workdir().await;
        for _ in 0..2 {
            simulator.advance(DAY);
            workdir.json(["run"]).await;
        }
        let new = Template::of(workdir).await;
        simulator.advance(DAY);
        Self {
            simulator,
            old,
            new,
        }
    }

    /// The staging directory of one, the database of the other.
    async fn restored(&self, staging: &Template, database: &Template) -> Workdir {
        let workdir = database.workdir().await;
        let other = staging.workdir().await;
        std::fs::remove_dir_all(workdir.path("staging")).unwrap();
        std::fs::create_dir(workdir.path("staging")).unwrap();
        copy_all(&other.path("staging"), &workdir.path("staging"));
        std::fs::set_permissions(
            workdir.path("staging"),
            std::fs::Permissions::from_mode(0o700),
        )
        .unwrap();
        other.end().await;
        workdir
    }

    /// The next run asks for what has changed, and the mirror holds.
    async fn follow(&self, workdir: &Workdir) {
        let report = workdir.json(["run"]).await;
        assert_eq!(report["mode"], "delta", "{report:#}");
        self.hold(workdir).await;
    }

    /// The mirror lacks nothing, is what its staged runs give, and after a full read holds nothing else.
    async fn hold(&self, workdir: &Workdir) {
        oracle::assert_lacks_nothing_but(workdir, &self.simulator, &BTreeSet::new(), |_| true)
            .await;
        let diff = workdir.cursus(["diff", "live", "latest"]).await.exits(0);
        assert!(diff.stdout.contains("no row differs"), "{diff}");
        workdir.json(["run", "--full"]).await;
        oracle::assert_mirrors(workdir, &self.simulator).await;
    }
}

#[tokio::test]
#[ignore = "matrix"]
async fn any_two_halves_of_backups_continue_together() {
    let halves = Halves::new().await;
    let (old, new) = (&halves.old, &halves.new);
    let requests = || halves.simulator.statistics().requests;
    for (staging, database) in [(new, new), (new, old), (old, new), (old, old)] {
        let workdir = halves.restored(staging, database).await;
        let is_behind = std::ptr::eq(staging, new) && std::ptr::eq(database, old);
        if is_behind {
            // What is staged costs no request.
            let before = requests();
            let loaded = workdir.json(["load"]).await;
            assert_eq!(loaded["runs"].as_array().unwrap().len(), 2, "{loaded:#}");
            assert_eq!(requests(), before);
        }
        halves.follow(&workdir).await;
        workdir.end().await;
    }
}

/// An extraction knows nothing of the runs that staging has lost, and the database does.
#[tokio::test]
async fn an_extraction_after_a_restore_is_refused_by_a_load() {
    let halves = Halves::new().await;
    let lost = "SELECT to_char(to_timestamp(max(run_id), 'YYYYMMDD\"T\"HH24MISS'), 'YYYY-MM-DD\"T\"HH24:MI:SS') || 'Z' FROM pipeline.load";
    // In the second of the newest run that staging has lost, whose name it takes then, and later.
    for minutes in [0, 1] {
        let mut workdir = halves.restored(&halves.old, &halves.new).await;
        let lost: jiff::Timestamp = workdir.column(lost).await[0].parse().unwrap();
        let clock = lost + jiff::SignedDuration::from_mins(minutes);
        workdir.set("CURSUS_CLOCK", clock.to_string());
        workdir.json(["extract"]).await;
        let refused = workdir.cursus(["load"]).await.exits(1);
        refused
            .says("the staging directory was replaced")
            .says("`cursus run`");
        workdir.json(["run"]).await;
        halves.hold(&workdir).await;
    }
}

#[tokio::test]
async fn lost_halves_come_back() {
    let halves = Halves::new().await;
    let (old, new) = (&halves.old, &halves.new);
    let requests = || halves.simulator.statistics().requests;
    for template in [old, new] {
        let mut workdir = template.workdir().await;
        workdir.new_database().await;
        let before = requests();
        workdir.json(["load"]).await;
        assert_eq!(requests(), before);
        halves.follow(&workdir).await;

        let workdir = template.workdir().await;
        std::fs::remove_dir_all(workdir.path("staging")).unwrap();
        let report = workdir.json(["run"]).await;
        assert_eq!(report["mode"], "full", "{report:#}");
        let warnings = report["warnings"].to_string();
        assert!(warnings.contains("another staging directory"), "{report:#}");
        halves.hold(&workdir).await;
    }
}

#[tokio::test]
async fn a_downgrade_fills_an_empty_database_from_staging() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    workdir.json(["run"]).await;
    for history in [
        "public.refinery_schema_history",
        "pipeline.refinery_schema_history",
    ] {
        let later =
            format!("INSERT INTO {history} VALUES (777, 'later', '2030-01-01T00:00:00Z', '1')");
        workdir.query(&later).await;
    }
    workdir
        .cursus(["load"])
        .await
        .exits(1)
        .says("newer than this cursus");
    workdir.new_database().await;
    workdir.without_api();
    workdir.json(["load"]).await;
    oracle::assert_mirrors(&workdir, &simulator).await;
}

#[tokio::test]
async fn the_private_database_moves_to_a_server() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    open_to_all(&workdir.path(""));
    let server = workdir.variable(URL).to_owned();
    workdir.set(URL, "embedded");
    workdir.json(["run"]).await;
    simulator.advance(DAY);
    workdir.json(["run"]).await;
    workdir.unset(URL);
    workdir.write(".env", format!("{URL}={server}\n"));
    std::fs::set_permissions(workdir.path(".env"), std::fs::Permissions::from_mode(0o600)).unwrap();
    workdir.cursus(["doctor"]).await.exits(0);
    let requests = simulator.statistics().requests;
    workdir.json(["load"]).await;
    assert_eq!(simulator.statistics().requests, requests);
    let diff = workdir.cursus(["diff", "live", "latest"]).await.exits(0);
    assert!(diff.stdout.contains("no row differs"), "{diff}");
    std::fs::remove_dir_all(workdir.path(".cursus/pg")).unwrap();
    let report = workdir.json(["run"]).await;
    assert_eq!(report["mode"], "delta", "{report:#}");
}
