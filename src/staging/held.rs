//! What staged pages hold of a person.

use serde_json::value::RawValue;

use super::error::{EXTRACT_AGAIN, StagingError};
use super::rewrite::{FoundPage, read_file};
use super::run::Run;
use crate::name::Name;
use crate::person::{Appearance, People};

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
        let mut records = Vec::new();
        let mut add = |seen: Appearance<'_>| {
            let value = if seen.at.tokens().is_empty() {
                let only = format!("[{}]", seen.text);
                let others = people.blank(resource, &only, &mut |other| other != id);
                let blank = others
                    .ok()
                    .flatten()
                    .and_then(|blank| String::from_utf8(blank).ok());
                let text = blank.unwrap_or(only);
                text[1..text.len() - 1].to_owned()
            } else {
                seen.held.to_owned()
            };
            records.extend(RawValue::from_string(value).ok().map(|value| HeldRecord {
                run: page.run.clone(),
                resource: resource.clone(),
                file: page.file.clone(),
                record: seen.record,
                at: seen.at.to_string(),
                value,
            }));
        };
        people
            .look(resource, text, &mut |one| one == id, &mut add)
            .map_err(|_| broken("it is not a JSON array of records"))?;
        Ok(records)
    }
}
