//! What cursus stands on is told, and is free to be used.

use std::process::Command;

const MANIFEST: &str = include_str!("../Cargo.toml");
const TOLD: &str = include_str!("../docs/dependencies.md");

#[test]
fn every_dependency_is_named_with_its_reason_and_none_that_is_gone() {
    let manifest: toml::Table = MANIFEST.parse().unwrap();
    let mut used: Vec<&str> = ["dependencies", "dev-dependencies"]
        .iter()
        .flat_map(|section| manifest[*section].as_table().unwrap().keys())
        .map(String::as_str)
        .collect();
    used.sort_unstable();
    used.dedup();
    let rows = TOLD.lines().filter_map(|line| line.strip_prefix("| "));
    let mut told: Vec<&str> = rows
        .filter_map(|row| row.split('|').next())
        .flat_map(|names| names.split(", "))
        .map(|name| name.split_whitespace().next().unwrap())
        .filter(|name| *name != "crate")
        .collect();
    told.sort_unstable();
    assert_eq!(told, used);
}

/// As `cargo deny` would, which is not everywhere: what it allows, it is asked for here too.
#[test]
fn every_dependency_comes_from_the_registry_under_a_licence_that_is_allowed() {
    let deny: toml::Table = include_str!("../deny.toml").parse().unwrap();
    let allowed = deny["licenses"]["allow"].as_array().unwrap();
    let is_allowed = |licence: &str| allowed.iter().any(|one| one.as_str() == Some(licence));
    let arguments =
        "metadata --offline --locked --format-version 1 --filter-platform x86_64-unknown-linux-gnu";
    let metadata = Command::new(env!("CARGO"))
        .args(arguments.split(' '))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{metadata:?}");
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    // Those that are built here, without those of other systems.
    let built = packages.filter(|package| nodes.iter().any(|node| node["id"] == package["id"]));
    let mut strangers = Vec::new();
    for package in built.filter(|package| package["name"] != "cursus") {
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
