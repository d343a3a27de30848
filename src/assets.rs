//! What the binary carries: the default `pipeline.toml` and the files of `sql/`.

use std::path::{Component, Path};

use include_dir::{Dir, include_dir};

/// The default configuration, which is also its own manual.
pub const PIPELINE: &str = include_str!("../pipeline.toml");

/// The queries of `cursus demo`.
pub const DEMO: &str = include_str!("../sql/demo.sql");

static SQL: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/sql");

/// The text of `sql/x.sql`: beside the configuration in use, else the built-in one.
pub fn sql(name: &str, config: Option<&Path>) -> Result<String, String> {
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
    let beside = config
        .and_then(Path::parent)
        .map(|folder| folder.join(name));
    if let Some(path) = beside.filter(|path| path.exists()) {
        return std::fs::read_to_string(&path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()));
    }
    SQL.get_file(file)
        .and_then(include_dir::File::contents_utf8)
        .map(str::to_owned)
        .ok_or_else(|| {
            format!("there is no file `{name}` beside the configuration, and none is built in")
        })
}
