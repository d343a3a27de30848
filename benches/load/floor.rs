//! The floor of the server's part: hand-written statements for one table. A binary COPY of prepared rows into a temporary table,
//! then the quickest merge that detects changes, then the anti-join of the deletes.

use std::pin::pin;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, TryStreamExt};
use tokio_postgres::Client;

use super::Error;

/// Forms of a merge that detects changes.
pub(crate) const FORMS: [&str; 3] = ["conflict", "filtered", "merge"];

/// A table of a database that is ours alone.
pub(crate) struct Table {
    pub(crate) client: Client,
    name: &'static str,
    columns: Vec<String>,
}

impl Table {
    pub(crate) async fn open(client: Client, name: &'static str) -> Result<Self, Error> {
        // What a load does not fill.
        let query = "SELECT attname::text FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 \
                     AND NOT attisdropped AND attname NOT IN ('ingested_at', 'campus_id') ORDER BY attnum";
        let rows = client.query(query, &[&name]).await?;
        let columns = rows.iter().map(|row| row.get(0)).collect();
        Ok(Self {
            client,
            name,
            columns,
        })
    }

    /// Its rows as binary COPY, in the order of the pages.
    pub(crate) async fn rows(&self, descending: bool) -> Result<Bytes, Error> {
        let order = if descending { "DESC" } else { "ASC" };
        let query = format!(
            "COPY (SELECT {} FROM {} ORDER BY id {order}) TO STDOUT (FORMAT binary)",
            self.columns.join(", "),
            self.name
        );
        let mut rows = BytesMut::new();
        let mut stream = pin!(self.client.copy_out(&query).await?);
        while let Some(part) = stream.try_next().await? {
            rows.extend_from_slice(&part);
        }
        Ok(rows.freeze())
    }

    /// Makes the temporary table, and fills it: timed.
    pub(crate) async fn stage(&self, rows: &Bytes) -> Result<Duration, Error> {
        let columns = self.columns.join(", ");
        let make = format!(
            "DROP TABLE IF EXISTS stage; CREATE TEMPORARY TABLE stage AS SELECT {columns} FROM {} WITH NO DATA; CHECKPOINT",
            self.name
        );
        self.client.batch_execute(&make).await?;
        let started = Instant::now();
        let mut sink = pin!(
            self.client
                .copy_in::<_, Bytes>("COPY stage FROM STDIN (FORMAT binary)")
                .await?
        );
        let mut rest = rows.clone();
        while !rest.is_empty() {
            sink.send(rest.split_to(rest.len().min(256 << 10))).await?;
        }
        sink.finish().await?;
        let took = started.elapsed();
        self.client.batch_execute("ANALYZE stage").await?;
        Ok(took)
    }

    async fn timed(&self, statement: &str) -> Result<Duration, Error> {
        self.client.batch_execute("CHECKPOINT").await?;
        let started = Instant::now();
        self.client.batch_execute(statement).await?;
        Ok(started.elapsed())
    }

    /// Merges the temporary table: timed.
    pub(crate) async fn merge(&self, form: &str) -> Result<Duration, Error> {
        let of = |alias: &str, columns: &[String]| -> String {
            columns
                .iter()
                .map(|column| format!("{alias}.{column}"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let (all, rest, name) = (&self.columns[..], &self.columns[1..], self.name);
        let set = |from: &str| -> String {
            let parts: Vec<String> = rest
                .iter()
                .map(|column| format!("{column} = {from}.{column}"))
                .collect();
            format!("{}, ingested_at = now()", parts.join(", "))
        };
        let columns = all.join(", ");
        let statement = match form {
            "conflict" => format!(
                "INSERT INTO {name} AS t ({columns}) SELECT {columns} FROM stage ON CONFLICT (id) DO UPDATE SET {} \
                 WHERE ({}) IS DISTINCT FROM ({})",
                set("excluded"),
                of("t", rest),
                of("excluded", rest)
            ),
            "filtered" => format!(
                "INSERT INTO {name} AS t ({columns}) SELECT {} FROM stage AS s LEFT JOIN {name} AS o ON o.id = s.id \
                 WHERE o.id IS NULL OR ({}) IS DISTINCT FROM ({}) ON CONFLICT (id) DO UPDATE SET {}",
                of("s", all),
                of("o", rest),
                of("s", rest),
                set("excluded")
            ),
            _ => format!(
                "MERGE INTO {name} AS t USING stage AS s ON t.id = s.id WHEN MATCHED AND ({}) IS DISTINCT FROM ({}) \
                 THEN UPDATE SET {} WHEN NOT MATCHED THEN INSERT ({columns}) VALUES ({})",
                of("t", rest),
                of("s", rest),
                set("s"),
                of("s", all)
            ),
        };
        self.timed(&statement).await
    }

    /// Deletes what the temporary table does not have: timed.
    pub(crate) async fn prune(&self) -> Result<Duration, Error> {
        let statement = format!(
            "DELETE FROM {} AS t WHERE NOT EXISTS (SELECT FROM stage AS s WHERE s.id = t.id)",
            self.name
        );
        self.timed(&statement).await
    }

    /// Empties it, then fills it from another table, if one is named; untimed.
    pub(crate) async fn reset(&self, from: Option<&str>) -> Result<(), Error> {
        let (name, columns) = (self.name, self.columns.join(", "));
        self.client
            .batch_execute(&format!("TRUNCATE {name}"))
            .await?;
        if let Some(from) = from {
            let fill = format!("INSERT INTO {name} ({columns}) SELECT {columns} FROM {from}");
            self.client.batch_execute(&fill).await?;
        }
        self.vacuum().await
    }

    /// As autovacuum would, before the next day's load.
    pub(crate) async fn vacuum(&self) -> Result<(), Error> {
        self.client
            .batch_execute(&format!("VACUUM ANALYZE {}", self.name))
            .await?;
        Ok(())
    }

    /// Leaves a tenth of the rows, under other ids, and keeps a copy in the table `others`.
    pub(crate) async fn leave_others(&self, rows: u64) -> Result<(), Error> {
        let make = format!(
            "CREATE TABLE others AS SELECT * FROM {} WHERE id <= {}; UPDATE others SET id = id + 1000000000",
            self.name,
            rows / 10
        );
        self.client.batch_execute(&make).await?;
        self.reset(Some("others")).await
    }
}
