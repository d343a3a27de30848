//! Staged files that somebody has changed: found by their hashes or refused, named, and never loaded.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use cursus_simulator::Simulator;
use nix::sys::stat::Mode;
use serde_json::{Value, json};

use crate::support::files::{edit, edit_journal, files, sha256};
use crate::support::{Ran, SCALE, Workdir, simulator};

const PAGE: &str = "page-00001.json.gz";

/// Two staged runs of users and of what surrounds them, nothing loaded.
struct Staged {
    workdir: Workdir,
    simulator: Simulator,
    /// Below a staging directory, in order.
    runs: [PathBuf; 2],
}

impl Staged {
    async fn new() -> Self {
        let simulator = simulator().await;
        let mut workdir = Workdir::with(&simulator).await;
        for _ in 0..2 {
            let arguments = [
                "extract",
                "--full",
                "--select",
                "cursus,coalitions,coalitions_users,campus",
            ];
            workdir.cursus(arguments).await.exits(0);
            simulator.advance(std::time::Duration::from_hours(13));
        }
        workdir.without_api();
        let root = workdir.path("staging");
        let mut runs: Vec<PathBuf> = files(&root)
            .into_iter()
            .filter(|path| path.ends_with("run.json"))
            .map(|path| {
                path.parent()
                    .unwrap()
                    .strip_prefix(&root)
                    .unwrap()
                    .to_owned()
            })
            .collect();
        runs.sort();
        Self {
            workdir,
            simulator,
            runs: runs.try_into().unwrap(),
        }
    }

    /// A copy of the staging directory; gives the directories of its runs.
    fn copy(&self, name: &str) -> [PathBuf; 2] {
        let from = self.workdir.path("staging");
        let to = self.workdir.path(name);
        for file in files(&from) {
            let copy = to.join(file.strip_prefix(&from).unwrap());
            std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
            std::fs::copy(file, copy).unwrap();
        }
        self.runs.clone().map(|run| to.join(run))
    }

    /// Loads the copy into a schema of its own. It must fail and name the file, and what is in the other resources is loaded.
    async fn is_refused(&self, name: &str, file: &Path) -> Ran {
        let arguments = ["load", "--staging", name, "--into", name];
        let ran = self.workdir.cursus(arguments).await.exits(1);
        let file = file.display().to_string();
        assert!(ran.stderr.contains(&file), "{file} is not named: {ran}");
        ran
    }

    async fn rows(&self, schema: &str, table: &str) -> usize {
        self.workdir.count(&format!("{schema}.{table}")).await
    }

    /// What is sound is loaded, what is not has no row.
    async fn only_lacks_memberships(&self, schema: &str) {
        assert_eq!(self.rows(schema, "cursus").await, SCALE.cursus);
        assert_eq!(self.rows(schema, "campuses").await, SCALE.campuses);
        assert_eq!(self.rows(schema, "coalitions").await, SCALE.coalitions);
        assert_eq!(self.rows(schema, "coalitions_users").await, 0);
    }
}

/// A change of a JSON document.
type Edit = fn(&mut Value);

/// A flipped bit is found wherever it lies, but for those bits of a gzip header that say nothing of the content.
#[tokio::test]
async fn a_flipped_bit_loads_what_was_received_or_nothing() {
    let staged = Staged::new().await;
    let [_, run] = staged.copy("flipped");
    let page = run.join("coalitions_users").join(PAGE);
    let sound = std::fs::read(&page).unwrap();
    let expected = staged.workdir.json(["stage", "verify", "latest"]).await;
    let proven = |verified: &Value| {
        let verified = verified.as_array().unwrap().iter();
        let mut resources = verified.filter(|one| one["resource"] == "coalitions_users");
        resources.next().unwrap()["proven"].clone()
    };
    assert_eq!(proven(&expected), "complete");
    let mut harmless = 0;
    for at in 0..40 {
        // Every bit of the header's first bytes, then bits all over the file.
        let (byte, bit) = if at < 20 {
            (at / 2, at % 2 * 5)
        } else {
            (sound.len() * (at - 20) / 20, at % 8)
        };
        let mut flipped = sound.clone();
        flipped[byte] ^= 1 << bit;
        std::fs::write(&page, &flipped).unwrap();
        let arguments = [
            "stage",
            "verify",
            "latest",
            "--staging",
            "flipped",
            "--json",
        ];
        let ran = staged.workdir.cursus(arguments).await;
        match ran.code {
            Some(0) => {
                assert!(byte < 10, "the flip of byte {byte} is not found: {ran}");
                assert_eq!(proven(&ran.json()), "complete");
                harmless += 1;
            }
            Some(1) => assert!(ran.stdout.contains(PAGE), "{ran}"),
            _ => panic!("{ran}"),
        }
    }
    assert!(harmless < 20, "{harmless}");
}

#[tokio::test]
async fn swapped_pages_and_files_from_elsewhere_are_refused() {
    let staged = Staged::new().await;

    let [first, second] = staged.copy("swapped");
    for run in [&first, &second] {
        let folder = run.join("coalitions_users");
        let (one, two) = (folder.join(PAGE), folder.join("page-00002.json.gz"));
        let aside = folder.join("aside");
        std::fs::rename(&one, &aside).unwrap();
        std::fs::rename(&two, &one).unwrap();
        std::fs::rename(&aside, &two).unwrap();
    }
    let ran = staged.is_refused("swapped", Path::new(PAGE)).await;
    assert!(ran.stderr.contains("its checksum differs"), "{ran}");
    staged.only_lacks_memberships("swapped").await;

    // A manifest of another run of the same resource, alone.
    let [first, second] = staged.copy("manifest");
    let manifest = Path::new("coalitions_users/manifest.json");
    std::fs::copy(first.join(manifest), second.join(manifest)).unwrap();
    std::fs::remove_dir_all(first).unwrap();
    let ran = staged.is_refused("manifest", manifest).await;
    assert!(ran.stderr.contains("it belongs to the run "), "{ran}");
    staged.only_lacks_memberships("manifest").await;

    // All of it: every hash is right, and it is older than it pretends to be.
    let [first, second] = staged.copy("resource");
    let resource = second.join("coalitions_users");
    std::fs::remove_dir_all(&resource).unwrap();
    std::fs::rename(first.join("coalitions_users"), &resource).unwrap();
    std::fs::remove_dir_all(first).unwrap();
    let ran = staged.is_refused("resource", manifest).await;
    assert!(ran.stderr.contains("it belongs to the run "), "{ran}");
    staged.only_lacks_memberships("resource").await;

    // A run in the place of another, and one from another staging directory.
    let [first, second] = staged.copy("run");
    std::fs::remove_dir_all(&second).unwrap();
    std::fs::rename(&first, &second).unwrap();
    let ran = staged.is_refused("run", &second).await;
    assert!(ran.stderr.contains("it belongs to the run "), "{ran}");
    let [_, second] = staged.copy("number");
    edit(&second.join("run.json"), |record| record["seq"] = json!(1));
    let ran = staged.is_refused("number", &second).await;
    assert!(
        ran.stderr.contains("it has the number of the run "),
        "{ran}"
    );
}

#[tokio::test]
async fn edited_journal_changes_no_request() {
    let staged = Staged::new().await;
    let journal = Path::new("coalitions_users/pages.jsonl");
    let damages: [(&str, &str, Edit); 5] = [
        ("up", "is not a journal line", |line| {
            line["slice"] = json!("../../../../outside");
        }),
        ("absolute", "is not a journal line", |line| {
            line["slice"] = json!("/etc");
        }),
        ("disguised", "is not a journal line", |line| {
            line["slice"] = json!("user_id=../../x");
        }),
        ("huge", "larger than any page is", |line| {
            line["bytes"] = json!(u64::MAX);
        }),
        ("other_hash", "its checksum differs", |line| {
            line["sha256"] = json!(sha256(b"[]"));
        }),
    ];
    for (name, problem, damage) in damages {
        for run in staged.copy(name) {
            edit_journal(&run.join("coalitions_users"), damage);
        }
        let file = if problem.contains("line") {
            journal
        } else {
            Path::new("coalitions_users/page-0000")
        };
        let ran = staged.is_refused(name, file).await;
        assert!(ran.stderr.contains(problem), "{ran}");
        staged.only_lacks_memberships(name).await;
    }
}

/// A run that is resumed trusts its journal no more than a load does, and writes nowhere else.
#[tokio::test]
async fn edited_unfinished_run_changes_no_request() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let arguments = ["extract", "--select", "coalitions_users", "--max-hits", "2"];
    workdir.cursus(arguments).await.exits(6);
    let resource = workdir.run_directory().join("coalitions_users");
    let journal = resource.join("pages.jsonl");
    let sound = std::fs::read_to_string(&journal).unwrap();
    let edited = sound.replace(
        "\"page\":1,",
        "\"page\":1,\"slice\":\"../../../../elsewhere\",",
    );
    assert_ne!(edited, sound);
    std::fs::write(&journal, edited).unwrap();
    // What it leads to looks sound.
    let page = std::fs::read(resource.join(PAGE)).unwrap();
    workdir.write(&format!("elsewhere/{PAGE}"), page);
    // One page is asked for again, and the other is known.
    let again = ["extract", "--select", "coalitions_users", "--max-hits", "1"];
    workdir.cursus(again).await.exits(6);
    let lines = std::fs::read_to_string(&journal).unwrap();
    assert!(!lines.contains("elsewhere"), "{lines}");
    assert_eq!(lines.lines().count(), 2, "{lines}");

    let arguments = &arguments[..3];
    workdir.write("outside", "precious");
    let outside = || std::fs::read_to_string(workdir.path("outside")).unwrap();
    // What is written goes aside first: somebody waits there.
    symlink(
        workdir.path("outside"),
        resource.join(".page-00003.json.gz.tmp"),
    )
    .unwrap();
    symlink(workdir.path("outside"), resource.join(".manifest.json.tmp")).unwrap();
    workdir.cursus(arguments).await.exits(0);
    assert_eq!(outside(), "precious");

    let lock = workdir.path("staging/.lock");
    std::fs::remove_file(&lock).unwrap();
    symlink(workdir.path("outside"), &lock).unwrap();
    let ran = workdir.cursus(["extract", "--full"]).await.exits(1);
    assert!(ran.stderr.contains("it is a symbolic link"), "{ran}");
    assert_eq!(outside(), "precious");
}

/// What is done to the directory of a resource.
type Damage<'d> = &'d dyn Fn(&Path);

#[tokio::test]
async fn run_without_one_of_its_resources_is_incomplete() {
    let staged = Staged::new().await;
    let away = |path: &Path| std::fs::remove_dir_all(path).unwrap();
    let damages: [(&str, &str, Damage<'_>); 3] = [
        ("lacks_all", "run.json lists this resource", &away),
        (
            "lacks_manifest",
            "run.json lists this resource",
            &|resource| {
                std::fs::remove_file(resource.join("manifest.json")).unwrap();
            },
        ),
        ("lacks_its_place", "it is a symbolic link", &|resource| {
            let aside = resource.with_extension("aside");
            std::fs::rename(resource, &aside).unwrap();
            symlink(&aside, resource).unwrap();
        }),
    ];
    for (name, problem, damage) in damages {
        let [first, second] = staged.copy(name);
        std::fs::remove_dir_all(first).unwrap();
        damage(&second.join("coalitions_users"));
        let verify = ["stage", "verify", "latest", "--staging", name];
        let ran = staged.workdir.cursus(verify).await.exits(1);
        assert!(ran.stdout.contains(problem), "{ran}");
        let ran = staged.is_refused(name, Path::new("coalitions_users")).await;
        assert!(ran.stderr.contains(problem), "{ran}");
        staged.only_lacks_memberships(name).await;
        let only_looks = ["stage", "ls", "--staging", name];
        staged.workdir.cursus(only_looks).await.exits(0);
    }
}

/// Somebody waits at each name: no command waits with them, and none does as if nothing were there.
#[tokio::test]
async fn pipe_or_link_at_any_name_is_reported_at_once() {
    pipes_and_links_are_reported(|at| [["pipe"], ["link"]][at % 2].to_vec()).await;
}

#[tokio::test]
#[ignore = "matrix"]
async fn pipe_and_link_at_any_name_are_reported_at_once() {
    pipes_and_links_are_reported(|_| vec!["pipe", "link"]).await;
}

/// What of both stands at each name, by its place.
async fn pipes_and_links_are_reported(kinds: fn(usize) -> Vec<&'static str>) {
    let staged = Staged::new().await;
    staged.workdir.write("outside", "precious");
    let outside = staged.workdir.path("outside");
    for (at, name) in [
        "staging/.lock",
        "run.json",
        "approvals.json",
        "coalitions_users",
        "coalitions_users/manifest.json",
        "coalitions_users/pages.jsonl",
        "coalitions_users/page-00001.json.gz",
    ]
    .into_iter()
    .enumerate()
    {
        for kind in kinds(at) {
            let copy = format!("{kind}_at_{at}");
            let [first, second] = staged.copy(&copy);
            std::fs::remove_dir_all(first).unwrap();
            let path = match name.strip_prefix("staging/") {
                Some(name) => staged.workdir.path(&copy).join(name),
                None => second.join(name),
            };
            let _ = std::fs::remove_dir_all(&path);
            let _ = std::fs::remove_file(&path);
            if kind == "pipe" {
                nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
            } else {
                symlink(&outside, &path).unwrap();
            }
            for command in ["load", "replay"] {
                let here = ["--staging", &copy, "--into", &format!("{command}_{copy}")];
                let ran = staged
                    .workdir
                    .cursus([&[command][..], &here].concat())
                    .await;
                // Nothing was held, so there was no approval to look for.
                if name != "approvals.json" {
                    let named = path.file_name().unwrap().to_str().unwrap();
                    assert!(ran.stderr.contains(named), "{ran}");
                    assert_eq!(ran.code, Some(1), "{ran}");
                }
            }
            let here = ["--staging", &copy];
            for command in [
                &["extract", "--select", "cursus"][..],
                &["status"],
                &["stage", "ls"],
            ] {
                staged.workdir.cursus([command, &here].concat()).await;
            }
            let verify = ["stage", "verify", "latest"];
            let ran = staged.workdir.cursus([&verify[..], &here].concat()).await;
            let is_of_run = !matches!(name, "staging/.lock" | "approvals.json");
            assert_eq!(ran.code, Some(i32::from(is_of_run)), "{ran}");
        }
    }
    assert_eq!(std::fs::read_to_string(outside).unwrap(), "precious");
}

#[tokio::test]
async fn pages_without_a_journal_line_are_reported_and_removed() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let extract = ["extract", "--select", "coalitions_users"];
    let requests = ["--max-hits", "2"];
    workdir
        .cursus([&extract[..], &requests].concat())
        .await
        .exits(6);
    let resource = workdir.run_directory().join("coalitions_users");
    // As a process leaves them that is killed before their lines, where the list is shorter then.
    let stray_files = ["page-00099.json.gz", ".page-00098.json.gz.tmp"];
    let plant = || {
        for name in stray_files {
            std::fs::copy(resource.join(PAGE), resource.join(name)).unwrap();
        }
    };
    plant();
    workdir.cursus(extract).await.exits(0);
    for name in stray_files {
        assert!(!resource.join(name).exists(), "{name}");
    }
    workdir.json(["stage", "verify", "latest"]).await;
    plant();
    let ran = workdir.cursus(["stage", "verify", "latest"]).await.exits(1);
    for name in stray_files {
        assert!(ran.stdout.contains(name), "{ran}");
    }
}

/// A file that takes no room on the disk would take all the memory.
#[tokio::test]
async fn a_file_larger_than_any_is_refused_before_it_is_read() {
    let staged = Staged::new().await;
    for (at, file) in [
        "run.json",
        "coalitions_users/manifest.json",
        "coalitions_users/pages.jsonl",
    ]
    .into_iter()
    .enumerate()
    {
        for (kind, size) in [("huge", 200 << 30), ("long", 200 << 20)] {
            let copy = format!("{kind}_{at}");
            let [first, second] = staged.copy(&copy);
            std::fs::remove_dir_all(first).unwrap();
            let path = second.join(file);
            std::fs::File::create(&path).unwrap().set_len(size).unwrap();
            // Far less than the file.
            let load = ["load", "--staging", &copy, "--into", &copy];
            let ran = staged.workdir.cursus_within(1 << 30, load).await;
            let ran = ran.exits(1).stderr;
            assert!(ran.contains(file.rsplit('/').next().unwrap()), "{ran}");
            let problem = match (kind, at) {
                ("huge", _) => "it is larger than anything that cursus writes there",
                (_, 2) => "is longer than any journal line",
                _ => "not what cursus writes there",
            };
            assert!(ran.contains(problem), "{ran}");
        }
    }
}

/// The next run would come before all others, and what is old would be written over what is new.
#[tokio::test]
async fn a_run_with_a_number_that_none_can_have_is_refused() {
    let mut staged = Staged::new().await;
    staged.workdir.use_api(&staged.simulator);
    let [_, second] = staged.copy("last");
    let record = second.join("run.json");
    edit(&record, |run| run["seq"] = json!(u64::MAX));
    for command in [&["load"][..], &["extract"], &["stage", "ls"]] {
        let all = [command, &["--staging", "last"]].concat();
        let ran = staged.workdir.cursus(&all).await.exits(1);
        let answer = "run.json: its number (seq) is 18446744073709551615, and no run has one above";
        assert!(ran.stderr.contains(answer), "{ran}");
    }
    let runs = files(&staged.workdir.path("last"));
    let runs = runs.iter().filter(|path| path.ends_with("run.json"));
    assert_eq!(runs.count(), 2, "no run was begun after it");
}

#[tokio::test]
async fn journal_of_an_impossible_list_takes_bounded_memory() {
    let staged = Staged::new().await;
    for (at, field) in ["x_total", "rows", "per_page"].into_iter().enumerate() {
        let copy = format!("endless_{at}");
        let [first, second] = staged.copy(&copy);
        std::fs::remove_dir_all(first).unwrap();
        let resource = second.join("coalitions_users");
        edit_journal(&resource, |line| line[field] = json!(u64::MAX));
        let ran = staged
            .is_refused(&copy, &resource.join("pages.jsonl"))
            .await;
        let problem = "line 1 has more records than a list can have";
        assert!(ran.stderr.contains(problem), "{ran}");
        staged.only_lacks_memberships(&copy).await;
    }
    // Pages that no list has prove nothing, and nobody stumbles over them.
    for (number, named) in [("0", "zero"), ("18446744073709551615", "far")] {
        let [first, second] = staged.copy(named);
        std::fs::remove_dir_all(first).unwrap();
        edit_journal(&second.join("coalitions_users"), |line| {
            let request = line["request"].as_str().unwrap();
            let (list, _) = request.split_once("page%5Bnumber%5D=").unwrap();
            line["request"] = json!(format!("{list}page%5Bnumber%5D={number}"));
        });
        let verify = ["stage", "verify", "latest", "--staging", named];
        let ran = staged.workdir.cursus(verify).await.exits(1);
        assert_eq!(ran.stderr, "", "{ran}");
    }
}

#[tokio::test]
async fn unfinished_journal_of_an_endless_list_is_repaired() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.pipeline(&[("page_size = 100 ", "page_size = 5 ")]);
    let extract = ["extract", "--select", "coalitions"];
    let requests = ["--max-hits", "2"];
    let ran = workdir.cursus([&extract[..], &requests].concat()).await;
    ran.exits(6);
    let journal = workdir.run_directory().join("coalitions/pages.jsonl");
    let text = std::fs::read_to_string(&journal).unwrap();
    let total = "\"x_total\":20";
    assert!(text.contains(total), "{text}");
    let endless = format!("\"x_total\":{}", u64::MAX);
    std::fs::write(&journal, text.replace(total, &endless)).unwrap();
    let ran = workdir.cursus_within(1 << 30, extract).await.exits(0);
    let answer = format!(
        "{}: line 1 has more records than a list can have; its page is asked for again",
        journal.strip_prefix(workdir.path("")).unwrap().display()
    );
    assert!(ran.stderr.contains(&answer), "{ran}");
    assert_eq!(workdir.staged("coalitions").await.len(), SCALE.coalitions);
    workdir.json(["stage", "verify", "latest"]).await;
}

#[tokio::test]
async fn no_link_and_no_pipe_is_followed() {
    let staged = Staged::new().await;
    let link = |path: &Path| {
        let away = staged.workdir.path("away").join(path.file_name().unwrap());
        std::fs::create_dir_all(away.parent().unwrap()).unwrap();
        let _ = std::fs::remove_dir_all(&away);
        std::fs::rename(path, &away).unwrap();
        symlink(&away, path).unwrap();
    };
    for file in ["", PAGE, "pages.jsonl", "manifest.json"] {
        let name = format!("link_{}", file.len());
        let [first, second] = staged.copy(&name);
        std::fs::remove_dir_all(first).unwrap();
        let file = second.join("coalitions_users").join(file);
        let file = PathBuf::from(file.to_str().unwrap().trim_end_matches('/'));
        link(&file);
        let ran = staged.is_refused(&name, &file).await;
        assert!(ran.stderr.contains("it is a symbolic link"), "{ran}");
        staged.only_lacks_memberships(&name).await;
    }
    for (name, up) in [("link_run", 0), ("link_day", 1)] {
        let [_, second] = staged.copy(name);
        let path = second.ancestors().nth(up).unwrap();
        link(path);
        let ran = staged.is_refused(name, path).await;
        assert!(ran.stderr.contains("it is a symbolic link"), "{ran}");
    }
    let [first, second] = staged.copy("pipe");
    std::fs::remove_dir_all(first).unwrap();
    let page = second.join("coalitions_users").join(PAGE);
    std::fs::remove_file(&page).unwrap();
    nix::unistd::mkfifo(&page, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let ran = staged.is_refused("pipe", &page).await;
    assert!(ran.stderr.contains("it is no file"), "{ran}");
    staged.only_lacks_memberships("pipe").await;

    // The whole directory may lie elsewhere.
    symlink(
        staged.workdir.path("staging"),
        staged.workdir.path("elsewhere"),
    )
    .unwrap();
    let arguments = ["load", "--staging", "elsewhere", "--into", "elsewhere"];
    staged.workdir.cursus(arguments).await.exits(0);
    assert!(staged.rows("elsewhere", "coalitions_users").await > 0);
}
