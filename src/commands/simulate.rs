//! `cursus simulate`.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use crate::cli::{Global, SimulateArgs, WindowKind};
use crate::context::{Activity, Context};
use crate::exit::{Exit, Failure};
use cursus_simulator::{Fault, FaultKind, Limits, Options, Scale, Simulator, Undated, Window};

pub(super) async fn run(
    global: &Global,
    context: &Context,
    arguments: &SimulateArgs,
) -> Result<Exit, Failure> {
    let simulator = Simulator::start(options(arguments))
        .await
        .map_err(|error| Failure {
            exit: Exit::Usage,
            error: error.into(),
        })?;
    context.begin(Activity::Waiting);
    if global.json {
        super::print_json(&serde_json::json!({
            "url": simulator.url(),
            "client_id": simulator.client_id(),
            "client_secret": simulator.client_secret(),
        }));
    } else {
        super::print(&format!(
            "# a simulated 42 API; put these into .env, or into the environment of another terminal\n\
             export CURSUS_API_URL={}\nexport CURSUS_CLIENT_ID={}\nexport CURSUS_CLIENT_SECRET={}\n",
            simulator.url(),
            simulator.client_id(),
            simulator.client_secret()
        ));
        super::note("serving until Ctrl-C");
    }
    // The signal that ends the program ends the simulator.
    std::future::pending().await
}

fn options(arguments: &SimulateArgs) -> Options {
    let mut scale = arguments
        .students
        .map_or_else(Scale::quick_start, Scale::of_students);
    scale.others = arguments.others.unwrap_or(scale.others);
    scale.enrolments = arguments.enrolments.unwrap_or(scale.enrolments);
    scale.memberships = arguments.memberships.unwrap_or(scale.memberships);
    scale.earned = arguments.earned.unwrap_or(scale.earned);
    // One rule a resource, for only the first rule that fires counts.
    let mut ignored: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (resource, parameter) in &arguments.ignore {
        let parameters = ignored.entry(resource).or_default();
        parameters.push(parameter.clone());
    }
    let faults = ignored
        .into_iter()
        .map(|(resource, parameters)| Fault::new(resource, FaultKind::Ignore { parameters }));
    let mut slow_pages = Options::default().slow_pages;
    slow_pages.extend(arguments.slow_page.iter().cloned());
    Options {
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, arguments.port)),
        seed: arguments.seed,
        scale,
        rows: arguments.rows.iter().cloned().collect(),
        undated: Undated {
            levels: arguments.undated_levels,
            replaced: arguments.replaced,
            given_up: arguments.given_up,
            endless_locations: arguments.endless_locations,
            removed_locations: arguments.removed_locations,
            anonymised: arguments.anonymised,
        },
        staff: arguments.staff,
        odd_dates: arguments.odd_dates.clone(),
        limits: Limits {
            per_second: arguments.rate,
            per_hour: arguments.hourly,
            window: match arguments.window {
                WindowKind::Fixed => Window::Fixed,
                WindowKind::Rolling => Window::Rolling,
            },
            ..Limits::default()
        },
        latency: arguments.latency.0..=arguments.latency.1,
        token_life: arguments.token_life,
        faults: faults.collect(),
        slow_pages,
        slow_for: arguments.slow_for,
        ..Options::default()
    }
}
