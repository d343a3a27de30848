//! How rows were: at each run as the mirror was then, kept by loads or rebuilt from staging.

use fastrand::Rng;

use crate::histories::{World, approve};
use crate::support::Workdir;
use crate::support::boxes::{
    PIPELINE, boxes, delta, directory, full, stage, stage_at, thing, things, workdir, workdir_of,
};
use crate::support::running::rows_read;

/// Every column of every table.
const KEPT: &str = "[history.tables]\nboxes = [\"name\", \"things\"]\n\
    things = [\"box_id\", \"weight\", \"document\", \"seen_at\"]\nparts = [\"size\"]\nnotes = [\"thing_id\", \"text\"]\n";
const TABLES: [&str; 4] = ["boxes", "things", "parts", "notes"];

async fn kept() -> Workdir {
    let workdir = workdir().await;
    workdir.write("pipeline.toml", format!("{PIPELINE}{KEPT}"));
    workdir
}

/// The beginning of a run; its reads are a second apart.
fn day(step: i64) -> String {
    format!("2026-03-{:02}T00:00:00Z", step + 1)
}

/// When all of that run was read.
fn noon(step: i64) -> String {
    format!("2026-03-{:02}T12:00:00Z", step + 1)
}

/// The rows of tables, as the mirror has them or as they were.
async fn rows(workdir: &Workdir, from: impl Fn(&str) -> String) -> Vec<Vec<String>> {
    let mut all = Vec::new();
    for table in TABLES {
        let from = from(table);
        let rows =
            format!("SELECT (to_jsonb(t) - 'ingested_at')::text FROM {from} AS t ORDER BY 1");
        all.push(workdir.column(&rows).await);
    }
    all
}

async fn rows_at(workdir: &Workdir, at: &str) -> Vec<Vec<String>> {
    rows(workdir, |table| {
        format!("pipeline.as_of(NULL::{table}, '{at}')")
    })
    .await
}

/// All that is kept of the mirror, but for the numbers of entries.
async fn entries(workdir: &Workdir) -> Vec<String> {
    workdir
        .column("SELECT concat_ws(' ', table_name, key, row, valid_from, from_run, valid_to, to_run) FROM pipeline.history \
            WHERE schema_name = 'public' ORDER BY table_name, key::text, valid_from")
        .await
}

async fn spans(workdir: &Workdir) -> Vec<String> {
    workdir
        .column("SELECT concat_ws(' ', schema_name, table_name, columns, valid_from, from_run, valid_to, to_run, changed_at) \
            FROM pipeline.history_span ORDER BY 1")
        .await
}

/// Leavers, late parents, approvals, derived columns, and updates by other resources; gives how many entries were closed.
async fn keep_histories(seeds: std::ops::Range<u64>) -> usize {
    let mut closed = 0;
    for seed in seeds {
        let workdir = workdir().await;
        let things = "name = \"things\"\nfrom = \"things\"\n";
        let also = format!("{things}also_from = {{ notes = \"/thing\" }}\n");
        // What is followed as well has its own columns.
        let changes = "[changes.tables]\nthings = [\"weight\"]\nparts = [\"size\", \"thing_id\"]\n";
        let pipeline = format!("{PIPELINE}{changes}{KEPT}").replace(things, &also);
        workdir.write("pipeline.toml", pipeline);
        let mut rng = Rng::with_seed(seed);
        let mut world = World::default();
        let (mut mirrors, mut runs) = (Vec::new(), Vec::new());
        for step in 0..8 {
            let changed = world.change(&mut rng, step);
            runs.push(stage_at(
                &workdir,
                &day(step),
                &world.reads(&mut rng, step, &changed),
            ));
            let loaded = workdir.cursus(["load", "-q"]).await;
            assert!(matches!(loaded.code, Some(0 | 3 | 4)), "{loaded}");
            approve(&workdir, &mut rng).await;
            mirrors.push(rows(&workdir, str::to_owned).await);
        }
        for (step, mirror) in (0..).zip(&mirrors) {
            let then = rows_at(&workdir, &noon(step)).await;
            assert_eq!(then, *mirror, "seed {seed}, step {step}");
        }
        let (before, known) = (entries(&workdir).await, spans(&workdir).await);
        workdir.cursus(["load", "-q"]).await;
        workdir.cursus(["load", "--dry-run", "-q"]).await;
        assert_eq!(entries(&workdir).await, before, "seed {seed}: nothing new");
        let place = rng.usize(..runs.len());
        let replayed = workdir
            .cursus(["replay", "--into", "past", "-q", "--to", &runs[place]])
            .await;
        assert!(matches!(replayed.code, Some(0 | 3 | 4)), "{replayed}");
        let past = rows(&workdir, |table| format!("past.{table}")).await;
        assert_eq!(past, mirrors[place], "seed {seed}, to step {place}");
        let of_past = rows(&workdir, |table| {
            let at = noon(i64::try_from(place).unwrap());
            format!("pipeline.as_of(NULL::past.{table}, '{at}')")
        });
        assert_eq!(of_past.await, past, "seed {seed}, to step {place}");
        workdir.query("DROP SCHEMA past CASCADE; DELETE FROM pipeline.history_span WHERE schema_name = 'past'").await;
        workdir.cursus(["history", "rebuild"]).await.exits(0);
        assert_eq!(entries(&workdir).await, before, "seed {seed}, rebuilt");
        assert_eq!(spans(&workdir).await, known, "seed {seed}, rebuilt");
        closed += workdir
            .count("pipeline.history WHERE schema_name = 'public' AND valid_to IS NOT NULL")
            .await;
    }
    closed
}

#[tokio::test]
async fn the_history_at_a_run_is_the_mirror_then() {
    let closed = keep_histories(0..1).await;
    assert!(closed > 20, "{closed}");
}

#[tokio::test]
#[ignore = "matrix"]
async fn random_histories_are_kept_as_they_were() {
    keep_histories(1..5).await;
}

/// From its first load on a table is known; what it was before, the staged runs tell.
#[tokio::test]
async fn a_new_column_is_null_until_the_rebuild_fills_it() {
    let workdir = workdir().await;
    let first = full("boxes", boxes(1..=3));
    stage_at(&workdir, &day(0), &[first, full("things", things(1..=9))]);
    workdir.cursus(["load"]).await.exits(0);
    workdir.write("pipeline.toml", format!("{PIPELINE}{KEPT}"));
    stage_at(&workdir, &day(1), &[delta("things", vec![thing(1, 2.5)])]);
    workdir.cursus(["load"]).await.exits(0);
    workdir.write(
        "migrations/mirror/V1001__colour.sql",
        "ALTER TABLE things ADD COLUMN colour text",
    );
    let with_colour = KEPT.replace("\"weight\",", "\"weight\", \"colour\",");
    workdir.write("pipeline.toml", format!("{PIPELINE}{with_colour}"));
    let mut all = things(1..=9);
    all[0] = thing(1, 3.5);
    stage_at(&workdir, &day(2), &[full("things", all)]);
    workdir.cursus(["load"]).await.exits(0);
    let colours = async |step| {
        let at = noon(step);
        let of = format!(
            "SELECT concat_ws(' ', weight, coalesce(colour, '-')) FROM pipeline.as_of(NULL::things, '{at}') WHERE id = 1"
        );
        workdir.column(&of).await
    };
    assert_eq!(colours(1).await, ["2.5 -"]);
    assert_eq!(colours(2).await, ["3.5 c1"]);
    let early = ["explain", "things", "1", "--at", &day(0)];
    workdir
        .cursus(early)
        .await
        .exits(4)
        .says("is not known; known is from 2026-03-02");
    workdir
        .cursus(["history", "rebuild", "--table", "things"])
        .await
        .exits(0);
    assert_eq!(colours(0).await, ["1.5 c1"]);
    assert_eq!(colours(1).await, ["2.5 c1"]);
    assert_eq!(colours(2).await, ["3.5 c1"]);
    // The other tables were not asked for.
    let boxes = ["explain", "boxes", "1", "--at", &noon(0)];
    workdir.cursus(boxes).await.exits(4);
}

/// An absence that deletes nothing is no end.
#[tokio::test]
async fn a_row_ends_by_a_delete_and_by_no_absence() {
    let workdir = kept().await;
    let all = [full("boxes", boxes(1..=3)), full("things", things(1..=9))];
    stage_at(&workdir, &day(0), &all);
    workdir.cursus(["load"]).await.exits(0);
    let run = stage_at(&workdir, &day(1), &[full("things", things(1..=2))]);
    workdir.cursus(["load"]).await.exits(4);
    let ended = "SELECT DISTINCT concat_ws(' ', valid_to, to_run) FROM pipeline.history WHERE table_name = 'things' AND valid_to IS NOT NULL";
    assert_eq!(workdir.column(ended).await, Vec::<String>::new());
    assert_eq!(rows_at(&workdir, &noon(1)).await[1].len(), 9);
    workdir
        .cursus(["prune", "approve", "latest"])
        .await
        .exits(0);
    assert_eq!(
        workdir.column(ended).await,
        [format!("2026-03-02 00:00:00+00 {run}")]
    );
    assert_eq!(rows_at(&workdir, &noon(0)).await[1].len(), 9);
    assert_eq!(rows_at(&workdir, &noon(1)).await[1].len(), 2);
    // A mirror that somebody has damaged is so until it is repaired.
    workdir
        .query("DELETE FROM parts; UPDATE things SET weight = 7")
        .await;
    let before = entries(&workdir).await;
    workdir
        .cursus(["replay", "--rebuild", "-q", "--allow-prune"])
        .await
        .exits(0);
    assert_eq!(entries(&workdir).await, before);
}

/// What removed runs have shown is kept, and so is its end.
#[tokio::test]
async fn a_rebuild_keeps_what_is_older_than_the_staged_runs() {
    let workdir = kept().await;
    let mut runs = Vec::new();
    for step in 0..5 {
        let mut all = things(1..=9);
        all[1] = thing(2, 1.5 + if step > 2 { 1.0 } else { 0.0 });
        all[2] = thing(3, 10.0 + f64::from(i32::try_from(step).unwrap()));
        let reads = [
            full("boxes", boxes(1..=3)),
            full("things", all),
            full("notes", Vec::new()),
        ];
        runs.push(stage_at(&workdir, &day(step), &reads));
        workdir.cursus(["load"]).await.exits(0);
    }
    let before = entries(&workdir).await;
    let known = spans(&workdir).await;
    for run in &runs[..2] {
        std::fs::remove_dir_all(directory(&workdir, run)).unwrap();
    }
    let ran = workdir.cursus(["history", "rebuild"]).await.exits(0);
    ran.says(&format!(
        "what is older than the run {} was not rebuilt",
        runs[2]
    ));
    assert_eq!(entries(&workdir).await, before);
    // In two parts, without a gap.
    assert_eq!(spans(&workdir).await.len(), 2 * known.len());
    for step in 0..5 {
        let weights = rows_at(&workdir, &noon(step)).await;
        assert_eq!(weights[1].len(), 9, "step {step}");
    }
    // Without a full read after the gap nothing is rebuilt.
    stage_at(&workdir, &day(5), &[delta("things", vec![thing(1, 9.0)])]);
    workdir.cursus(["load"]).await.exits(0);
    let before = entries(&workdir).await;
    for run in &runs[2..] {
        std::fs::remove_dir_all(directory(&workdir, run)).unwrap();
    }
    let ran = workdir.cursus(["history", "rebuild"]).await;
    assert_ne!(ran.code, Some(0), "{ran}");
    assert_eq!(entries(&workdir).await, before);
}

/// Taken out of the configuration for a while, rows are known before and after.
#[tokio::test]
async fn a_gap_in_the_history_is_named_and_never_filled() {
    let workdir = kept().await;
    let all = [full("boxes", boxes(1..=3)), full("things", things(1..=9))];
    stage_at(&workdir, &day(0), &all);
    workdir.cursus(["load"]).await.exits(0);
    for (step, pipeline) in [(1, PIPELINE.to_owned()), (2, format!("{PIPELINE}{KEPT}"))] {
        workdir.write("pipeline.toml", pipeline);
        let weight = if step == 1 { 2.5 } else { 3.5 };
        stage_at(
            &workdir,
            &day(step),
            &[delta("things", vec![thing(1, weight)])],
        );
        workdir.cursus(["load"]).await.exits(0);
    }
    let at = async |at: &str| workdir.cursus(["explain", "things", "1", "--at", at]).await;
    assert!(at(&noon(0)).await.exits(0).stdout.contains("1.5"));
    at(&noon(1)).await.exits(4).says("known is from 2026-03-01T00:00:01Z to 2026-03-02T00:00:00Z, from 2026-03-03T00:00:00Z to now");
    assert!(at("2026-03-04").await.exits(0).stdout.contains("3.5"));
    let sql = format!("SELECT * FROM pipeline.as_of('things', '{}')", noon(1));
    let refused = workdir.cursus(["sql", &sql]).await;
    assert_ne!(refused.code, Some(0), "{refused}");
    refused.says("how the rows of public.things were at");
}

#[tokio::test]
async fn rows_as_they_were_have_the_types_of_the_table() {
    let pipeline = "[[resource]]\nname = \"select\"\npath = \"/select\"\n[[table]]\nname = \"order\"\nfrom = \"select\"\n\
        [history.tables]\norder = [\"row\", \"user\", \"tags\", \"seen\", \"amount\"]\n";
    let tables = "CREATE TABLE \"order\" (\"table\" text, lost int, \"group\" bigint, \"row\" double precision, \"user\" json, tags text[], \
        seen timestamptz, amount real, note text, PRIMARY KEY (\"group\", \"table\"))";
    let workdir = workdir_of(pipeline, tables).await;
    let row = |amount: f64| {
        format!(
            "{{\"id\": 1, \"table\": \"it's \\\"x\\\"\", \"group\": 1, \"row\": 0.1, \"user\": {{\"a\": [1]}}, \"tags\": [\"a\", null, \"b,c\"], \
             \"seen\": \"2026-01-01T00:00:00.123Z\", \"amount\": {amount}, \"note\": \"canary\", \"lost\": 1}}"
        )
    };
    stage_at(&workdir, &day(0), &[full("select", vec![row(1.5)])]);
    workdir.cursus(["load"]).await.exits(0);
    stage_at(&workdir, &day(1), &[full("select", vec![row(2.5)])]);
    workdir.cursus(["load"]).await.exits(0);
    workdir
        .query("ALTER TABLE \"order\" DROP COLUMN lost")
        .await;
    let typed = format!(
        "SELECT concat_ws(' ', \"table\", \"group\" + 1, \"row\" * 10, \"user\"->'a', tags[3], extract(milliseconds FROM seen), amount + 1, \
         coalesce(note, 'not kept')) FROM pipeline.as_of(NULL::\"order\", '{}')",
        noon(0)
    );
    assert_eq!(
        workdir.column(&typed).await,
        ["it's \"x\" 2 1 [1] b,c 123.000 2.5 not kept"]
    );
    let entry = format!(
        "SELECT concat_ws(' ', row->'amount', from_run) FROM pipeline.as_of('\"order\"', '{}')",
        noon(1)
    );
    let amounts = workdir.column(&entry).await;
    assert!(amounts[0].starts_with("2.5 20260302"), "{amounts:?}");
    assert_eq!(
        workdir
            .count("pipeline.history WHERE row::text LIKE '%canary%'")
            .await,
        0
    );
    let then = workdir
        .cursus(["explain", "order", "1,it's \"x\"", "--at", &noon(0)])
        .await
        .exits(0);
    let run = workdir
        .column("SELECT min(run_id) FROM pipeline.run")
        .await
        .remove(0);
    insta::assert_snapshot!(
        then.stdout
            .replace(&run, "RUN-1")
            .replace(&run.replace("20260301", "20260302"), "RUN-2")
    );
    let json = workdir
        .json(["explain", "order", "1,it's \"x\"", "--at", &noon(0)])
        .await;
    assert_eq!(json["row"]["amount"], 1.5, "{json}");
    assert_eq!(json["valid_to"], "2026-03-02T00:00:00Z", "{json}");
}

#[tokio::test]
async fn what_history_is_asked_for_must_be_there() {
    let workdir = workdir().await;
    let with = |tables: &str| {
        workdir.write(
            "pipeline.toml",
            format!("{PIPELINE}[history.tables]\n{tables}"),
        );
    };
    with(
        "bxoes = [\"name\"]\nthings = \"weight\"\nparts = [1, \"Size\"]\nnotes = [\"text\", \"text\"]\n",
    );
    let refused = workdir.cursus(["load"]).await.exits(2);
    for said in [
        "did you mean `boxes`",
        "a list of columns",
        "is a text",
        "a name is",
        "has text twice",
    ] {
        assert!(refused.stderr.contains(said), "{said}: {refused}");
    }
    with("boxes = [\"nmae\", \"ingested_at\"]\n");
    stage_at(&workdir, &day(0), &[full("boxes", boxes(1..=3))]);
    let refused = workdir.cursus(["load"]).await;
    assert_ne!(refused.code, Some(0), "{refused}");
    for said in ["did you mean `name`", "[history] follows `ingested_at`"] {
        assert!(refused.stderr.contains(said), "{said}: {refused}");
    }
    // The key may be left out, or be listed.
    with("boxes = []\nparts = [\"id\"]\n");
    workdir.cursus(["load"]).await.exits(0);
    let at = ["explain", "boxes", "2", "--at", &noon(0)];
    let shown = workdir.cursus(at).await.exits(0);
    assert!(shown.stdout.contains("id      2"), "{shown}");
    for (arguments, code, said) in [
        (
            ["explain", "boxes", "7", "--at", "2026-03-02"],
            1,
            "there was no such row in public",
        ),
        (
            ["explain", "boxes", "7", "--at", "2026-02-28"],
            4,
            "is not known; known is from 2026-03-01",
        ),
        (
            ["explain", "boxes", "7", "--at", "yesterday"],
            2,
            "a day like 2026-10-01",
        ),
        (
            ["explain", "notes", "7", "--at", "2026-03-02"],
            2,
            "no history of notes is kept",
        ),
        (
            ["history", "rebuild", "--table", "notes", "-q"],
            2,
            "has no table `notes`",
        ),
    ] {
        workdir.cursus(arguments).await.exits(code).says(said);
    }
    for (sql, said) in [
        (
            "pipeline.as_of('nothing', '2026-03-02')",
            "there is no table nothing",
        ),
        (
            "pipeline.as_of('notes', '2026-03-02')",
            "no history of public.notes is kept",
        ),
        (
            "pipeline.as_of(NULL::notes, '2026-03-02')",
            "no history of public.notes is kept",
        ),
        (
            "pipeline.as_of(1, '2026-03-02')",
            "is not the type of the rows of a table",
        ),
        ("pipeline.as_of(NULL::boxes, NULL)", "at no time"),
    ] {
        let refused = workdir
            .cursus(["sql", &format!("SELECT * FROM {sql}")])
            .await;
        assert_ne!(refused.code, Some(0), "{refused}");
        refused.says(said);
    }
    with("");
    let none = workdir.cursus(["history", "rebuild"]).await.exits(0);
    assert!(none.stdout.contains("no history is kept"), "{none}");
}

/// Also where the server has no statistics of a history that has just begun.
#[tokio::test]
async fn few_changed_rows_read_few_versions() {
    let workdir = kept().await;
    let all = |weight| (1..=2_000).map(|id| thing(id, weight)).collect();
    stage(
        &workdir,
        &[full("boxes", boxes(1..=3)), full("things", all(0.5))],
    );
    workdir.cursus(["load"]).await.exits(0);
    // Things, their parts, and boxes.
    let before = rows_read(&workdir, "pipeline.history", "written = 4003").await;
    let few = (1..=5).map(|id| thing(id, 1.5)).collect();
    stage(&workdir, &[delta("things", few)]);
    workdir.cursus(["load"]).await.exits(0);
    // Each of the five is closed, and opened as it is now.
    let read = rows_read(&workdir, "pipeline.history", "written = 4013").await - before;
    assert!((5..=40).contains(&read), "{read} versions were read");
    // Only now: this session's own reads are counted as well.
    let closed = "pipeline.history WHERE valid_to IS NOT NULL";
    assert_eq!(workdir.count(closed).await, 5);
}
