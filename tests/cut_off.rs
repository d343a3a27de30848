//! PostgreSQL restarted, killed and cut off during a command: nothing is lost, nothing is loaded twice, and the next step
//! is named.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cursus::database::embedded::{Cluster, DATABASE, Options};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::sync::Notify;
use tokio_postgres::NoTls;

use crate::support::protocol::Message;
use crate::support::proxy::{Cut, Proxy};
use crate::support::running::until;
use crate::support::{Ran, Running, Shared, Workdir, boxes, figures, testing};

const URL: &str = "CURSUS_DATABASE_URL";

/// Every how many messages of a load it is cut off. No divisor of what a resource takes, so that all kinds are met.
const STRIDE: usize = 7;

/// Three staged runs, and the schema `whole` with what they give when nobody interferes.
async fn staged() -> Workdir {
    static LOADED: Shared = Shared::new();
    let load = async || {
        let workdir = boxes::workdir().await;
        boxes::three_runs(&workdir);
        workdir.json(["load", "--into", "whole"]).await;
        workdir
    };
    LOADED.workdir(load).await
}

/// Puts a proxy before the database of a working directory; gives the URL without it, too.
async fn cut(
    workdir: &mut Workdir,
    judge: impl FnMut(&Message) -> Option<Cut> + Send + 'static,
) -> (Proxy, String) {
    let direct = workdir.variable(URL).to_owned();
    let database = workdir.column("SELECT current_database()").await.remove(0);
    let proxy = Proxy::to(testing::cluster().await.socket_dir(), judge);
    workdir.set(URL, proxy.url(&database));
    (proxy, direct)
}

/// Which messages are meant.
type Moment = fn(&Message) -> bool;

/// Cuts at the nth message that is meant.
fn nth(
    n: usize,
    cut: Cut,
    is_meant: Moment,
) -> impl FnMut(&Message) -> Option<Cut> + Send + 'static {
    let mut seen = 0;
    move |message| {
        seen += usize::from(is_meant(message));
        (seen == n && is_meant(message)).then_some(cut)
    }
}

fn is_first(message: &Message) -> bool {
    message.kind == 0
}

/// The schema holds what the staged runs give, and the load ledger has each once.
async fn assert_whole(workdir: &Workdir, schema: &str) {
    let whole = boxes::content(workdir, "whole").await;
    assert_eq!(boxes::content(workdir, schema).await, whole, "{schema}");
    let recorded = boxes::loads(workdir, "whole").await;
    assert_eq!(boxes::loads(workdir, schema).await, recorded, "{schema}");
}

#[tokio::test]
async fn commit_with_a_lost_answer_is_counted_once() {
    let mut workdir = staged().await;
    workdir.json(["migrate"]).await;
    let (_proxy, direct) = cut(&mut workdir, nth(2, Cut::After, Message::is_commit)).await;
    let ran = workdir.cursus(["load"]).await.exits(1);
    ran.says("before it confirmed the commit")
        .says("run the command again");
    workdir.set(URL, direct);
    let stamps = "SELECT id || ' ' || ingested_at FROM things WHERE id < 12 ORDER BY id";
    let before = workdir.column(stamps).await;
    assert_eq!(before.len(), 11, "the second run is committed");
    let report = workdir.json(["load"]).await;
    assert_eq!(report["runs"].as_array().unwrap().len(), 1, "{report}");
    let after = workdir.column(stamps).await;
    assert_eq!(
        before[1..],
        after[1..],
        "the third run changed the first thing alone"
    );
    assert_whole(&workdir, "public").await;
}

#[tokio::test]
async fn commit_that_did_not_arrive_is_repeated() {
    let mut workdir = staged().await;
    workdir.json(["migrate"]).await;
    let (_proxy, direct) = cut(&mut workdir, nth(2, Cut::Before, Message::is_commit)).await;
    let ran = workdir.cursus(["load", "--json"]).await.exits(1);
    let ran = ran.says("before it confirmed the commit");
    let report = ran.json();
    assert_eq!(report["runs"].as_array().unwrap().len(), 1, "{report}");
    assert_ne!(report["tables"].as_array().unwrap().len(), 0, "{report}");
    assert_eq!(report["errors"].as_array().unwrap().len(), 1, "{report}");
    workdir.set(URL, direct);
    assert_eq!(workdir.count("things").await, 10);
    let report = workdir.json(["load"]).await;
    assert_eq!(report["runs"].as_array().unwrap().len(), 2, "{report}");
    assert_whole(&workdir, "public").await;
}

#[tokio::test]
async fn load_after_a_cut_in_each_phase_completes_the_mirror() {
    loads_after_cuts(STRIDE * 16).await;
}

#[tokio::test]
#[ignore = "matrix"]
async fn load_after_any_cut_completes_the_mirror() {
    let places = loads_after_cuts(STRIDE).await;
    figures::note(
        "places at which the connection to PostgreSQL was cut",
        places,
    );
}

/// Cuts a load off at every `stride`th message, and loads again; at how many places.
async fn loads_after_cuts(stride: usize) -> usize {
    let mut workdir = staged().await;
    let mut places = 0;
    let mut finished = 0;
    for (step, n) in (1..).step_by(stride).enumerate() {
        let how = [Cut::Before, Cut::After][step % 2];
        let is_cut = Arc::new(AtomicBool::new(false));
        let output = Arc::clone(&is_cut);
        let mut judge = nth(n, how, |_| true);
        let judge = move |message: &Message| {
            let cut = judge(message)?;
            output.store(true, Ordering::SeqCst);
            Some(cut)
        };
        let (proxy, direct) = cut(&mut workdir, judge).await;
        let schema = format!("cut_{n}");
        let load = ["load", "--into", schema.as_str()];
        let ran = workdir.cursus(load).await;
        drop(proxy);
        workdir.set(URL, direct);
        if !is_cut.load(Ordering::SeqCst) {
            ran.exits(0);
            break;
        }
        places += 1;
        if ran.code == Some(0) {
            // Before anything was written, or after all was.
            finished += 1;
        } else {
            ran.exits(1).says("again");
        }
        workdir.cursus(load).await.exits(0);
        assert_whole(&workdir, &schema).await;
    }
    assert!(finished > 0 && finished < places, "{places} {finished}");
    places
}

#[tokio::test]
async fn a_server_that_starts_is_waited_for() {
    let mut workdir = staged().await;
    let mut refused = 0;
    let judge = move |message: &Message| {
        refused += usize::from(is_first(message));
        (is_first(message) && refused <= 3).then_some(Cut::Refused("57P03"))
    };
    let (_proxy, _) = cut(&mut workdir, judge).await;
    let ran = workdir.cursus(["load"]).await.exits(0);
    ran.says("is starting up or shutting down")
        .says("trying again in");
    assert_whole(&workdir, "public").await;
}

#[tokio::test]
async fn a_server_that_is_away_for_a_moment_is_waited_for() {
    let mut workdir = staged().await;
    let mut away = 0;
    let judge = move |message: &Message| {
        away += usize::from(is_first(message));
        (is_first(message) && away <= 3).then_some(Cut::Before)
    };
    let (_proxy, _) = cut(&mut workdir, judge).await;
    let ran = workdir.cursus(["load"]).await.exits(0);
    ran.says("cannot reach the database")
        .says("trying again in");
    assert_whole(&workdir, "public").await;
}

#[tokio::test]
async fn silent_server_times_out() {
    let mut workdir = staged().await;
    let (_proxy, _) = cut(&mut workdir, |_| Some(Cut::Silence)).await;
    let url = format!("{}?connect_timeout=1", workdir.variable(URL));
    workdir.set(URL, url);
    for command in [&["load"][..], &["sql", "SELECT 1"]] {
        let ran = workdir.cursus(command).await.exits(1);
        ran.says("cannot reach the database")
            .says("no answer within 1 s");
    }
}

/// Starts a command, stops it when the server has fallen silent, and gives what it said.
async fn stopped_in_silence(
    workdir: &mut Workdir,
    arguments: &[&str],
    mut is_meant: impl FnMut(&Message) -> bool + Send + 'static,
) -> Ran {
    let is_silent = Arc::new(Notify::new());
    let output = Arc::clone(&is_silent);
    let judge = move |message: &Message| {
        is_meant(message).then(|| {
            output.notify_one();
            Cut::Silence
        })
    };
    let (proxy, direct) = cut(workdir, judge).await;
    let running = Running::start(workdir, arguments);
    is_silent.notified().await;
    running.signal(Signal::SIGTERM);
    let ran = running.end().await.exits(143);
    drop(proxy);
    workdir.set(URL, direct);
    ran
}

#[tokio::test]
async fn load_of_a_silent_server_can_be_stopped_and_repeated() {
    let mut workdir = staged().await;
    workdir.json(["migrate"]).await;
    for (is_meant, left) in [
        ((|message| message.kind == b'd') as Moment, "is rolled back"),
        (
            Message::is_commit,
            "was being committed: the load ledger says whether it was",
        ),
    ] {
        let ran = stopped_in_silence(&mut workdir, &["load"], is_meant).await;
        ran.says("0 of 3 pending runs loaded").says(left);
        assert_eq!(workdir.count("things").await, 0);
    }
    workdir.cursus(["load"]).await.exits(0);
    assert_whole(&workdir, "public").await;
}

#[tokio::test]
async fn stopped_rebuild_says_whether_the_mirror_changed() {
    let mut workdir = staged().await;
    workdir.json(["load"]).await;
    let (mut commits, mut is_last) = (0, false);
    let scratch = move |message: &Message| {
        commits += usize::from(message.is_commit());
        commits == 2
    };
    let rebuild = move |message: &Message| {
        let is_mark = message.holds("COMMENT ON SCHEMA");
        is_last |= is_mark && message.holds("applied to the mirror");
        is_last && message.is_commit()
    };
    let arguments = ["replay", "--rebuild"];
    let ran = stopped_in_silence(&mut workdir, &arguments, scratch).await;
    ran.says("the mirror is as it was; the same command starts again");
    let ran = stopped_in_silence(&mut workdir, &arguments, rebuild).await;
    ran.says("the rebuilt mirror was being committed: that is done, or the mirror is as it was");
    let mut is_drop = false;
    let drop = move |message: &Message| {
        is_drop |= message.holds("DROP SCHEMA") && !message.holds("CREATE SCHEMA");
        is_drop && message.is_commit()
    };
    let ran = stopped_in_silence(&mut workdir, &arguments, drop).await;
    ran.says("the mirror is rebuilt; a schema that the rebuild made may be left, which the next one drops");
    workdir.cursus(arguments).await.exits(0);
    assert_whole(&workdir, "public").await;
}

#[tokio::test]
async fn copy_that_does_not_start_is_reported_with_its_reason() {
    let mut workdir = staged().await;
    let mut is_copy = false;
    let judge = move |message: &Message| {
        is_copy |= message.kind == b'P' && message.holds("COPY");
        (is_copy && message.kind == b'B').then(|| {
            is_copy = false;
            Cut::Misled
        })
    };
    let (_proxy, direct) = cut(&mut workdir, judge).await;
    let ran = workdir.cursus(["load"]).await.exits(1);
    ran.says("26000").says("run the command again");
    workdir.set(URL, direct);
    workdir.cursus(["load"]).await.exits(0);
    assert_whole(&workdir, "public").await;
}

/// A server of the test's own, since it does not survive.
struct Own {
    dir: tempfile::TempDir,
    cluster: Cluster,
}

impl Own {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let cluster = open(dir.path()).await;
        Self { dir, cluster }
    }

    fn pid(&self) -> Pid {
        let file = self.dir.path().join("pg/data/postmaster.pid");
        let text = std::fs::read_to_string(file).unwrap();
        Pid::from_raw(text.lines().next().unwrap().parse().unwrap())
    }

    /// Once more, when the one before takes no connections: until it has heard of its end it would be attached to.
    async fn start_again(&mut self) {
        let socket = self.cluster.socket_dir().join(".s.PGSQL.5432");
        let has_ended = async || std::os::unix::net::UnixStream::connect(&socket).is_err();
        until(
            "the server that was stopped takes no connections",
            has_ended,
        )
        .await;
        self.cluster = open(self.dir.path()).await;
    }

    async fn connect(&self, workdir: &mut Workdir) {
        let config = self.cluster.config(DATABASE);
        let (client, connection) = config.connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        workdir.client = client;
    }
}

async fn open(dir: &std::path::Path) -> Cluster {
    let options = Options { fsync: false };
    Cluster::open(&dir.join("pg"), &options).await.unwrap()
}

/// What a server dies of.
const DEATHS: [(&str, Signal); 3] = [
    ("killed", Signal::SIGKILL),
    ("crashed", Signal::SIGQUIT),
    ("restarted", Signal::SIGINT),
];

#[tokio::test]
async fn server_death_during_a_load_keeps_runs_atomic() {
    server_deaths(|moment, death| moment == death).await;
}

#[tokio::test]
#[ignore = "matrix"]
async fn any_server_death_during_a_load_keeps_runs_atomic() {
    let deaths = server_deaths(|_, _| true).await;
    figures::note("deaths of PostgreSQL under COPY, merge and commit", deaths);
}

/// The server dies at a moment of a load in some way, both by number; how often.
async fn server_deaths(is_chosen: fn(usize, usize) -> bool) -> usize {
    let mut own = Own::start().await;
    let mut workdir = boxes::workdir().await;
    boxes::three_runs(&workdir);
    let direct = Proxy::to(own.cluster.socket_dir(), |_| None);
    workdir.set(URL, direct.url(DATABASE));
    workdir.json(["load", "--into", "whole"]).await;
    let moments: [(&str, Moment); 3] = [
        ("copy", |message| message.kind == b'd'),
        ("merge", |message| {
            message.holds("INSERT INTO") && message.holds("staged")
        }),
        ("commit", |message| message.is_commit()),
    ];
    let mut deaths = 0;
    for (at, (moment, is_meant)) in moments.into_iter().enumerate() {
        let deaths_at = DEATHS.iter().enumerate();
        for (_, (name, signal)) in deaths_at.filter(|(number, _)| is_chosen(at, *number)) {
            let signal = *signal;
            let schema = format!("{moment}_{name}");
            workdir.json(["migrate", "--into", &schema]).await;
            let server = own.pid();
            // The second, so that there is something to keep or to roll back.
            let mut judge = nth(2, Cut::Silence, is_meant);
            let mut is_dying = false;
            let proxy = Proxy::to(own.cluster.socket_dir(), move |message| {
                // Its death takes a moment, in which it may do what this message asks for, but no more.
                if is_dying {
                    return Some(Cut::Before);
                }
                is_dying = judge(message).is_some();
                if is_dying {
                    kill(server, signal).unwrap();
                }
                None
            });
            workdir.set(URL, proxy.url(DATABASE));
            let load = ["load", "--into", schema.as_str()];
            workdir
                .cursus(load)
                .await
                .exits(1)
                .says("run the command again");
            own.start_again().await;
            workdir.set(URL, direct.url(DATABASE));
            workdir.cursus(load).await.exits(0);
            own.connect(&mut workdir).await;
            assert_whole(&workdir, &schema).await;
            deaths += 1;
        }
    }
    deaths
}
