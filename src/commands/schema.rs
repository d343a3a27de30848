//! `cursus schema`: describe the mirror's tables for people and other programs.

use crate::cli::{Global, SchemaArgs, SchemaFormat};
use crate::database::{DatabaseError, snapshot};
use crate::exit::{Exit, Failure};
use crate::migrate::LEDGER_SCHEMA;
use crate::pipeline::connect;
use crate::schema::{self, Model};
use crate::settings::Settings;

pub(super) async fn run(
    global: &Global,
    settings: &Settings,
    arguments: &SchemaArgs,
) -> Result<Exit, Failure> {
    let format = match (global.json, arguments.format) {
        (true, None) => SchemaFormat::Json,
        (true, Some(format)) if format != SchemaFormat::Json => {
            return Err(Failure::usage(
                "--json is --format json: write one of them".to_owned(),
            ));
        }
        (_, Some(format)) => format,
        (false, None) => SchemaFormat::Markdown,
    };
    let name = settings.schema(arguments.into.as_deref())?;
    let mut schemas = vec![name.as_str()];
    if arguments.ledger {
        schemas.push(LEDGER_SCHEMA);
    }
    let mut database = connect::connect(settings, name.as_str()).await?;
    let transaction = snapshot(&mut database.client).await;
    let transaction = transaction.map_err(DatabaseError::from)?;
    let model = schema::read(&transaction, &settings.config, &schemas).await?;
    transaction.rollback().await.map_err(DatabaseError::from)?;
    database.close().await?;
    refuse_empty(&model, &schemas, &settings.schema_flag(&name))?;
    match format {
        SchemaFormat::Json => super::print_json(&model),
        SchemaFormat::Prisma => super::print_raw(&schema::prisma(&model)),
        SchemaFormat::Typescript => super::print_raw(&schema::typescript(&model)),
        SchemaFormat::Dbml => super::print_raw(&schema::dbml(&model)),
        SchemaFormat::Markdown => super::print_raw(&schema::markdown(&model)),
        SchemaFormat::Dot => super::print_raw(&schema::dot(&model)),
    }
    Ok(Exit::Done)
}

fn refuse_empty(model: &Model, schemas: &[&str], flag: &str) -> Result<(), Failure> {
    let is_empty = |schema: &&&str| !model.tables.iter().any(|table| table.schema == **schema);
    let Some(empty) = schemas.iter().find(is_empty) else {
        return Ok(());
    };
    Err(Failure::new(
        Exit::Failed,
        format!(
            "the schema \"{empty}\" has no tables in this database: no mirror has been made in it; `cursus migrate{flag}` makes empty \
             tables, `cursus run` makes and fills them"
        ),
    ))
}
