//! Who may ask, how often, and what goes wrong on demand.

use super::*;

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
async fn every_answer_announces_the_limits_and_a_429_enforces_them() {
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
async fn faults_come_as_ordered() {
    let api = Api::start(small()).await;
    let inject = |kind| api.simulator.inject(Fault::new("users", kind).times(1));
    let path = "/v2/users?per_page=100";
    let full = api.get(path).await.text().await.unwrap();

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
    assert!(full.starts_with(&broken) && broken.len() < full.len());
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
    assert_eq!(slow.text().await.unwrap(), full);
    inject(FaultKind::Stall { seconds: 0.01 });
    assert_eq!(api.get(path).await.text().await.unwrap(), full);
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
    assert_eq!(api.get(path).await.text().await.unwrap(), full);
    inject(FaultKind::RevokedToken);
    assert_eq!(api.status(path).await, 401);
}

#[tokio::test]
async fn control_endpoints_cost_no_request_and_rows_need_the_secret() {
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
    let rows = async |bearer: &str| {
        let request = api.client.get(format!("{url}/rows/cursus"));
        request.bearer_auth(bearer).send().await.unwrap()
    };
    for known in [api.simulator.client_secret(), &api.token] {
        let rows = json(rows(known).await).await;
        assert_eq!(rows.as_array().unwrap().len(), 6);
    }
    assert_eq!(rows("guessed").await.status(), StatusCode::UNAUTHORIZED);
    let anonymous = api.client.get(format!("{url}/rows/cursus")).send().await;
    assert_eq!(anonymous.unwrap().status(), StatusCode::UNAUTHORIZED);
    assert_eq!(get("faults").await.as_array().unwrap().len(), 1);
    let statistics = get("statistics").await;
    assert_eq!(statistics["hits"], 1);
    assert_eq!(statistics["by_status"]["503"], 1);
    assert_eq!(statistics["faults"], 1);
    api.simulator.stop().await;
}

#[tokio::test]
async fn nobody_controls_it_by_a_name_that_was_made_to_lead_here() {
    let api = Api::start(small()).await;
    let secret = api.simulator.client_secret();
    for (host, status) in [
        ("127.0.0.1:4242", 200),
        ("127.0.0.9", 200),
        ("localhost:4242", 200),
        ("LOCALHOST", 200),
        ("[::1]:4242", 200),
        ("evil.example.org:4242", 421),
        ("evil.example.org", 421),
        ("127.0.0.1.evil.example.org", 421),
        ("localhost.evil.example.org:4242", 421),
        ("192.168.0.7:4242", 421),
        ("", 421),
    ] {
        for path in ["rows/users", "faults", "statistics"] {
            let url = format!("{}/_simulator/{path}", api.simulator.url());
            let request = api.client.get(url).bearer_auth(secret);
            let answer = request.header("host", host).send().await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{host} {path}");
        }
    }
    let url = format!("{}/_simulator/tokens/revoke", api.simulator.url());
    let request = api.client.post(url).header("host", "evil.example.org");
    assert_eq!(request.send().await.unwrap().status().as_u16(), 421);
    assert_eq!(api.status("/v2/cursus").await, 200, "nothing was revoked");
}

/// Sends these bytes, and gives the answer as it came.
async fn raw(api: &Api, head: &str, body: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let url = api.simulator.url();
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let length = match body.len() {
        0 => String::new(),
        length => format!("Content-Length: {length}\r\n"),
    };
    let request = format!("{head}\r\nHost: {address}\r\nConnection: close\r\n{length}\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// The status of an answer, which no page may read.
fn unreadable(answer: &str) -> u16 {
    let head = answer.split("\r\n\r\n").next().unwrap();
    let head = head.to_ascii_lowercase();
    assert!(!head.contains("access-control"), "{answer}");
    for header in [
        "x-content-type-options: nosniff",
        "cross-origin-resource-policy: same-origin",
    ] {
        assert!(head.contains(header), "{answer}");
    }
    head.split(' ').nth(1).unwrap().parse().unwrap()
}

const JSON: &str = "Content-Type: application/json";

/// Every request that changes something, with a body that does.
const CHANGES: [(&str, &str); 9] = [
    (
        "POST /_simulator/faults",
        r#"{"target":"users","kind":"html"}"#,
    ),
    ("DELETE /_simulator/faults", ""),
    ("POST /_simulator/advance", r#"{"seconds":86400}"#),
    (
        "POST /_simulator/fields",
        r#"{"resource":"users","id":1,"field":"wallet"}"#,
    ),
    (
        "POST /_simulator/slow_pages",
        r#"{"resource":"users","rows":1}"#,
    ),
    ("POST /_simulator/anonymise", r#"{"id":1}"#),
    ("POST /_simulator/replace", r#"{"id":1}"#),
    ("POST /_simulator/give_up", r#"{"id":1}"#),
    ("POST /_simulator/tokens/revoke", ""),
];

/// Pages send simple requests, of every kind that a browser lets through without asking before; current ones name the page.
#[tokio::test]
async fn nothing_is_changed_by_what_a_page_can_send() {
    let api = Api::start(small()).await;
    let now = || api.simulator.server.clock.now().timestamp();
    let start = now();
    let named = [
        "Origin: https://evil.example.org",
        "Origin: null",
        "Origin: http://localhost:3000",
        "oRIGIN:",
        "Referer: https://evil.example.org/",
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Site: same-site",
        "Sec-Fetch-Site: same-origin",
        "Sec-Fetch-Site: none",
        "Sec-Fetch-Site: none\r\nSec-Fetch-Site: cross-site",
        "Sec-Fetch-Site:",
    ];
    let unnamed = [
        "Content-Type: text/plain",
        "Content-Type: text/plain;charset=UTF-8",
        "Content-Type: text/plain; application/json",
        "Content-Type: text/plain\r\nContent-Type: application/json",
        "Content-Type: application/x-www-form-urlencoded",
        "Content-Type: multipart/form-data; boundary=application/json",
        "Content-Type: application/csp-report",
        "Content-Type: application/reports+json",
        "Content-Type: text/ping",
        "Content-Type: application/jsonp",
        "Content-Type:",
    ];
    for (request, body) in CHANGES {
        for header in named {
            let head = format!("{request} HTTP/1.1\r\n{JSON}\r\n{header}");
            assert_eq!(unreadable(&raw(&api, &head, body).await), 403, "{head}");
        }
        for header in unnamed {
            let head = format!("{request} HTTP/1.1\r\n{header}");
            assert_eq!(unreadable(&raw(&api, &head, body).await), 415, "{head}");
        }
        // A body without a type, as of a typeless blob.
        let head = format!("{request} HTTP/1.1\r\nAccept: */*");
        let body = if body.is_empty() { "{}" } else { body };
        assert_eq!(unreadable(&raw(&api, &head, body).await), 415, "{head}");
        // The question that comes before other requests.
        let (method, path) = request.split_once(' ').unwrap();
        for headers in [
            format!("Origin: null\r\nAccess-Control-Request-Method: {method}"),
            format!("Access-Control-Request-Method: {method}"),
        ] {
            let head = format!("OPTIONS {path} HTTP/1.1\r\n{headers}");
            let status = unreadable(&raw(&api, &head, "").await);
            assert!([403, 405].contains(&status), "{head}: {status}");
        }
    }
    for method in ["GET", "HEAD"] {
        for header in named {
            let is_typed = header == "Sec-Fetch-Site: none";
            for path in ["statistics", "faults", "rows/users"] {
                let secret = api.simulator.client_secret();
                let head = format!(
                    "{method} /_simulator/{path} HTTP/1.1\r\nAuthorization: Bearer {secret}\r\n{header}"
                );
                let status = if is_typed { 200 } else { 403 };
                assert_eq!(unreadable(&raw(&api, &head, "").await), status, "{head}");
            }
        }
    }
    let nowhere = raw(&api, "POST /_simulator/stop HTTP/1.1", "").await;
    assert_eq!(unreadable(&nowhere), 404);
    assert_eq!(api.status("/v2/cursus").await, 200, "nothing was revoked");
    let later = now().duration_since(start).as_secs();
    assert!(later < 3600, "no time has passed");
}

/// As `docs/simulator.md` shows them, and as libraries send them.
#[tokio::test]
async fn programs_control_it_without_asking_before() {
    let api = Api::start(small()).await;
    let types = [
        "Content-Type: application/json",
        "content-type: Application/JSON; charset=utf-8",
        // `fetch` of Node.
        "Content-Type: application/json\r\nSec-Fetch-Mode: cors\r\nAccept-Language: *",
    ];
    for (request, body) in CHANGES {
        for header in types {
            let head = format!("{request} HTTP/1.1\r\nUser-Agent: curl/8.5.0\r\n{header}");
            let status = unreadable(&raw(&api, &head, body).await);
            assert!([200, 204, 404].contains(&status), "{head}: {status}");
        }
    }
    for head in [
        "POST /_simulator/tokens/revoke HTTP/1.1\r\nAccept: */*",
        "POST /_simulator/tokens/revoke HTTP/1.1\r\nContent-Length: 0",
        "DELETE /_simulator/faults HTTP/1.1\r\nAccept: */*",
    ] {
        assert_eq!(unreadable(&raw(&api, head, "").await), 204, "{head}");
    }
    assert_eq!(api.status("/v2/cursus").await, 401, "it was revoked");
}
