//! The checks of `make lint` find what they forbid.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A directory with these files.
fn tree(files: &[(&str, String)]) -> TempDir {
    let root = TempDir::new().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    root
}

/// Runs a check on a directory; whether it passes, and what it prints.
fn lint(check: &str, root: &TempDir) -> (bool, String) {
    let script = Path::new(ROOT).join(format!("scripts/lint/{check}.sh"));
    let output = Command::new("sh")
        .args([&script, root.path()])
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[track_caller]
fn fails(check: &str, root: &TempDir, says: &[&str]) {
    let (passes, said) = lint(check, root);
    assert!(!passes, "{check} passes: {said}");
    for words in says {
        assert!(said.contains(words), "{words}: {said}");
    }
}

#[test]
fn replaced_words_are_found_in_names_comments_and_papers() {
    let line = |text: &str| tree(&[("src/load/one.rs", format!("fn one() {{}}\n{text}\n"))]);
    for word in [
        "// What the user is told.",
        "struct ToldBefore;",
        "let is_gone = 1;",
        "// 3 rows WOULD GO",
        "let max = hits;",
    ] {
        fails("words", &line(word), &["src/load/one.rs:2: write "]);
    }
    for word in ["// bigone, tolder", "let max_hits = 1;", "MutexGuard"] {
        let (passes, said) = lint("words", &line(word));
        assert!(passes, "{said}");
    }
    // An applied migration never changes, and the next one is looked at.
    let migration = |number: u8| {
        let path = format!("migrations/mirror/V{number}__x.sql");
        tree(&[(&path, "-- whoever".to_owned())])
    };
    assert!(lint("words", &migration(1)).0);
    fails("words", &migration(99), &["V99__x.sql:1: write "]);
    fails(
        "words",
        &tree(&[("tests/guard.rs", String::new())]),
        &["tests/guard.rs: "],
    );
}

#[test]
fn long_names_and_tests_that_are_not_there_are_found() {
    let names: Vec<String> = (0..30).map(|number| format!("test_{number}")).collect();
    let tests: String = (names.iter())
        .map(|name| format!("#[test]\nfn {name}() {{}}\n"))
        .collect();
    let paper: String = names
        .iter()
        .map(|name| format!("| so | `{name}` |\n"))
        .collect();
    let files = |name: &str, named: &str| {
        tree(&[
            (
                "tests/all.rs",
                format!("{tests}#[tokio::test]\nasync fn {name}() {{}}\n"),
            ),
            ("docs/reliability.md", format!("{paper}{named}\n")),
            ("src/lib.rs", String::new()),
            ("crates/lib.rs", String::new()),
        ])
    };
    let (passes, said) = lint("test-names", &files(&"n".repeat(60), "| so | `test_1` |"));
    assert!(passes, "{said}");
    let says = ["tests/all.rs: 61 characters"];
    fails("test-names", &files(&"n".repeat(61), ""), &says);
    for named in ["| so | `no_such_test` |", "In prose `no_such_test` too."] {
        let says = ["there is no test `no_such_test`"];
        fails("test-names", &files("one", named), &says);
    }
}

#[test]
fn steps_of_the_disk_without_a_failpoint_are_found() {
    let text = "fn one() {\n    fs::rename(a, b)?;\n}\n#[cfg(test)]\nfs::rename(c, d)";
    let root = tree(&[("src/new.rs", text.to_owned())]);
    let says = [
        "src/new.rs: 1 of `fs::rename(`, 0 in",
        "src/staging/private_files.rs: no `fs::rename(` any more",
    ];
    fails("durable-steps", &root, &says);
}

#[test]
fn large_files_are_found() {
    let files = |lines: usize| {
        tree(&[
            (
                "src/new.rs",
                "// line\n".repeat(lines) + "#[cfg(test)]\nmod tests;\n",
            ),
            ("crates/lib.rs", String::new()),
        ])
    };
    assert!(lint("file-sizes", &files(500)).0);
    fails("file-sizes", &files(501), &["src/new.rs: 501 lines"]);
}

#[test]
fn paths_that_are_not_there_are_found() {
    let files = |path: &str| {
        let paper = format!("In `one.rs`, `load/` and `{path}`, not in `word`.");
        tree(&[
            ("docs/architecture.md", paper),
            ("docs/decisions/001-x.md", String::new()),
            ("src/one.rs", String::new()),
            ("src/load/two.rs", String::new()),
        ])
    };
    assert!(lint("paths", &files("src/load/two.rs")).0);
    let says = ["docs/architecture.md:1: there is no load/gone.rs"];
    fails("paths", &files("load/gone.rs"), &says);
}

#[test]
fn dependencies_that_are_not_listed_or_not_free_are_found() {
    let read = |path: &str| std::fs::read_to_string(Path::new(ROOT).join(path)).unwrap();
    let paper = read("docs/dependencies.md").replace("| anyhow |", "| nothing |");
    let deny = read("deny.toml").replace("\"Zlib\"", "\"Free\"");
    let root = tree(&[("docs/dependencies.md", paper), ("deny.toml", deny)]);
    for name in [
        "Cargo.toml",
        "Cargo.lock",
        "src",
        "crates",
        "tests",
        "benches",
    ] {
        symlink(Path::new(ROOT).join(name), root.path().join(name)).unwrap();
    }
    let says = [
        "`anyhow` is not listed",
        "`nothing` is not used",
        "is under Zlib, which deny.toml does not allow",
    ];
    fails("dependencies", &root, &says);
}

#[test]
fn a_lock_file_of_fuzzing_that_is_stale_is_found() {
    let package = |name: &str| format!("[package]\nname = \"{name}\"\nversion = \"0.0.0\"\n");
    let locked = |name: &str| format!("[[package]]\nname = \"{name}\"\nversion = \"0.0.0\"\n");
    let files = |lock: &str| {
        tree(&[
            ("fuzz/Cargo.toml", package("fuzz") + "[workspace]\n"),
            ("fuzz/src/lib.rs", String::new()),
            ("fuzz/Cargo.lock", format!("version = 4\n\n{lock}")),
        ])
    };
    let fresh = locked("fuzz");
    let (passes, said) = lint("fuzz-lock", &files(&fresh));
    assert!(passes, "{said}");
    fails("fuzz-lock", &files(&locked("left")), &["not up to date"]);
}
