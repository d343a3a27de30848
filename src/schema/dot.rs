//! The format `dot`: an entity diagram for Graphviz, with keys and references only. Classes name what a style sheet can colour.

use std::fmt::Write as _;

use super::model::{Column, Model, Table};
use super::names::one_line;

/// Writes the model.
pub(crate) fn write(model: &Model) -> String {
    let mut text = "\
digraph schema {
  graph [rankdir=RL, nodesep=0.25, ranksep=0.9, splines=spline, bgcolor=transparent, fontname=\"Helvetica\"]
  node [shape=plain, fontname=\"Helvetica\", fontsize=11]
  edge [arrowsize=0.7, color=\"#57606a\"]
"
    .to_owned();
    for (at, table) in model.tables.iter().enumerate() {
        let _ = writeln!(
            text,
            "  t{at} [class=\"table\", label=<{}>]",
            label(model, table)
        );
    }
    for (at, table) in model.tables.iter().enumerate() {
        for reference in &table.references {
            let to = model
                .tables
                .iter()
                .position(|one| one.schema == reference.schema && one.name == reference.table);
            let port = |table: &Table, names: &[String]| {
                let is_first = |column: &Column| Some(&column.name) == names.first();
                table.columns.iter().position(is_first)
            };
            let (Some(to), Some(from)) = (to, port(table, &reference.columns)) else {
                continue;
            };
            let Some(target) = port(&model.tables[to], &reference.referenced_columns) else {
                continue;
            };
            let style = if reference.foreign_key.is_some() {
                "class=\"key\""
            } else {
                "class=\"soft\", style=dashed"
            };
            let _ = writeln!(text, "  t{at}:c{from} -> t{to}:c{target} [{style}]");
        }
    }
    text.push_str("}\n");
    text
}

fn label(model: &Model, table: &Table) -> String {
    let mut label = format!(
        "<table border=\"0\" cellborder=\"1\" cellspacing=\"0\" cellpadding=\"4\" color=\"#57606a\"><tr><td bgcolor=\"#ddf4ff\" \
         align=\"left\"><b>{}</b></td></tr>",
        escaped(&model.shown(&table.schema, &table.name))
    );
    for (at, column) in table.columns.iter().enumerate() {
        let is_key = table.primary_key.contains(&column.name);
        let refers = table
            .references
            .iter()
            .any(|one| one.columns.contains(&column.name));
        let is_target = model
            .tables
            .iter()
            .flat_map(|one| &one.references)
            .any(|one| {
                one.schema == table.schema
                    && one.table == table.name
                    && one.referenced_columns.contains(&column.name)
            });
        if is_key || refers || is_target {
            let name = escaped(&column.name);
            let name = if is_key {
                format!("<u>{name}</u>")
            } else {
                name
            };
            let _ = write!(
                label,
                "<tr><td port=\"c{at}\" bgcolor=\"#ffffff\" align=\"left\">{name}</td></tr>"
            );
        }
    }
    label.push_str("</table>");
    label
}

fn escaped(text: &str) -> String {
    let text = one_line(text);
    let text = if text.is_empty() {
        " ".to_owned()
    } else {
        text
    };
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
