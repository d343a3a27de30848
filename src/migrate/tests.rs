use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::*;
use crate::database::catalogue::{self, OnDelete, TableShape};
use crate::database::testing;

fn own(folder: &Path) -> Extra {
    Extra {
        folder: Some(folder.to_owned()),
        ..Extra::default()
    }
}

async fn shapes(client: &Client, schema: &str) -> Vec<TableShape> {
    let mut shapes = Vec::new();
    for name in catalogue::table_names(client, schema).await.unwrap() {
        let shape = catalogue::table(client, schema, &name).await.unwrap();
        shapes.push(shape.unwrap());
    }
    shapes
}

async fn migrated() -> Client {
    let mut client = testing::database().await;
    migrate(&mut client, "public", &Extra::default(), None)
        .await
        .unwrap();
    client
}

#[tokio::test]
async fn every_table_and_column_tells_what_it_is() {
    let client = migrated().await;
    for schema in ["public", LEDGER_SCHEMA] {
        for table in shapes(&client, schema).await {
            assert!(table.comment.is_some(), "{schema}.{}", table.name);
            for column in &table.columns {
                assert!(column.comment.is_some(), "{}.{}", table.name, column.name);
            }
        }
    }
}

#[tokio::test]
async fn who_migrates_is_known_to_those_who_wait() {
    let client = testing::database().await;
    assert_eq!(holder(&client, LOCK_KEY, "").await, "");
    let other = testing::same_database(&client).await;
    let name = "SET application_name = 'cursus migrate pid=7'";
    other.batch_execute(name).await.unwrap();
    other
        .query_one("SELECT pg_advisory_lock($1)", &[&LOCK])
        .await
        .unwrap();
    let known = holder(&client, LOCK_KEY, "").await;
    assert!(
        known.starts_with(" (pid 7, `cursus migrate`, since 20"),
        "{known}"
    );
}

#[tokio::test]
async fn a_second_migrate_changes_nothing_and_a_scratch_is_one_call() {
    let mut client = testing::database().await;
    let waiting = pending(&client, "public", &Extra::default()).await.unwrap();
    let first = migrate(&mut client, "public", &Extra::default(), None)
        .await
        .unwrap();
    assert_eq!(first.applied, waiting);
    assert_eq!(first.applied[0], "pipeline/V1__books");
    let second = migrate(&mut client, "public", &Extra::default(), None)
        .await
        .unwrap();
    assert!(second.applied.is_empty());
    let scratch = migrate(&mut client, "a \"scratch\"", &Extra::default(), None)
        .await
        .unwrap();
    assert_eq!(
        scratch.applied.len(),
        first.applied.len() - SHIPPED_LEDGER.files().count()
    );

    let bare = |mut shape: TableShape, schema: &str| {
        assert_eq!(shape.schema, schema);
        for key in shape.references.iter_mut().chain(&mut shape.referenced_by) {
            assert_eq!((&*key.schema, &*key.referenced_schema), (schema, schema));
            key.schema.clear();
            key.referenced_schema.clear();
        }
        shape.schema.clear();
        shape
    };
    let public: Vec<_> = shapes(&client, "public").await;
    let scratch: Vec<_> = shapes(&client, "a \"scratch\"").await;
    assert_eq!(
        public
            .into_iter()
            .map(|s| bare(s, "public"))
            .collect::<Vec<_>>(),
        scratch
            .into_iter()
            .map(|s| bare(s, "a \"scratch\""))
            .collect::<Vec<_>>()
    );
    let path = client.query_one("SHOW search_path", &[]).await.unwrap();
    assert_eq!(path.get::<_, &str>(0), "\"$user\", public");
}

#[tokio::test]
async fn many_processes_may_migrate_at_once() {
    let mut client = testing::database().await;
    let mut others = Vec::new();
    for _ in 0..3 {
        others.push(testing::same_database(&client).await);
    }
    let [a, b, c] = &mut others[..] else {
        unreachable!()
    };
    let none = Extra::default();
    let (first, a, b, c) = tokio::join!(
        migrate(&mut client, "public", &none, None),
        migrate(a, "public", &none, None),
        migrate(b, "public", &none, None),
        migrate(c, "public", &none, None),
    );
    let counts = [first, a, b, c].map(|migrated| migrated.unwrap().applied.len());
    assert_eq!(counts.iter().filter(|count| **count > 0).count(), 1);
}

#[tokio::test]
async fn foreign_keys_are_those_of_complete_sets_only() {
    let client = migrated().await;
    let found: BTreeSet<String> = shapes(&client, "public")
        .await
        .iter()
        .flat_map(|table| &table.references)
        .map(|key| {
            let cascade = key.on_delete == OnDelete::Cascade;
            format!("{}.{} {cascade}", key.table, key.columns.join(","))
        })
        .collect();
    let wanted = [
        "achievements_users.achievement_id false",
        "campus_achievements.achievement_id true",
        "campus_projects.project_id true",
        "coalitions_users.coalition_id false",
        "cursus_users.cursus_id false",
        "project_sessions.project_id true",
    ];
    assert_eq!(found, wanted.map(str::to_owned).into());
}

#[tokio::test]
async fn quick_start_queries_and_the_view_of_freshness_work() {
    let client = migrated().await;
    client
        .batch_execute(
            r#"INSERT INTO users (id, login, kind, cursus_id) VALUES (1, 'jdoe', 'student', 21), (2, 'staff', 'admin', 21);
            INSERT INTO projects (id, name) VALUES (7, 'libft');
            INSERT INTO projects_users (id, user_id, project_id, cursus_id, final_mark) VALUES (3, 1, 7, 21, 125);
            INSERT INTO pipeline.load (schema_name, run_id, seq, resource, table_name, manifest_hash, mode, state, cursor,
                staged, dangling)
            VALUES ('public', 'r1', 1, 'projects', 'projects', 'h', 'full', 'complete', '2026-01-01Z', 5, '{"parent_id": 2}'),
                ('public', 'r2', 2, 'projects', 'projects', 'h', 'delta', 'partial', NULL, 3, '{"parent_id": 1}'),
                ('public', 'r2', 2, 'projects', 'campus_projects', 'h', 'delta', 'partial', NULL, 4, '{"campus_id": 6}');
            INSERT INTO pipeline.quarantine (schema_name, run_id, resource, table_name, file, record_index, code, reason)
            VALUES ('public', 'r2', 'projects', 'projects', 'projects/page-00001.json.gz', 0, 'type', 'no number')"#,
        )
        .await
        .unwrap();
    for (query, answer) in [
        (
            "SELECT COUNT(*) FROM users WHERE cursus_id=21 AND kind='student';",
            1,
        ),
        ("SELECT COUNT(*) FROM projects_users WHERE cursus_id=21;", 1),
    ] {
        let row = client.query_one(query, &[]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), answer);
    }
    let marks = "SELECT u.login, p.name, pu.final_mark FROM users u JOIN projects_users pu ON u.id=pu.user_id \
        JOIN projects p ON pu.project_id=p.id WHERE u.cursus_id=21 LIMIT 5;";
    let row = client.query_one(marks, &[]).await.unwrap();
    assert_eq!(
        (row.get(0), row.get(1), row.get(2)),
        ("jdoe", "libft", 125_i32)
    );

    let fresh = "SELECT run_id, state, cursor = '2026-01-01Z', staged, quarantined, dangling FROM pipeline.freshness";
    let row = client.query_one(fresh, &[]).await.unwrap();
    assert_eq!(
        (row.get(0), row.get(1), row.get(2)),
        ("r2", "partial", true)
    );
    assert_eq!((row.get(3), row.get(4), row.get(5)), (7_i64, 1_i64, 7_i64));
}

#[tokio::test]
async fn sql_files_do_what_they_say() {
    let client = migrated().await;
    client
        .batch_execute(
            r#"INSERT INTO campuses (id, name) VALUES (1, 'Paris'), (2, 'Lyon');
            CREATE TEMP TABLE staged_achievements AS SELECT *, 0::smallint AS staged_state FROM achievements;
            ALTER TABLE staged_achievements ALTER COLUMN staged_state SET DEFAULT 0;
            INSERT INTO staged_achievements (id, campus) VALUES
                (10, '["Paris", "Lyon", "Paris", "Atlantis", "Lemuria"]'), (11, NULL), (12, '"Paris"'), (13, '[]');
            INSERT INTO users (id, campus_id) VALUES (1, NULL), (2, 5), (3, 5), (4, 1);
            INSERT INTO campus_users (id, user_id, campus_id, is_primary) VALUES
                (1, 1, 1, true), (2, 1, 2, false), (3, 2, 2, true), (4, 3, 2, false), (5, 4, 1, true), (6, 9, 1, true)"#,
        )
        .await
        .unwrap();
    let links = include_str!("../../sql/campus_achievements.sql");
    let rows = client.query(links, &[]).await.unwrap();
    let mut links: Vec<(Option<i64>, i64, bool)> = rows
        .iter()
        .map(|row| {
            (
                row.get(0),
                row.get(1),
                row.get::<_, Option<&str>>(2).is_some(),
            )
        })
        .collect();
    links.sort_unstable();
    // Without a list of names it is not known which campuses there are.
    let (known, unknown) = (false, true);
    assert_eq!(
        links,
        [
            (None, 10, known),
            (None, 10, known),
            (None, 11, unknown),
            (None, 12, unknown),
            (Some(1), 10, known),
            (Some(2), 10, known)
        ]
    );

    let derive = include_str!("../../sql/users_campus.sql");
    assert_eq!(client.execute(derive, &[]).await.unwrap(), 3);
    assert_eq!(client.execute(derive, &[]).await.unwrap(), 0);
    let rows = client
        .query("SELECT campus_id FROM users ORDER BY id", &[])
        .await
        .unwrap();
    let campuses: Vec<Option<i64>> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(campuses, [Some(1), Some(2), None, Some(1)]);
}

#[tokio::test]
async fn a_users_own_migrations_are_applied_after_ours_and_guarded() {
    let mut client = testing::database().await;
    let folder = crate::trusted::test_directory();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let ours = SHIPPED_MIRROR.get_file("V1__cursus.sql").unwrap();
    write("V1__cursus.sql", ours.contents_utf8().unwrap());
    write(
        "V1000__locations.sql",
        "CREATE TABLE locations (id bigint PRIMARY KEY)",
    );
    write(".gitkeep", "");
    let extra = &own(folder.path());
    let done = migrate(&mut client, "public", extra, None).await.unwrap();
    assert_eq!(done.applied.last().unwrap(), "public/V1000__locations");
    assert!(
        migrate(&mut client, "public", extra, None)
            .await
            .unwrap()
            .applied
            .is_empty()
    );

    let message = async |client: &Client| {
        pending(client, "public", extra)
            .await
            .unwrap_err()
            .to_string()
    };
    write(
        "V1000__locations.sql",
        "CREATE TABLE locations (id integer)",
    );
    assert!(
        message(&client)
            .await
            .contains("V1000__locations was applied")
    );
    fs::remove_file(folder.path().join("V1000__locations.sql")).unwrap();
    assert!(message(&client).await.contains("its file is missing"));
    for (name, expected) in [
        ("V1__other.sql", "has the number of V1__cursus"),
        ("V999__mine.sql", "kept for cursus"),
        ("V1001-mine.sql", "not named like a migration"),
        ("U1001__mine.sql", "not named like a migration"),
        ("notes.txt", "not named like a migration"),
    ] {
        write(name, "SELECT 1");
        let error = message(&client).await;
        assert!(error.contains(expected) && error.contains(name), "{error}");
        fs::remove_file(folder.path().join(name)).unwrap();
    }
}

#[tokio::test]
async fn a_database_of_a_later_release_is_left_alone() {
    let mut client = migrated().await;
    let later =
        "INSERT INTO refinery_schema_history VALUES (77, 'later', '2030-01-01T00:00:00Z', '1')";
    client.batch_execute(later).await.unwrap();
    let error = migrate(&mut client, "public", &Extra::default(), None)
        .await
        .unwrap_err();
    assert!(matches!(error, MigrateError::Newer { .. }), "{error}");
    assert!(error.to_string().contains("V77__later"));
}

#[tokio::test]
async fn a_migration_that_fails_leaves_nothing_and_names_itself() {
    let mut client = testing::database().await;
    let folder = crate::trusted::test_directory();
    let broken = "CREATE TABLE half (id bigint); INSERT INTO half VALUES ('secret value')";
    fs::write(folder.path().join("V1000__broken.sql"), broken).unwrap();
    let error = migrate(&mut client, "public", &own(folder.path()), None)
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("V1000__broken") && text.contains("22P02"),
        "{text}"
    );
    assert!(!text.contains("secret"), "{text}");
    assert!(
        catalogue::table(&client, "public", "half")
            .await
            .unwrap()
            .is_none()
    );
    let held = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND database = (
        SELECT oid FROM pg_database WHERE datname = current_database())";
    assert!(client.query_opt(held, &[]).await.unwrap().is_none());
}

#[test]
fn the_program_carries_the_files_of_the_repository() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (dir, shipped) in [("books", &SHIPPED_LEDGER), ("mirror", &SHIPPED_MIRROR)] {
        let there = fs::read_dir(root.join("migrations").join(dir)).unwrap();
        assert_eq!(there.count(), shipped.files().count(), "build again: {dir}");
    }
}
