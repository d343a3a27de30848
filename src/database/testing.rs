//! A cluster for this test binary, and a database for each test that asks.

use std::fs::File;
use std::path::Path;
use std::process::{self, Command};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sys::signal::kill;
use nix::unistd::Pid;
use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls};

use super::embedded::{Cluster, DATABASE, Options};

/// The shared cluster; it stops when the last test process ends.
pub(crate) async fn cluster() -> &'static Cluster {
    static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();
    CLUSTER
        .get_or_init(|| async {
            // A cluster belongs to one version.
            let version = std::env::var("CURSUS_PG_BIN").unwrap_or_default();
            let version = version.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
            let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join(format!("target/test-postgres{version}"));
            forget_the_idle(&dir);
            let cluster = Cluster::open(&dir, &Options { fsync: false })
                .await
                .unwrap();
            forget_the_dead(&cluster).await;
            let client = connect(&cluster, DATABASE).await;
            // With hundreds of databases its workers would start all the time.
            for statement in [
                "ALTER SYSTEM SET autovacuum = off",
                "SELECT pg_reload_conf()",
            ] {
                client.batch_execute(statement).await.unwrap();
            }
            cluster
        })
        .await
}

/// A connection to a new, empty database.
pub(crate) async fn database() -> Client {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let cluster = cluster().await;
    let name = format!(
        "test_{}_{}",
        process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    let maker = connect(cluster, DATABASE).await;
    maker
        .batch_execute(&format!("DROP DATABASE IF EXISTS {name}; "))
        .await
        .unwrap();
    maker
        .batch_execute(&format!("CREATE DATABASE {name}"))
        .await
        .unwrap();
    let client = connect(cluster, &name).await;
    // PostgreSQL 14 allows every role to create there, also the roles of tests that run at the same time.
    client
        .batch_execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        .await
        .unwrap();
    client
}

/// Another connection to the database of `client`.
pub(crate) async fn same_database(client: &Client) -> Client {
    let name = client
        .query_one("SELECT current_database()::text", &[])
        .await
        .unwrap();
    connect(cluster().await, name.get(0)).await
}

async fn connect(cluster: &Cluster, database: &str) -> Client {
    let (client, connection) = cluster.config(database).connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Removes the data of a cluster that is not running: dropping the databases of dead test processes one by one takes minutes.
/// They are hundreds of thousands of files, which are removed while the tests run.
fn forget_the_idle(dir: &Path) {
    let lock = |name| File::open(dir.join(name)).ok();
    // The locks of a cluster: that of the processes that start it, and that of its server.
    let (Some(door), Some(running)) = (lock("lock"), lock("running")) else {
        return;
    };
    door.lock().unwrap();
    let old = dir.join(format!("old.{}", process::id()));
    if running.try_lock().is_ok() && std::fs::rename(dir.join("data"), &old).is_ok() {
        let remove = ["-n", "19", "rm", "-rf"];
        let _ = Command::new("nice").args(remove).arg(&old).spawn();
    }
}

/// Drops the databases of dead test processes.
async fn forget_the_dead(cluster: &Cluster) {
    let client = connect(cluster, DATABASE).await;
    let left = "SELECT datname FROM pg_database WHERE datname LIKE 'test\\_%'";
    for row in client.query(left, &[]).await.unwrap() {
        let name: String = row.get(0);
        let pid = name.split('_').nth(1).and_then(|pid| pid.parse().ok());
        if pid.is_some_and(|pid| kill(Pid::from_raw(pid), None).is_err()) {
            // Another test process may be faster.
            let _ = client
                .batch_execute(&format!("DROP DATABASE IF EXISTS {name}"))
                .await;
        }
    }
    // Roles are named after the database of the test that made them.
    let left = "SELECT rolname FROM pg_roles WHERE rolname LIKE '%\\_test\\_%'";
    for row in client.query(left, &[]).await.unwrap() {
        let name: String = row.get(0);
        let database = name.split_once("_test_").map(|(_, database)| database);
        let pid = database.and_then(|database| database.split('_').next()?.parse().ok());
        if pid.is_some_and(|pid| kill(Pid::from_raw(pid), None).is_err()) {
            let _ = client
                .batch_execute(&format!("DROP ROLE IF EXISTS {name}"))
                .await;
        }
    }
}
