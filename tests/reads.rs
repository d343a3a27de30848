//! Named reads: rows that change without moving a date are right within the read's `every`, and cost what it allows.

use std::time::Duration;

use cursus_simulator::{Fault, FaultKind, Options, Simulator, Undated};
use serde_json::{Value, json};

use crate::support::{Workdir, api::start, page_requests, small};

const HOUR: Duration = Duration::from_hours(1);
const ENROLMENTS: [&str; 2] = ["--select", "cursus,cursus_users"];

/// Levels that the server computes for each answer.
async fn levels() -> Simulator {
    start(Options {
        undated: Undated {
            levels: 24.0,
            ..Undated::NONE
        },
        ..small()
    })
    .await
}

async fn mirror(simulator: &Simulator) -> Workdir {
    let workdir = Workdir::with(simulator).await;
    workdir.json([&["run"][..], &ENROLMENTS].concat()).await;
    workdir
}

/// Ids and levels of the ongoing enrolments, as the API has them.
fn true_levels(simulator: &Simulator) -> Vec<String> {
    let rows = simulator.rows("cursus_users");
    let mut rows: Vec<&Value> = rows
        .iter()
        .filter(|row| row["cursus_id"] == 21 && row["end_at"].is_null())
        .collect();
    rows.sort_by_key(|row| row["id"].as_i64());
    rows.iter()
        .map(|row| format!("{} {:.2}", row["id"], row["level"].as_f64().unwrap()))
        .collect()
}

async fn mirrored_levels(workdir: &Workdir) -> Vec<String> {
    let levels = "SELECT id || ' ' || to_char(level, 'FM990.00') FROM cursus_users WHERE end_at IS NULL ORDER BY id";
    workdir.column(levels).await
}

fn resource<'r>(report: &'r Value, name: &str) -> &'r Value {
    let resources = report["resources"].as_array().unwrap();
    resources.iter().find(|one| one["name"] == name).unwrap()
}

fn manifest(workdir: &Workdir, resource: &str) -> Value {
    let path = workdir.run_directory().join(resource).join("manifest.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

#[tokio::test]
async fn level_without_a_date_is_right_within_an_hour() {
    let simulator = levels().await;
    let workdir = mirror(&simulator).await;
    simulator.advance(HOUR / 4);
    let before = true_levels(&simulator);
    let report = workdir.json([&["run"][..], &ENROLMENTS].concat()).await;
    assert_eq!(resource(&report, "cursus_users")["hits"], 1, "{report:#}");
    simulator.advance(HOUR);
    assert_ne!(true_levels(&simulator), before, "no level has changed");
    let report = workdir.json([&["run"][..], &ENROLMENTS].concat()).await;
    assert_eq!(mirrored_levels(&workdir).await, true_levels(&simulator));
    // A request more for each 100 enrolled people.
    let read = resource(&report, "cursus_users");
    assert_eq!(
        (&read["hits"], &read["state"]),
        (&json!(2), &json!("complete")),
        "{read:#}"
    );
    let ongoing = &read["reads"][0];
    assert_eq!(
        (&ongoing["name"], &ongoing["state"]),
        (&json!("ongoing"), &json!("complete"))
    );
    let run = workdir.run_directory();
    assert!(
        run.join("cursus_users/read=ongoing/page-00001.json.gz")
            .is_file()
    );
    assert_eq!(
        manifest(&workdir, "cursus_users")["reads"]["ongoing"]["state"],
        "complete"
    );
    workdir.json(["stage", "verify", "latest"]).await;
    // Neither read moves the other's cursor.
    let window = &manifest(&workdir, "cursus_users")["window"];
    assert!(window["start"].is_string(), "{window}");
}

#[tokio::test]
async fn each_read_has_its_own_freshness() {
    let simulator = levels().await;
    let workdir = mirror(&simulator).await;
    let lines = "SELECT coalesce(read, '-') || ' ' || state || ' ' || mode FROM pipeline.freshness \
                 WHERE resource = 'cursus_users' AND read IS DISTINCT FROM 'swept' ORDER BY read NULLS FIRST";
    assert_eq!(workdir.column(lines).await, ["- complete full"]);
    simulator.advance(2 * HOUR);
    workdir.json([&["run"][..], &ENROLMENTS].concat()).await;
    let both = ["- complete delta", "ongoing complete full"];
    assert_eq!(workdir.column(lines).await, both);
    simulator.advance(HOUR / 4);
    workdir.json([&["run"][..], &ENROLMENTS].concat()).await;
    assert_eq!(workdir.column(lines).await, both);
    let is_older = "SELECT (max(age) FILTER (WHERE read = 'ongoing') > max(age) FILTER (WHERE read IS NULL))::text \
                    FROM pipeline.freshness WHERE resource = 'cursus_users'";
    assert_eq!(workdir.column(is_older).await, ["true"]);
}

#[tokio::test]
async fn a_read_takes_no_more_than_its_share_of_the_limit() {
    let simulator = levels().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.pipeline(&[
        ("page_size = 100 ", "page_size = 1 "),
        ("# requests_per_hour = 1200", "requests_per_hour = 200000"),
        ("refresh_share = 0.1 ", "refresh_share = 0.001 "),
    ]);
    let enrolled = u64::try_from(true_levels(&simulator).len()).unwrap();
    workdir.json([&["run"][..], &ENROLMENTS].concat()).await;
    workdir.pipeline(&[
        ("page_size = 100 ", "page_size = 1 "),
        (
            "# requests_per_hour = 1200",
            &format!("requests_per_hour = {}", 10 * enrolled),
        ),
        ("refresh_share = 0.1 ", "refresh_share = 0.05 "),
    ]);
    // As many requests as half of the limit of an hour: that makes 2 hours of one.
    let mut due = Vec::new();
    for _ in 0..6 {
        simulator.advance(HOUR);
        let report = workdir
            .json([&["extract", "--no-wait"][..], &ENROLMENTS].concat())
            .await;
        due.push(resource(&report, "cursus_users")["reads"].is_array());
    }
    assert_eq!(due, [true, false, true, false, true, false]);
    let plan = workdir.json(["plan", "--select", "cursus_users"]).await;
    let reason = plan["resources"][0]["reads"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("refresh_share"), "{reason}");
}

#[tokio::test]
async fn a_read_without_its_filter_costs_more_and_says_so() {
    let simulator = levels().await;
    let workdir = mirror(&simulator).await;
    simulator.inject(Fault::new(
        "cursus_users",
        FaultKind::Ignore {
            parameters: vec!["filter[end]".to_owned()],
        },
    ));
    simulator.advance(2 * HOUR);
    let report = workdir.json([&["run"][..], &ENROLMENTS].concat()).await;
    let ongoing = &resource(&report, "cursus_users")["reads"][0];
    assert!(
        ongoing["notes"]
            .to_string()
            .contains("may ignore its filters"),
        "{report:#}"
    );
    assert_eq!(mirrored_levels(&workdir).await, true_levels(&simulator));
}

#[tokio::test]
async fn a_read_that_fails_leaves_the_delta() {
    let simulator = levels().await;
    let workdir = mirror(&simulator).await;
    simulator.advance(2 * HOUR);
    simulator.inject(Fault::new("cursus_users", FaultKind::Status { status: 400 }).nth(2));
    let arguments = [&["run"][..], &ENROLMENTS].concat();
    let report = workdir.json_exits(3, arguments.clone()).await;
    let read = resource(&report, "cursus_users");
    assert_eq!(
        (&read["mode"], &read["state"]),
        (&json!("delta"), &json!("partial")),
        "{read:#}"
    );
    let own = manifest(&workdir, "cursus_users");
    assert_eq!(
        (&own["state"], own["cursor"].is_string()),
        (&json!("complete"), true)
    );
    simulator.clear_faults();
    workdir.json(arguments).await;
    assert_eq!(mirrored_levels(&workdir).await, true_levels(&simulator));
}

#[tokio::test]
async fn enrolments_that_no_answer_shows_are_swept_daily() {
    let simulator = levels().await;
    let workdir = mirror(&simulator).await;
    let run = || workdir.json([&["run"][..], &ENROLMENTS].concat());
    simulator.advance(HOUR);
    run().await;
    // Of the ended ones no other read tells.
    let rows = simulator.rows("cursus_users");
    let ended = rows
        .iter()
        .find(|row| row["cursus_id"] == 21 && row["end_at"].is_string());
    let ended = ended.unwrap()["id"].as_i64().unwrap();
    simulator.set_field("cursus_users", ended, "grade", json!("Alumnus"));
    for _ in 0..24 {
        simulator.advance(HOUR);
        run().await;
    }
    let grade = format!("SELECT grade FROM cursus_users WHERE id = {ended}");
    assert_eq!(workdir.column(&grade).await, ["Alumnus"]);
    let asked = page_requests(&simulator);
    simulator.advance(HOUR / 4);
    run().await;
    assert_eq!(page_requests(&simulator) - asked, 1);
}

#[tokio::test]
async fn an_interrupted_run_resumes_its_named_reads() {
    let simulator = levels().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.pipeline(&[("page_size = 100 ", "page_size = 5 ")]);
    workdir.json([&["run"][..], &ENROLMENTS].concat()).await;
    simulator.advance(2 * HOUR);
    let before = page_requests(&simulator);
    workdir
        .json_exits(
            6,
            [&["extract", "--max-hits", "3"][..], &ENROLMENTS].concat(),
        )
        .await;
    workdir.json([&["run"][..], &ENROLMENTS].concat()).await;
    let pages = u64::try_from(true_levels(&simulator).len())
        .unwrap()
        .div_ceil(5);
    assert_eq!(page_requests(&simulator) - before, pages + 1);
    assert_eq!(mirrored_levels(&workdir).await, true_levels(&simulator));
    workdir.json(["stage", "verify", "latest"]).await;
}

#[tokio::test]
async fn a_full_read_makes_the_reads_within_it_unnecessary() {
    let simulator = levels().await;
    let workdir = mirror(&simulator).await;
    simulator.advance(2 * HOUR);
    let report = workdir
        .json([&["run", "--full"][..], &ENROLMENTS].concat())
        .await;
    assert!(
        resource(&report, "cursus_users")["reads"].is_null(),
        "{report:#}"
    );
    assert_eq!(mirrored_levels(&workdir).await, true_levels(&simulator));
    simulator.advance(HOUR / 4);
    let report = workdir.json([&["run"][..], &ENROLMENTS].concat()).await;
    assert_eq!(resource(&report, "cursus_users")["hits"], 1, "{report:#}");
}

#[tokio::test]
async fn faults_of_named_reads_are_found_at_once() {
    let simulator = levels().await;
    let workdir = Workdir::with(&simulator).await;
    let block = "[[resource.read]]\nname = \"ongoing\" ";
    let faulty = "[[resource.read]]\nname = \"one\"\nquery = { \"filter[end]\" = \"false\" }\n\n\
                  [[resource.read]]\nevery = \"1h\"\nquery = { \"filter[end]\" = \"{nobody}\" }\n\n\
                  [[resource.read]]\nname = \"same\"\nevery = \"1h\"\nquery = { \"filter[end]\" = \"false\" }\n\n\
                  [[resource.read]]\nname = \"all\"\nevery = \"1h\"\n\n\
                  [[resource.read]]\nname = \"left\"\nevery = \"1h\"\nquery = { \"filter[active]\" = \"true\" }\nproves_absence = true\n\n\
                  [[resource.read]]\nname = \"right\"\nevery = \"1h\"\nquery = { \"filter[has_coalition]\" = \"true\" }\nproves_absence = true\nevry = 1\n\n\
                  [[resource.read]]\nname = \"ongoing\" ";
    workdir.pipeline(&[(block, faulty)]);
    let ran = workdir.cursus(["run"]).await;
    assert_eq!(ran.code, Some(2), "{ran}");
    for fault in [
        "a named read needs `every`",
        "`name` is missing",
        "nothing is called `{nobody}`",
        "it asks what cursus_users (same) asks",
        "it is the same as the resource's full read",
        "which proves absence too",
        "unknown key `evry`",
    ] {
        assert!(ran.stderr.contains(fault), "{fault}: {ran}");
    }
    assert_eq!(page_requests(&simulator), 0);
}

#[tokio::test]
async fn a_read_of_a_part_proves_absence_in_it() {
    let simulator = levels().await;
    let workdir = Workdir::with(&simulator).await;
    let rows = simulator.rows("projects_users");
    let project = rows[0]["project"]["id"].as_i64().unwrap();
    let read = format!(
        "[[resource.read]]\nname = \"part\"\nevery = \"1h\"\nquery = {{ \"filter[project_id]\" = \"{project}\" }}\n\
         proves_absence = true\n\n[[resource]]\nname = \"achievements_users\"\n"
    );
    workdir.pipeline(&[("[[resource]]\nname = \"achievements_users\"\n", &read)]);
    let run = ["run", "--select", "projects_users"];
    workdir.json(run).await;
    let count = "SELECT count(*) FROM projects_users";
    let before = workdir.number(count).await;
    // One of the part and one beside it are replaced by rows with other ids.
    let beside = rows
        .iter()
        .find(|row| row["project"]["id"] != project)
        .unwrap();
    let replaced = [&rows[0], beside].map(|row| row["id"].as_i64().unwrap());
    for id in replaced {
        simulator.replace_enrolment(id).unwrap();
    }
    simulator.advance(2 * HOUR);
    let report = workdir.json(run).await;
    let left = format!(
        "SELECT id::text FROM projects_users WHERE id IN ({}, {})",
        replaced[0], replaced[1]
    );
    assert_eq!(
        workdir.column(&left).await,
        [replaced[1].to_string()],
        "{report:#}"
    );
    let inserted = report["tables"][0]["inserted"].as_i64().unwrap();
    assert_eq!(workdir.number(count).await, before + inserted - 1);
    // A partial answer proves nothing.
    simulator.advance(2 * HOUR);
    simulator.inject(Fault::new("projects_users", FaultKind::Status { status: 400 }).nth(2));
    workdir.json_exits(3, run).await;
}

#[tokio::test]
async fn levels_are_right_within_their_hour_under_watch() {
    let simulator = levels().await;
    let workdir = Workdir::with(&simulator).await;
    let watch = [
        "watch",
        "--every",
        "15m",
        "--rounds",
        "1",
        "--select",
        "cursus,cursus_users",
    ];
    workdir.cursus(watch).await.exits(0);
    let mut right = Vec::new();
    for _ in 0..12 {
        simulator.advance(HOUR / 4);
        workdir.cursus(watch).await.exits(0);
        right.push(mirrored_levels(&workdir).await == true_levels(&simulator));
    }
    assert!(
        right.windows(4).all(|hour| hour.contains(&true)),
        "{right:?}"
    );
}

#[tokio::test]
async fn memberships_of_a_campus_are_one_list_with_deltas() {
    let simulator = levels().await;
    let workdir = Workdir::with(&simulator).await;
    let campus = simulator.rows("campus_users")[0]["campus_id"]
        .as_i64()
        .unwrap();
    workdir.pipeline(&[("campus_ids = []", &format!("campus_ids = [{campus}]"))]);
    let run = ["run", "--select", "users,campus_users"];
    workdir.json(run).await;
    let people = workdir.column("SELECT id::text FROM users").await;
    let mirrored = || workdir.column("SELECT id::text FROM campus_users ORDER BY id");
    let expected = || {
        let rows = simulator.rows("campus_users");
        let of_campus = rows.iter().filter(|row| row["campus_id"] == campus);
        let mirrored = of_campus.filter(|row| people.contains(&row["user_id"].to_string()));
        let mut ids: Vec<i64> = mirrored.map(|row| row["id"].as_i64().unwrap()).collect();
        ids.sort_unstable();
        ids.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert!(!people.is_empty());
    assert_eq!(mirrored().await, expected());
    simulator.advance(HOUR / 4);
    let report = workdir.json(run).await;
    let read = resource(&report, "campus_users");
    assert_eq!(
        (&read["mode"], &read["hits"]),
        (&json!("delta"), &json!(1)),
        "{read:#}"
    );
    assert_eq!(mirrored().await, expected());
}

#[tokio::test]
async fn an_automatic_full_read_follows_the_budget() {
    let simulator = levels().await;
    let workdir = Workdir::with(&simulator).await;
    let enrolments = "cursor = { field = \"updated_at\", lookback = \"10m\" }\nfull_every = \"7d\"\n\n[[resource.read]]";
    let automatic = enrolments.replace("\"7d\"", "\"auto\"");
    let small = ("page_size = 100 ", "page_size = 1 ");
    workdir.pipeline(&[small, (enrolments, &automatic)]);
    // Another resource is the first to tell the server's time.
    let select = ["--select", "users,cursus,cursus_users"];
    workdir.json([&["run"][..], &select].concat()).await;
    let rows = simulator.rows("cursus_users");
    let rows = rows.iter().filter(|row| row["cursus_id"] == 21).count();
    let mode = async || {
        let report = workdir.json([&["run"][..], &select].concat()).await;
        resource(&report, "cursus_users")["mode"].clone()
    };
    // A day at least, however little it costs.
    simulator.advance(23 * HOUR);
    assert_eq!(mode().await, "delta");
    simulator.advance(2 * HOUR);
    assert_eq!(mode().await, "full");
    // As many requests as the share of two days allows.
    let limit = format!("requests_per_hour = {}", 20 * rows);
    let share = "refresh_share = 0.00105 ";
    workdir.pipeline(&[
        small,
        (enrolments, &automatic),
        ("# requests_per_hour = 1200", &limit),
        ("refresh_share = 0.1 ", share),
        ("reserve_per_hour = 100", "reserve_per_hour = 0"),
    ]);
    let plan = [&["plan"][..], &select].concat();
    simulator.advance(25 * HOUR);
    let planned = workdir.json(plan.clone()).await;
    assert_eq!(
        resource(&planned, "cursus_users")["mode"],
        "delta",
        "{planned:#}"
    );
    simulator.advance(40 * HOUR);
    let planned = workdir.json(plan).await;
    let planned = resource(&planned, "cursus_users");
    assert_eq!(planned["mode"], "full", "{planned:#}");
    let reason = planned["reason"].as_str().unwrap();
    assert!(reason.contains("auto"), "{reason}");
}

#[tokio::test]
async fn a_resource_may_consist_of_named_reads_alone() {
    let simulator = levels().await;
    let workdir = Workdir::with(&simulator).await;
    let locations = "[[resource]]\nname = \"locations\"\npath = \"/v2/locations\"\n\n\
                     [[resource.read]]\nname = \"begun\"\nevery = \"10m\"\n\
                     cursor = { field = \"begin_at\", lookback = \"1h\" }\n\n\
                     [[resource.read]]\nname = \"open\"\nevery = \"10m\"\nquery = { \"filter[active]\" = \"true\" }\n\n\
                     [[resource]]\nname = \"achievements_users\"\n";
    workdir.pipeline(&[("[[resource]]\nname = \"achievements_users\"\n", locations)]);
    let extract = ["extract", "--select", "users,locations"];
    let report = workdir.json(extract).await;
    let read = resource(&report, "locations");
    assert_eq!(
        (&read["mode"], &read["state"]),
        (&json!(null), &json!("complete")),
        "{read:#}"
    );
    assert_eq!(read["reads"].as_array().unwrap().len(), 2, "{read:#}");
    workdir.json(["stage", "verify", "latest"]).await;
    simulator.advance(HOUR);
    let plan = workdir.json(["plan", "--select", "users,locations"]).await;
    assert_eq!(
        resource(&plan, "locations")["reads"][0]["mode"],
        "delta",
        "{plan:#}"
    );
    let report = workdir.json(extract).await;
    let begun = &resource(&report, "locations")["reads"][0];
    assert_eq!(
        (&begun["name"], &begun["mode"]),
        (&json!("begun"), &json!("delta")),
        "{begun:#}"
    );
    workdir.json(["stage", "verify", "latest"]).await;
    let status = workdir.json(["status"]).await;
    let reads = status["resources"].as_array().unwrap().iter();
    assert_eq!(
        reads.filter(|read| read["name"] == "locations").count(),
        2,
        "{status:#}"
    );
}
