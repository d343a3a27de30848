//! What the binary carries: the default `pipeline.toml` and the files of `sql/`.

use std::io::ErrorKind;
use std::path::{Component, Path};

use include_dir::{Dir, include_dir};

use crate::error_chain::chain;
use crate::trusted::{Folder, Owner, Untrusted};

/// The default configuration, which is also its own manual.
pub(crate) const PIPELINE: &str = include_str!("../pipeline.toml");

#[cfg(feature = "simulator")]
pub(crate) const DEMO: &str = include_str!("../sql/demo.sql");

static SQL: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/sql");

/// The text of `sql/x.sql`: beside the configuration in use, else the built-in one.
pub(crate) fn sql(name: &str, config: Option<&Path>) -> Result<String, String> {
    let inside = name.strip_prefix("sql/").filter(|file| {
        Path::new(file)
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
    });
    let Some(file) = inside else {
        return Err(format!(
            "`{name}` is not a file in sql/, such as \"sql/x.sql\""
        ));
    };
    let beside = |folder: &Path| match Folder::open(folder, Owner::caller_or_root()) {
        Err(Untrusted::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        folder => folder?.read_text(name),
    };
    let text = config.and_then(Path::parent).map(beside).transpose();
    if let Some(text) = text.map_err(|fault| chain(&fault))?.flatten() {
        return Ok(text);
    }
    SQL.get_file(file)
        .and_then(include_dir::File::contents_utf8)
        .map(str::to_owned)
        .ok_or_else(|| {
            format!("there is no file `{name}` beside the configuration, and none is built in")
        })
}
