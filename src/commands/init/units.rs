//! The systemd units of a project: those of `deploy/systemd`, for another directory, user and binary. Starts nothing.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use include_dir::{Dir, include_dir};
use nix::unistd::{Uid, User};

use crate::cli::UnitArgs;
use crate::config::Config;
use crate::database::embedded::Cluster;
use crate::error_chain::chain;
use crate::exit::{Exit, Failure};
use crate::printable;
use crate::project::{CONFIG, Project, STATE};
use crate::settings::{Environment, state_dir};
use crate::trusted::{Folder, shell};

/// The units as they are shipped, which are the template of others.
static SHIPPED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/deploy/systemd");
const BINARY: &str = "/usr/bin/cursus";
const PREFIX: &str = "cursus-";
const METRICS: &str = "/cursus.prom";

/// Variables that a process needs before it reads `.env`, and that are paths.
const HANDED_ON: [&str; 2] = ["CURSUS_PG_BIN", "XDG_STATE_HOME"];

/// Restrictions that a user's own service manager can set up: those that need no name space and no capability.
const WITHOUT_RIGHTS: [&str; 10] = [
    "LockPersonality",
    "NoNewPrivileges",
    "RestrictAddressFamilies",
    "RestrictNamespaces",
    "RestrictRealtime",
    "RestrictSUIDSGID",
    "SystemCallArchitectures",
    "SystemCallErrorNumber",
    "SystemCallFilter",
    "UMask",
];

/// Where the restrictions begin, and where they end.
const RESTRICTIONS: &str = "# What the service may not do";

/// Where the system's manager looks for units of administrators.
const OF_SYSTEM: &str = "/etc/systemd/system";

/// Directories for temporary files.
const TEMPORARY: [&str; 2] = ["/tmp", "/var/tmp"];

pub(super) type Unit = (PathBuf, String);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Manager {
    System,
    /// The system's, as root, whose private PostgreSQL runs as another user.
    SystemAsRoot,
    User,
}

/// Replacements for the shipped directory, user and binary.
struct Place {
    manager: Manager,
    user: String,
    directory: String,
    binary: String,
    /// Directories that are written.
    writable: Vec<String>,
    environment: Vec<(&'static str, String)>,
    /// Whether the project, the binary or the socket of the private PostgreSQL is in a directory for temporary files.
    shares_tmp: bool,
    name: Option<String>,
}

/// The units for a project in a directory, and for the caller, as files of `dir`. Makes that directory, and those beside the project
/// that a service cannot make.
pub(super) fn of(directory: &Path, dir: &Path, arguments: &UnitArgs) -> Result<Vec<Unit>, Failure> {
    let process = Environment::of_process();
    let uid = Uid::effective();
    let manager = match (arguments.user, uid.is_root()) {
        (true, _) => Manager::User,
        (false, true) => Manager::SystemAsRoot,
        (false, false) => Manager::System,
    };
    let account = User::from_uid(uid).ok().flatten();
    let user = account.map(|user| user.name).filter(|name| is_plain(name));
    let binary = std::env::current_exe().map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!("the path of this program is not known: {error}"),
        )
    })?;
    let binary_text = text(&binary)?;
    let mut writable = vec![text(directory)?];
    let staging = staging(directory)?;
    text(&staging)?;
    // A service cannot make one elsewhere, and it may be a link.
    let is_elsewhere = !staging.starts_with(directory) || staging.is_symlink();
    if is_elsewhere {
        Folder::make_private(&staging).map_err(|fault| Failure::usage(chain(&fault)))?;
        let staging =
            (staging.canonicalize()).map_err(|error| super::cannot_write(&staging, &error))?;
        writable.push(text(&staging)?);
    }
    // The service's home is that of the account. Without one, requests are counted in the project.
    let state = process.path("XDG_STATE_HOME");
    let state = Environment::only(state.map(|dir| ("XDG_STATE_HOME", dir.into_os_string())));
    if let Some(state) = state_dir(&state)
        && Folder::make_private(&state).is_ok()
    {
        writable.push(text(&state)?);
    }
    let handed_on = HANDED_ON.iter().filter_map(|name| {
        let path = process.path(name)?;
        Some(text(&path).map(|path| (*name, path)))
    });
    let place = Place {
        manager,
        user: user.unwrap_or_else(|| uid.to_string()),
        directory: text(directory)?,
        binary: binary_text,
        writable,
        environment: handed_on.collect::<Result<_, _>>()?,
        shares_tmp: !Cluster::has_own_socket(&directory.join(STATE).join("pg"))
            || TEMPORARY
                .iter()
                .any(|tmp| directory.starts_with(tmp) || binary.starts_with(tmp)),
        name: arguments.name.clone(),
    };
    let into = directory.join(dir);
    std::fs::create_dir_all(&into).map_err(|error| super::cannot_write(&into, &error))?;
    let shipped = SHIPPED.files().filter_map(|file| {
        let name = file.path().file_name().and_then(OsStr::to_str)?;
        Some((name, file.contents_utf8()?))
    });
    Ok(shipped
        .map(|(name, unit)| (dir.join(place.named(name)), place.unit(unit)))
        .collect())
}

/// What to type, so that the units in a directory start.
pub(super) fn start(dir: &Path, arguments: &UnitArgs) -> String {
    let name = (arguments.name.as_ref()).map_or_else(String::new, |name| format!("{name}-"));
    let timers = format!("{PREFIX}{name}run.timer {PREFIX}{name}metrics.timer");
    let is_in_place = |known: &Path| dir.canonicalize().is_ok_and(|dir| dir == known);
    if arguments.user {
        return format!(
            "systemctl --user daemon-reload && systemctl --user enable --now {timers}; `loginctl enable-linger` keeps them without a login"
        );
    }
    let copy = if is_in_place(Path::new(OF_SYSTEM)) {
        String::new()
    } else {
        format!("sudo cp {}/{PREFIX}{name}* {OF_SYSTEM}/ && ", shell(dir))
    };
    format!("{copy}sudo systemctl daemon-reload && sudo systemctl enable --now {timers}")
}

/// The staging directory of a project, which may lie elsewhere.
fn staging(directory: &Path) -> Result<PathBuf, Failure> {
    let config = directory.join(CONFIG);
    let project = if config.exists() {
        Project::find(Some(config))?
    } else {
        Project::new_in(directory.to_owned())
    };
    let (Config { staging, .. }, variables) = project.read()?;
    let of_dotenv = variables
        .into_iter()
        .find(|(name, value)| name == "CURSUS_STAGING_DIR" && !value.is_empty());
    let dir = of_dotenv.map_or(staging.dir, |(_, value)| value.into());
    Ok(directory.join(dir))
}

/// A path as a unit can name it.
fn text(path: &Path) -> Result<String, Failure> {
    let text = path
        .to_str()
        .filter(|text| !text.contains(char::is_control));
    text.map(str::to_owned).ok_or_else(|| {
        Failure::usage(format!(
            "no systemd unit can name {}: a name in it is not UTF-8 or holds control characters; give it another name",
            printable::line(&path.to_string_lossy())
        ))
    })
}

impl Place {
    /// A text with the names of these units.
    fn named(&self, text: &str) -> String {
        let Some(name) = &self.name else {
            return text.to_owned();
        };
        let prefix = format!("{PREFIX}{name}-");
        let text = text.replace(PREFIX, &prefix);
        let metrics = format!("/{PREFIX}{name}.prom --project {name}");
        text.replace(METRICS, &metrics)
    }

    /// A shipped unit, for this place.
    fn unit(&self, shipped: &str) -> String {
        let mut is_restriction = false;
        let mut unit = String::new();
        for line in self.named(shipped).lines() {
            is_restriction = (is_restriction || line.starts_with(RESTRICTIONS)) && !line.is_empty();
            for line in self.line(line, is_restriction) {
                unit.push_str(&line);
                unit.push('\n');
            }
        }
        unit
    }

    /// What stands in the place of a line.
    fn line(&self, line: &str, is_restriction: bool) -> Vec<String> {
        let is_of_user = self.manager == Manager::User;
        let is_of_root = self.manager == Manager::SystemAsRoot;
        let kept = || vec![line.to_owned()];
        let instead = |line: String| vec![line];
        let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with('#')) else {
            return if is_restriction && is_of_user {
                Vec::new()
            } else {
                kept()
            };
        };
        match key {
            // Of the package.
            "Documentation" | "StateDirectoryMode" => Vec::new(),
            // What a user's own manager has not.
            "User" | "StateDirectory" | "ReadWritePaths" | "Wants" | "After" if is_of_user => {
                Vec::new()
            }
            "User" => instead(format!("User={}", self.user)),
            "WorkingDirectory" => {
                // A line that ends in a backslash continues, and white space at its end is not read.
                let end = if self
                    .directory
                    .ends_with(|c: char| c == '\\' || c.is_whitespace())
                {
                    "/"
                } else {
                    ""
                };
                let directory = percents(&self.directory);
                let variables = self.environment.iter().map(|(name, value)| {
                    format!("Environment={}", argument(&format!("{name}={value}")))
                });
                std::iter::once(format!("WorkingDirectory={directory}{end}"))
                    .chain(variables)
                    .collect()
            }
            "StateDirectory" => {
                let mut paths: Vec<String> =
                    self.writable.iter().map(|path| argument(path)).collect();
                if self.shares_tmp {
                    paths.extend(TEMPORARY.map(str::to_owned));
                }
                instead(format!("ReadWritePaths={}", paths.join(" ")))
            }
            "ExecStart" | "ExecStopPost" => instead(format!("{key}={}", self.command(value))),
            "WantedBy" if is_of_user => {
                instead(line.replace("multi-user.target", "default.target"))
            }
            _ if !is_restriction => kept(),
            _ if is_of_user && !WITHOUT_RIGHTS.contains(&key) => Vec::new(),
            // The project and the ledger of requests may be in a home.
            "ProtectHome" => instead("ProtectHome=read-only".to_owned()),
            "PrivateTmp" if self.shares_tmp => Vec::new(),
            // Root's private PostgreSQL becomes another user, and may lie in /var/lib.
            "CapabilityBoundingSet" | "PrivateUsers" if is_of_root => Vec::new(),
            "SystemCallFilter" if is_of_root && value.starts_with('~') => Vec::new(),
            "ProtectSystem" if is_of_root => instead("ProtectSystem=full".to_owned()),
            _ => kept(),
        }
    }

    fn command(&self, shipped: &str) -> String {
        let Some(arguments) = shipped.strip_prefix(&format!(":{BINARY}")) else {
            return shipped.replace(BINARY, &argument(&self.binary));
        };
        // systemd takes no program whose path holds one of these, but as an argument of another.
        if self.binary.contains(['"', '\'', '\\']) {
            let binary = argument(&self.binary);
            return format!(":/bin/sh -c 'exec \"$0\" \"$@\"' {binary}{arguments}");
        }
        format!(":{}{arguments}", argument(&self.binary))
    }
}

/// A word of a unit's line, between quotes where it has to be.
fn argument(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{}\"", percents(&escaped))
}

/// A text in which nothing is a specifier.
fn percents(text: &str) -> String {
    text.replace('%', "%%")
}

/// Whether a text stands for itself anywhere in a unit.
fn is_plain(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._+-=".contains(c);
    !text.is_empty() && text.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place {
            manager: Manager::System,
            user: "mirror".to_owned(),
            directory: "/srv/my mirror".to_owned(),
            binary: "/opt/50% \"off\"/cursus".to_owned(),
            writable: vec!["/srv/my mirror".to_owned()],
            environment: vec![("CURSUS_PG_BIN", "/opt/pg 17".to_owned())],
            shares_tmp: false,
            name: None,
        }
    }

    fn shipped() -> impl Iterator<Item = (&'static str, &'static str)> {
        SHIPPED.files().map(|file| {
            let name = file.path().to_str().unwrap();
            (name, file.contents_utf8().unwrap())
        })
    }

    #[test]
    fn nothing_of_the_package_is_left_in_a_written_unit() {
        let mut services = 0;
        for (name, unit) in shipped() {
            for manager in [Manager::System, Manager::SystemAsRoot, Manager::User] {
                let place = Place { manager, ..place() };
                let written = place.unit(unit);
                let lines = written.lines().filter(|line| !line.starts_with('#'));
                for line in lines {
                    for packaged in [
                        BINARY,
                        "/var/lib/cursus",
                        "User=cursus",
                        "StateDirectory",
                        "/usr/share",
                    ] {
                        assert!(!line.contains(packaged), "{name}: {line}");
                    }
                }
                if name.ends_with(".service") {
                    services += 1;
                    assert!(
                        written.contains("\nWorkingDirectory=/srv/my mirror\n"),
                        "{written}"
                    );
                    assert!(
                        written.contains("\nEnvironment=\"CURSUS_PG_BIN=/opt/pg 17\"\n"),
                        "{written}"
                    );
                    let has = |text: &str| written.contains(text);
                    assert_eq!(
                        has("\nUser=mirror\n"),
                        manager != Manager::User,
                        "{written}"
                    );
                    assert_eq!(
                        has("\nReadWritePaths=\"/srv/my mirror\"\n"),
                        manager != Manager::User
                    );
                    assert_eq!(has("\nProtectSystem=strict\n"), manager == Manager::System);
                }
            }
        }
        assert_eq!(services, 5 * 3);
    }

    #[test]
    fn a_second_project_has_units_of_its_own() {
        let place = Place {
            name: Some("lyon".to_owned()),
            ..place()
        };
        for (name, unit) in shipped() {
            assert!(place.named(name).starts_with("cursus-lyon-"), "{name}");
            let unit = place.unit(unit);
            for stem in ["run", "watch", "serve", "metrics", "notify"] {
                assert!(!unit.contains(&format!("cursus-{stem}")), "{unit}");
            }
            assert!(!unit.contains("/cursus.prom"), "{unit}");
            let has_metrics = unit.contains("/cursus-lyon.prom --project lyon\n");
            assert_eq!(has_metrics, name == "cursus-metrics.service", "{unit}");
        }
    }

    #[test]
    fn words_are_quoted_as_systemd_reads_them() {
        assert_eq!(argument("/usr/bin/cursus"), "/usr/bin/cursus");
        assert_eq!(argument("/a b"), "\"/a b\"");
        assert_eq!(argument("/50%"), "\"/50%%\"");
        assert_eq!(argument("/a\\b\"c"), "\"/a\\\\b\\\"c\"");
        assert_eq!(argument("/é$HOME;#'"), "\"/é$HOME;#'\"");
    }
}
