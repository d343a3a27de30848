//! Triggers, rules and policies that change, drop or hide rows: a mirror that does not hold what was read is not loaded.

use serde_json::{Value, json};

use crate::support::boxes::{boxes, delta, full, stage, thing, things, workdir};
use crate::support::{Shared, Workdir};

/// A mirror of boxes, twenty things with a part each, and notes within them.
async fn loaded() -> Workdir {
    static LOADED: Shared = Shared::new();
    let load = async || {
        let workdir = workdir().await;
        stage(&workdir, &first());
        workdir.json(["load"]).await;
        workdir
    };
    LOADED.workdir(load).await
}

fn first() -> [crate::support::boxes::Read<'static>; 3] {
    let note = |id: i64| json!({"id": id, "thing_id": id, "text": "n"}).to_string();
    [
        full("boxes", boxes(1..=3)),
        full("things", things(1..=20)),
        full("notes", (1..=20).map(note).collect()),
    ]
}

fn of_table<'r>(report: &'r Value, table: &str) -> &'r Value {
    let tables = report["tables"].as_array().unwrap();
    let found = tables.iter().find(|entry| entry["name"] == table);
    found.unwrap_or(&Value::Null)
}

/// A trigger before something that happens to each row of things: it does this.
fn trigger(before: &str, does: &str) -> String {
    format!(
        "CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {does} END $$; \
         CREATE TRIGGER meddler BEFORE {before} ON things FOR EACH ROW EXECUTE FUNCTION meddle()"
    )
}

const SKIPS_2: &str = "IF NEW.id % 10 = 2 THEN RETURN NULL; END IF; RETURN NEW;";

#[tokio::test]
async fn rows_that_a_trigger_drops_are_not_unchanged() {
    // Into an empty table, beside known rows, and from a delta.
    for (is_first, is_full) in [(true, true), (false, true), (false, false)] {
        let workdir = if is_first {
            workdir().await
        } else {
            loaded().await
        };
        workdir.cursus(["migrate"]).await.exits(0);
        workdir.query(&trigger("INSERT", SKIPS_2)).await;
        let more = if is_full { full } else { delta };
        let reads = if is_first {
            first().to_vec()
        } else {
            vec![more("things", things(1..=25))]
        };
        stage(&workdir, &reads);
        let ran = workdir.cursus(["load"]).await.exits(1);
        assert!(ran.stderr.contains("the trigger meddler"), "{ran}");
        assert!(ran.stderr.contains("rows of things were not"), "{ran}");
        let count = workdir.number("SELECT count(*) FROM things").await;
        assert_eq!(count, if is_first { 0 } else { 20 });
        // The notes, which are within things, wait with them.
        let notes = if is_first { 0 } else { 20 };
        assert_eq!(workdir.number("SELECT count(*) FROM notes").await, notes);
        workdir.query("DROP TRIGGER meddler ON things").await;
        let report = workdir.json(["load"]).await;
        let inserted = if is_first { 20 } else { 5 };
        assert_eq!(of_table(&report, "things")["inserted"], inserted);
        assert_eq!(
            of_table(&report, "things")["unchanged"],
            25 - 5 * i64::from(is_first) - inserted
        );
    }
}

#[tokio::test]
async fn changes_that_a_trigger_or_a_rule_drops_are_not_unchanged() {
    let skips = trigger("UPDATE", SKIPS_2);
    let keeps = trigger("UPDATE", "RETURN OLD;");
    let changes = trigger("INSERT OR UPDATE", "NEW.weight := 7; RETURN NEW;");
    let rule =
        "CREATE RULE meddler AS ON UPDATE TO things WHERE old.id = 2 DO INSTEAD NOTHING".to_owned();
    let elsewhere =
        "CREATE TABLE aside (LIKE things); CREATE RULE meddler AS ON INSERT TO things DO INSTEAD \
                     INSERT INTO aside VALUES (new.*)"
            .to_owned();
    for (number, meddler) in [skips, keeps, changes, rule, elsewhere].iter().enumerate() {
        for is_full in [true, false] {
            let workdir = loaded().await;
            workdir.query(meddler).await;
            let mut records: Vec<String> = (1..=20).map(|id| thing(id, 9.5)).collect();
            records.push(thing(21, 9.5));
            let read = if is_full { full } else { delta };
            stage(&workdir, &[read("things", records.clone())]);
            let ran = workdir.cursus(["load"]).await.exits(1);
            assert!(ran.stderr.contains(" meddler"), "{number}: {ran}");
            let heavy = "SELECT count(*) FROM things WHERE weight <> 1.5";
            assert_eq!(workdir.number(heavy).await, 0, "{number}: all or nothing");
            let what = if meddler.contains("RULE") {
                "RULE"
            } else {
                "TRIGGER"
            };
            workdir
                .query(&format!("DROP {what} meddler ON things"))
                .await;
            let report = workdir.json(["load"]).await;
            assert_eq!(of_table(&report, "things")["updated"], 20, "{number}");
            assert_eq!(workdir.count("things WHERE weight = 9.5").await, 21);
        }
    }
}

#[tokio::test]
async fn triggers_that_change_no_row_are_accepted() {
    let workdir = loaded().await;
    let audit = "CREATE TABLE audit (id bigint); \
         CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO audit VALUES (NEW.id); RETURN NULL; END $$; \
         CREATE TRIGGER audit AFTER INSERT OR UPDATE ON things FOR EACH ROW EXECUTE FUNCTION note()";
    workdir.query(audit).await;
    workdir
        .query(&trigger(
            "INSERT OR UPDATE",
            "NEW.ingested_at := '2020-01-01'; RETURN NEW;",
        ))
        .await;
    let records = vec![thing(1, 1.5), thing(2, 9.5), thing(21, 9.5)];
    stage(&workdir, &[delta("things", records)]);
    let report = workdir.json(["load"]).await;
    let things = of_table(&report, "things");
    let counts = ["inserted", "updated", "unchanged"].map(|name| things[name].as_i64().unwrap());
    assert_eq!(counts, [1, 1, 1], "{things:#}");
    assert_eq!(workdir.count("audit").await, 2);
}

#[tokio::test]
async fn rows_that_a_trigger_keeps_are_reported() {
    let workdir = loaded().await;
    workdir.query(&trigger("DELETE", "RETURN NULL;")).await;
    let run = stage(&workdir, &[full("things", things(1..=19))]);
    let ran = workdir.cursus(["load"]).await.exits(1);
    assert!(
        ran.stderr
            .contains("1 of 1 rows of things were not deleted"),
        "{ran}"
    );
    // What depends on them stays too, and counts as not loaded.
    for table in ["things", "notes"] {
        let count = format!("SELECT count(*) FROM {table}");
        assert_eq!(workdir.number(&count).await, 20);
    }
    let loaded = format!("SELECT count(*) FROM pipeline.load WHERE run_id = '{run}'");
    assert_eq!(workdir.number(&loaded).await, 0);
    workdir.query("DROP TRIGGER meddler ON things").await;
    workdir.json(["load"]).await;
    assert_eq!(workdir.count("notes").await, 19);

    // Nor is an approval done that they do not let happen.
    let run = stage(&workdir, &[full("things", things(1..=5))]);
    workdir.cursus(["load"]).await.exits(4);
    workdir
        .query(
            "CREATE TRIGGER meddler BEFORE DELETE ON things FOR EACH ROW EXECUTE FUNCTION meddle()",
        )
        .await;
    let ran = workdir.cursus(["prune", "approve", &run]).await.exits(1);
    assert!(
        ran.stderr
            .contains("14 of 14 rows of things were not deleted"),
        "{ran}"
    );
    assert_eq!(workdir.json(["prune", "ls"]).await[0]["rows"], 14);
}

#[tokio::test]
async fn retried_row_that_a_trigger_drops_stays_quarantined() {
    let workdir = loaded().await;
    let orphan = thing(22, 1.0).replace("\"box_id\":1", "\"box_id\":9");
    stage(&workdir, &[delta("things", vec![orphan])]);
    workdir.json_exits(3, ["load"]).await;
    workdir.query(&trigger("INSERT", SKIPS_2)).await;
    stage(&workdir, &[full("boxes", boxes(1..=9))]);
    workdir
        .cursus(["load"])
        .await
        .exits(0)
        .says("the trigger meddler");
    let waiting = "SELECT count(*) FROM pipeline.quarantine";
    assert_eq!(workdir.number(waiting).await, 1);
    workdir.query("DROP TRIGGER meddler ON things").await;
    stage(&workdir, &[full("boxes", boxes(1..=9))]);
    workdir.json(["load"]).await;
    assert_eq!(workdir.number(waiting).await, 0);
    assert_eq!(workdir.count("things").await, 21);
}

#[tokio::test]
async fn rebuild_blocked_by_a_trigger_changes_nothing() {
    let workdir = loaded().await;
    workdir
        .query("UPDATE things SET weight = 3 WHERE id = 2")
        .await;
    workdir.query(&trigger("UPDATE", SKIPS_2)).await;
    let rebuild = ["replay", "--rebuild"];
    workdir
        .cursus(rebuild)
        .await
        .exits(1)
        .says("the trigger meddler");
    workdir.query("DROP TRIGGER meddler ON things").await;
    workdir.cursus(rebuild).await.exits(0);
    assert_eq!(workdir.count("things WHERE weight = 1.5").await, 20);
    workdir.query("INSERT INTO things (id) VALUES (50)").await;
    workdir
        .query("CREATE OR REPLACE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; \
                CREATE TRIGGER meddler BEFORE DELETE ON things FOR EACH ROW EXECUTE FUNCTION meddle()")
        .await;
    workdir.cursus(rebuild).await.exits(1).says("not deleted");
}

/// A role of its own, from which a policy hides four of the things.
async fn hide(workdir: &mut Workdir) {
    let database = workdir.column("SELECT current_database()").await.remove(0);
    let role = format!("reader_{database}");
    workdir
        .query(&format!(
            "CREATE ROLE {role} LOGIN; GRANT ALL ON SCHEMA public, pipeline TO {role}; \
             GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}; GRANT ALL ON ALL TABLES IN SCHEMA pipeline TO {role}; \
             GRANT ALL ON DATABASE {database} TO {role}; GRANT USAGE ON ALL SEQUENCES IN SCHEMA pipeline TO {role}; \
             ALTER TABLE things ENABLE ROW LEVEL SECURITY; CREATE POLICY few ON things USING (id > 4)"
        ))
        .await;
    let url = workdir.variable("CURSUS_DATABASE_URL").to_owned();
    assert!(url.contains("cursus"), "{url}");
    let url = url.replacen("cursus@", &format!("{role}@"), 1);
    let url = url.replacen("user=cursus", &format!("user={role}"), 1);
    workdir.set("CURSUS_DATABASE_URL", url);
}

#[tokio::test]
async fn rows_that_a_policy_hides_take_none_with_them() {
    let mut workdir = loaded().await;
    hide(&mut workdir).await;
    let all = async || {
        for table in ["things", "parts", "notes"] {
            let count = format!("SELECT count(*) FROM {table}");
            assert_eq!(workdir.number(&count).await, 20, "{table}");
        }
        // They are in box 1, which the API does not show any more.
        let boxes = "SELECT count(*) FROM boxes WHERE id = 1";
        assert_eq!(workdir.number(boxes).await, 1);
    };
    // Only what is hidden refers to box 1, and notes to what is hidden; nothing of things is read.
    let moved = "UPDATE things SET box_id = 2 WHERE id > 4";
    workdir.query(moved).await;
    stage(&workdir, &[full("boxes", boxes(2..=3))]);
    workdir.json(["load"]).await;
    all().await;
    // Things fail, since some are there that cannot be seen: by themselves, and with what depends on them.
    for reads in [&first()[1..2], &first()[..]] {
        stage(&workdir, reads);
        workdir.cursus(["load"]).await.exits(1);
        all().await;
    }
}
