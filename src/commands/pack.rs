//! `cursus pack`: which packs there are, and their files.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::cli::{Global, PackCommand};
use crate::config::{Config, Pack, PackState, Resource};
use crate::exit::{Exit, Failure};
use crate::plan::{EarlierReads, RequestsADay, requests_a_day};
use crate::report::{Column, Table, grouped};
use crate::settings::Settings;

#[derive(Serialize)]
struct Line {
    name: String,
    state: &'static str,
    is_default: bool,
    /// Beside the configuration, not in the binary.
    is_own: bool,
    description: String,
    needs: Vec<String>,
    right: Option<String>,
    /// Why one that is on by default is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    why_off: Option<String>,
    resources: Vec<String>,
    tables: Vec<String>,
    views: Vec<String>,
    /// With a run every 15 minutes; `None`: its files have faults.
    requests_a_day: Option<u64>,
    /// The size of something that it reads is not known yet.
    at_least: bool,
}

pub(super) fn run(
    global: &Global,
    settings: &Settings,
    command: &PackCommand,
) -> Result<Exit, Failure> {
    match command {
        PackCommand::Ls => list(global, settings),
        PackCommand::Show { name } => show(global, &settings.config, name),
    }
}

fn list(global: &Global, settings: &Settings) -> Result<Exit, Failure> {
    let config = &settings.config;
    let runs = settings.staging.runs()?;
    let mut lines = Vec::new();
    for pack in &config.packs {
        let with = if pack.is_on() {
            Ok(config.clone())
        } else {
            Config::load_with(config.path.as_deref(), &[&pack.name])
        };
        let line = match &with {
            Ok(with) => {
                let earlier_reads = EarlierReads::read(with, &runs)?;
                line(pack, with, &earlier_reads)
            }
            Err(_) => Line::of(pack),
        };
        lines.push(line);
    }
    lines.sort_by(|a, b| a.name.cmp(&b.name));
    if global.json {
        super::print_json(&serde_json::json!({ "packs": lines }));
        return Ok(Exit::Done);
    }
    let rows = lines.iter().map(|line| {
        let mut state = line.state.to_owned();
        for (is_so, word) in [(line.is_default, "default"), (line.is_own, "own")] {
            if is_so {
                state = format!("{state}, {word}");
            }
        }
        let requests = line.requests_a_day.map_or_else(
            || "unknown: faults in it".to_owned(),
            |requests| {
                let at_least = if line.at_least { "at least " } else { "" };
                format!("{at_least}{}", grouped(requests))
            },
        );
        vec![
            line.name.clone(),
            state,
            requests,
            line.right.clone().unwrap_or_else(|| "none".to_owned()),
            line.needs.join(", "),
            line.description.clone(),
        ]
    });
    let columns = [
        Column::fixed("pack"),
        Column::fixed("state"),
        Column::number("requests a day"),
        Column::text("right").rank(2),
        Column::fixed("needs").rank(3),
        Column::text("adds").rank(1),
    ];
    super::print_table(&Table::new(columns, rows));
    for line in &lines {
        if let Some(why) = &line.why_off {
            super::print_line(&format!("{} is off: {why}", line.name));
        }
    }
    super::print_line(
        "requests a day with a run every 15 minutes; `packs` in pipeline.toml turns a pack on (\"x\") or off (\"-x\")",
    );
    Ok(Exit::Done)
}

impl Line {
    fn of(pack: &Pack) -> Self {
        let why_off = match &pack.state {
            PackState::Impossible(why) => Some(why.clone()),
            PackState::On | PackState::Off => None,
        };
        Self {
            name: pack.name.clone(),
            state: if pack.is_on() { "on" } else { "off" },
            is_default: pack.is_default,
            is_own: pack.is_own(),
            description: pack.description.clone(),
            needs: pack.needs.clone(),
            right: pack.right.clone(),
            why_off,
            resources: Vec::new(),
            tables: Vec::new(),
            views: Vec::new(),
            requests_a_day: None,
            at_least: false,
        }
    }
}

fn line(pack: &Pack, config: &Config, earlier_reads: &EarlierReads) -> Line {
    let is_its = |of: &Option<String>| of.as_deref() == Some(pack.name.as_str());
    let resources: Vec<&Resource> = config
        .resources
        .iter()
        .filter(|one| is_its(&one.pack))
        .collect();
    let RequestsADay {
        requests,
        is_at_least,
    } = requests_a_day(config, resources.iter().copied(), earlier_reads);
    let tables = config.tables.iter().filter(|one| is_its(&one.pack));
    let views = config.views.iter().filter(|one| is_its(&one.pack));
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count of requests"
    )]
    let requests = requests.ceil() as u64;
    Line {
        resources: resources.iter().map(|one| one.name.to_string()).collect(),
        tables: tables.map(|one| one.name.to_string()).collect(),
        views: views.map(|one| one.name.to_string()).collect(),
        requests_a_day: Some(requests),
        at_least: is_at_least,
        ..Line::of(pack)
    }
}

fn show(global: &Global, config: &Config, name: &str) -> Result<Exit, Failure> {
    let pack = config.pack(name).map_err(Failure::usage)?;
    if global.json {
        let files: BTreeMap<&str, &str> = (pack.files.texts.iter())
            .map(|(file, text)| (file.as_str(), text.as_str()))
            .collect();
        super::print_json(&serde_json::json!({
            "name": pack.name,
            "is_own": pack.is_own(),
            "files": files,
            "faults": pack.files.faults,
        }));
        return Ok(Exit::Done);
    }
    for (file, text) in &pack.files.texts {
        super::print_line(&format!("==> {} <==", pack.files.place(file)));
        super::print_raw(text);
        if !text.ends_with('\n') {
            super::print_line("");
        }
        super::print_line("");
    }
    for (file, fault) in &pack.files.faults {
        super::print_line(&format!("==> {} <==", pack.files.place(file)));
        super::print_line(fault);
    }
    Ok(Exit::Done)
}
