//! The shipped packs, on a simulated campus: what they mirror is what the API shows, for one campus, several or all.

use std::collections::BTreeSet;
use std::time::Duration;

use cursus_simulator::{Options, Simulator, Undated};
use serde_json::Value;

use crate::export::rows_of;
use crate::support::files::files;
use crate::support::{Workdir, api, small};

const HOUR: Duration = Duration::from_hours(1);
const PACKS: &str =
    r#"packs = ["locations", "events", "exams", "blocs", "quests", "scale-teams", "titles"]"#;

async fn start(staff: bool) -> Simulator {
    api::start(Options { staff, ..small() }).await
}

async fn mirror(simulator: &Simulator, campus_ids: &str) -> Workdir {
    let workdir = Workdir::with(simulator).await;
    workdir.pipeline(&[
        ("version = 1 ", &format!("{PACKS}\nversion = 1 ")),
        ("campus_ids = [] ", &format!("campus_ids = [{campus_ids}] ")),
        // Each run is due, however little time has passed.
        ("min_age = \"20h\" ", "min_age = \"0s\" "),
    ]);
    workdir
}

fn ids(rows: &[Value], wanted: impl Fn(&Value) -> bool) -> Vec<String> {
    let ids = rows.iter().filter(|row| wanted(row));
    let mut ids: Vec<i64> = ids.map(|row| row["id"].as_i64().unwrap()).collect();
    ids.sort_unstable();
    ids.iter().map(ToString::to_string).collect()
}

async fn mirrored(workdir: &Workdir, table: &str) -> Vec<String> {
    let ids = format!("SELECT id FROM {table} ORDER BY id");
    workdir.column(&ids).await
}

fn is_of(row: &Value, field: &str, campuses: &[i64]) -> bool {
    let of = |id: &Value| id.as_i64().is_some_and(|id| campuses.contains(&id));
    match &row[field] {
        Value::Array(ids) => ids.iter().any(of),
        id => of(id),
    }
}

/// Compares what the packs mirror of these campuses with what the API has.
async fn assert_mirrors(workdir: &Workdir, simulator: &Simulator, campuses: &[i64]) {
    let rows = |name: &str| simulator.rows(name);
    let events = ids(&rows("events"), |row| is_of(row, "campus_ids", campuses));
    assert_eq!(mirrored(workdir, "events").await, events, "events");
    let of_main = |row: &Value| {
        let cursus = row["cursus"].as_array().unwrap();
        cursus.iter().any(|cursus| cursus["id"] == 21)
    };
    let exams = ids(&rows("exams"), |row| {
        of_main(row) && is_of(&row["campus"], "id", campuses)
    });
    assert_eq!(mirrored(workdir, "exams").await, exams, "exams");
    let blocs = ids(&rows("blocs"), |row| {
        row["cursus_id"] == 21 && is_of(row, "campus_id", campuses)
    });
    assert_eq!(mirrored(workdir, "blocs").await, blocs, "blocs");
    let deadlines = ids(&rows("bloc_deadlines"), |row| {
        blocs.contains(&row["bloc_id"].to_string())
    });
    assert_eq!(mirrored(workdir, "bloc_deadlines").await, deadlines);
    let titles = ids(&rows("titles_users"), |_| true);
    assert_eq!(mirrored(workdir, "titles_users").await, titles, "titles");

    let ends = |row: &Value| {
        let end = row["end_at"].as_str().unwrap_or("-");
        format!("{} {end}", row["id"])
    };
    let sessions = rows("locations");
    let mut sessions: Vec<String> = sessions
        .iter()
        .filter(|row| is_of(row, "campus_id", campuses))
        .map(ends)
        .collect();
    sessions.sort_unstable();
    let known = "SELECT concat(id, ' ', coalesce(to_char(end_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), '-')) \
        FROM locations";
    let mut known = workdir.column(known).await;
    known.sort_unstable();
    assert_eq!(known, sessions, "locations");
}

fn all_campuses(simulator: &Simulator) -> Vec<i64> {
    let campuses = simulator.rows("campus");
    let ids = campuses.iter().map(|row| row["id"].as_i64().unwrap());
    ids.collect()
}

#[tokio::test]
async fn every_pack_mirrors_what_the_api_shows_of_all_campuses() {
    let simulator = start(true).await;
    let workdir = mirror(&simulator, "").await;
    workdir.json(["run"]).await;
    // Blocs can be of a campus that no list shows.
    let mut campuses = all_campuses(&simulator);
    campuses.extend(900..1000);
    assert_mirrors(&workdir, &simulator, &campuses).await;
    let subscriptions = ids(&simulator.rows("events_users"), |_| true);
    assert_eq!(mirrored(&workdir, "events_users").await, subscriptions);
    let quests = ids(&simulator.rows("quests_users"), |_| true);
    assert_eq!(mirrored(&workdir, "quests_users").await, quests);
    // Evaluations are for staff, and only those that changed lately.
    let known = mirrored(&workdir, "scale_teams").await;
    let all: BTreeSet<String> = ids(&simulator.rows("scale_teams"), |_| true)
        .into_iter()
        .collect();
    assert!(!known.is_empty() && known.iter().all(|id| all.contains(id)));
    assert_eq!(
        workdir
            .number("SELECT count(*) FROM pipeline.quarantine")
            .await,
        0
    );
    workdir.json(["stage", "verify", "latest"]).await;
}

#[tokio::test]
async fn packs_follow_the_days_of_one_campus_and_of_two() {
    let simulator = start(false).await;
    let campuses = all_campuses(&simulator);
    for few in [&campuses[..1], &campuses[1..3]] {
        let list: Vec<String> = few.iter().map(ToString::to_string).collect();
        let workdir = mirror(&simulator, &list.join(", ")).await;
        let exclude = ["--exclude", "scale_teams"];
        workdir.json([&["run"][..], &exclude].concat()).await;
        assert_mirrors(&workdir, &simulator, few).await;
        for hours in [2, 7, 26] {
            simulator.advance(hours * HOUR);
            workdir.json([&["run"][..], &exclude].concat()).await;
        }
        // Cancelled events are absent from the next full read.
        workdir
            .json([&["run", "--full"][..], &exclude].concat())
            .await;
        assert_mirrors(&workdir, &simulator, few).await;
        workdir.json(["stage", "verify", "latest"]).await;
    }
}

#[tokio::test]
async fn a_usual_sync_of_sessions_takes_three_requests() {
    let undated = Undated {
        endless_locations: 0.02,
        ..small().undated
    };
    let simulator = api::start(Options { undated, ..small() }).await;
    let workdir = mirror(&simulator, "").await;
    let run = ["run", "--select", "cursus,locations"];
    let first = workdir.json(run).await;
    assert_eq!(sessions(&first)["reads"][0]["name"], "begun", "{first:#}");
    let window = workdir.run_directory().join("locations/manifest.json");
    let manifest: Value = serde_json::from_slice(&std::fs::read(&window).unwrap()).unwrap();
    assert!(manifest["reads"]["begun"]["window"]["start"].is_string());
    assert_eq!(manifest["reads"]["begun"]["mode"], "full");
    simulator.advance(HOUR / 4);
    let plan = workdir.json(["plan", "--select", "locations"]).await;
    let report = workdir.json(run).await;
    assert_eq!(sessions(&report)["hits"], 3, "{plan:#}\n{report:#}");
}

/// What the packs add to the profile `public` is accepted, has rows, and says of nobody who it is.
#[tokio::test]
async fn no_shipped_pack_hands_out_a_person() {
    let simulator = start(true).await;
    let workdir = mirror(&simulator, "").await;
    workdir.json(["run"]).await;
    let bundle = workdir.json(["export", "out"]).await;
    let of_packs = [
        "teams",
        "teams_users",
        "cursus_users_skills",
        "locations",
        "events",
        "events_campuses",
        "events_cursus",
        "exams",
        "exams_cursus",
        "exams_projects",
        "titles",
        "quests",
        "quests_users",
        "blocs",
        "blocs_coalitions",
        "bloc_deadlines",
    ];
    let tables = bundle["tables"].as_array().unwrap();
    for name in of_packs {
        let table = tables.iter().find(|table| table["name"] == name);
        let table = table.unwrap_or_else(|| panic!("{name} is not in the bundle"));
        assert!(table["rows"].as_u64().unwrap() > 0, "{name} is empty");
        for row in rows_of(&workdir.path("out"), name) {
            for (column, value) in row {
                let ids = ["user_id", "team_id", "cursus_user_id", "projects_user_id"];
                let is_hashed = ids.contains(&column.as_str())
                    || (column == "id" && ["teams", "locations", "quests_users"].contains(&name));
                assert!(
                    !is_hashed || value.is_none_or(|hash| hash.len() == 32),
                    "{name}.{column}"
                );
            }
        }
    }
    // A login is a short word, so it is looked for as a whole value.
    let logins = "SELECT login FROM users WHERE login IS NOT NULL";
    let logins: BTreeSet<String> = workdir.column(logins).await.into_iter().collect();
    assert!(!logins.is_empty());
    for name in of_packs {
        for row in rows_of(&workdir.path("out"), name) {
            let mut values = row.values().flatten();
            assert_eq!(values.find(|value| logins.contains(*value)), None, "{name}");
        }
    }
    let secrets = "SELECT unnest(ARRAY[email, login || '@']) FROM users UNION SELECT host FROM locations UNION SELECT name FROM events";
    let secrets = workdir.column(secrets).await;
    for path in files(&workdir.path("out")) {
        let text = std::fs::read_to_string(&path).unwrap();
        let found = secrets.iter().find(|secret| text.contains(*secret));
        assert_eq!(found, None, "{}", path.display());
    }
}

/// What a report says of the sessions.
fn sessions(report: &Value) -> &Value {
    let mut resources = report["resources"].as_array().unwrap().iter();
    resources.find(|one| one["name"] == "locations").unwrap()
}

#[tokio::test]
async fn gc_removes_runs_of_named_reads_that_were_read_again() {
    let simulator = start(false).await;
    let workdir = mirror(&simulator, "").await;
    let run = ["run", "--select", "cursus,locations"];
    for _ in 0..3 {
        workdir.json(run).await;
        simulator.advance(HOUR);
    }
    let gc = ["stage", "gc", "--keep", "0s"];
    let report = workdir.json(gc).await;
    // Not all of it: what follows the first read of all is needed with it.
    assert_eq!(report["removed"], serde_json::json!([]), "{report:#}");
    workdir.json([&run[..], &["--full"]].concat()).await;
    let before = mirrored(&workdir, "locations").await;
    let report = workdir.json(gc).await;
    assert_eq!(report["removed"].as_array().unwrap().len(), 3, "{report:#}");
    workdir.json(["replay", "--rebuild"]).await;
    assert_eq!(mirrored(&workdir, "locations").await, before);
    // The staging directory is lost: a new one takes its place.
    std::fs::rename(workdir.path("staging"), workdir.path("lost")).unwrap();
    simulator.advance(2 * HOUR);
    workdir.json(run).await;
    assert!(mirrored(&workdir, "locations").await.len() > before.len());
}

/// The view shows what the enrolments give.
async fn assert_statistics(workdir: &Workdir, when: &str) {
    let shown = "SELECT project_id, slug, name, enrolments, open, validated, failed, pass_rate, tries, days FROM project_statistics";
    let of = |select: &str| format!("SELECT s::text FROM ({select}) AS s ORDER BY 1");
    let (shown, counted) = (workdir.column(&of(shown)).await, of(COUNTED));
    assert!(shown.len() > 5, "{when}: {shown:?}");
    assert_eq!(shown, workdir.column(&counted).await, "{when}");
}

/// As the view was before a table held what it shows.
const COUNTED: &str = "SELECT e.project_id, p.slug, p.name, count(*) AS enrolments, \
    count(*) FILTER (WHERE e.status IN ('in_progress', 'searching_a_group', 'creating_group', 'waiting_for_correction')) AS open, \
    count(*) FILTER (WHERE e.validated) AS validated, count(*) FILTER (WHERE NOT e.validated) AS failed, \
    round(avg(e.validated::integer), 3) AS pass_rate, round(avg(e.occurrence + 1) FILTER (WHERE e.validated), 2) AS tries, \
    round((percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM e.marked_at - e.created_at)) FILTER (WHERE e.validated) \
        / 86400)::numeric, 1) AS days \
    FROM current_enrolments AS e LEFT JOIN projects AS p ON p.id = e.project_id GROUP BY e.project_id, p.slug, p.name";

/// Deletes leave no date to go by. A second load of the same run writes no row of the table.
#[tokio::test]
async fn statistics_follow_enrolments_that_are_deleted() {
    let simulator = start(false).await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["run"]).await;
    assert_statistics(&workdir, "after the first run").await;
    let versions = "SELECT concat_ws(' ', project_id, xmin, xmax, ingested_at) FROM project_totals ORDER BY project_id";
    let before = workdir.column(versions).await;
    workdir.cursus(["load", "--again"]).await.exits(0);
    assert_eq!(workdir.column(versions).await, before);

    // One enrolment is replaced by another. All of a rare project move to its project, so that the rare one loses its row.
    let last = workdir
        .column("SELECT max(id) FROM projects_users WHERE validated")
        .await;
    let last: i64 = last[0].parse().unwrap();
    let rows = simulator.rows("projects_users");
    let row = rows.iter().find(|row| row["id"] == last).unwrap();
    simulator.replace_enrolment(last).unwrap();
    let rare = "SELECT project_id FROM project_totals ORDER BY enrolments, project_id LIMIT 1";
    let rare = workdir.number(rare).await;
    let theirs = rows.iter().filter(|row| row["project"]["id"] == rare);
    for id in theirs.map(|row| row["id"].as_i64().unwrap()) {
        assert!(simulator.set_field("projects_users", id, "project", row["project"].clone()));
    }
    workdir.json(["run", "--full"]).await;
    let left = format!("SELECT count(*) FROM project_totals WHERE project_id = {rare}");
    assert_eq!(workdir.number(&left).await, 0);
    assert_statistics(&workdir, "after deletes").await;
    let changed = workdir.column(versions).await;
    let same = changed.iter().filter(|row| before.contains(row)).count();
    assert!(
        0 < same && same < changed.len(),
        "{same} of {}",
        changed.len()
    );

    simulator.advance(26 * HOUR);
    workdir.json(["run"]).await;
    assert_statistics(&workdir, "after a delta").await;
    let person = workdir
        .number("SELECT user_id FROM projects_users WHERE validated LIMIT 1")
        .await;
    workdir
        .json(["forget", &person.to_string(), "--drop"])
        .await;
    assert_statistics(&workdir, "after an erasure").await;
    workdir.json(["replay", "--rebuild"]).await;
    assert_statistics(&workdir, "after a rebuild").await;
}

/// A mirror whose view counted by itself shows the same after `migrate`, before a load, and so does what people have built on it.
#[tokio::test]
async fn a_view_that_counted_by_itself_becomes_that_of_the_pack() {
    let simulator = start(false).await;
    let workdir = Workdir::with(&simulator).await;
    workdir.pipeline(&[("version = 1 ", "packs = [\"-statistics\"]\nversion = 1 ")]);
    workdir.json(["run"]).await;
    let old = format!(
        "DROP VIEW project_statistics; DROP TABLE project_totals, refinery_schema_history_pack_statistics; \
         CREATE VIEW project_statistics AS {COUNTED}; \
         COMMENT ON VIEW project_statistics IS E'One row per project.\\n[a view of cursus: 0123456789abcdef]'; \
         CREATE VIEW mine AS SELECT * FROM project_statistics WHERE open > 0"
    );
    workdir.query(&old).await;
    let mine = "SELECT m::text FROM mine AS m ORDER BY 1";
    let before = workdir.column(mine).await;
    assert!(!before.is_empty());

    workdir.pipeline(&[]);
    let migrated = workdir.cursus(["migrate"]).await.exits(0);
    let said = migrated.stderr;
    assert!(!said.contains("was not renewed"), "{said}");
    assert!(workdir.count("project_totals").await > 0);
    assert_statistics(&workdir, "before a load").await;
    assert_eq!(workdir.column(mine).await, before);
    workdir.json(["run"]).await;
    assert_statistics(&workdir, "after a load").await;

    // A view of the project's own with this name keeps the pack off.
    workdir.write(
        "sql/views/project_statistics.sql",
        "-- Mine.\nSELECT 1 AS one\n",
    );
    let packs = workdir.json(["pack", "ls"]).await.to_string();
    assert!(
        packs.contains("sql/views/project_statistics.sql is a view of this name"),
        "{packs}"
    );
}
