//! The database in trouble while a load is under way: a sentence, nothing half loaded, and the next load completes.

use cursus::database::embedded::{Cluster, DATABASE, Options};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio_postgres::NoTls;

use crate::bad_input::refusal;
use crate::support::boxes::{boxes, full, stage, stage_pages, things, workdir};
use crate::support::files::Mount;
use crate::support::snapshot::assert_text;
use crate::support::{Workdir, testing};

/// A statement of the loader that waits for a lock.
const WAITS: &str = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";

/// Boxes and things, of which nothing is loaded.
async fn staged() -> Workdir {
    let workdir = workdir().await;
    stage(
        &workdir,
        &[full("boxes", boxes(1..=3)), full("things", things(1..=10))],
    );
    workdir
}

async fn nothing_is_loaded(workdir: &Workdir) {
    for table in ["boxes", "things", "pipeline.load", "pipeline.run"] {
        let rows = workdir
            .number(&format!("SELECT count(*) FROM {table}"))
            .await;
        assert_eq!(rows, 0, "{table}");
    }
}

async fn the_next_load_completes(workdir: &Workdir) {
    let report = workdir.json(["load"]).await;
    assert_eq!(report["runs"].as_array().unwrap().len(), 1);
    assert_eq!(workdir.count("boxes").await, 3);
    assert_eq!(workdir.count("things").await, 10);
}

#[tokio::test]
async fn locked_table_is_waited_for_until_a_timeout() {
    let workdir = staged().await;
    workdir.cursus(["migrate"]).await.exits(0);
    let other = testing::same_database(&workdir.client).await;
    let mut all = String::new();
    // Nobody may read it, nobody may write into it, a row of it is held.
    for lock in [
        "LOCK TABLE things IN ACCESS EXCLUSIVE MODE",
        "LOCK TABLE things IN SHARE MODE",
    ] {
        other
            .batch_execute(&format!("BEGIN; {lock}"))
            .await
            .unwrap();
        all.push_str(&refusal(&workdir, &["load"], 1).await);
        other.batch_execute("ROLLBACK").await.unwrap();
    }
    assert_text("table_locked", &workdir, &all);
}

#[tokio::test]
async fn a_database_that_cannot_hold_every_text_is_refused() {
    let mut workdir = staged().await;
    let name = workdir.column("SELECT current_database()").await.remove(0);
    // Dropped with the other when their process has ended.
    let narrow = format!("{name}_latin");
    workdir
        .query(&format!(
            "CREATE DATABASE {narrow} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0"
        ))
        .await;
    let url = workdir
        .variable("CURSUS_DATABASE_URL")
        .replace(&name, &narrow);
    workdir.set("CURSUS_DATABASE_URL", url);
    workdir
        .cursus(["load"])
        .await
        .exits(2)
        .says("the database has the encoding LATIN1");
    workdir.query(&format!("DROP DATABASE {narrow}")).await;
}

#[tokio::test]
async fn a_schema_that_was_dropped_is_filled_again() {
    let workdir = staged().await;
    for (schema, load) in [
        ("public", &["load"][..]),
        ("past", &["load", "--into", "past"]),
    ] {
        workdir.json(load).await;
        workdir
            .query(&format!("DROP SCHEMA {schema} CASCADE"))
            .await;
        if schema == "public" {
            let status = workdir.json(["status"]).await;
            assert_eq!(status["pending"].as_array().unwrap().len(), 1, "{status:#}");
        }
        let report = workdir.json(load).await;
        assert_eq!(report["runs"].as_array().unwrap().len(), 1, "{schema}");
        assert_eq!(
            workdir
                .number(&format!("SELECT count(*) FROM {schema}.things"))
                .await,
            10
        );
        let ledger = format!(
            "SELECT count(*) FROM pipeline.load WHERE schema_name = '{schema}' AND table_name = 'boxes'"
        );
        assert_eq!(workdir.number(&ledger).await, 1);
        assert_eq!(workdir.json(load).await["runs"], serde_json::json!([]));
    }
}

/// A server of its own, and where it is.
struct Server {
    dir: TempDir,
    cluster: Cluster,
}

impl Server {
    /// It may run as another user.
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(dir.path(), everybody).unwrap();
        let cluster = open(&dir).await;
        Self { dir, cluster }
    }

    async fn start_again(&mut self) {
        self.cluster = open(&self.dir).await;
    }

    async fn connect(&self) -> tokio_postgres::Client {
        let config = self.cluster.config(DATABASE);
        let (client, connection) = config.connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Commands and queries of a directory go to this server.
    async fn serve(&self, workdir: &mut Workdir) {
        workdir.client = self.connect().await;
        let socket = self.cluster.socket_dir().display();
        workdir.set(
            "CURSUS_DATABASE_URL",
            format!("host={socket} user=cursus dbname={DATABASE}"),
        );
    }

    fn stop(&self, signal: Signal) {
        let file = self.dir.path().join("pg/data/postmaster.pid");
        let text = std::fs::read_to_string(file).unwrap();
        let pid = text.lines().next().unwrap().parse().unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
    }
}

async fn open(dir: &TempDir) -> Cluster {
    let options = Options { fsync: false };
    Cluster::open(&dir.path().join("pg"), &options)
        .await
        .unwrap()
}

/// It is restarted in an orderly way, and it crashes.
#[tokio::test]
async fn a_server_that_restarts_midway_costs_this_load_and_no_row() {
    for signal in [Signal::SIGINT, Signal::SIGQUIT] {
        let mut server = Server::new().await;
        let mut workdir = staged().await;
        server.serve(&mut workdir).await;
        workdir.cursus(["migrate"]).await.exits(0);
        let other = server.connect().await;
        let lock = "BEGIN; LOCK TABLE things IN SHARE MODE";
        other.batch_execute(lock).await.unwrap();
        let mut command = workdir.command(["load", "-q"]);
        command.stdout(std::process::Stdio::piped());
        command.stderr(std::process::Stdio::piped());
        let running = command.spawn().unwrap();
        // Boxes are in, things wait.
        while workdir.number(WAITS).await == 0 {
            tokio::task::yield_now().await;
        }
        server.stop(signal);
        let ended = running.wait_with_output().await.unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(
            said.contains("Z error: ")
                && said.contains("the connection to the database was lost (")
                && said.contains(
                    "what was committed is kept, the rest is rolled back and still staged"
                )
                && said.contains("run the command again"),
            "{said}"
        );
        server.start_again().await;
        server.serve(&mut workdir).await;
        nothing_is_loaded(&workdir).await;
        the_next_load_completes(&workdir).await;
    }
}

#[tokio::test]
async fn full_disk_of_the_server_costs_one_load() {
    let mut workdir = workdir().await;
    let server = Server::new().await;
    server.serve(&mut workdir).await;
    workdir.cursus(["migrate"]).await.exits(0);
    let mut rng = fastrand::Rng::with_seed(1);
    // What cannot be compressed.
    let large: Vec<String> = (1..=300)
        .map(|id| {
            let name: String = (0..100_000).map(|_| rng.alphanumeric()).collect();
            serde_json::json!({"id": id, "name": name}).to_string()
        })
        .collect();
    stage_pages(
        &workdir,
        &[full("boxes", large), full("notes", Vec::new())],
        20,
    );
    let disk = Mount::of(server.dir.path().join("disk"), "size=8m,mode=0700");
    if let Some(disk) = &disk {
        let data = std::fs::metadata(server.dir.path().join("pg/data")).unwrap();
        let uid = std::os::unix::fs::MetadataExt::uid(&data);
        std::os::unix::fs::chown(&disk.0, Some(uid), None).unwrap();
        let place = disk.0.display();
        workdir
            .query(&format!("CREATE TABLESPACE small LOCATION '{place}'"))
            .await;
        workdir
            .query(&format!(
                "ALTER DATABASE {DATABASE} SET temp_tablespaces = small"
            ))
            .await;
    } else {
        // Nobody may mount here: the server says what it would say then.
        workdir
            .query(
                "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS \
                 $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'disk_full'; END $$; \
                 CREATE TRIGGER full_disk AFTER INSERT ON boxes EXECUTE FUNCTION full_disk()",
            )
            .await;
    }
    let said = refusal(&workdir, &["load"], 1).await;
    assert!(
        said.contains("boxes") && said.contains("the disk of the database server is full"),
        "{said}"
    );
    assert_eq!(workdir.count("boxes").await, 0);
    match &disk {
        Some(disk) => disk.again("size=256m"),
        None => drop(workdir.query("DROP TRIGGER full_disk ON boxes").await),
    }
    workdir.json(["load"]).await;
    assert_eq!(
        workdir.count("boxes WHERE length(name) = 100000").await,
        300
    );
}
