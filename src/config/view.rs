//! Files of views: a header of comment lines, which says what the view shows, and indented lines `column: meaning` in it; and one
//! SELECT.

use std::collections::BTreeSet;
use std::path::Path;

use super::pack::Pack;
use super::reader::Problems;
use super::table::Table;
use crate::database::trust;
use crate::embedded_files;
use crate::name::Name;
use crate::pack_files::View;

/// The folder of the views of `pipeline.toml`.
pub(super) const FOLDER: &str = "sql/views";

/// The views of `pipeline.toml`, and of packs that are on, each after those that it reads.
pub(super) fn read(
    problems: &Problems<'_>,
    packs: &[(&Problems<'_>, &Pack)],
    tables: &[Table],
    config: Option<&Path>,
) -> Vec<View> {
    let mut views: Vec<View> = Vec::new();
    let mut add =
        |problems: &Problems<'_>, pack: Option<&Pack>, file: &str, shown: String, text: &str| {
            let of_pack = pack.map(|pack| pack.name.clone());
            match parse(file, text) {
                Ok(Parsed {
                    name,
                    comment,
                    columns,
                    sql,
                }) => {
                    let taken = if tables.iter().any(|table| table.name == name) {
                        Some(format!("a [[table]] is called {name}"))
                    } else {
                        let other = views.iter().find(|other| other.name == name);
                        other.map(|other| format!("{} is a view of this name", other.file))
                    };
                    if let Some(taken) = taken {
                        problems.add(
                            0,
                            &shown,
                            format_args!("{taken}; give the file another name"),
                        );
                        return;
                    }
                    views.push(View {
                        name,
                        comment,
                        columns,
                        sql,
                        file: shown,
                        pack: of_pack,
                    });
                }
                Err(fault) => problems.add(0, &shown, fault),
            }
        };
    for view in embedded_files::sql_folder(FOLDER, config) {
        let file = view.file.rsplit('/').next().unwrap_or_default();
        match &view.text {
            Ok(text) => add(problems, None, file, view.file.clone(), text),
            Err(fault) => problems.add(0, &view.file, fault),
        }
    }
    for (problems, pack) in packs {
        for (file, text) in pack.files.in_folder("views") {
            let shown = format!("packs/{}/views/{file}", pack.name);
            match text {
                Ok(text) => add(problems, Some(pack), file, shown, text),
                Err(fault) => problems.add(0, &shown, fault),
            }
        }
    }
    sort(views)
}

/// What a file of a view holds.
struct Parsed {
    name: Name,
    comment: String,
    columns: Vec<(Name, String)>,
    sql: String,
}

/// `column: meaning`, of a line of the header that is indented by two blanks or more.
fn column(line: &str) -> Option<(Name, String)> {
    let text = line.trim().trim_start_matches('-');
    let (name, meaning) = text.strip_prefix("  ")?.trim().split_once(": ")?;
    Some((Name::parse(name).ok()?, meaning.trim().to_owned()))
}

fn parse(file: &str, text: &str) -> Result<Parsed, String> {
    let stem = file
        .strip_suffix(".sql")
        .ok_or("a view is a file such as x.sql; move this one elsewhere")?;
    let name =
        Name::parse(stem).map_err(|error| format!("a view is called by its file, and {error}"))?;
    let is_header = |line: &&str| line.trim_start().starts_with("--") || line.trim().is_empty();
    let header = text.lines().take_while(is_header);
    let columns: Vec<(Name, String)> = header.clone().filter_map(column).collect();
    let comment: Vec<&str> = header
        .filter(|line| column(line).is_none())
        .map(|line| line.trim().trim_start_matches('-').trim())
        .filter(|line| !line.is_empty())
        .collect();
    if comment.is_empty() {
        return Err(
            "the file begins with a comment (`-- …`) that says what the view shows; write one"
                .to_owned(),
        );
    }
    let body: Vec<&str> = text.lines().skip_while(is_header).collect();
    let sql = body
        .join("\n")
        .trim()
        .trim_end_matches(';')
        .trim_end()
        .to_owned();
    let first = sql
        .split(|c: char| !c.is_ascii_alphabetic())
        .next()
        .unwrap_or_default();
    if !["select", "with"].contains(&first.to_ascii_lowercase().as_str()) {
        return Err(
            "a view is one SELECT after its comment, without CREATE VIEW before it".to_owned(),
        );
    }
    Ok(Parsed {
        name,
        comment: comment.join(" "),
        columns,
        sql,
    })
}

/// Each after those whose names are in it; of those that wait for each other the first in the order of files.
fn sort(views: Vec<View>) -> Vec<View> {
    let names: BTreeSet<Name> = views.iter().map(|view| view.name.clone()).collect();
    let reads = |view: &View| -> BTreeSet<Name> {
        let read = trust::words(&view.sql).filter_map(|word| names.get(word.as_str()));
        read.filter(|name| **name != view.name).cloned().collect()
    };
    let mut waiting: Vec<(BTreeSet<Name>, View)> =
        views.into_iter().map(|view| (reads(&view), view)).collect();
    let mut sorted: Vec<View> = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let ready = waiting.iter().position(|(reads, _)| reads.is_empty());
        let (_, next) = waiting.remove(ready.unwrap_or(0));
        for (reads, _) in &mut waiting {
            reads.remove(&next.name);
        }
        sorted.push(next);
    }
    sorted
}
