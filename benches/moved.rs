//! People whose campuses changed while their own row did not: nothing but a full read can tell. Knows nothing of the binary.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cursus_simulator::Simulator;
use serde_json::Value;

/// Their ids.
#[derive(Default)]
pub(crate) struct Moved(pub(crate) BTreeSet<i64>);

impl Moved {
    /// Lets time pass in a simulator that nobody reads meanwhile.
    pub(crate) fn advance(&mut self, simulator: &Simulator, by: Duration) {
        let before = ["campus_users", "users"].map(|name| simulator.rows(name));
        simulator.advance(by);
        let changed = |name: &str, before: &[Value], id: &str| -> BTreeSet<i64> {
            let before: BTreeMap<_, _> = (before.iter())
                .map(|row| (row["id"].as_i64(), row))
                .collect();
            let now = simulator.rows(name).into_iter();
            let changed = now.filter(|row| before.get(&row["id"].as_i64()) != Some(&row));
            changed.filter_map(|row| row[id].as_i64()).collect()
        };
        let moved = changed("campus_users", &before[0], "user_id");
        let seen = changed("users", &before[1], "id");
        self.0.extend(moved.difference(&seen));
    }
}
