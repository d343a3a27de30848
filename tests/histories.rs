//! Random histories, loaded run by run when they come, and all of them once more.

use std::collections::BTreeMap;

use cursus::staging::{Mode, State};
use fastrand::Rng;
use serde_json::{Value, json};

use crate::support::Workdir;
use crate::support::boxes::{PIPELINE, Read, content, loads, stage_in_order, workdir};

/// What the API would show.
#[derive(Default)]
pub(crate) struct World {
    boxes: BTreeMap<i64, String>,
    things: BTreeMap<i64, String>,
    notes: BTreeMap<i64, String>,
    /// Things as notes show them, also deleted ones.
    nested: BTreeMap<i64, Value>,
}

impl World {
    /// Inserts, changes, deletes, people who leave the scope, and things whose box comes late. Gives the ids of changed things.
    pub(crate) fn change(&mut self, rng: &mut Rng, step: i64) -> Vec<i64> {
        let share = [2, 2, 20][rng.usize(..3)];
        self.things.retain(|_, _| rng.i64(0..share) > 0);
        self.boxes.retain(|_, _| rng.u8(..9) > 0);
        for _ in 0..if step == 0 { 20 } else { rng.usize(..3) } {
            let id = rng.i64(1..9);
            self.boxes.insert(
                id,
                json!({"id": id, "name": format!("box {step}")}).to_string(),
            );
        }
        let mut changed = Vec::new();
        for _ in 0..if step == 0 { 60 } else { rng.usize(..15) } {
            let id = rng.i64(1..40);
            let kind = ["thing", "thing", "thing", "thing", "other"][rng.usize(..5)];
            let weight = [
                json!(1.5),
                json!(rng.i64(0..4)),
                json!("heavy"),
                json!(null),
            ];
            let parts: Vec<_> = (0..rng.i64(0..4))
                .map(|part| json!({"id": part, "size": rng.i64(0..5)}))
                .collect();
            let thing = json!({"id": id, "kind": kind, "box_id": rng.i64(1..9), "weight": weight[rng.usize(..4)],
                "document": {"step": step}, "seen_at": format!("2026-01-01T00:{step:02}:00Z"), "parts": parts});
            self.things.insert(id, thing.to_string());
            self.nested.insert(id, thing);
            changed.push(id);
        }
        // Some change without a date, some leave the list and are shown within notes only, some answers are old.
        for (id, thing) in &mut self.nested {
            match rng.u8(..12) {
                0 => thing["document"] = json!("anonymous"),
                1 => thing["kind"] = json!("other"),
                2 => thing["seen_at"] = json!("2025-01-01T00:00:00Z"),
                3 => drop(self.things.remove(id)),
                _ => {}
            }
        }
        for _ in 0..rng.usize(..6) {
            let id = rng.i64(1..30);
            let thing = rng.i64(1..40);
            let note = json!({"id": id, "thing_id": thing, "text": format!("{step}"), "thing": self.nested.get(&thing)});
            self.notes.insert(id, note.to_string());
        }
        changed
    }

    /// What a run reads of it.
    pub(crate) fn reads(&self, rng: &mut Rng, step: i64, changed: &[i64]) -> Vec<Read<'static>> {
        let mut reads = Vec::new();
        let state = |rng: &mut Rng| {
            [
                State::Complete,
                State::Complete,
                State::Drifted,
                State::Partial,
            ][rng.usize(..4)]
        };
        let all =
            |rows: &BTreeMap<i64, String>| -> Vec<String> { rows.values().cloned().collect() };
        if step == 0 || rng.u8(..3) > 0 {
            reads.push(("boxes", Mode::Full, state(rng), all(&self.boxes)));
        }
        if step == 0 || rng.u8(..3) == 0 {
            reads.push(("things", Mode::Full, state(rng), all(&self.things)));
        } else {
            let shown = changed.iter().filter_map(|id| self.things.get(id).cloned());
            reads.push(("things", Mode::Delta, state(rng), shown.collect()));
        }
        if rng.bool() {
            reads.push(("notes", Mode::Full, state(rng), all(&self.notes)));
        }
        rng.shuffle(&mut reads);
        reads
    }
}

/// What the prune limit holds back, without what stays for other rows.
async fn held(workdir: &Workdir) -> Vec<Value> {
    let held = workdir.json(["prune", "ls"]).await;
    let held = held.as_array().unwrap().iter();
    let held = held.filter(|held| held.get("referred_by").is_none());
    held.cloned().collect()
}

/// Now and then somebody approves what is held of a run, not always of the newest. Gives how often.
pub(crate) async fn approve(workdir: &Workdir, rng: &mut Rng) -> usize {
    let held = held(workdir).await;
    if held.is_empty() || rng.u8(..3) == 0 {
        return 0;
    }
    let run = held[rng.usize(..held.len())]["run_id"].as_str().unwrap();
    let approved = workdir.cursus(["prune", "approve", run, "-q"]).await;
    assert!(matches!(approved.code, Some(0 | 4)), "{approved}");
    1
}

#[tokio::test]
async fn a_replay_of_all_runs_gives_the_mirror_row_by_row() {
    replayed_histories(0..1).await;
}

#[tokio::test]
#[ignore = "matrix"]
async fn replays_of_random_histories_give_the_mirror_row_by_row() {
    let counts = replayed_histories(0..4).await;
    assert!(
        counts.iter().all(|count| *count > 1) && counts[..3].iter().all(|count| *count > 3),
        "{counts:?}: the histories are too tame"
    );
}

/// Of histories as small as these every run is loaded when it comes; then all of them once more. How often deletes were held,
/// approved, rows rejected, and the mirror rebuilt.
async fn replayed_histories(seeds: std::ops::Range<u64>) -> [usize; 4] {
    let (mut refused, mut approved, mut waited, mut rebuilds) = (0, 0, 0, 0);
    for seed in seeds {
        let workdir = workdir().await;
        let things = "name = \"things\"\nfrom = \"things\"\n";
        let also = format!("{things}also_from = {{ notes = \"/thing\" }}\n");
        workdir.write("pipeline.toml", PIPELINE.replace(things, &also));
        let mut rng = Rng::with_seed(seed);
        let mut world = World::default();
        for step in 0..8 {
            let changed = world.change(&mut rng, step);
            stage_in_order(&workdir, &world.reads(&mut rng, step, &changed));
            let loaded = workdir.cursus(["load", "-q"]).await;
            assert!(
                matches!(loaded.code, Some(0 | 3 | 4)),
                "seed {seed}, step {step}: {loaded}"
            );
            refused += usize::from(loaded.code == Some(4));
            approved += approve(&workdir, &mut rng).await;
            waited += usize::from(loaded.code == Some(3));
        }
        let live = content(&workdir, "public").await;
        let replayed = workdir.cursus(["replay", "--into", "past"]).await;
        assert!(
            matches!(replayed.code, Some(0 | 3 | 4)),
            "seed {seed}: {replayed}"
        );
        assert_eq!(content(&workdir, "past").await, live, "seed {seed}");
        assert_eq!(
            loads(&workdir, "past").await,
            loads(&workdir, "public").await,
            "seed {seed}"
        );
        // The exit code is that of the end, not of the way.
        let code = match (
            held(&workdir).await.is_empty(),
            live["quarantine"].is_empty(),
        ) {
            (false, _) => 4,
            (true, false) => 3,
            (true, true) => 0,
        };
        let replayed = replayed.exits(code);
        assert!(
            replayed.stdout.contains("replayed into past from 8 runs"),
            "{replayed}"
        );

        // A mirror that somebody damaged is rebuilt, if everything was read in full once.
        workdir
            .query("UPDATE things SET weight = -1; DELETE FROM parts WHERE size > 2")
            .await;
        workdir
            .query("DELETE FROM notes WHERE id % 2 = 0; INSERT INTO boxes (id) VALUES (99)")
            .await;
        let rebuilt = workdir.cursus(["replay", "--rebuild", "-q"]).await;
        if rebuilt.stderr.contains("no complete full read") {
            rebuilt.exits(4);
            continue;
        }
        rebuilt.exits(code);
        rebuilds += 1;
        assert_eq!(content(&workdir, "public").await, live, "seed {seed}");
    }
    [refused, approved, waited, rebuilds]
}
