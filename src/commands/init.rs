//! `cursus init`: create the files of a project.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

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
    let files = [
        (CONFIG, embedded_files::PIPELINE, 0o644),
        (".env", DOTENV, 0o600),
        (".gitignore", GITIGNORE, 0o644),
    ];
    let mut written = Vec::new();
    let mut kept = Vec::new();
    for (name, content, mode) in files {
        // Credentials are never overwritten.
        let overwrite = arguments.force && name == CONFIG;
        if write(&folder.join(name), content, mode, overwrite)? {
            written.push(name);
        } else {
            kept.push(name);
        }
    }
    if global.json {
        super::print_json(&serde_json::json!({ "written": written, "kept": kept }));
        return Ok(Exit::Done);
    }
    if is_closed {
        super::print_line(&format!("made  {} writable by you alone", folder.display()));
    }
    for name in &written {
        super::print_line(&format!("wrote {name}"));
    }
    for name in &kept {
        super::print_line(&format!("kept  {name} (it exists)"));
    }
    super::print(
        "\nnext:\n  1. put the application's UID and secret into .env\n  2. set campus_ids in pipeline.toml ([scope])\n  \
         3. cursus doctor\n  4. cursus run\n",
    );
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
        Err(error) => Err(Failure::new(
            Exit::Failed,
            format!("cannot write {}: {error}", path.display()),
        )),
    }
}
