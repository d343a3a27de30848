//! The format `markdown`: a chapter for each table and view, for people.

use std::fmt::Write as _;

use super::model::{Column, Model, Origin, Table};
use super::names::one_line;

/// Writes the model.
pub(crate) fn write(model: &Model) -> String {
    let mut text = String::new();
    for (at, schema) in model.schemas.iter().enumerate() {
        let heading = if at == 0 { "Tables" } else { "Load ledger" };
        let _ = writeln!(text, "## {heading}\n");
        let tables = || model.tables.iter().filter(|table| table.schema == *schema);
        text.push_str("| table | holds |\n|---|---|\n");
        for table in tables() {
            let name = code(&model.shown(schema, &table.name));
            let _ = writeln!(
                text,
                "| {name} | {} |",
                cell(table.comment.as_deref().unwrap_or(""))
            );
        }
        for table in tables() {
            write_table(model, table, &mut text);
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn write_table(model: &Model, table: &Table, text: &mut String) {
    let name = code(&model.shown(&table.schema, &table.name));
    let _ = writeln!(text, "\n### {name}\n");
    if let Some(comment) = &table.comment {
        let _ = writeln!(text, "{}\n", cell(comment));
    }
    let mut facts = Vec::new();
    if table.is_view() {
        facts.push("A view.".to_owned());
    }
    if let Some(pack) = &table.pack {
        facts.push(format!("Of the pack {}.", code(pack)));
    }
    if let Some(origin) = &table.origin {
        facts.push(origin_of(origin));
    }
    if !table.primary_key.is_empty() {
        facts.push(format!("Primary key: {}.", codes(&table.primary_key)));
    }
    let unique = table
        .unique
        .iter()
        .map(|columns| format!("Unique: {}.", codes(columns)));
    facts.extend(unique);
    let indexed = table
        .indexes
        .iter()
        .filter(|index| !index.unique && !index.columns.is_empty());
    let indexed: Vec<String> = indexed
        .map(|index| format!("({})", codes(&index.columns)))
        .collect();
    if !indexed.is_empty() {
        facts.push(format!("Indexed: {}.", indexed.join(", ")));
    }
    facts.extend(
        (table.checks.iter())
            .map(|check| format!("Check: {}.", code(&one_line(&check.expression)))),
    );
    let mut referrers: Vec<String> = (table.referenced_by.iter())
        .map(|one| {
            let columns: Vec<String> = one
                .columns
                .iter()
                .map(|column| {
                    code(&format!(
                        "{}.{column}",
                        model.shown(&one.schema, &one.table)
                    ))
                })
                .collect();
            let soft = if one.foreign_key.is_some() {
                ""
            } else {
                " (soft)"
            };
            format!("{}{soft}", columns.join(" + "))
        })
        .collect();
    referrers.sort();
    if !referrers.is_empty() {
        facts.push(format!("Referred to by {}.", referrers.join(", ")));
    }
    for fact in facts {
        let _ = writeln!(text, "- {fact}");
    }
    let has_origin = table.origin.is_some();
    let (head, line) = if has_origin {
        (" from |", "---|")
    } else {
        ("", "")
    };
    let _ = writeln!(
        text,
        "\n| column | type | null |{head} meaning |\n|---|---|---|{line}---|"
    );
    for column in &table.columns {
        let from = match &column.from {
            Some(from) if has_origin => format!(" {} |", origin_cell(from)),
            _ => String::new(),
        };
        let null = if column.nullable { "null" } else { "" };
        let _ = writeln!(
            text,
            "| {} | {} | {null} |{from} {} |",
            code(&column.name),
            cell(&short(&column.r#type)),
            meaning(model, table, column)
        );
    }
}

fn origin_of(origin: &Origin) -> String {
    let resource = code(&origin.resource);
    let mut text = match (&origin.select, &origin.rows) {
        (Some(select), _) => format!("Made by {} from the resource {resource}", code(select)),
        (None, Some(rows)) => format!("From the array {} of the resource {resource}", code(rows)),
        (None, None) => format!("From the resource {resource}"),
    };
    if !origin.also_from.is_empty() {
        let _ = write!(text, "; updated from {} too", codes(&origin.also_from));
    }
    text.push('.');
    text
}

fn origin_cell(from: &str) -> String {
    if from.contains(['/', '{']) {
        code(from)
    } else {
        cell(from)
    }
}

fn meaning(model: &Model, table: &Table, column: &Column) -> String {
    let mut parts: Vec<String> = column.comment.iter().map(|comment| cell(comment)).collect();
    for reference in table
        .references
        .iter()
        .filter(|one| one.columns.contains(&column.name))
    {
        let to = model.shown(&reference.schema, &reference.table);
        let target = code(&format!("{to}.{}", reference.referenced_columns.join(", ")));
        parts.push(match reference.foreign_key {
            Some(_) => format!("→ {target}"),
            None => format!("⇢ {target}"),
        });
    }
    if let Some(values) = column.values.as_ref().filter(|values| !values.is_empty()) {
        parts.push(format!("One of {}.", codes(values)));
    }
    if column.generated {
        parts.push("Given by the database.".to_owned());
    }
    parts.join(" ")
}

/// Types by their short names.
fn short(r#type: &str) -> String {
    r#type
        .replace("timestamp with time zone", "timestamptz")
        .replace("double precision", "float8")
        .replace("character varying", "varchar")
}

fn codes(names: &[String]) -> String {
    names
        .iter()
        .map(|name| code(name))
        .collect::<Vec<_>>()
        .join(", ")
}

/// A code span that ends where it should, also in the cell of a table.
fn code(text: &str) -> String {
    let text = one_line(text).replace('|', "\\|");
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let space = if text.starts_with('`') || text.ends_with('`') || text.is_empty() {
        " "
    } else {
        ""
    };
    format!("{fence}{space}{text}{space}{fence}")
}

/// Text of a cell: it begins no cell, link, tag or line of its own; code spans stay.
fn cell(text: &str) -> String {
    let text = one_line(text);
    let spans: Vec<&str> = text.split('`').collect();
    // An odd backtick would open a span that swallows what follows.
    if spans.len().is_multiple_of(2) {
        return plain(&text.replace('`', "'"));
    }
    let shown = spans.iter().enumerate().map(|(at, span)| {
        if at % 2 == 1 {
            format!("`{}`", span.replace('|', "\\|"))
        } else {
            plain(span)
        }
    });
    shown.collect()
}

fn plain(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '|' | '[' | ']' | '*' | '\\' => escaped.extend(['\\', c]),
            c => escaped.push(c),
        }
    }
    escaped
}
