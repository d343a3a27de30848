//! A simulator's rows as they are now, to be changed by a test and served by another simulator. Knows nothing of the binary.

use std::collections::BTreeMap;

use cursus_simulator::{Options, Simulator};
use serde_json::Value;
use tempfile::TempDir;

use super::{api, oracle, small};

/// The rows of every resource.
pub(crate) struct World(BTreeMap<&'static str, Vec<Value>>);

impl World {
    /// What a simulator shows.
    pub(crate) fn of(simulator: &Simulator) -> Self {
        Self(
            oracle::RESOURCES
                .map(|name| (name, simulator.rows(name)))
                .into(),
        )
    }

    /// The rows of a resource, to be changed.
    pub(crate) fn rows(&mut self, resource: &str) -> &mut Vec<Value> {
        self.0.get_mut(resource).unwrap()
    }

    /// A simulator that serves these rows.
    pub(crate) async fn serve(&self) -> Simulator {
        let dir = TempDir::new().unwrap();
        let mut options = Options { ..small() };
        for (name, rows) in &self.0 {
            let path = dir.path().join(format!("{name}.json"));
            std::fs::write(&path, serde_json::to_vec(rows).unwrap()).unwrap();
            options.rows.insert((*name).to_owned(), path);
        }
        api::start(options).await
    }
}
