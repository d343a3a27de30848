//! The format `dbml` (dbml.dbdiagram.io). What its grammar cannot hold is replaced by spaces.

use std::fmt::Write as _;

use super::model::{Column, Model, Reference, Table};
use super::names::{Identifiers, one_line};

/// Writes the model.
pub(crate) fn write(model: &Model) -> String {
    let mut text = "// Written by `cursus schema --format dbml`. References without a foreign key are named soft_…: their target can be missing.\n"
        .to_owned();
    for one in model.enums.iter().filter(|one| !one.values.is_empty()) {
        let _ = writeln!(text, "\nEnum {}.{} {{", name(&one.schema), name(&one.name));
        for value in &one.values {
            let _ = writeln!(text, "  {}", name(value));
        }
        text.push_str("}\n");
    }
    for table in &model.tables {
        write_table(model, table, &mut text);
    }
    text.push('\n');
    for table in &model.tables {
        for (at, reference) in table.references.iter().enumerate() {
            if let Some(parent) = model.table(&reference.schema, &reference.table) {
                let reference = reference_of(model, (table, parent), at, reference);
                let _ = writeln!(text, "{reference}");
            }
        }
    }
    text
}

fn write_table(model: &Model, table: &Table, text: &mut String) {
    if table.columns.is_empty() {
        let _ = writeln!(text, "\n// {} has no columns.", one_line(&table.name));
        return;
    }
    let _ = writeln!(text, "\nTable {} {{", table_name(model, table));
    for column in &table.columns {
        let _ = writeln!(
            text,
            "  {} {}{}",
            column_name(table, &column.name),
            name(&column.r#type),
            settings(table, column)
        );
    }
    let mut lists = Vec::new();
    if table.primary_key.len() > 1 {
        lists.push(format!("({}) [pk]", columns(table, &table.primary_key)));
    }
    for index in table
        .indexes
        .iter()
        .filter(|index| !index.columns.is_empty())
    {
        let unique = if index.unique { "unique, " } else { "" };
        lists.push(format!(
            "({}) [{unique}name: {}]",
            columns(table, &index.columns),
            note(&index.name)
        ));
    }
    if !lists.is_empty() {
        let _ = writeln!(text, "\n  indexes {{\n    {}\n  }}", lists.join("\n    "));
    }
    if let Some(comment) = &table.comment {
        let _ = writeln!(text, "\n  Note: {}", note(comment));
    }
    text.push_str("}\n");
}

fn settings(table: &Table, column: &Column) -> String {
    let mut settings = Vec::new();
    let is_key = table.primary_key == [column.name.as_str()];
    if is_key {
        settings.push("pk".to_owned());
    } else if !column.nullable {
        settings.push("not null".to_owned());
    }
    match &column.default {
        Some(default) if !column.generated && !default.contains(['`', '\n']) => {
            settings.push(format!("default: `{}`", one_line(default)));
        }
        None if column.generated => settings.push("increment".to_owned()),
        _ => {}
    }
    if let Some(comment) = &column.comment {
        settings.push(format!("note: {}", note(comment)));
    }
    if settings.is_empty() {
        String::new()
    } else {
        format!(" [{}]", settings.join(", "))
    }
}

fn reference_of(
    model: &Model,
    (table, parent): (&Table, &Table),
    at: usize,
    reference: &Reference,
) -> String {
    let key = match &reference.foreign_key {
        Some(key) => key.clone(),
        None => format!("soft_{}_{at}", table.name),
    };
    format!(
        "Ref {}: {}.({}) > {}.({})",
        name(&key),
        table_name(model, table),
        columns(table, &reference.columns),
        table_name(model, parent),
        columns(parent, &reference.referenced_columns)
    )
}

fn columns(table: &Table, names: &[String]) -> String {
    let names = names.iter().map(|one| column_name(table, one));
    names.collect::<Vec<_>>().join(", ")
}

/// A name in double quotes, between which the grammar has no escape for them.
fn name(name: &str) -> String {
    format!("\"{}\"", plain(name))
}

fn plain(name: &str) -> String {
    one_line(name).replace('\\', "/").replace('"', "'")
}

/// A name among all of its kind: two that differ in what the grammar cannot hold still differ.
fn name_among<'n>(all: impl Iterator<Item = &'n str>, wanted: &str) -> String {
    let mut identifiers = Identifiers::default();
    let mut named = all.map(|one| (one, identifiers.take(&plain(one))));
    let found = named.find(|(one, _)| *one == wanted);
    format!(
        "\"{}\"",
        found.map_or_else(|| plain(wanted), |(_, name)| name)
    )
}

fn column_name(table: &Table, wanted: &str) -> String {
    let all = table.columns.iter().map(|column| column.name.as_str());
    name_among(all, wanted)
}

fn table_name(model: &Model, table: &Table) -> String {
    let all = model.tables.iter().filter(|one| one.schema == table.schema);
    let own = name_among(all.map(|one| one.name.as_str()), &table.name);
    format!("{}.{own}", name(&table.schema))
}

fn note(text: &str) -> String {
    let text = one_line(text).replace('\\', "\\\\").replace('\'', "\\'");
    format!("'{text}'")
}
