//! Promises of the simulator, kept over real HTTP on loopback.

use std::collections::HashSet;
use std::time::Duration;

use reqwest::{Client, Response, StatusCode};
use serde_json::Value;

use super::*;

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

#[tokio::test]
async fn it_listens_on_loopback_only() {
    let options = Options {
        address: "0.0.0.0:0".parse().unwrap(),
        ..small()
    };
    let error = Simulator::start(options).await.unwrap_err();
    assert!(matches!(error, SimulateError::NotLoopback { .. }));
}

#[tokio::test]
async fn a_token_comes_for_the_secret_in_every_documented_encoding() {
    let mut api = Api::start(small()).await;
    let granted: Value = json(api.token(&api.form("client_credentials")).await).await;
    let keys: Vec<&String> = granted.as_object().unwrap().keys().collect();
    let documented = [
        "access_token",
        "created_at",
        "expires_in",
        "scope",
        "secret_valid_until",
        "token_type",
    ];
    assert_eq!(keys, documented);
    assert_eq!(granted["secret_valid_until"], 1_772_431_200 + 28 * 86_400);

    let url = format!("{}/oauth/token", api.simulator.url());
    let (id, secret) = (api.simulator.client_id(), api.simulator.client_secret());
    let query =
        format!("{url}?grant_type=client_credentials&client_id={id}&client_secret={secret}");
    let text = format!(
        r#"{{"grant_type":"client_credentials","client_id":"{id}","client_secret":"{secret}"}}"#
    );
    let part = |name: &str, value: &str| {
        format!("--xx\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let parts = [
        part("grant_type", "client_credentials"),
        part("client_id", id),
        part("client_secret", secret),
        "--xx--\r\n".to_owned(),
    ];
    let post = || api.client.post(&url);
    for request in [
        api.client.post(query),
        post().header("content-type", "application/json").body(text),
        post()
            .basic_auth(id, Some(secret))
            .form(&[("grant_type", "client_credentials")]),
        post()
            .header("content-type", "multipart/form-data; boundary=xx")
            .body(parts.concat()),
    ] {
        assert_eq!(request.send().await.unwrap().status(), StatusCode::OK);
    }

    let mut wrong = api.form("client_credentials");
    wrong[2].1 = "no".to_owned();
    let refused = api.token(&wrong).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(json(refused).await["error"], "invalid_client");
    let refused = api.token(&api.form("refresh_token")).await;
    assert_eq!(json(refused).await["error"], "invalid_grant");

    let info = json(api.get("/oauth/token/info").await).await;
    assert_eq!(info["application"]["uid"], *api.simulator.client_id());
    assert_eq!(info["resource_owner_id"], Value::Null);

    api.simulator.advance(Duration::from_hours(28 * 24));
    let dead = api.token(&api.form("client_credentials")).await;
    assert_eq!(json(dead).await["error"], "invalid_client");
    api.simulator.revoke_tokens();
    let revoked = api.get("/v2/cursus").await;
    assert!(header(&revoked, "www-authenticate").contains("The access token was revoked"));
    api.token = "unknown".to_owned();
    let unknown = api.get("/v2/cursus").await;
    assert_eq!(unknown.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(
        header(&unknown, "www-authenticate"),
        "Bearer realm=\"42 API\", error=\"invalid_token\", error_description=\"The access token is invalid\""
    );
    assert!(unknown.headers().contains_key("x-hourly-ratelimit-limit"));
}

#[tokio::test]
async fn a_token_expires_in_real_time() {
    let options = Options {
        token_life: Duration::ZERO,
        ..small()
    };
    let expired = Api::start(options).await.get("/v2/cursus").await;
    assert!(header(&expired, "www-authenticate").contains("The access token expired"));
}

#[tokio::test]
async fn the_filters_for_active_students_give_exactly_them() {
    let api = Api::start(small()).await;
    let students = api.all(STUDENTS).await;
    assert_eq!(students.len(), 40);
    assert!(api.total("/v2/cursus/21/users").await > 40);
    assert_eq!(api.total("/v2/users").await, 80);
    for student in &students {
        assert_eq!(student.as_object().unwrap().len(), 25);
    }
    let names: HashSet<&str> = (students.iter())
        .filter_map(|row| row["first_name"].as_str())
        .collect();
    for hurting in ["", "NULL", "\\N", "Back\\slash", "Tab\there", "محمد"] {
        assert!(names.contains(hurting), "{hurting:?} is missing");
    }
    let logins: HashSet<&Value> = students.iter().map(|row| &row["login"]).collect();
    assert_eq!(logins.len(), 40);

    let mut by_campus = 0;
    for campus in ids(&api.simulator.rows("campus")) {
        let path = format!("{STUDENTS}&filter[primary_campus_id]={campus}");
        by_campus += api.total(&path).await;
    }
    assert_eq!(by_campus, 40);
}

#[tokio::test]
async fn every_person_has_exactly_one_primary_campus_and_rows_of_joins_are_whole() {
    let api = Api::start(small()).await;
    let campus_users = api.simulator.rows("campus_users");
    let primary = campus_users.iter().filter(|row| row["is_primary"] == true);
    let primary: HashSet<i64> = primary
        .map(|row| row["user_id"].as_i64().unwrap())
        .collect();
    assert_eq!(primary.len(), 80);
    assert!(campus_users.len() > 80);

    for (path, keys) in [
        ("/v2/cursus", 5),
        ("/v2/campus", 18),
        ("/v2/cursus/21/projects", 17),
        ("/v2/achievements", 13),
        ("/v2/coalitions", 8),
        ("/v2/cursus/21/cursus_users", 13),
        ("/v2/projects_users", 15),
        ("/v2/achievements_users", 8),
        ("/v2/coalitions_users", 7),
        ("/v2/campus_users", 6),
    ] {
        for row in api.page(path).await {
            assert_eq!(row.as_object().unwrap().len(), keys, "{path}");
            if let Some(user) = row.get("user") {
                assert_eq!(user.as_object().unwrap().len(), 25, "{path}");
            }
        }
    }
    let projects = api.all("/v2/cursus/21/projects").await;
    assert_eq!(projects.len(), 40);
    let mut sessions = HashSet::new();
    for session in projects
        .iter()
        .flat_map(|row| row["project_sessions"].as_array().unwrap())
    {
        assert_eq!(session.as_object().unwrap().len(), 21);
        assert!(sessions.insert(session["id"].clone()));
    }
    let nested = projects
        .iter()
        .flat_map(|row| row["campus"].as_array().unwrap());
    assert!(nested.clone().count() > 0);
    assert!(
        nested
            .into_iter()
            .all(|campus| campus.as_object().unwrap().len() == 17)
    );

    let enrolments = api.all("/v2/projects_users?filter[cursus]=21").await;
    let of_cursus = |row: &&Value| row["cursus_ids"][0] == 21;
    assert_eq!(enrolments.iter().filter(of_cursus).count(), 120);
    assert!(enrolments.len() > 120);
    let mut teams = enrolments
        .iter()
        .flat_map(|row| row["teams"].as_array().unwrap());
    assert!(teams.all(|team| team.as_object().unwrap().len() == 19));

    let login = projects_login(&enrolments);
    let profile = json(api.get(&format!("/v2/users/{login}")).await).await;
    assert_eq!(profile["login"], *login);
    assert!(!profile["campus_users"].as_array().unwrap().is_empty());
    assert!(!profile["cursus_users"].as_array().unwrap().is_empty());
}

fn projects_login(enrolments: &[Value]) -> &str {
    enrolments[0]["user"]["login"].as_str().unwrap()
}

#[tokio::test]
async fn pages_are_numbered_clamped_linked_and_empty_past_the_end() {
    let api = Api::start(small()).await;
    let first = api
        .get("/v2/coalitions_users?page[size]=500&page[number]=2")
        .await;
    assert_eq!(header(&first, "x-total"), "450");
    assert_eq!(header(&first, "x-page"), "2");
    assert_eq!(header(&first, "x-per-page"), "100");
    let link = header(&first, "link");
    let url = api.simulator.url();
    for (rel, page) in [("first", 1), ("prev", 1), ("next", 3), ("last", 5)] {
        let wanted =
            format!("<{url}/v2/coalitions_users?page={page}&page[size]=500>; rel=\"{rel}\"");
        assert!(link.contains(&wanted), "{link}");
    }
    assert_eq!(api.page("/v2/coalitions_users").await.len(), 30);
    let beyond = api.get("/v2/coalitions_users?page=6&per_page=100").await;
    assert_eq!(header(&beyond, "x-total"), "450");
    assert_eq!(beyond.text().await.unwrap(), "[]");
    assert_eq!(api.status("/v2/coalitions_users?page=0").await, 400);

    let all = api.all("/v2/coalitions_users").await;
    let known = ids(&api.simulator.rows("coalitions_users"));
    assert_eq!(sorted(ids(&all)), known);
}

#[tokio::test]
async fn lists_are_ordered_as_documented_and_as_asked() {
    let api = Api::start(small()).await;
    let descending = |ids: Vec<i64>| ids.windows(2).all(|pair| pair[0] > pair[1]);
    for path in [
        "/v2/cursus",
        "/v2/campus",
        "/v2/users",
        "/v2/achievements_users",
    ] {
        assert!(descending(ids(&api.all(path).await)), "{path}");
    }
    let achievements = ids(&api.all("/v2/achievements").await);
    assert_eq!(sorted(achievements.clone()), achievements);
    let members = api.all("/v2/coalitions_users").await;
    let newest_first = |pair: &[Value]| {
        pair[0]["created_at"].as_str().unwrap() >= pair[1]["created_at"].as_str().unwrap()
    };
    assert!(members.windows(2).all(newest_first));
    assert!(descending(ids(&api.all("/v2/coalitions?sort=-id").await)));

    let rows = api.all("/v2/users?sort=kind,-updated_at").await;
    let key = |row: &Value| {
        let text = |key: &str| row[key].as_str().unwrap().to_owned();
        (text("kind"), std::cmp::Reverse(text("updated_at")))
    };
    assert!(rows.is_sorted_by_key(key));
    let asked = ids(&api.all("/v2/projects_users?sort=id").await);
    assert_ne!(sorted(asked.clone()), asked, "projects_users has no sort");
}

#[tokio::test]
async fn filters_and_ranges_hold_and_unlisted_ones_do_nothing() {
    let api = Api::start(small()).await;
    let users = sorted(ids(&api.all("/v2/users").await));
    let some = format!("{},{}", users[3], users[7]);
    let picked = api.all(&format!("/v2/users?filter[id]={some}")).await;
    assert_eq!(sorted(ids(&picked)), [users[3], users[7]]);
    let picked = api.all(&format!("/v2/users?range[id]={some}")).await;
    assert_eq!(sorted(ids(&picked)), users[3..=7]);
    let campuses = api
        .all(&format!("/v2/campus_users?filter[user_id]={some}"))
        .await;
    let of: HashSet<i64> = (campuses.iter())
        .map(|row| row["user_id"].as_i64().unwrap())
        .collect();
    assert_eq!(of, HashSet::from([users[3], users[7]]));
    let one = &api
        .page("/v2/coalitions_users?sort=updated_at&per_page=9")
        .await[4];
    let at = one["updated_at"].as_str().unwrap();
    let exact = |to: &str| format!("/v2/coalitions_users?range[updated_at]=2000-01-01,{to}");
    assert_eq!(
        api.total(&exact(at)).await,
        4,
        "microseconds lie behind what is shown"
    );
    let next = at.replace('Z', "999Z");
    assert_eq!(api.total(&exact(&next)).await, 5);

    assert_eq!(api.total("/v2/coalitions?filter[id]=1").await, 20);
    assert_eq!(
        api.total("/v2/users?filter[shoe_size]=1&alumni_p=false")
            .await,
        80
    );
    assert_eq!(api.status("/v2/users?range[id]=5").await, 400);
    assert_eq!(api.status("/v2/users?range[id]=a,b").await, 400);
    assert_eq!(api.status("/v2/campuses").await, 404);
    assert_eq!(api.status("/v2/cursus/999/users").await, 404);
    assert_eq!(
        api.total("/v2/cursus/42cursus/users").await,
        api.total("/v2/cursus/21/users").await
    );

    let strict = Options {
        unknowns: Unknowns {
            unlisted: Unlisted::BadRequest,
            open_range: OpenRange::Accepted,
            coalitions_need_role: true,
            ..Unknowns::default()
        },
        ..small()
    };
    let api = Api::start(strict).await;
    assert_eq!(api.status("/v2/users?filter[shoe_size]=1").await, 400);
    assert_eq!(api.status("/v2/coalitions").await, 403);
    let from = format!("/v2/users?range[id]={},", users[70]);
    assert_eq!(api.total(&from).await, 10);
}

#[tokio::test]
async fn limits_are_told_in_every_answer_and_kept_with_a_plain_429() {
    let limits = Limits {
        per_second: 1_000,
        per_hour: 4,
        window: Window::Rolling,
        ..Limits::default()
    };
    let api = Api::start(Options { limits, ..small() }).await;
    // The token took one.
    let remaining = async |path| {
        let answer = api.get(path).await;
        header(&answer, "x-hourly-ratelimit-remaining")
    };
    assert_eq!(remaining("/v2/cursus").await, "2");
    assert_eq!(remaining("/v2/nowhere").await, "1");
    assert_eq!(remaining("/v2/cursus").await, "0");
    let full = api.get("/v2/cursus").await;
    assert_eq!(full.status(), StatusCode::TOO_MANY_REQUESTS);
    let wait: u64 = header(&full, "retry-after").parse().unwrap();
    assert!((3_500..=3_600).contains(&wait));
    assert_eq!(header(&full, "content-type"), "text/plain");
    assert_eq!(
        full.text().await.unwrap(),
        "429 Too Many Requests (Hourly Rate Limit Exceeded)"
    );
    let statistics = api.simulator.statistics();
    assert_eq!((statistics.hits, statistics.rejected_429), (4, 1));

    let limits = Limits {
        per_second: 0,
        retry_after: false,
        ..Limits::default()
    };
    let api = Api::start(Options { limits, ..small() }).await;
    let full = api.get("/v2/cursus").await;
    assert!(!full.headers().contains_key("retry-after"));
    let text = full.text().await.unwrap();
    assert_eq!(text, "429 Too Many Requests (Spam Rate Limit Exceeded)");
}

#[tokio::test]
async fn a_day_passes_and_every_change_lies_in_its_window() {
    let api = Api::start(small()).await;
    let before = |name: &str| api.simulator.rows(name);
    let names = [
        "users",
        "cursus_users",
        "projects_users",
        "coalitions_users",
        "projects",
    ];
    let old: Vec<Vec<Value>> = names.iter().map(|name| before(name)).collect();
    let students = ids(&api.all(STUDENTS).await);
    api.simulator.advance(Duration::from_hours(24));

    let date = header(&api.get("/v2/cursus").await, "date");
    assert!(date.starts_with("Tue, 03 Mar 2026 06:0"), "{date}");
    for (name, old) in names.iter().zip(old) {
        let new = api.simulator.rows(name);
        assert!(
            new.len() >= old.len(),
            "{name}: nothing vanishes by default"
        );
        let changed = new.iter().filter(|row| {
            let known = old.iter().find(|known| known["id"] == row["id"]);
            // A nested person may have changed without the row that nests them.
            known.is_none_or(|known| known["updated_at"] != row["updated_at"])
        });
        let path = if *name == "projects" {
            "/v2/cursus/21/projects"
        } else {
            &format!("/v2/{name}")
        };
        let window = "2026-03-02T06:00:00Z,2026-03-03T07:00:00Z";
        let listed = api.all(&format!("{path}?range[updated_at]={window}")).await;
        let changed: Vec<i64> = changed.map(|row| row["id"].as_i64().unwrap()).collect();
        assert_eq!(sorted(ids(&listed)), sorted(changed.clone()), "{name}");
        assert!(!changed.is_empty(), "{name}");
    }
    let now = ids(&api.all(STUDENTS).await);
    assert!(
        students.iter().any(|id| !now.contains(id)),
        "someone graduated"
    );
    assert!(
        now.iter().any(|id| !students.contains(id)),
        "someone joined"
    );
}

#[tokio::test]
async fn the_same_seed_and_steps_give_the_same_world() {
    let hour = Duration::from_hours(1);
    let worlds = [1, 1, 2].map(|seed| async move {
        let options = Options { seed, ..small() };
        let simulator = Simulator::start(options).await.unwrap();
        simulator.advance(hour);
        let logins = |row: &Value| row["login"].as_str().unwrap().to_owned();
        let people = simulator.rows("users");
        let people: Vec<String> = people.iter().map(logins).collect();
        (people, simulator.rows("projects_users").len())
    });
    let [first, again, other] = worlds;
    let first = first.await;
    assert_eq!(first, again.await);
    assert_ne!(first, other.await);
}

#[tokio::test]
async fn churn_shifts_pages_while_they_are_read() {
    let churn = Churn {
        every: 2,
        inserted: 3,
        updated: 1,
        deleted: 1,
        resources: vec!["coalitions_users".to_owned()],
    };
    let options = Options {
        churn: Some(churn),
        ..small()
    };
    let api = Api::start(options).await;
    let first = api.page("/v2/coalitions_users?sort=-id&per_page=100").await;
    let second = api
        .page("/v2/coalitions_users?sort=-id&per_page=100&page=2")
        .await;
    let first: HashSet<i64> = ids(&first).into_iter().collect();
    assert!(ids(&second).iter().any(|id| first.contains(id)));
    assert_eq!(api.simulator.rows("coalitions_users").len(), 452);
    for name in Resource::ALL.map(Resource::name) {
        let churn = Churn {
            every: 1,
            inserted: 2,
            updated: 2,
            deleted: 2,
            resources: Vec::new(),
        };
        let options = Options {
            churn: Some(churn),
            ..small()
        };
        let api = Api::start(options).await;
        for _ in 0..4 {
            api.page(&format!("/v2/{name}")).await;
        }
    }
}

#[tokio::test]
async fn faults_come_as_ordered() {
    let api = Api::start(small()).await;
    let inject = |kind| api.simulator.inject(Fault::new("users", kind).times(1));
    let path = "/v2/users?per_page=100";
    let whole = api.get(path).await.text().await.unwrap();

    inject(FaultKind::Status { status: 502 });
    let answer = api.get(path).await;
    assert_eq!(answer.status(), StatusCode::BAD_GATEWAY);
    assert!(answer.text().await.unwrap().starts_with("<!DOCTYPE html>"));
    inject(FaultKind::TooManyRequests { retry_after: None });
    assert!(!api.get(path).await.headers().contains_key("retry-after"));
    inject(FaultKind::HourlyLimit {
        retry_after: Some(7),
    });
    assert_eq!(header(&api.get(path).await, "retry-after"), "7");
    inject(FaultKind::Cloudflare);
    assert!(
        api.get(path)
            .await
            .text()
            .await
            .unwrap()
            .contains("Just a moment")
    );
    inject(FaultKind::Forbidden);
    assert_eq!(json(api.get(path).await).await["error"], "Forbidden");
    inject(FaultKind::NotFound);
    assert_eq!(api.status(path).await, 404);
    inject(FaultKind::Object);
    assert!(json(api.get(path).await).await.is_object());
    inject(FaultKind::Empty);
    assert_eq!(api.get(path).await.text().await.unwrap(), "");
    inject(FaultKind::Html);
    assert_eq!(api.status(path).await, 200);
    inject(FaultKind::BrokenJson);
    let broken = api.get(path).await.text().await.unwrap();
    assert!(whole.starts_with(&broken) && broken.len() < whole.len());
    for kind in [FaultKind::FewerBytes, FaultKind::ResetInside] {
        inject(kind);
        let answer = api.try_get(path).await;
        if let Ok(answer) = answer {
            assert!(answer.bytes().await.is_err());
        }
    }
    // An HTTP client may silently ask again on a connection that it had open.
    api.simulator
        .inject(Fault::new("users", FaultKind::ResetBefore).times(2));
    assert!(api.try_get(path).await.is_err());
    api.simulator.clear_faults();
    inject(FaultKind::Gzip);
    let packed = api.get(path).await;
    assert_eq!(header(&packed, "content-encoding"), "gzip");
    assert!(packed.bytes().await.unwrap().starts_with(&[0x1f, 0x8b]));
    inject(FaultKind::SlowChunks { seconds: 0.01 });
    let slow = api.get(path).await;
    assert!(!slow.headers().contains_key("content-length"));
    assert_eq!(slow.text().await.unwrap(), whole);
    inject(FaultKind::Stall { seconds: 0.01 });
    assert_eq!(api.get(path).await.text().await.unwrap(), whole);
    inject(FaultKind::NoTotal);
    assert!(!api.get(path).await.headers().contains_key("x-total"));
    inject(FaultKind::WrongTotal { by: -3 });
    assert_eq!(header(&api.get(path).await, "x-total"), "77");
    inject(FaultKind::ShortPage { by: 2 });
    assert_eq!(api.page(path).await.len(), 78);
    api.simulator
        .inject(Fault::new("/oauth/token", FaultKind::InvalidClient).times(1));
    let refused = api.token(&api.form("client_credentials")).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(api.get(path).await.text().await.unwrap(), whole);
    inject(FaultKind::RevokedToken);
    assert_eq!(api.status(path).await, 401);
}

#[tokio::test]
async fn the_control_endpoints_need_no_token_and_cost_no_hit() {
    let api = Api::start(small()).await;
    let url = format!("{}/_simulator", api.simulator.url());
    let post = async |path: &str, body: &'static str| {
        let request = api.client.post(format!("{url}/{path}"));
        let request = request
            .header("content-type", "application/json")
            .body(body);
        request.send().await.unwrap()
    };
    let fault = r#"{"target":"cursus","times":1,"kind":{"status":{"status":503}}}"#;
    assert_eq!(post("faults", fault).await.status(), StatusCode::NO_CONTENT);
    assert_eq!(api.status("/v2/cursus").await, 503);
    let moved = post("advance", r#"{"seconds":86400}"#).await;
    let now = json(moved).await["now"].as_str().unwrap().to_owned();
    assert!(now.starts_with("2026-03-03T06:0"), "{now}");
    let get = async |path: &str| {
        let answer = api.client.get(format!("{url}/{path}")).send().await;
        json(answer.unwrap()).await
    };
    assert_eq!(get("rows/cursus").await.as_array().unwrap().len(), 6);
    assert_eq!(get("faults").await.as_array().unwrap().len(), 1);
    let statistics = get("statistics").await;
    assert_eq!(statistics["hits"], 1);
    assert_eq!(statistics["by_status"]["503"], 1);
    assert_eq!(statistics["faults"], 1);
    api.simulator.stop().await;
}

#[tokio::test]
async fn given_rows_are_served_as_they_are_and_joins_refer_to_them() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let coalition = r#"{ "id": 77, "name": "É\u00e9", "slug": "x", "image_url": "", "cover_url": null, "color": "\t#fff", "score": 1.50, "user_id": 3 }"#;
    let coalitions = file("coalitions", &format!("[\n {coalition}\n]"));
    let people = Simulator::start(small()).await.unwrap();
    let users = file("users", &Value::from(people.rows("users")).to_string());
    let mut options = small();
    options.rows.insert("coalitions".to_owned(), coalitions);
    options.rows.insert("users".to_owned(), users);
    for name in ["cursus_users", "projects_users", "achievements_users"] {
        let path = file(name, &Value::from(people.rows(name)).to_string());
        options.rows.insert(name.to_owned(), path);
    }
    let api = Api::start(options).await;
    let served = api.get("/v2/coalitions").await.text().await.unwrap();
    assert_eq!(
        served,
        format!(
            "[{}]",
            coalition
                .replace(": ", ":")
                .replace(", ", ",")
                .replace("{ ", "{")
                .replace(" }", "}")
        )
    );
    assert_eq!(api.total("/v2/coalitions/77/coalitions_users").await, 450);
    assert_eq!(api.total(STUDENTS).await, 40);
    for name in [
        "users",
        "cursus_users",
        "projects_users",
        "achievements_users",
    ] {
        assert_eq!(api.simulator.rows(name), people.rows(name), "{name}");
    }

    let broken = file("broken", r#"[{"id":1},{"name":"no id"}]"#);
    let mut options = small();
    options.rows.insert("cursus".to_owned(), broken);
    let error = Simulator::start(options).await.unwrap_err();
    assert!(matches!(error, SimulateError::Row { index: 1, .. }));
    let mut options = small();
    options.rows.insert("campuses".to_owned(), PathBuf::new());
    let error = Simulator::start(options).await.unwrap_err().to_string();
    assert!(error.contains("campus_users"), "{error}");
}

#[tokio::test]
async fn the_quick_start_has_the_size_that_it_promises() {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    for (name, least) in [
        ("cursus", 54),
        ("campus", 25),
        ("projects", 938),
        ("achievements", 8_000),
        ("coalitions", 350),
        ("projects_users", 900),
        ("coalitions_users", 92_000),
    ] {
        assert!(simulator.rows(name).len() >= least, "{name}");
    }
}
