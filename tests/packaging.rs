//! What is shipped: the crate, the Debian package's list of files, a release.
//!
//! `make test-packages` installs the package and the archive in fresh systems.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;
use walkdir::WalkDir;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn run(folder: &Path, program: &str, arguments: &[&str]) -> Output {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output();
    output.unwrap_or_else(|error| panic!("{program}: {error}"))
}

fn succeeds(folder: &Path, program: &str, arguments: &[&str]) -> String {
    let output = run(folder, program, arguments);
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {output:?}"
    );
    String::from_utf8(output.stdout).unwrap()
}

/// All files below a folder of the repository, from its root.
fn files(folder: &str) -> Vec<String> {
    let entries = WalkDir::new(Path::new(ROOT).join(folder)).into_iter();
    let files = entries
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().is_file());
    let relative = |path: &Path| {
        path.strip_prefix(ROOT)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    files.map(|entry| relative(entry.path())).collect()
}

#[test]
fn the_crate_holds_all_that_the_binary_embeds() {
    let list = "package --list --allow-dirty --offline --package cursus";
    let packaged = succeeds(
        Path::new(ROOT),
        env!("CARGO"),
        &list.split(' ').collect::<Vec<_>>(),
    );
    let mut embedded = [files("sql"), files("migrations"), files("packs")].concat();
    embedded.extend(["pipeline.toml", "README.md", "Cargo.lock"].map(str::to_owned));
    assert!(embedded.len() > 10, "{embedded:?}");
    for file in embedded {
        assert!(
            packaged.lines().any(|line| line == file),
            "{file} is not packaged"
        );
    }
}

/// The commit, tag and files of a repository that `release.sh` takes, but for what one of the cases changes.
struct Repository(TempDir);

impl Repository {
    fn new() -> Self {
        let repository = Self(TempDir::new().unwrap());
        repository.write(
            "Cargo.toml",
            "[workspace.package]\nversion = \"1.2.3\"\n\n[package]\n",
        );
        repository.write("CHANGELOG.md", "# Changelog\n\n## [1.2.3] - 2026-11-30\n");
        let script = std::fs::read_to_string(Path::new(ROOT).join("scripts/release.sh")).unwrap();
        repository.write("scripts/release.sh", &script);
        repository.git("init --quiet --initial-branch main");
        repository.commit();
        repository
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.0.path().join(file);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn git(&self, arguments: &str) {
        succeeds(
            self.0.path(),
            "git",
            &arguments.split(' ').collect::<Vec<_>>(),
        );
    }

    fn commit(&self) {
        self.git("add --all");
        self.git("-c user.name=somebody -c user.email=somebody@example.org commit --quiet --allow-empty --message change");
    }

    /// Why there is no release.
    fn refusal(&self) -> String {
        let output = run(self.0.path(), "sh", &["scripts/release.sh", "1.2.3"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(
            !self.0.path().join("target").exists(),
            "something was built"
        );
        String::from_utf8(output.stderr).unwrap()
    }
}

#[test]
fn a_release_is_refused_unless_tag_and_files_agree() {
    let repository = Repository::new();
    assert!(
        repository
            .refusal()
            .contains("there is no tag v1.2.3; `git tag v1.2.3`")
    );
    repository.git("tag v1.2.3");
    repository.commit();
    assert!(
        repository
            .refusal()
            .contains("the checkout is not at v1.2.3")
    );
    repository.git("tag --force v1.2.3");
    repository.write("new", "");
    assert!(repository.refusal().contains("the checkout has changes"));

    let changed = |file: &str, text: &str| {
        let repository = Repository::new();
        repository.write(file, text);
        repository.commit();
        repository.git("tag v1.2.3");
        repository.refusal()
    };
    let other = changed("Cargo.toml", "[workspace.package]\nversion = \"1.2.4\"\n\n");
    assert!(other.contains("Cargo.toml says 1.2.4"), "{other}");
    let silent = changed("CHANGELOG.md", "# Changelog\n\n## [1.2.30] - 2026-11-30\n");
    assert!(
        silent.contains("CHANGELOG.md has no section `## [1.2.3]`"),
        "{silent}"
    );
}

/// Whether a file is one that an asset of the Debian package names.
fn is_of(asset: &str, file: &str) -> bool {
    let start = asset.split('*').next().unwrap();
    match asset.rsplit_once('*') {
        Some((_, end)) => file.starts_with(start) && file.ends_with(end),
        None => file == asset,
    }
}

#[test]
fn the_debian_package_has_every_unit_and_starts_none() {
    let manifest: toml::Table = include_str!("../Cargo.toml").parse().unwrap();
    let package = &manifest["package"]["metadata"]["deb"];
    let text = |value: &toml::Value| value.as_str().unwrap().to_owned();
    let assets = package["assets"].as_array().unwrap().iter();
    let assets: Vec<String> = assets.map(|asset| text(&asset[0])).collect();
    let mut here = [files("deploy"), files("docs")].concat();
    let top = Path::new(ROOT).read_dir().unwrap();
    here.extend(top.map(|entry| entry.unwrap().file_name().into_string().unwrap()));
    for asset in assets.iter().filter(|asset| !asset.starts_with("target/")) {
        assert!(
            here.iter().any(|file| is_of(asset, file)),
            "there is no {asset}"
        );
    }
    let units = package["systemd-units"].as_array().unwrap();
    for unit in units {
        assert_eq!(
            (&unit["enable"], &unit["start"]),
            (&false.into(), &false.into()),
            "{unit}"
        );
    }
    let names: Vec<String> = units.iter().map(|unit| text(&unit["unit-name"])).collect();
    let shipped = files("deploy/systemd");
    assert!(shipped.len() > 4, "{shipped:?}");
    for file in shipped {
        let stem = Path::new(&file).file_stem().unwrap().to_str().unwrap();
        let is_unit = names.iter().any(|name| name == stem);
        let is_there = is_unit || assets.iter().any(|asset| is_of(asset, &file));
        assert!(is_there, "{file} is not in the package");
    }
}
