//! `load --dry-run`: what a load would do, and nothing is done.

use serde_json::json;

use crate::support::boxes::{boxes, full, stage, workdir};

#[tokio::test]
async fn it_neither_makes_nor_migrates_a_schema() {
    let workdir = workdir().await;
    stage(&workdir, &[full("boxes", boxes(1..=3))]);
    let made = "SELECT count(*) FROM pg_namespace WHERE nspname IN ('pipeline', 'other')";
    let ran = workdir.cursus(["load", "--dry-run"]).await.exits(2);
    assert!(ran.stderr.contains("cursus migrate"), "{ran}");
    assert_eq!(workdir.number(made).await, 0);
    workdir.cursus(["migrate"]).await.exits(0);
    workdir
        .cursus(["load", "--dry-run", "--into", "other"])
        .await
        .exits(2);
    assert_eq!(workdir.number(made).await, 1);
    let dry = workdir.json(["load", "--dry-run"]).await;
    assert_eq!(dry["tables"][0]["inserted"], json!(3));
    assert_eq!(workdir.number("SELECT count(*) FROM boxes").await, 0);
}
