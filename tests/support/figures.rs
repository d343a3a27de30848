//! Figures that tests count: `make test` prints them, and docs/reliability.md states them.

use std::path::Path;

/// Notes how many there were. The documentation has to say so, and may not claim more.
#[track_caller]
pub(crate) fn note(what: &str, seen: usize) {
    let row = format!("| {what} | ");
    let document = include_str!("../../docs/reliability.md");
    let claimed = document.lines().find_map(|line| line.strip_prefix(&row));
    let claimed = claimed.unwrap_or_else(|| panic!("docs/reliability.md has no row `{row}`"));
    let number: String = claimed.chars().take_while(char::is_ascii_digit).collect();
    let number: usize = number.parse().unwrap();
    assert!(
        number <= seen,
        "docs/reliability.md claims {number} {what}, and {seen} were seen"
    );
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("figures");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(
        folder.join(what.replace('/', " ")),
        format!("{seen:>6} {what}\n"),
    )
    .unwrap();
}
