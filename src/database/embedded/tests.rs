use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio_postgres::{Client, NoTls};

use super::{Cluster, DATABASE, Options};

const FAST: Options = Options { fsync: false };

async fn connect(cluster: &Cluster) -> Client {
    let (client, connection) = cluster.config(DATABASE).connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn server_pid(dir: &Path) -> Option<i32> {
    let text = fs::read_to_string(dir.join("data/postmaster.pid")).ok()?;
    text.lines().next()?.parse().ok()
}

async fn until_stopped(dir: &Path) {
    let mut look = tokio::time::interval(Duration::from_millis(5));
    let stopped = async {
        while server_pid(dir).is_some() {
            look.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), stopped)
        .await
        .expect("the server stops with its last user");
}

/// A directory that the server's user can reach, also where the tests run as root.
fn directory() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

#[tokio::test]
async fn the_server_stays_for_the_last_user_and_stops_with_it() {
    let root = directory();
    let dir = root.path().join("pg");
    let (first, second) = tokio::join!(Cluster::open(&dir, &FAST), Cluster::open(&dir, &FAST));
    let (first, second) = (first.unwrap(), second.unwrap());
    let pid = server_pid(&dir);
    drop(first);
    let third = Cluster::open(&dir, &FAST).await.unwrap();
    drop(second);
    let client = connect(&third).await;
    client.batch_execute("CREATE TABLE kept ()").await.unwrap();
    assert_eq!(server_pid(&dir), pid, "one server served all three");
    drop(client);
    drop(third);
    until_stopped(&dir).await;

    let again = Cluster::open(&dir, &FAST).await.unwrap();
    let client = connect(&again).await;
    client.batch_execute("TABLE kept").await.unwrap();
    drop(again);
    until_stopped(&dir).await;
}

#[tokio::test]
async fn a_killed_server_is_started_again_with_its_data() {
    let root = directory();
    let dir = root.path().join("pg");
    let before = Cluster::open(&dir, &FAST).await.unwrap();
    let client = connect(&before).await;
    client
        .batch_execute("CREATE TABLE kept AS SELECT 42 AS answer")
        .await
        .unwrap();
    kill(Pid::from_raw(server_pid(&dir).unwrap()), Signal::SIGKILL).unwrap();

    // The old hold is still there: it must neither keep the new server alive nor stop it.
    let after = Cluster::open(&dir, &FAST).await.unwrap();
    drop(before);
    let client = connect(&after).await;
    let row = client.query_one("SELECT answer FROM kept", &[]).await;
    assert_eq!(row.unwrap().get::<_, i32>(0), 42);
    drop(after);
    until_stopped(&dir).await;
}

#[tokio::test]
async fn quick_open_and_close_never_meets_a_stopping_server() {
    let root = directory();
    let dir = root.path().join("pg");
    let mut users = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let dir = dir.clone();
        users.spawn(async move {
            for _ in 0..5 {
                let cluster = Cluster::open(&dir, &FAST).await.unwrap();
                let client = connect(&cluster).await;
                client.batch_execute("SELECT 1").await.unwrap();
            }
        });
    }
    while let Some(user) = users.join_next().await {
        user.unwrap();
    }
    until_stopped(&dir).await;
}
