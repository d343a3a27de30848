//! The demonstration touches nothing but what is its own.

use crate::support::Workdir;

#[tokio::test]
async fn demo_clears_nothing_that_a_dotenv_beside_it_names() {
    let workdir = Workdir::new().await;
    workdir
        .query("CREATE TABLE mine (id bigint); INSERT INTO mine VALUES (1)")
        .await;
    // As left by an earlier demonstration that somebody has made a project of their own in.
    workdir.write("demonstration/.cursus-demo", "");
    let database = workdir.variable("CURSUS_DATABASE_URL");
    let dotenv = format!("CURSUS_DATABASE_URL={database}\nCURSUS_STAGING_DIR=../elsewhere\n");
    workdir.write("demonstration/.env", dotenv);
    let ran = workdir.cursus(["demo", "--dir", "demonstration"]).await;
    assert_eq!(workdir.count("mine").await, 1);
    ran.exits(0);
    assert!(!workdir.path("elsewhere").exists());
    assert!(workdir.path("demonstration/staging").exists());
    assert!(workdir.path("demonstration/.cursus/pg").exists());
}
