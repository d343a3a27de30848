//! Tokens: asked for once, shared, kept, renewed, and refused.

use tokio::task::JoinSet;

use super::server::{Received, Reply, Server, http, json, token};
use super::{PAGE, client, options, page, told};
use crate::api::{ApiError, Client};

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
async fn a_second_401_ends_it_and_another_commands_token_is_taken_over() {
    let server = picky_server(|_, _| false).await;
    let (client, _directory) = client(&server);
    let error = page(&client).await.unwrap_err();
    told(&error);
    assert!(matches!(error, ApiError::Unauthorized { .. }) && error.is_fatal_for_run());
    assert_eq!((server.pages().len(), server.tokens().len()), (2, 2));

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

#[tokio::test]
async fn tokens_that_hardly_live_are_renewed_and_never_looped_over() {
    let server = Server::start(|received| {
        if received.is_token() {
            token("canary-token", 0)
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
async fn refused_credentials_stop_everything_with_one_request_and_a_hint() {
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
            assert!(told(&error).contains("28 days"));
        }
        assert_eq!((server.tokens().len(), server.pages().len()), (1, 0));
    }
}

#[tokio::test]
async fn token_answers_that_may_pass_are_asked_for_again_and_bad_ones_never_shown() {
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
    told(&error);
    assert!(matches!(error, ApiError::TokenRefused { .. }));
    assert_eq!(server.tokens().len(), 1);
}
