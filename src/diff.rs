//! What differs between two schemas, table by table: counts, columns, and samples. Reads only; knows nothing of runs.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::value::RawValue;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{GenericClient, Row};

use crate::database::catalogue::{self, TableShape};
use crate::database::{DatabaseError, Literal, Quoted};
use crate::key_arg::Key;
use crate::migrate::is_history;
use crate::printable;

/// The column that says when a row was loaded, which differs from load to load.
const INGESTED_AT: &str = "ingested_at";

#[derive(Clone, Debug, Default)]
pub(crate) struct Choice {
    /// Only these tables; empty means all.
    pub(crate) tables: Vec<String>,
    /// Only the row with this key, in tables whose key has these columns.
    pub(crate) key: Option<Key>,
    /// Samples of each kind and table.
    pub(crate) limit: u32,
    /// Samples show values, not only the names of columns.
    pub(crate) show_values: bool,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Diff {
    pub(crate) tables: Vec<TableDiff>,
    pub(crate) only_in_a: Vec<String>,
    pub(crate) only_in_b: Vec<String>,
    /// Tables without a key that identifies rows, or without the columns of `--key`.
    pub(crate) not_compared: Vec<String>,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct TableDiff {
    pub(crate) table: String,
    pub(crate) key: Vec<String>,
    /// Rows that only the second has.
    pub(crate) added: u64,
    /// Rows that only the first has.
    pub(crate) removed: u64,
    /// Rows that both have, and that differ.
    pub(crate) changed: u64,
    /// In how many of them each column differs, if in any.
    pub(crate) columns: BTreeMap<String, u64>,
    /// Columns that only the first has: not compared.
    pub(crate) columns_only_in_a: Vec<String>,
    /// Columns that only the second has: not compared.
    pub(crate) columns_only_in_b: Vec<String>,
    pub(crate) samples: Vec<Sample>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Added,
    Removed,
    Changed,
}

/// Columns and what they hold, as the server writes it: no number is rounded, and nothing is too deep.
pub(crate) type Values = BTreeMap<String, Box<RawValue>>;

#[derive(Clone, Debug, Serialize)]
pub(crate) struct Sample {
    pub(crate) kind: Kind,
    pub(crate) key: Values,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) columns: Vec<String>,
    /// What they held, or the whole row; only if values were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) before: Option<Values>,
    /// What they hold now, or the whole row; only if values were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) after: Option<Values>,
}

impl TableDiff {
    pub(crate) fn rows(&self) -> u64 {
        self.added + self.removed + self.changed
    }
}

/// The tables of a schema that hold data.
pub(crate) async fn tables(
    client: &impl GenericClient,
    schema: &str,
) -> Result<BTreeSet<String>, DatabaseError> {
    let names = catalogue::table_names(client, schema).await?;
    let is_data = |name: &String| !is_history(name);
    Ok(names.into_iter().filter(is_data).collect())
}

/// Compares two schemas; `keys` has the columns that identify rows where that is not the primary key.
pub(crate) async fn compare(
    client: &impl GenericClient,
    schemas: (&str, &str),
    keys: &BTreeMap<String, Vec<String>>,
    choice: &Choice,
) -> Result<Diff, DatabaseError> {
    let (a, b) = schemas;
    let (in_a, in_b) = (tables(client, a).await?, tables(client, b).await?);
    let is_chosen =
        |name: &&String| choice.tables.is_empty() || choice.tables.iter().any(|one| one == *name);
    let chosen = |names: &BTreeSet<String>, others: &BTreeSet<String>| -> Vec<String> {
        let names = names.difference(others).filter(is_chosen);
        names.cloned().collect()
    };
    let mut diff = Diff {
        only_in_a: chosen(&in_a, &in_b),
        only_in_b: chosen(&in_b, &in_a),
        ..Diff::default()
    };
    let both: Vec<&str> = (in_a.intersection(&in_b).filter(is_chosen))
        .map(String::as_str)
        .collect();
    let shapes_a = catalogue::tables(client, a, &both).await?;
    let shapes_b = catalogue::tables(client, b, &both).await?;
    for (shape_a, shape_b) in shapes_a.into_iter().zip(shapes_b) {
        let (Some(a), Some(b)) = (shape_a, shape_b) else {
            continue;
        };
        let key = keys.get(&a.name).unwrap_or(&a.primary_key);
        let has_key = |shape: &TableShape| key.iter().all(|name| shape.column(name).is_some());
        let wanted = choice.key.as_ref().map(|wanted| wanted.of(key));
        if key.is_empty() || !has_key(&a) || !has_key(&b) || wanted == Some(None) {
            diff.not_compared.push(a.name);
            continue;
        }
        let pair = Pair::new(&a, &b, key, wanted.flatten());
        diff.tables.push(pair.compare(client, choice).await?);
    }
    Ok(diff)
}

struct Pair<'t> {
    a: &'t TableShape,
    b: &'t TableShape,
    key: &'t [String],
    wanted: Option<Vec<&'t str>>,
    /// The columns that are compared, and SQL for "it differs".
    columns: Vec<(&'t str, String)>,
}

impl<'t> Pair<'t> {
    fn new(
        a: &'t TableShape,
        b: &'t TableShape,
        key: &'t [String],
        wanted: Option<Vec<&'t str>>,
    ) -> Self {
        let columns = a
            .columns
            .iter()
            .filter(|column| column.name != INGESTED_AT && !key.contains(&column.name))
            .filter_map(|column| {
                let cast = cast(&column.r#type, &b.column(&column.name)?.r#type);
                let name = Quoted(&column.name);
                let differs = format!("a.{name}{cast} IS DISTINCT FROM b.{name}{cast}");
                Some((column.name.as_str(), differs))
            });
        Self {
            a,
            b,
            key,
            wanted,
            columns: columns.collect(),
        }
    }

    /// Both tables, joined by the key.
    fn from(&self) -> String {
        let on: Vec<String> = (self.key.iter())
            .map(|name| {
                let types = (self.a.column(name), self.b.column(name));
                let cast = match types {
                    (Some(a), Some(b)) => cast(&a.r#type, &b.r#type),
                    _ => "",
                };
                let name = Quoted(name);
                format!("a.{name}{cast} = b.{name}{cast}")
            })
            .collect();
        let side = |shape: &TableShape, alias: &str| {
            let mut text = format!(
                "(SELECT tableoid AS cursus_oid, * FROM {}.{}",
                Quoted(&shape.schema),
                Quoted(&shape.name)
            );
            if self.wanted.is_some() {
                let wanted = (self.key.iter().enumerate())
                    .map(|(at, name)| format!("{}::text = ${}", Quoted(name), at + 1));
                text.push_str(" WHERE ");
                text.push_str(&wanted.collect::<Vec<_>>().join(" AND "));
            }
            format!("{text}) AS {alias}")
        };
        format!(
            "FROM {} FULL JOIN {} ON {}",
            side(self.a, "a"),
            side(self.b, "b"),
            on.join(" AND ")
        )
    }

    async fn ask(
        &self,
        client: &impl GenericClient,
        statement: &str,
    ) -> Result<Vec<Row>, DatabaseError> {
        let wanted = self.wanted.iter().flatten();
        let parameters: Vec<(&(dyn ToSql + Sync), Type)> = wanted
            .map(|value| (value as &(dyn ToSql + Sync), Type::TEXT))
            .collect();
        Ok(client.query_typed(statement, &parameters).await?)
    }

    fn differs(&self) -> String {
        let columns: Vec<&str> = self.columns.iter().map(|(_, sql)| sql.as_str()).collect();
        if columns.is_empty() {
            "false".to_owned()
        } else {
            format!("({})", columns.join(" OR "))
        }
    }

    async fn compare(
        &self,
        client: &impl GenericClient,
        choice: &Choice,
    ) -> Result<TableDiff, DatabaseError> {
        let both = "a.cursus_oid IS NOT NULL AND b.cursus_oid IS NOT NULL";
        let mut counts = vec![
            "count(*) FILTER (WHERE a.cursus_oid IS NULL)".to_owned(),
            "count(*) FILTER (WHERE b.cursus_oid IS NULL)".to_owned(),
            format!("count(*) FILTER (WHERE {both} AND {})", self.differs()),
        ];
        counts.extend(
            (self.columns.iter())
                .map(|(_, differs)| format!("count(*) FILTER (WHERE {both} AND {differs})")),
        );
        let statement = format!("SELECT ARRAY[{}] {}", counts.join(", "), self.from());
        let rows = self.ask(client, &statement).await?;
        let counts: Vec<i64> = rows.first().map(|row| row.get(0)).unwrap_or_default();
        let mut counts = counts
            .into_iter()
            .map(|count| u64::try_from(count).unwrap_or(0));
        let mut next = || counts.next().unwrap_or(0);
        let (added, removed, changed) = (next(), next(), next());
        let names = self.columns.iter().map(|(name, _)| (*name).to_owned());
        let columns = names.map(|name| (name, next()));
        let columns = columns.filter(|(_, count)| *count > 0).collect();
        let only = |of: &TableShape, other: &TableShape| -> Vec<String> {
            let names = of.columns.iter().map(|column| &column.name);
            names
                .filter(|name| other.column(name).is_none())
                .cloned()
                .collect()
        };
        let mut samples = Vec::new();
        for (kind, count) in [
            (Kind::Added, added),
            (Kind::Removed, removed),
            (Kind::Changed, changed),
        ] {
            if count > 0 && choice.limit > 0 {
                samples.extend(self.samples(client, kind, choice).await?);
            }
        }
        Ok(TableDiff {
            table: self.a.name.clone(),
            key: self.key.to_vec(),
            added,
            removed,
            changed,
            columns,
            columns_only_in_a: only(self.a, self.b),
            columns_only_in_b: only(self.b, self.a),
            samples,
        })
    }

    async fn samples(
        &self,
        client: &impl GenericClient,
        kind: Kind,
        choice: &Choice,
    ) -> Result<Vec<Sample>, DatabaseError> {
        let side = if kind == Kind::Added { "b" } else { "a" };
        let of = |name: &String| format!("{side}.{}", Quoted(name));
        let key: Vec<String> = (self.key.iter())
            .map(|name| format!("{}, {}", Literal(name), of(name)))
            .collect();
        let order: Vec<String> = self.key.iter().map(of).collect();
        let (which, names) = match kind {
            Kind::Added => ("a.cursus_oid IS NULL".to_owned(), "ARRAY[]::text[]".into()),
            Kind::Removed => ("b.cursus_oid IS NULL".to_owned(), "ARRAY[]::text[]".into()),
            Kind::Changed => {
                let names: Vec<String> = (self.columns.iter())
                    .map(|(name, differs)| {
                        format!("CASE WHEN {differs} THEN {} END", Literal(name))
                    })
                    .collect();
                let which = format!(
                    "a.cursus_oid IS NOT NULL AND b.cursus_oid IS NOT NULL AND {}",
                    self.differs()
                );
                let names = format!("array_remove(ARRAY[{}]::text[], NULL)", names.join(", "));
                (which, names)
            }
        };
        // Values that nobody asked for do not leave the server.
        let values = match (choice.show_values, kind) {
            (false, _) => "NULL::text, NULL::text",
            (true, Kind::Added) => "NULL::text, to_json(b)::text",
            (true, Kind::Removed) => "to_json(a)::text, NULL::text",
            (true, Kind::Changed) => "to_json(a)::text, to_json(b)::text",
        };
        let statement = format!(
            "SELECT json_build_object({})::text, {names}, {values} {} WHERE {which} ORDER BY {} LIMIT {}",
            key.join(", "),
            self.from(),
            order.join(", "),
            choice.limit
        );
        let rows = self.ask(client, &statement).await?;
        Ok(rows
            .iter()
            .map(|row| {
                let columns: Vec<String> = row.get(1);
                let values = |at: usize| {
                    let mut values = parsed(row.get(at))?;
                    values.retain(|name, _| match kind {
                        Kind::Changed => columns.contains(name),
                        Kind::Added | Kind::Removed => name != "cursus_oid",
                    });
                    Some(values)
                };
                Sample {
                    kind,
                    key: parsed(row.get(0)).unwrap_or_default(),
                    before: values(2),
                    after: values(3),
                    columns,
                }
            })
            .collect())
    }
}

/// The values of a row; a column of type json has the spaces and line ends of its writer.
fn parsed(text: Option<&str>) -> Option<Values> {
    serde_json::from_str(&printable::json(text?)).ok()
}

/// How columns of these types are made comparable.
fn cast(a: &Type, b: &Type) -> &'static str {
    match *a {
        Type::JSON if a == b => "::jsonb",
        Type::BOOL
        | Type::INT2
        | Type::INT4
        | Type::INT8
        | Type::FLOAT4
        | Type::FLOAT8
        | Type::NUMERIC
        | Type::TEXT
        | Type::VARCHAR
        | Type::TIMESTAMPTZ
        | Type::TIMESTAMP
        | Type::DATE
        | Type::JSONB
        | Type::UUID
        | Type::TEXT_ARRAY
        | Type::INT8_ARRAY
            if a == b =>
        {
            ""
        }
        // Not every type has an equality of its own, but every value has a text.
        _ => "::text",
    }
}
