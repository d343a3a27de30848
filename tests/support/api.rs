//! Simulators in this process. Knows nothing of the binary.

use cursus::simulate::{Limits, Options, Scale, Simulator};

/// A world that is read in a moment, behind limits that no test waits for.
pub(crate) fn small() -> Options {
    Options {
        scale: Scale {
            cursus: 12,
            campuses: 8,
            projects: 60,
            achievements: 120,
            coalitions: 20,
            students: 30,
            others: 20,
            enrolments: 200,
            memberships: 500,
            earned: 150,
        },
        limits: Limits {
            per_second: 10_000,
            per_hour: 1_000_000,
            ..Limits::default()
        },
        ..Options::default()
    }
}

/// A small world that nobody disturbs.
pub(crate) async fn simulator() -> Simulator {
    start(small()).await
}

/// A simulator with options of the test's own.
pub(crate) async fn start(options: Options) -> Simulator {
    Simulator::start(options).await.unwrap()
}
