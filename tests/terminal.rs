//! What a terminal, a log and a program get: tables that fit, progress, quiet, lines with their time, documents with their outcome.

use std::fs::File;
use std::process::{Output, Stdio};

use clap::CommandFactory;
use cursus::cli::Cli;
use cursus_simulator::{Fault, FaultKind, Simulator};
use jiff::Timestamp;
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use crate::secrets::{EXPORTED, arguments, leaves};
use crate::support::snapshot;
use crate::support::terminal::{Terminal, left};
use crate::support::workdir::NO_DATABASE;
use crate::support::{Workdir, World, simulator, testing};

/// Commands that change something: what they print is a summary.
const WORK: [&str; 18] = [
    "extract",
    "load",
    "replay",
    "run",
    "watch",
    "export",
    "stage push",
    "stage pull",
    "stage export",
    "stage gc",
    "quarantine retry",
    "quarantine drop",
    "prune approve",
    "history rebuild",
    "init",
    "demo",
    "migrate",
    "token refresh",
];

/// A mirror with quarantined rows and held deletes, so that every table has rows.
async fn world_of_trouble() -> (Simulator, Simulator) {
    let whole = simulator().await;
    let mut world = World::of(&whole);
    world.rows("coalitions")[3]["score"] =
        json!("many, and far more than a column of numbers can hold");
    world.rows("coalitions")[4]["name"] =
        json!("人々の連合🎓 whose name is long enough to be cut somewhere");
    world.rows("coalitions_users").drain(..250);
    // A time that ends in a zero is shorter in the mirror, and fits where others are cut.
    for user in world.rows("users") {
        let at = user["updated_at"].as_str().unwrap();
        user["updated_at"] = json!(format!("{}999Z", &at[..at.len() - 4]));
    }
    let half = world.serve().await;
    (whole, half)
}

fn widest(text: &str) -> usize {
    text.lines().map(UnicodeWidthStr::width).max().unwrap_or(0)
}

/// The lines of tables, from rule to rule.
fn of_tables(text: &str) -> String {
    let mut is_within = false;
    let lines = text.lines().filter(|line| {
        let is_rule = line.starts_with('─');
        is_within ^= is_rule;
        is_within || is_rule
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn every_table_fits_80_columns() {
    tables_fit(&[80]).await;
}

#[tokio::test]
#[ignore = "matrix"]
async fn every_table_fits_120_columns_and_40_stacked() {
    tables_fit(&[120, 40]).await;
}

async fn tables_fit(widths: &[usize]) {
    let (whole, half) = world_of_trouble().await;
    let mut workdir = Workdir::with_empty_database(&whole).await;
    workdir.json(["run"]).await;
    workdir.use_api(&half);
    workdir.json_exits(4, ["run", "--full"]).await;
    workdir.set("TZ", "UTC");
    let user = workdir
        .number("SELECT min(id) FROM users")
        .await
        .to_string();
    let coalitions = "SELECT id, name, image_url, color, score FROM coalitions ORDER BY id LIMIT 5";
    for &columns in widths {
        workdir.set("COLUMNS", columns.to_string());
        let mut all = String::new();
        for arguments in [
            &["plan", "--offline", "--full"][..],
            &["load", "--again", "--dry-run"],
            &["status"],
            &["stage", "ls"],
            &["stage", "ls", "latest"],
            &["stage", "ls", "latest", "users"],
            &["stage", "verify", "latest"],
            &["stage", "gc", "--keep", "0s", "--dry-run"],
            &["quarantine", "ls"],
            &["quarantine", "ls", "coalitions"],
            &["quarantine", "retry"],
            &["prune", "ls"],
            &["diff", "live", "latest"],
            &["explain", "users", &user],
            &["sql", coalitions],
            &["extract", "--select", "users", "--full"],
        ] {
            let ran = workdir.cursus(arguments).await;
            assert!(matches!(ran.code, Some(0 | 3 | 4)), "{ran}");
            let fitted = of_tables(&ran.stdout);
            assert!(widest(&fitted) <= columns, "{columns} columns: {ran}");
            if columns == 40 {
                let narrow = ran.stdout.lines().filter(|line| line.width() <= columns);
                assert!(narrow.count() >= 3, "{ran}");
            }
            all.extend(["$ cursus ", &arguments.join(" "), "\n", &ran.stdout, "\n"]);
            let wide = workdir.cursus([arguments, &["--wide"]].concat()).await;
            assert!(!wide.stdout.contains("--wide shows all"), "{wide}");
        }
        let said = all.replace(&user, "[USER]");
        snapshot::assert_tables(&format!("tables_{columns}"), &workdir, &said);
    }
}

#[tokio::test]
async fn a_terminal_decides_before_columns_and_wide_before_both() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    workdir.json(["extract", "--select", "users"]).await;
    workdir.set("COLUMNS", "50");
    let pages = ["stage", "ls", "latest", "users"];
    let (code, shown) = Terminal::start(&workdir, 90, &pages).end().await;
    assert_eq!(code, Some(0));
    assert_eq!(widest(&shown.replace('\r', "")), 90, "{shown}");
    let wide = [&pages[..], &["--wide"]].concat();
    let (_, shown) = Terminal::start(&workdir, 90, &wide).end().await;
    assert!(widest(&shown) > 120 && !shown.contains('…'), "{shown}");
    for (columns, most) in [(Some("50"), 50), (Some("wide"), 80), (None, 80)] {
        match columns {
            Some(columns) => workdir.set("COLUMNS", columns),
            None => workdir.unset("COLUMNS"),
        }
        let ran = workdir.cursus(pages).await.exits(0);
        assert!(widest(&ran.stdout) <= most, "{columns:?}: {ran}");
    }
}

#[tokio::test]
async fn progress_shows_reads_and_their_total_and_is_erased() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let stall = FaultKind::Stall { seconds: 3600.0 };
    simulator.inject(Fault::new("coalitions_users", stall).nth(3));
    let arguments = ["extract", "--select", "users,coalitions_users"];
    let terminal = Terminal::start(&workdir, 90, &arguments);
    terminal.until_it_shows(0, "2 of 5 pages").await;
    terminal.until_it_shows(0, "requests left this hour").await;
    let shown = terminal.shown();
    assert!(
        shown.contains("coalitions_users  ████████░░░░░░░░░░░░  2 of 5 pages"),
        "{shown}"
    );
    assert!(shown.contains("total  50 %  3 of 6 pages"), "{shown}");
    assert!(!shown.contains("████████████████████"), "{shown}");
    // A narrower terminal breaks what was drawn into several lines; all of them are erased.
    terminal.resize(40);
    terminal
        .until_it_shows(shown.len(), "coalitions_users  2 of 5 pages")
        .await;
    let after = terminal.shown()[shown.len()..].to_owned();
    let redrawn = &after[after.find("\x1b[J").unwrap()..];
    assert!(widest(&left(redrawn)) < 40, "{redrawn:?}");
    let broken = "\r\x1b[3A\x1b[J";
    assert!(after.contains(broken), "{after:?}");
    terminal.interrupt();
    let (code, _) = terminal.end().await;
    assert_eq!(code, Some(130));
    simulator.clear_faults();
    let terminal = Terminal::start(&workdir, 90, &arguments);
    let (code, shown) = terminal.end().await;
    assert_eq!(code, Some(0), "{shown}");
    let left = left(&shown);
    assert!(!left.contains("total") && !left.contains('░'), "{left}");
    assert!(left.contains("complete"), "{left}");
}

#[tokio::test]
async fn a_load_shows_its_run_and_rows_and_is_erased() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.cursus(["migrate"]).await.exits(0);
    workdir.json(["extract", "--select", "cursus,users"]).await;
    // Rows are read, and cannot be written.
    let other = testing::same_database(&workdir.client).await;
    let lock = "BEGIN; LOCK TABLE users IN SHARE MODE";
    other.batch_execute(lock).await.unwrap();
    let rows = workdir.staged("users").await.len();
    let terminal = Terminal::start(&workdir, 90, &["load"]);
    terminal
        .until_it_shows(0, &format!("loading run 1 of 1  users  {rows} rows read"))
        .await;
    other.batch_execute("ROLLBACK").await.unwrap();
    let (code, shown) = terminal.end().await;
    assert_eq!(code, Some(0), "{shown}");
    let left = left(&shown);
    assert!(!left.contains("loading"), "{left}");
    assert!(left.contains("users"), "{left}");
}

#[tokio::test]
async fn quiet_prints_nothing_but_what_was_asked_for() {
    quiet_is_quiet(&["run", "load", "status", "stage gc"]).await;
}

#[tokio::test]
#[ignore = "matrix"]
async fn every_quiet_command_prints_nothing_but_what_was_asked_for() {
    quiet_is_quiet(&[]).await;
}

/// A project that has run, somebody in its mirror, and the commands.
async fn every_command() -> (Simulator, Workdir, String, Vec<String>) {
    let simulator = simulator().await;
    let workdir = Workdir::with_empty_database(&simulator).await;
    std::fs::create_dir(workdir.path("store")).unwrap();
    workdir.json(["run"]).await;
    let user = workdir
        .number("SELECT min(id) FROM users")
        .await
        .to_string();
    let mut commands = Vec::new();
    leaves(&Cli::command(), "", &mut commands);
    (simulator, workdir, user, commands)
}

/// Of the commands of these names, or of all.
async fn quiet_is_quiet(names: &[&str]) {
    let (_simulator, workdir, user, mut found) = every_command().await;
    assert!(
        WORK.iter()
            .all(|work| found.iter().any(|leaf| leaf == work))
    );
    found.retain(|leaf| names.is_empty() || names.contains(&leaf.as_str()));
    assert!(found.len() >= names.len());
    for leaf in &found {
        // Two serve until they are stopped; the others need a quarantined row.
        if matches!(
            leaf.as_str(),
            "serve" | "simulate" | "quarantine show" | "quarantine drop"
        ) {
            continue;
        }
        let mut typed = arguments(leaf, &user, "");
        typed.retain(|word| !word.is_empty());
        typed.push("-q");
        let ran = workdir.cursus(&typed).await.exits(0);
        assert_eq!(ran.stderr, "", "{ran}");
        // Of what is asked for, a check alone has nothing to say while all is well.
        if WORK.contains(&leaf.as_str()) || leaf == "check" {
            assert_eq!(ran.stdout, "", "{ran}");
        } else {
            typed.pop();
            let loud = workdir.cursus(&typed).await.exits(0);
            assert_eq!(ran.stdout.is_empty(), loud.stdout.is_empty(), "{ran}");
        }
    }
}

#[tokio::test]
async fn after_a_wrong_secret_one_sentence_is_all() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    workdir.set("CURSUS_CLIENT_SECRET", "wrong");
    for command in ["run", "extract", "plan"] {
        let ran = workdir.cursus([command]).await.exits(1);
        assert_eq!(ran.stdout, "", "{ran}");
        assert_eq!(ran.stderr.lines().count(), 1, "{ran}");
        let ran = ran.says("does not accept the client id and secret");
        assert!(ran.stderr.contains("CURSUS_CLIENT_SECRET"), "{ran}");
        let (code, shown) = Terminal::start(&workdir, 80, &[command]).end().await;
        assert_eq!(code, Some(1), "{shown}");
        let left = left(&shown);
        assert_eq!(left.trim().lines().count(), 1, "{left}");
        assert!(
            left.starts_with("error: 127.0.0.1:") && left.contains(" does not accept"),
            "{left}"
        );
    }
}

/// Whether a line of a log begins with its time.
fn has_time(line: &str) -> bool {
    let time = line.split(' ').next().unwrap_or_default();
    time.parse::<Timestamp>().is_ok()
}

#[tokio::test]
async fn every_line_of_a_log_has_a_time_or_is_a_document() {
    let (_, half) = world_of_trouble().await;
    let workdir = Workdir::with(&half).await;
    workdir.cursus(["migrate"]).await.exits(0);
    workdir.write("faulty.toml", "version = 1\nwrong = 1\nworse = 2\n");
    for (arguments, code) in [
        (&["run", "--full", "-vv"][..], 3),
        (&["sql", "SELECT 1"], 0),
        (&["sql", "SELECT wrong"], 1),
        (&["stage", "cat", "latest", "--id", "1"], 0),
        (&["quarantine", "show", "NUMBER"], 0),
        (&["load", "--database-url", NO_DATABASE], 1),
        (&["status", "--database-url", NO_DATABASE], 1),
        (&["run", "--config", "faulty.toml"], 2),
        (&["run", "--no-such-flag"], 2),
        (&["runn"], 2),
        (&["stage"], 2),
        (&["explain", "users", "0"], 1),
        (
            &[
                "watch",
                "--every",
                "1ms",
                "--rounds",
                "1",
                "--database-url",
                NO_DATABASE,
            ],
            1,
        ),
    ] {
        let number = "SELECT coalesce(max(id), 0) FROM pipeline.quarantine";
        let number = workdir.number(number).await.to_string();
        let typed = arguments.iter().map(|word| match *word {
            "NUMBER" => number.as_str(),
            word => word,
        });
        let arguments: &[&str] = &typed.collect::<Vec<_>>();
        let ran = workdir.cursus(arguments).await.exits(code);
        assert!(!ran.stderr.is_empty(), "{ran}");
        assert!(ran.stderr.lines().all(has_time), "{ran}");
        for format in [&["--log-format", "json"][..], &["--log-format=json"]] {
            let ran = workdir
                .cursus([arguments, format].concat())
                .await
                .exits(code);
            assert!(!ran.stderr.is_empty(), "{ran}");
            for line in ran.stderr.lines() {
                let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{ran}"));
                assert!(has_time(line["timestamp"].as_str().unwrap()), "{ran}");
                assert!(line["fields"]["message"].is_string(), "{ran}");
            }
        }
    }
}

#[tokio::test]
async fn documents_of_work_tell_their_time_and_outcome() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    std::fs::create_dir(workdir.path("store")).unwrap();
    workdir.json(["run"]).await;
    workdir.write("faulty.toml", "version = 1\nwrong = 1\n");
    for leaf in WORK {
        if leaf == "demo" {
            continue;
        }
        let number = if leaf == "quarantine drop" {
            "--all"
        } else {
            ""
        };
        let mut typed = arguments(leaf, "", number);
        typed.retain(|word| !word.is_empty());
        typed.push("--json");
        for more in [&[][..], &["--config", "faulty.toml"], &["--no-such-flag"]] {
            let ran = workdir.cursus([&typed[..], more].concat()).await;
            let code = if leaf == "init" && more.len() == 2 || more.is_empty() {
                0
            } else {
                2
            };
            let ran = ran.exits(code);
            // Rounds of a service have a document each.
            for line in ran.stdout.lines() {
                let document: Value = serde_json::from_str(line).unwrap();
                assert_eq!(document["exit_code"], code, "{ran}");
                let time = |name: &str| {
                    document[name]
                        .as_str()
                        .unwrap()
                        .parse::<Timestamp>()
                        .unwrap()
                };
                assert!(time("started_at") <= time("finished_at"), "{ran}");
                assert_eq!(document["error"].is_null(), code == 0, "{ran}");
                assert!(
                    document["error"].is_null() || document["error"].is_string(),
                    "{ran}"
                );
            }
            assert!(!ran.stdout.is_empty(), "{ran}");
        }
    }
    workdir.set("CURSUS_DATABASE_URL", NO_DATABASE);
    let failed = workdir.json_exits(1, ["load"]).await;
    assert!(
        failed["error"].as_str().unwrap().contains("127.0.0.1"),
        "{failed:#}"
    );
}

#[tokio::test]
async fn help_and_version_are_commands_too() {
    let workdir = Workdir::new().await;
    for (typed, flag) in [
        (&["help"][..], &["--help"][..]),
        (&["help", "run"], &["run", "--help"]),
        (&["help", "stage", "gc"], &["stage", "gc", "--help"]),
        (&["version"], &["--version"]),
    ] {
        let command = workdir.cursus(typed).await.exits(0);
        let flag = workdir.cursus(flag).await.exits(0);
        assert_eq!(command.stdout, flag.stdout, "{command}");
    }
    workdir.cursus(["help", "runn"]).await.exits(2);
}

#[tokio::test]
async fn migrations_are_one_line_and_details_need_v() {
    let workdir = Workdir::new().await;
    let ran = workdir.cursus(["migrate"]).await.exits(0);
    assert_eq!(ran.stdout, "database prepared: 17 tables\n", "{ran}");
    assert_eq!(ran.stderr, "", "{ran}");
    let again = workdir.cursus(["migrate"]).await.exits(0);
    assert_eq!(again.stdout, "the schema public is up to date\n", "{again}");
    let ran = workdir.cursus(["migrate", "--into", "other", "-v"]).await;
    assert!(ran.stderr.contains("applied migration other/V1__"), "{ran}");
}

async fn with_stdout(workdir: &Workdir, typed: &[&str], stdout: Stdio) -> Output {
    // Where it is there, an export refuses to make it.
    let _ = std::fs::remove_dir_all(workdir.path(EXPORTED));
    let mut command = workdir.command(typed);
    command.stdout(stdout).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    // It holds our end of the stream.
    drop(command);
    child.wait_with_output().await.unwrap()
}

/// On a full disk the work of a command is done, and an answer that cannot be written is a failure.
#[tokio::test]
async fn an_answer_that_stdout_does_not_take_is_a_failure() {
    stdout_takes_nothing(&["run", "status", "status --json", "check", "help"]).await;
}

#[tokio::test]
#[ignore = "matrix"]
async fn every_answer_that_stdout_does_not_take_is_a_failure() {
    stdout_takes_nothing(&[]).await;
}

/// Of the commands of these names, or of all.
async fn stdout_takes_nothing(names: &[&str]) {
    let (_simulator, workdir, user, mut found) = every_command().await;
    found.extend(["help", "help run", "version", "status --json", "run --json"].map(str::to_owned));
    found.retain(|leaf| names.is_empty() || names.contains(&leaf.as_str()));
    assert!(found.len() >= names.len());
    for leaf in &found {
        // Two serve until they are stopped, another takes a minute; the others need a quarantined row.
        if matches!(
            leaf.as_str(),
            "serve" | "simulate" | "demo" | "quarantine show" | "quarantine drop"
        ) {
            continue;
        }
        let (name, more) = match leaf.split_once(" --") {
            Some((name, _)) => (name, Some("--json")),
            None => (leaf.as_str(), None),
        };
        let mut typed = match name {
            "help" | "help run" | "version" => name.split(' ').collect(),
            name => arguments(name, &user, ""),
        };
        typed.retain(|word| !word.is_empty());
        typed.extend(more);
        let prints = !workdir.cursus(&typed).await.exits(0).stdout.is_empty();
        let full = File::options().write(true).open("/dev/full").unwrap();
        let output = with_stdout(&workdir, &typed, full.into()).await;
        let said = String::from_utf8(output.stderr).unwrap();
        let code = match name {
            "check" => 3,
            name if WORK.contains(&name) => 0,
            _ => i32::from(prints),
        };
        assert_eq!(output.status.code(), Some(code), "{leaf}: {said}");
        let is_said = said.contains("error: cannot write to stdout: No space left on device");
        assert_eq!(is_said, prints, "{leaf}: {said}");
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = with_stdout(&workdir, &typed, writer.into()).await;
        // Who closes a pipe has seen enough.
        assert_eq!(output.status.code(), Some(0), "{leaf}: {output:?}");
    }
}
