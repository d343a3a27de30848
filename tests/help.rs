//! The command line explains itself.

use crate::support::snapshot::assert_said;
use crate::support::{Workdir, simulator};

/// Every command, with its subcommands.
const COMMANDS: [&str; 15] = [
    "extract",
    "load",
    "run",
    "status",
    "sql",
    "stage ls",
    "stage cat",
    "init",
    "doctor",
    "migrate",
    "token show",
    "token refresh",
    "demo",
    "simulate",
    "completions",
];

#[tokio::test]
async fn help_lists_the_commands_and_how_to_begin() {
    let workdir = Workdir::new().await;
    let ran = workdir.cursus(["--help"]).await.exits(0);
    assert_said("help", &workdir, &ran);
    for command in COMMANDS {
        let name = command.split(' ').next().unwrap();
        assert!(
            ran.stdout.contains(&format!("\n  {name} ")),
            "{name} is not listed: {ran}"
        );
    }
}

#[tokio::test]
async fn the_help_of_every_command_shows_an_example_of_it() {
    let workdir = Workdir::new().await;
    for command in COMMANDS {
        let mut arguments: Vec<&str> = command.split(' ').collect();
        arguments.push("--help");
        let ran = workdir.cursus(&arguments).await.exits(0);
        let (_, example) = ran
            .stdout
            .split_once("\nExample")
            .unwrap_or_else(|| panic!("no example: {ran}"));
        assert!(example.contains(&format!("cursus {command}")), "{ran}");
    }
}

#[tokio::test]
async fn wrong_usage_exits_2_and_asks_nothing() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    for arguments in [
        &[][..],
        &["extrakt"],
        &["extract", "--ful"],
        &["extract", "--since", "yesterday"],
        &["extract", "--window", "2026-11-23T00:00:00Z"],
        &[
            "extract",
            "--window",
            "2026-11-23T00:00:00Z,2026-11-22T00:00:00Z",
        ],
        &["extract", "--since", "2d", "--full"],
        &["extract", "--max-hits", "-1"],
        &["run", "-q", "-v"],
        &["sql", "SELECT 1", "--csv", "--json"],
        &["stage", "cat"],
        &["stage", "cat", "latest", "--id", "one"],
        &["completions", "tcsh"],
        &["simulate", "--rows", "cursus"],
    ] {
        let ran = workdir.cursus(arguments).await.exits(2);
        assert!(
            ran.stderr.contains("--help"),
            "it says where to look: {ran}"
        );
        if arguments.contains(&"--json") {
            assert_eq!(ran.json()["exit_code"], 2, "{ran}");
        } else {
            assert_eq!(ran.stdout, "", "{ran}");
        }
    }
    assert_eq!(simulator.statistics().requests, 0);
}
