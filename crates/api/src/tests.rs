//! The client against a real server on this machine: what it sends, what it believes, when it gives up.

mod mixed;
mod server;
mod tokens;

use std::error::Error as _;
use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use self::server::{Reply, Server, http, json};
use super::*;

const PAGE: &str = r#"[{"id":2},{"id":1}]"#;
const JSON: (&str, &str) = ("Content-Type", "application/json");

fn options(server: &Server, directory: &tempfile::TempDir) -> Options {
    Options {
        timeout: Duration::from_secs(20),
        backoff_base: Duration::from_millis(1),
        spool_dir: Some(directory.path().to_owned()),
        ..Options::new(
            BaseUrl::parse(&server.url).unwrap(),
            "the-id".to_owned(),
            SecretString::from("canary-secret"),
            directory.path().join("tokens"),
        )
    }
}

/// A client and the directory that it needs for as long as it lives.
fn client(server: &Server) -> (Client, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (Client::new(options(server, &directory)).unwrap(), directory)
}

fn users() -> Request {
    Request {
        path: "/v2/users".to_owned(),
        query: vec![("page[number]".to_owned(), "1".to_owned())],
        timeout: None,
        can_be_smaller: false,
    }
}

fn records(body: &mut BodyReader<'_>) -> Result<usize, InspectError> {
    let mut bytes = Vec::new();
    body.read_to_end(&mut bytes).unwrap();
    serde_json::from_slice::<Vec<serde_json::Value>>(&bytes)
        .map(|records| records.len())
        .map_err(|_| InspectError::NoPage("is not a JSON array".to_owned()))
}

/// One member.
fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn bytes<T>(answer: &Answer<T>) -> Vec<u8> {
    let mut bytes = Vec::new();
    answer.body.reader().read_to_end(&mut bytes).unwrap();
    bytes
}

async fn page(client: &Client) -> Result<Answer<usize>, ApiError> {
    client.page(&users(), records).await
}

/// Everything that a person or a log would see of an error.
fn message_of(error: &ApiError) -> String {
    let mut text = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push(' ');
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    for secret in ["canary-token", "canary-secret", "canary-body"] {
        assert!(!text.contains(secret), "{text}");
    }
    text
}

#[tokio::test]
async fn a_page_is_the_bytes_as_sent_with_what_the_headers_say() {
    let server = Server::with_token(|_| {
        Reply::Bytes(http(
            200,
            &[
                JSON,
                ("X-Total", "17570"),
                ("X-Per-Page", "100"),
                ("Date", "Mon, 23 Nov 2026 10:00:00 GMT"),
                ("X-Hourly-RateLimit-Remaining", "1187"),
            ],
            PAGE.as_bytes(),
        ))
    })
    .await;
    let (client, _directory) = client(&server);
    let answer = page(&client).await.unwrap();
    assert_eq!(bytes(&answer), PAGE.as_bytes());
    assert_eq!(
        (answer.inspected, answer.total, answer.per_page),
        (2, Some(17_570), Some(100))
    );
    assert_eq!((answer.status, answer.attempts), (200, 1));
    assert_eq!(answer.date.unwrap().to_string(), "2026-11-23T10:00:00Z");
    let statistics = client.statistics();
    assert_eq!(
        (
            statistics.requests,
            statistics.token_requests,
            statistics.retries
        ),
        (1, 1, 0)
    );
    assert_eq!(statistics.rate.hour_remaining, Some(1_187));

    let sent = &server.pages()[0];
    assert!(
        sent.head
            .starts_with("GET /v2/users?page%5Bnumber%5D=1 HTTP/1.1")
    );
    assert_eq!(sent.header("authorization").unwrap(), "Bearer canary-token");
    assert_eq!(sent.header("accept-encoding").unwrap(), "identity");
    assert!(sent.header("user-agent").unwrap().starts_with("cursus/"));
    let asked = &server.tokens()[0];
    assert!(asked.body.contains("grant_type=client_credentials"));
    assert!(
        asked.body.contains("client_id=the-id")
            && asked.body.contains("client_secret=canary-secret")
    );
}

#[tokio::test]
async fn whatever_may_pass_is_asked_for_again_until_the_page_is_whole() {
    let whole = gzip(PAGE);
    let damaged = whole[..whole.len() - 3].to_vec();
    let packed =
        |bytes: &[u8]| Reply::Bytes(http(200, &[JSON, ("Content-Encoding", "gzip")], bytes));
    let html = ("Content-Type", "text/html");
    let faults: Vec<(&str, Reply)> = vec![
        ("500", json(500, "{}")),
        ("502", Reply::Bytes(http(502, &[html], b"<html>"))),
        ("503", Reply::Bytes(http(503, &[html], b"<html>"))),
        ("204", Reply::Bytes(http(204, &[], b""))),
        ("429", Reply::Bytes(http(429, &[("Retry-After", "1"), ("Content-Type", "text/plain")], b"429 Too Many"))),
        ("a web page", Reply::Bytes(http(200, &[html], b"<html>canary-body"))),
        ("plain text", Reply::Bytes(http(200, &[("Content-Type", "text/plain")], b"[]"))),
        ("an object", json(200, r#"{"a":"canary-body"}"#)),
        ("an empty body", json(200, "")),
        ("broken JSON", json(200, r#"[{"id":2},"#)),
        ("a short body", Reply::Cut(http(200, &[JSON, ("Content-Length", "19")], b"[{\"id\":2}"))),
        ("a cut chunked body", Reply::Cut(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[{\"id\r\n".to_vec())),
        ("a reset", Reply::Reset),
        ("no HTTP", Reply::Cut(b"what?\r\n\r\n".to_vec())),
        ("a closed connection", Reply::Cut(Vec::new())),
        ("a server that stalls", Reply::Stall),
        ("an encoding of two layers", Reply::Bytes(http(200, &[JSON, ("Content-Encoding", "gzip, gzip")], &whole))),
        ("an unknown encoding", Reply::Bytes(http(200, &[JSON, ("Content-Encoding", "br")], b"??"))),
        ("damaged gzip", packed(&damaged)),
        ("a cut second member", packed(&[&whole[..], &damaged].concat())),
        ("a cut second header", packed(&[&whole[..], &whole[..5]].concat())),
        ("zeros behind gzip", packed(&[&whole[..], &[0; 300]].concat())),
        ("garbage behind gzip", packed(&[&whole[..], b"canary-body"].concat())),
    ];
    for (name, fault) in faults {
        let fault = std::sync::Mutex::new(Some(fault));
        // The first answer teaches the limits, the second is the fault.
        let server = Server::with_token(move |received| {
            let fault = (received.earlier == 1)
                .then(|| fault.lock().unwrap().take())
                .flatten();
            fault.unwrap_or_else(|| json(200, PAGE))
        })
        .await;
        let (client, _directory) = client(&server);
        page(&client).await.unwrap();
        let request = Request {
            timeout: Some(Duration::from_millis(if name.contains("stalls") {
                200
            } else {
                20_000
            })),
            ..users()
        };
        let answer = client.page(&request, records).await.unwrap();
        assert_eq!((answer.attempts, answer.inspected), (2, 2), "{name}");
        let retries = u64::from(name != "429");
        assert_eq!(client.statistics().retries, retries, "{name}");
        assert_eq!(client.statistics().requests, 3, "{name}");
        assert_eq!(
            client.statistics().rejected_429,
            u64::from(name == "429"),
            "{name}"
        );
    }
}

#[tokio::test]
async fn gzip_that_nobody_asked_for_is_unpacked_with_all_its_members() {
    for codings in [
        &["gzip"][..],
        &["x-gzip"],
        &["GZip"],
        &["gzip, identity"],
        &["identity,gzip,"],
        &["identity", "gzip"],
    ] {
        // Members of all sizes, some of them empty, at any place of the pieces that are unpacked at once.
        for length in (0..PAGE.len()).chain([5_000, 300_000]) {
            let large = format!("[{}1]", "1,".repeat(length));
            let (one, two) = large.split_at(length);
            let members = [gzip(one), gzip(""), gzip(two)].concat();
            let headers: Vec<_> = [JSON]
                .into_iter()
                .chain(codings.iter().map(|coding| ("Content-Encoding", *coding)))
                .collect();
            let reply = http(200, &headers, &members);
            let server = Server::with_token(move |_| Reply::Bytes(reply.clone())).await;
            let (client, _directory) = client(&server);
            let answer = page(&client).await.unwrap();
            assert_eq!(answer.attempts, 1, "{codings:?}");
            assert!(bytes(&answer) == large.as_bytes(), "{codings:?} {length}");
        }
    }
}

#[tokio::test]
async fn slow_chunked_and_large_bodies_arrive_whole() {
    let large = format!("[{}]", vec![r#"{"id":1}"#; 400_000].join(","));
    let expected = large.clone();
    let server = Server::with_token(move |_| {
        let mut bytes = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Type: application/json\r\n\r\n".to_vec();
        for chunk in large.as_bytes().chunks(7_919) {
            bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
            bytes.extend(chunk);
            bytes.extend(b"\r\n");
        }
        bytes.extend(b"0\r\n\r\n");
        Reply::Bytes(bytes)
    })
    .await;
    let (client, directory) = client(&server);
    let answer = page(&client).await.unwrap();
    assert_eq!(answer.inspected, 400_000);
    assert_eq!(answer.body.len(), expected.len() as u64);
    assert!(bytes(&answer) == expected.as_bytes());
    let named = std::fs::read_dir(directory.path()).unwrap().count();
    assert_eq!(named, 1, "the directory of the token alone");
}

#[tokio::test]
async fn a_body_that_waits_for_room_is_not_late() {
    // Six of them are more than all bodies together may keep, beside one of any size.
    let large = format!("[{}]", "1,".repeat(3_000_000) + "1");
    let server = Server::with_token(move |received| match received.earlier {
        0 => json(200, "[]"),
        _ => json(200, &large),
    })
    .await;
    let (client, _directory) = client(&server);
    let length = |body: &mut BodyReader<'_>| {
        std::io::copy(body, &mut std::io::sink()).map_err(InspectError::Read)
    };
    client.page(&users(), length).await.unwrap();
    let mut held = Vec::new();
    for _ in 0..6 {
        held.push(client.page(&users(), length).await.unwrap());
    }
    let timeout = Duration::from_secs(2);
    let request = Request {
        timeout: Some(timeout),
        ..users()
    };
    let mut waiting = std::pin::pin!(client.page(&request, length));
    let late = tokio::time::timeout(timeout + timeout / 2, &mut waiting).await;
    assert!(late.is_err(), "{late:?}");
    drop(held);
    let answer = waiting.await.unwrap();
    assert_eq!((answer.inspected, answer.attempts), (6_000_003, 1));
}

#[tokio::test]
async fn what_cannot_pass_is_named_at_once() {
    let html = ("Content-Type", "text/html; charset=UTF-8");
    let elsewhere = Server::with_token(|_| json(200, "[]")).await;
    let location = format!("{}/v2/users", elsewhere.url);
    for (reply, fatal, expected) in [
        (
            http(403, &[JSON], br#"{"error":"canary-body"}"#),
            false,
            "role or scope",
        ),
        (
            http(403, &[html], b"<html>Just a moment..."),
            true,
            "Cloudflare",
        ),
        (http(403, &[], b"  <!DOCTYPE html>"), true, "Cloudflare"),
        (http(404, &[JSON], b"{}"), false, "404"),
        (http(400, &[JSON], b"{}"), false, "400"),
        (http(422, &[JSON], br#"{"canary-body":1}"#), false, "422"),
        (
            http(302, &[("Location", &location)], b""),
            true,
            "points elsewhere",
        ),
        (http(304, &[], b""), true, "points elsewhere"),
    ] {
        let server = Server::with_token(move |_| Reply::Bytes(reply.clone())).await;
        let (client, _directory) = client(&server);
        let error = page(&client).await.unwrap_err();
        let text = message_of(&error);
        assert!(
            text.contains(expected) && text.contains("/v2/users?page%5Bnumber%5D=1"),
            "{text}"
        );
        assert_eq!(error.is_fatal_for_run(), fatal, "{text}");
        assert_eq!(client.statistics().requests, 1);
    }
    assert!(
        elsewhere.pages().is_empty(),
        "no token is carried elsewhere"
    );
}

#[tokio::test]
async fn a_page_has_five_retries_and_a_run_a_budget() {
    let server = Server::with_token(|_| json(500, "{\"canary-body\":1}")).await;
    let (client, _directory) = client(&server);
    let error = page(&client).await.unwrap_err();
    let text = message_of(&error);
    assert!(
        matches!(error, ApiError::GaveUp { attempts: 6, .. }) && text.contains("500"),
        "{text}"
    );
    assert!(!error.is_fatal_for_run());
    let mut pages = 1;
    let error = loop {
        let error = page(&client).await.unwrap_err();
        pages += 1;
        if error.is_fatal_for_run() {
            break error;
        }
    };
    message_of(&error);
    assert!(matches!(error, ApiError::BudgetSpent { .. }));
    assert!(
        server.pages().len() < 35,
        "{} requests for {pages} pages",
        server.pages().len()
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unreachable_and_costs_nothing() {
    let server = Server::with_token(|_| json(200, PAGE)).await;
    let (client, _directory) = client(&server);
    client.token_info().await.unwrap();
    drop(server);
    // The connection of the token request may still be open in the pool; the server behind it has stopped.
    let error = loop {
        match page(&client).await {
            Err(error) => break error,
            Ok(_) => tokio::task::yield_now().await,
        }
    };
    let text = message_of(&error);
    assert!(
        matches!(error, ApiError::Unreachable { attempts: 6, .. }) && error.is_fatal_for_run(),
        "{text}"
    );
    assert!(text.contains("127.0.0.1"));
}

#[tokio::test]
async fn in_flight_is_bounded_and_dropped_requests_make_room() {
    let gate = Arc::new(Notify::new());
    let server = Server::with_token({
        let gate = Arc::clone(&gate);
        move |received| {
            if received.earlier == 0 {
                json(200, PAGE)
            } else {
                Reply::After(Arc::clone(&gate), Box::new(json(200, PAGE)))
            }
        }
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let client = Client::new(Options {
        max_in_flight: 3,
        ..options(&server, &directory)
    })
    .unwrap();
    page(&client).await.unwrap();
    let mut dropped = Vec::new();
    for _ in 0..3 {
        let client = client.clone();
        dropped.push(tokio::spawn(async move { page(&client).await }));
    }
    while server.pages().len() < 4 {
        tokio::task::yield_now().await;
    }
    dropped.iter().for_each(tokio::task::JoinHandle::abort);
    let mut tasks = JoinSet::new();
    for _ in 0..9 {
        let client = client.clone();
        tasks.spawn(async move { page(&client).await.unwrap().inspected });
    }
    while server.pages().len() < 13 {
        gate.notify_waiters();
        tokio::task::yield_now().await;
    }
    while !tasks.is_empty() {
        gate.notify_waiters();
        tokio::select! {
            Some(done) = tasks.join_next() => assert_eq!(done.unwrap(), 2),
            () = tokio::task::yield_now() => {}
        }
    }
    // The three that were abandoned may still be on the server.
    assert!(server.most_under_way() <= 6);
    assert_eq!(client.statistics().requests, 13);
}

#[tokio::test]
async fn max_hits_end_the_run_exactly_where_they_should() {
    let server = Server::with_token(|_| json(200, PAGE)).await;
    let directory = tempfile::tempdir().unwrap();
    let client = Client::new(Options {
        limits: Limits {
            max_hits: Some(3),
            ..Limits::default()
        },
        ..options(&server, &directory)
    })
    .unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..10 {
        let client = client.clone();
        tasks.spawn(async move { page(&client).await });
    }
    let results = tasks.join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 3);
    for error in results.into_iter().filter_map(Result::err) {
        assert!(error.is_used_up() && error.is_fatal_for_run());
    }
    assert_eq!(server.pages().len(), 3);

    let server = Server::with_token(|_| {
        Reply::Bytes(http(
            200,
            &[JSON, ("X-Hourly-RateLimit-Remaining", "5")],
            PAGE.as_bytes(),
        ))
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    let client = Client::new(Options {
        limits: Limits {
            reserve_per_hour: 5,
            wait_for_next_hour: false,
            ..Limits::default()
        },
        ..options(&server, &directory)
    })
    .unwrap();
    page(&client).await.unwrap();
    let error = page(&client).await.unwrap_err();
    assert!(matches!(error, ApiError::HourUsedUp { .. }) && error.is_used_up());
    assert_eq!(server.pages().len(), 1);
}

#[tokio::test]
async fn a_new_client_starts_from_the_limits_in_the_ledger() {
    let server = Server::with_token(|_| json(200, PAGE)).await;
    let directory = tempfile::tempdir().unwrap();
    let next = || {
        let options = Options {
            ledger_dir: Some(directory.path().join("hits")),
            limits: Limits {
                wait_for_next_hour: false,
                ..Limits::default()
            },
            ..options(&server, &directory)
        };
        Client::new(options).unwrap()
    };
    let first = next();
    page(&first).await.unwrap();
    let mut tasks = JoinSet::new();
    // More than an hour has by default.
    for _ in 0..1_300 {
        let first = first.clone();
        tasks.spawn(async move { page(&first).await.unwrap().inspected });
    }
    tasks.join_all().await;
    drop(first);
    let second = next();
    let allowance = second.allowance().await.unwrap();
    assert_eq!(allowance.per_hour, 100_000);
    // It would end instead of waiting.
    page(&second).await.unwrap();
}

#[tokio::test]
async fn an_inspector_that_panics_costs_its_page_only() {
    let server = Server::with_token(|_| json(200, PAGE)).await;
    let (client, _directory) = client(&server);
    let inspect = |body: &mut BodyReader<'_>| -> Result<(), InspectError> { panic!("{body:?}") };
    let error = client.page(&users(), inspect).await.unwrap_err();
    assert!(matches!(error, ApiError::Interrupted { .. }) && !error.is_fatal_for_run());
    page(&client).await.unwrap();
}

#[tokio::test]
async fn nothing_that_is_printed_holds_a_secret() {
    let server = Server::with_token(|_| json(200, PAGE)).await;
    let (client, _directory) = client(&server);
    let answer = page(&client).await.unwrap();
    let metadata = client.token_info().await.unwrap();
    let printed = format!(
        "{client:?} {answer:?} {metadata:?} {:?}",
        client.statistics()
    );
    assert!(!printed.contains("canary"), "{printed}");
    assert!(!printed.contains("id\\\":2"), "no content: {printed}");
}
