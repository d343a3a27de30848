//! What keeps a service: SIGHUP reads the configuration again, and a service manager is notified over its socket.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;
use std::time::Duration;

use cursus_simulator::{Fault, FaultKind};
use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};
use tokio::net::UnixDatagram;

use crate::support::workdir::PATIENCE;
use crate::support::{Running, Workdir, simulator};

/// One round now, the next one when no test waits for it any more.
const ONE_ROUND: [&str; 5] = ["watch", "--every", "1h", "--select", "cursus"];

/// A service manager, as the service sees it.
struct Manager(UnixDatagram);

impl Manager {
    /// With a socket in the directory.
    fn at_path(workdir: &mut Workdir) -> Self {
        let path = workdir.path("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        workdir.set("NOTIFY_SOCKET", path);
        Self(socket)
    }

    /// With a socket that has no file.
    fn without_file(workdir: &mut Workdir) -> Self {
        let name = workdir.path("notify").display().to_string();
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = std::os::unix::net::UnixDatagram::bind_addr(&address).unwrap();
        socket.set_nonblocking(true).unwrap();
        workdir.set("NOTIFY_SOCKET", format!("@{name}"));
        Self(UnixDatagram::from_std(socket).unwrap())
    }

    /// The next message; none if none comes in this time.
    async fn message_within(&self, time: Duration) -> Option<String> {
        let mut buffer = [0; 4096];
        let received = tokio::time::timeout(time, self.0.recv(&mut buffer)).await;
        let length = received.ok()?.unwrap();
        Some(String::from_utf8(buffer[..length].to_vec()).unwrap())
    }

    /// The next message.
    async fn message(&self) -> String {
        let message = self.message_within(PATIENCE).await;
        message.expect("the manager hears nothing")
    }

    /// Fails unless the next message begins so.
    #[track_caller]
    fn hears(&self, start: &str) -> impl Future<Output = String> {
        let caller = std::panic::Location::caller();
        async move {
            let message = self.message().await;
            assert!(
                message.starts_with(start),
                "{caller}: {start:?} is not the start of {message:?}"
            );
            message
        }
    }
}

fn monotonic() -> u128 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
    Duration::from(now).as_micros()
}

#[tokio::test]
async fn systemd_is_notified_of_ready_rounds_reloads_and_stop() {
    for make in [Manager::at_path, Manager::without_file] {
        let simulator = simulator().await;
        let mut workdir = Workdir::with(&simulator).await;
        let manager = make(&mut workdir);
        let running = Running::start(&workdir, &ONE_ROUND);
        manager.hears("READY=1").await;
        manager.hears("STATUS=round 1: running since ").await;
        let status = manager.hears("STATUS=round 1: ").await;
        assert!(status.contains(", complete, 1 request, "), "{status}");
        assert!(status.contains("; next at "), "{status}");

        let before = monotonic();
        running.signal(Signal::SIGHUP);
        let reloading = manager.hears("RELOADING=1\nMONOTONIC_USEC=").await;
        let output = reloading.rsplit_once('=').unwrap().1.parse().unwrap();
        assert!((before..=monotonic()).contains(&output), "{reloading}");
        let ready = manager.hears("READY=1\nSTATUS=round 1: ").await;
        assert!(ready.contains("; configuration reloaded: "), "{ready}");

        running.signal(Signal::SIGTERM);
        manager.hears("STOPPING=1").await;
        running.end().await.exits(0);
        let more = manager.message_within(Duration::ZERO).await;
        assert_eq!(more, None);
    }
}

#[tokio::test]
async fn systemd_is_notified_of_failures_and_the_last_round() {
    let simulator = simulator().await;
    simulator.inject(Fault::new("/oauth/token", FaultKind::InvalidClient));
    let mut workdir = Workdir::with(&simulator).await;
    let manager = Manager::at_path(&mut workdir);
    let arguments = [&ONE_ROUND[..], &["--rounds", "1"]].concat();
    let running = Running::start(&workdir, &arguments);
    manager.hears("READY=1").await;
    manager.hears("STATUS=round 1: running since ").await;
    let status = manager.hears("STATUS=round 1: ").await;
    assert!(status.contains(", failed, "), "{status}");
    assert!(status.contains("invalid_client"), "{status}");
    manager.hears("STOPPING=1").await;
    running.end().await.exits(1);
}

#[tokio::test]
async fn what_no_round_could_work_with_is_never_ready() {
    let mut workdir = Workdir::new().await;
    let manager = Manager::at_path(&mut workdir);
    let ran = workdir.cursus(ONE_ROUND).await.exits(2);
    ran.says("there are no credentials");
    assert_eq!(manager.message_within(Duration::ZERO).await, None);
}

#[tokio::test]
async fn missing_service_manager_is_no_failure() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    let arguments = [&ONE_ROUND[..], &["--rounds", "1"]].concat();
    let long = format!("/{}", "x".repeat(200));
    let closed = workdir.path("closed");
    drop(UnixDatagram::bind(&closed).unwrap());
    let closed = closed.display().to_string();
    for name in [
        "/nowhere/notify",
        &closed,
        "@nobody",
        "@",
        "notify",
        &long,
        "",
    ] {
        workdir.set("NOTIFY_SOCKET", name);
        workdir.set("WATCHDOG_USEC", "1000");
        let ran = workdir.cursus(&arguments).await.exits(0);
        assert!(!ran.stderr.contains("manager"), "{name}: {ran}");
    }
}

#[tokio::test]
async fn watchdog_pings_continue_through_waits() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    let manager = Manager::at_path(&mut workdir);
    workdir.set("WATCHDOG_USEC", "40000");
    // An answer that never comes, then a pause of an hour.
    let stall = FaultKind::Stall { seconds: 3600.0 };
    simulator.inject(Fault::new("cursus", stall).times(1));
    workdir.pipeline(&[("timeout = \"120s\"", "timeout = \"1s\"")]);
    let running = Running::start(&workdir, &ONE_ROUND);
    for phase in ["STATUS=round 1: running", "STATUS=round 1: "] {
        while !manager.message().await.starts_with(phase) {}
        for _ in 0..10 {
            manager.hears("WATCHDOG=1").await;
        }
    }
    running.signal(Signal::SIGTERM);
    running.end().await.exits(0);
}

/// A loop that blocks its thread stands for any that comes to no end.
#[tokio::test]
async fn watchdog_pings_end_with_a_hanging_loop() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    let manager = Manager::at_path(&mut workdir);
    workdir.set("WATCHDOG_USEC", "20000");
    let pipe = workdir.path("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let place = format!("runs.listed=wait:{}", pipe.display());
    workdir.set("CURSUS_FAILPOINT", place);
    let running = Running::start(&workdir, &ONE_ROUND);
    // Opens when somebody reads.
    let opening = move || std::fs::File::options().write(true).open(pipe).unwrap();
    let held = tokio::task::spawn_blocking(opening).await.unwrap();
    while manager.message_within(Duration::ZERO).await.is_some() {}
    let silence = manager.message_within(Duration::from_millis(500)).await;
    assert_eq!(silence, None, "it hangs, and is said to be alive");
    drop(held);
    manager.hears("WATCHDOG=1").await;
    running.signal(Signal::SIGTERM);
    // In the round, or after it.
    let ran = running.end().await;
    assert!(matches!(ran.code, Some(0 | 143)), "{ran}");
}

#[tokio::test]
async fn unwatched_processes_send_no_watchdog_ping() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    let manager = Manager::at_path(&mut workdir);
    let arguments = [&ONE_ROUND[..], &["--rounds", "1"]].concat();
    for (usec, pid) in [("1000", "1"), ("0", ""), ("soon", ""), ("", "")] {
        workdir.set("WATCHDOG_USEC", usec);
        workdir.set("WATCHDOG_PID", pid);
        workdir.cursus(&arguments).await.exits(0);
        while let Some(message) = manager.message_within(Duration::ZERO).await {
            assert!(!message.contains("WATCHDOG"), "{usec} {pid}");
        }
    }
}

#[tokio::test]
async fn sighup_reloads_between_rounds_and_says_what_changed() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    let manager = Manager::at_path(&mut workdir);
    workdir.pipeline(&[]);
    let mut running = Running::start(&workdir, &[&ONE_ROUND[..], &["-q"]].concat());
    while !manager.message().await.contains("; next at ") {}
    running.signal(Signal::SIGHUP);
    let unchanged = "configuration reloaded: no file has changed";
    running.until_it_says(unchanged).await;
    workdir.pipeline(&[("dir = \"staging\"", "dir = \"elsewhere\"")]);
    workdir.write(".env", "CURSUS_CLIENT_SECRET=canary\n");
    workdir.write("sql/own.sql", "SELECT 1");
    workdir.write("migrations/mirror/V1000__own.sql", "SELECT 1;");
    running.signal(Signal::SIGHUP);
    running
        .until_it_says("configuration reloaded: .env is new, ")
        .await;
    std::fs::remove_file(workdir.path("sql/own.sql")).unwrap();
    running.signal(Signal::SIGHUP);
    let removed = "configuration reloaded: sql/own.sql was removed";
    running.until_it_says(removed).await;
    running.signal(Signal::SIGTERM);
    let ran = running.end().await.exits(0);
    for change in [
        "pipeline.toml changed",
        "sql/own.sql is new",
        "V1000__own.sql is new",
    ] {
        assert!(ran.stderr.contains(change), "{change}: {ran}");
    }
    assert!(!ran.stderr.contains("canary"), "{ran}");
}

#[tokio::test]
async fn sighup_during_a_round_changes_the_next_one() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let settings = [("timeout = \"120s\"", "timeout = \"2s\"")];
    workdir.pipeline(&settings);
    let kind = FaultKind::Stall { seconds: 3600.0 };
    simulator.inject(Fault::new("cursus", kind).times(1));
    let arguments = ["watch", "--every", "1ms", "--select", "cursus"];
    let mut running = Running::start(&workdir, &[&arguments[..], &["--rounds", "2"]].concat());
    let stalled = async || simulator.statistics().hits > 0;
    crate::support::running::until("it waits for the answer", stalled).await;
    workdir.pipeline(&[settings[0], ("dir = \"staging\"", "dir = \"elsewhere\"")]);
    running.signal(Signal::SIGHUP);
    let said = "pipeline.toml changed; the current round keeps the previous one";
    running.until_it_says(said).await;
    running.end().await.exits(0);
    for (round, dir) in ["staging", "elsewhere"].iter().enumerate() {
        let ran = workdir.json(["stage", "ls", "--staging", dir]).await;
        assert_eq!(ran.as_array().unwrap().len(), 1, "round {}", round + 1);
    }
}

#[tokio::test]
async fn broken_configuration_is_reported_with_all_faults() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    let manager = Manager::at_path(&mut workdir);
    workdir.pipeline(&[]);
    let mut running = Running::start(&workdir, &ONE_ROUND);
    while !manager.message().await.contains("; next at ") {}
    workdir.pipeline(&[
        ("page_size = 100", "page_size = 0"),
        ("dir = \"staging\"", "dirt = \"staging\""),
    ]);
    workdir.write(".env", "canary\n");
    workdir.write("migrations/mirror/own.sql", "SELECT 1;");
    running.signal(Signal::SIGHUP);
    running
        .until_it_says("own.sql is not named like a migration")
        .await;
    manager.hears("RELOADING=1").await;
    let output = manager.hears("READY=1\nSTATUS=round 1: ").await;
    assert!(output.contains("configuration not reloaded"), "{output}");
    // Mended, it is taken.
    workdir.pipeline(&[]);
    for file in [".env", "migrations/mirror/own.sql"] {
        std::fs::remove_file(workdir.path(file)).unwrap();
    }
    running.signal(Signal::SIGHUP);
    running.until_it_says("configuration reloaded: ").await;
    running.signal(Signal::SIGTERM);
    let ran = running.end().await.exits(0);
    let line = |text: &str| ran.stderr.lines().find(|line| line.contains(text));
    let faults = line("configuration not reloaded, the previous one stays in use: ").unwrap();
    for fault in ["page_size", "dirt", ".env:1: not NAME=value", "own.sql"] {
        assert!(faults.contains(fault), "{fault}: {ran}");
    }
    assert!(!ran.stderr.contains("canary"), "{ran}");
}
