//! The main job: after a run, the mirror is what the API shows.

use crate::support::{Workdir, simulator};

#[tokio::test]
async fn a_small_world_is_mirrored() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let report = workdir.json(["run"]).await;
    assert_eq!(report["state"], "complete", "{report:#}");
    assert_eq!(workdir.number("SELECT count(*) FROM users").await, 30);
}
