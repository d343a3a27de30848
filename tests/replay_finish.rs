//! The end of a rebuild in jobs: it may be lost and tried again, leaves nothing behind, and agrees with what happened between its jobs.

use cursus::failpoint::Point;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::replay_groups::{both_groups, scratch_schemas, shelves, state, two_groups};
use crate::support::boxes::{COUNT, boxes, delta, full, stage, stage_of, things};
use crate::support::running::until;
use crate::support::workdir::copy_all;
use crate::support::{Running, Workdir};

/// Two groups, of one run without anything that waits.
async fn one_run() -> Workdir {
    let workdir = two_groups().await;
    stage(&workdir, &both_groups());
    workdir.json(["load"]).await;
    workdir
}

/// Plans, and runs the job of each group.
async fn replay_groups(workdir: &Workdir) {
    let planned = workdir.json(["replay", "--plan"]).await;
    for group in planned["groups"].as_array().unwrap() {
        let group = group["group"].to_string();
        workdir.cursus(["replay", "--group", &group]).await.exits(0);
    }
}

#[tokio::test]
async fn finish_that_was_killed_after_its_commit_is_finished() {
    for (point, nth) in [
        (Point::RebuildCommitted, 1),
        (Point::RebuildDropped, 1),
        (Point::RebuildDropped, 2),
    ] {
        let mut workdir = one_run().await;
        let expected = state(&workdir).await;
        workdir.query("DELETE FROM shelves WHERE id = 2").await;
        replay_groups(&workdir).await;
        workdir.set("CURSUS_FAILPOINT", format!("{}:{nth}=kill", point.name()));
        assert_eq!(workdir.cursus(["replay", "--finish"]).await.code, None);
        workdir.unset("CURSUS_FAILPOINT");
        let dropped = if point == Point::RebuildDropped {
            nth
        } else {
            0
        };
        assert_eq!(scratch_schemas(&workdir).await + dropped, 2);
        // Also again and again: who calls it may have lost any of its ends.
        for _ in 0..2 {
            let again = workdir.cursus(["replay", "--finish"]).await.exits(0);
            assert!(
                again
                    .stdout
                    .contains("nothing to finish: public was rebuilt"),
                "{again}"
            );
            assert_eq!(scratch_schemas(&workdir).await, 0);
        }
        assert_eq!(state(&workdir).await, expected);
        workdir.end().await;
    }
}

/// What a finish has applied is no answer to another question.
#[tokio::test]
async fn finished_rebuild_is_of_its_runs_and_columns_alone() {
    let workdir = one_run().await;
    replay_groups(&workdir).await;
    workdir.cursus(["replay", "--finish"]).await.exits(0);
    let refused = async |why: &str| {
        let finish = workdir.cursus(["replay", "--finish"]).await.exits(4);
        assert!(
            finish.stderr.contains("was not replayed"),
            "{why}: {finish}"
        );
    };
    // One of the groups has begun again.
    workdir.cursus(["replay", "--group", "2"]).await.exits(0);
    refused("a group").await;
    workdir.cursus(["replay", "--group", "1"]).await.exits(0);
    workdir.cursus(["replay", "--finish"]).await.exits(0);
    workdir.write(
        "migrations/mirror/V1002__colour.sql",
        "ALTER TABLE things ADD COLUMN colour text",
    );
    refused("a column").await;
    replay_groups(&workdir).await;
    workdir.cursus(["replay", "--finish"]).await.exits(0);
    assert_eq!(workdir.count("things WHERE colour IS NULL").await, 0);
    stage(&workdir, &[delta("shelves", shelves(4..=4))]);
    refused("a run").await;
    // Another rebuild takes its place.
    replay_groups(&workdir).await;
    workdir.cursus(["replay", "--finish"]).await.exits(0);
    workdir.cursus(["replay", "--rebuild"]).await.exits(0);
    refused("a rebuild").await;
}

/// A server has a limited number of locks, and a mirror with packs hundreds of tables.
#[tokio::test]
async fn finish_locks_no_table_to_drop_it_while_rows_move() {
    let mut workdir = one_run().await;
    replay_groups(&workdir).await;
    workdir.set(
        "CURSUS_FAILPOINT",
        format!("{}=stop", Point::RebuildCommit.name()),
    );
    let finish = Running::start(&workdir, &["replay", "--finish"]);
    workdir.unset("CURSUS_FAILPOINT");
    until("it is about to commit", async || finish.is_stopped()).await;
    let exclusive = "SELECT count(*) FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation \
                     WHERE c.relnamespace::regnamespace::text LIKE '%rebuild%' AND l.mode = 'AccessExclusiveLock'";
    assert_eq!(workdir.number(exclusive).await, 0);
    finish.signal(Signal::SIGCONT);
    finish.end().await.exits(0);
    assert_eq!(scratch_schemas(&workdir).await, 0);
}

/// Each is named once, with what to do; the rebuild is finished.
#[tokio::test]
async fn scratch_schemas_that_cannot_be_dropped_are_named_once() {
    let workdir = one_run().await;
    replay_groups(&workdir).await;
    workdir
        .query(
            "CREATE SCHEMA aside; CREATE FUNCTION aside.no_drop() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN \
             IF tg_tag = 'DROP SCHEMA' THEN RAISE 'not today'; END IF; END $$; \
             CREATE EVENT TRIGGER no_drop ON ddl_command_start EXECUTE FUNCTION aside.no_drop()",
        )
        .await;
    workdir.query("DELETE FROM shelves WHERE id = 2").await;
    for finish in 1..=2 {
        let finished = workdir.cursus(["replay", "--finish"]).await.exits(1);
        for group in 1..=2 {
            let advice =
                format!("drop the schema with `DROP SCHEMA public_rebuild_{group} CASCADE`");
            assert_eq!(
                finished.stderr.matches(&advice).count(),
                1,
                "{finish}: {finished}"
            );
        }
        assert_eq!(workdir.count("shelves").await, 3);
    }
    workdir.query("DROP EVENT TRIGGER no_drop").await;
    workdir.cursus(["replay", "--finish"]).await.exits(0);
    assert_eq!(scratch_schemas(&workdir).await, 0);
}

/// Of an earlier plan, with other groups.
#[tokio::test]
async fn refused_finish_drops_no_schema_and_none_of_a_job() {
    let mut workdir = one_run().await;
    replay_groups(&workdir).await;
    // Now there is one group, and a schema of no group.
    workdir.write(
        "sql/labels.sql",
        "SELECT s.id AS shelf_id, b.name AS text FROM staged_shelves AS s LEFT JOIN boxes AS b ON b.id = s.box_id",
    );
    workdir.cursus(["replay", "--finish"]).await.exits(4);
    assert_eq!(scratch_schemas(&workdir).await, 2);
    workdir.cursus(["replay", "--group", "1"]).await.exits(0);
    // A rebuild that would delete too much.
    workdir
        .query("INSERT INTO shelves (id) SELECT generate_series(100, 200)")
        .await;
    workdir.cursus(["replay", "--finish"]).await.exits(4);
    assert_eq!(scratch_schemas(&workdir).await, 2);
    workdir.query("DELETE FROM shelves WHERE id > 99").await;
    workdir.set("CURSUS_FAILPOINT", "rebuild.committed=stop");
    let finish = Running::start(&workdir, &["replay", "--finish"]);
    workdir.unset("CURSUS_FAILPOINT");
    until("it has committed", async || finish.is_stopped()).await;
    // A job that has the other schema locked.
    let lock = "SELECT pg_advisory_lock(hashtext('cursus load'), hashtext('public_rebuild_2'))";
    workdir.query(lock).await;
    finish.signal(Signal::SIGCONT);
    finish.end().await.exits(0);
    let left = workdir.column("SELECT nspname FROM pg_namespace WHERE nspname ~ 'rebuild'");
    assert_eq!(left.await, ["public_rebuild_2"]);
    workdir.query("SELECT pg_advisory_unlock_all()").await;
    workdir.cursus(["replay", "--finish"]).await.exits(0);
    assert_eq!(scratch_schemas(&workdir).await, 0);
}

/// The run that rebinds the mirror has no pages of one of the groups, whose next run is of the other API.
#[tokio::test]
async fn group_follows_a_rebinding_by_a_run_without_its_pages() {
    let workdir = two_groups().await;
    let (here, there) = (
        ("https://api.example.org", "here"),
        ("https://other.example.org", "here"),
    );
    stage_of(&workdir, here, &both_groups());
    workdir.json(["load"]).await;
    stage_of(&workdir, there, &[full("boxes", boxes(1..=4))]);
    workdir.json(["load", "--adopt"]).await;
    stage_of(&workdir, there, &[delta("shelves", shelves(4..=5))]);
    workdir.json(["load"]).await;
    assert_eq!(workdir.count("shelves").await, 5);
    workdir.cursus(["replay", "--rebuild"]).await.exits(0);
    let expected = state(&workdir).await;
    replay_groups(&workdir).await;
    workdir.cursus(["replay", "--finish"]).await.exits(0);
    let same = |mut state: std::collections::BTreeMap<String, Vec<String>>| {
        // When it was rebound is another time.
        state.remove("pipeline.source");
        state
    };
    assert_eq!(same(state(&workdir).await), same(expected));
    let origin = workdir.column("SELECT origin FROM pipeline.source").await;
    assert_eq!(origin, ["https://other.example.org"]);
}

/// The staging directory is that of a backup; the database knows whom it must not show.
#[tokio::test]
async fn job_shows_nobody_who_was_forgotten_after_the_plan() {
    let workdir = crate::erasure::mirror().await;
    let backup = workdir.path("backup");
    std::fs::create_dir(&backup).unwrap();
    copy_all(&workdir.path("staging"), &backup);
    let planned = workdir.json(["replay", "--plan"]).await;
    workdir.json(["forget", "2"]).await;
    std::fs::remove_dir_all(workdir.path("staging")).unwrap();
    std::fs::create_dir(workdir.path("staging")).unwrap();
    copy_all(&backup, &workdir.path("staging"));
    std::fs::remove_dir_all(&backup).unwrap();
    for group in planned["groups"].as_array().unwrap() {
        let group = group["group"].to_string();
        workdir.cursus(["replay", "--group", &group]).await.exits(0);
    }
    crate::erasure::is_erased(&workdir, "replayed in jobs").await;
    // One who is forgotten now is in the schemas of the groups, too.
    workdir.json(["forget", "1"]).await;
    let logins = "SELECT count(*) FROM (SELECT login FROM users UNION ALL SELECT login FROM public_rebuild_1.users) AS u WHERE login = 'ann'";
    let logins = workdir.query(logins).await;
    assert_eq!(json!(logins), json!([["0"]]));
    let finished = workdir.cursus(["replay", "--finish"]).await;
    assert!(matches!(finished.code, Some(3 | 4)), "{finished}");
    crate::erasure::is_erased(&workdir, "finished").await;
    assert_eq!(
        workdir.json(["replay", "--plan"]).await["groups"][0]["state"],
        Value::from("missing")
    );
}

/// It fails in the schema of a group, where a table that people have made is not, and succeeds in the mirror.
#[tokio::test]
async fn derived_statement_that_failed_in_a_job_is_settled() {
    let workdir = one_run().await;
    workdir.write("sql/count.sql", format!("{COUNT}; SELECT FROM marker"));
    stage(&workdir, &[delta("things", things(9..=9))]);
    workdir.cursus(["load"]).await.exits(1);
    workdir
        .query("CREATE TABLE public.marker (id bigint)")
        .await;
    let planned = workdir.json(["replay", "--plan"]).await;
    for group in planned["groups"].as_array().unwrap() {
        let group = group["group"].to_string();
        workdir.cursus(["replay", "--group", &group]).await;
    }
    let failed = workdir.column("SELECT DISTINCT schema_name FROM pipeline.derive_failed");
    assert_eq!(failed.await.len(), 3, "the mirror, and two groups");
    workdir.cursus(["replay", "--finish"]).await.exits(0);
    assert_eq!(workdir.count("pipeline.derive_failed").await, 0);
}
