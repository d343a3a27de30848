//! Faults of all kinds in any order: what a client was asked for it delivers once, and it is the right thing.

use std::collections::BTreeSet;
use std::sync::Mutex;

use proptest::prelude::*;
use tokio::task::JoinSet;

use super::server::{Reply, Server, http, json, token};
use super::{JSON, options, records, users};
use crate::{Client, Limits, Options, Request};

/// What comes in place of an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// 429, with or without `Retry-After`.
    Throttled(bool),
    /// All tokens that have worked are revoked.
    Revoked,
    Unavailable,
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        4 => Just(Fault::None),
        4 => any::<bool>().prop_map(Fault::Throttled),
        2 => Just(Fault::Revoked),
        1 => Just(Fault::Unavailable),
    ]
}

#[derive(Default)]
struct State {
    tokens: usize,
    revoked: usize,
    worked: BTreeSet<usize>,
}

/// Answers with these faults first, also to requests for tokens, then with what was asked for.
async fn faulty(faults: Vec<Fault>) -> Server {
    let state = Mutex::new((State::default(), faults.into_iter()));
    Server::start(move |received| {
        let (state, faults) = &mut *state.lock().unwrap();
        let fault = faults.next().unwrap_or(Fault::None);
        match fault {
            Fault::Throttled(true) => {
                return Reply::Bytes(http(429, &[("Retry-After", "0")], b"429 Too Many"));
            }
            Fault::Throttled(false) => return Reply::Bytes(http(429, &[], b"429 Too Many")),
            Fault::Unavailable => return json(503, "{}"),
            Fault::Revoked => state.revoked = state.worked.last().copied().unwrap_or(0),
            Fault::None => {}
        }
        if received.is_token() {
            state.tokens += 1;
            return token(&format!("canary-token-{}", state.tokens), 7_200);
        }
        let bearer = received.header("authorization").unwrap();
        let number = bearer.rsplit_once('-').unwrap().1.parse().unwrap();
        if number <= state.revoked {
            return json(401, "{}");
        }
        state.worked.insert(number);
        let path = received.head.split_whitespace().nth(1).unwrap();
        let page = path.rsplit_once('=').unwrap().1;
        Reply::Bytes(http(200, &[JSON], format!("[{page}]").as_bytes()))
    })
    .await
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 30, ..ProptestConfig::default() })]

    /// No retry is spent but for a 503, of which a page bears five.
    #[test]
    fn every_page_is_delivered_whatever_comes_before(
        mut faults in proptest::collection::vec(fault(), 0..80),
        pages in 1_usize..40,
    ) {
        let mut broken = 0;
        faults.retain(|fault| {
            broken += usize::from(*fault == Fault::Unavailable);
            *fault != Fault::Unavailable || broken <= 5
        });
        let count = |wanted: fn(&Fault) -> bool| faults.iter().copied().filter(wanted).count();
        let retries = count(|fault| *fault == Fault::Unavailable);
        let throttled = count(|fault| matches!(fault, Fault::Throttled(_)));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (statistics, sent) = runtime.block_on(async {
            let server = faulty(faults.clone()).await;
            let directory = tempfile::tempdir().unwrap();
            let client = Client::new(Options {
                limits: Limits {
                    least_pause: std::time::Duration::from_millis(1),
                    ..Limits::default()
                },
                ..options(&server, &directory)
            })
            .unwrap();
            let mut tasks = JoinSet::new();
            for page in 0..pages {
                let client = client.clone();
                tasks.spawn(async move {
                    let request = Request {
                        query: vec![("page".to_owned(), page.to_string())],
                        ..users()
                    };
                    let answer = client.page(&request, records).await.unwrap();
                    assert_eq!(super::bytes(&answer), format!("[{page}]").into_bytes());
                });
            }
            tasks.join_all().await;
            (client.statistics(), server.pages().len() as u64)
        });
        prop_assert_eq!(statistics.requests, sent);
        prop_assert!(statistics.retries <= retries as u64);
        prop_assert!(statistics.rejected_429 <= throttled as u64);
    }
}
