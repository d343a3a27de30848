//! `cursus init`: files to start from.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::assets;
use crate::cli::{Global, InitArgs};
use crate::exit::{Exit, Failure};

const DOTENV: &str = "\
# The application's UID and secret: https://profile.intra.42.fr/oauth/applications
# The secret ends about every 28 days; cursus warns a week before.
# CURSUS_CLIENT_ID=u-s4t2…
# CURSUS_CLIENT_SECRET=s-s4t2…

# A PostgreSQL of your own instead of the private one in .cursus/pg (of a password write / ? # @ % as %2F %3F %23 %40 %25):
# CURSUS_DATABASE_URL=postgres://user:password@localhost:5432/mirror
";

const GITIGNORE: &str = "/.env\n/.cursus/\n/staging/\n";

/// Runs the command.
pub(super) fn run(global: &Global, arguments: &InitArgs) -> Result<Exit, Failure> {
    let folder = std::env::current_dir()?;
    let files = [
        ("pipeline.toml", assets::PIPELINE, 0o644),
        (".env", DOTENV, 0o600),
        (".gitignore", GITIGNORE, 0o644),
    ];
    let mut written = Vec::new();
    let mut kept = Vec::new();
    for (name, content, mode) in files {
        // Credentials are never overwritten.
        let overwrite = arguments.force && name == "pipeline.toml";
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
    for name in &written {
        super::print_line(&format!("wrote {name}"));
    }
    for name in &kept {
        super::print_line(&format!("kept  {name} (it was there)"));
    }
    super::print(
        "\nnext:\n  1. put the application's UID and secret into .env\n  2. set campus_ids in pipeline.toml ([scope])\n  \
         3. cursus doctor\n  4. cursus run\n",
    );
    Ok(Exit::Done)
}

/// Writes a file with its mode from the start; `false` if it is there and stays.
fn write(path: &Path, content: &str, mode: u32, overwrite: bool) -> Result<bool, Failure> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).mode(mode);
    if overwrite {
        options.create(true).truncate(true);
    } else {
        options.create_new(true);
    }
    match options.open(path) {
        Ok(mut file) => {
            file.write_all(content.as_bytes())?;
            Ok(true)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Failure::new(
            Exit::Failed,
            format!("cannot write {}: {error}", path.display()),
        )),
    }
}
