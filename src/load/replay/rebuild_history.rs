//! The history of rows that a replay into a scratch schema has given → the history of the mirror.

use std::collections::BTreeSet;

use serde::Serialize;
use tokio_postgres::Transaction;
use tokio_postgres::types::ToSql;

use crate::convert::unsigned;
use crate::database::{commit, utc};
use crate::failpoint::Point;
use crate::load::error::LoadError;
use crate::load::ledger::erasures;
use crate::load::ledger::loads::Loaded;
use crate::load::ledger::row_history::{Moment, kept, moment, read_at, write_table};
use crate::load::replay::error::ReplayError;
use crate::load::replay::scope::with_parents;
use crate::load::replay::scratch::remove_in;
use crate::load::schema_loader::SchemaLoader;
use crate::load::sql::row_versions::Rows;
use crate::load::transaction::{begin, set_up};
use crate::name::Name;
use crate::staging::Run;

/// What became of the history of a table.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RebuiltHistory {
    pub(crate) table: Name,
    pub(crate) versions: u64,
    /// From when on it is known; none: it is not.
    pub(crate) known_from: Option<String>,
    /// What was kept since the runs that it is from are not staged any more.
    pub(crate) kept: KeptHistory,
}

/// How much of a history stays as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum KeptHistory {
    Nothing,
    /// What is older than this run: the first from which on every run is staged, and after which a read shows the whole table.
    Before(String),
    /// All: the staged runs do not give the whole table.
    All,
}

/// From which run on the staged runs give the history of a table.
#[derive(Clone, Copy, Debug)]
enum Begin<'r> {
    First,
    Run(&'r Run),
    Never,
}

impl SchemaLoader<'_> {
    /// Replaces the history of these tables of the mirror by that of this scratch schema, as far as its runs give it, and drops the
    /// scratch: all of it or nothing. `runs` are all that are staged, `before` is what the mirror has loaded.
    pub(crate) async fn rebuild_history(
        &mut self,
        live: &Name,
        tables: &BTreeSet<Name>,
        runs: &[Run],
        before: &Loaded,
    ) -> Result<Vec<RebuiltHistory>, ReplayError> {
        let after = self.loaded().await?;
        for (resource, had) in before {
            if after.get(resource).is_none_or(|has| has.seq < had.seq) {
                return Err(ReplayError::HistoryBehind {
                    resource: resource.to_string(),
                    run: had.run_id.clone(),
                });
            }
        }
        let scratch = self.options.schema.clone();
        let schemas: [&(dyn ToSql + Sync); 2] = [&live.as_str(), &scratch.as_str()];
        let held = self.database.client.query(HELD, &schemas).await;
        let held = held.map_err(LoadError::at("read pipeline.load"))?;
        if !held.is_empty() {
            let tables = held.iter().map(|row| row.get(0));
            return Err(ReplayError::HistoryHeld(tables.collect()));
        }
        let mut begins = Vec::new();
        for mapping in kept(&self.mappings).filter(|mapping| tables.contains(&mapping.table.name)) {
            begins.push((mapping.clone(), self.begin_of(&mapping.table.from, runs)));
        }
        let transaction = begin(&mut self.database).await?;
        set_up(&transaction, self.config, live.as_str()).await?;
        // Nobody is erased while the history moves, and nobody was since the runs were listed.
        if let Some(run) = runs.last() {
            erasures::refuse_unknown(&transaction, run).await?;
        }
        let schemas = (live.as_str(), scratch.as_str());
        for (mapping, begin) in &begins {
            match begin {
                Begin::First => stitch(&transaction, schemas, &mapping.table.name, None).await?,
                Begin::Run(run) => {
                    let at = read_at(run).map_err(LoadError::from)?.to_string();
                    let run = run.id().to_string();
                    let cut = Some(Moment { at, run });
                    stitch(&transaction, schemas, &mapping.table.name, cut).await?;
                }
                Begin::Never => {}
            }
        }
        // What somebody has changed by hand is so since the newest run, as far as is known.
        let newest = before.values().map(|had| had.seq).max();
        if let Some(newest) = runs.iter().find(|run| Some(run.record().seq) == newest) {
            let moment = moment(&transaction, live.as_str(), newest).await?;
            for (mapping, begin) in &begins {
                if !matches!(begin, Begin::Never) {
                    write_table(&transaction, live.as_str(), mapping, Rows::All, &moment).await?;
                }
            }
        }
        let mut rebuilt = Vec::new();
        for (mapping, begin) in begins {
            rebuilt.push(count(&transaction, live, mapping.table.name.clone(), begin).await?);
        }
        remove_in(&transaction, scratch.as_str()).await?;
        let done = commit(transaction, Point::RebuildCommit, Point::RebuildCommitted);
        done.await.map_err(LoadError::at_commit)?;
        Ok(rebuilt)
    }

    /// Without gaps in the numbers of runs the first; else the first after the last gap from which on complete full reads show the
    /// resource and all that its rows refer to.
    fn begin_of<'r>(&self, resource: &Name, runs: &'r [Run]) -> Begin<'r> {
        let is_after_gap = |(at, run): &(usize, &Run)| {
            let before = at
                .checked_sub(1)
                .map_or(0, |before| runs[before].record().seq);
            run.record().seq > before + 1
        };
        let Some((_, base)) = runs.iter().enumerate().rfind(is_after_gap) else {
            return Begin::First;
        };
        let mut begin = base.record().seq;
        for name in with_parents(self.config, [resource.clone()]) {
            let mut fulls = Vec::new();
            let mut is_read = false;
            for run in runs {
                let manifest = run.manifest(&name).ok().flatten();
                is_read |= manifest.is_some();
                if manifest.is_some_and(|manifest| manifest.is_complete_full()) {
                    fulls.push(run.record().seq);
                }
            }
            // What was read after the newest complete full read is never removed.
            let newest_is_before = fulls
                .last()
                .is_some_and(|newest| *newest <= base.record().seq);
            let first = fulls.into_iter().find(|seq| *seq >= base.record().seq);
            match first {
                _ if newest_is_before || !is_read => {}
                Some(first) => begin = begin.max(first),
                None => return Begin::Never,
            }
        }
        let found = runs.iter().find(|run| run.record().seq == begin);
        found.map_or(Begin::Never, Begin::Run)
    }
}

/// Tables of which the scratch has held what the mirror's load of the same run has not. Parameters: the mirror, the scratch.
const HELD: &str = "SELECT DISTINCT s.table_name FROM pipeline.load AS s JOIN pipeline.load AS l \
    USING (run_id, resource, table_name, manifest_hash) WHERE l.schema_name = $1 AND s.schema_name = $2 AND s.refused > l.refused ORDER BY 1";
/// Puts the history of a scratch schema in the place of that of the mirror, from a time on: what is older stays. Parameters of each: the
/// mirror, the scratch, the table, the time, the run.
const STITCH: &[&str] = &[
    "DELETE FROM pipeline.{of} WHERE schema_name = $1 AND table_name = $3 AND valid_from >= $4::text::timestamptz",
    "UPDATE pipeline.{of} SET valid_to = $4::text::timestamptz, to_run = $5 WHERE schema_name = $1 AND table_name = $3 \
     AND (valid_to > $4::text::timestamptz OR valid_to IS NULL)",
    "DELETE FROM pipeline.{of} WHERE schema_name = $2 AND table_name = $3 AND valid_to <= $4::text::timestamptz",
    "UPDATE pipeline.{of} SET schema_name = $1, valid_from = greatest(valid_from, $4::text::timestamptz), \
     from_run = CASE WHEN valid_from < $4::text::timestamptz THEN $5 ELSE from_run END \
     WHERE schema_name = $2 AND table_name = $3",
];
/// A version that ends there is one with that which begins there, if the row is the same.
const JOIN: &str = "WITH ended AS (DELETE FROM pipeline.history AS o USING pipeline.history AS n WHERE o.schema_name = $1 \
    AND o.table_name = $2 AND o.valid_to = $3::text::timestamptz AND n.schema_name = $1 AND n.table_name = $2 AND n.key = o.key \
    AND n.valid_from = $3::text::timestamptz AND n.row::text = o.row::text RETURNING n.id, o.valid_from, o.from_run) \
    UPDATE pipeline.history AS n SET valid_from = e.valid_from, from_run = e.from_run FROM ended AS e WHERE n.id = e.id";

async fn stitch(
    transaction: &Transaction<'_>,
    (live, scratch): (&str, &str),
    table: &Name,
    cut: Option<Moment>,
) -> Result<(), LoadError> {
    let doing = || LoadError::at(format!("replace the history of {table}"));
    let cut = cut.unwrap_or_else(|| Moment {
        at: "-infinity".to_owned(),
        run: String::new(),
    });
    let table = table.as_str();
    for of in ["history", "history_span"] {
        for statement in STITCH {
            // Each names all parameters, or their types would not be known.
            let statement = format!(
                "WITH given AS (SELECT $1::text, $2::text, $3::text, $4::text, $5::text) {}",
                statement.replace("{of}", of)
            );
            transaction
                .execute(&statement, &[&live, &scratch, &table, &cut.at, &cut.run])
                .await
                .map_err(doing())?;
        }
    }
    let joined = transaction.execute(JOIN, &[&live, &table, &cut.at]).await;
    joined.map_err(doing())?;
    Ok(())
}

async fn count(
    transaction: &Transaction<'_>,
    live: &Name,
    table: Name,
    begin: Begin<'_>,
) -> Result<RebuiltHistory, LoadError> {
    let count = format!(
        "SELECT (SELECT count(*) FROM pipeline.history WHERE schema_name = $1 AND table_name = $2), \
         (SELECT {} FROM pipeline.history_span WHERE schema_name = $1 AND table_name = $2)",
        utc("min(valid_from)")
    );
    let counted = transaction
        .query_one(&count, &[&live.as_str(), &table.as_str()])
        .await;
    let row = counted.map_err(LoadError::at("count the history"))?;
    Ok(RebuiltHistory {
        versions: unsigned(row.get(0)),
        known_from: row.get(1),
        kept: match begin {
            Begin::First => KeptHistory::Nothing,
            Begin::Run(run) => KeptHistory::Before(run.id().to_string()),
            Begin::Never => KeptHistory::All,
        },
        table,
    })
}
