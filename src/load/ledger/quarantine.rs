//! `pipeline.quarantine`: rejected records, where they are staged and why.

use serde_json::{Value, json};
use tokio_postgres::types::ToSql;
use tokio_postgres::{GenericClient, Row, Transaction};

use crate::convert::unsigned;
use crate::database::Quoted;
use crate::database::utc;
use crate::load::decode::record_locator::RecordLocator;
use crate::load::decode::types::{ELEMENT_BITS, RejectedRecord, RowState};
use crate::load::error::LoadError;
use crate::load::ledger::backlog::has_ledger;
use crate::load::ledger::loads::LoadLedger;
use crate::load::mapping::Mapping;
use crate::load::sql::statements::staged_of;
use crate::load::sql::violations::Violation;
use crate::staging::Manifest;
use serde::Serialize;

/// The reject code of a row whose parent is missing.
pub(crate) const ORPHAN: &str = "orphan";

/// Records put into quarantine at once.
const BATCH: i32 = 1000;

impl LoadLedger<'_> {
    pub(crate) async fn quarantine(
        &self,
        transaction: &Transaction<'_>,
        rows: impl IntoIterator<Item = (&Mapping, RejectedRecord)>,
    ) -> Result<(), LoadError> {
        let entries: Vec<Value> = rows
            .into_iter()
            .map(|(mapping, rejected)| {
                json!({
                    "table_name": mapping.table.name,
                    "file": rejected.file,
                    "record_index": rejected.record,
                    "element_index": rejected.element,
                    "key": rejected.key,
                    "parent": rejected.parent,
                    "column_name": rejected.column,
                    "pointer": rejected.pointer,
                    "code": rejected.code,
                    "reason": rejected.reason,
                })
            })
            .collect();
        for entries in entries.chunks(BATCH as usize) {
            transaction
                .execute(
                "INSERT INTO pipeline.quarantine (schema_name, run_id, resource, table_name, file, record_index, \
                 element_index, key, parent, column_name, pointer, code, reason) \
                 SELECT $1, $2, $3, e.table_name, e.file, e.record_index, e.element_index, e.key::jsonb, e.parent::jsonb, e.column_name, \
                 e.pointer, e.code, e.reason FROM jsonb_to_recordset($4) AS e (table_name text, file text, \
                 record_index bigint, element_index bigint, key text, parent text, column_name text, pointer text, code text, \
                 reason text)",
                &[
                    &self.schema,
                    &self.run.id().as_str(),
                    &self.resource.as_str(),
                    &Value::from(entries.to_vec()),
                ],
            )
            .await
            .map_err(LoadError::at("put records into pipeline.quarantine"))?;
        }
        Ok(())
    }

    /// Quarantines rows that violate a constraint of their table, up to `most`; returns how many there are.
    /// Their number is not bounded, so they are fetched from a portal in batches. Rows of a SELECT have no `places`.
    pub(crate) async fn quarantine_violating(
        &self,
        transaction: &Transaction<'_>,
        mapping: &Mapping,
        places: Option<&RecordLocator>,
        violation: &Violation,
        most: Option<u64>,
    ) -> Result<u64, LoadError> {
        let failed = || {
            let table = &mapping.table.name;
            LoadError::at(format!("load {table}: take rows that it would refuse"))
        };
        // As text, which no number and no depth is lost in. The count is of all, beyond the limit.
        let statement = format!(
            "WITH taken (place, key, parent) AS ({}) SELECT place, key::text, parent::text, count(*) OVER () FROM taken \
             ORDER BY place LIMIT $1",
            violation.statement
        );
        let most = most.and_then(|most| i64::try_from(most).ok());
        let portal = transaction
            .bind(&statement, &[&most])
            .await
            .map_err(failed())?;
        let mut count = 0;
        loop {
            let rows = transaction
                .query_portal(&portal, BATCH)
                .await
                .map_err(failed())?;
            count = rows.first().map_or(count, |row| unsigned(row.get(3)));
            let place = |row: &Row| unsigned(row.get(0));
            let records = rows.iter().map(|row| place(row) >> ELEMENT_BITS);
            let records = match places {
                Some(places) => places.of(records)?,
                None => records.map(|_| Default::default()).collect(),
            };
            let is_nested = mapping.table.rows.is_some();
            let rejected = rows.iter().zip(records).map(|(row, (file, record))| {
                let rejected = RejectedRecord {
                    file,
                    record,
                    element: is_nested.then_some(place(row) & ((1 << ELEMENT_BITS) - 1)),
                    key: row.get(1),
                    parent: row.get(2),
                    column: violation.column.clone(),
                    pointer: None,
                    code: violation.code,
                    reason: violation.reason.clone(),
                };
                (mapping, rejected)
            });
            self.quarantine(transaction, rejected).await?;
            if rows.len() < BATCH as usize {
                return Ok(count);
            }
        }
    }

    /// Why a load stops: with what is wrong with most of the rejected rows, since the ledger rows are rolled back.
    pub(crate) async fn over_limit(
        &self,
        transaction: &Transaction<'_>,
        mapping: &Mapping,
        rejected: u64,
        read: Option<u64>,
    ) -> LoadError {
        let table = &mapping.table;
        let most = transaction
            .query_opt(
                "SELECT column_name, reason, (array_agg(CASE file WHEN '' THEN 'one that a SELECT gives' ELSE file || ' [' || record_index || ']' END \
                 ORDER BY id))[1] \
                 FROM pipeline.quarantine WHERE schema_name = $1 AND run_id = $2 AND table_name = $3 \
                 GROUP BY column_name, reason ORDER BY count(*) DESC, min(id) LIMIT 1",
                &[&self.schema, &self.run.id().as_str(), &table.name.as_str()],
            )
            .await;
        let why = match most {
            Ok(Some(row)) => {
                let column: Option<String> = row.get(0);
                let column = column.map_or_else(String::new, |column| format!("{column}: "));
                let (reason, place): (String, String) = (row.get(1), row.get(2));
                format!("{column}{reason}, such as {place}")
            }
            Ok(None) => "unknown".to_owned(),
            Err(error) => return LoadError::at("read pipeline.quarantine")(error),
        };
        LoadError::QuarantineLimit {
            table: table.name.to_string(),
            rejected,
            read: read.map_or_else(|| "the".to_owned(), |read| read.to_string()),
            allowed: read.map_or(table.quarantine.max_rows, |read| table.quarantine.of(read)),
            why,
        }
    }

    /// Takes out of quarantine what a newer read of the same records settles: a complete full read settles
    /// all of a table, any other read the keys that it shows, and all that was nested in a record that it shows.
    pub(crate) async fn settle_quarantine(
        &self,
        transaction: &Transaction<'_>,
        mapping: &Mapping,
        staged: &str,
        manifest: &Manifest,
    ) -> Result<(), LoadError> {
        let everything = mapping.is_proven_by(manifest);
        let key = mapping.key_object("s");
        let mut statements = vec![if everything {
            "DELETE FROM pipeline.quarantine WHERE schema_name = $1 AND table_name = $2 AND run_id <> $3".to_owned()
        } else {
            format!(
                "DELETE FROM pipeline.quarantine AS q WHERE schema_name = $1 AND table_name = $2 AND run_id <> $3 \
                 AND EXISTS (SELECT FROM {staged} AS s WHERE {key} = q.key)"
            )
        }];
        if let Some(owner) = mapping.table.owner.as_ref().filter(|_| !everything) {
            statements.push(format!(
                "DELETE FROM pipeline.quarantine AS q WHERE schema_name = $1 AND table_name = $2 AND run_id <> $3 \
                 AND EXISTS (SELECT FROM {} AS p WHERE to_jsonb(p.{}) = q.parent)",
                staged_of(&owner.table),
                Quoted(owner.target.as_str()),
            ));
        }
        let parameters: [&(dyn ToSql + Sync); 3] = [
            &self.schema,
            &mapping.table.name.as_str(),
            &self.run.id().as_str(),
        ];
        for statement in statements {
            transaction
                .execute(&statement, &parameters)
                .await
                .map_err(LoadError::at("settle pipeline.quarantine"))?;
        }
        Ok(())
    }

    /// Takes rejected records out of quarantine again whose rows the table does not have, and that would not bring
    /// any; returns how many.
    pub(crate) async fn forget_unknown(
        &self,
        transaction: &Transaction<'_>,
        mapping: &Mapping,
    ) -> Result<u64, LoadError> {
        let (table, key) = (mapping.table.name.as_str(), mapping.key_object("t"));
        let statement = format!(
            "DELETE FROM pipeline.quarantine AS q WHERE schema_name = $1 AND table_name = $2 AND run_id = $3 AND resource = $4 \
             AND q.key IS NOT NULL AND NOT EXISTS (SELECT FROM {}.{} AS t WHERE {key} = q.key)",
            Quoted(self.schema),
            Quoted(table),
        );
        let (run, resource) = (self.run.id().as_str(), self.resource.as_str());
        transaction
            .execute(&statement, &[&self.schema, &table, &run, &resource])
            .await
            .map_err(LoadError::at("settle pipeline.quarantine"))
    }

    /// Takes this resource's entries of an earlier load of the same run out of quarantine.
    pub(crate) async fn forget_quarantine(
        &self,
        transaction: &Transaction<'_>,
    ) -> Result<(), LoadError> {
        transaction
            .execute(
                "DELETE FROM pipeline.quarantine WHERE schema_name = $1 AND run_id = $2 AND resource = $3",
                &[&self.schema, &self.run.id().as_str(), &self.resource.as_str()],
            )
            .await
            .map_err(LoadError::at("settle pipeline.quarantine"))?;
        Ok(())
    }

    /// Takes out of quarantine the older versions of records that the staged pages show several times: each is kept once, and
    /// not at all if its newest version is accepted. Returns how many.
    pub(crate) async fn forget_repeated(
        &self,
        transaction: &Transaction<'_>,
        mapping: &Mapping,
        staged: &str,
    ) -> Result<u64, LoadError> {
        // What the table itself refuses has no pointer, and is of the newest version.
        let entries = "schema_name = $1 AND run_id = $2 AND table_name = $3 AND resource = $4 AND pointer IS NOT NULL";
        let statement = format!(
            "DELETE FROM pipeline.quarantine AS q WHERE {entries} AND key IS NOT NULL AND (\
             EXISTS (SELECT FROM pipeline.quarantine AS n WHERE {entries} AND n.key = q.key AND n.id > q.id) \
             OR EXISTS (SELECT FROM {staged} AS s WHERE {} = q.key AND s.staged_state <> {}))",
            mapping.key_object("s"),
            RowState::Quarantined as i16,
        );
        let parameters: [&(dyn ToSql + Sync); 4] = [
            &self.schema,
            &self.run.id().as_str(),
            &mapping.table.name.as_str(),
            &self.resource.as_str(),
        ];
        transaction
            .execute(&statement, &parameters)
            .await
            .map_err(LoadError::at("settle pipeline.quarantine"))
    }
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Entry {
    pub(crate) id: i64,
    pub(crate) run_id: String,
    pub(crate) resource: String,
    pub(crate) table: String,
    /// The page, relative to the run's directory; empty: rows of a SELECT have none.
    pub(crate) file: String,
    pub(crate) record: u64,
    /// Its place in the nested list.
    pub(crate) element: Option<u64>,
    pub(crate) column: Option<String>,
    pub(crate) pointer: Option<String>,
    pub(crate) code: String,
    pub(crate) reason: String,
    pub(crate) since: String,
    pub(crate) attempts: i64,
    #[serde(skip)]
    pub(crate) key: Option<Value>,
}

impl Entry {
    fn of(row: &Row) -> Self {
        Self {
            id: row.get(0),
            run_id: row.get(1),
            resource: row.get(2),
            table: row.get(3),
            file: row.get(4),
            record: unsigned(row.get(5)),
            element: row.get::<_, Option<i64>>(6).map(unsigned),
            column: row.get(7),
            pointer: row.get(8),
            code: row.get(9),
            reason: row.get(10),
            since: row.get(11),
            attempts: row.get(12),
            key: row.get(13),
        }
    }
}

/// The quarantine of a schema, by table and then in the order of writing.
pub(crate) async fn entries(
    client: &impl GenericClient,
    schema: &str,
) -> Result<Vec<Entry>, LoadError> {
    let has_ledger = has_ledger(client).await;
    if !has_ledger.map_err(LoadError::at("read pipeline.quarantine"))? {
        return Ok(Vec::new());
    }
    read(client, "true", &[&schema]).await
}

/// Quarantined rows that were rejected for the same reason.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct QuarantineGroup {
    pub(crate) table: String,
    pub(crate) column: Option<String>,
    pub(crate) reason: String,
    pub(crate) since: String,
    /// The number of the first of them.
    pub(crate) first: i64,
    pub(crate) rows: u64,
}

/// The groups of a schema, the largest first.
pub(crate) async fn quarantine_groups(
    client: &impl GenericClient,
    schema: &str,
) -> Result<Vec<QuarantineGroup>, LoadError> {
    let select = format!(
        "SELECT table_name, column_name, reason, {}, min(id), count(*) FROM pipeline.quarantine WHERE schema_name = $1 \
         GROUP BY 1, 2, 3 ORDER BY 6 DESC, 1, 5",
        utc("min(created_at)")
    );
    let rows = client.query(&select, &[&schema]).await;
    let rows = rows.map_err(LoadError::at("read pipeline.quarantine"))?;
    let group = |row: &Row| QuarantineGroup {
        table: row.get(0),
        column: row.get(1),
        reason: row.get(2),
        since: row.get(3),
        first: row.get(4),
        rows: unsigned(row.get(5)),
    };
    Ok(rows.iter().map(group).collect())
}

/// The orphans of a table that its resource brought.
pub(crate) async fn orphans(
    client: &impl GenericClient,
    schema: &str,
    mapping: &Mapping,
) -> Result<Vec<Entry>, LoadError> {
    let wanted = "table_name = $2 AND resource = $3 AND code = $4 AND file <> ''";
    let (table, resource) = (mapping.table.name.as_str(), mapping.table.from.as_str());
    read(client, wanted, &[&schema, &table, &resource, &ORPHAN]).await
}

pub(crate) async fn entries_of_key(
    client: &impl GenericClient,
    schema: &str,
    table: &str,
    key: &Value,
) -> Result<Vec<Entry>, LoadError> {
    read(
        client,
        "table_name = $2 AND key = $3",
        &[&schema, &table, key],
    )
    .await
}

/// The entries of a schema (the first parameter) for which this holds.
async fn read(
    client: &impl GenericClient,
    wanted: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Entry>, LoadError> {
    let select = format!(
        "SELECT id, run_id, resource, table_name, file, record_index, element_index, column_name, pointer, code, \
         reason, {}, attempts, key FROM pipeline.quarantine WHERE schema_name = $1 AND {wanted} \
         ORDER BY table_name, id",
        utc("created_at")
    );
    let rows = client.query(&select, parameters).await;
    let rows = rows.map_err(LoadError::at("read pipeline.quarantine"))?;
    Ok(rows.iter().map(Entry::of).collect())
}

/// Records whether the next load, of any resource, retries the orphans of a table.
pub(crate) async fn record_due(
    transaction: &Transaction<'_>,
    schema: &str,
    mapping: &Mapping,
    is_due: bool,
) -> Result<(), LoadError> {
    let (table, resource) = (mapping.table.name.as_str(), mapping.table.from.as_str());
    transaction
        .execute(
            "UPDATE pipeline.quarantine SET due = $3 WHERE schema_name = $1 AND table_name = $2 AND resource = $4 \
             AND code = 'orphan' AND due <> $3",
            &[&schema, &table, &is_due, &resource],
        )
        .await
        .map_err(LoadError::at("record in pipeline.quarantine what is to be retried"))?;
    Ok(())
}

/// Takes entries out of quarantine; returns how many.
pub(crate) async fn drop_entries(
    client: &impl GenericClient,
    schema: &str,
    ids: &[i64],
) -> Result<u64, LoadError> {
    client
        .execute(
            "DELETE FROM pipeline.quarantine WHERE schema_name = $1 AND id = ANY ($2)",
            &[&schema, &ids],
        )
        .await
        .map_err(LoadError::at("take entries out of pipeline.quarantine"))
}
