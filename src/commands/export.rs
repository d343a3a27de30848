//! `cursus export`: hand out the mirror without its people.

use serde::Serialize;

use super::{print_json, print_line};
use crate::cli::{BundleArgs, Global};
use crate::exit::{Exit, Failure};
use crate::export::{Bundle, BundleTable, NOTICE};
use crate::pipeline::export::export;
use crate::printable;
use crate::report::counted;
use crate::settings::Settings;

/// `bundle.json`, and where it is.
#[derive(Serialize)]
struct Document<'b> {
    path: String,
    #[serde(flatten)]
    bundle: &'b Bundle,
}

pub(super) async fn run(
    global: &Global,
    settings: &Settings,
    arguments: &BundleArgs,
) -> Result<Exit, Failure> {
    let BundleArgs {
        profile,
        format,
        out,
    } = arguments;
    let bundle = export(settings, profile, *format, out).await?;
    let path = out.display().to_string();
    if global.json {
        print_json(&Document {
            path,
            bundle: &bundle,
        });
        return Ok(Exit::Done);
    }
    let sum = |of: fn(&BundleTable) -> u64| bundle.tables.iter().map(of).sum();
    let (rows, left_out): (u64, u64) = (sum(|table| table.rows), sum(|table| table.left_out));
    let left_out = match left_out {
        0 => String::new(),
        rows => format!(
            ", without {} of people who were erased or anonymised",
            counted(rows, "row")
        ),
    };
    print_line(&printable::line(&format!(
        "{} of {} exported to {path}{left_out}",
        counted(rows, "row"),
        counted(bundle.tables.len() as u64, "table"),
    )));
    print_line(&format!(
        "serial {}, export {} of the load ledger",
        bundle.serial, bundle.export
    ));
    print_line(NOTICE);
    Ok(Exit::Done)
}
