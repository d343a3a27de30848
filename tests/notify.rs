//! A notification says how a command ended; whatever becomes of a notification changes nothing else.

use std::time::{Duration, Instant};

use cursus_simulator::{Fault, FaultKind};
use nix::sys::signal::Signal;

use crate::support::receiver::{Answers, Receiver};
use crate::support::running::until;
use crate::support::{Running, Workdir, simulator};

const RUN: [&str; 3] = ["run", "--select", "cursus"];

#[tokio::test]
async fn start_and_exit_code_are_notified_with_a_summary() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    let receiver = Receiver::start(Answers::Status(200)).await;
    workdir.set("CURSUS_NOTIFY_URL", receiver.url());
    workdir.cursus(RUN).await.exits(0);
    workdir.cursus(["load"]).await.exits(0);
    // The summary of a failure says why.
    workdir.set("CURSUS_CLIENT_SECRET", "wrong-secret");
    let arguments = ["extract", "--select", "users"];
    workdir.cursus(arguments).await.exits(1);
    // What works on nothing is not notified.
    workdir.cursus(["status"]).await.exits(0);
    let received = receiver.received();
    assert_eq!(
        receiver.paths(),
        ["/start", "/0", "/start", "/0", "/start", "/1"]
    );
    let (_, run) = &received[1];
    assert!(
        run.starts_with("cursus run: complete (exit code 0)\n"),
        "{run}"
    );
    assert!(
        run.contains(" staged, ") && run.contains("\nrun 20"),
        "{run}"
    );
    let (_, failure) = &received[5];
    assert!(
        failure.contains("error: ") && failure.contains("invalid_client"),
        "{failure}"
    );
    assert!(!failure.contains("wrong-secret"), "{failure}");
}

#[tokio::test]
async fn only_failures_are_notified_where_asked() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    let receiver = Receiver::start(Answers::Status(200)).await;
    let section = format!(
        "[notify]\nurl = \"{}\"\non = [\"failure\"]\n\n[scope]",
        receiver.url()
    );
    workdir.pipeline(&[("\n[scope]\n", &format!("\n{section}\n"))]);
    workdir.cursus(RUN).await.exits(0);
    assert!(receiver.paths().is_empty(), "{:?}", receiver.paths());
    workdir.set("CURSUS_CLIENT_SECRET", "wrong");
    workdir.cursus(["run", "--select", "users"]).await.exits(1);
    assert_eq!(receiver.paths(), ["/1"]);
}

#[tokio::test]
async fn a_notification_that_fails_changes_nothing_else() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    for (answers, reason, attempts) in [
        (Answers::Status(500), "the server answered 500", 4),
        (Answers::Status(404), "the server answered 404", 2),
        (Answers::Redirects, "the server redirects (302)", 2),
        (Answers::Hangs, "no answer", 3),
    ] {
        let receiver = Receiver::start(answers).await;
        workdir.set("CURSUS_NOTIFY_URL", receiver.url());
        let began = Instant::now();
        let ran = workdir.cursus([&RUN[..], &["-q"]].concat()).await.exits(0);
        assert!(began.elapsed() < Duration::from_secs(25), "10 s at most");
        assert!(ran.stderr.contains(reason), "{}", ran.stderr);
        assert!(ran.stderr.contains(" error: "), "{}", ran.stderr);
        assert!(!ran.stderr.contains("canary"), "{}", ran.stderr);
        assert_eq!(receiver.paths().len(), attempts, "{:?}", receiver.paths());
    }
    workdir.set("CURSUS_NOTIFY_URL", "http://127.0.0.1:1/canary");
    let ran = workdir.cursus(RUN).await.exits(0);
    assert!(ran.stderr.contains("cannot be reached"), "{}", ran.stderr);
    workdir.set("CURSUS_NOTIFY_URL", "canary");
    let ran = workdir.cursus(RUN).await.exits(0);
    assert!(ran.stderr.contains("nobody is notified"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("canary"), "{}", ran.stderr);
}

#[tokio::test]
async fn interrupted_and_panicking_commands_notify_too() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    let receiver = Receiver::start(Answers::Status(200)).await;
    workdir.set("CURSUS_NOTIFY_URL", receiver.url());
    simulator.inject(Fault::new("/v2", FaultKind::Stall { seconds: 3600.0 }));
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
        let requests = simulator.statistics().hits;
        let running = Running::start(&workdir, &RUN);
        until("it reads", async || simulator.statistics().hits > requests).await;
        running.signal(signal);
        running.end().await.exits(code);
    }
    simulator.clear_faults();
    assert_eq!(receiver.paths(), ["/start", "/143", "/start", "/130"]);
    let (_, body) = &receiver.received()[1];
    assert!(body.contains("interrupted by SIGTERM"), "{body}");
    workdir.set("CURSUS_FAILPOINT", "load.commit=panic");
    workdir.cursus(RUN).await.exits(1);
    assert_eq!(receiver.paths()[4..], ["/start", "/1"]);
}

#[tokio::test]
async fn a_service_notifies_of_its_first_round_and_of_news() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    let receiver = Receiver::start(Answers::Status(200)).await;
    workdir.set("CURSUS_NOTIFY_URL", receiver.url());
    let arguments = [
        "watch", "--every", "1s", "--jitter", "0s", "--rounds", "3", "--select", "cursus",
    ];
    workdir.cursus(arguments).await.exits(0);
    assert_eq!(receiver.paths(), ["/start", "/0"]);
}
