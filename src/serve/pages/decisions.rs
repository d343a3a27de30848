//! `/decisions`: what waits for a person, each with the command to type. Ids and reasons, no value of a record.

use maud::{Markup, html};

use super::{run_link, take_fitting, text};
use crate::convert::counted;
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

/// Bytes of each list; a page has four of them, and stays small whatever waits.
const MOST: usize = 12_000;

/// A list of cards, and the command that lists those which it has no room for.
fn cards(all: impl Iterator<Item = Markup>, list: &[&str]) -> Markup {
    let (shown, has_more) = take_fitting(all, MOST);
    html! {
        ul class="cards" {
            @for card in shown { li class="card" { (card) } }
        }
        @if has_more { (command("There are more", list)) }
    }
}

const HELD: &str = "Rows that a complete read lacks. The prune limit holds the deletes until somebody has looked at them.";
const KEPT: &str = "Rows that the API no longer has. They stay while other rows refer to them; nothing needs to be done.";

const KEPT_KEYS: &str = "SELECT table_name, key, referred_by FROM pipeline.prune_candidate WHERE referred_by IS NOT NULL";

fn deletes(id: &str, title: &str, about: &str, all: &[HeldDeletes]) -> Markup {
    html! {
        section class="decisions" aria-labelledby=(id) {
            h2 id=(id) { (title) }
            p { (about) }
            (cards(all.iter().map(held_card), &["prune", "ls"]))
        }
    }
}

fn held_card(held: &HeldDeletes) -> Markup {
    html! {
        h3 { (counted(held.rows, "row")) " of " bdi { (charts::shown(&held.table)) } }
        p { bdi { (text(&held.reasons.join("; "))) } }
        @if !held.referred_by.is_empty() {
            p { "Referred to by " bdi { (text(&held.referred_by.join(", "))) } "." }
        }
        p class="facts" { "run " (run_link(&held.run_id)) " · since " bdi { (charts::shown(&held.since)) } }
        @if held.referred_by.is_empty() {
            (command("Look at their keys", &["prune", "ls", &held.run_id]))
            (command("Delete them", &["prune", "approve", &held.run_id, "--resource", &held.resource]))
        } @else {
            (command("Look at their keys", &["sql", KEPT_KEYS]))
        }
    }
}

fn rejected(groups: &[QuarantineGroup]) -> Markup {
    html! {
        section class="decisions" aria-labelledby="quarantine" {
            h2 id="quarantine" { "Quarantine" }
            p { "Rows that the mirror cannot take. A row whose parent is missing leaves by itself when that comes." }
            (cards(groups.iter().map(rejected_card), &["quarantine", "ls"]))
        }
    }
}

fn rejected_card(group: &QuarantineGroup) -> Markup {
    html! {
        h3 {
            (counted(group.rows, "row")) " of " bdi { (charts::shown(&group.table)) }
            @if let Some(column) = &group.column { "." bdi { (charts::shown(column)) } }
        }
        p { bdi { (text(&group.reason)) } }
        p class="facts" { "since " bdi { (charts::shown(&group.since)) } }
        (command("Look at the first", &["quarantine", "show", &group.first.to_string()]))
        (command("Try again", &["quarantine", "retry", "--table", &group.table]))
    }
}

fn drifts(drifts: &[DriftEntry]) -> Markup {
    let (rows, has_more) = take_fitting(drifts.iter().map(drift_row), MOST);
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
                    tbody { @for row in rows { (row) } }
                }
            }
            @if has_more { (command("There are more", &["sql", "SELECT * FROM pipeline.drift ORDER BY id DESC"])) }
        }
    }
}

fn drift_row(drift: &DriftEntry) -> Markup {
    html! {
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

/// A command to type: what others have named is quoted for a shell.
fn command(what: &str, words: &[&str]) -> Markup {
    let words = words.iter().map(|word| shell(std::path::Path::new(word)));
    let words: Vec<String> = words.collect();
    let line = format!("cursus {}", words.join(" "));
    html! {
        p class="command" { span { (what) } code { bdi { (crate::printable::line(&line)) } } }
    }
}
