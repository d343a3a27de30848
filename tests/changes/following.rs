//! Readers of the changes: those who come back, are killed, come too late, or read another project.

use std::collections::BTreeSet;
use std::process::Stdio;

use cursus::failpoint::Point;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::timeout;

use super::{FOLLOWED, changes, followed, seq};
use crate::support::Workdir;
use crate::support::boxes::{PIPELINE, boxes, delta, full, stage, thing, things};
use crate::support::running::rows_read;
use crate::support::workdir::PATIENCE;

/// A mirror with three markers, which are the first numbers.
async fn begun() -> Workdir {
    let workdir = followed().await;
    stage(
        &workdir,
        &[full("boxes", boxes(1..=3)), full("things", things(1..=9))],
    );
    workdir.cursus(["load"]).await.exits(0);
    workdir
}

async fn change(workdir: &Workdir, weight: f64) {
    let all = (1..=9).map(|id| thing(id, weight)).collect();
    stage(workdir, &[delta("things", all)]);
    workdir.cursus(["load"]).await.exits(0);
}

#[tokio::test]
async fn a_line_says_who_changed_and_how() {
    let workdir = begun().await;
    stage(
        &workdir,
        &[
            full("boxes", boxes(1..=2)),
            full("things", vec![thing(1, 2.5), thing(2, 1.5), thing(10, 0.5)]),
        ],
    );
    workdir.cursus(["load", "--allow-prune"]).await.exits(0);
    let text = workdir.cursus(["changes"]).await.exits(0).stdout;
    let time = text.split(' ').nth(1).unwrap().to_owned();
    let days: BTreeSet<&str> = text
        .lines()
        .map(|line| line.split(' ').nth(1).unwrap())
        .collect();
    let text = days
        .iter()
        .fold(text.clone(), |text, day| text.replace(*day, "TIME"));
    assert_eq!(time.len(), "2026-11-23T02:00:00Z".len());
    insta::assert_snapshot!(text);
}

#[tokio::test]
async fn a_line_of_json_is_a_cloud_event() {
    let workdir = begun().await;
    change(&workdir, 2.5).await;
    let mut events = changes(
        &workdir,
        &["--since", "3", "--table", "things", "--key", "1"],
    )
    .await;
    for event in &mut events {
        event["time"] = "TIME".into();
        event["data"]["ts_ms"] = "MILLISECONDS".into();
        event["data"]["source"]["run"] = "RUN".into();
    }
    insta::assert_snapshot!(serde_json::to_string_pretty(&events).unwrap());
}

fn see(seen: &mut BTreeSet<u64>, line: &str) {
    let event: Value = serde_json::from_str(line).unwrap();
    let next = seen.last().map_or(1, |last| last + 1);
    assert!(seq(&event) <= next, "{next} is left out: {event}");
    seen.insert(seq(&event));
}

#[tokio::test]
async fn a_killed_follower_sees_every_number() {
    follow_killed(8).await;
}

#[tokio::test]
#[ignore = "matrix"]
async fn a_follower_killed_100_times_sees_every_number() {
    follow_killed(100).await;
}

/// What was printed before the position was stored may come again; nothing is left out.
async fn follow_killed(kills: i64) {
    let workdir = begun().await;
    let mut seen = BTreeSet::new();
    let (mut last, mut weight) = (0, 1.5);
    for round in 0..kills {
        let mut command = workdir.command(["changes", "--follow", "--json", "--consumer", "copy"]);
        let mut follower = command
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
        if round % 2 == 0 {
            weight += 1.0;
            change(&workdir, weight).await;
            last = workdir
                .number("SELECT last_seq FROM pipeline.change_feed")
                .await;
        }
        // Killed after a line, somewhere within a batch, or at its end.
        let wanted = if round + 1 == kills {
            last
        } else {
            3 + round * 4
        };
        let wanted = u64::try_from(wanted.min(last)).unwrap();
        while !seen.contains(&wanted) {
            let line = timeout(PATIENCE, lines.next_line()).await.expect("a line");
            see(&mut seen, &line.unwrap().unwrap());
        }
        follower.kill().await.unwrap();
        // What it has written is in the pipe; of the last line perhaps a part.
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.ends_with("}}") {
                see(&mut seen, &line);
            }
        }
    }
    assert_eq!(i64::try_from(seen.len()).unwrap(), last);
    let rest = workdir
        .cursus(["changes", "--consumer", "copy"])
        .await
        .exits(0);
    let stored = workdir.number("SELECT seq FROM pipeline.consumer").await;
    assert_eq!(stored, last, "{rest}");
    let rest = workdir
        .cursus(["changes", "--consumer", "copy"])
        .await
        .exits(0);
    assert_eq!(rest.stdout, "");
}

/// The session is ended while it waits.
#[tokio::test]
async fn a_follower_connects_again() {
    let workdir = begun().await;
    let mut command = workdir.command(["changes", "--follow", "--json"]);
    let mut follower = command
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    for expected in 1..=3 {
        let line = timeout(PATIENCE, lines.next_line()).await.expect("a line");
        let line = line.unwrap().unwrap();
        assert_eq!(seq(&serde_json::from_str(&line).unwrap()), expected);
    }
    workdir
        .query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE '%changes%' \
            AND datname = current_database()")
        .await;
    change(&workdir, 2.5).await;
    for expected in 4..=12 {
        let line = timeout(PATIENCE, lines.next_line()).await.expect("a line");
        let line = line.unwrap().unwrap();
        assert_eq!(seq(&serde_json::from_str(&line).unwrap()), expected);
    }
    follower.kill().await.unwrap();
}

/// The oldest changes are made older than they are kept.
#[tokio::test]
async fn what_is_not_kept_is_a_gap_and_never_skipped() {
    let workdir = begun().await;
    workdir
        .cursus(["changes", "--consumer", "copy", "--table", "boxes"])
        .await
        .exits(0);
    workdir
        .cursus(["changes", "--consumer", "late", "--since", "1"])
        .await
        .exits(0);
    workdir
        .query("UPDATE pipeline.consumer SET seq = 1 WHERE consumer = 'late'")
        .await;
    workdir
        .query("CREATE TABLE pipeline.change_202001 PARTITION OF pipeline.change FOR VALUES FROM ('2020-01-01') TO ('2020-02-01'); \
            UPDATE pipeline.change SET seen_at = '2020-01-15' WHERE seq < 3")
        .await;
    change(&workdir, 2.5).await;
    assert_eq!(workdir.count("pipeline.change WHERE seq < 3").await, 0);
    let kept = changes(&workdir, &[]).await;
    assert_eq!(
        kept.iter().map(seq).collect::<Vec<_>>(),
        (3..=12).collect::<Vec<_>>()
    );
    assert_eq!(changes(&workdir, &["--since", "2"]).await, kept);
    for late in [
        &["--since", "1"][..],
        &["--since", "2020-01-20T00:00:00Z"],
        &["--consumer", "late"],
    ] {
        let refused = workdir.cursus([&["changes"], late].concat()).await.exits(4);
        assert_eq!(refused.stdout, "");
        refused.says("--since 2");
    }
    // The other continues, and a reader may begin after the gap.
    let on = workdir
        .cursus(["changes", "--consumer", "copy"])
        .await
        .exits(0);
    assert_eq!(on.stdout.lines().count(), 9, "{on}");
    workdir
        .cursus(["changes", "--consumer", "late", "--since", "2"])
        .await
        .exits(0);
    workdir
        .cursus(["changes", "--since", "99"])
        .await
        .exits(4)
        .says("the newest is 12");
}

/// Also where the server has no statistics of changes that have just come.
#[tokio::test]
async fn each_change_is_read_once() {
    const CHANGES: usize = 22_000;
    let workdir = begun().await;
    workdir
        .query(&format!(
            "INSERT INTO pipeline.change (schema_name, seq, run_id, resource, table_name, op, key, changed) \
             SELECT 'public', 3 + n, 'run', 'things', 'things', 'c', jsonb_build_object('id', n), '{{}}' \
             FROM generate_series(1, {CHANGES}) AS n; UPDATE pipeline.change_feed SET last_seq = 3 + {CHANGES}"
        ))
        .await;
    let written = format!("written = 3 + {CHANGES}");
    let before = rows_read(&workdir, "pipeline.change", &written).await;
    let all = workdir.cursus(["changes"]).await.exits(0).stdout;
    assert_eq!(all.lines().count(), 3 + CHANGES);
    let is_read = format!("read >= {before} + {CHANGES}");
    let read = rows_read(&workdir, "pipeline.change", &is_read).await - before;
    let most = i64::try_from(CHANGES + CHANGES / 10).unwrap();
    assert!(read <= most, "{read} were read");
}

/// A schema that is dropped and made again has other changes with higher numbers.
#[tokio::test]
async fn a_schema_made_again_is_a_gap_for_its_readers() {
    let workdir = begun().await;
    let replay = ["replay", "--into", "past", "-q"];
    workdir.cursus(replay).await.exits(0);
    let first = changes(&workdir, &["--into", "past"]).await;
    let newest = seq(first.last().unwrap()).to_string();
    change(&workdir, 2.5).await;
    workdir.query("DROP SCHEMA past CASCADE").await;
    workdir.cursus(replay).await.exits(0);
    for since in ["0", "1", &newest] {
        let late = workdir.cursus(["changes", "--into", "past", "--since", since]);
        late.await.exits(4).says("read the tables again");
    }
    let again = changes(&workdir, &["--into", "past"]).await;
    assert!(again.len() > first.len(), "{again:?}");
}

/// A kill in each phase of a load.
#[tokio::test]
async fn a_killed_load_leaves_no_gap_and_no_change_twice() {
    let workdir = begun().await;
    let points = [
        Point::LoadCopied,
        Point::LoadMerge,
        Point::LoadPrune,
        Point::LoadDerive,
        Point::LoadRecord,
        Point::LoadCommit,
        Point::LoadCommitted,
    ];
    let mut weight = 1.5;
    for point in points {
        weight += 1.0;
        let mut all: Vec<String> = (1..=9).map(|id| thing(id, weight)).collect();
        all.push(thing(20, weight));
        stage(&workdir, &[full("things", all)]);
        let last = workdir
            .number("SELECT last_seq FROM pipeline.change_feed")
            .await;
        let mut command = workdir.command(["load"]);
        command.env("CURSUS_FAILPOINT", format!("{}=kill", point.name()));
        assert_eq!(
            command.status().await.unwrap().code(),
            None,
            "{}",
            point.name()
        );
        workdir.cursus(["load"]).await.exits(0);
        let events = changes(
            &workdir,
            &["--since", &last.to_string(), "--table", "things"],
        )
        .await;
        assert_eq!(events.len(), 9 + 1, "{}: {events:?}", point.name());
    }
    let numbers: Vec<u64> = changes(&workdir, &[]).await.iter().map(seq).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
}

/// Their numbers, their positions and what is kept of them are apart.
#[tokio::test]
async fn two_projects_in_one_database_have_a_feed_each() {
    let workdir = begun().await;
    let mine = format!("{PIPELINE}{FOLLOWED}");
    change(&workdir, 2.5).await;
    workdir.write(
        "other/pipeline.toml",
        mine.replace("[prune]", "[database]\nschema = \"other\"\n[prune]"),
    );
    for file in ["sql/count.sql", "migrations/mirror/V1000__things.sql"] {
        let text = std::fs::read(workdir.path(file)).unwrap();
        workdir.write(&format!("other/{file}"), text);
    }
    let other = ["--config", "other/pipeline.toml", "--staging", "staging"];
    let of_other = async |arguments: &[&str]| {
        let ran = workdir.cursus([arguments, &other].concat()).await.exits(0);
        ran.stdout
    };
    of_other(&["load"]).await;
    let theirs = of_other(&["changes", "--json", "--consumer", "copy"]).await;
    assert_eq!(theirs.lines().count(), 12, "{theirs}");
    assert!(theirs.contains("/cursus/other"), "{theirs}");
    assert_eq!(changes(&workdir, &["--consumer", "copy"]).await.len(), 12);
    // Old changes of one go, those of the other stay.
    workdir
        .query("CREATE TABLE pipeline.change_202001 PARTITION OF pipeline.change FOR VALUES FROM ('2020-01-01') TO ('2020-02-01'); \
            UPDATE pipeline.change SET seen_at = '2020-01-15' WHERE seq < 3")
        .await;
    change(&workdir, 3.5).await;
    assert_eq!(changes(&workdir, &[]).await.len(), 19);
    assert_eq!(of_other(&["changes"]).await.lines().count(), 12);
}
