//! `/decisions`: what waits for a person, each with the command to type. Ids and reasons, no value of a record.

use maud::{Markup, html};

use super::{run_link, text};
use crate::convert::{counted, grouped};
use crate::load::{DriftEntry, HeldDeletes, QuarantineGroup};
use crate::serve::charts;
use crate::status::decisions::Decisions;
use crate::trusted::shell;

/// The main part of the page.
pub(crate) fn main(decisions: &Decisions) -> Markup {
    let Decisions {
        held,
        kept,
        quarantine,
        drift,
    } = decisions;
    html! {
        h1 { "Decisions" }
        @if held.is_empty() && kept.is_empty() && quarantine.is_empty() && drift.is_empty() {
            p class="lead is-ok" { "Nothing waits for a decision." }
        }
        @if !held.is_empty() { (deletes("held", "Held deletes", HELD, held)) }
        @if !kept.is_empty() { (deletes("kept", "Kept rows", KEPT, kept)) }
        @if !quarantine.is_empty() { (rejected(quarantine)) }
        @if !drift.is_empty() { (drifts(drift)) }
    }
}

const HELD: &str = "Rows that a complete read lacks. The prune limit holds the deletes until somebody has looked at them.";
const KEPT: &str = "Rows that the API no longer has. They stay while other rows refer to them; nothing needs to be done.";

fn deletes(id: &str, title: &str, about: &str, all: &[HeldDeletes]) -> Markup {
    html! {
        section class="decisions" aria-labelledby=(id) {
            h2 id=(id) { (title) }
            p { (about) }
            ul class="cards" {
                @for held in all {
                    li class="card" {
                        h3 { (counted(held.rows, "row")) " of " bdi { (charts::shown(&held.table)) } }
                        p { bdi { (text(&held.reasons.join("; "))) } }
                        @if !held.referred_by.is_empty() {
                            p { "Referred to by " bdi { (text(&held.referred_by.join(", "))) } "." }
                        }
                        p class="facts" { "run " (run_link(&held.run_id)) " · since " bdi { (charts::shown(&held.since)) } }
                        (command("Look at their keys", &["prune", "ls", &held.run_id]))
                        @if held.referred_by.is_empty() {
                            (command("Delete them", &["prune", "approve", &held.run_id, "--resource", &held.resource]))
                        }
                    }
                }
            }
        }
    }
}

fn rejected(groups: &[QuarantineGroup]) -> Markup {
    html! {
        section class="decisions" aria-labelledby="quarantine" {
            h2 id="quarantine" { "Quarantine" }
            p { "Rows that the mirror cannot take. A row whose parent is missing leaves by itself when that comes." }
            ul class="cards" {
                @for group in groups {
                    li class="card" {
                        h3 {
                            (grouped(group.rows)) @if group.rows == 1 { " row of " } @else { " rows of " }
                            bdi { (charts::shown(&group.table)) }
                            @if let Some(column) = &group.column { "." bdi { (charts::shown(column)) } }
                        }
                        p { bdi { (text(&group.reason)) } }
                        p class="facts" { "since " bdi { (charts::shown(&group.since)) } }
                        (command("Look at the first", &["quarantine", "show", &group.first.to_string()]))
                        (command("Try again", &["quarantine", "retry", "--table", &group.table]))
                    }
                }
            }
        }
    }
}

fn drifts(drifts: &[DriftEntry]) -> Markup {
    html! {
        section class="decisions" aria-labelledby="drift" {
            h2 id="drift" { "Schema drift" }
            p { "Changes in the shape of the API's records, newest first. Mapped fields are in " code { "pipeline.toml" } "." }
            div class="scroll" tabindex="0" role="region" aria-labelledby="drift" {
                table {
                    thead { tr {
                        th scope="col" { "Resource" } th scope="col" { "Field" } th scope="col" { "Change" }
                        th scope="col" { "First seen in" } th scope="col" { "Since" }
                    } }
                    tbody {
                        @for drift in drifts {
                            tr {
                                th scope="row" { bdi { (charts::shown(&drift.resource)) } }
                                td { code { bdi { (charts::shown(&drift.path)) } } }
                                td {
                                    @match drift.kind.as_str() {
                                        "new" => "is new",
                                        "type" => "has values of another type",
                                        _ => "is in no record any more",
                                    }
                                }
                                td { (run_link(&drift.run_id)) }
                                td { bdi { (charts::shown(&drift.since)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A command to type: what others have named is quoted for a shell.
fn command(what: &str, words: &[&str]) -> Markup {
    let words = words.iter().map(|word| shell(std::path::Path::new(word)));
    let words: Vec<String> = words.collect();
    let line = format!("cursus {}", words.join(" "));
    html! {
        p class="command" { span { (what) } code { bdi { (crate::printable::line(&line)) } } }
    }
}
