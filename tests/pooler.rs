//! What answers at the address of the database: a pooler, or a server that is too old.

use crate::bad_input::refusal;
use crate::support::pooler::Pooler;
use crate::support::protocol::Message;
use crate::support::proxy::Proxy;
use crate::support::{Workdir, boxes, testing};

/// Commands that write, with what they need to get as far as the database.
const WRITING: [&[&str]; 7] = [
    &["migrate"],
    &["load"],
    &["replay", "--into", "beside"],
    &["diff", "public", "latest"],
    &["quarantine", "retry"],
    &["quarantine", "drop", "--all"],
    &["prune", "approve", "latest"],
];

async fn database(workdir: &Workdir) -> String {
    workdir.column("SELECT current_database()").await.remove(0)
}

#[tokio::test]
async fn transaction_pooler_is_refused_by_commands_that_write() {
    let mut workdir = boxes::with_empty_database().await;
    boxes::three_runs(&workdir);
    let server = testing::cluster().await.socket_dir();
    let database = database(&workdir).await;
    for command in WRITING {
        // The statements that one command prepares are in the way of the next.
        let pooler = Pooler::to(server);
        workdir.set("CURSUS_DATABASE_URL", pooler.url(&database));
        let said = refusal(&workdir, command, 2).await;
        assert!(
            said.contains("gives every transaction another session")
                && said.contains("pool_mode = session"),
            "{said}"
        );
        let schemas =
            "SELECT nspname FROM pg_namespace WHERE nspname = 'pipeline' OR nspname LIKE '%diff%'";
        assert_eq!(workdir.column(schemas).await, Vec::<String>::new());
        // Locks are held by nobody, whom the pooler would keep them for.
        let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = \
            (SELECT oid FROM pg_database WHERE datname = current_database())";
        assert_eq!(workdir.number(locks).await, 0, "{command:?}");
    }
    let pooler = Pooler::to(server);
    workdir.set("CURSUS_DATABASE_URL", pooler.url(&database));
    let report = workdir.cursus(["doctor"]).await.exits(1);
    assert!(report.stdout.contains("pool_mode = session"), "{report}");
    // To read, any session is good.
    workdir.cursus(["sql", "SELECT 1"]).await.exits(0);
    workdir.cursus(["diff", "public", "live"]).await.exits(0);
}

#[tokio::test]
async fn a_pooler_that_keeps_sessions_is_welcome() {
    let mut workdir = boxes::with_empty_database().await;
    boxes::three_runs(&workdir);
    // What it does before and after a session does not matter here.
    let pooler = Proxy::to(testing::cluster().await.socket_dir(), |_| None);
    let url = pooler.url(&database(&workdir).await);
    workdir.set("CURSUS_DATABASE_URL", url);
    workdir.json(["load"]).await;
    assert_eq!(workdir.count("things").await, 12);
}

/// Makes a version number, such as 150018 at the head of a row, that of PostgreSQL 13.
fn age(message: &mut Message) {
    let is_number = |text: &[u8]| text.iter().all(u8::is_ascii_digit);
    if message.kind == b'D'
        && let Some([0, 0, 0, 6, number @ ..]) = message.bytes.get_mut(7..17)
        && is_number(number)
    {
        number[..2].copy_from_slice(b"13");
    }
}

#[tokio::test]
async fn too_old_server_is_named_and_not_touched() {
    let mut workdir = boxes::with_empty_database().await;
    boxes::three_runs(&workdir);
    let old = Proxy::editing(testing::cluster().await.socket_dir(), |_| None, age);
    let url = old.url(&database(&workdir).await);
    workdir.set("CURSUS_DATABASE_URL", url);
    let sentence = "is PostgreSQL 13; cursus needs 14 or newer";
    for command in [&["load"][..], &["migrate"], &["sql", "SELECT 1"]] {
        let said = refusal(&workdir, command, 1).await;
        assert!(said.contains(sentence), "{said}");
    }
    let report = workdir.cursus(["doctor"]).await.exits(1);
    assert!(report.stdout.contains(sentence), "{report}");
}
