//! What changed is read from where the last read ended, however much and however long ago, and nothing between is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use cursus_simulator::{Options, Simulator, Unknowns};
use serde_json::Value;

use crate::support::{Workdir, api, oracle, simulator, small};

const DAY: Duration = Duration::from_hours(24);

/// The tables that deltas keep right by themselves.
const TABLES: [&str; 5] = [
    "users",
    "cursus_users",
    "projects_users",
    "achievements_users",
    "coalitions_users",
];
const READ: [&str; 2] = [
    "--select",
    "cursus,coalitions,achievements,users,cursus_users,projects_users,achievements_users,coalitions_users",
];

/// Small pages, and no full read but the first.
async fn mirror() -> (Simulator, Workdir) {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.pipeline(&[
        ("page_size = 100 ", "page_size = 5 "),
        ("full_every = \"7d\"", "full_every = \"9999d\""),
        ("full_every = \"30d\"", "full_every = \"9999d\""),
    ]);
    workdir.json([&["run"][..], &READ].concat()).await;
    (simulator, workdir)
}

async fn mirrors(workdir: &Workdir, simulator: &Simulator) {
    let is_checked = |table: &str| TABLES.contains(&table) && table != "users";
    oracle::assert_tables_mirror(workdir, simulator, &BTreeSet::new(), is_checked).await;
    // Without their campuses, which are not read here.
    let students: BTreeSet<String> = (simulator.rows("users").iter())
        .filter(|row| row["kind"] == "student" && row["alumni?"] == false)
        .map(|row| row["id"].to_string())
        .collect();
    let mirrored: BTreeSet<String> = workdir
        .column("SELECT id::text FROM users")
        .await
        .into_iter()
        .collect();
    assert!(mirrored.is_subset(&students), "{mirrored:?} {students:?}");
}

fn read<'r>(report: &'r Value, name: &str) -> &'r Value {
    let resources = report["resources"].as_array().unwrap();
    resources.iter().find(|one| one["name"] == name).unwrap()
}

fn cursor(workdir: &Workdir, resource: &str) -> jiff::Timestamp {
    let path = workdir.run_directory().join(resource).join("manifest.json");
    let manifest: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    manifest["cursor"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn after_half_a_year_away_a_delta_of_many_pages_catches_up() {
    let (simulator, workdir) = mirror().await;
    simulator.advance(DAY * 180);
    let report = workdir.json([&["extract"][..], &READ].concat()).await;
    // Most students of then have left.
    workdir.json(["load", "--allow-prune"]).await;
    for name in TABLES {
        let read = read(&report, name);
        assert_eq!(
            (&read["mode"], &read["state"]),
            (&"delta".into(), &"complete".into()),
            "{read:#}"
        );
        assert!(read["pages"].as_u64().unwrap() > 3, "{read:#}");
    }
    mirrors(&workdir, &simulator).await;
    workdir.json(["stage", "verify", "latest"]).await;
}

#[tokio::test]
async fn delta_without_requests_left_resumes_where_it_stopped() {
    let cost = {
        let (simulator, workdir) = mirror().await;
        simulator.advance(DAY * 30);
        let before = simulator.statistics().hits;
        workdir.json([&["extract"][..], &READ].concat()).await;
        simulator.statistics().hits - before
    };
    let (simulator, workdir) = mirror().await;
    simulator.advance(DAY * 30);
    let before = simulator.statistics().hits;
    let mut rounds = 0;
    loop {
        rounds += 1;
        let ran = workdir
            .cursus([&["extract", "--max-hits", "7"][..], &READ].concat())
            .await;
        if ran.code == Some(0) {
            break;
        }
        ran.exits(6);
        assert!(rounds < cost, "it does not get on");
    }
    assert!(rounds > 3, "{rounds} rounds");
    // The other world's windows end at other moments.
    let spent = simulator.statistics().hits - before;
    assert!(spent <= cost + 3, "{spent} requests instead of {cost}");
    // Also with pages that nobody had to ask for again.
    workdir.json(["stage", "verify", "latest"]).await;
    workdir.json(["load", "--allow-prune"]).await;
    mirrors(&workdir, &simulator).await;
}

#[tokio::test]
async fn requested_window_moves_the_cursor_without_a_gap_only() {
    let (simulator, workdir) = mirror().await;
    let known = cursor(&workdir, "users");
    simulator.advance(DAY * 2);
    let gap = format!("{},{}", known + DAY, known + 2 * DAY);
    workdir
        .json(["extract", "--select", "users", "--window", &gap])
        .await;
    assert_eq!(
        cursor(&workdir, "users"),
        known,
        "it began after the cursor"
    );
    let part = format!("{},{}", known - DAY, known + DAY);
    workdir
        .json(["extract", "--select", "users", "--window", &part])
        .await;
    assert_eq!(
        cursor(&workdir, "users"),
        known + DAY,
        "it ended in the past"
    );
    workdir
        .json(["extract", "--select", "users", "--since", "3d"])
        .await;
    assert!(cursor(&workdir, "users") >= known + 2 * DAY);
    workdir.json([&["run"][..], &READ].concat()).await;
    mirrors(&workdir, &simulator).await;
}

#[tokio::test]
async fn what_is_young_enough_is_skipped_unless_it_is_forced() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let requests = async |flags: &[&str]| {
        let before = simulator.statistics().hits;
        let report = workdir
            .json([&["extract", "--select", "cursus"][..], flags].concat())
            .await;
        let state = report["resources"][0]["state"].as_str().unwrap().to_owned();
        (simulator.statistics().hits - before, state)
    };
    assert_eq!(requests(&[]).await, (1, "complete".to_owned()));
    assert_eq!(requests(&[]).await, (0, "skipped".to_owned()));
    assert_eq!(requests(&["--force"]).await, (1, "complete".to_owned()));
    assert_eq!(requests(&["--full"]).await, (1, "complete".to_owned()));
    simulator.advance(DAY);
    assert_eq!(
        requests(&[]).await.1,
        "skipped",
        "nothing showed the server's time"
    );
}

/// A list whose range the API ignores, with this order; small pages, so that it has some.
async fn rangeless(sort: &str) -> (Simulator, Workdir) {
    let simulator = api::start(Options {
        unknowns: Unknowns {
            campus_users_range: false,
            ..Unknowns::default()
        },
        ..small()
    })
    .await;
    let workdir = Workdir::with(&simulator).await;
    workdir.pipeline(&[
        ("page_size = 100 ", "page_size = 5 "),
        (
            "query = { \"filter[campus_id]\" = \"{campus_ids}\", \"filter[user_id]\" = \"{user_id}\" }\nsort = \"\"                               # none is documented\n",
            &format!("sort = \"{sort}\"\npaging = \"numbers\"\n"),
        ),
        (
            "for_each = { ids_of = \"users\", as = \"user_id\", batch = 85, unless = \"campus_ids\" }\n",
            "",
        ),
    ]);
    (simulator, workdir)
}

#[tokio::test]
async fn ignored_range_costs_one_reading_and_claims_only_proofs() {
    // A list without an order asks for the time first, and is closed by a window of its own.
    for (sort, more) in [("-id", 0), ("", 2)] {
        let (simulator, workdir) = rangeless(sort).await;
        for (flags, more) in [(&["--full"][..], more), (&["--since", "1h"], 0)] {
            let pages = simulator.rows("campus_users").len().div_ceil(5) as u64;
            let arguments = ["extract", "--json", "--select", "campus_users"];
            let report = workdir
                .cursus([&arguments[..], flags].concat())
                .await
                .json();
            let read = read(&report, "campus_users");
            let is_proof = sort == "-id" && flags == ["--full"];
            let state = if is_proof { "complete" } else { "drifted" };
            assert_eq!(
                (&read["mode"], &read["state"]),
                (&"full".into(), &state.into()),
                "{flags:?} {sort:?}: {read:#}"
            );
            assert_eq!(read["hits"], pages + more, "{flags:?} {sort:?}: {read:#}");
            workdir.json(["stage", "verify", "latest"]).await;
            simulator.advance(DAY);
        }
    }
}
