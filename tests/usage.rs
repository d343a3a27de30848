//! A command line that is not understood.

use crate::support::{Workdir, simulator};

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
        &["simulate", "--odd-dates", "users.updated_at"],
        &["simulate", "--slow-page", "users"],
        &["simulate", "--ignore", "users"],
        &["simulate", "--anonymised", "2"],
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
