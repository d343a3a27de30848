//! Promises of the simulator, kept over real HTTP on loopback.

use std::collections::HashSet;
use std::time::Duration;

use reqwest::{Client, Response, StatusCode};
use serde_json::Value;

use super::*;

mod access;
mod advance;
mod agenda;
mod lists;
mod locations;
mod staff;
mod values;

fn small() -> Options {
    Options {
        scale: Scale {
            cursus: 6,
            campuses: 5,
            projects: 40,
            achievements: 60,
            coalitions: 20,
            students: 40,
            others: 40,
            enrolments: 120,
            memberships: 450,
            earned: 90,
        },
        limits: Limits {
            per_second: 1_000_000,
            per_hour: 1_000_000,
            ..Limits::default()
        },
        start: "2026-03-02T06:00:00Z".parse().unwrap(),
        ..Options::default()
    }
}

struct Api {
    simulator: Simulator,
    client: Client,
    token: String,
}

impl Api {
    async fn start(options: Options) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::builder().no_proxy().build().unwrap();
        let simulator = Simulator::start(options).await.unwrap();
        let mut api = Self {
            simulator,
            client,
            token: String::new(),
        };
        api.sign_in().await;
        api
    }

    async fn sign_in(&mut self) {
        let answer = self.token(&self.form("client_credentials")).await;
        let token: Value = json(answer).await;
        self.token = token["access_token"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
    }

    fn form(&self, grant: &str) -> [(&'static str, String); 3] {
        [
            ("grant_type", grant.to_owned()),
            ("client_id", self.simulator.client_id().to_owned()),
            ("client_secret", self.simulator.client_secret().to_owned()),
        ]
    }

    async fn token(&self, form: &[(&str, String)]) -> Response {
        let url = format!("{}/oauth/token", self.simulator.url());
        self.client.post(url).form(form).send().await.unwrap()
    }

    async fn try_get(&self, path: &str) -> reqwest::Result<Response> {
        let url = format!("{}{path}", self.simulator.url());
        self.client.get(url).bearer_auth(&self.token).send().await
    }

    async fn get(&self, path: &str) -> Response {
        self.try_get(path).await.unwrap()
    }

    async fn page(&self, path: &str) -> Vec<Value> {
        let answer = self.get(path).await;
        assert_eq!(answer.status(), StatusCode::OK, "{path}");
        let rows: Value = json(answer).await;
        rows.as_array().unwrap().clone()
    }

    /// Every page of a list, in order.
    async fn all(&self, path: &str) -> Vec<Value> {
        let mut rows = Vec::new();
        for page in 1.. {
            let joint = if path.contains('?') { '&' } else { '?' };
            let next = self
                .page(&format!("{path}{joint}per_page=100&page={page}"))
                .await;
            if next.is_empty() {
                break;
            }
            rows.extend(next);
        }
        rows
    }

    async fn total(&self, path: &str) -> usize {
        let joint = if path.contains('?') { '&' } else { '?' };
        header(
            &self.get(&format!("{path}{joint}per_page=1")).await,
            "x-total",
        )
        .parse()
        .unwrap()
    }

    async fn status(&self, path: &str) -> u16 {
        self.get(path).await.status().as_u16()
    }
}

async fn json(answer: Response) -> Value {
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

fn header(answer: &Response, name: &str) -> String {
    let value = answer.headers().get(name);
    value.map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
}

fn ids(rows: &[Value]) -> Vec<i64> {
    rows.iter().map(|row| row["id"].as_i64().unwrap()).collect()
}

fn sorted(mut ids: Vec<i64>) -> Vec<i64> {
    ids.sort_unstable();
    ids
}

const STUDENTS: &str = "/v2/cursus/21/users?filter[kind]=student&filter[alumni?]=false";
