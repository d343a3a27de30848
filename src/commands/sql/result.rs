//! What a statement gives: names, types and texts of its columns, as JSON or as CSV.

use std::collections::BTreeSet;

use tokio_postgres::types::{Kind, Type};
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::database::Quoted;
use crate::report::Table;

#[derive(Debug, Default)]
pub(in crate::commands) struct Rows {
    /// The names and types of the columns; none: the statement gives no rows.
    pub(in crate::commands) columns: Option<Vec<(String, Type)>>,
    pub(in crate::commands) rows: Vec<Vec<Option<String>>>,
}

impl Rows {
    /// Runs one statement. What is more than one is refused by the server, before it runs any.
    pub(in crate::commands) async fn of(
        client: &Client,
        statement: &str,
    ) -> Result<Self, tokio_postgres::Error> {
        let prepared = client.prepare(statement).await?;
        let mut result = Self::default();
        if !prepared.columns().is_empty() {
            let columns = prepared.columns().iter();
            let columns = columns.map(|column| (column.name().to_owned(), column.type_().clone()));
            result.columns = Some(columns.collect());
        }
        for message in client.simple_query(statement).await? {
            if let SimpleQueryMessage::Row(row) = message {
                let cells = (0..row.len()).map(|at| row.get(at).map(str::to_owned));
                result.rows.push(cells.collect());
            } else if let SimpleQueryMessage::RowDescription(names) = message
                && result.columns.is_none()
            {
                // What cannot be described in advance, such as FETCH of a cursor.
                let columns = names
                    .iter()
                    .map(|name| (name.name().to_owned(), Type::TEXT));
                result.columns = Some(columns.collect());
            }
        }
        Ok(result)
    }

    pub(in crate::commands) fn table(&self) -> Table {
        Table::of_values(&self.names(), self.rows.iter().map(|row| shown(row)))
    }

    pub(in crate::commands) fn names(&self) -> Vec<&str> {
        let columns = self.columns.iter().flatten();
        columns.map(|(name, _)| name.as_str()).collect()
    }

    /// An array of objects, as `row_to_json` writes them; names that come twice are numbered.
    pub(in crate::commands) async fn json(
        mut self,
        client: &Client,
    ) -> Result<String, tokio_postgres::Error> {
        let columns = self.columns.take().unwrap_or_default();
        for (at, (_, of)) in columns.iter().enumerate() {
            self.convert(client, at, of).await?;
        }
        let keys: Vec<String> = unique(&columns)
            .iter()
            .map(|name| serde_json::Value::from(name.as_str()).to_string())
            .collect();
        let objects = self.rows.iter().map(|row| {
            let fields = keys
                .iter()
                .zip(row)
                .map(|(key, value)| format!("{key}:{}", value.as_deref().unwrap_or("null")));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        });
        Ok(format!("[{}]", objects.collect::<Vec<_>>().join(",\n ")))
    }

    /// Turns the texts of a column into JSON.
    async fn convert(
        &mut self,
        client: &Client,
        at: usize,
        of: &Type,
    ) -> Result<(), tokio_postgres::Error> {
        let cells = self.rows.iter_mut().filter_map(|row| row.get_mut(at));
        if is_structured(of) {
            let mut cells: Vec<&mut Option<String>> = cells.collect();
            let texts: Vec<Option<&str>> = cells.iter().map(|cell| cell.as_deref()).collect();
            let query = format!(
                "SELECT pg_catalog.to_json(v::{}.{})::pg_catalog.text \
                 FROM pg_catalog.unnest($1::pg_catalog.text[]) WITH ORDINALITY AS u (v, n) ORDER BY n",
                Quoted(of.schema()),
                Quoted(of.name())
            );
            let parameters: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)] =
                &[(&texts, Type::TEXT_ARRAY)];
            let converted = client.query_typed(&query, parameters).await?;
            for (cell, row) in cells.iter_mut().zip(&converted) {
                **cell = row.get(0);
            }
            return Ok(());
        }
        for text in cells.flatten() {
            match *of {
                Type::JSON | Type::JSONB => {}
                Type::BOOL => if text == "t" { "true" } else { "false" }.clone_into(text),
                // `NaN` and `Infinity` are no numbers there.
                Type::INT2
                | Type::INT4
                | Type::INT8
                | Type::FLOAT4
                | Type::FLOAT8
                | Type::NUMERIC
                    if !text.contains(['N', 'I']) => {}
                _ => *text = serde_json::Value::from(text.as_str()).to_string(),
            }
        }
        Ok(())
    }
}

pub(in crate::commands) fn shown(row: &[Option<String>]) -> Vec<String> {
    row.iter()
        .map(|cell| cell.clone().unwrap_or_default())
        .collect()
}

/// Whether JSON has a form of its own for values of this type, which the server knows.
fn is_structured(of: &Type) -> bool {
    matches!(of.kind(), Kind::Array(_) | Kind::Composite(_))
        || matches!(*of, Type::TIMESTAMP | Type::TIMESTAMPTZ)
}

/// The names of columns, each once: `id`, `id_2`, `id_3`.
fn unique(columns: &[(String, Type)]) -> Vec<String> {
    let given: BTreeSet<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let mut names = Vec::new();
    for (name, _) in columns {
        let mut free = name.clone();
        let mut number = 2_u32;
        while taken.contains(&free) || free != *name && given.contains(free.as_str()) {
            free = format!("{name}_{number}");
            number += 1;
        }
        taken.insert(free.clone());
        names.push(free);
    }
    names
}

/// RFC 4180, but for the end of the line, which is not part of it; a NULL is an empty field, an empty text is quoted.
pub(in crate::commands) fn csv_line<'c>(row: impl IntoIterator<Item = Option<&'c str>>) -> String {
    let cells: Vec<String> = row
        .into_iter()
        .map(|cell| match cell {
            None => String::new(),
            Some(text) if text.is_empty() || text.contains([',', '"', '\n', '\r']) => {
                format!("\"{}\"", text.replace('"', "\"\""))
            }
            Some(text) => text.to_owned(),
        })
        .collect();
    cells.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_survives_what_people_write() {
        let row = [Some("a,\"b\"\n"), None, Some(""), Some("NULL")];
        assert_eq!(csv_line(row), "\"a,\"\"b\"\"\n\",,\"\",NULL");
    }

    #[test]
    fn no_name_comes_twice() {
        let of = |names: &[&str]| {
            let columns: Vec<_> = names
                .iter()
                .map(|name| ((*name).to_owned(), Type::TEXT))
                .collect();
            unique(&columns)
        };
        assert_eq!(of(&["id", "id", "id"]), ["id", "id_2", "id_3"]);
        assert_eq!(of(&["id", "id", "id_2"]), ["id", "id_3", "id_2"]);
        assert_eq!(of(&["id_2", "id", "id"]), ["id_2", "id", "id_3"]);
    }
}
