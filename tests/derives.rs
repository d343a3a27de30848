//! Derived statements: run when their tables have changed, and again until they are done.

use serde_json::json;

use crate::support::Workdir;
use crate::support::boxes::{delta, full, stage, workdir_of};

const PIPELINE: &str = r#"
[[resource]]
name = "parents"
path = "/parents"
[[resource]]
name = "children"
path = "/children"
[[table]]
name = "parents"
from = "parents"
[[table]]
name = "children"
from = "children"
after = ["parents"]
[table.columns]
double = false
[[derive]]
name = "double"
sql = "sql/double.sql"
after = ["children"]
"#;

const TABLES: &str = "CREATE TABLE parents (id bigint PRIMARY KEY); \
    CREATE TABLE children (id bigint PRIMARY KEY, parent_id bigint REFERENCES parents, double bigint);";

const DOUBLE: &str =
    "UPDATE children SET double = 2 * parent_id WHERE double IS DISTINCT FROM 2 * parent_id";

async fn workdir() -> Workdir {
    let workdir = workdir_of(PIPELINE, TABLES).await;
    workdir.write("sql/double.sql", DOUBLE);
    workdir
}

fn parent(id: i64) -> String {
    json!({ "id": id }).to_string()
}

fn child(id: i64, parent: i64) -> String {
    json!({"id": id, "parent_id": parent}).to_string()
}

async fn doubles(workdir: &Workdir) -> Vec<String> {
    let rows =
        "SELECT concat_ws(' ', id, coalesce(double::text, 'none')) FROM children ORDER BY id";
    workdir.column(rows).await
}

#[tokio::test]
async fn failed_derive_runs_again_without_new_pages() {
    let workdir = workdir().await;
    workdir.cursus(["migrate"]).await.exits(0);
    let refuse = "ALTER TABLE children ADD CONSTRAINT none CHECK (double IS NULL)";
    workdir.query(refuse).await;
    let reads = [
        full("parents", vec![parent(1)]),
        full("children", vec![child(1, 1)]),
    ];
    stage(&workdir, &reads);
    workdir.cursus(["load"]).await.exits(1);
    assert_eq!(doubles(&workdir).await, ["1 none"]);
    // It is reported until it is done.
    workdir.cursus(["load"]).await.exits(1).says("double");
    workdir
        .query("ALTER TABLE children DROP CONSTRAINT none")
        .await;
    workdir.cursus(["load", "--dry-run"]).await.exits(0);
    assert_eq!(doubles(&workdir).await, ["1 none"]);
    workdir.cursus(["load"]).await.exits(0);
    assert_eq!(doubles(&workdir).await, ["1 2"]);
    assert_eq!(workdir.count("pipeline.derive_failed").await, 0);
}

#[tokio::test]
async fn derive_runs_for_retried_orphans() {
    let workdir = workdir().await;
    let reads = [
        full("parents", vec![parent(1)]),
        full("children", vec![child(1, 1), child(2, 2)]),
    ];
    stage(&workdir, &reads);
    workdir.cursus(["load"]).await.exits(3);
    assert_eq!(doubles(&workdir).await, ["1 2"]);
    stage(&workdir, &[delta("parents", vec![parent(2)])]);
    workdir.cursus(["load"]).await.exits(0);
    assert_eq!(doubles(&workdir).await, ["1 2", "2 4"]);
}

#[tokio::test]
async fn derive_runs_for_cascaded_deletes() {
    let pipeline = PIPELINE.replace(
        "after = [\"parents\"]",
        "after = [\"parents\"]\nwithin = { parent_id = \"parents.id\" }",
    );
    let workdir = workdir_of(
        &pipeline,
        "CREATE TABLE parents (id bigint PRIMARY KEY); CREATE TABLE counted (children bigint); \
         INSERT INTO counted VALUES (0); CREATE TABLE children (id bigint PRIMARY KEY, parent_id bigint, double bigint);",
    )
    .await;
    workdir.write(
        "sql/double.sql",
        "UPDATE counted SET children = (SELECT count(*) FROM children)",
    );
    let reads = [
        full("parents", (1..=3).map(parent).collect()),
        full("children", (1..=3).map(|id| child(id, id)).collect()),
    ];
    stage(&workdir, &reads);
    workdir.cursus(["load"]).await.exits(0);
    stage(&workdir, &[full("parents", (1..=2).map(parent).collect())]);
    workdir.cursus(["load"]).await.exits(0);
    assert_eq!(workdir.count("children").await, 2);
    assert_eq!(workdir.number("SELECT children FROM counted").await, 2);
}
