//! What can be typed after `simulate` and `demo`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use cursus_simulator::{OddDates, Undated};

use super::values::address;

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Directory of the demo [default: cursus/demo in the user's state directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Show the result in a browser at the end, as `cursus serve` does, until Ctrl-C [default: print how to; ADDR: 127.0.0.1:4280]
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "127.0.0.1:4280", value_parser = address)]
    pub(crate) serve: Option<SocketAddr>,
}

#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// Port on 127.0.0.1; 0 picks a free one
    #[arg(long, default_value_t = 4242)]
    pub(crate) port: u16,
    /// Seed of the generator; the same seed gives the same people
    #[arg(long, default_value_t = 42)]
    pub(crate) seed: u64,
    /// Active students of cursus 21; everything about people scales with them [default: 47]
    #[arg(long, value_name = "N")]
    pub(crate) students: Option<usize>,
    /// People outside of the campus, whom filters must exclude [default: by the number of students]
    #[arg(long, value_name = "N")]
    pub(crate) others: Option<usize>,
    /// Enrolments in projects of cursus 21 [default: by the number of students]
    #[arg(long, value_name = "N")]
    pub(crate) enrolments: Option<usize>,
    /// Memberships of coalitions [default: by the number of students]
    #[arg(long, value_name = "N")]
    pub(crate) memberships: Option<usize>,
    /// Achievements earned [default: by the number of students]
    #[arg(long, value_name = "N")]
    pub(crate) earned: Option<usize>,
    /// File with the rows of a resource, a JSON array [default: generated rows]
    #[arg(long, value_name = "RESOURCE=FILE", value_parser = rows)]
    pub(crate) rows: Vec<(String, PathBuf)>,
    /// Rows with null, a day of 1969 and one of 2099 in a date field, in turn: `projects_users.updated_at=3`
    #[arg(long, value_name = "RESOURCE.FIELD=ROWS", value_parser = odd_dates)]
    pub(crate) odd_dates: Vec<OddDates>,
    /// Parameter that a resource ignores, such as `cursus_users=filter[end]`
    #[arg(long, value_name = "RESOURCE=PARAMETER", value_parser = ignored)]
    pub(crate) ignore: Vec<(String, String)>,
    /// Share of the ongoing levels that change in a simulated day without moving a date
    #[arg(long, value_name = "SHARE", default_value_t = Undated::default().levels, value_parser = share)]
    pub(crate) undated_levels: f64,
    /// Share of the `projects_users` that are replaced under a new id in a simulated day
    #[arg(long, value_name = "SHARE", default_value_t = Undated::default().replaced, value_parser = share)]
    pub(crate) replaced: f64,
    /// Share of the `projects_users` whose team is abandoned in a simulated day without moving a date
    #[arg(long, value_name = "SHARE", default_value_t = Undated::default().given_up, value_parser = share)]
    pub(crate) given_up: f64,
    /// Share of the new `locations` that never end
    #[arg(long, value_name = "SHARE", default_value_t = Undated::default().endless_locations, value_parser = share)]
    pub(crate) endless_locations: f64,
    /// Share of the `locations` that are removed in a simulated day
    #[arg(long, value_name = "SHARE", default_value_t = Undated::default().removed_locations, value_parser = share)]
    pub(crate) removed_locations: f64,
    /// Largest page of a resource in rows; larger pages time out with 504 [default: `scale_teams=8`]
    #[arg(long, value_name = "RESOURCE=ROWS", value_parser = slow_page)]
    pub(crate) slow_page: Vec<(String, u32)>,
    /// Time until such a page times out
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    pub(crate) slow_for: Duration,
    /// Share of the people who are anonymised in a simulated day
    #[arg(long, value_name = "SHARE", default_value_t = Undated::default().anonymised, value_parser = share)]
    pub(crate) anonymised: f64,
    /// Give the client a staff role, which sees anonymised people and `scale_teams` [default: no role]
    #[arg(long)]
    pub(crate) staff: bool,
    /// Allowed requests a second
    #[arg(long, default_value_t = 2)]
    pub(crate) rate: u32,
    /// Allowed requests an hour
    #[arg(long, default_value_t = 1200)]
    pub(crate) hourly: u32,
    /// Window in which the limits are counted
    #[arg(long, value_enum, default_value = "fixed")]
    pub(crate) window: WindowKind,
    /// Latency of each response: 300ms, or 2s..37s
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = latency)]
    pub(crate) latency: (Duration, Duration),
    /// Lifetime of a token
    #[arg(long, default_value = "2h", value_parser = humantime::parse_duration)]
    pub(crate) token_life: Duration,
}

/// How a simulator counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WindowKind {
    Fixed,
    Rolling,
}

fn rows(text: &str) -> Result<(String, PathBuf), String> {
    text.split_once('=')
        .map(|(resource, file)| (resource.to_owned(), PathBuf::from(file)))
        .ok_or_else(|| "write RESOURCE=FILE, such as cursus=cursus.json".to_owned())
}

fn odd_dates(text: &str) -> Result<OddDates, String> {
    let parse = || {
        let (place, rows) = text.split_once('=')?;
        let (resource, field) = place.split_once('.')?;
        Some(OddDates {
            resource: resource.to_owned(),
            field: field.to_owned(),
            rows: rows.parse().ok()?,
        })
    };
    parse()
        .ok_or_else(|| "write RESOURCE.FIELD=ROWS, such as projects_users.updated_at=3".to_owned())
}

fn ignored(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(resource, parameter)| (resource.to_owned(), parameter.to_owned()))
        .ok_or_else(|| "write RESOURCE=PARAMETER, such as cursus_users=filter[end]".to_owned())
}

fn slow_page(text: &str) -> Result<(String, u32), String> {
    let parse = || {
        let (resource, rows) = text.split_once('=')?;
        Some((resource.to_owned(), rows.parse().ok()?))
    };
    parse().ok_or_else(|| "write RESOURCE=ROWS, such as scale_teams=8".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok();
    share
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "write a share from 0 to 1, such as 0.1".to_owned())
}

fn latency(text: &str) -> Result<(Duration, Duration), String> {
    let parse = |text: &str| humantime::parse_duration(text).map_err(|error| error.to_string());
    match text.split_once("..") {
        Some((from, to)) => {
            let (from, to) = (parse(from)?, parse(to)?);
            if from <= to {
                Ok((from, to))
            } else {
                Err("the range ends before it starts".to_owned())
            }
        }
        None => parse(text).map(|time| (time, time)),
    }
}
