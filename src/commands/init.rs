//! `cursus init`: create the files of a project; at a terminal, ask what belongs into them.

pub(super) mod packs;
mod questions;
mod units;

use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::cli::{Global, InitArgs};
use crate::config::Config;
use crate::context::Context;
use crate::dotenv;
use crate::embedded_files;
use crate::exit::{Exit, Failure};
use crate::name::advice;
use crate::project::{CONFIG, DOTENV as DOTENV_FILE, working_directory};
use crate::settings::Environment;
use crate::template::Values;
use crate::trusted::{self, Folder, Owner, Untrusted};
use questions::{Answers, Asked};

use super::{note, print_line, print_raw};

const DOTENV: &str = "\
# The application's UID and secret: https://profile.intra.42.fr/oauth/applications
# The secret ends about every 28 days; cursus warns a week before.
# CURSUS_CLIENT_ID=u-s4t2…
# CURSUS_CLIENT_SECRET=s-s4t2…

# A PostgreSQL of your own instead of the private one in .cursus/pg (of a password write / ? # @ % as %2F %3F %23 %40 %25):
# CURSUS_DATABASE_URL=postgres://user:password@localhost:5432/mirror
";

const GITIGNORE: &str = "/.env\n/.cursus/\n/staging/\n";

/// Runs the command. Questions come before the first file is written, so that an interruption leaves nothing.
pub(super) async fn run(
    global: &Global,
    context: &Context,
    arguments: &InitArgs,
) -> Result<Exit, Failure> {
    let folder = working_directory()?;
    let is_closed = close(&folder)?;
    let units = match &arguments.units.systemd {
        Some(dir) => units::of(&folder, dir, &arguments.units)?,
        None => Vec::new(),
    };
    let exists = |name: &str| std::fs::symlink_metadata(folder.join(name)).is_ok();
    let writes_config = arguments.force || !exists(CONFIG);
    let mut environment = Environment::of_process();
    // What cannot be used of it is reported by the commands that need it.
    if let Ok(Some(bytes)) =
        Folder::open(&folder, Owner::caller()).and_then(|folder| folder.read(DOTENV_FILE))
        && let Ok(variables) = dotenv::parse(&bytes)
    {
        environment.add(variables);
    }
    let path = folder.join(CONFIG);
    let config = Config::load((!writes_config).then_some(path.as_path()));
    let config = config.or_else(|_| Config::load(None))?;
    let scope = given_scope(arguments, &config, writes_config)?;
    let is_open = |variable: &&String| {
        writes_config && config.scope[*variable].is_empty() && !scope.contains_key(*variable)
    };
    let asked = Asked {
        global,
        context,
        config: &config,
        environment: environment.clone(),
        scope: (config.scope_lookups.keys().filter(is_open).cloned()).collect(),
        packs: if writes_config {
            // Own packs beside the file that is to be written are among them.
            let own = Config::parse(embedded_files::PIPELINE, Some(&path));
            packs::offered(own.as_ref().unwrap_or(&config))
        } else {
            Vec::new()
        },
        writes_dotenv: !exists(DOTENV_FILE),
    };
    let is_at_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    let mut answers = if is_at_terminal && !arguments.yes && !global.json && asked.has_questions() {
        Box::pin(asked.ask()).await?
    } else {
        Answers::default()
    };
    answers.scope.extend(scope);
    let has = |name: &str| {
        answers.variables.iter().any(|(set, _)| *set == name) || environment.get(name).is_some()
    };
    let has_keys = has("CURSUS_CLIENT_ID") && has("CURSUS_CLIENT_SECRET");
    let pipeline = with_scope(embedded_files::PIPELINE, &answers.scope)?;
    let pipeline = packs::with_packs(&pipeline, &answers.packs);
    let dotenv = with_variables(DOTENV, &answers.variables);
    let mut files = vec![
        (PathBuf::from(CONFIG), pipeline.as_str(), 0o644),
        (DOTENV_FILE.into(), dotenv.as_str(), 0o600),
        (".gitignore".into(), GITIGNORE, 0o644),
    ];
    files.extend(
        units
            .iter()
            .map(|(path, unit)| (path.clone(), unit.as_str(), 0o644)),
    );
    let mut written = Vec::new();
    let mut kept = Vec::new();
    // Units that exist, with another text.
    let mut differing = Vec::new();
    for (name, content, mode) in files {
        // Credentials are never overwritten.
        let overwrite = arguments.force && name == Path::new(CONFIG);
        let path = folder.join(&name);
        let shown = name.display().to_string();
        if write(&path, content, mode, overwrite)? {
            written.push(shown);
            continue;
        }
        let is_unit = units.iter().any(|(unit, _)| *unit == name);
        if is_unit && std::fs::read(&path).ok().as_deref() != Some(content.as_bytes()) {
            differing.push(shown.clone());
        }
        kept.push(shown);
    }
    if global.json {
        let mut document = serde_json::json!({ "written": written, "kept": kept });
        if !units.is_empty() {
            document["differing"] = differing.into();
        }
        super::print_json(&document);
        return Ok(Exit::Done);
    }
    if is_closed {
        super::print_line(&format!("made  {} writable by you alone", folder.display()));
    }
    for name in &written {
        super::print_line(&format!("wrote {name}"));
    }
    for name in &kept {
        let why = if differing.contains(name) {
            "it exists and differs; remove it, and the same command writes it again"
        } else {
            "it exists"
        };
        super::print_line(&format!("kept  {name} ({why})"));
    }
    super::print("\nnext:\n");
    let mut steps = next_steps(&config, &answers.scope, has_keys);
    if let Some(dir) = &arguments.units.systemd {
        steps.push(units::start(&folder.join(dir), &arguments.units));
    }
    for (index, step) in steps.iter().enumerate() {
        super::print_line(&format!("  {}. {step}", index + 1));
    }
    Ok(Exit::Done)
}

/// What is left to do, in order.
fn next_steps(config: &Config, scope: &Values, has_keys: bool) -> Vec<String> {
    let mut steps = Vec::new();
    if !has_keys {
        steps.push("put the application's UID and secret into .env".to_owned());
    }
    for (variable, lookup) in &config.scope_lookups {
        let is_open = config.scope[variable].is_empty() && !scope.contains_key(variable);
        let notice = lookup.notice.as_deref();
        match (is_open, notice) {
            (true, None) => steps.push(format!("set {variable} in pipeline.toml ([scope])")),
            (true, Some(notice)) => steps.push(format!(
                "set {variable} in pipeline.toml ([scope]); {notice}"
            )),
            (false, Some(notice)) => steps.push(notice.to_owned()),
            (false, None) => {}
        }
    }
    steps.extend(["cursus doctor".to_owned(), "cursus run".to_owned()]);
    steps
}

fn given_scope(
    arguments: &InitArgs,
    config: &Config,
    writes_config: bool,
) -> Result<Values, Failure> {
    let mut scope = Values::new();
    for (variable, ids) in &arguments.scope {
        if !writes_config {
            return Err(Failure::usage(format!(
                "--scope {variable}: {CONFIG} exists and is kept; set {variable} in its [scope], or write the file again with --force"
            )));
        }
        if !config.scope.contains_key(variable) {
            let names = config.scope.keys().map(String::as_str);
            return Err(Failure::usage(format!(
                "--scope {variable}: [scope] has no such variable; {}",
                advice(variable, names, "there are")
            )));
        }
        scope.insert(variable.clone(), ids.clone());
    }
    Ok(scope)
}

/// The text of a configuration with other values in its scope.
fn with_scope(text: &str, scope: &Values) -> Result<String, Failure> {
    let set = |line: &str| {
        let (name, rest) = line.split_once('=')?;
        let ids = scope.get(name.trim())?;
        let is_number = |id: &String| {
            id.parse::<u32>()
                .is_ok_and(|number| number.to_string() == *id)
        };
        let id = |id: &String| {
            if is_number(id) {
                id.clone()
            } else {
                format!("\"{id}\"")
            }
        };
        let list: Vec<String> = ids.iter().map(id).collect();
        let value = match (&list[..], rest.trim_start().starts_with('[')) {
            ([one], false) => one.clone(),
            _ => format!("[{}]", list.join(", ")),
        };
        let begun = format!("{}= {value}", &line[..name.len()]);
        Some(match rest.split_once('#') {
            // Comments stay below each other.
            Some((before, comment)) => {
                let width = name.len() + 1 + before.len();
                format!(
                    "{begun:<width$}#{comment}",
                    width = width.max(begun.len() + 1)
                )
            }
            None => begun,
        })
    };
    let mut section = "";
    let lines = text.lines().map(|line| {
        if line.starts_with('[') {
            section = line.split(']').next().unwrap_or_default();
        }
        let set = (section == "[scope").then(|| set(line)).flatten();
        set.unwrap_or_else(|| line.to_owned())
    });
    let text: String = lines.flat_map(|line| [line, "\n".to_owned()]).collect();
    let config = Config::parse(&text, None)?;
    if let Some((variable, _)) = scope
        .iter()
        .find(|(name, ids)| config.scope.get(*name) != Some(ids))
    {
        return Err(Failure::usage(format!(
            "{variable} cannot be set to this; set it in [scope] of {CONFIG}"
        )));
    }
    Ok(text)
}

/// The text of a `.env` with these variables set, each in its own place.
fn with_variables(text: &str, variables: &[(&str, String)]) -> String {
    let lines = text.lines().map(|line| {
        let set = |(name, value): &(&str, String)| {
            let is_it = line
                .strip_prefix("# ")?
                .strip_prefix(name)?
                .starts_with('=');
            is_it.then(|| format!("{name}={}", quoted(value)))
        };
        variables
            .iter()
            .find_map(set)
            .unwrap_or_else(|| line.to_owned())
    });
    lines.flat_map(|line| [line, "\n".to_owned()]).collect()
}

/// A value of `.env`; it holds no control character.
fn quoted(value: &str) -> String {
    if value.contains('\'') {
        let escaped = value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('$', "\\$");
        format!("\"{escaped}\"")
    } else {
        format!("'{value}'")
    }
}

/// Removes write access of other users from the caller's own directory, because commands refuse such a directory; returns whether
/// any was removed. Refuses a directory of another user.
fn close(folder: &Path) -> Result<bool, Failure> {
    let refused = |fault| trusted::list(&[fault]);
    match Folder::open(folder, Owner::caller()) {
        Ok(_) => Ok(false),
        Err(Untrusted::Writable { mode, .. }) => {
            let mode = std::fs::Permissions::from_mode(mode & 0o7755);
            std::fs::set_permissions(folder, mode)?;
            Folder::open(folder, Owner::caller()).map_err(refused)?;
            Ok(true)
        }
        Err(fault) => Err(refused(fault).into()),
    }
}

/// Writes a file atomically, with its mode from the start; `false` if it exists and is kept. A link is replaced, its target is not
/// written to.
pub(super) fn write(
    path: &Path,
    content: &str,
    mode: u32,
    overwrite: bool,
) -> Result<bool, Failure> {
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::Builder::new()
            .permissions(std::fs::Permissions::from_mode(mode))
            .tempfile_in(path.parent().unwrap_or(Path::new(".")))?;
        file.write_all(content.as_bytes())?;
        file.as_file().sync_all()?;
        if overwrite {
            file.persist(path)?;
        } else {
            file.persist_noclobber(path)?;
        }
        Ok(())
    };
    match write() {
        Ok(()) => Ok(true),
        Err(error) if !overwrite && error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(cannot_write(path, &error)),
    }
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        Exit::Failed,
        format!("cannot write {}: {error}", path.display()),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_scope_is_set_in_its_line_and_nowhere_else() {
        let ids = |ids: &[&str]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
        let scope = Values::from([
            ("campus_ids".to_owned(), ids(&["9", "12"])),
            ("cursus_id".to_owned(), ids(&["42cursus"])),
        ]);
        let written = with_scope(embedded_files::PIPELINE, &scope).unwrap();
        let changed = |(old, new): &(&str, &str)| old != new;
        let lines: Vec<_> = (embedded_files::PIPELINE.lines().zip(written.lines()))
            .filter(changed)
            .map(|(_, line)| line.split('#').next().unwrap_or_default().trim_end())
            .collect();
        assert_eq!(lines, ["cursus_id = \"42cursus\"", "campus_ids = [9, 12]"]);
        assert_eq!(
            with_scope(embedded_files::PIPELINE, &Values::new()).unwrap(),
            embedded_files::PIPELINE
        );
        let bad = Values::from([("campus_ids".to_owned(), ids(&["9\"]\n[api"]))]);
        assert!(with_scope(embedded_files::PIPELINE, &bad).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_into_dotenv_is_read_back(value in "[^\\p{Cc}]{1,40}") {
            let text = with_variables(DOTENV, &[("CURSUS_CLIENT_SECRET", value.clone())]);
            let variables = dotenv::parse(text.as_bytes()).unwrap();
            prop_assert_eq!(variables, [("CURSUS_CLIENT_SECRET".to_owned(), value)]);
        }
    }
}
