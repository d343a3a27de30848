//! `cursus stage verify`: prove the manifests of a run again from its files.

use crate::cli::Global;
use crate::config::Config;
use crate::exit::{Exit, Failure};
use crate::extract;
use crate::printable::line;
use crate::report::{Column, Table, grouped};
use crate::staging::Run;

/// Exit code 0 if every manifest is proven, even a `partial` one; 1 otherwise.
pub(super) fn verify(global: &Global, config: &Config, run: &Run) -> Result<Exit, Failure> {
    let verified = extract::verify(run, config)?;
    let holds = verified.iter().all(extract::Verification::holds);
    let exit = if holds { Exit::Done } else { Exit::Failed };
    if global.json {
        crate::commands::print_json(&verified);
        return Ok(exit);
    }
    let rows = verified.iter().map(|one| {
        let proven = match one.proven {
            Some(state) => state.to_string(),
            None if one.damaged => "damaged".to_owned(),
            None => "not checked".to_owned(),
        };
        vec![
            one.resource.to_string(),
            one.mode.to_string(),
            one.claimed.to_string(),
            proven,
            grouped(one.pages),
            grouped(one.rows),
        ]
    });
    let columns = [
        Column::fixed("resource"),
        Column::fixed("mode").rank(2),
        Column::fixed("claimed"),
        Column::fixed("proven"),
        Column::number("pages").rank(1),
        Column::number("rows").rank(1),
    ];
    crate::commands::print_table(&Table::new(columns, rows));
    for one in &verified {
        for note in &one.notes {
            crate::commands::print_line(&format!("{}: {}", one.resource, line(note)));
        }
    }
    Ok(exit)
}
