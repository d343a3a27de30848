//! What a journal line says of the page that was asked for: as fields (format 2), or by its request alone (format 1).

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::files::{edit_journal, files};
use crate::support::{SCALE, Workdir, oracle, page_requests, simulator};

/// What format 2 has beside `request`.
const FIELDS: [&str; 6] = [
    "list",
    "window",
    "sort",
    "id_range",
    "page_size",
    "page_number",
];

fn lines(resource: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(resource.join("pages.jsonl")).unwrap();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The resources of the runs that were staged.
fn staged(workdir: &Workdir) -> Vec<PathBuf> {
    let files = files(&workdir.path("staging")).into_iter();
    let journals = files.filter(|path| path.ends_with("pages.jsonl"));
    journals
        .map(|path| path.parent().unwrap().to_owned())
        .collect()
}

/// Makes all journals what format 1 has written.
fn downgrade(workdir: &Workdir) {
    for resource in staged(workdir) {
        edit_journal(&resource, |line| {
            for field in FIELDS {
                line.as_object_mut().unwrap().remove(field);
            }
        });
    }
}

async fn cost(pages: &str) -> u64 {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.pipeline(&[("page_size = 100 ", pages)]);
    workdir.json(["extract"]).await;
    page_requests(&simulator)
}

#[tokio::test]
async fn fields_of_a_line_say_what_its_request_says() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.pipeline(&[("page_size = 100 ", "page_size = 7 ")]);
    workdir.json(["extract"]).await;
    simulator.advance(std::time::Duration::from_hours(13));
    workdir.json(["extract"]).await;
    let (mut windows, mut ranges, mut numbered) = (0, 0, 0);
    for line in staged(&workdir).iter().flat_map(|resource| lines(resource)) {
        let request = line["request"].as_str().unwrap();
        let has = |part: String| {
            let mut parameters = request.split(['?', '&']);
            assert!(
                parameters.any(|parameter| parameter == part),
                "{part} in {line}"
            );
        };
        assert!(
            request.starts_with(line["list"].as_str().unwrap()),
            "{line}"
        );
        has(format!("page%5Bsize%5D={}", line["page_size"]));
        has(format!("page%5Bnumber%5D={}", line["page_number"]));
        numbered += u64::from(line["page_number"] != 1);
        if let Some(sort) = line["sort"].as_str() {
            has(format!("sort={sort}"));
        }
        if let [low, high] = &line["id_range"].as_array().map_or(&[][..], Vec::as_slice) {
            ranges += 1;
            has(format!("range%5Bid%5D={low}%2C{high}"));
        }
        if let Some(field) = line["window"]["field"].as_str() {
            windows += 1;
            let start = line["window"]["start"].as_str().unwrap();
            let range = format!("range%5B{field}%5D={}", &start[..13].replace(':', "%3A"));
            assert!(request.contains(&range), "{range} in {line}");
        }
    }
    assert!(
        windows > 0 && ranges > 0 && numbered > 0,
        "{windows} {ranges} {numbered}"
    );
}

#[tokio::test]
async fn run_of_format_1_resumes_verifies_and_loads() {
    let pages = "page_size = 7 ";
    let cost = cost(pages).await;
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.pipeline(&[("page_size = 100 ", pages)]);
    let mut rounds = 0;
    while workdir.cursus(["extract", "--max-hits", "9"]).await.code != Some(0) {
        downgrade(&workdir);
        rounds += 1;
        assert!(rounds < cost, "it does not get on");
    }
    assert!(rounds > 1);
    assert_eq!(page_requests(&simulator), cost);
    downgrade(&workdir);
    let verified = workdir.json(["stage", "verify", "latest"]).await;
    for resource in verified.as_array().unwrap() {
        assert_eq!(resource["proven"], resource["claimed"], "{resource}");
    }
    workdir.json(["load"]).await;
    oracle::assert_mirrors(&workdir, &simulator).await;

    // Its cursor counts.
    simulator.advance(std::time::Duration::from_hours(13));
    let report = workdir.json(["extract", "--select", "users"]).await;
    assert_eq!(report["resources"][0]["mode"], "delta", "{report:#}");
}

#[tokio::test]
async fn line_whose_fields_and_request_differ_is_refuted() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["extract", "--select", "users"]).await;
    let users = workdir.run_directory().join("users");
    let sound = lines(&users);
    let verify = ["stage", "verify", "latest"];
    let window = json!({"field": "updated_at", "start": "2020-01-01T00:00:00Z", "end": "2030-01-01T00:00:00Z"});
    for (field, value) in [
        ("request", json!("/v2/me")),
        ("list", json!("/v2/me")),
        ("sort", json!("id")),
        ("id_range", json!([i64::MIN, i64::MAX])),
        ("window", window),
        ("page_size", json!(1)),
        ("page_number", json!(100_000_000)),
    ] {
        edit_journal(&users, |line| line[field] = value.clone());
        let ran = workdir.cursus(verify).await.exits(1);
        assert!(ran.stdout.contains("users/pages.jsonl"), "{field}: {ran}");
        assert!(
            ran.stdout.contains("asks for another page"),
            "{field}: {ran}"
        );
        assert_eq!(ran.stderr, "", "{field}: {ran}");
        edit_journal(&users, |line| line.clone_from(&sound[0]));
    }
    workdir.json(verify).await;
    for (field, value) in [
        ("page_number", json!(0)),
        ("page_number", json!(u64::MAX)),
        ("page_size", json!(0)),
        ("page_size", json!(null)),
        ("list", json!(null)),
        ("id_range", json!([0])),
    ] {
        edit_journal(&users, |line| line[field] = value.clone());
        for command in [&verify[..], &["load"]] {
            let ran = workdir.cursus(command).await.exits(1);
            let answer = format!("{}{}", ran.stdout, ran.stderr);
            assert!(
                answer.contains("line 1 is not a journal line"),
                "{field}: {ran}"
            );
        }
        edit_journal(&users, |line| line.clone_from(&sound[0]));
    }
    workdir.json(["load"]).await;
}

#[tokio::test]
async fn line_that_disagrees_is_asked_for_again_on_resume() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.pipeline(&[("page_size = 100 ", "page_size = 5 ")]);
    let extract = ["extract", "--select", "coalitions"];
    let stopped = [&extract[..], &["--max-hits", "2"]].concat();
    workdir.cursus(stopped).await.exits(6);
    let coalitions = workdir.run_directory().join("coalitions");
    edit_journal(&coalitions, |line| {
        line["page_number"] = json!(line["page_number"].as_u64().unwrap() + 1);
    });
    let ran = workdir.cursus(extract).await.exits(0);
    assert!(ran.stderr.contains("its page is asked for again"), "{ran}");
    assert_eq!(workdir.staged("coalitions").await.len(), SCALE.coalitions);
    workdir.json(["stage", "verify", "latest"]).await;
}
