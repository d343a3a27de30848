//! What a simulator is started with. Every default is the reading that is harder on a client.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::{Fault, Limits};

/// How to start a simulator.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen: loopback only; port 0 takes a free one.
    pub address: SocketAddr,
    /// The world is the same for the same seed, scale and start.
    pub seed: u64,
    /// How many rows to make up.
    pub scale: Scale,
    /// Resource name to a file with a JSON array of rows, which replaces the made-up ones.
    pub rows: BTreeMap<String, PathBuf>,
    /// The rate limits.
    pub limits: Limits,
    /// How long an answer of `/v2` takes at least: drawn from this range for each.
    pub latency: RangeInclusive<Duration>,
    /// How long a token lives, in real time.
    pub token_life: Duration,
    /// How long after the start the client secret dies, in simulated time.
    pub secret_life: Duration,
    /// The simulated time at the start.
    pub start: Timestamp,
    /// The application has a staff role: it sees anonymised people and `scale_teams`.
    pub staff: bool,
    /// Most rows in a page.
    pub page_cap: u32,
    /// Resources with another cap, by name.
    pub page_caps: BTreeMap<String, u32>,
    /// Largest page of a resource, by name; larger ones time out with 504.
    pub slow_pages: BTreeMap<String, u32>,
    /// How long such a page takes until then.
    pub slow_for: Duration,
    /// Behaviour of the real API that is not documented.
    pub unknowns: Unknowns,
    /// Memberships and enrolments that vanish outright in a simulated day; deltas cannot see those.
    pub deletions_per_day: f64,
    /// Changes over time that move no date.
    pub undated: Undated,
    /// Changes while lists are read.
    pub churn: Option<Churn>,
    /// Rows with dates that no range holds, from the start.
    pub odd_dates: Vec<OddDates>,
    /// Rules by which requests fail.
    pub faults: Vec<Fault>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            seed: 42,
            scale: Scale::quick_start(),
            rows: BTreeMap::new(),
            limits: Limits::default(),
            latency: Duration::ZERO..=Duration::ZERO,
            token_life: Duration::from_hours(2),
            secret_life: Duration::from_hours(28 * 24),
            start: Timestamp::now(),
            staff: false,
            page_cap: 100,
            page_caps: BTreeMap::new(),
            slow_pages: [("scale_teams".to_owned(), 8)].into(),
            slow_for: Duration::ZERO,
            unknowns: Unknowns::default(),
            deletions_per_day: 0.0,
            undated: Undated::default(),
            churn: None,
            odd_dates: Vec::new(),
            faults: Vec::new(),
        }
    }
}

/// Rows to make up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Cursus, 21 and 9 among them.
    pub cursus: usize,
    /// Campuses.
    pub campuses: usize,
    /// Projects of cursus 21; one in twenty more belongs elsewhere.
    pub projects: usize,
    /// Achievements.
    pub achievements: usize,
    /// Coalitions.
    pub coalitions: usize,
    /// Students of cursus 21 who are not alumni: exactly what the filters for them must give.
    pub students: usize,
    /// Alumni, staff, externals, and people of other cursus: must be filtered out.
    pub others: usize,
    /// `projects_users` of cursus 21; one in fifteen more is older work of the same people in cursus 9.
    pub enrolments: usize,
    /// `coalitions_users`.
    pub memberships: usize,
    /// `achievements_users`.
    pub earned: usize,
}

impl Scale {
    /// The size of the quick start: reference data and memberships of a whole network, the people of a small campus.
    pub const fn quick_start() -> Self {
        Self {
            cursus: 54,
            campuses: 25,
            projects: 938,
            achievements: 8_064,
            coalitions: 350,
            students: 47,
            others: 60,
            enrolments: 940,
            memberships: 92_500,
            earned: 1_410,
        }
    }

    /// The reference data of the quick start, and everything about people in proportion to the number of students, as
    /// in the real network: 2.3 memberships, 20 enrolments and 30 earned achievements for each.
    pub const fn of_students(students: usize) -> Self {
        Self {
            students,
            others: students * 60 / 47,
            enrolments: students * 20,
            memberships: students * 23 / 10,
            earned: students * 30,
            ..Self::quick_start()
        }
    }
}

/// Readings of the reference where it is not settled.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent switches, each with a name"
)]
pub struct Unknowns {
    /// What a filter, range or sort by an unlisted field does.
    pub unlisted: Unlisted,
    /// What a range with only one bound does.
    pub open_range: OpenRange,
    /// What a page size above the cap does.
    pub overlong: Overlong,
    /// Ranges compare milliseconds, as shown; else the microseconds behind them, so that the row shown as
    /// `….123Z` may lie outside a range that ends there.
    pub whole_milliseconds: bool,
    /// `projects_users` can be sorted.
    pub projects_users_sort: bool,
    /// `campus_users` can be filtered.
    pub campus_users_filter: bool,
    /// `campus_users` has a range of `updated_at`, seen to work; no other is known to.
    pub campus_users_range: bool,
    /// `/v2/coalitions` wants a role that the application does not have.
    pub coalitions_need_role: bool,
    /// A token request counts in the hourly budget.
    pub token_requests_count: bool,
    /// Asking for a token again gives the same one while it lives.
    pub token_reused: bool,
    /// A new token revokes those before it.
    pub new_token_revokes: bool,
    /// `If-None-Match` is honoured with a 304.
    pub conditional_get: bool,
    /// Error bodies say what is wrong; else they are `{}`.
    pub described_errors: bool,
}

impl Default for Unknowns {
    fn default() -> Self {
        Self {
            unlisted: Unlisted::Ignored,
            open_range: OpenRange::BadRequest,
            overlong: Overlong::Clamped,
            whole_milliseconds: false,
            projects_users_sort: false,
            campus_users_filter: true,
            campus_users_range: true,
            coalitions_need_role: false,
            token_requests_count: true,
            token_reused: false,
            new_token_revokes: false,
            conditional_get: false,
            described_errors: false,
        }
    }
}

/// What a filter, range or sort by an unlisted field does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unlisted {
    /// Nothing, silently: all rows come.
    Ignored,
    /// 400.
    BadRequest,
}

/// What a range with only one bound does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenRange {
    /// 400.
    BadRequest,
    /// Nothing, silently.
    Ignored,
    /// It bounds one side.
    Accepted,
}

/// What a page size above the cap does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overlong {
    /// The cap holds, and `X-Per-Page` announces it.
    Clamped,
    /// 400.
    BadRequest,
}

/// What the real API changes without moving a date, so that no delta sees it. Each figure is a share of the rows it is about, in
/// a simulated day; 0 switches it off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Undated {
    /// Ongoing `cursus_users` whose level and skills the server recomputes. Unless it is 0, a mark moves the ongoing level
    /// of its person without a date as well.
    pub levels: f64,
    /// `projects_users` that are deleted and replaced by a row of the same person and project with a higher id.
    pub replaced: f64,
    /// `projects_users` whose current team is abandoned: it is deleted from `teams`, and `current_team_id` and `status` change.
    pub given_up: f64,
    /// Of the `locations` that begin, those whose `end_at` stays null for ever.
    pub endless_locations: f64,
    /// `locations` that are removed.
    pub removed_locations: f64,
    /// People who are anonymised, and absent from every list of people for a client without a staff role.
    pub anonymised: f64,
}

impl Undated {
    /// Nothing of the kind: every change moves a date.
    pub const NONE: Self = Self {
        levels: 0.0,
        replaced: 0.0,
        given_up: 0.0,
        endless_locations: 0.0,
        removed_locations: 0.0,
        anonymised: 0.0,
    };
}

impl Default for Undated {
    fn default() -> Self {
        Self {
            levels: 0.1,
            replaced: 0.001,
            given_up: 0.001,
            endless_locations: 0.02,
            removed_locations: 0.005,
            anonymised: 0.000_5,
        }
    }
}

/// Rows of a resource that have null, a day of 1969 and one of 2099 in a field, in turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OddDates {
    /// The resource.
    pub resource: String,
    /// A field that holds a time, such as `updated_at`.
    pub field: String,
    /// How many rows: those with the lowest ids.
    pub rows: usize,
}

/// Changes while lists are read, so that offset pages shift.
#[derive(Clone, Debug)]
pub struct Churn {
    /// Every how many page requests of a resource its rows change, before the answer.
    pub every: u32,
    /// Rows that come.
    pub inserted: u32,
    /// Rows that change.
    pub updated: u32,
    /// Rows that go.
    pub deleted: u32,
    /// The resources that change, by name; all if empty.
    pub resources: Vec<String>,
}
