//! Secrets and people are printed nowhere: every command, in success and in failure, at the most verbose level, and then every
//! place where something could be kept.

use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use cursus::cli::Cli;
use cursus::failpoint::Point;
use cursus_simulator::Simulator;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::support::files::files;
use crate::support::workdir::{NO_DATABASE, PIPELINE};
use crate::support::{Ran, Running, Site, Workdir, World, figures, simulator};

/// In every piece of it that something could take for a word of its own there is the mark.
const PASSWORD: &str =
    "sesame1@sesame2:sesame3/sesame4?sesame5#sesame6%sesame7&sesame8=sesame9 sesame10";
const MARK: &str = "sesame";
/// One that a file can hold as it is.
const PLAIN: &str = "canary-password-of-the-database";
const WRONG_SECRET: &str = "canary-secret-that-is-refused";
/// A person, wherever the API names them.
const LOGIN: &str = "canarylogin";

/// As it stands in a URL.
fn encoded(password: &str) -> String {
    password
        .bytes()
        .map(|byte| format!("%{byte:02X}"))
        .collect()
}

/// Every subcommand that the program has, as clap knows them.
pub(crate) fn leaves(command: &clap::Command, path: &str, found: &mut Vec<String>) {
    for sub in command.get_subcommands() {
        let path = format!("{path} {}", sub.get_name()).trim().to_owned();
        if sub.has_subcommands() {
            leaves(sub, &path, found);
        } else {
            found.push(path);
        }
    }
}

/// A directory that is made by `export`, where none is there.
pub(crate) const EXPORTED: &str = "exported";

/// Arguments with which a subcommand has something to do.
pub(crate) fn arguments<'a>(leaf: &'a str, user: &'a str, number: &'a str) -> Vec<&'a str> {
    let more: &[&str] = match leaf {
        "schema" => &["--ledger"],
        "extract" => &["--full", "--select", "users"],
        "load" => &["--again"],
        "replay" => &["--into", "past"],
        "watch" => &["--every", "1ms", "--jitter", "0s", "--rounds", "2"],
        "run" | "plan" | "history rebuild" | "status" | "stage ls" | "stage gc"
        | "quarantine ls" | "prune ls" | "init" | "doctor" | "check" | "runs" | "migrate"
        | "token show" | "token refresh" | "version" | "pack ls" => &[],
        "pack show" => &["teams"],
        "export" => &[EXPORTED],
        "sql" => &["SELECT count(*), max(id) FROM users"],
        "diff" => &["live", "latest"],
        "explain" => &["users", user],
        "changes" => &["--since", "1h"],
        // The person is searched for later; `erasure` looks at what a real one prints.
        "forget" => &[user, "--dry-run"],
        "subject" => &[user],
        "stage cat" => &["latest", "users"],
        "stage push" | "stage pull" | "stage export" => &["store"],
        "stage verify" | "prune approve" => &["latest"],
        "quarantine show" | "quarantine retry" | "quarantine drop" => &[number],
        "demo" => &["--dir", "demonstration"],
        "simulate" => &["--port", "0", "--students", "3"],
        "serve" => &["--listen", "127.0.0.1:0"],
        "completions" => &["bash"],
        new => panic!(
            "a new command, `{new}`: say here how to call it, so that it is searched for secrets"
        ),
    };
    leaf.split(' ').chain(more.iter().copied()).collect()
}

/// Those that print records, which is what they are for.
const SHOW_RECORDS: [&str; 5] = [
    "changes",
    "explain",
    "stage cat",
    "quarantine show",
    "subject",
];
/// Those that need neither configuration nor anything else.
const STAND_ALONE: [&str; 5] = ["completions", "demo", "init", "simulate", "version"];

/// What is searched for.
struct Canaries {
    secrets: BTreeSet<String>,
    tokens: BTreeSet<String>,
}

impl Canaries {
    fn of(simulator: &Simulator) -> Self {
        let secrets = [MARK, PLAIN, WRONG_SECRET, simulator.client_secret()];
        Self {
            secrets: secrets.map(str::to_owned).into(),
            tokens: BTreeSet::new(),
        }
    }

    /// The tokens that are kept now.
    fn learn(&mut self, workdir: &Workdir) {
        for path in files(&workdir.path(".cursus"))
            .into_iter()
            .filter(is_token_file)
        {
            let file: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
            self.tokens
                .insert(file["access_token"].as_str().unwrap().to_owned());
        }
    }

    #[track_caller]
    fn none_in(&self, place: &str, text: &str) {
        for canary in self.secrets.iter().chain(&self.tokens) {
            assert!(
                !text.contains(canary.as_str()),
                "{place} holds a secret:\n{text}"
            );
        }
    }

    #[track_caller]
    fn none_said(&self, leaf: &str, ran: &Ran) {
        self.none_in(leaf, &ran.stdout);
        self.none_in(leaf, &ran.stderr);
        assert!(!ran.stderr.contains(LOGIN), "a person is named:{ran}");
        let shows = SHOW_RECORDS.contains(&leaf);
        assert!(
            shows || !ran.stdout.contains(LOGIN),
            "a person is named:{ran}"
        );
        assert!(!ran.stderr.contains("a fault in cursus"), "{ran}");
    }
}

#[expect(clippy::ptr_arg, reason = "as a filter hands it")]
fn is_token_file(path: &PathBuf) -> bool {
    let name = path.file_name().unwrap().to_string_lossy();
    name.starts_with("token-") && name.ends_with(".json")
}

/// Runs the binary to its end where files are for everybody, if nobody says otherwise.
async fn run(workdir: &Workdir, arguments: &[&str]) -> Ran {
    // Where it is there, an export refuses to make it.
    let _ = std::fs::remove_dir_all(workdir.path(EXPORTED));
    workdir.cursus_after("umask 000", arguments).await
}

/// The simulator's world with the canary person in it, one record of whom is rejected.
async fn world_of_a_canary() -> Simulator {
    let plain = simulator().await;
    let mut world = World::of(&plain);
    let person = world.rows("users").iter().find(|user| {
        user["kind"] == "student" && user["alumni?"] == false && user["active?"] == true
    });
    let login = person.unwrap()["login"].as_str().unwrap().to_owned();
    for resource in crate::support::oracle::RESOURCES {
        for row in world.rows(resource).iter_mut() {
            *row = serde_json::from_str(&row.to_string().replace(&login, LOGIN)).unwrap();
        }
    }
    let coalition = &mut world.rows("coalitions")[3];
    coalition["name"] = json!(LOGIN);
    coalition["score"] = json!(LOGIN);
    world.serve().await
}

#[tokio::test]
async fn no_command_prints_or_keeps_a_secret_or_a_person() {
    every_command_is_silent(Ways::Few).await;
}

#[tokio::test]
#[ignore = "matrix"]
async fn no_command_prints_or_keeps_a_secret_however_it_ends() {
    let commands = every_command_is_silent(Ways::All).await;
    figures::note(
        "commands that were run with canaries in every secret",
        commands,
    );
}

/// In how many ways each command is run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ways {
    /// In success as text, and with a configuration that cannot be read. `demo` is left out: it takes longer than all others.
    Few,
    /// As text and as documents, in success, without API and database, and with two broken configurations.
    All,
}

/// Runs every command, then looks into all that could have been kept; how many there are.
async fn every_command_is_silent(ways: Ways) -> usize {
    let simulator = world_of_a_canary().await;
    let mut canaries = Canaries::of(&simulator);
    let mut workdir = Workdir::with(&simulator).await;
    let url = workdir.variable("CURSUS_DATABASE_URL").to_owned();
    let good = url.replace("cursus@", &format!("cursus:{}@", encoded(PASSWORD)));
    let away = NO_DATABASE.replace("cursus@", &format!("cursus:{}@", encoded(PASSWORD)));
    workdir.set("CURSUS_DATABASE_URL", &good);
    workdir.set("CURSUS_LOG", "trace");
    let followed = "[changes.tables]\nusers = [\"login\"]\n";
    workdir.write("pipeline.toml", format!("{PIPELINE}{followed}"));
    std::fs::create_dir(workdir.path("store")).unwrap();
    let first = run(&workdir, &["run"]).await.exits(3);
    std::fs::remove_file(workdir.path("pipeline.toml")).unwrap();
    canaries.learn(&workdir);
    canaries.none_said("run", &first);
    let user = workdir
        .number(&format!("SELECT id FROM users WHERE login = '{LOGIN}'"))
        .await;
    let user = user.to_string();
    // Loads give them new numbers.
    let waiting = "SELECT coalesce(max(id), 0) FROM pipeline.quarantine WHERE table_name = 'coalitions' \
        AND schema_name = 'public'";

    let mut found = Vec::new();
    leaves(&Cli::command(), "", &mut found);
    // What drops the record that others show comes last.
    found.sort_by_key(|leaf| leaf == "quarantine drop");
    let is_full = ways == Ways::All;
    found.retain(|leaf| is_full || leaf != "demo");
    for leaf in &found {
        let number = workdir.number(waiting).await.to_string();
        let arguments = arguments(leaf, &user, &number);
        if leaf == "simulate" {
            simulate_tells_its_secret_on_stdout_alone(&workdir).await;
            continue;
        }
        // In success, as text and as documents.
        let documents = [&arguments[..], &["--json", "-vv", "--log-format", "json"]].concat();
        let serves = leaf == "serve";
        if serves {
            pages_tell_no_secret(&workdir, &canaries).await;
        }
        for all in [&arguments, &documents]
            .into_iter()
            .filter(|_| !serves)
            .take(1 + usize::from(is_full))
        {
            if leaf == "demo" && all.len() > arguments.len() {
                continue;
            }
            let ran = run(&workdir, all).await;
            canaries.learn(&workdir);
            canaries.none_said(leaf, &ran);
            let is_second = leaf == "quarantine drop" && all.len() > arguments.len();
            // What earlier commands left is no success to it.
            let is_warning = leaf == "check" && matches!(ran.code, Some(1 | 2));
            assert!(
                matches!(ran.code, Some(0 | 3)) || is_second || is_warning,
                "{ran}"
            );
        }
        if leaf == "demo" {
            continue;
        }
        // Where nothing is let in, and nobody is there.
        workdir.set("CURSUS_DATABASE_URL", &away);
        workdir.set("CURSUS_CLIENT_SECRET", WRONG_SECRET);
        if serves {
            pages_tell_no_secret(&workdir, &canaries).await;
        }
        let ended = [&arguments, &documents].into_iter().filter(|_| !serves);
        for all in ended.filter(|_| is_full) {
            let ran = run(&workdir, all).await;
            canaries.none_said(leaf, &ran);
        }
        // With a configuration that is broken where secrets stand.
        let broken = format!(
            "version = 1\nclient_secret = \"{WRONG_SECRET}\"\n[api]\nurl = \"https://me:{PASSWORD}@api.example.org\"\n\
             [database]\nurl = \"postgres//me:{PASSWORD}@host/mirror\"\npassword = \"{PASSWORD}\"\n[[resource]]\nname = 5 5\n"
        );
        workdir.write("broken.toml", &broken);
        workdir.write("faulty.toml", broken.replace("5 5", "5"));
        let configs = ["broken.toml", "faulty.toml"].into_iter();
        for config in configs.take(1 + usize::from(is_full)) {
            let ran = run(&workdir, &[&arguments[..], &["--config", config]].concat()).await;
            canaries.none_said(leaf, &ran);
            let code = if leaf == "check" { 3 } else { 2 };
            let is_refused = ran.code == Some(code) || STAND_ALONE.contains(&leaf.as_str());
            assert!(is_refused, "{ran}");
        }
        workdir.set("CURSUS_DATABASE_URL", &good);
        workdir.set("CURSUS_CLIENT_SECRET", simulator.client_secret());
    }

    // What PostgreSQL would say of a person.
    workdir.write("pipeline.toml", PIPELINE);
    workdir.write("sql/users_campus.sql", "SELECT login::bigint FROM users");
    let ran = run(&workdir, &["load", "--again"]).await.exits(1);
    assert!(ran.stderr.contains("22P02"), "{ran}");
    canaries.none_said("load", &ran);
    workdir.write(
        "migrations/mirror/V1000__one.sql",
        "CREATE UNIQUE INDEX one ON users ((login = login)); INSERT INTO cursus (id, name) SELECT id, login::bigint::text FROM users",
    );
    let ran = run(&workdir, &["load", "--into", "other"]).await;
    canaries.none_said("load", &ran);
    let ran = run(&workdir, &["migrate"]).await.exits(1);
    canaries.none_said("migrate", &ran);

    assert!(canaries.tokens.len() >= 2, "tokens were renewed");
    nothing_is_kept(&workdir, &canaries).await;
    is_private(&workdir, 50);
    let demo_made = is_full.then_some("demonstration/.cursus");
    for file in [".env"].into_iter().chain(demo_made) {
        let mode = workdir.path(file).metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode & 0o066, 0, "{mode:o} {file}");
    }
    found.len()
}

/// People are on the campus page, which is what it is for, and nowhere else.
async fn pages_tell_no_secret(workdir: &Workdir, canaries: &Canaries) {
    let site = Site::of(workdir).await;
    for path in [
        "/",
        "/runs",
        "/decisions",
        "/metrics",
        "/readyz",
        "/api/status.json",
        "/api/check.json",
        "/api/runs.json",
        "/api/decisions.json",
        "/campus",
    ] {
        let answer = site.ask(reqwest::Method::GET, path, &[]).await;
        let text = answer.text().await.unwrap();
        canaries.none_in(path, &text);
        assert!(path == "/campus" || !text.contains(LOGIN), "{path}: {text}");
    }
}

/// The simulator's secret is for those who start it.
async fn simulate_tells_its_secret_on_stdout_alone(workdir: &Workdir) {
    let mut secrets = BTreeSet::new();
    for _ in 0..2 {
        let mut command = workdir.command(["simulate", "--port", "0", "--students", "3", "--json"]);
        command.stdout(std::process::Stdio::piped());
        command.stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        let port = answer["url"]
            .as_str()
            .unwrap()
            .rsplit(':')
            .next()
            .unwrap()
            .parse::<u16>()
            .unwrap();
        let listening = listening_on(port);
        assert_eq!(listening, ["0100007F"], "127.0.0.1 and nothing else");
        let pid = i32::try_from(child.id().unwrap()).unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM).unwrap();
        let output = child.wait_with_output().await.unwrap();
        assert_eq!(output.status.code(), Some(0));
        let secret = answer["client_secret"].as_str().unwrap().to_owned();
        assert!(!String::from_utf8_lossy(&output.stderr).contains(&secret));
        assert!(secret.len() > 30);
        secrets.insert(secret);
    }
    assert_eq!(secrets.len(), 2, "another secret at each start");
}

/// The server of the private cluster can be another user's, and answers who asks it for its environment.
#[tokio::test]
async fn the_private_server_knows_no_secret() {
    let simulator = simulator().await;
    let canaries = Canaries::of(&simulator);
    let mut workdir = Workdir::with(&simulator).await;
    workdir.set("CURSUS_DATABASE_URL", "embedded");
    workdir.set(
        "DATABASE_URL",
        format!("postgres://me:{PASSWORD}@host/mirror"),
    );
    workdir.set("PGPASSWORD", PASSWORD);
    workdir.set("SECRET_OF_ANOTHER_PROGRAM", WRONG_SECRET);
    let asks = "CREATE TABLE environment (line text); COPY environment FROM PROGRAM 'env'; \
        SELECT line FROM environment";
    let ran = workdir.cursus(["sql", "--write", "--csv", asks]).await;
    let ran = ran.exits(0);
    assert!(ran.stdout.contains("PATH="), "{ran}");
    canaries.none_in("a program of the server", &ran.stdout);

    let running = Running::start(&workdir, &["sql", "SELECT pg_sleep(3600)"]);
    let dir = workdir.path(".cursus/pg");
    let mut found = Vec::new();
    crate::support::running::until("the server runs", async || {
        found = environments_under(&dir);
        // The watcher, the server, its own helpers and our session.
        found.len() > 3
    })
    .await;
    let names: BTreeSet<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert!(
        names.contains("postgres") && names.contains("sh"),
        "{names:?}"
    );
    for (program, environment) in &found {
        canaries.none_in(program, environment);
    }
    running.signal(Signal::SIGKILL);
    let has_ended = async || environments_under(&dir).is_empty();
    crate::support::running::until("the server stops", has_ended).await;
}

/// Name and environment of the processes that work in a directory or below it.
fn environments_under(dir: &Path) -> Vec<(String, String)> {
    let Ok(dir) = dir.canonicalize() else {
        return Vec::new();
    };
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .map(|process| process.path())
        .filter(|process| {
            std::fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(&dir))
        })
        .filter_map(|process| {
            let name = std::fs::read_to_string(process.join("comm")).ok()?;
            let environment = std::fs::read(process.join("environ")).ok()?;
            let environment = String::from_utf8_lossy(&environment).into_owned();
            Some((name.trim().to_owned(), environment))
        })
        .collect()
}

/// The addresses, as the system writes them, on which somebody listens.
fn listening_on(port: u16) -> Vec<String> {
    let mut found = Vec::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        let text = std::fs::read_to_string(table).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (address, at) = fields[1].rsplit_once(':').unwrap();
            if fields[3] == "0A" && at == format!("{port:04X}") {
                found.push(address.to_owned());
            }
        }
    }
    found
}

/// Files and the database hold no secret, but for the file of the token; of people only pages and their tables know.
async fn nothing_is_kept(workdir: &Workdir, canaries: &Canaries) {
    let mut pages_with_a_person = 0;
    for path in files(&workdir.path("")) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let shown = path.display().to_string();
        // What the test itself has written.
        if path.extension().is_some_and(|end| end == "toml")
            || shown.contains("/sql/")
            || shown.contains("/migrations/")
        {
            continue;
        }
        let mut bytes = std::fs::read(&path).unwrap();
        let is_page = name.ends_with(".json.gz");
        // Its columns are packed, and begin with their least values.
        let is_columns = name.ends_with(".parquet");
        if is_page {
            let packed = std::mem::take(&mut bytes);
            flate2::read::GzDecoder::new(&packed[..])
                .read_to_end(&mut bytes)
                .unwrap();
        }
        let text = String::from_utf8_lossy(&bytes);
        let holds_a_person = text.contains(LOGIN);
        pages_with_a_person += usize::from(is_page && holds_a_person);
        assert!(
            is_page || is_columns || !holds_a_person,
            "{shown} tells of a person"
        );
        let mut text = text.into_owned();
        if is_token_file(&path) {
            let file: Value = serde_json::from_str(&text).unwrap();
            text = text.replacen(file["access_token"].as_str().unwrap(), "", 1);
        }
        canaries.none_in(&shown, &text);
    }
    assert!(pages_with_a_person > 0, "the person was not found at all");

    let tables = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables \
        WHERE schemaname NOT IN ('pg_catalog', 'information_schema')";
    let mut rows_with_a_person = 0;
    for table in workdir.column(tables).await {
        let rows = format!("SELECT t::text FROM {table} AS t");
        for row in workdir.column(&rows).await {
            canaries.none_in(&table, &row);
            rows_with_a_person += usize::from(row.contains(LOGIN));
            assert!(
                !table.starts_with("pipeline.") || !row.contains(LOGIN),
                "{table}: {row}"
            );
        }
    }
    assert!(rows_with_a_person > 0, "the person was not found at all");
    let settings = "SELECT concat_ws(' ', application_name, query) FROM pg_stat_activity UNION ALL \
        SELECT setting FROM pg_settings UNION ALL SELECT description FROM pg_description";
    for text in workdir.column(settings).await {
        canaries.none_in("the server", &text);
    }
}

/// A token that somebody else has put there would send our requests in their name. (Only root can give a file away: others do
/// not see this.)
#[tokio::test]
async fn a_token_of_another_user_is_not_used() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let extract = ["extract", "--force", "--select", "cursus"];
    workdir.cursus(extract).await.exits(0);
    let tokens = || {
        files(&workdir.path(".cursus"))
            .into_iter()
            .filter(is_token_file)
    };
    let path = tokens().next().unwrap();
    let kept = std::fs::read(&path).unwrap();
    let ours = std::fs::metadata(&path).unwrap().uid();
    if std::os::unix::fs::chown(&path, Some(ours + 4_321), None).is_err() {
        return;
    }
    let ran = workdir.cursus(extract).await.exits(0);
    let answer = "the token belongs to another user and is not used; a new one is asked for";
    assert!(ran.stderr.contains(answer), "{ran}");
    assert_eq!(std::fs::metadata(&path).unwrap().uid(), ours);
    assert_ne!(std::fs::read(&path).unwrap(), kept, "it is a new one");
    let ran = workdir.cursus(extract).await.exits(0);
    assert!(!ran.stderr.contains(answer), "{ran}");
}

/// At least `least` files and directories that hold tokens or people's data are there, all for their owner alone.
#[track_caller]
fn is_private(workdir: &Workdir, least: usize) {
    let mut seen = 0;
    for folder in ["staging", ".cursus", ".state", "demonstration/staging"] {
        let folder = workdir.path(folder);
        if !folder.exists() {
            continue;
        }
        for entry in walkdir::WalkDir::new(folder) {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            let wanted = if entry.file_type().is_dir() {
                0o700
            } else {
                0o600
            };
            assert_eq!(mode, wanted, "{mode:o} {}", entry.path().display());
            seen += 1;
        }
    }
    assert!(seen >= least, "{seen}");
}

/// Also where the user's files are for everybody if nobody says otherwise, and from the first moment on: whatever a process has
/// begun when it is killed.
#[tokio::test]
async fn everything_is_private() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    let extract = ["extract", "--full", "--select", "cursus,coalitions"];
    for (least, point) in [
        (2, Point::LockTaken),
        (4, Point::RunMade),
        (5, Point::RunSync),
        (8, Point::LedgerTorn),
        (8, Point::TokenWrite),
        (9, Point::TokenRename),
        (9, Point::ResourceMade),
        (10, Point::PageSync),
        (11, Point::LineTorn),
        (12, Point::ManifestSync),
        (13, Point::RunNamed),
    ] {
        workdir.set("CURSUS_FAILPOINT", format!("{}=kill", point.name()));
        let ran = run(&workdir, &extract).await;
        assert_eq!(
            ran.code,
            None,
            "it is not killed at {}: {ran}",
            point.name()
        );
        is_private(&workdir, least);
    }
    workdir.unset("CURSUS_FAILPOINT");
    run(&workdir, &extract).await.exits(0);
    run(&workdir, &["load"]).await.exits(0);
    run(&workdir, &["token", "refresh"]).await.exits(0);
    is_private(&workdir, 15);
}

#[tokio::test]
async fn doctor_warns_of_secrets_that_others_can_read() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.write(".env", "CURSUS_TEST=1\n");
    let env = workdir.path(".env");
    let set_mode =
        |mode| std::fs::set_permissions(&env, std::fs::Permissions::from_mode(mode)).unwrap();
    set_mode(0o600);
    workdir.pipeline(&[]);
    workdir.cursus(["doctor"]).await.exits(0);
    for mode in [0o644, 0o640, 0o604] {
        set_mode(mode);
        let ran = workdir.cursus(["doctor"]).await.exits(1);
        assert!(
            ran.stdout.contains("can be read by others; chmod 600"),
            "{ran}"
        );
    }
    set_mode(0o600);
    for url in [
        format!("postgres://me:{PLAIN}@host/mirror"),
        format!("postgres://me:{PLAIN}/and@more@host/mirror"),
        format!("host=localhost user=me password={PLAIN} dbname=mirror"),
        format!("host=localhost user=me password = '{PLAIN}' dbname=mirror"),
    ] {
        let embedded = "url = \"embedded\"";
        for written in [
            format!("url = \"{url}\""),
            format!("{embedded}\n# url = \"{url}\""),
        ] {
            workdir.pipeline(&[(embedded, &written)]);
            let ran = workdir.cursus(["doctor"]).await.exits(1);
            assert!(
                ran.stdout.contains("seems to hold a password or a secret"),
                "{ran}"
            );
            assert!(!ran.to_string().contains(PLAIN), "{ran}");
        }
    }
    let version = "version = 1";
    for (comment, is_secret) in [
        ("# CURSUS_CLIENT_SECRET = 0123456789abcdef", true),
        ("# CURSUS_CLIENT_SECRET=0123456789abcdef", true),
        ("#client_secret = \"abc\"", true),
        ("# PGPASSWORD=abc", true),
        ("# \"password\" = 'abc'", true),
        ("# password = \"#abc\"", true),
        ("# CURSUS_CLIENT_SECRET = \"\"", false),
        ("# PGPASSWORD=", false),
        ("# PGPASSWORD =   # in .env", false),
        ("# the secret is in .env; a = 1", false),
        ("# password and secret: see .env", false),
    ] {
        workdir.pipeline(&[(version, &format!("{comment}\n{version}"))]);
        let ran = workdir.cursus(["doctor"]).await;
        let warns = ran.stdout.contains("seems to hold a password or a secret");
        assert_eq!(warns, is_secret, "{comment}: {ran}");
        assert_eq!(ran.code, Some(i32::from(is_secret)), "{comment}: {ran}");
    }
    workdir.pipeline(&[]);
    workdir
        .cursus(["extract", "--select", "cursus"])
        .await
        .exits(0);
    workdir.cursus(["doctor"]).await.exits(0);
    for (folder, passable) in [("staging", 0o700), (".cursus", 0o711)] {
        let path = workdir.path(folder);
        for mode in [0o755, 0o744, passable, 0o700] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let ran = workdir.cursus(["doctor"]).await;
            let is_reported = (ran.stdout).contains(&format!("{folder} is open to others; chmod "));
            let is_open = mode & 0o066 != 0;
            assert_eq!(is_reported, is_open, "{mode:o} {folder}: {ran}");
            assert_eq!(ran.code, Some(i32::from(is_reported)), "{ran}");
        }
    }
}

#[tokio::test]
async fn invalid_log_level_is_reported_and_nothing_is_done() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    for wrong in [
        "loud",
        "cursus=loud",
        "tokio_postgres=trace",
        "info,,",
        "\u{1b}[2J",
    ] {
        workdir.set("CURSUS_LOG", wrong);
        let ran = workdir.cursus(["extract", "--json"]).await.exits(2);
        let sentence = ran.json()["errors"][0].as_str().unwrap().to_owned();
        assert!(
            sentence.starts_with("CURSUS_LOG is not understood; write "),
            "{ran}"
        );
        assert!(!ran.to_string().contains(wrong), "{ran:?}");
    }
    assert_eq!(simulator.statistics().requests, 0);
    workdir.set("CURSUS_LOG", "warn,cursus::extract=debug");
    let ran = workdir
        .cursus(["extract", "--select", "cursus"])
        .await
        .exits(0);
    assert!(ran.stderr.contains(" debug: "), "{ran}");
}

/// It is started for a moment, and dies with what it holds.
#[tokio::test]
async fn a_command_line_does_not_reach_those_who_are_refused() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let kind = cursus_simulator::FaultKind::Stall { seconds: 3600.0 };
    simulator.inject(cursus_simulator::Fault::new("/v2", kind));
    let url = workdir
        .variable("CURSUS_DATABASE_URL")
        .replace("cursus@", &format!("cursus:{PLAIN}@"));
    let arguments = ["run", "--select", "cursus", "--database-url", &url];
    let running = Running::start(&workdir, &arguments);
    crate::support::running::until("it reads", async || simulator.statistics().hits > 0).await;
    let ran = workdir.cursus(["extract", "-vv"]).await.exits(5);
    assert!(ran.stderr.contains("`cursus run`"), "{ran}");
    assert!(
        !ran.to_string().contains(PLAIN) && !ran.stderr.contains("--select"),
        "{ran}"
    );
    running.signal(Signal::SIGKILL);
}

/// A database URL in every form in which somebody could paste it.
fn pasted() -> [String; 6] {
    let quoted = PASSWORD.replace('\'', r"\'");
    [
        format!("postgres://me:{PASSWORD}@host/mirror"),
        format!("postgresql://me:{}@host/mirror", encoded(PASSWORD)),
        format!("postgres://me@host/mirror?password={}", encoded(PASSWORD)),
        format!("host=host user=me password='{quoted}' dbname=mirror"),
        format!("https://me:{PASSWORD}@example.org/?q=1"),
        "postgres://me:sesame".to_owned(),
    ]
}

/// A command line that says nothing of the password in it, on either stream, as text or as a document.
async fn is_silent(workdir: &Workdir, arguments: &[&str]) -> Ran {
    let ran = workdir.cursus(arguments).await;
    let said = ran.stdout.clone() + &ran.stderr;
    // Encoded it is one word, of which each letter is.
    for canary in [MARK, "%73%65%73"] {
        assert!(!said.contains(canary), "{arguments:?}: {said}");
    }
    let is_expected = match arguments[0] {
        "check" => ran.code == Some(3),
        // It looks at no flag.
        "version" => matches!(ran.code, Some(0 | 2)),
        _ => ran.code == Some(2),
    };
    assert!(is_expected, "{:?}: {said}", ran.code);
    ran
}

#[tokio::test]
async fn a_url_in_the_place_of_any_argument_is_not_repeated() {
    let workdir = Workdir::new().await;
    let mut found = Vec::new();
    leaves(&Cli::command(), "", &mut found);
    found.extend([String::new(), "stage".to_owned(), "quarantine".to_owned()]);
    // Each place has the next of them, so that each of them is in every kind of place.
    let pasted = pasted();
    let mut pasted = pasted.iter().cycle();
    let mut url = || pasted.next().unwrap().as_str();
    let mut tried = 0;
    for leaf in &found {
        let words: Vec<&str> = leaf.split_whitespace().collect();
        let mut command = Cli::command();
        command.build();
        for word in &words {
            command = command.find_subcommand(word).unwrap().clone();
        }
        let flags = command.get_arguments().filter_map(clap::Arg::get_long);
        let flags = flags.filter(|flag| !["database-url", "help", "version"].contains(flag));
        is_silent(&workdir, &[&words[..], &[url()]].concat()).await;
        let more = [&words[..], &[url(), url(), url()], &["--json"]].concat();
        is_silent(&workdir, &more).await;
        let unknown = format!("--dsn={}", url());
        is_silent(&workdir, &[&words[..], &[&unknown]].concat()).await;
        tried += 5;
        for flag in flags {
            let joined = format!("--{flag}={}", url());
            let apart = format!("--{flag}");
            is_silent(&workdir, &[&words[..], &[&joined]].concat()).await;
            is_silent(&workdir, &[&words[..], &[&apart, url()]].concat()).await;
            tried += 2;
        }
    }
    figures::note("arguments that held a database URL", tried);
    assert!(!workdir.path(".cursus").exists() && !workdir.path("staging").exists());
}

#[tokio::test]
async fn unreadable_password_is_neither_shown_nor_resolved() {
    let mut workdir = Workdir::new().await;
    workdir.set("CURSUS_DATABASE_URL", "embedded");
    let url =
        |password: &str| format!("postgres://me:{password}@localhost:1/mirror?connect_timeout=1");
    for (password, code, says) in [
        // The last `@` ends it.
        (
            "sesame1@sesame2",
            1,
            "cannot reach the database at localhost:1",
        ),
        ("@@sesame", 1, "cannot reach the database at localhost:1"),
        (
            "sesame1:sesame2&sesame3=sesame4 %sesame",
            1,
            "cannot reach the database at localhost:1",
        ),
        ("sesame1/sesame2", 2, "write them as %2F, %3F, %23 and %40"),
        ("sesame1@sesame2/sesame3", 2, "write them as %2F"),
        ("sesame1?sesame2", 2, "write them as %2F"),
        ("sesame1@sesame2?sesame3=sesame4", 2, "write them as %2F"),
        ("sesame1#sesame2", 2, "write them as %2F"),
        ("sesame1@sesame2#sesame3", 2, "write them as %2F"),
        (PASSWORD, 2, "write them as %2F"),
    ] {
        for arguments in [
            &["migrate", "-q", "--database-url", &url(password)][..],
            &["migrate", "--json", "--database-url", &url(password)],
        ] {
            let ran = workdir.cursus(arguments).await.exits(code);
            let said = ran.stdout.clone() + &ran.stderr;
            assert!(
                said.contains(says) && !said.contains(MARK),
                "{password}: {said}"
            );
        }
    }
    let pairs = |rest: &str| format!("host=localhost port=1 connect_timeout=1 {rest}");
    for (rest, code, says) in [
        ("password='sesame sesame=sesame'", 1, "cannot reach"),
        ("password=x sesame=y", 2, "the database URL is malformed"),
        ("password=x passwrd=sesame", 2, "has a parameter `passwrd`"),
        ("password=two sesame", 2, "the database URL is malformed"),
        (
            "user=postgres://me:sesame@host",
            2,
            "the database URL is malformed",
        ),
        ("host=me:sesame@host", 2, "the database URL is malformed"),
    ] {
        workdir.set("CURSUS_DATABASE_URL", pairs(rest));
        let ran = workdir.cursus(["migrate", "-q"]).await.exits(code);
        assert!(
            ran.stderr.contains(says) && !ran.stderr.contains(MARK),
            "{rest}: {ran}"
        );
    }
    workdir.set("CURSUS_DATABASE_URL", "embedded");
    for variable in ["CURSUS_CONFIG", "CURSUS_STAGING_DIR", "CURSUS_API_URL"] {
        for pasted in pasted() {
            workdir.set(variable, pasted);
            is_silent(&workdir, &["status"]).await;
        }
        workdir.unset(variable);
    }
}
