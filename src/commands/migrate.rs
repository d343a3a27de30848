//! `cursus migrate`.

use crate::cli::{Global, MigrateArgs};
use crate::exit::{Exit, Failure};
use crate::load::{Look, prepared, refuse_lacking};
use crate::pipeline::connect;
use crate::settings::Settings;

pub(super) async fn run(
    global: &Global,
    settings: &Settings,
    arguments: &MigrateArgs,
) -> Result<Exit, Failure> {
    let configured = settings.config.database.schema.as_str();
    let schema = arguments.into.as_deref().unwrap_or(configured);
    crate::name::Name::parse(schema)
        .map_err(|error| Failure::usage(format!("--into {schema}: {error}")))?;
    let mut database = connect::connect_to_write(settings, schema).await?;
    let (client, config) = (&mut database.client, &settings.config);
    refuse_lacking(client, config, schema, Look::ToLoad).await?;
    let folder = settings.config.migrations();
    let lock_wait = database.lock_wait;
    let migrated =
        crate::migrate::migrate(&mut database.client, schema, &folder, lock_wait).await?;
    let prepared = prepared(&database.client, &settings.config, schema, &migrated).await?;
    database.close().await?;
    if global.json {
        super::print_json(
            &serde_json::json!({ "schema": schema, "applied": migrated.applied, "views": migrated.views }),
        );
    } else {
        super::print_line(
            &prepared.unwrap_or_else(|| format!("the schema {schema} is up to date")),
        );
    }
    Ok(Exit::Done)
}
