//! Where a row of the mirror comes from: the newest loaded record with its key, read again from its staged page.

pub(crate) mod at;
pub(crate) mod origin;
mod origin_search;

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use tokio_postgres::Client;

use crate::config::Config;
use crate::key_arg::Key;
use crate::load::error::LoadError;
use crate::load::explain::origin::{ColumnOrigin, ExplainError, Explained, RowQuery};
use crate::load::explain::origin_search::OriginSearch;
use crate::load::ledger::quarantine::entries_of_key;
use crate::load::mapping::{INGESTED_AT, Mapping};
use crate::migrate;
use crate::staging::Run;

/// Explains the row of `table` with this key; `runs` is all that is staged.
pub(crate) async fn explain(
    config: &Config,
    client: &mut Client,
    schema: &str,
    runs: &[Run],
    table: &str,
    key: &Key,
) -> Result<Explained, ExplainError> {
    let mappings = match crate::load::mappings::mappings(config, client, schema).await {
        // A table that a migration is about to make needs no other one.
        Err(LoadError::Mismatch(_)) if is_unmigrated(config, client, schema).await? => {
            return Err(ExplainError::Unmigrated(schema.to_owned()));
        }
        mappings => mappings?,
    };
    let find = |name: &str| {
        let is_it = |mapping: &&Mapping| mapping.table.name.as_str() == name;
        mappings.iter().find(is_it)
    };
    let mapping = find(table)
        .ok_or_else(|| ExplainError::Key(format!("pipeline.toml has no table {table}")))?;
    let wanted = RowQuery::of(mapping, key)?;
    let begun = client.build_transaction().read_only(false).start().await;
    let mut transaction = begun.map_err(LoadError::at("begin a transaction"))?;
    // Pages are decoded meanwhile.
    let patient = transaction
        .batch_execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        .await;
    patient.map_err(LoadError::at("set up the transaction"))?;
    let row = wanted.row(&transaction, schema).await?;
    let json = wanted.json();
    let mut explained = Explained {
        table: table.to_owned(),
        key: json.clone(),
        row,
        resource: mapping.table.from.to_string(),
        origin: None,
        columns: Vec::new(),
        quarantine: entries_of_key(&transaction, schema, table, &json).await?,
        held_deletes: wanted.held_deletes(&transaction, schema).await?,
        notes: Vec::new(),
    };
    // The rows of a SELECT have no record of their own, but that of their owner.
    let owner = match (&mapping.table.select, &mapping.table.owner) {
        (None, _) => Some(wanted),
        (Some(select), Some(owner)) => {
            explained.notes.push(format!(
                "its rows are made by {} of all records of {}",
                select.name, mapping.table.from
            ));
            let place = mapping
                .key_names()
                .position(|name| owner.column.as_str() == name);
            let parent = find(owner.table.as_str())
                .filter(|parent| parent.key_names().eq([owner.target.as_str()]));
            match (place, parent) {
                (Some(place), Some(parent)) => {
                    explained.notes.push(format!(
                        "shown is the record of its owner, {} {}",
                        owner.table, wanted.typed[place]
                    ));
                    let key = Key::parse(&wanted.typed[place]).map_err(ExplainError::Key)?;
                    Some(RowQuery::of(parent, &key)?)
                }
                _ => None,
            }
        }
        (Some(select), None) => {
            explained.notes.push(format!(
                "its rows are made by {} of all records of {}, so no single record is its origin",
                select.name, mapping.table.from
            ));
            None
        }
    };
    if let Some(wanted) = &owner {
        let name = &wanted.mapping.table.name;
        let feeds = mappings.iter().filter(|one| one.table.name == *name);
        let search = OriginSearch {
            schema,
            scope: &config.scope,
            runs,
            quarantine: entries_of_key(&transaction, schema, name.as_str(), &wanted.json()).await?,
            feeds: feeds.map(|feed| of_key(feed, wanted, &mappings)).collect(),
        };
        search.explain(&mut transaction, &mut explained).await?;
    }
    (transaction.rollback().await).map_err(LoadError::at("roll back"))?;
    let is_own = mapping.table.select.is_none();
    explained.columns = columns(mapping, &explained, is_own);
    Ok(explained)
}

/// A mapping that stages the rows of the key alone, and that of the table that they belong to: the row of their owner, or all rows if
/// the key does not say whose they are.
fn of_key(feed: &Mapping, key: &RowQuery<'_>, mappings: &[Mapping]) -> (Mapping, Option<Mapping>) {
    let owner = feed.table.owner.as_ref();
    let owner = owner.and_then(|owner| {
        let is_it = |one: &&Mapping| {
            one.table.name == owner.table
                && one.table.from == feed.table.from
                && one.table.select.is_none()
        };
        let mut mapping = mappings.iter().find(is_it)?.clone();
        mapping.only_key = key.owner_place().and_then(|place| {
            let [column] = mapping.key.as_slice() else {
                return None;
            };
            let column = &mapping.columns[*column];
            let mut encoded = Vec::new();
            let is_it = column.name == owner.target.as_str();
            let done = column.cell.encode(Some(&key.raw[place]), &mut encoded);
            (is_it && done.is_ok()).then_some(encoded)
        });
        Some(mapping)
    });
    let mut feed = feed.clone();
    feed.only_key = Some(key.encoded.clone());
    (feed, owner)
}

async fn is_unmigrated(config: &Config, client: &Client, schema: &str) -> Result<bool, LoadError> {
    let folder = config.migrations();
    let pending = migrate::pending(client, schema, &folder).await?;
    Ok(!pending.is_empty())
}

fn columns(mapping: &Mapping, explained: &Explained, is_own: bool) -> Vec<ColumnOrigin> {
    let origin = explained.origin.as_ref().filter(|_| is_own);
    let row = explained.row.as_ref();
    let row: BTreeMap<String, Box<RawValue>> = row
        .and_then(|row| serde_json::from_str(row.get()).ok())
        .unwrap_or_default();
    let of = |column: &crate::database::catalogue::Column| {
        let name = column.name.as_str();
        let at = mapping.columns.iter().position(|one| one.name == name);
        let from = match (at, &mapping.table.select) {
            (Some(_), Some(select)) => select.name.clone(),
            (Some(at), None) => mapping.columns[at].source.to_string(),
            (None, _) if name == INGESTED_AT => "the load that last changed the row".to_owned(),
            (None, _) if column.generated => "the database".to_owned(),
            (None, _) => "not the record: a [[derive]] or a default".to_owned(),
        };
        ColumnOrigin {
            name: name.to_owned(),
            from,
            in_record: at.and_then(|at| origin?.values.get(at)?.clone()),
            in_mirror: row.get(name).cloned(),
        }
    };
    mapping.shape.columns.iter().map(of).collect()
}
