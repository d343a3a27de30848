//! `cursus stage export`: staged runs as files for engines.

use crate::cli::{ExportArgs, Global};
use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::load::{mappings, record_lasting_export};
use crate::parquet::{self, RECORD};
use crate::pipeline::connect;
use crate::pipeline::export::refuse_unmade_tables;
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
    let flag = settings.schema_flag(&settings.config.database.schema);
    refuse_unmade_tables(&database, &flag).await?;
    let mappings = mappings(&settings.config, &database.client, schema).await?;
    let url = remote.shown();
    let what =
        format!("Parquet files in {url}, from which `cursus stage export {url}` erases them");
    let resources = settings.config.resources.iter();
    let records: Vec<String> = resources
        .map(|resource| format!("{}.{RECORD}", resource.name))
        .collect();
    let serial = record_lasting_export(&database.client, schema, &what, &records).await?;
    database.close().await?;
    remote.keep_private();
    let mut exported = parquet::export(&remote, &settings.staging, &mappings).await?;
    exported.export = serial;
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
    print_line(&format!("recorded as export {serial} in the load ledger"));
    if let Some(rate) = (exported.rows * 1000).checked_div(exported.working_ms) {
        print_line(&format!(
            "{} a second, without the time of the object store",
            counted(rate, "row")
        ));
    }
    Ok(Exit::Done)
}
