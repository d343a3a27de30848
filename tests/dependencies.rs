//! The dependencies of all members of the workspace are documented and under free licences.

use std::process::Command;

use serde_json::Value;

const LISTED: &str = include_str!("../docs/dependencies.md");

/// What `cargo metadata` says of the workspace and of all that it builds on this system.
fn metadata() -> Value {
    let arguments =
        "metadata --offline --locked --format-version 1 --filter-platform x86_64-unknown-linux-gnu";
    let metadata = Command::new(env!("CARGO"))
        .args(arguments.split(' '))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{metadata:?}");
    serde_json::from_slice(&metadata.stdout).unwrap()
}

fn is_member(metadata: &Value, package: &Value) -> bool {
    let members = metadata["workspace_members"].as_array().unwrap();
    members.contains(&package["id"])
}

#[test]
fn each_dependency_is_listed_with_its_reason() {
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap().iter();
    let mut used: Vec<&str> = packages
        .filter(|package| is_member(&metadata, package))
        .flat_map(|package| package["dependencies"].as_array().unwrap())
        .filter(|dependency| dependency["path"].is_null())
        .map(|dependency| dependency["name"].as_str().unwrap())
        .collect();
    used.sort_unstable();
    used.dedup();
    let rows = LISTED.lines().filter_map(|line| line.strip_prefix("| "));
    let mut listed: Vec<&str> = rows
        .filter_map(|row| row.split('|').next())
        .flat_map(|names| names.split(", "))
        .map(|name| name.split_whitespace().next().unwrap())
        .filter(|name| *name != "crate")
        .collect();
    listed.sort_unstable();
    assert_eq!(listed, used);
}

/// What the binary is built from, with or without the simulator.
fn crates_of(arguments: &[&str]) -> String {
    let tree = Command::new(env!("CARGO"))
        .args("tree --offline --locked --edges normal --prefix none --package cursus".split(' '))
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{tree:?}");
    String::from_utf8(tree.stdout).unwrap()
}

#[test]
fn the_product_builds_without_the_simulator_and_its_server() {
    let (with, without) = (crates_of(&[]), crates_of(&["--no-default-features"]));
    for name in ["\naxum ", "\ncursus-simulator "] {
        assert!(with.contains(name), "{with}");
        assert!(!without.contains(name), "{without}");
    }
}

/// As `cargo deny` would, which is not installed everywhere.
#[test]
fn each_dependency_is_from_the_registry_under_a_free_licence() {
    let deny: toml::Table = include_str!("../deny.toml").parse().unwrap();
    let allowed = deny["licenses"]["allow"].as_array().unwrap();
    let is_allowed = |licence: &str| allowed.iter().any(|one| one.as_str() == Some(licence));
    let metadata = metadata();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    // Those that are built here, without those of other systems.
    let built = packages.filter(|package| nodes.iter().any(|node| node["id"] == package["id"]));
    let mut strangers = Vec::new();
    for package in built.filter(|package| !is_member(&metadata, package)) {
        let licence = package["license"].as_str().unwrap_or("none");
        let licence = licence.replace('/', " OR ").replace(['(', ')'], "");
        let is_free = licence
            .split(" AND ")
            .all(|all| all.split(" OR ").any(is_allowed));
        let from = package["source"].as_str().unwrap_or("a directory");
        if !is_free || from != "registry+https://github.com/rust-lang/crates.io-index" {
            strangers.push(format!("{} is {licence}, from {from}", package["name"]));
        }
    }
    assert!(strangers.is_empty(), "{strangers:#?}");
}
