//! A directory of its own in which the real binary runs, with nothing of this process's environment. Knows no promise.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::Permissions;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cursus::database::embedded::DATABASE;
use cursus_simulator::Simulator;
use nix::sys::stat::{Mode, umask};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::testing;

/// Longer than any command takes; a hang fails its test instead of blocking all.
pub(crate) const PATIENCE: Duration = Duration::from_mins(8);

/// An address at which nobody listens.
pub(crate) const NOBODY: &str = "http://127.0.0.1:1";
/// A database that nobody serves.
pub(crate) const NO_DATABASE: &str = "postgres://cursus@127.0.0.1:1/mirror?connect_timeout=1";

/// The pipeline that is shipped.
pub(crate) const PIPELINE: &str = include_str!("../../pipeline.toml");

/// A directory, its environment, and an empty database.
pub(crate) struct Workdir {
    root: PathBuf,
    environment: BTreeMap<&'static str, OsString>,
    /// Whether `run` and `load` are given `--adopt`.
    adopts: bool,
    /// A session in the database of [`Self::new_database`] that is in use.
    pub(crate) client: Client,
    _dir: TempDir,
}

impl Workdir {
    /// A directory that knows a simulator's address and credentials, and a new database that has the shipped tables.
    pub(crate) async fn with(simulator: &Simulator) -> Self {
        static SHIPPED: OnceCell<String> = OnceCell::const_new();
        let mut workdir = Self::prepared(&SHIPPED, |_| ()).await;
        workdir.use_api(simulator);
        workdir
    }

    /// A directory with these files, and a database that `cursus migrate` has prepared by them: it is prepared once and copied, which is
    /// faster.
    pub(crate) async fn prepared(database: &OnceCell<String>, write: impl Fn(&Self)) -> Self {
        let prepare = async || {
            let workdir = Self::new().await;
            write(&workdir);
            workdir.cursus(["migrate"]).await.exits(0);
            // Ends the session, which a copy would wait for.
            name_of(&workdir.client).await
        };
        let database = database.get_or_init(prepare).await;
        let workdir = Self::in_database(copy_of(database).await).await;
        write(&workdir);
        workdir
    }

    /// The same with an empty database.
    pub(crate) async fn with_empty_database(simulator: &Simulator) -> Self {
        let mut workdir = Self::new().await;
        workdir.use_api(simulator);
        workdir
    }

    /// A directory with an empty database, without an API: nobody listens at its address, there are no credentials.
    pub(crate) async fn new() -> Self {
        Self::in_database(testing::database().await).await
    }

    async fn in_database(client: Client) -> Self {
        // What the tests write is their user's alone, whatever that user's habits are.
        umask(Mode::S_IWGRP | Mode::S_IWOTH);
        let dir = tempfile::Builder::new()
            .prefix("cursus-")
            .tempdir()
            .unwrap();
        let root = dir.path().canonicalize().unwrap();
        let mut environment = BTreeMap::from([
            ("HOME", root.clone().into_os_string()),
            ("XDG_STATE_HOME", root.join(".state").into_os_string()),
            ("TMPDIR", std::env::temp_dir().into_os_string()),
            ("CURSUS_API_URL", NOBODY.into()),
            // Tables with all their columns, unless a test is about them.
            ("COLUMNS", "240".into()),
        ]);
        // Where the system's programs are, PostgreSQL's among them, and where coverage goes.
        for name in ["PATH", "CURSUS_PG_BIN", "LLVM_PROFILE_FILE"] {
            if let Some(value) = std::env::var_os(name) {
                environment.insert(name, value);
            }
        }
        environment.insert("CURSUS_DATABASE_URL", url_of(&client).await.into());
        Self {
            root,
            environment,
            adopts: false,
            client,
            _dir: dir,
        }
    }

    /// Drops the database as well: of a copy for each of many cases nobody wants to wait for the end later.
    pub(crate) async fn end(self) {
        let name = name_of(&self.client).await;
        let drop = format!("DROP DATABASE {name} WITH (FORCE)");
        connect(DATABASE).await.batch_execute(&drop).await.unwrap();
    }

    /// From now on commands ask this simulator.
    ///
    /// Where it takes the place of another one, it is the same API with other rows to the test: every load adopts it.
    pub(crate) fn use_api(&mut self, simulator: &Simulator) {
        let before = self.variable("CURSUS_API_URL");
        self.adopts |= before != NOBODY && before != simulator.url();
        self.set("CURSUS_API_URL", simulator.url());
        self.set("CURSUS_CLIENT_ID", simulator.client_id());
        self.set("CURSUS_CLIENT_SECRET", simulator.client_secret());
    }

    /// From now on commands reach no API and have no credentials.
    pub(crate) fn without_api(&mut self) {
        self.set("CURSUS_API_URL", NOBODY);
        self.unset("CURSUS_CLIENT_ID");
        self.unset("CURSUS_CLIENT_SECRET");
    }

    /// From now on commands and queries go to another, empty database.
    pub(crate) async fn new_database(&mut self) {
        self.client = testing::database().await;
        let url = url_of(&self.client).await;
        self.set("CURSUS_DATABASE_URL", url);
    }

    /// Sets a variable of the commands' environment.
    pub(crate) fn set(&mut self, name: &'static str, value: impl Into<OsString>) {
        self.environment.insert(name, value.into());
    }

    /// Takes a variable out of the commands' environment.
    pub(crate) fn unset(&mut self, name: &str) {
        self.environment.remove(name);
    }

    /// What the commands see in a variable.
    pub(crate) fn variable(&self, name: &str) -> &str {
        self.environment[name].to_str().unwrap()
    }

    /// What the commands see in a variable, if it is set.
    pub(crate) fn variable_if_set(&self, name: &str) -> Option<String> {
        self.environment
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    }

    /// The path of a file in the directory.
    pub(crate) fn path(&self, relative: impl AsRef<Path>) -> PathBuf {
        self.root.join(relative)
    }

    /// The directory of the newest run.
    pub(crate) fn run_directory(&self) -> PathBuf {
        let children = |path: PathBuf| -> Vec<PathBuf> {
            let entries = std::fs::read_dir(path).unwrap();
            entries.map(|entry| entry.unwrap().path()).collect()
        };
        let days = children(self.path("staging")).into_iter();
        let runs = days.filter(|day| day.is_dir()).flat_map(children);
        runs.max().unwrap()
    }

    /// Writes a file, with the directories above it.
    pub(crate) fn write(&self, relative: &str, content: impl AsRef<[u8]>) {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    /// Writes the shipped `pipeline.toml` with these texts replaced, each of which must be there.
    #[track_caller]
    pub(crate) fn pipeline(&self, replacements: &[(&str, &str)]) {
        let mut text = PIPELINE.to_owned();
        for (from, to) in replacements {
            assert!(text.contains(from), "pipeline.toml does not hold: {from}");
            text = text.replace(from, to);
        }
        self.write("pipeline.toml", text);
    }

    /// The binary in the directory, not started yet.
    pub(crate) fn command<S: AsRef<str>>(&self, arguments: impl AsRef<[S]>) -> Command {
        self.command_of(Path::new(env!("CARGO_BIN_EXE_cursus")), arguments)
    }

    /// The same with a copy of the binary.
    pub(crate) fn command_of<S: AsRef<str>>(
        &self,
        binary: &Path,
        arguments: impl AsRef<[S]>,
    ) -> Command {
        let mut command = self.program(binary);
        let arguments: Vec<&str> = arguments.as_ref().iter().map(AsRef::as_ref).collect();
        let loads = matches!(arguments.first(), Some(&("run" | "load")));
        command
            .args(&arguments)
            .args((self.adopts && loads).then_some("--adopt"));
        command
    }

    /// The same by way of a program that starts others; flags at the start of the arguments are the program's.
    pub(crate) fn command_by(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = self.program(program);
        let is_flag = |argument: &&str| argument.starts_with('-');
        let flags = arguments.iter().take_while(|one| is_flag(one)).count();
        command
            .args(&arguments[..flags])
            .arg(env!("CARGO_BIN_EXE_cursus"))
            .args(&arguments[flags..]);
        command
    }

    /// A program in the directory, with its environment and nothing else.
    pub(crate) fn program(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(&self.root)
            .env_clear()
            .envs(&self.environment)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs the binary in the directory, to its end.
    pub(crate) async fn cursus<S: AsRef<str>>(&self, arguments: impl AsRef<[S]>) -> Ran {
        let arguments: Vec<&str> = arguments.as_ref().iter().map(AsRef::as_ref).collect();
        Ran::of(self.command(&arguments), &arguments).await
    }

    /// The same with at most this many bytes of memory.
    pub(crate) async fn cursus_within<S: AsRef<str>>(
        &self,
        bytes: u64,
        arguments: impl AsRef<[S]>,
    ) -> Ran {
        self.cursus_after(&format!("ulimit -v {}", bytes / 1024), arguments)
            .await
    }

    /// The same in the shell that has run `first`.
    pub(crate) async fn cursus_after<S: AsRef<str>>(
        &self,
        first: &str,
        arguments: impl AsRef<[S]>,
    ) -> Ran {
        let arguments: Vec<&str> = arguments.as_ref().iter().map(AsRef::as_ref).collect();
        let mut shell = self.program("sh");
        shell
            .args(["-c", &format!("{first}; exec \"$@\""), "sh"])
            .arg(env!("CARGO_BIN_EXE_cursus"))
            .args(&arguments);
        Ran::of(shell, &arguments).await
    }

    /// Runs the binary with `--json -q`, expects it to succeed, and gives the document.
    pub(crate) async fn json<S: AsRef<str>>(&self, arguments: impl AsRef<[S]>) -> Value {
        self.json_exits(0, arguments).await
    }

    /// Runs the binary with `--json -q`, expects this exit code, and gives the document.
    pub(crate) async fn json_exits<S: AsRef<str>>(
        &self,
        code: i32,
        arguments: impl AsRef<[S]>,
    ) -> Value {
        let mut all: Vec<&str> = arguments.as_ref().iter().map(AsRef::as_ref).collect();
        all.extend(["--json", "-q"]);
        self.cursus(all).await.exits(code).json()
    }

    /// The records of a resource of the newest run, by `stage cat`.
    pub(crate) async fn staged(&self, resource: &str) -> Vec<Value> {
        let ran = self.cursus(["stage", "cat", "latest", resource]).await;
        let records = ran.exits(0).stdout;
        let records = records.lines().map(serde_json::from_str);
        records.collect::<Result<_, _>>().unwrap()
    }

    /// The rows of a query, every value as text.
    pub(crate) async fn query(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        let messages = self
            .client
            .simple_query(sql)
            .await
            .unwrap_or_else(|error| panic!("{sql}\n{:?}", error.as_db_error()));
        messages
            .iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(
                    (0..row.len())
                        .map(|i| row.get(i).map(str::to_owned))
                        .collect(),
                ),
                _ => None,
            })
            .collect()
    }

    /// The first column of a query, nulls as an empty text.
    pub(crate) async fn column(&self, sql: &str) -> Vec<String> {
        let rows = self.query(sql).await;
        rows.into_iter()
            .map(|row| row.into_iter().next().flatten().unwrap_or_default())
            .collect()
    }

    /// How many rows a table has.
    pub(crate) async fn count(&self, table: &str) -> usize {
        let count = self.number(&format!("SELECT count(*) FROM {table}")).await;
        usize::try_from(count).unwrap()
    }

    /// The number that a query gives.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let column = self.column(sql).await;
        column
            .first()
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| panic!("no number: {sql}\n{column:?}"))
    }
}

/// A directory and a database as they are at one moment, to begin from many times.
pub(crate) struct Template {
    /// What is in the directory, in an order in which it can be made; of a file its bytes.
    entries: Vec<(PathBuf, Permissions, Option<Vec<u8>>)>,
    environment: BTreeMap<&'static str, OsString>,
    adopts: bool,
    database: String,
}

impl Template {
    /// Nobody uses the directory any more.
    pub(crate) async fn of(workdir: Workdir) -> Self {
        let root = &workdir.root;
        let entries = walkdir::WalkDir::new(root).min_depth(1).into_iter();
        let entries = entries.map(|entry| {
            let entry = entry.unwrap();
            let path = entry.path().strip_prefix(root).unwrap().to_owned();
            let is_file = !entry.file_type().is_dir();
            let bytes = is_file.then(|| std::fs::read(entry.path()).unwrap());
            (path, entry.metadata().unwrap().permissions(), bytes)
        });
        Self {
            entries: entries.collect(),
            database: name_of(&workdir.client).await,
            environment: workdir.environment,
            adopts: workdir.adopts,
        }
    }

    /// A copy to work in.
    pub(crate) async fn workdir(&self) -> Workdir {
        let client = copy_of(&self.database).await;
        let dir = tempfile::Builder::new()
            .prefix("cursus-")
            .tempdir()
            .unwrap();
        let root = dir.path().canonicalize().unwrap();
        for (path, permissions, bytes) in &self.entries {
            let path = root.join(path);
            match bytes {
                None => std::fs::create_dir(&path).unwrap(),
                Some(bytes) => std::fs::write(&path, bytes).unwrap(),
            }
            std::fs::set_permissions(&path, permissions.clone()).unwrap();
        }
        let mut environment = self.environment.clone();
        environment.insert("HOME", root.clone().into_os_string());
        environment.insert("XDG_STATE_HOME", root.join(".state").into_os_string());
        environment.insert("CURSUS_DATABASE_URL", url_of(&client).await.into());
        Workdir {
            root,
            environment,
            adopts: self.adopts,
            client,
            _dir: dir,
        }
    }
}

/// What many tests begin from: the first of them makes it, each has a copy.
pub(crate) struct Shared(OnceCell<Template>);

impl Shared {
    pub(crate) const fn new() -> Self {
        Self(OnceCell::const_new())
    }

    pub(crate) async fn workdir(&self, make: impl AsyncFnOnce() -> Workdir) -> Workdir {
        let template = self
            .0
            .get_or_init(async || Template::of(make().await).await);
        template.await.workdir().await
    }
}

/// Copies what is in a directory, with its modes.
pub(crate) fn copy_all(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from).min_depth(1) {
        let entry = entry.unwrap();
        let target = to.join(entry.path().strip_prefix(from).unwrap());
        if entry.file_type().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            std::fs::set_permissions(&target, entry.metadata().unwrap().permissions()).unwrap();
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// A session in a copy of a database.
async fn copy_of(database: &str) -> Client {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let copy = format!(
        "test_{}_copy_{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    );
    let maker = connect(DATABASE).await;
    for statement in [
        format!("DROP DATABASE IF EXISTS {copy}"),
        format!("CREATE DATABASE {copy} TEMPLATE {database}"),
    ] {
        maker.batch_execute(&statement).await.unwrap();
    }
    connect(&copy).await
}

async fn connect(database: &str) -> Client {
    let cluster = testing::cluster().await;
    let (client, connection) = cluster.config(database).connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn name_of(client: &Client) -> String {
    let row = client
        .query_one("SELECT current_database()::text", &[])
        .await
        .unwrap();
    row.get(0)
}

/// The URL of a session's database.
async fn url_of(client: &Client) -> String {
    let cluster = testing::cluster().await;
    url_at(cluster.socket_dir(), "cursus", &name_of(client).await)
}

/// The URL of a database of the server that has its socket there; `who`: a user, or `user:password`.
pub(crate) fn url_at(socket: &Path, who: &str, database: &str) -> String {
    let socket = socket.display().to_string();
    format!("postgres://{who}@{}/{database}", socket.replace('/', "%2F"))
}

/// A command that has ended.
#[derive(Clone)]
pub(crate) struct Ran {
    pub(crate) command: String,
    /// The exit code; none: killed by a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// Runs a command to its end.
    pub(crate) async fn of(mut command: Command, arguments: &[&str]) -> Self {
        let output = tokio::time::timeout(PATIENCE, command.output())
            .await
            .unwrap_or_else(|_| panic!("cursus {} hangs", arguments.join(" ")))
            .unwrap();
        Self {
            command: arguments.join(" "),
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Fails unless it ended with this exit code.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// The JSON document on stdout.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is no JSON document ({error}): {self}"))
    }

    /// Fails unless stderr says this.
    #[track_caller]
    pub(crate) fn says(self, text: &str) -> Self {
        assert!(
            self.stderr.contains(text),
            "stderr does not say {text:?}: {self}"
        );
        self
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self
            .code
            .map_or("a signal".to_owned(), |code| code.to_string());
        write!(
            f,
            "\n$ cursus {}\nended with {code}\n--- stdout\n{}--- stderr\n{}---",
            self.command, self.stdout, self.stderr
        )
    }
}

/// Everything, as a snapshot shows it.
impl fmt::Debug for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
