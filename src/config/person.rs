//! `[person]`, `[[person.place]]` and `[[person.table]]`: where people are in records, and in columns that SQL fills.

use super::names::Names;
use super::reader::{At, Section};
use crate::name::Name;
use crate::person::{
    Anonymised, DerivedTable, EACH, Own, People, PersonPlace, PersonTable, PersonalValues,
};
use crate::pointer::{InvalidPointer, Pointer};

/// Reads the section of each file; nothing of one that has none.
pub(super) fn read(roots: &[Section<'_>], resources: &Names, tables: &Names) -> People {
    let sections: Vec<Section<'_>> = roots
        .iter()
        .filter_map(|root| root.section("person"))
        .collect();
    let lists = sections.iter();
    let nobody_in: Vec<Name> = lists
        .flat_map(|section| resources.list(section, "nobody_in", None))
        .collect();
    let mut anonymised = None;
    let mut places = Vec::new();
    let (mut of_tables, mut derived) = (Vec::new(), Vec::new());
    for section in sections {
        // Only one can say how the API anonymises people.
        if section.pack().is_none() {
            let inside = section.section("anonymised");
            anonymised = inside.and_then(|section| read_anonymised(section, tables));
        }
        for mut block in section.blocks("place") {
            block.rename("[[person.place]]".to_owned());
            places.extend(read_place(block, resources, &nobody_in));
        }
        for mut block in section.blocks("table") {
            block.rename("[[person.table]]".to_owned());
            if block.has("derived") {
                derived.extend(read_derived(&block, tables));
                block.finish();
            } else {
                of_tables.extend(read_table(block, tables));
            }
        }
        section.finish();
    }
    People {
        places,
        nobody_in,
        anonymised,
        tables: of_tables,
        derived,
        ..People::default()
    }
}

/// A table that is in no `[[table]]`: the database knows whether it exists.
fn read_derived(section: &Section<'_>, tables: &Names) -> Option<DerivedTable> {
    let table = section.parsed("derived", section.text("derived"), Name::parse);
    if let Some(At { value, at }) = &table
        && tables.has(value)
    {
        let problem = format_args!(
            "`derived` names `{value}`, which is a [[table]] that loads fill; name it in `table`, and its personal columns in `fields`"
        );
        section.problem(*at, problem);
    }
    let id = section.required_text("id");
    Some(DerivedTable {
        table: table?.value,
        id: id?.value.to_owned(),
    })
}

/// The catalogue knows whether the columns exist.
fn read_table(section: Section<'_>, tables: &Names) -> Option<PersonTable> {
    // A known key.
    section.text("derived");
    let table = section
        .required_text("table")
        .and_then(|name| tables.find(&section, "table", &name));
    let id = section.required_text("id").map(|id| id.value.to_owned());
    let personal = section.texts("fields");
    if !section.has("fields") && !section.is_misspelt("fields") {
        section.problem(
            section.at(),
            "write which columns are personal: `fields`, be it []",
        );
    }
    section.finish();
    Some(PersonTable {
        table: table?,
        id: id?,
        personal: personal
            .into_iter()
            .map(|column| column.value.to_owned())
            .collect(),
    })
}

fn read_place(section: Section<'_>, resources: &Names, nobody_in: &[Name]) -> Option<PersonPlace> {
    let resource = section.required_text("resource").and_then(|name| {
        let resource = resources.find(&section, "resource", &name)?;
        if nobody_in.contains(&resource) {
            let problem = format_args!("`nobody_in` says that nobody is in `{resource}`");
            section.problem(name.at, problem);
        }
        Some(resource)
    });
    let pointer = |key, text| section.parsed(key, text, Pointer::parse);
    let at = if section.has("at") {
        pointer("at", section.text("at"))
    } else {
        section.text("at");
        Some(At {
            value: Pointer::to_record(),
            at: section.at(),
        })
    };
    let id = pointer("id", section.required_text("id"));
    if let Some(At { value, at }) = &id
        && value.tokens().is_empty()
    {
        section.problem(*at, "`id` is a pointer to the id, such as \"/id\"");
    }
    let only = section.has("fields").then(|| list(&section, "fields"));
    let kept = section.has("keep").then(|| list(&section, "keep"));
    let values = match (only, kept) {
        (Some(only), None) => Some(PersonalValues::Only(only)),
        (None, Some(kept)) => Some(PersonalValues::AllBut(kept)),
        (Some(_), Some(_)) => {
            section.problem(
                section.at(),
                "write `fields` (what is personal) or `keep` (what is not), not both",
            );
            None
        }
        (None, None) => {
            let misspelt = section.is_misspelt("fields") || section.is_misspelt("keep");
            // So that they are known keys.
            section.texts("fields");
            section.texts("keep");
            if !misspelt {
                section.problem(
                    section.at(),
                    "write which values are personal: `fields`, be it [], or `keep`, what is not",
                );
            }
            None
        }
    };
    let own = section.text("own").and_then(|At { value, at: place }| {
        let is_each = |token: &String| token == EACH;
        let (at, id) = (at.as_ref()?.value.tokens(), id.as_ref()?.value.tokens());
        let of_several = id.iter().any(is_each);
        let (own, problem) = match value {
            "record" if of_several || at.iter().any(is_each) => (
                None,
                "a record is one person's own: neither `at` nor `id` may have a `*`",
            ),
            "record" => (Some(Own::Record), ""),
            "entry" if of_several || !at.last().is_some_and(is_each) => (
                None,
                "an entry is an element of an array, and one person's: `at` must end with `*`, and `id` have none",
            ),
            "entry" => (Some(Own::Entry), ""),
            _ => (None, "it is \"record\" or \"entry\""),
        };
        if own.is_none() {
            section.problem(place, format_args!("`own`: {problem}"));
        }
        own
    });
    section.finish();
    Some(PersonPlace {
        resource: resource?,
        at: at?.value,
        id: id?.value,
        values: values?,
        own,
    })
}

/// A list of pointers into the place. An element of an array is no field: which one it is changes.
fn list(section: &Section<'_>, key: &'static str) -> Vec<Pointer> {
    let texts = section.texts(key).into_iter();
    let parsed = texts.filter_map(|text| {
        let parse = |text: &str| match Pointer::parse(text) {
            Ok(pointer) if pointer.tokens().is_empty() => Err(InvalidPointer::NoSlash.to_string()),
            Ok(pointer) => Ok(pointer),
            Err(error) => Err(error.to_string()),
        };
        section.parsed(key, Some(text), parse)
    });
    parsed.map(|pointer| pointer.value).collect()
}

fn read_anonymised(section: Section<'_>, tables: &Names) -> Option<Anonymised> {
    let place = section.required_text("column").and_then(|text| {
        let Some((table, column)) = text.value.split_once('.') else {
            section.problem(text.at, "`column` is written as \"table.column\"");
            return None;
        };
        let table = At {
            value: table,
            at: text.at,
        };
        Some((tables.find(&section, "column", &table)?, column.to_owned()))
    });
    let prefix = section.required_text("prefix");
    if let Some(At { value: "", at }) = prefix {
        section.problem(
            at,
            "`prefix` is a text with which everybody's begins: name one",
        );
    }
    section.finish();
    let (table, column) = place?;
    Some(Anonymised {
        table,
        column,
        prefix: prefix?.value.to_owned(),
    })
}
