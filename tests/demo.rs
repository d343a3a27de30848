//! The demonstration touches nothing but what is its own.

use serde_json::Value;

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

#[tokio::test]
async fn each_day_of_a_demo_is_a_command_with_its_own_requests() {
    let mut workdir = Workdir::new().await;
    let demo = workdir.json(["demo", "--dir", "demonstration"]).await;
    for name in ["CURSUS_DATABASE_URL", "CURSUS_API_URL"] {
        workdir.unset(name);
    }
    let project = ["--config", "demonstration/pipeline.toml"];
    let runs = workdir.json([&["runs"][..], &project[..]].concat()).await;
    let runs = runs["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 2, "{runs:#?}");
    // The first asks for a token, too.
    for (run, (day, tokens)) in runs.iter().zip([("second", 0), ("first", 1)]) {
        assert_eq!(run["command"], "demo", "{run:#}");
        assert_eq!(run["outcome"], "complete", "{run:#}");
        let pages = demo[day]["hits"].as_u64().unwrap();
        assert_eq!(run["requests"], pages + tokens, "{day}: {run:#}");
    }
    // With the packs: who is online, and the logtime of the week.
    let answers = demo["queries"]["day_2"].as_array().unwrap();
    for view in ["online_now", "logtime_daily"] {
        let is_of = |answer: &&Value| answer["query"].as_str().unwrap().contains(view);
        let rows = &answers.iter().find(is_of).unwrap()["rows"];
        assert!(!rows.as_array().unwrap().is_empty(), "{view}: {demo:#}");
    }
}
