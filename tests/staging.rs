//! The staging contract: what other programs find on the disk after a run.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use walkdir::WalkDir;

use crate::support::files::{edit, sha256};
use crate::support::{OtherClient, SCALE, Workdir, oracle, simulator};

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The lines of a resource's journal.
fn journal(run: &Path, resource: &str) -> Vec<Value> {
    let text = fs::read_to_string(run.join(resource).join("pages.jsonl")).unwrap();
    assert!(text.ends_with('\n'));
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The body behind a line of a journal.
fn body(run: &Path, resource: &str, line: &Value) -> Vec<u8> {
    let slice = line["slice"].as_str().unwrap_or_default();
    let name = format!("page-{:05}.json.gz", line["page"].as_u64().unwrap());
    let file = fs::File::open(run.join(resource).join(slice).join(name)).unwrap();
    let mut body = Vec::new();
    flate2::read::GzDecoder::new(file)
        .read_to_end(&mut body)
        .unwrap();
    body
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap().display().to_string()
}

#[tokio::test]
async fn a_runs_directory_is_laid_out_as_promised() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let report = workdir.json(["extract"]).await;
    let run = workdir.run_directory();
    let id = report["run_id"].as_str().unwrap();
    let (day, time) = (&id[..8], &id[8..]);
    let day = format!("{}-{}-{}", &day[..4], &day[4..6], &day[6..]);
    assert_eq!(run, workdir.path("staging").join(day).join(time));

    let mut wanted: BTreeSet<String> = BTreeSet::from(["run.json".to_owned()]);
    for resource in oracle::RESOURCES {
        for name in ["pages.jsonl", "manifest.json"] {
            wanted.insert(format!("{resource}/{name}"));
        }
        for line in journal(&run, resource) {
            let slice = line["slice"]
                .as_str()
                .map_or(String::new(), |slice| format!("{slice}/"));
            wanted.insert(format!(
                "{resource}/{slice}page-{:05}.json.gz",
                line["page"].as_u64().unwrap()
            ));
        }
    }
    let files: BTreeSet<String> = WalkDir::new(&run)
        .into_iter()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| relative(&run, entry.path()))
        .collect();
    assert_eq!(files, wanted, "nothing more, no temporary file among them");
    assert!(
        files.contains(&format!(
            "coalitions_users/page-{:05}.json.gz",
            SCALE.memberships.div_ceil(100)
        )),
        "100 rows a page"
    );
}

#[tokio::test]
async fn peoples_data_are_for_their_owner_alone() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["run"]).await;
    for folder in ["staging", ".cursus", ".state"] {
        for entry in WalkDir::new(workdir.path(folder)) {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            let wanted = if entry.file_type().is_dir() {
                0o700
            } else {
                0o600
            };
            assert_eq!(mode, wanted, "{mode:o} {}", entry.path().display());
        }
    }
}

#[tokio::test]
async fn pages_are_byte_for_byte_what_the_server_sent() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["extract"]).await;
    let run = workdir.run_directory();
    let server = OtherClient::of(&simulator).await;
    for resource in oracle::RESOURCES {
        for line in journal(&run, resource) {
            let body = body(&run, resource, &line);
            let request = line["request"].as_str().unwrap();
            assert!(body == server.get(request).await, "{resource}: {line}");
            let records: Vec<Value> = serde_json::from_slice(&body).unwrap();
            assert_eq!(line["status"], 200);
            assert_eq!(line["rows"], records.len());
            assert_eq!(line["bytes"], body.len());
            assert_eq!(line["sha256"], sha256(&body));
            let id = |record: Option<&Value>| record.map_or(Value::Null, |row| row["id"].clone());
            assert_eq!(line["first_id"], id(records.first()));
            assert_eq!(line["last_id"], id(records.last()));
            assert!(line["x_total"].is_u64() && line["duration_ms"].is_u64());
            let fetched: Result<jiff::Timestamp, _> = line["fetched_at"].as_str().unwrap().parse();
            assert!(fetched.is_ok());
        }
    }
}

#[tokio::test]
async fn the_manifest_seals_what_is_known_of_a_resource() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["extract"]).await;
    simulator.advance(std::time::Duration::from_hours(13));
    let first = workdir.run_directory();
    let full = json_of(&first.join("users/manifest.json"));
    workdir.json(["extract"]).await;
    let second = workdir.run_directory();
    let delta = json_of(&second.join("users/manifest.json"));

    for (run, manifest, mode) in [(&first, &full, "full"), (&second, &delta, "delta")] {
        let lines = journal(run, "users");
        let total = |key: &str| {
            lines
                .iter()
                .map(|line| line[key].as_u64().unwrap())
                .sum::<u64>()
        };
        assert_eq!(manifest["format"], 1);
        assert_eq!(manifest["resource"], "users");
        assert_eq!(manifest["mode"], mode);
        assert_eq!(manifest["state"], "complete");
        assert_eq!(manifest["pages"], lines.len());
        assert_eq!(manifest["rows"], total("rows"));
        assert_eq!(manifest["bytes"], total("bytes"));
        let journal = fs::read(run.join("users/pages.jsonl")).unwrap();
        assert_eq!(manifest["journal_sha256"], sha256(&journal));
    }
    assert_eq!(full["x_total"], SCALE.students);
    assert_eq!(full["evidence"]["distinct"], SCALE.students);
    assert!(full["window"].is_null());
    assert_eq!(full["request_hash"], delta["request_hash"]);
    let time = |value: &Value| value.as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    // The delta asks from ten minutes before the cursor, and reaches further than it.
    let lookback = jiff::SignedDuration::from_mins(10);
    assert_eq!(
        time(&delta["window"]["start"]),
        time(&full["cursor"]) - lookback
    );
    assert!(time(&delta["cursor"]) > time(&full["cursor"]));
    let lines = journal(&second, "users");
    let asked = lines[0]["request"].as_str().unwrap();
    assert!(
        asked.contains("range[updated_at]=") || asked.contains("range%5Bupdated_at%5D="),
        "{asked}"
    );
    assert!(
        !asked.contains("alumni"),
        "a delta sees those who leave: {asked}"
    );
}

#[tokio::test]
async fn a_claim_that_the_files_do_not_prove_is_refuted() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir
        .json(["extract", "--select", "coalitions_users,cursus"])
        .await;
    let verified = workdir.json(["stage", "verify", "latest"]).await;
    for resource in verified.as_array().unwrap() {
        assert_eq!(resource["claimed"], "complete");
        assert_eq!(resource["proven"], "complete");
    }
    // A page that is taken out of the journal, with every hash and count made to fit.
    let folder = workdir.run_directory().join("coalitions_users");
    let (journal, manifest) = (folder.join("pages.jsonl"), folder.join("manifest.json"));
    let lines = fs::read_to_string(&journal).unwrap();
    let mut lines: Vec<&str> = lines.lines().collect();
    let at = lines
        .iter()
        .position(|line| line.contains("\"page\":3,"))
        .unwrap();
    let page: Value = serde_json::from_str(lines.remove(at)).unwrap();
    fs::write(&journal, lines.join("\n") + "\n").unwrap();
    edit(&manifest, |claimed| {
        claimed["journal_sha256"] = sha256(&fs::read(&journal).unwrap()).into();
        for (count, of_page) in [("pages", 1), ("rows", page["rows"].as_u64().unwrap())] {
            claimed[count] = (claimed[count].as_u64().unwrap() - of_page).into();
        }
    });
    let ran = workdir.cursus(["stage", "verify", "latest"]).await.exits(1);
    assert!(ran.stdout.contains(" were not read"), "{ran}");
    // And a page that was changed.
    fs::write(folder.join("page-00001.json.gz"), "").unwrap();
    let ran = workdir.cursus(["stage", "verify", "latest"]).await.exits(1);
    assert!(ran.stdout.contains("page-00001.json.gz"), "{ran}");
}

#[tokio::test]
async fn manifest_with_wrong_record_counts_is_refuted() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["extract", "--select", "users"]).await;
    let manifest = workdir.run_directory().join("users/manifest.json");
    edit(&manifest, |manifest| {
        manifest["evidence"]["distinct"] = (SCALE.students + 1).into();
    });
    let ran = workdir.cursus(["stage", "verify", "latest"]).await.exits(1);
    let found = SCALE.students;
    let says = format!("{} distinct records, there are {found}", found + 1);
    assert!(ran.stdout.contains(&says), "{ran}");
}

#[tokio::test]
async fn resource_removed_from_the_pipeline_is_not_damaged() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(["extract", "--select", "cursus"]).await;
    let run = workdir.run_directory();
    fs::rename(run.join("cursus"), run.join("former")).unwrap();
    let manifest = run.join("former/manifest.json");
    edit(&manifest, |manifest| manifest["resource"] = "former".into());
    edit(&run.join("run.json"), |record| {
        record["resources"][0]["name"] = "former".into();
    });
    let ran = workdir.cursus(["stage", "verify", "latest"]).await.exits(0);
    assert!(ran.stdout.contains("not checked"), "{ran}");
    fs::write(run.join("former/page-00001.json.gz"), "").unwrap();
    let ran = workdir.cursus(["stage", "verify", "latest"]).await.exits(1);
    assert!(ran.stdout.contains("damaged"), "{ran}");
}

#[tokio::test]
async fn read_across_a_new_year_is_proven_to_its_last_answer() {
    let start = "2027-12-31T23:50:00Z";
    let simulator = crate::support::api::start(cursus_simulator::Options {
        start: start.parse().unwrap(),
        ..crate::support::small()
    })
    .await;
    let mut workdir = Workdir::with(&simulator).await;
    workdir.set("CURSUS_CLOCK", start);
    workdir
        .json(["extract", "--select", "projects_users"])
        .await;
    let folder = workdir.run_directory().join("projects_users");
    // As if its first answer had come ten minutes later.
    edit(&folder.join("manifest.json"), |manifest| {
        manifest["cursor"] = "2028-01-01T00:00:01Z".into();
    });
    workdir.json(["stage", "verify", "latest"]).await;
}

#[tokio::test]
async fn run_json_says_what_the_run_was() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let report = workdir
        .json(["extract", "--select", "cursus,users", "--full"])
        .await;
    let record = json_of(&workdir.run_directory().join("run.json"));
    for key in ["run_id", "mode", "hits", "rate"] {
        assert_eq!(record[key], report[key], "{key}");
    }
    assert_eq!(record["format"], 1);
    assert_eq!(record["seq"], 1);
    assert_eq!(record["state"], "closed");
    assert_eq!(record["outcome"], "complete");
    assert_eq!(record["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        record["selection"],
        serde_json::json!({"select": ["cursus", "users"], "full": true})
    );
    let time = |key: &str| {
        record[key]
            .as_str()
            .unwrap()
            .parse::<jiff::Timestamp>()
            .unwrap()
    };
    assert!(time("started_at") <= time("finished_at"));
    assert_eq!(record["hits"], simulator.statistics().hits);
    assert_eq!(record["rate"]["limit_per_hour"], 1_000_000);
}

#[tokio::test]
async fn runs_are_numbered_and_never_share_a_directory() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    for _ in 0..3 {
        workdir
            .json(["extract", "--select", "cursus", "--full"])
            .await;
    }
    let runs = workdir.json(["stage", "ls"]).await;
    let runs = runs.as_array().unwrap();
    let numbers: Vec<u64> = runs
        .iter()
        .map(|run| run["seq"].as_u64().unwrap())
        .collect();
    assert_eq!(numbers, [1, 2, 3]);
    let ids: BTreeSet<&str> = runs
        .iter()
        .map(|run| run["run_id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), 3);
}

#[tokio::test]
async fn no_secret_is_written_where_data_are() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let ran = workdir.cursus(["run", "-vv"]).await.exits(0);
    let token = fs::read_to_string(token_file(&workdir)).unwrap();
    let token: Value = serde_json::from_str(&token).unwrap();
    let mut secrets = vec![simulator.client_secret().to_owned()];
    texts(&token, &mut secrets);
    secrets.retain(|text| text.len() > 30 && !text.starts_with("http"));
    assert!(secrets.len() >= 2, "the stored token is not known");
    let mut texts = vec![
        ("stdout".to_owned(), ran.stdout),
        ("stderr".to_owned(), ran.stderr),
    ];
    for entry in WalkDir::new(workdir.path("staging")) {
        let entry = entry.unwrap();
        let is_text = entry
            .path()
            .extension()
            .is_some_and(|end| end == "json" || end == "jsonl");
        if is_text {
            texts.push((
                entry.path().display().to_string(),
                fs::read_to_string(entry.path()).unwrap(),
            ));
        }
    }
    for (place, text) in texts {
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "{place} holds a secret");
        }
    }
}

/// The file in which the token is kept between commands.
fn token_file(workdir: &Workdir) -> PathBuf {
    let files: Vec<PathBuf> = WalkDir::new(workdir.path(".cursus"))
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().contains("token"))
                && path.extension().is_some_and(|end| end == "json")
        })
        .collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}

/// All texts in a document.
fn texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(entries) => entries.values().for_each(|item| texts(item, found)),
        _ => {}
    }
}
