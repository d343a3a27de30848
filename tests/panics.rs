//! A fault of the program itself tells where it is, and nothing of what it says: that can be what a record says.

use crate::support::{Workdir, boxes, simulator};

/// What every panic of a test says.
const CANARY: &str = "Lovelace";

#[tokio::test]
async fn panic_names_its_place_and_no_record() {
    let simulator = simulator().await;
    let text = &[][..];
    let documents = &["--json", "-vv", "--log-format", "json"][..];
    for (command, place, code, forms) in [
        (&["load"][..], "load.begin", 1, &[documents][..]),
        (&["load"], "load.copy", 1, &[text, documents]),
        (&["migrate"], "migrate.schema", 1, &[text, documents]),
        (&["extract"], "token.write", 0, &[text, documents]),
        (&["extract"], "ledger.write", 1, &[text]),
        (&["extract"], "page.write", 1, &[text, documents]),
        (&["extract"], "line.append", 1, &[documents]),
        (&["run"], "manifest.rename", 1, &[text, documents]),
    ] {
        for flags in forms.iter().copied() {
            let mut workdir = if command == ["load"] {
                let workdir = boxes::workdir().await;
                boxes::three_runs(&workdir);
                workdir
            } else if command == ["migrate"] {
                Workdir::with_empty_database(&simulator).await
            } else {
                Workdir::with(&simulator).await
            };
            workdir.set("CURSUS_FAILPOINT", format!("{place}:1=panic"));
            let ran = workdir.cursus([command, flags].concat()).await.exits(code);
            let said = ran.to_string();
            assert!(!said.contains(CANARY), "{place}: {said}");
            let places = said.matches("a fault in cursus at crates/base/src/failpoint.rs:");
            assert_eq!(places.count(), 1, "{place}: {said}");
            if code == 1 && !flags.is_empty() {
                let document = ran.json();
                let sentence = document["errors"][0]
                    .as_str()
                    .or(document["error"].as_str());
                assert!(sentence.is_some(), "{said}");
            }
            // What is staged and committed is kept, and no lock is left.
            workdir.unset("CURSUS_FAILPOINT");
            workdir.cursus(command).await.exits(0);
        }
    }
}
