//! The format `typescript`: rows as node-postgres returns them.

use std::fmt::Write as _;

use tokio_postgres::types::{Kind, Type};

use super::model::{Column, Model, Table};
use super::names::{Identifiers, identifier, one_line, quoted};

const HEAD: &str = "\
// Written by `cursus schema --format typescript`: the rows of each table and view as node-postgres (pg) returns them.
// bigint and numeric are strings, because a number of JavaScript does not hold all of them; timestamps and dates are Date objects; what
// JSON columns hold is parsed. A column that can be NULL is `| null`, also in views, where the database does not say that it cannot.

/** A value of a json or jsonb column. */
export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };

/** A value of an interval column: the parts that are not zero. */
export interface Interval {
  years?: number;
  months?: number;
  days?: number;
  hours?: number;
  minutes?: number;
  seconds?: number;
  milliseconds?: number;
}
";

/// Writes the model.
pub(crate) fn write(model: &Model) -> String {
    let mut text = HEAD.to_owned();
    let mut identifiers = Identifiers::default();
    for name in ["Json", "Interval", "Tables"] {
        identifiers.take(name);
    }
    let mut map = String::new();
    for table in &model.tables {
        let name = identifiers.take(&pascal(&table.name));
        text.push('\n');
        document(&mut text, "", &about(model, table));
        let _ = writeln!(text, "export interface {name} {{");
        for column in &table.columns {
            let mut lines: Vec<String> = column
                .comment
                .iter()
                .map(|comment| one_line(comment))
                .collect();
            let references = table
                .references
                .iter()
                .filter(|one| one.columns.contains(&column.name));
            lines.extend(references.map(|one| {
                let to = model.shown(&one.schema, &one.table);
                let soft = if one.foreign_key.is_some() {
                    ""
                } else {
                    " (can be missing)"
                };
                format!("Refers to {to}.{}{soft}", one.referenced_columns.join(", "))
            }));
            document(&mut text, "  ", &lines);
            let null = if column.nullable { " | null" } else { "" };
            let _ = writeln!(
                text,
                "  {}: {}{null};",
                property(&column.name),
                type_of(column)
            );
        }
        text.push_str("}\n");
        let shown = property(&model.shown(&table.schema, &table.name));
        let _ = writeln!(map, "  {shown}: {name};");
    }
    let _ = write!(
        text,
        "\n/** Row types by the name of their table or view. */\nexport interface Tables {{\n{map}}}\n"
    );
    text
}

fn about(model: &Model, table: &Table) -> Vec<String> {
    let mut lines: Vec<String> = table
        .comment
        .iter()
        .map(|comment| one_line(comment))
        .collect();
    if lines.is_empty() {
        lines.push(format!(
            "Rows of {}",
            one_line(&model.shown(&table.schema, &table.name))
        ));
    }
    lines
}

fn document(text: &mut String, indent: &str, lines: &[String]) {
    if !lines.is_empty() {
        let lines: Vec<String> = lines
            .iter()
            .map(|line| line.replace("*/", "*\\/"))
            .collect();
        let joined = lines.join(&format!("\n{indent} * "));
        let _ = writeln!(text, "{indent}/** {} */", without_stars(&joined));
    }
}

/// The end of a comment stays its end.
fn without_stars(text: &str) -> &str {
    text.trim_end_matches('*').trim_end()
}

fn property(name: &str) -> String {
    if identifier(name, "") == name {
        name.to_owned()
    } else {
        quoted(name)
    }
}

fn pascal(name: &str) -> String {
    let plain = identifier(name, "T");
    let words = plain.split('_').filter(|word| !word.is_empty());
    words
        .map(|word| {
            let (first, rest) = word.split_at(1);
            format!("{}{rest}", first.to_ascii_uppercase())
        })
        .collect()
}

fn type_of(column: &Column) -> String {
    if let Some(values) = &column.values {
        let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
        return if values.is_empty() {
            "never".to_owned()
        } else {
            values.join(" | ")
        };
    }
    match column.base.kind() {
        Kind::Array(element) => match array(element) {
            Some(element) => format!("({element} | null)[]"),
            None => "string".to_owned(),
        },
        _ => scalar(&column.base).to_owned(),
    }
}

fn scalar(r#type: &Type) -> &'static str {
    match *r#type {
        Type::BOOL => "boolean",
        Type::INT2 | Type::INT4 | Type::OID | Type::FLOAT4 | Type::FLOAT8 => "number",
        Type::DATE | Type::TIMESTAMP | Type::TIMESTAMPTZ => "Date",
        Type::JSON | Type::JSONB => "Json",
        Type::BYTEA => "Uint8Array",
        Type::INTERVAL => "Interval",
        Type::POINT => "{ x: number; y: number }",
        Type::CIRCLE => "{ x: number; y: number; radius: number }",
        _ => "string",
    }
}

/// The elements of an array that node-postgres parses; it leaves others as one text.
fn array(element: &Type) -> Option<&'static str> {
    match *element {
        Type::NUMERIC => Some("number"),
        Type::BOOL
        | Type::INT2
        | Type::INT4
        | Type::INT8
        | Type::OID
        | Type::FLOAT4
        | Type::FLOAT8
        | Type::DATE
        | Type::TIMESTAMP
        | Type::TIMESTAMPTZ
        | Type::JSON
        | Type::JSONB
        | Type::BYTEA
        | Type::INTERVAL
        | Type::POINT
        | Type::TEXT
        | Type::VARCHAR
        | Type::BPCHAR
        | Type::UUID
        | Type::INET
        | Type::CIDR
        | Type::MACADDR
        | Type::TIME
        | Type::TIMETZ => Some(scalar(element)),
        _ => None,
    }
}
