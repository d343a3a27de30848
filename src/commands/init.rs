//! `cursus init`: create the files of a project.

mod units;

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::cli::{Global, InitArgs};
use crate::embedded_files;
use crate::exit::{Exit, Failure};
use crate::project::{CONFIG, working_directory};
use crate::trusted::{self, Folder, Owner, Untrusted};

const DOTENV: &str = "\
# The application's UID and secret: https://profile.intra.42.fr/oauth/applications
# The secret ends about every 28 days; cursus warns a week before.
# CURSUS_CLIENT_ID=u-s4t2…
# CURSUS_CLIENT_SECRET=s-s4t2…

# A PostgreSQL of your own instead of the private one in .cursus/pg (of a password write / ? # @ % as %2F %3F %23 %40 %25):
# CURSUS_DATABASE_URL=postgres://user:password@localhost:5432/mirror
";

const GITIGNORE: &str = "/.env\n/.cursus/\n/staging/\n";

pub(super) fn run(global: &Global, arguments: &InitArgs) -> Result<Exit, Failure> {
    let folder = working_directory()?;
    let is_closed = close(&folder)?;
    let units = match &arguments.units.systemd {
        Some(dir) => units::of(&folder, dir, &arguments.units)?,
        None => Vec::new(),
    };
    let mut files = vec![
        (PathBuf::from(CONFIG), embedded_files::PIPELINE, 0o644),
        (".env".into(), DOTENV, 0o600),
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
    super::print(
        "\nnext:\n  1. put the application's UID and secret into .env\n  2. set campus_ids in pipeline.toml ([scope])\n  \
         3. cursus doctor\n  4. cursus run\n",
    );
    if let Some(dir) = &arguments.units.systemd {
        super::print_line(&format!(
            "  5. {}",
            units::start(&folder.join(dir), &arguments.units)
        ));
    }
    Ok(Exit::Done)
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
