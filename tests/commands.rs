//! What people read: each command once, as it is meant to be seen.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

use crate::support::snapshot::assert_said;
use crate::support::workdir::PIPELINE;
use crate::support::{OtherClient, SCALE, Workdir, simulator};

#[test]
fn version_names_the_commit_of_a_checkout() {
    let printed = |arguments: &[&str]| {
        let cursus = Command::new(env!("CARGO_BIN_EXE_cursus"))
            .args(arguments)
            .output();
        String::from_utf8(cursus.unwrap().stdout).unwrap()
    };
    let git = Command::new("git")
        .args(["rev-parse", "HEAD"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    let version = printed(&["--version"]);
    let of_package = concat!("cursus ", env!("CARGO_PKG_VERSION"));
    assert!(version.starts_with(of_package), "{version}");
    if let Ok(git) = git.map(|git| String::from_utf8(git.stdout).unwrap())
        && !git.is_empty()
    {
        assert!(
            version.contains(&format!(" ({} 20", &git[..9])),
            "{version}"
        );
    }
    assert_eq!(
        printed(&["run", "-V"]).replace("cursus-run", "cursus"),
        version
    );
}

#[tokio::test]
async fn stage_ls_shows_runs_resources_and_pages() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir
        .json(["extract", "--select", "cursus,campus,coalitions"])
        .await;
    assert_said("stage_ls", &workdir, &workdir.cursus(["stage", "ls"]).await);
    let ran = workdir.cursus(["stage", "ls", "latest"]).await;
    assert_said("stage_ls_run", &workdir, &ran);
    let pages = workdir.cursus(["stage", "ls", "latest", "cursus"]).await;
    assert_said("stage_ls_resource", &workdir, &pages);
    let wrong = workdir.cursus(["stage", "ls", "latest", "curses"]).await;
    assert_said("stage_ls_unknown", &workdir, &wrong);
}

#[tokio::test]
async fn stage_cat_finds_a_record_its_file_and_its_request() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["extract"]).await;
    let all = workdir
        .cursus(["stage", "cat", "latest", "coalitions_users"])
        .await
        .exits(0);
    assert_eq!(all.stdout.lines().count(), SCALE.memberships);
    let wanted = simulator.rows("cursus")[0].clone();
    let id = wanted["id"].to_string();
    let found = workdir
        .cursus(["stage", "cat", "latest", "cursus", "--id", &id])
        .await
        .exits(0);
    let record: serde_json::Value = serde_json::from_str(&found.stdout).unwrap();
    assert_eq!(record, wanted);
    assert_said("stage_cat_id", &workdir, &found);
    let json = workdir.json(["stage", "cat", "latest", "--id", &id]).await;
    assert!(
        json.as_array()
            .unwrap()
            .iter()
            .any(|entry| entry["resource"] == "cursus" && entry["record"] == wanted)
    );
}

#[tokio::test]
async fn sql_answers_as_table_csv_and_json() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["run"]).await;
    let count = "SELECT COUNT(*) FROM users WHERE cursus_id=21 AND kind='student';";
    assert_said("sql_table", &workdir, &workdir.cursus(["sql", count]).await);
    assert_said(
        "sql_csv",
        &workdir,
        &workdir
            .cursus([
                "sql",
                "--csv",
                "SELECT 1 AS id, 'a,\"b\"' AS text, NULL AS nothing, '' AS empty",
            ])
            .await,
    );
    let json = workdir.cursus(["sql", "--json", count]).await.exits(0);
    assert_eq!(json.json(), serde_json::json!([{"count": SCALE.students}]));
    assert_said(
        "sql_wrong",
        &workdir,
        &workdir.cursus(["sql", "SELECT logn FROM users"]).await,
    );
}

#[tokio::test]
async fn psql_opens_the_mirror_whatever_pg_variables_say() {
    let mut workdir = Workdir::new().await;
    for (name, value) in [
        ("PGHOST", "elsewhere.invalid"),
        ("PGHOSTADDR", "127.0.0.1"),
        ("PGPORT", "1"),
        ("PGSERVICE", "elsewhere"),
        ("PGSERVICEFILE", "/dev/null"),
        ("PGUSER", "elsewhere"),
        ("PGDATABASE", "elsewhere"),
        ("PGSSLMODE", "verify-full"),
        ("PGOPTIONS", "-c search_path=elsewhere"),
    ] {
        workdir.set(name, value);
    }
    let mut command = workdir.command(["sql"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut psql = command.spawn().unwrap();
    let mut stdin = psql.stdin.take().unwrap();
    let query = b"SELECT current_database(), current_setting('search_path');";
    stdin.write_all(query).await.unwrap();
    drop(stdin);
    let output = psql.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let mirror = workdir.column("SELECT current_database()").await.remove(0);
    let is_there = said.contains(&mirror) && said.contains("public,public");
    assert!(is_there || said.contains("there is no psql"), "{said}");
}

#[tokio::test]
async fn run_prints_two_tables_and_a_line() {
    let simulator = simulator().await;
    let workdir = Workdir::with_empty_database(&simulator).await;
    let ran = workdir
        .cursus(["run", "--select", "cursus,campus,coalitions"])
        .await;
    assert_said("run", &workdir, &ran);
}

#[tokio::test]
async fn status_shows_staged_and_quarantined_data() {
    let simulator = simulator().await;
    let workdir = Workdir::with_empty_database(&simulator).await;
    assert_said("status_before", &workdir, &workdir.cursus(["status"]).await);
    workdir.json(["run", "--select", "cursus,users"]).await;
    simulator.advance(Duration::from_hours(13));
    workdir.json(["extract", "--select", "users"]).await;
    assert_said("status", &workdir, &workdir.cursus(["status"]).await);
    let json = workdir.json(["status"]).await;
    assert_eq!(json["runs"], 2);
    assert_eq!(
        json["pending"][0]["resources"],
        serde_json::json!(["users"])
    );
}

#[tokio::test]
async fn migrate_says_what_it_applied() {
    let workdir = Workdir::new().await;
    assert_said("migrate", &workdir, &workdir.cursus(["migrate"]).await);
    assert_said(
        "migrate_again",
        &workdir,
        &workdir.cursus(["migrate"]).await,
    );
}

#[tokio::test]
async fn doctor_checks_everything_and_changes_nothing() {
    let simulator = simulator().await;
    let workdir = Workdir::with_empty_database(&simulator).await;
    assert_said("doctor_new", &workdir, &workdir.cursus(["doctor"]).await);
    let schemas = "SELECT nspname FROM pg_namespace WHERE nspname = 'pipeline'";
    assert_eq!(workdir.column(schemas).await, Vec::<String>::new());
    workdir.json(["migrate"]).await;
    workdir.query("CREATE TABLE mine (id bigint)").await;
    assert_said("doctor", &workdir, &workdir.cursus(["doctor"]).await);
    workdir.query("ALTER TABLE coalitions DROP COLUMN color; ALTER TABLE users RENAME COLUMN alumni TO alumnus").await;
    assert_said(
        "doctor_mismatch",
        &workdir,
        &workdir.cursus(["doctor"]).await,
    );
}

#[tokio::test]
async fn token_show_prints_times_and_no_token() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    assert_said(
        "token_show",
        &workdir,
        &workdir.cursus(["token", "show"]).await,
    );
    let first = workdir.json(["token", "show"]).await;
    let kept = simulator.statistics().by_path["/oauth/token"];
    assert_eq!(kept, 1, "the token is kept between commands");
    workdir.json(["token", "refresh"]).await;
    assert_eq!(simulator.statistics().by_path["/oauth/token"], 2);
    assert_eq!(first["host"], "127.0.0.1");
    assert!(
        first["expires_at"].is_string() && first["secret_valid_until"].is_string(),
        "{first:#}"
    );
}

#[tokio::test]
async fn init_writes_what_one_starts_from() {
    let workdir = Workdir::new().await;
    assert_said("init", &workdir, &workdir.cursus(["init"]).await);
    let written = std::fs::read_to_string(workdir.path("pipeline.toml")).unwrap();
    assert_eq!(written, PIPELINE);
    let mode = |name: &str| workdir.path(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(".env"), 0o600);
    workdir.write("pipeline.toml", "version = 1\n");
    workdir.write(".env", "CURSUS_CLIENT_ID=mine\n");
    assert_said("init_again", &workdir, &workdir.cursus(["init"]).await);
    workdir.cursus(["init", "--force"]).await.exits(0);
    assert_eq!(
        std::fs::read_to_string(workdir.path("pipeline.toml")).unwrap(),
        PIPELINE
    );
    assert_eq!(
        std::fs::read_to_string(workdir.path(".env")).unwrap(),
        "CURSUS_CLIENT_ID=mine\n",
        "credentials are never overwritten"
    );
    // What init writes works as it stands.
    workdir.cursus(["stage", "ls"]).await.exits(0);
}

#[tokio::test]
async fn completions_know_the_commands() {
    let workdir = Workdir::new().await;
    for shell in ["bash", "zsh", "fish"] {
        let ran = workdir.cursus(["completions", shell]).await.exits(0);
        for command in ["extract", "load", "stage", "simulate"] {
            assert!(
                ran.stdout.contains(command),
                "{shell} does not know {command}"
            );
        }
    }
}

#[tokio::test]
async fn every_command_has_help_with_an_example() {
    let mut workdir = Workdir::new().await;
    workdir.unset("COLUMNS");
    assert_said("help", &workdir, &workdir.cursus(["--help"]).await);
    let commands = [
        vec!["extract"],
        vec!["load"],
        vec!["replay"],
        vec!["run"],
        vec!["plan"],
        vec!["status"],
        vec!["sql"],
        vec!["stage", "ls"],
        vec!["stage", "cat"],
        vec!["init"],
        vec!["doctor"],
        vec!["migrate"],
        vec!["token", "show"],
        vec!["token", "refresh"],
        vec!["demo"],
        vec!["simulate"],
        vec!["completions"],
    ];
    for mut command in commands {
        command.push("--help");
        let ran = workdir.cursus(&command).await.exits(0);
        assert!(ran.stdout.contains("Example"), "{ran}");
    }
}

#[tokio::test]
async fn a_query_changes_nothing_unless_it_may() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["run", "--select", "cursus"]).await;
    let deletes = "DELETE FROM cursus";
    workdir.cursus(["sql", deletes]).await.exits(1);
    workdir.cursus(["sql", "--json", deletes]).await.exits(1);
    assert_eq!(workdir.count("cursus").await, SCALE.cursus);
    workdir.cursus(["sql", "--write", deletes]).await.exits(0);
    assert_eq!(workdir.count("cursus").await, 0);
}

#[tokio::test]
async fn simulate_does_what_its_options_say() {
    let workdir = Workdir::new().await;
    for (option, value) in [
        ("--odd-dates", "users.login=1"),
        ("--odd-dates", "people.updated_at=1"),
        ("--slow-page", "people=3"),
        ("--ignore", "people=sort"),
    ] {
        let arguments = ["simulate", "--port", "0", option, value];
        workdir.cursus(arguments).await.exits(2);
    }

    let mut command = workdir.command([
        "simulate",
        "--json",
        "--port=0",
        "--students=3",
        "--rate=10000",
        "--staff",
        "--slow-page=cursus=4",
        "--ignore=cursus_users=filter[end]",
        "--odd-dates=projects_users.updated_at=2",
    ]);
    command.stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    let started: Value = serde_json::from_str(&line).unwrap();
    let text = |key: &str| started[key].as_str().unwrap();
    let client = OtherClient::with(text("url"), text("client_id"), text("client_secret")).await;
    let total = async |path: &str| {
        let answer = client.ask(path).await;
        let total = answer.headers().get("x-total").unwrap();
        total.to_str().unwrap().parse::<u32>().unwrap()
    };
    let all = total("/v2/cursus_users").await;
    assert_eq!(total("/v2/cursus_users?filter[end]=true").await, all);
    let ranged = "/v2/projects_users?range[updated_at]=1970-01-01,2098-01-01";
    assert_eq!(total(ranged).await, total("/v2/projects_users").await - 2);
    let status = async |path: &str| client.ask(path).await.status().as_u16();
    assert_eq!(status("/v2/cursus?per_page=4").await, 200);
    assert_eq!(status("/v2/cursus?per_page=5").await, 504);
    assert_eq!(status("/v2/scale_teams?per_page=8").await, 200);
    assert_eq!(status("/v2/scale_teams?per_page=9").await, 504);
    child.kill().await.unwrap();
}
