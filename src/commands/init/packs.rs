//! Packs in `cursus init`: offers those that are off, with their cost, and writes the chosen ones into the text of a configuration.

use super::questions::{Echo, line};
use super::{note, print_line};
use crate::config::{Config, Pack, PackCost, PackState, Requests};
use crate::exit::Failure;
use crate::name::advice;
use crate::report::grouped;

/// How the template's line about packs begins.
const TEMPLATE: &str = "# packs = [";

/// The packs that a person can turn on.
pub(super) fn offered(config: &Config) -> Vec<Pack> {
    let packs = config.packs.iter();
    let is_open = |pack: &&Pack| pack.state == PackState::Off && !pack.is_default;
    let mut packs: Vec<Pack> = packs.filter(is_open).cloned().collect();
    packs.sort_by(|a, b| a.name.cmp(&b.name));
    packs
}

/// Asks which packs to turn on; `people` is the number of those that the scope names, where it is known. Packs that a chosen one needs are
/// among the answer.
pub(super) async fn ask(packs: &[Pack], people: Option<u64>) -> Result<Vec<String>, Failure> {
    let size = people.and_then(|people| PackCost::SIZES.iter().position(|size| people <= *size));
    print_line(&format!(
        "packs mirror more of the API (`cursus pack show NAME` has the details); requests with a run every 15 minutes, at {} students",
        size.map_or_else(
            || numbers(&PackCost::SIZES, " or "),
            |size| grouped(PackCost::SIZES[size])
        )
    ));
    for pack in packs {
        print_line(&format!("  {}: {}", pack.name, pack.description));
        print_line(&format!("    {}", cost(pack, size)));
    }
    loop {
        let text = line(
            "packs (names with commas between; empty: none of them): ",
            Echo::Shown,
        )
        .await?;
        match chosen(&text, packs) {
            Ok((names, sentences)) => {
                for sentence in sentences {
                    print_line(&format!("  {sentence}"));
                }
                return Ok(names);
            }
            Err(refusals) => {
                for refusal in refusals {
                    note(&format!("  {refusal}"));
                }
            }
        }
    }
}

/// Such as `about 150 requests a day, 290 once; freshness: an hour`.
fn cost(pack: &Pack, size: Option<usize>) -> String {
    let PackCost {
        a_day,
        at_first,
        freshness,
    } = &pack.cost;
    let count = |requests: &Requests| match size {
        Some(size) => grouped(requests[size]),
        None if requests.iter().all(|one| one == &requests[0]) => grouped(requests[0]),
        None => numbers(requests, " or "),
    };
    let mut parts = vec![a_day.as_ref().map_or_else(
        || "requests a day: it does not say; `cursus pack ls` reckons them".to_owned(),
        |requests| format!("about {} requests a day", count(requests)),
    )];
    parts.extend(
        (at_first.as_ref()).map(|requests| format!("{} for the first mirror", count(requests))),
    );
    parts.extend((freshness.as_ref()).map(|freshness| format!("freshness: {freshness}")));
    parts.extend((pack.right.as_ref()).map(|right| format!("needs {right}")));
    if !pack.needs.is_empty() {
        parts.push(format!("with the packs {}", pack.needs.join(", ")));
    }
    parts.join("; ")
}

fn numbers(numbers: &[u64], last: &str) -> String {
    let numbers: Vec<String> = numbers.iter().map(|number| grouped(*number)).collect();
    match numbers.split_last() {
        Some((end, begin)) if !begin.is_empty() => format!("{}{last}{end}", begin.join(", ")),
        _ => numbers.concat(),
    }
}

/// The packs that a line names, with what they need, and what to say of them; or what is wrong with it.
fn chosen(text: &str, packs: &[Pack]) -> Result<(Vec<String>, Vec<String>), Vec<String>> {
    let (mut names, mut sentences, mut refusals) = (Vec::new(), Vec::new(), Vec::new());
    let items = text.split(',').map(str::trim);
    let mut waiting: Vec<(&str, Option<&str>)> = (items.filter(|item| !item.is_empty()))
        .map(|item| (item, None))
        .collect();
    waiting.reverse();
    while let Some((item, needed_by)) = waiting.pop() {
        let Some(pack) = packs.iter().find(|pack| pack.name == item) else {
            // What is needed and not offered is on.
            if needed_by.is_none() {
                let known = packs.iter().map(|pack| pack.name.as_str());
                refusals.push(format!(
                    "there is no pack `{item}` to turn on; {}",
                    advice(item, known, "there are")
                ));
            }
            continue;
        };
        if names.contains(&pack.name) {
            continue;
        }
        names.push(pack.name.clone());
        if let Some(by) = needed_by {
            sentences.push(format!("{item} is added: {by} needs it"));
        }
        let needs = pack.needs.iter();
        waiting.extend(needs.map(|need| (need.as_str(), Some(item))));
    }
    if refusals.is_empty() {
        Ok((names, sentences))
    } else {
        Err(refusals)
    }
}

/// The text of the template with these packs turned on.
pub(in crate::commands) fn with_packs(text: &str, names: &[String]) -> String {
    if names.is_empty() {
        return text.to_owned();
    }
    let names: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    let setting = format!("packs = [{}]", names.join(", "));
    let lines = text.lines().map(|line| {
        let Some(rest) = line.strip_prefix(TEMPLATE) else {
            return line.to_owned();
        };
        // Comments stay below each other.
        rest.split_once('#').map_or_else(
            || setting.clone(),
            |(before, comment)| {
                let width = TEMPLATE.len() + before.len();
                let width = width.max(setting.len() + 1);
                format!("{setting:<width$}#{comment}")
            },
        )
    });
    lines.flat_map(|line| [line, "\n".to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded_files::PIPELINE;

    #[test]
    fn chosen_packs_are_set_in_their_line_and_nowhere_else() {
        let names = ["locations", "events"].map(str::to_owned);
        let written = with_packs(PIPELINE, &names);
        let config = Config::parse(&written, None).unwrap();
        for name in &names {
            assert!(config.pack(name).unwrap().is_on(), "{written}");
        }
        let lines = PIPELINE.lines().zip(written.lines());
        let changed: Vec<_> = lines.filter(|(old, new)| old != new).collect();
        let [(old, new)] = changed[..] else {
            panic!("{changed:?}");
        };
        assert_eq!(old.rfind(" #"), new.rfind(" #"), "{new}");
        assert_eq!(with_packs(PIPELINE, &[]), PIPELINE);
    }

    #[test]
    fn every_pack_with_requests_says_what_it_costs() {
        let config = Config::load(None).unwrap();
        for pack in offered(&config) {
            let PackCost {
                a_day, freshness, ..
            } = &pack.cost;
            assert!(a_day.is_some() && freshness.is_some(), "{}", pack.name);
        }
    }
}
