//! How much of the allowed rate is reached, and whether anything is rejected: the client with the shipped settings against
//! simulators over loopback, at every limit, latency and kind of window.
//!
//! `cargo bench --bench limiter`; the seconds of a case and how many cases run at once may follow: `-- 120 9`. It fails if the
//! server rejects one request, or if a case stays below 97 %.
//!
//! The share is that of the server's count: the requests after the first measured one, divided by the limit times
//! the time from it to the last. One request goes before, alone, since its answer tells the limit: its time is not measured.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::process::ExitCode;
use std::time::Duration;

use cursus::api::{BaseUrl, Client, Options, Request};
use cursus::config::Config;
use cursus::report::{Column, Table, grouped};
use cursus_simulator::{self as simulate, Limits, Scale, Simulator, Window};
use futures_util::StreamExt as _;
use secrecy::SecretString;
use tokio::task::JoinSet;

const LIMITS: [u32; 3] = [2, 8, 20];
const LATENCIES: [Duration; 3] = [
    Duration::from_millis(50),
    Duration::from_secs(1),
    Duration::from_secs(10),
];
const WINDOWS: [Window; 2] = [Window::Fixed, Window::Rolling];

/// What every case must reach.
const LEAST_SHARE: f64 = 0.97;

type Error = Box<dyn std::error::Error>;

#[derive(Clone, Copy)]
struct Case {
    limit: u32,
    latency: Duration,
    window: Window,
}

struct Measured {
    case: Case,
    seconds: f64,
    requests: u64,
    share: f64,
    rejected: u64,
}

fn main() -> Result<ExitCode, Error> {
    // cargo passes `--bench` to every benchmark.
    let arguments = std::env::args().skip(1);
    let mut numbers = arguments.filter_map(|argument| argument.parse::<u64>().ok());
    let length = Duration::from_secs(numbers.next().unwrap_or(120));
    let at_once = usize::try_from(numbers.next().unwrap_or(9))?;
    let config = Config::parse(include_str!("../pipeline.toml"), None)?;
    let cases = WINDOWS.iter().flat_map(|&window| {
        LATENCIES.iter().flat_map(move |&latency| {
            LIMITS.iter().map(move |&limit| Case {
                limit,
                latency,
                window,
            })
        })
    });
    let measured: Vec<_> = tokio::runtime::Runtime::new()?.block_on(
        futures_util::stream::iter(cases)
            .map(|case| measure(&config, case, length))
            .buffered(at_once.max(1))
            .collect(),
    );
    let measured: Vec<Measured> = measured.into_iter().collect::<Result<_, _>>()?;
    println!(
        "max_in_flight = {}, {at_once} cases at once",
        config.api.max_in_flight
    );
    println!("{}", shown(&measured));
    let kept = |case: &Measured| case.rejected == 0 && case.share >= LEAST_SHARE;
    let failed = measured.iter().filter(|case| !kept(case)).count();
    if failed > 0 {
        println!("{failed} cases were rejected a request, or stayed below 97 %");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(measured: &[Measured]) -> Table {
    let texts = ["limit", "latency", "window"].map(Column::fixed);
    let numbers = ["s", "hits", "share", "429"].map(Column::number);
    Table::new(
        texts.into_iter().chain(numbers),
        measured.iter().map(|measured| {
            let case = measured.case;
            vec![
                format!("{}/s", case.limit),
                humantime::format_duration(case.latency).to_string(),
                format!("{:?}", case.window).to_lowercase(),
                format!("{:.1}", measured.seconds),
                grouped(measured.requests),
                format!("{:.1} %", measured.share * 100.0),
                grouped(measured.rejected),
            ]
        }),
    )
}

async fn measure(config: &Config, case: Case, length: Duration) -> Result<Measured, Error> {
    let simulator = Simulator::start(simulate::Options {
        scale: Scale {
            cursus: 12,
            ..Scale::of_students(1)
        },
        limits: Limits {
            per_second: case.limit,
            per_hour: 1_000_000,
            window: case.window,
            ..Limits::default()
        },
        latency: case.latency..=case.latency,
        ..simulate::Options::default()
    })
    .await?;
    let folder = tempfile::Builder::new().prefix("cursus-bench-").tempdir()?;
    let mut options = Options::new(
        BaseUrl::parse(&simulator.url())?,
        simulator.client_id().to_owned(),
        SecretString::from(simulator.client_secret()),
        folder.path().to_owned(),
    );
    options.timeout = config.api.timeout;
    options.max_in_flight = config.api.max_in_flight;
    options.limits.reserve_per_hour = config.api.reserve_per_hour;
    options.limits.requests_per_second = config.api.requests_per_second;
    options.limits.requests_per_hour = config.api.requests_per_hour;
    options.ledger_dir = Some(folder.path().join("hits"));
    let client = Client::new(options)?;
    ask(&client).await?;
    let mut asking = JoinSet::new();
    for _ in 0..config.api.max_in_flight {
        let client = client.clone();
        asking.spawn(async move {
            loop {
                if let Err(error) = ask(&client).await {
                    return error;
                }
            }
        });
    }
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    while simulator.statistics().hits < 2 {
        tick.tick().await;
    }
    let first = simulator.statistics();
    tokio::select! {
        () = tokio::time::sleep(length) => {}
        Some(ended) = asking.join_next() => return Err(ended?.into()),
    }
    let last = simulator.statistics();
    drop(asking);
    simulator.stop().await;
    let requests = last.hits - first.hits;
    let seconds = Duration::from_millis(last.span_ms - first.span_ms).as_secs_f64();
    Ok(Measured {
        case,
        seconds,
        requests,
        share: precise(requests) / (f64::from(case.limit) * seconds),
        rejected: last.rejected_429,
    })
}

#[expect(clippy::cast_precision_loss, reason = "requests are far below 2^52")]
fn precise(requests: u64) -> f64 {
    requests as f64
}

async fn ask(client: &Client) -> Result<(), cursus::api::ApiError> {
    let request = Request {
        path: "/v2/cursus".to_owned(),
        query: vec![("page[size]".to_owned(), "1".to_owned())],
        timeout: None,
        can_be_smaller: false,
    };
    client.page(&request, |_| Ok(())).await.map(|_| ())
}
