//! Staging that is locked, damaged or full: a clear sentence, the rest loads, and nothing is lost.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use cursus::staging::Staging;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::bad_input::refusal;
use crate::support::files::{edit, sha256};
use crate::support::snapshot::assert_text;
use crate::support::{SCALE, Workdir, simulator};

#[tokio::test]
async fn second_run_at_once_names_the_first() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let lock = Staging::new(workdir.path("staging")).lock("run").unwrap();
    let said = refusal(&workdir, &["extract", "--select", "cursus"], 5).await;
    assert_text(
        "staging_locked",
        &workdir,
        &said.replace(&format!("pid {}", std::process::id()), "pid [PID]"),
    );
    assert_eq!(simulator.statistics().hits, 0);
    drop(lock);
    workdir
        .cursus(["extract", "--select", "cursus"])
        .await
        .exits(0);
}

#[tokio::test]
async fn a_file_where_a_directory_should_be_is_named() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.write("occupied", "");
    let mut all = String::new();
    for arguments in [
        &["extract", "--staging", "occupied"][..],
        &["extract", "--staging", "occupied/below"],
        &["load", "--staging", "occupied"],
        &["extract", "--config", "occupied/pipeline.toml"],
        &["extract", "--config", "absent.toml"],
    ] {
        let code = if arguments.contains(&"--config") {
            2
        } else {
            1
        };
        let said = refusal(&workdir, arguments, code).await;
        writeln!(all, "$ cursus {}\n{said}", arguments.join(" ")).unwrap();
    }
    assert_text("no_directory", &workdir, &all);
}

/// A staged run of a few resources, of which each test damages its own copy.
struct Staged {
    workdir: Workdir,
    /// The run's directory below a staging directory.
    run: PathBuf,
}

impl Staged {
    async fn new() -> Self {
        let simulator = simulator().await;
        let mut workdir = Workdir::with(&simulator).await;
        workdir
            .cursus(["extract", "--select", "cursus,campus,coalitions"])
            .await
            .exits(0);
        workdir.without_api();
        let run = walkdir::WalkDir::new(workdir.path("staging"))
            .into_iter()
            .flatten()
            .find(|entry| entry.file_name() == "run.json")
            .map(|entry| entry.path().parent().unwrap().to_owned())
            .unwrap();
        let run = run
            .strip_prefix(workdir.path("staging"))
            .unwrap()
            .to_owned();
        Self { workdir, run }
    }

    /// A copy of the staged run; gives the directory of its campuses.
    fn copy(&self, name: &str) -> PathBuf {
        let from = self.workdir.path("staging");
        for entry in walkdir::WalkDir::new(&from).into_iter().map(Result::unwrap) {
            let to = self
                .workdir
                .path(name)
                .join(entry.path().strip_prefix(&from).unwrap());
            if entry.file_type().is_dir() {
                std::fs::create_dir_all(to).unwrap();
            } else {
                std::fs::copy(entry.path(), to).unwrap();
            }
        }
        self.workdir.path(name).join(&self.run).join("campus")
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

const PAGE: &str = "page-00001.json.gz";

/// Replaces the only page by another body, with journal and manifest as if the server had sent it.
fn received(directory: &Path, body: &[u8]) {
    std::fs::write(directory.join(PAGE), gzip(body)).unwrap();
    let journal = directory.join("pages.jsonl");
    let mut line: Value = serde_json::from_slice(&std::fs::read(&journal).unwrap()).unwrap();
    line["bytes"] = json!(body.len());
    line["sha256"] = json!(sha256(body));
    let line = format!("{line}\n");
    std::fs::write(&journal, &line).unwrap();
    edit_manifest(directory, "journal_sha256", &json!(sha256(line.as_bytes())));
}

fn edit_manifest(directory: &Path, key: &str, value: &Value) {
    edit(&directory.join("manifest.json"), |manifest| {
        manifest[key] = value.clone();
    });
}

/// What happens to the directory of a staged resource.
type Damage = fn(&Path);

/// Each way to damage a page, a journal or a manifest; the resources beside it load.
#[tokio::test]
async fn damaged_resource_is_named_and_the_others_load() {
    let staged = Staged::new().await;
    let workdir = &staged.workdir;
    let damages: [(&str, Damage); 13] = [
        ("truncated", |campus| {
            let bytes = std::fs::read(campus.join(PAGE)).unwrap();
            std::fs::write(campus.join(PAGE), &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("empty", |campus| {
            std::fs::write(campus.join(PAGE), "").unwrap();
        }),
        ("not_gzip", |campus| {
            std::fs::write(campus.join(PAGE), "<html><body>Bad Gateway").unwrap();
        }),
        ("other_content", |campus| {
            std::fs::write(campus.join(PAGE), gzip(b"[]")).unwrap();
        }),
        ("missing", |campus| {
            std::fs::remove_file(campus.join(PAGE)).unwrap();
        }),
        ("not_json", |campus| {
            received(campus, b"[{\"id\": 1}, <html>");
        }),
        ("not_utf8", |campus| {
            received(campus, b"[{\"id\": 1, \"name\": \"\xff\"}]");
        }),
        ("not_an_array", |campus| {
            received(campus, b"{\"error\": \"not found\"}");
        }),
        ("journal_edited", |campus| {
            let path = campus.join("pages.jsonl");
            let text = std::fs::read_to_string(&path).unwrap();
            std::fs::write(&path, text.replace("\"page\":1", "\"page\":2")).unwrap();
        }),
        ("no_journal", |campus| {
            std::fs::remove_file(campus.join("pages.jsonl")).unwrap();
        }),
        ("journal_of_nonsense", |campus| {
            std::fs::write(campus.join("pages.jsonl"), "nonsense\n").unwrap();
            edit_manifest(campus, "journal_sha256", &json!(sha256(b"nonsense\n")));
        }),
        ("manifest_of_another", |campus| {
            edit_manifest(campus, "resource", &json!("users"));
        }),
        ("manifest_broken", |campus| {
            std::fs::write(campus.join("manifest.json"), "{\"format\":").unwrap();
        }),
    ];
    let mut all = String::new();
    for (name, damage) in damages {
        damage(&staged.copy(name));
        let said = refusal(workdir, &["load", "--staging", name, "--into", name], 1).await;
        writeln!(all, "{name}: {}", said.trim()).unwrap();
        let loaded = workdir
            .number(&format!("SELECT count(*) FROM {name}.cursus"))
            .await;
        assert_eq!(loaded, 12, "the other resources load: {said}");
        assert_eq!(
            workdir
                .number(&format!("SELECT count(*) FROM {name}.campuses"))
                .await,
            0
        );
        assert_eq!(
            workdir
                .number(&format!("SELECT count(*) FROM {name}.coalitions"))
                .await,
            20
        );
    }
    assert_text("damaged", workdir, &all);
}

/// Without its `run.json` nobody knows a run's place in the order: nothing is done before somebody decides.
#[tokio::test]
async fn damaged_run_record_stops_every_load_with_advice() {
    let staged = Staged::new().await;
    let campus = staged.copy("damaged");
    let record = campus.parent().unwrap().join("run.json");
    std::fs::write(&record, "{").unwrap();
    let said = refusal(&staged.workdir, &["load", "--staging", "damaged"], 1).await;
    assert_text("run_json_damaged", &staged.workdir, &said);

    std::fs::remove_file(&record).unwrap();
    for command in [
        &["load"][..],
        &["status"],
        &["doctor"],
        &["stage", "ls"],
        &["stage", "verify", "latest"],
    ] {
        let arguments = [command, &["--staging", "damaged"]].concat();
        let ran = staged.workdir.cursus(arguments).await;
        let named = format!(
            "{}: it is not there, but files of a run are",
            record.display()
        );
        assert!(
            ran.stdout.contains(&named) || ran.stderr.contains(&named),
            "{ran}"
        );
        assert_ne!(ran.code, Some(0), "{ran}");
    }
}

/// The advice of the error repairs what is damaged.
#[tokio::test]
async fn after_the_advice_of_the_error_everything_loads() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    for file in ["manifest.json", PAGE] {
        workdir
            .cursus(["extract", "--full", "--select", "campus"])
            .await
            .exits(0);
        let damaged = walkdir::WalkDir::new(workdir.path("staging"))
            .sort_by_file_name()
            .into_iter()
            .flatten()
            .filter(|entry| entry.path().ends_with(Path::new("campus").join(file)))
            .last()
            .unwrap();
        std::fs::write(damaged.path(), "{").unwrap();
        workdir.cursus(["load"]).await.exits(1);
        workdir
            .cursus(["extract", "--full", "--select", "campus"])
            .await
            .exits(0);
        workdir.cursus(["load"]).await.exits(0);
        assert_eq!(workdir.count("campuses").await, 8);
    }
}

/// The limit of a file's size stands for a full disk: it binds root too, and needs no rights.
#[tokio::test]
async fn full_disk_is_reported_and_staged_pages_stay() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let run = async |blocks: &str, arguments: &str| {
        let mut command = tokio::process::Command::new("sh");
        command
            .args([
                "-c",
                "trap '' XFSZ; ulimit -f $1; shift; exec \"$@\"",
                "sh",
                blocks,
            ])
            .arg(env!("CARGO_BIN_EXE_cursus"))
            .args(arguments.split(' '))
            .current_dir(workdir.path(""))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        for name in [
            "HOME",
            "XDG_STATE_HOME",
            "CURSUS_API_URL",
            "CURSUS_CLIENT_ID",
            "CURSUS_CLIENT_SECRET",
            "CURSUS_DATABASE_URL",
        ] {
            command.env(name, workdir.variable(name));
        }
        let output = command.output().await.unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    workdir.json(["extract", "--select", "cursus"]).await;
    let (code, document, said) = run("8", "extract --select projects --json -q").await;
    assert_eq!(code, Some(1), "{document}{said}");
    let report: Value = serde_json::from_str(&document).unwrap();
    assert_text("disk_full", &workdir, report["errors"][0].as_str().unwrap());
    let left = walkdir::WalkDir::new(workdir.path("staging"))
        .into_iter()
        .flatten()
        .filter(|entry| {
            entry
                .path()
                .extension()
                .is_some_and(|extension| extension == "tmp")
        })
        .count();
    assert_eq!(left, 0, "half a page does not fill the disk further");
    let (code, document, said) = run("unlimited", "run --select projects --json -q").await;
    assert_eq!(code, Some(0), "{document}{said}");
    assert_eq!(workdir.count("cursus").await, SCALE.cursus);
    assert_eq!(workdir.count("projects").await, SCALE.projects);
}
