//! `--prometheus FILE`: the metrics of a status, for the text file collector of `node_exporter`.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::exit::{Exit, Failure};
use crate::status::{Status, metrics};

/// Writes them by rename, so that nobody reads a half of them; `-` is stdout. Others may read the file: it holds nothing of a
/// person.
pub(super) fn write(file: &Path, status: &Status, project: Option<&str>) -> Result<(), Failure> {
    let text = metrics::text(status, project);
    if file == Path::new("-") {
        super::print(&text);
        return Ok(());
    }
    replace(file, &text).map_err(|error| {
        Failure::new(
            Exit::Failed,
            format!(
                "the metrics were not written to {}: {error}; name a file in a directory that this user may write to",
                file.display()
            ),
        )
    })
}

fn replace(file: &Path, text: &str) -> std::io::Result<()> {
    if file.file_name().is_none() || file.is_dir() {
        return Err(std::io::ErrorKind::IsADirectory.into());
    }
    let folder = match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // The collector reads what ends in `.prom`.
    let mut temporary = tempfile::Builder::new()
        .prefix(".cursus-")
        .suffix(".tmp")
        .tempfile_in(folder)?;
    temporary.write_all(text.as_bytes())?;
    let readable = std::fs::Permissions::from_mode(0o644);
    temporary.as_file().set_permissions(readable)?;
    temporary.as_file().sync_all()?;
    temporary.persist(file).map_err(|error| error.error)?;
    Ok(())
}
