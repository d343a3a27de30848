//! Simulators in this process. Knows nothing of the binary.

use cursus_simulator::{Limits, Options, Scale, Simulator, Undated};
use serde_json::Value;

/// How large a world is that is read in a moment: what tests count is written in these names, not in numbers.
pub(crate) const SCALE: Scale = Scale {
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
};

/// A small world, behind limits that no test waits for.
pub(crate) fn small() -> Options {
    Options {
        scale: SCALE,
        limits: Limits {
            per_second: 10_000,
            per_hour: 1_000_000,
            ..Limits::default()
        },
        undated: UNDATED,
        ..Options::default()
    }
}

/// Changes that move no date are off where the mirror is compared with the simulator: deltas do not see them, and the pipeline does
/// not yet ask for them otherwise. Each gets its default once it does.
pub(crate) const UNDATED: Undated = Undated {
    levels: 0.0,
    replaced: 0.0,
    given_up: 0.0,
    endless_locations: 0.0,
    removed_locations: 0.0,
    anonymised: 0.0,
};

/// A small world that nobody disturbs.
pub(crate) async fn simulator() -> Simulator {
    start(small()).await
}

/// A simulator with options of the test's own.
pub(crate) async fn start(options: Options) -> Simulator {
    Simulator::start(options).await.unwrap()
}

/// Requests for pages that it has answered.
pub(crate) fn page_requests(simulator: &Simulator) -> u64 {
    simulator.statistics().hits
}

/// A program on the same key that knows nothing of ours.
pub(crate) struct OtherClient {
    client: reqwest::Client,
    url: String,
    token: String,
}

impl OtherClient {
    /// With a token of its own.
    pub(crate) async fn of(simulator: &Simulator) -> Self {
        let (id, secret) = (simulator.client_id(), simulator.client_secret());
        Self::with(&simulator.url(), id, secret).await
    }

    /// With a token for these credentials.
    pub(crate) async fn with(url: &str, id: &str, secret: &str) -> Self {
        // A second test of this process finds it installed.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::new();
        let answer = client
            .post(format!("{url}/oauth/token"))
            .form(&[
                ("grant_type", "client_credentials"),
                ("client_id", id),
                ("client_secret", secret),
            ])
            .send()
            .await
            .unwrap();
        let token: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
        let token = token["access_token"].as_str().unwrap().to_owned();
        Self {
            client,
            url: url.to_owned(),
            token,
        }
    }

    /// Any answer.
    pub(crate) async fn ask(&self, request: &str) -> reqwest::Response {
        let url = format!("{}{request}", self.url);
        let request = self.client.get(url).bearer_auth(&self.token);
        request.send().await.unwrap()
    }

    /// The body of a good answer.
    pub(crate) async fn get(&self, request: &str) -> Vec<u8> {
        let answer = self.ask(request).await;
        assert!(answer.status().is_success());
        answer.bytes().await.unwrap().to_vec()
    }
}
