//! Tokens: asked for once, shared, kept, renewed, and refused.

use std::sync::Mutex;

use jiff::Timestamp;
use tokio::task::JoinSet;

use super::server::{Received, Reply, Server, http, json, token};
use super::{PAGE, client, gzip, message_of, options, page, records, users};
use crate::{ApiError, BaseUrl, Client, Request, TokenMetadata};

#[tokio::test]
async fn one_token_serves_all_requests_and_the_next_command() {
    let server = Server::with_token(|_| json(200, PAGE)).await;
    let (first, directory) = client(&server);
    let mut tasks = JoinSet::new();
    for _ in 0..20 {
        let client = first.clone();
        tasks.spawn(async move { page(&client).await.unwrap().inspected });
    }
    assert_eq!(tasks.join_all().await, vec![2; 20]);
    assert_eq!(server.tokens().len(), 1);

    let next = Client::new(options(&server, &directory)).unwrap();
    let metadata = next.token_info().await.unwrap();
    page(&next).await.unwrap();
    assert_eq!(server.tokens().len(), 1, "the file is used");
    assert_eq!(metadata.scopes, ["public", "projects"]);
    assert_eq!(metadata.created.as_second(), 1_700_000_000);
    assert_eq!(
        metadata.secret_valid_until.unwrap().as_second(),
        1_702_000_000
    );
    next.refresh_token().await.unwrap();
    assert_eq!(server.tokens().len(), 2);
}

/// Gives tokens `canary-token-1`, `-2` …, and accepts only what `accepts` says.
async fn picky_server(accepts: impl Fn(&Received, &str) -> bool + Send + Sync + 'static) -> Server {
    Server::start(move |received| {
        if received.is_token() {
            return token(&format!("canary-token-{}", received.earlier + 1), 7_200);
        }
        let bearer = received.header("authorization").unwrap();
        if accepts(received, bearer.trim_start_matches("Bearer ")) {
            json(200, PAGE)
        } else {
            json(401, r#"{"error":"canary-body"}"#)
        }
    })
    .await
}

#[tokio::test]
async fn a_token_revoked_midway_is_renewed_once_for_everybody() {
    let server =
        picky_server(|received, token| received.earlier < 3 || token == "canary-token-2").await;
    let (client, _directory) = client(&server);
    let mut tasks = JoinSet::new();
    for _ in 0..30 {
        let client = client.clone();
        tasks.spawn(async move { page(&client).await.unwrap().inspected });
    }
    assert_eq!(tasks.join_all().await, vec![2; 30]);
    assert_eq!(server.tokens().len(), 2);
    assert_eq!(client.statistics().retries, 0);
}

#[tokio::test]
async fn three_tokens_that_never_worked_end_it_for_all() {
    for requests in [1, 30] {
        let server = picky_server(|_, _| false).await;
        let (client, directory) = client(&server);
        let mut tasks = JoinSet::new();
        for _ in 0..requests {
            let client = client.clone();
            tasks.spawn(async move { page(&client).await.unwrap_err() });
        }
        for error in tasks.join_all().await {
            message_of(&error);
            assert!(matches!(error, ApiError::Unauthorized { .. }) && error.is_fatal_for_run());
        }
        assert_eq!(server.tokens().len(), 3);
        assert!(server.pages().len() <= 3 * requests);
        assert!(page(&client).await.is_err());
        assert_eq!(server.tokens().len(), 3, "none is asked for any more");
        // The next command does not try the last one on its requests.
        let next = Client::new(options(&server, &directory)).unwrap();
        next.token_info().await.unwrap();
        assert_eq!(server.tokens().len(), 4);
    }
}

#[tokio::test]
async fn another_commands_token_is_taken_over() {
    let server = picky_server(|_, token| token == "canary-token-2").await;
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (
        Client::new(options(&server, &directory)).unwrap(),
        Client::new(options(&server, &directory)).unwrap(),
    );
    one.token_info().await.unwrap();
    two.refresh_token().await.unwrap();
    page(&one).await.unwrap();
    assert_eq!(
        server.tokens().len(),
        2,
        "the renewed token was in the file"
    );
}

/// A server whose token is revoked with every nth request that it gets.
async fn revoking_server(every: usize, times: usize) -> Server {
    let state = Mutex::new((0, 0));
    Server::start(move |received| {
        // The number of the newest token, and of the newest that was revoked.
        let (newest, revoked) = &mut *state.lock().unwrap();
        if received.is_token() {
            *newest = received.earlier + 1;
            return token(&format!("canary-token-{newest}"), 7_200);
        }
        let count = received.earlier + 1;
        if count.is_multiple_of(every) && count / every <= times {
            *revoked = *newest;
        }
        let bearer = received.header("authorization").unwrap();
        let number: usize = bearer.rsplit_once('-').unwrap().1.parse().unwrap();
        if number > *revoked {
            json(200, PAGE)
        } else {
            json(401, "{}")
        }
    })
    .await
}

#[tokio::test]
async fn tokens_that_are_revoked_again_and_again_cost_no_page() {
    for (every, times) in [(20, 4), (7, 9), (50, 20)] {
        let server = revoking_server(every, times).await;
        let (client, _directory) = client(&server);
        page(&client).await.unwrap();
        let mut tasks = JoinSet::new();
        for _ in 0..256 {
            let client = client.clone();
            tasks.spawn(async move { page(&client).await.unwrap().inspected });
        }
        assert_eq!(tasks.join_all().await, vec![2; 256]);
        assert_eq!(client.statistics().retries, 0);
        assert!(server.tokens().len() <= times + 1, "one for all who wait");
    }
}

#[tokio::test]
async fn a_request_that_no_token_serves_is_named_and_stops_nobody() {
    let server = Server::start(|received| match received.is_token() {
        true => token(&format!("canary-token-{}", received.earlier + 1), 7_200),
        false if received.head.contains("/v2/me") => json(401, "{}"),
        false => json(200, PAGE),
    })
    .await;
    let (client, _directory) = client(&server);
    page(&client).await.unwrap();
    let others = {
        let client = client.clone();
        tokio::spawn(async move {
            loop {
                page(&client).await.unwrap();
                tokio::task::yield_now().await;
            }
        })
    };
    let refused = Request {
        path: "/v2/me".to_owned(),
        ..users()
    };
    let error = client.page(&refused, records).await.unwrap_err();
    others.abort();
    let _ = others.await;
    assert!(matches!(error, ApiError::RefusedHere { .. }) && !error.is_fatal_for_run());
    assert!(message_of(&error).contains("/v2/me"));
    assert!(server.tokens().len() <= 8, "{}", server.tokens().len());

    // With nobody else to show it, the server's word is taken, a few times in a row.
    page(&client).await.unwrap();
    let mut alone = Vec::new();
    while alone
        .last()
        .is_none_or(|error: &ApiError| !error.is_fatal_for_run())
    {
        alone.push(client.page(&refused, records).await.unwrap_err());
    }
    assert!(matches!(alone.pop(), Some(ApiError::Unauthorized { .. })));
    assert_eq!(alone.len(), 5);
}

#[tokio::test]
async fn a_throttled_token_request_costs_no_retry() {
    let server = Server::start(|received| match (received.is_token(), received.earlier) {
        (true, ..8) => Reply::Bytes(http(429, &[("Retry-After", "0")], b"429 Too Many")),
        (true, _) => token("canary-token", 7_200),
        (false, _) => json(200, PAGE),
    })
    .await;
    let (client, _directory) = client(&server);
    page(&client).await.unwrap();
    assert_eq!(client.statistics().retries, 0);
    assert_eq!((server.tokens().len(), server.pages().len()), (9, 1));
}

/// What a client knows of the token that an answer gives, if it is one.
async fn known_of(answer: &str) -> Option<TokenMetadata> {
    let answer = answer.to_owned();
    let server =
        Server::start(move |received| json(200, if received.is_token() { &answer } else { PAGE }))
            .await;
    let (client, _directory) = client(&server);
    let known = client.token_info().await;
    let Ok(known) = known else {
        message_of(&known.unwrap_err());
        return None;
    };
    for _ in 0..3 {
        page(&client).await.unwrap();
    }
    assert_eq!(server.tokens().len(), 1, "it is asked for once");
    Some(known)
}

#[tokio::test]
async fn an_optional_field_never_costs_the_token() {
    let life = |known: &TokenMetadata| {
        let life = known.expires.duration_since(known.created);
        life.as_secs()
    };
    for (field, expected) in [
        (r#""expires_in":7200"#, 7_200),
        (r#""expires_in":"3600""#, 3_600),
        (r#""expires_in":" 3600.7 ""#, 3_600),
        (r#""expires_in":3600.5"#, 3_600),
        (r#""expires_in":1e4"#, 10_000),
        (r#""expires_in":1000000000"#, 365 * 86_400),
        (r#""expires_in":1e300"#, 365 * 86_400),
        (r#""expires_in":1e999"#, 7_200),
        (r#""expires_in":99999999999999999999999999"#, 365 * 86_400),
        (r#""expires_in":null"#, 7_200),
        (r#""expires_in":"soon""#, 7_200),
        (r#""expires_in":"inf""#, 7_200),
        (r#""expires_in":0"#, 7_200),
        (r#""expires_in":-7200"#, 7_200),
        (r#""expires_in":0.01"#, 7_200),
        (r#""expires_in":{"seconds":7200}"#, 7_200),
        (r#""expires_in":[7200],"expires_in":60"#, 60),
        (r#""token_type":5"#, 7_200),
        (r#""token_type":"mac","refresh_token":7"#, 7_200),
        (r#""scope":["public","projects"]"#, 7_200),
        (r#""scope":{"a":1},"created_at":"yesterday""#, 7_200),
    ] {
        let known = known_of(&format!(r#"{{"access_token":"canary-token",{field}}}"#)).await;
        assert_eq!(known.as_ref().map(life), Some(expected), "{field}");
    }
    for (value, expected) in [
        ("1702000000", Some(1_702_000_000)),
        ("1702000000.9", Some(1_702_000_000)),
        (r#""1702000000""#, Some(1_702_000_000)),
        (r#""2023-12-08T01:46:40Z""#, Some(1_702_000_000)),
        ("null", None),
        ("0", None),
        ("-5", None),
        ("1e15", None),
        ("1e300", None),
        (r#""never""#, None),
        ("[1702000000]", None),
    ] {
        let answer = format!(r#"{{"access_token":"canary-token","secret_valid_until":{value}}}"#);
        let known = known_of(&answer).await.unwrap();
        let until = known.secret_valid_until.map(Timestamp::as_second);
        assert_eq!(until, expected, "{value}");
    }
    for answer in [
        "{}",
        r#"{"access_token":""}"#,
        r#"{"access_token":" "}"#,
        r#"{"access_token":null}"#,
        r#"{"access_token":["canary-token"]}"#,
        r#"{"access_token":"canary-token\n"}"#,
        r#"["canary-token"]"#,
    ] {
        assert_eq!(known_of(answer).await, None, "{answer}");
    }
}

#[tokio::test]
async fn a_token_answer_may_be_packed() {
    let body = r#"{"access_token":"canary-token"}"#;
    let members = [gzip(&body[..9]), gzip(&body[9..])].concat();
    let reply = http(200, &[("Content-Encoding", "gzip")], &members);
    let server = Server::start(move |received| {
        if received.is_token() {
            Reply::Bytes(reply.clone())
        } else {
            json(200, PAGE)
        }
    })
    .await;
    let (client, _directory) = client(&server);
    page(&client).await.unwrap();
    assert_eq!(server.tokens().len(), 1);
}

#[tokio::test]
async fn a_token_is_sent_to_its_own_origin_alone() {
    let servers = [
        picky_server(|_, _| true).await,
        picky_server(|_, _| true).await,
    ];
    let directory = tempfile::tempdir().unwrap();
    for server in &servers {
        let client = Client::new(options(server, &directory)).unwrap();
        page(&client).await.unwrap();
        assert_eq!(server.tokens().len(), 1);
    }
    // Another spelling of the same origin.
    let url = servers[0].url.replace("http:", "HTTP:") + "/";
    let base_url = BaseUrl::parse(&url).unwrap();
    let options = crate::Options {
        base_url,
        ..options(&servers[0], &directory)
    };
    page(&Client::new(options).unwrap()).await.unwrap();
    assert_eq!(servers[0].tokens().len(), 1);
}

#[tokio::test]
async fn tokens_that_hardly_live_are_renewed_and_never_looped_over() {
    let server = Server::start(|received| {
        if received.is_token() {
            token("canary-token", 1)
        } else {
            json(200, PAGE)
        }
    })
    .await;
    let (client, _directory) = client(&server);
    page(&client).await.unwrap();
    page(&client).await.unwrap();
    assert_eq!(server.pages().len(), 2);
    assert!(server.tokens().len() <= 6);
}

#[tokio::test]
async fn refused_credentials_stop_the_run_after_one_request() {
    for reply in [
        || {
            json(
                401,
                r#"{"error":"invalid_client","error_description":"canary-body"}"#,
            )
        },
        || json(401, "canary-body"),
        || json(400, r#"{"error":"invalid_client"}"#),
    ] {
        let server = Server::start(move |_| reply()).await;
        let (client, _directory) = client(&server);
        let mut tasks = JoinSet::new();
        for _ in 0..10 {
            let client = client.clone();
            tasks.spawn(async move { page(&client).await.unwrap_err() });
        }
        for error in tasks.join_all().await {
            assert!(matches!(error, ApiError::InvalidClient { .. }) && error.is_fatal_for_run());
            assert!(message_of(&error).contains("28 days"));
        }
        assert_eq!((server.tokens().len(), server.pages().len()), (1, 0));
    }
}

#[tokio::test]
async fn bad_token_answers_are_retried_and_never_shown() {
    let server = Server::start(|received| match (received.is_token(), received.earlier) {
        (true, 0) => Reply::Bytes(http(502, &[("Content-Type", "text/html")], b"<html>")),
        (true, 1) => json(200, r#"{"access_token":5,"canary-token":1}"#),
        (true, _) => token("canary-token", 7_200),
        (false, _) => json(200, PAGE),
    })
    .await;
    let (client, _directory) = client(&server);
    page(&client).await.unwrap();
    assert_eq!(server.tokens().len(), 3);

    let server = Server::start(|_| {
        json(
            400,
            r#"{"error":"unauthorized_client","error_description":"canary-body"}"#,
        )
    })
    .await;
    let (client, _directory) = self::client(&server);
    let error = page(&client).await.unwrap_err();
    message_of(&error);
    assert!(matches!(error, ApiError::TokenRefused { .. }));
    assert_eq!(server.tokens().len(), 1);
}
