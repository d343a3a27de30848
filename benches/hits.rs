//! How many hits the shipped pipeline costs, resource by resource, and whether the mirror is what the API shows after each
//! run: a first mirror, a night, a day of 15-minute syncs, a week away; then what the packs that need no right add on a campus of
//! 1,000 students, whose mirror is compared after every 24th sync. Fails when it is more than it may be.
//!
//! `cargo bench --bench hits`, with synthetic reference rows in the numbers of December 2025. A directory may follow, with
//! rows of the API as JSON arrays in files such as `cursus.json` and `projects.json`, which are served instead; `--packs` measures the
//! packs alone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a benchmark prints its figures, and fails by panicking"
)]

mod moved;
#[allow(dead_code, unused_imports, reason = "the tests use the rest")]
#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use cursus::config::{Config, Resource};
use cursus::report::{Column, Table};
use cursus_simulator::{Limits, Options, Scale, Simulator};
use serde_json::{Value, json};

use moved::Moved;
use support::{Workdir, api, oracle};

/// What each may cost at most, and what it is meant to.
const MOST: [(&str, u64, u64); 4] = [
    ("first mirror", 100, 80),
    ("a night later", 18, 15),
    ("usual 15-minute sync", 6, 5),
    ("worst 15-minute sync", 12, 9),
];

const SCALE: Scale = Scale {
    cursus: 76,
    campuses: 54,
    projects: 538,
    achievements: 1_152,
    coalitions: 346,
    students: 400,
    others: 400,
    enrolments: 2_500,
    memberships: 928,
    earned: 1_200,
};

/// The campus of the packs: its people as the simulator reckons them, reference rows of the network, and coalitions for about as many
/// blocs as one campus has, which is under 10.
const CAMPUS: Scale = Scale {
    cursus: SCALE.cursus,
    campuses: 1,
    projects: SCALE.projects,
    achievements: SCALE.achievements,
    coalitions: 50,
    ..Scale::of_students(1_000)
};

/// Titles that people have in the whole network, whose list has no filter: 150 pages.
const TITLES_OF_NETWORK: i64 = 15_000;

/// Syncs with packs, and after how many of them the tables are compared with what the API shows.
const SYNCS_WITH_PACKS: usize = 96;
const COMPARED_EVERY: usize = 24;

/// Packs that need no right of their own.
const PACKS: [&str; 6] = ["locations", "events", "exams", "blocs", "quests", "titles"];

/// The pack whose first read is as long as its time is, and is counted apart.
const LONG_PACK: &str = "locations";

/// With the packs: what a usual sync may cost in all, and what the packs but [`LONG_PACK`] may add to the first mirror.
const MOST_WITH_PACKS: [u64; 2] = [14, 250];

/// Hits by resource; what no resource has asked for is in the sum only.
#[derive(Clone, Default)]
struct Hits {
    /// Of each read of a resource.
    by_read: BTreeMap<String, u64>,
    /// All but those of named reads.
    sum: u64,
    /// Those of named reads.
    refresh: u64,
}

/// The simulator, the mirror, and whose campuses moved without a trace.
struct Bench {
    simulator: Simulator,
    workdir: Workdir,
    config: Config,
    moved: Moved,
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // cargo passes `--bench` to every benchmark.
    let rows = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    let is_of_packs = std::env::args().any(|argument| argument == "--packs");
    let holds = runtime.block_on(async {
        let core = is_of_packs || measure(rows.as_deref().map(Path::new)).await;
        measure_packs().await && core
    });
    if holds {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn measure(rows: Option<&Path>) -> bool {
    let mut bench = Bench::start(rows).await;
    let first = bench.run(Duration::ZERO).await;
    let night = bench.run(Duration::from_hours(24)).await;
    let mut syncs = Vec::new();
    for _ in 0..96 {
        syncs.push(bench.run(Duration::from_mins(15)).await);
    }
    let week = bench.run(Duration::from_hours(7 * 24)).await;
    syncs.sort_by_key(|sync| sync.sum);
    let usual = &syncs[syncs.len() / 2];
    let worst = &syncs[syncs.len() - 1];
    let mut day = Hits::default();
    for sync in &syncs {
        day.sum += sync.sum;
        day.refresh += sync.refresh;
        for (name, hits) in &sync.by_read {
            *day.by_read.entry(name.clone()).or_default() += hits;
        }
    }
    let columns = [&first, &night, usual, worst, &day, &week];
    let line = |name: &str, hits: &dyn Fn(&Hits) -> u64| {
        let numbers = columns.iter().map(|column| hits(column).to_string());
        std::iter::once(name.to_owned()).chain(numbers).collect()
    };
    let resources = bench.config.resources.iter();
    let mut lines: Vec<Vec<String>> = resources
        .flat_map(Resource::all_reads)
        .map(|read| {
            let name = read.label();
            line(&name, &|hits| hits.by_read.get(&name).copied().unwrap_or(0))
        })
        .collect();
    lines.push(line("beside named reads", &|hits| hits.sum));
    lines.push(line("in all", &|hits| hits.sum + hits.refresh));
    let header = [
        "hits",
        "first mirror",
        "a night later",
        "usual sync",
        "worst sync",
        "96 syncs",
        "a week later",
    ];
    let columns = header.iter().enumerate().map(|(at, name)| match at {
        0 => Column::fixed(name),
        _ => Column::number(name),
    });
    println!("{}", Table::new(columns, lines));
    let mut holds = true;
    for ((what, most, aim), hits) in MOST.into_iter().zip([&first, &night, usual, worst]) {
        let verdict = match hits.sum {
            sum if sum > most => "TOO MANY",
            sum if sum > aim => "holds",
            _ => "holds, and the aim is met",
        };
        holds &= hits.sum <= most;
        println!(
            "{what}: {} hits beside named reads, at most {most}, aim {aim}: {verdict}",
            hits.sum
        );
    }
    println!(
        "after each of the {} runs every table that was read held what the API showed",
        syncs.len() + 3
    );
    holds
}

/// One campus of 1,000 students with the packs: the first mirror, and a day of syncs.
async fn measure_packs() -> bool {
    let mut bench = Bench::with_packs().await;
    let core: BTreeSet<String> = Config::load(None)
        .unwrap()
        .resources
        .iter()
        .flat_map(Resource::all_reads)
        .map(Resource::label)
        .collect();
    let first = bench.run(Duration::ZERO).await;
    // The comparison leaves out tables of packs, and a read that lacks rows would seem cheap.
    for name in ["events", "events_users", "quests_users", "titles_users"] {
        let served = bench.simulator.rows(name).len();
        assert_eq!(bench.workdir.count(name).await, served, "{name}");
    }
    let mut syncs = Vec::new();
    for number in 1..=SYNCS_WITH_PACKS {
        let (hits, read) = bench.sync(Duration::from_mins(15)).await;
        if number.is_multiple_of(COMPARED_EVERY) {
            bench.compare(&read).await;
        }
        syncs.push(hits);
    }
    syncs.sort_by_key(Hits::all);
    let usual = &syncs[syncs.len() / 2];
    let worst = &syncs[syncs.len() - 1];
    let reads = bench.config.resources.iter().flat_map(Resource::all_reads);
    let added = reads.filter(|read| !core.contains(&read.label()));
    let mut beyond = 0;
    let mut lines = Vec::new();
    for read in added {
        let name = read.label();
        let of = |hits: &Hits| hits.by_read.get(&name).copied().unwrap_or(0);
        if !name.starts_with(LONG_PACK) {
            beyond += of(&first);
        }
        let day: u64 = syncs.iter().map(of).sum();
        let numbers = [of(&first), of(usual), of(worst), day].map(|number| number.to_string());
        lines.push([vec![name.clone()], numbers.to_vec()].concat());
    }
    let day: u64 = syncs.iter().map(Hits::all).sum();
    let all = [first.all(), usual.all(), worst.all(), day].map(|number| number.to_string());
    lines.push([vec!["in all, with the core".to_owned()], all.to_vec()].concat());
    let rows = [
        "events",
        "events_users",
        "exams",
        "quests_users",
        "titles_users",
    ];
    let rows = rows.map(|name| format!("{name} {}", bench.simulator.rows(name).len()));
    println!("rows served at the end: {}", rows.join(", "));
    println!(
        "{}",
        Table::new(
            [
                Column::fixed("hits with packs"),
                Column::number("first mirror"),
                Column::number("usual sync"),
                Column::number("worst sync"),
                Column::number("96 syncs"),
            ],
            lines
        )
    );
    let [most_usual, most_beyond] = MOST_WITH_PACKS;
    let mut holds = true;
    for (what, hits, most) in [
        ("usual sync with packs", usual.all(), most_usual),
        ("first mirror beyond the core", beyond, most_beyond),
    ] {
        let verdict = if hits > most { "TOO MANY" } else { "holds" };
        holds &= hits <= most;
        println!("{what}: {hits} hits, at most {most}: {verdict}");
    }
    holds
}

fn unlimited() -> Limits {
    Limits {
        per_second: 10_000,
        per_hour: 1_000_000,
        ..Limits::default()
    }
}

impl Hits {
    fn all(&self) -> u64 {
        self.sum + self.refresh
    }
}

impl Bench {
    async fn with_packs() -> Self {
        let folder = tempfile::Builder::new()
            .prefix("cursus-bench-")
            .tempdir()
            .unwrap();
        let titles = folder.path().join("titles_users.json");
        let given = (1..=TITLES_OF_NETWORK).map(|id| {
            json!({
                "id": id,
                // Hardly anybody of them is of the campus.
                "user_id": 17 * id % 250_717,
                "title_id": id % 120 + 1,
                "selected": id % 3 == 0,
                "created_at": "2024-05-06T07:08:09.000Z",
                "updated_at": "2024-05-06T07:08:09.000Z",
            })
        });
        let given: Vec<Value> = given.collect();
        std::fs::write(&titles, serde_json::to_vec(&given).unwrap()).unwrap();
        let simulator = api::start(Options {
            scale: CAMPUS,
            limits: unlimited(),
            undated: api::UNDATED,
            rows: [("titles_users".to_owned(), titles)].into(),
            ..Options::default()
        })
        .await;
        let workdir = Workdir::with(&simulator).await;
        let campus = simulator.rows("campus")[0]["id"].to_string();
        let names = PACKS.map(|name| format!("\"{name}\"")).join(", ");
        workdir.pipeline(&[
            ("version = 1 ", &format!("packs = [{names}]\nversion = 1 ")),
            ("campus_ids = [] ", &format!("campus_ids = [{campus}] ")),
        ]);
        Self {
            config: Config::load(Some(&workdir.path("pipeline.toml"))).unwrap(),
            workdir,
            simulator,
            moved: Moved::default(),
        }
    }

    async fn start(rows: Option<&Path>) -> Self {
        let mut options = Options {
            scale: SCALE,
            limits: unlimited(),
            undated: api::UNDATED,
            ..Options::default()
        };
        for name in oracle::RESOURCES {
            let given = rows.map(|rows| rows.join(format!("{name}.json")));
            if let Some(path) = given.filter(|path| path.exists()) {
                options.rows.insert(name.to_owned(), path);
            }
        }
        let given: Vec<&str> = options.rows.keys().map(String::as_str).collect();
        if !given.is_empty() {
            println!("rows that were given: {}", given.join(", "));
        }
        let simulator = api::start(options).await;
        let counts: Vec<String> = oracle::RESOURCES
            .iter()
            .map(|name| format!("{name} {}", simulator.rows(name).len()))
            .collect();
        println!("rows served: {}", counts.join(", "));
        Self {
            workdir: Workdir::with(&simulator).await,
            simulator,
            config: Config::load(None).unwrap(),
            moved: Moved::default(),
        }
    }

    /// Lets time pass, runs, and compares all tables whose resource was read with what the API shows.
    async fn run(&mut self, after: Duration) -> Hits {
        let (hits, read) = self.sync(after).await;
        self.compare(&read).await;
        hits
    }

    async fn compare(&self, read: &BTreeSet<String>) {
        let tables = &self.config.tables;
        oracle::assert_tables_mirror(&self.workdir, &self.simulator, &self.moved.0, |name| {
            tables
                .iter()
                .any(|table| table.name.as_str() == name && read.contains(table.from.as_str()))
        })
        .await;
    }

    /// Lets time pass, and runs: the hits, and the resources that were read.
    async fn sync(&mut self, after: Duration) -> (Hits, BTreeSet<String>) {
        self.moved.advance(&self.simulator, after);
        let asked = self.simulator.statistics().hits;
        let report = self.workdir.json(["run"]).await;
        let asked = self.simulator.statistics().hits - asked;
        assert_eq!(
            report["hits"], asked,
            "the report counts what the API counts"
        );
        let resources = report["resources"].as_array().unwrap();
        let text = |resource: &Value, key: &str| resource[key].as_str().unwrap().to_owned();
        let read: BTreeSet<String> = resources
            .iter()
            .filter(|resource| resource["state"] != "skipped")
            .map(|resource| text(resource, "name"))
            .collect();
        if resources
            .iter()
            .any(|resource| resource["name"] == "users" && resource["mode"] == "full")
        {
            self.moved.0.clear();
        }
        let mut hits = Hits {
            sum: asked,
            ..Hits::default()
        };
        for resource in resources {
            let name = text(resource, "name");
            let mut own = resource["hits"].as_u64().unwrap();
            for read in resource["reads"].as_array().into_iter().flatten() {
                let asked = read["hits"].as_u64().unwrap();
                own -= asked;
                hits.sum -= asked;
                hits.refresh += asked;
                let label = format!("{name} ({})", text(read, "name"));
                hits.by_read.insert(label, asked);
            }
            hits.by_read.insert(name, own);
        }
        (hits, read)
    }
}
