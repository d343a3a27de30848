//! What the ids of the scope stand for, as the API shows it: one request a variable, where `[scope.lookup]` says which. Changes nothing.

use serde_json::Value;

use crate::api::{self, ApiError, BodyReader, InspectError};
use crate::config::ScopeLookup;
use crate::name::nearest;
use crate::report::counted;

/// Rows that one request can show.
const PAGE: usize = 100;
/// At most this many entries are listed with their names.
const FEW: usize = 12;
/// A longer name is cut.
const LONGEST_NAME: usize = 80;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: String,
    name: Option<String>,
    count: Option<u64>,
}

/// What one request showed.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    entries: Vec<Entry>,
    /// Whether there are no others.
    is_complete: bool,
}

/// Asks for the first page of the endpoint: one request.
pub(crate) async fn list(client: &api::Client, lookup: &ScopeLookup) -> Result<Listing, ApiError> {
    let request = api::Request {
        path: lookup.path.clone(),
        query: vec![("page[size]".to_owned(), PAGE.to_string())],
        ..api::Request::default()
    };
    let of = lookup.clone();
    let inspect = move |body: &mut BodyReader<'_>| entries(body, &of);
    let answer = client.page(&request, inspect).await?;
    let entries = answer.inspected;
    let shown = entries.len() as u64;
    let is_complete = match answer.total {
        Some(total) => total <= shown,
        None => answer.has_next != Some(true) && entries.len() < PAGE,
    };
    Ok(Listing {
        entries,
        is_complete,
    })
}

fn entries(body: &mut BodyReader<'_>, lookup: &ScopeLookup) -> Result<Vec<Entry>, InspectError> {
    let records: Vec<Value> = serde_json::from_reader(body)
        .map_err(|_| InspectError::NoPage("is no list of records".to_owned()))?;
    Ok((records.iter())
        .filter_map(|record| entry(record, lookup))
        .collect())
}

fn entry(record: &Value, lookup: &ScopeLookup) -> Option<Entry> {
    let text = |pointer: &str| match record.pointer(pointer)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let name = lookup.name.as_deref().and_then(text);
    Some(Entry {
        id: text(&lookup.id)?,
        name: name.map(|name| name.chars().take(LONGEST_NAME).collect()),
        count: (lookup.count.as_ref()).and_then(|(pointer, _)| record.pointer(pointer)?.as_u64()),
    })
}

impl Listing {
    pub(crate) fn find(&self, id: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.id == id)
    }

    /// The entry that a person means by an id or a name, whatever its case; or what to say of it.
    pub(crate) fn meant(&self, text: &str, lookup: &ScopeLookup) -> Result<&Entry, String> {
        if let Some(entry) = self.find(text) {
            return Ok(entry);
        }
        let wanted = text.to_lowercase();
        let name = |entry: &&Entry| entry.name.as_ref().map(|name| name.to_lowercase());
        let is_named = |entry: &&Entry| name(entry).as_ref() == Some(&wanted);
        let begins = |entry: &&Entry| name(entry).is_some_and(|name| name.starts_with(&wanted));
        let named: Vec<&Entry> = self.entries.iter().filter(is_named).collect();
        let begun: Vec<&Entry> = self.entries.iter().filter(begins).collect();
        match (&named[..], &begun[..]) {
            ([one], _) | ([], [one]) => Ok(one),
            ([], []) => Err(self.refusal(text, lookup)),
            ([], several) | (several, _) => Err(format!(
                "several are called `{text}`: {}; give the id",
                several
                    .iter()
                    .take(FEW)
                    .map(|entry| entry.sentence(lookup))
                    .collect::<Vec<_>>()
                    .join("; ")
            )),
        }
    }

    /// The sum of the numbers of these entries; `None` without ids, or where one has no number.
    pub(crate) fn count_of(&self, ids: &[String]) -> Option<u64> {
        let counts = ids.iter().map(|id| self.find(id)?.count);
        counts.sum::<Option<u64>>().filter(|_| !ids.is_empty())
    }

    /// Whether it is certain that there is no such id.
    pub(crate) fn denies(&self, id: &str) -> bool {
        self.is_complete && self.find(id).is_none()
    }

    /// What to say of an id or a name that is not in it.
    pub(crate) fn refusal(&self, text: &str, lookup: &ScopeLookup) -> String {
        let noun = &lookup.noun;
        let shown = self.entries.len();
        if !self.is_complete {
            return format!(
                "{noun} {text} is not among the first {shown} of {}, and more than one request is not spent on it; check it on the \
                 intranet",
                lookup.path
            );
        }
        let names = self
            .entries
            .iter()
            .filter_map(|entry| entry.name.as_deref());
        let near = nearest(text, names).and_then(|near| {
            let entry = (self.entries.iter()).find(|entry| entry.name.as_deref() == Some(near))?;
            Some(format!("; did you mean {}?", entry.sentence(lookup)))
        });
        let there_are = if shown == 0 {
            "; the API shows none at all".to_owned()
        } else {
            let mut entries: Vec<&Entry> = self.entries.iter().collect();
            entries.sort_by_key(|entry| (entry.id.parse::<u64>().ok(), entry.id.clone()));
            let one = |entry: &&Entry| match &entry.name {
                Some(name) if shown <= FEW => format!("{} ({name})", entry.id),
                _ => entry.id.clone(),
            };
            let all: Vec<String> = entries.iter().map(one).collect();
            format!("; there are: {}", all.join(", "))
        };
        format!(
            "there is no {noun} {text} in {}{}",
            lookup.path,
            near.unwrap_or(there_are)
        )
    }
}

impl Entry {
    /// Such as `campus 9 = Lyon, 743 students`.
    pub(crate) fn sentence(&self, lookup: &ScopeLookup) -> String {
        let name = self.name.as_deref().unwrap_or("without a name");
        let count = (lookup.count.as_ref().zip(self.count))
            .map(|((_, noun), count)| format!(", {}", counted(count, noun)));
        format!(
            "{} {} = {name}{}",
            lookup.noun,
            self.id,
            count.unwrap_or_default()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup() -> ScopeLookup {
        ScopeLookup {
            noun: "campus".to_owned(),
            path: "/v2/campus".to_owned(),
            id: "/id".to_owned(),
            name: Some("/name".to_owned()),
            count: Some(("/users_count".to_owned(), "student".to_owned())),
            notice: None,
        }
    }

    fn listing(is_complete: bool) -> Listing {
        let records = serde_json::json!([
            {"id": 9, "name": "Lyon", "users_count": 743},
            {"id": 1, "name": "Paris", "users_count": 1},
            {"id": "12", "name": "Parma"},
            {"id": 13, "name": "Lyon Sud"},
            {"id": null, "name": "Nowhere"},
            "no record",
        ]);
        let records = records.as_array().unwrap();
        Listing {
            entries: (records.iter())
                .filter_map(|record| entry(record, &lookup()))
                .collect(),
            is_complete,
        }
    }

    #[test]
    fn an_id_or_a_name_finds_its_entry_and_nothing_else() {
        let (listing, lookup) = (listing(true), lookup());
        let said = |text: &str| {
            let meant = listing.meant(text, &lookup);
            meant.map_or_else(|refusal| refusal, |entry| entry.sentence(&lookup))
        };
        assert_eq!(said("9"), "campus 9 = Lyon, 743 students");
        assert_eq!(said("LYON"), "campus 9 = Lyon, 743 students");
        assert_eq!(said("paris"), "campus 1 = Paris, 1 student");
        assert_eq!(said("12"), "campus 12 = Parma");
        assert_eq!(
            said("par"),
            "several are called `par`: campus 1 = Paris, 1 student; campus 12 = Parma; give the id"
        );
        assert_eq!(
            said("Pariss"),
            "there is no campus Pariss in /v2/campus; did you mean campus 1 = Paris, 1 student?"
        );
        assert_eq!(
            said("99"),
            "there is no campus 99 in /v2/campus; there are: 1 (Paris), 9 (Lyon), 12 (Parma), 13 (Lyon Sud)"
        );
    }

    #[test]
    fn what_one_page_does_not_show_is_not_denied() {
        assert!(listing(true).denies("99") && !listing(true).denies("9"));
        assert!(!listing(false).denies("99"));
        assert!(listing(false).meant("99", &lookup()).is_err());
    }
}
