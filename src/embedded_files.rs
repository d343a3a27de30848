//! What the binary carries: the default `pipeline.toml` and the files of `sql/`.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Component, Path};

use include_dir::{Dir, include_dir};

use crate::error_chain::chain;
use crate::trusted::{Folder, Owner, Untrusted};

/// The default configuration, which is also its own manual.
pub(crate) const PIPELINE: &str = include_str!("../pipeline.toml");

#[cfg(feature = "simulator")]
pub(crate) const DEMO: &str = include_str!("../sql/demo.sql");

/// Tables whose changes the demonstration shows, in addition to [`PIPELINE`].
#[cfg(feature = "simulator")]
pub(crate) const DEMO_CHANGES: &str = include_str!("../sql/demo.toml");

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
    let text = beside(config).and_then(|folder| match folder {
        Some(folder) => folder.read_text(name),
        None => Ok(None),
    });
    if let Some(text) = text.map_err(|fault| chain(&fault))? {
        return Ok(text);
    }
    SQL.get_file(file)
        .and_then(include_dir::File::contents_utf8)
        .map(str::to_owned)
        .ok_or_else(|| {
            format!("there is no file `{name}` beside the configuration, and none is built in")
        })
}

/// A file of `sql/`.
pub(crate) struct SqlText {
    /// Such as `sql/pages/x.sql`.
    pub(crate) file: String,
    /// Or why it cannot be used, a sentence.
    pub(crate) text: Result<String, String>,
}

/// The files `*.sql` of a folder such as `sql/pages`, sorted by name: built-in ones, and those beside the configuration in use, which
/// stand in the place of built-in ones of their name. An empty one only takes the built-in one away.
pub(crate) fn sql_folder(name: &str, config: Option<&Path>) -> Vec<SqlText> {
    folder(name, "sql", config)
}

/// The same of files with another end of their name.
pub(crate) fn folder(name: &str, end: &str, config: Option<&Path>) -> Vec<SqlText> {
    let has_end = |path: &Path| path.extension().is_some_and(|is| is == end);
    let inside = name.strip_prefix("sql/").unwrap_or(name);
    let built_in = SQL
        .get_dir(inside)
        .into_iter()
        .flat_map(include_dir::Dir::files);
    let mut texts: BTreeMap<String, Result<String, String>> = built_in
        .filter(|file| has_end(file.path()))
        .filter_map(|file| {
            let of = file.path().file_name()?.to_str()?;
            Some((of.to_owned(), Ok(file.contents_utf8()?.to_owned())))
        })
        .collect();
    match own_files(name, &has_end, config) {
        Ok(own) => texts.extend(own),
        Err(fault) => {
            texts.insert(String::new(), Err(chain(&fault)));
        }
    }
    texts.retain(|_, text| !text.as_ref().is_ok_and(|text| text.trim().is_empty()));
    let texts = texts.into_iter().map(|(file, text)| SqlText {
        file: format!("{name}/{file}"),
        text,
    });
    texts.collect()
}

type OwnFiles = Vec<(String, Result<String, String>)>;

fn own_files(
    name: &str,
    has_end: &dyn Fn(&Path) -> bool,
    config: Option<&Path>,
) -> Result<OwnFiles, Untrusted> {
    let mut folder = beside(config)?;
    for part in name.split('/') {
        let Some(outer) = folder else {
            return Ok(Vec::new());
        };
        folder = outer.folder(part)?;
    }
    let Some(folder) = folder else {
        return Ok(Vec::new());
    };
    let mut files = Vec::new();
    for file in folder.names()? {
        if !has_end(Path::new(&file)) {
            continue;
        }
        let text = folder.read_text(&file).map_err(|fault| chain(&fault));
        let text = text.map(Option::unwrap_or_default);
        files.push((file.to_string_lossy().into_owned(), text));
    }
    Ok(files)
}

/// The directory of the configuration in use; none: it is the built-in one.
pub(crate) fn beside(config: Option<&Path>) -> Result<Option<Folder>, Untrusted> {
    let Some(folder) = config.and_then(Path::parent) else {
        return Ok(None);
    };
    match Folder::open(folder, Owner::caller_or_root()) {
        Err(Untrusted::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        folder => folder.map(Some),
    }
}
