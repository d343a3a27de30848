//! A package that prints its version, built as people build it.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

/// A package in a directory of its own.
struct Package {
    dir: TempDir,
}

impl Package {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_package(dir.path());
        Self { dir }
    }

    fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args([
                "-c",
                "user.name=Nobody",
                "-c",
                "user.email=nobody@example.org",
            ])
            .args(arguments)
            .current_dir(self.dir.path())
            .env("GIT_AUTHOR_DATE", "2026-11-29T23:30:00-0500")
            .env("GIT_COMMITTER_DATE", "2026-11-29T23:30:00-0500")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Commits what is there, and gives what `--version` has to say of it: the day is that in UTC.
    fn commit(&self) -> String {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", "change"]);
        format!(
            "1.2.3 ({} 2026-11-30)",
            &self.git(&["rev-parse", "HEAD"])[..9]
        )
    }
}

fn write_package(dir: &Path) {
    let manifest = format!(
        "[package]\nname = \"shown\"\nversion = \"1.2.3\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n\
         cursus-version = {{ path = {:?} }}\n",
        env!("CARGO_MANIFEST_DIR")
    );
    fs::create_dir_all(dir.join("src")).unwrap();
    fs::write(dir.join("Cargo.toml"), manifest).unwrap();
    fs::write(dir.join(".gitignore"), "/target\n/Cargo.lock\n").unwrap();
    let source = "fn main() { println!(\"{}\", cursus_version::version!()); }\n";
    fs::write(dir.join("src/main.rs"), source).unwrap();
}

/// What the package prints after a build, with `CURSUS_COMMIT` set to `commit`.
fn built(dir: &Path, commit: Option<&str>) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--offline", "--quiet"]).current_dir(dir);
    cargo.env("CARGO_TARGET_DIR", dir.join("target"));
    cargo.env_remove("CURSUS_COMMIT");
    if let Some(commit) = commit {
        cargo.env("CURSUS_COMMIT", commit);
    }
    let output = cargo.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn version_names_the_commit_and_follows_it() {
    let package = Package::new();
    let dir = package.dir.path();
    assert_eq!(built(dir, None), "1.2.3", "no checkout");
    assert_eq!(built(dir, Some("packaged")), "1.2.3 (packaged)");

    package.git(&["init", "--quiet"]);
    let first = package.commit();
    assert_eq!(built(dir, None), first);
    let second = package.commit();
    assert_ne!(first, second);
    assert_eq!(built(dir, None), second);
    assert_eq!(built(dir, Some("packaged")), "1.2.3 (packaged)");
    assert_eq!(built(dir, Some("")), "1.2.3");
    assert_eq!(built(dir, None), second);
}

#[test]
fn archive_inside_another_checkout_has_no_commit() {
    let outer = Package::new();
    outer.git(&["init", "--quiet"]);
    let inner = outer.dir.path().join("unpacked");
    write_package(&inner);
    outer.commit();
    assert_eq!(built(&inner, None), "1.2.3");
}
