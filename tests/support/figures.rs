//! Figures that tests count: `scripts/figures.sh` prints them and compares them with docs/reliability.md.

use std::path::Path;

/// Notes how many there were of something, by its name in docs/reliability.md.
pub(crate) fn note(what: &str, seen: usize) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("figures");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(
        folder.join(what.replace('/', " ")),
        format!("{seen:>6} {what}\n"),
    )
    .unwrap();
}
