//! What waits: records that do not fit, and deletes that the guard holds back.

use serde_json::{Value, json};
use tokio_postgres::{Row, Transaction};

use crate::database::Quoted;
use crate::number::unsigned;
use crate::staging::Manifest;

use super::super::decode::{ELEMENT_BITS, RowState, Unfit};
use super::super::error::LoadError;
use super::super::mapping::Mapping;
use super::super::places::Places;
use super::super::sql::{Take, staged_of};
use super::Books;

/// Records put into quarantine at once.
const BATCH: i32 = 1000;

impl Books<'_> {
    /// Puts records that do not fit into quarantine.
    pub(in super::super) async fn quarantine(
        &self,
        transaction: &Transaction<'_>,
        rows: impl IntoIterator<Item = (&Mapping, Unfit)>,
    ) -> Result<(), LoadError> {
        let entries: Vec<Value> = rows
            .into_iter()
            .map(|(mapping, unfit)| {
                json!({
                    "table_name": mapping.table.name,
                    "file": unfit.file,
                    "record_index": unfit.record,
                    "element_index": unfit.element,
                    "key": unfit.key,
                    "parent": unfit.parent,
                    "column_name": unfit.column,
                    "pointer": unfit.pointer,
                    "code": unfit.code,
                    "reason": unfit.reason,
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

    /// Takes rows that their table would refuse, and puts them into quarantine, up to so many; gives how many there are.
    /// They may be any number: the server keeps them until they are asked for. Rows of a SELECT have no `places`.
    pub(in super::super) async fn take(
        &self,
        transaction: &Transaction<'_>,
        mapping: &Mapping,
        places: Option<&Places>,
        take: &Take,
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
            take.statement
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
            let unfit = rows.iter().zip(records).map(|(row, (file, record))| {
                let unfit = Unfit {
                    file,
                    record,
                    element: is_nested.then_some(place(row) & ((1 << ELEMENT_BITS) - 1)),
                    key: row.get(1),
                    parent: row.get(2),
                    column: take.column.clone(),
                    pointer: None,
                    code: take.code,
                    reason: take.reason.clone(),
                };
                (mapping, unfit)
            });
            self.quarantine(transaction, unfit).await?;
            if rows.len() < BATCH as usize {
                return Ok(count);
            }
        }
    }

    /// Why a load stops: with what is wrong with most of the rows that do not fit, since the books will not tell.
    pub(in super::super) async fn over_budget(
        &self,
        transaction: &Transaction<'_>,
        mapping: &Mapping,
        unfit: u64,
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
        LoadError::Budget {
            table: table.name.to_string(),
            unfit,
            read: read.map_or_else(|| "the".to_owned(), |read| read.to_string()),
            allowed: read.map_or(table.quarantine.max_rows, |read| table.quarantine.of(read)),
            why,
        }
    }

    /// Takes out of quarantine what a newer read of the same records settles: a complete full read settles
    /// all of a table, any other read the keys that it shows, and all that was nested in a record that it shows.
    pub(in super::super) async fn settle_quarantine(
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
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 3] = [
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

    /// Takes records that do not fit out of quarantine again whose rows the table does not have, and that would not bring
    /// any; gives how many.
    pub(in super::super) async fn forget_unknown(
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
    pub(in super::super) async fn forget_quarantine(
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

    /// Takes out of quarantine the older versions of records that the staged pages show several times: each waits once, and
    /// not at all if its newest version fits. Gives how many.
    pub(in super::super) async fn forget_repeated(
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
        let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 4] = [
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

    /// Drops the candidates of a table: a complete full read knows better. Those of other resources in the same run were
    /// judged a moment ago.
    pub(in super::super) async fn drop_candidates(
        &self,
        transaction: &Transaction<'_>,
        mapping: &Mapping,
    ) -> Result<(), LoadError> {
        transaction
            .execute(
                "DELETE FROM pipeline.prune_candidate WHERE schema_name = $1 AND table_name = $2 \
                 AND (run_id <> $3 OR resource = $4)",
                &[
                    &self.schema,
                    &mapping.table.name.as_str(),
                    &self.run.id().as_str(),
                    &self.resource.as_str(),
                ],
            )
            .await
            .map_err(LoadError::at(
                "replace old candidates in pipeline.prune_candidate",
            ))?;
        Ok(())
    }

    /// Drops the candidates of a table that a complete full read has shown: all but these, which it lacks.
    pub(in super::super) async fn drop_shown_candidates(
        &self,
        transaction: &Transaction<'_>,
        mapping: &Mapping,
        absent: &[i64],
    ) -> Result<(), LoadError> {
        let key = mapping.key_names().next().unwrap_or_default();
        transaction
            .execute(
                "DELETE FROM pipeline.prune_candidate AS c WHERE schema_name = $1 AND table_name = $2 \
                 AND approved_at IS NULL AND (run_id <> $3 OR resource = $6) \
                 AND (run_id = $3 OR NOT EXISTS (SELECT FROM unnest($4::bigint[]) AS a (id) \
                 WHERE jsonb_build_object($5::text, a.id) = c.key))",
                &[
                    &self.schema,
                    &mapping.table.name.as_str(),
                    &self.run.id().as_str(),
                    &absent,
                    &key,
                    &self.resource.as_str(),
                ],
            )
            .await
            .map_err(LoadError::at(
                "settle candidates in pipeline.prune_candidate",
            ))?;
        Ok(())
    }

    /// Drops the candidates of a table that this load judges anew: its own of an earlier load, and those that it has
    /// seen. What it only updates it knows to be there by its own resource alone.
    pub(in super::super) async fn drop_seen_candidates(
        &self,
        transaction: &Transaction<'_>,
        mapping: &Mapping,
        staged: &str,
    ) -> Result<(), LoadError> {
        let key = mapping.key_object("s");
        let by_others = if mapping.table.is_update_only() {
            ""
        } else {
            "run_id <> $3 OR "
        };
        let statement = format!(
            "DELETE FROM pipeline.prune_candidate AS c WHERE schema_name = $1 AND table_name = $2 \
             AND approved_at IS NULL AND ({by_others}resource = $4) \
             AND (run_id = $3 OR EXISTS (SELECT FROM {staged} AS s WHERE {key} = c.key))"
        );
        transaction
            .execute(
                &statement,
                &[
                    &self.schema,
                    &mapping.table.name.as_str(),
                    &self.run.id().as_str(),
                    &self.resource.as_str(),
                ],
            )
            .await
            .map_err(LoadError::at(
                "settle candidates in pipeline.prune_candidate",
            ))?;
        Ok(())
    }

    /// Drops the candidates of a table, those for this reason if there is one (whatever its heading), unless the table has a row
    /// of that key, `t`, for which this holds.
    pub(in super::super) async fn drop_candidates_unless(
        &self,
        transaction: &Transaction<'_>,
        mapping: &Mapping,
        reason: Option<&str>,
        holds: &str,
    ) -> Result<(), LoadError> {
        let statement = format!(
            "DELETE FROM pipeline.prune_candidate AS c WHERE schema_name = $1 AND table_name = $2 AND approved_at IS NULL \
             AND coalesce(reason = $3 OR reason LIKE '%: ' || $3, true) AND NOT EXISTS (SELECT FROM {}.{} AS t WHERE {} = c.key AND ({holds}))",
            Quoted(self.schema),
            Quoted(mapping.table.name.as_str()),
            mapping.key_object("t"),
        );
        transaction
            .execute(
                &statement,
                &[&self.schema, &mapping.table.name.as_str(), &reason],
            )
            .await
            .map_err(LoadError::at(
                "settle candidates in pipeline.prune_candidate",
            ))?;
        Ok(())
    }

    /// Keeps the keys of a refused delete, and tells how many were not kept already. What this run has `found` gone is
    /// its own now, whichever run was refused it before; else what was held by another stays with that one.
    pub(in super::super) async fn keep_candidates(
        &self,
        transaction: &Transaction<'_>,
        mapping: &Mapping,
        gone_keys: &str,
        found: bool,
    ) -> Result<u64, LoadError> {
        let run = self.run.id().as_str();
        let table = mapping.table.name.as_str();
        let doing = "keep candidates in pipeline.prune_candidate";
        let held = "c.schema_name = $1 AND c.table_name = $2 AND c.run_id <> $3 AND c.approved_at IS NULL AND c.key = g.key";
        // One that nothing refers to any more is kept no longer: it is held.
        let replaced = if found {
            "true"
        } else {
            "c.referred_by IS NOT NULL"
        };
        transaction
            .execute(
                &format!(
                    "DELETE FROM pipeline.prune_candidate AS c USING ({gone_keys}) AS g (reason, key) \
                     WHERE {held} AND {replaced}"
                ),
                &[&self.schema, &table, &run],
            )
            .await
            .map_err(LoadError::at(doing))?;
        transaction
            .execute(
                &format!(
                    "INSERT INTO pipeline.prune_candidate AS n (schema_name, table_name, run_id, resource, reason, key) \
                     SELECT $1, $2, $3, $4, g.* FROM ({gone_keys}) AS g (reason, key) \
                     WHERE NOT EXISTS (SELECT FROM pipeline.prune_candidate AS c WHERE {held}) \
                     ON CONFLICT (schema_name, table_name, run_id, key) DO UPDATE SET approved_at = NULL, \
                     reason = excluded.reason, referred_by = NULL, created_at = now() \
                     WHERE n.approved_at IS NOT NULL OR n.referred_by IS NOT NULL"
                ),
                &[&self.schema, &table, &run, &self.resource.as_str()],
            )
            .await
            .map_err(LoadError::at(doing))
    }
}
