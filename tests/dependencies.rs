//! What cursus stands on is told.

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
