//! `cursus stage export`: staged runs as files for engines.

use crate::cli::{ExportArgs, Global};
use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::load::mappings;
use crate::parquet;
use crate::pipeline::connect;
use crate::report::counted;
use crate::settings::Settings;

pub(super) async fn run(
    global: &Global,
    settings: &Settings,
    arguments: &ExportArgs,
) -> Result<Exit, Failure> {
    let remote = settings.remote(Some(&arguments.url))?;
    settings.require_run()?;
    let schema = settings.config.database.schema.as_str();
    let database = connect::connect(settings, schema).await?;
    let mappings = mappings(&settings.config, &database.client, schema).await;
    let _ = database.close().await;
    remote.keep_private();
    let exported = parquet::export(&remote, &settings.staging, &mappings?).await?;
    if global.json {
        print_json(&exported);
        return Ok(Exit::Done);
    }
    print_line(&format!(
        "{} exported to {}: {}, {}, {}; {} there already, {} removed there",
        counted(exported.runs as u64, "run"),
        exported.url,
        counted(exported.files as u64, "file"),
        counted(exported.rows, "row"),
        counted(exported.bytes, "byte"),
        counted(exported.there as u64, "run"),
        counted(exported.removed as u64, "run"),
    ));
    if let Some(rate) = (exported.rows * 1000).checked_div(exported.working_ms) {
        print_line(&format!(
            "{} a second, without the time of the object store",
            counted(rate, "row")
        ));
    }
    Ok(Exit::Done)
}
