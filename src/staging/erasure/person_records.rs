//! What staged pages hold of a person.

use std::collections::BTreeSet;

use serde_json::value::RawValue;

use super::found::FoundPage;
use super::rewrite::read_file;
use crate::name::Name;
use crate::person::{Edit, Extent, People, apply};
use crate::staging::error::{EXTRACT_AGAIN, StagingError};
use crate::staging::run::Run;

/// A staged record of a person.
#[derive(Clone, Debug, serde::Serialize)]
pub(crate) struct HeldRecord {
    run: String,
    resource: Name,
    file: String,
    /// Place of the record in the page, from 0.
    record: u64,
    /// Where in the record the person is; empty: the record itself.
    at: String,
    /// What is there; other people are blank.
    value: Box<RawValue>,
}

impl HeldRecord {
    /// Where it is, in a line.
    pub(crate) fn place(&self) -> String {
        let (run, file, record, at) = (&self.run, &self.file, self.record, &self.at);
        format!(
            "{run} {file} record {record}{}{at}",
            if at.is_empty() { "" } else { ", " }
        )
    }

    pub(crate) fn text(&self) -> &str {
        self.value.get()
    }
}

impl Run {
    /// The records of a person in a page of the run.
    pub(crate) fn records_of(
        &self,
        people: &People,
        page: &FoundPage,
        id: &str,
    ) -> Result<Vec<HeldRecord>, StagingError> {
        let (path, mut body) = (self.directory().join(&page.file), Vec::new());
        read_file(&path, &mut body)?;
        let broken = |problem: &str| StagingError::broken(&path, problem, EXTRACT_AGAIN);
        let text = std::str::from_utf8(&body).map_err(|_| broken("it is not UTF-8 text"))?;
        let resource = &page.resource;
        let not_json = |_| broken("it is not a JSON array of records");
        let (mut theirs, mut seen) = (BTreeSet::new(), Vec::new());
        people
            .look(
                resource,
                text,
                &mut |one| (one == id).then_some(Extent::Values),
                &mut |one| {
                    theirs.extend(one.values.iter().map(|range| (range.start, range.end)));
                    seen.push((one.record, one.at.to_string(), one.held));
                },
            )
            .map_err(not_json)?;
        let mut others = Vec::new();
        people
            .look(
                resource,
                text,
                &mut |one| (one != id).then_some(Extent::Values),
                &mut |one| {
                    let values = one.values.into_iter();
                    others
                        .extend(values.filter(|range| !theirs.contains(&(range.start, range.end))));
                },
            )
            .map_err(not_json)?;
        let mut records = Vec::new();
        for (record, at, held) in seen {
            // Each is a part of the page.
            let start = held.as_ptr().addr() - text.as_ptr().addr();
            let inside = others
                .iter()
                .filter(|range| range.start >= start && range.end <= start + held.len());
            let inside = inside.map(|range| Edit::null(range.start - start..range.end - start));
            let blank = apply(held, inside.collect());
            let blank = blank.and_then(|blank| String::from_utf8(blank).ok());
            let value = RawValue::from_string(blank.unwrap_or_else(|| held.to_owned()));
            records.extend(value.ok().map(|value| HeldRecord {
                run: page.run.clone(),
                resource: resource.clone(),
                file: page.file.clone(),
                record,
                at,
                value,
            }));
        }
        Ok(records)
    }
}
