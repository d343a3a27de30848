//! The views that the shipped pipeline and its packs make, on data made by hand.

use crate::support::{Shared, Workdir};

/// A database with the tables and views of everything that is shipped, and no rows.
async fn mirror() -> Workdir {
    static LOADED: Shared = Shared::new();
    let load = async || {
        let workdir = Workdir::new().await;
        let packs = "packs = [\"locations\", \"events\", \"exams\", \"blocs\"]\nversion = 1 ";
        workdir.pipeline(&[("version = 1 ", packs)]);
        workdir.cursus(["migrate"]).await.exits(0);
        let reference = "INSERT INTO campuses (id, name, time_zone) VALUES (1, 'Paris', 'Europe/Paris'), (2, 'Tokyo', 'Asia/Tokyo'); \
            INSERT INTO cursus (id, name) VALUES (21, 'main'), (9, 'piscine');";
        workdir.query(reference).await;
        workdir
    };
    LOADED.workdir(load).await
}

/// Sessions: id, user, campus, host, begin, end.
async fn sit(workdir: &Workdir, sessions: &[&str]) {
    let rows = sessions.join("), (");
    let columns = "id, user_id, campus_id, host, begin_at, end_at";
    let insert = format!("INSERT INTO locations ({columns}) VALUES ({rows})");
    workdir.query(&insert).await;
    derive(workdir).await;
}

async fn derive(workdir: &Workdir) {
    for statement in [
        include_str!("../packs/locations/sql/logtime_days.sql"),
        include_str!("../packs/locations/sql/open_sessions.sql"),
    ] {
        workdir.query(statement).await;
    }
}

async fn logtime(workdir: &Workdir, user: i64) -> Vec<String> {
    let days = format!(
        "SELECT concat_ws(' ', campus_id, day, duration, sessions) FROM logtime_daily WHERE user_id = {user} ORDER BY day"
    );
    workdir.column(&days).await
}

#[tokio::test]
async fn logtime_merges_overlaps_and_cuts_at_local_midnight() {
    let workdir = mirror().await;
    sit(
        &workdir,
        &[
            "1, 1, 1, 'c1r1s1', '2026-03-02T09:00Z', '2026-03-02T11:00Z'",
            "2, 1, 1, 'c1r1s2', '2026-03-02T10:00Z', '2026-03-02T12:00Z'",
            "3, 1, 1, 'c1r1s2', '2026-03-02T10:15Z', '2026-03-02T10:30Z'",
            "4, 1, 1, 'c1r1s1', '2026-03-03T22:30Z', '2026-03-04T00:30Z'",
            "5, 6, 2, 'c1r1s1', '2026-03-10T14:00Z', '2026-03-10T16:00Z'",
            "6, 6, NULL, NULL, '2026-03-12T23:00Z', '2026-03-13T01:00Z'",
        ],
    )
    .await;
    assert_eq!(
        logtime(&workdir, 1).await,
        [
            "1 2026-03-02 03:00:00 3",
            "1 2026-03-03 00:30:00 1",
            "1 2026-03-04 01:30:00 1"
        ]
    );
    assert_eq!(
        logtime(&workdir, 6).await,
        [
            "2 2026-03-10 01:00:00 1",
            "2 2026-03-11 01:00:00 1",
            "0 2026-03-12 01:00:00 1",
            "0 2026-03-13 01:00:00 1"
        ]
    );
    let weeks = "SELECT concat_ws(' ', week, duration, days) FROM logtime_weekly WHERE user_id = 1";
    assert_eq!(workdir.column(weeks).await, ["2026-03-02 05:00:00 3"]);
}

#[tokio::test]
async fn logtime_follows_the_clock_of_the_campus_over_its_changes() {
    let workdir = mirror().await;
    sit(
        &workdir,
        &[
            // 01:30 to 03:30 by a clock that goes from 2 to 3.
            "1, 1, 1, 'a', '2026-03-29T00:30Z', '2026-03-29T01:30Z'",
            // A day of 23 hours: a part in three days.
            "2, 2, 1, 'a', '2026-03-28T22:30Z', '2026-03-29T22:30Z'",
            // A day of 25 hours.
            "3, 3, 1, 'a', '2026-10-24T22:00Z', '2026-10-25T22:00Z'",
        ],
    )
    .await;
    assert_eq!(logtime(&workdir, 1).await, ["1 2026-03-29 01:00:00 1"]);
    assert_eq!(
        logtime(&workdir, 2).await,
        [
            "1 2026-03-28 00:30:00 1",
            "1 2026-03-29 23:00:00 1",
            "1 2026-03-30 00:30:00 1"
        ]
    );
    assert_eq!(logtime(&workdir, 3).await, ["1 2026-10-25 24:00:00 1"]);
}

#[tokio::test]
async fn abandoned_sessions_count_until_somebody_can_tell() {
    let workdir = mirror().await;
    sit(
        &workdir,
        &[
            // Two days long.
            "1, 1, 1, 'a', '2026-03-10T08:00Z', '2026-03-12T08:00Z'",
            // Never closed: until the next one, four hours later.
            "2, 2, 1, 'b', '2026-03-10T08:00Z', NULL",
            "3, 2, 1, 'c', '2026-03-10T12:00Z', '2026-03-10T13:00Z'",
            // Never closed, and nothing after it.
            "4, 3, 1, 'd', '2026-03-10T08:00Z', NULL",
            // Still open.
            "5, 4, 1, 'e', now() - interval '1 hour', NULL",
            // Never closed two hours ago; the newest is still open.
            "6, 5, 1, 'f', now() - interval '3 hours', NULL",
            "7, 5, 1, 'g', now() - interval '1 hour', NULL",
        ],
    )
    .await;
    assert_eq!(
        logtime(&workdir, 1).await,
        ["1 2026-03-10 15:00:00 1", "1 2026-03-11 09:00:00 1"]
    );
    assert_eq!(logtime(&workdir, 2).await, ["1 2026-03-10 05:00:00 2"]);
    assert_eq!(logtime(&workdir, 3).await, Vec::<String>::new());
    let hours = "SELECT concat_ws(' ', user_id, round(extract(epoch FROM sum(duration)) / 3600)) FROM logtime_daily \
        WHERE user_id IN (4, 5) GROUP BY user_id ORDER BY user_id";
    assert_eq!(workdir.column(hours).await, ["4 1", "5 3"]);

    // What is learnt later moves the days that it is about, and no other.
    workdir
        .query("UPDATE locations SET end_at = '2026-03-10T09:00Z', ingested_at = now() WHERE id IN (1, 4)")
        .await;
    derive(&workdir).await;
    assert_eq!(logtime(&workdir, 1).await, ["1 2026-03-10 01:00:00 1"]);
    assert_eq!(logtime(&workdir, 3).await, ["1 2026-03-10 01:00:00 1"]);
    assert_eq!(logtime(&workdir, 2).await, ["1 2026-03-10 05:00:00 2"]);
}

#[tokio::test]
async fn who_is_online_has_a_seat_that_nobody_else_took() {
    let workdir = mirror().await;
    workdir
        .query("INSERT INTO users (id, login, cursus_id) VALUES (1, 'ada', 21), (2, 'bob', 21)")
        .await;
    let ago = |hours: u32| format!("now() - interval '{hours} hours'");
    let sessions = [
        format!("1, 1, 1, 'c1r9s3', {}, NULL", ago(2)),
        // Of a person the newest.
        format!("2, 1, 1, 'c1r9s4', {}, NULL", ago(1)),
        // Somebody sat down there later, and left.
        format!("3, 2, 1, 'c2r1s1', {}, NULL", ago(5)),
        format!("4, 3, 1, 'c2r1s1', {}, {}", ago(4), ago(3)),
        // Never closed.
        format!("5, 4, 1, 'c3r1s1', {}, NULL", ago(25)),
        // A machine without a seat in its name, at a campus with a machine of a name that is taken elsewhere.
        format!("6, 5, 2, 'kiosk', {}, NULL", ago(1)),
        format!("7, 6, 2, 'c1r9s3', {}, NULL", ago(1)),
    ];
    sit(&workdir, &sessions.each_ref().map(String::as_str)).await;
    let online = "SELECT concat_ws(' ', campus_id, user_id, coalesce(login, '-'), host, cluster, line, seat) FROM online_now ORDER BY 1";
    let seen = ["1 1 ada c1r9s4 1 9 4", "2 5 - kiosk", "2 6 - c1r9s3 1 9 3"];
    assert_eq!(workdir.column(online).await, seen);
    // Rows that are unchanged are not written again.
    let versions = "SELECT concat_ws(' ', location_id, xmin, ingested_at) FROM open_sessions ORDER BY location_id";
    let before = workdir.column(versions).await;
    derive(&workdir).await;
    assert_eq!(workdir.column(versions).await, before);

    // Session 2 has ended, 6 was deleted, and 4 was deleted, so that none follows 3 on its machine. 8 follows 7. The machine of 1 has
    // another name.
    workdir
        .query(&format!(
            "UPDATE locations SET end_at = now() WHERE id = 2; DELETE FROM locations WHERE id IN (4, 6); \
             INSERT INTO locations (id, user_id, campus_id, host, begin_at) VALUES (8, 7, 2, 'c1r9s3', {}); \
             UPDATE locations SET host = 'z4r5s6' WHERE id = 1",
            ago(0)
        ))
        .await;
    derive(&workdir).await;
    assert_eq!(
        workdir.column(online).await,
        [
            "1 1 ada z4r5s6 4 5 6",
            "1 2 bob c2r1s1 2 1 1",
            "2 7 - c1r9s3 1 9 3"
        ]
    );
    let kept = "SELECT location_id FROM open_sessions ORDER BY 1";
    assert_eq!(workdir.column(kept).await, ["1", "3", "5", "7", "8"]);
}

#[tokio::test]
async fn people_are_ranked_by_the_enrolment_that_counts() {
    let workdir = mirror().await;
    workdir
        .query(
            "INSERT INTO users (id, login, cursus_id, campus_id, pool_year, pool_month) VALUES \
             (1, 'ada', 21, 1, '2024', 'july'), (2, 'bob', 21, 1, '2024', 'july'), (3, 'cyd', 21, 1, '2023', 'july'), \
             (4, 'dan', 21, 2, '2024', 'july'), (5, 'eve', 21, 1, NULL, NULL); \
             INSERT INTO cursus_users (id, user_id, cursus_id, level, begin_at, end_at, blackholed_at) VALUES \
             (1, 1, 21, 9, '2024-01-01', NULL, NULL), (2, 1, 21, 3, '2024-01-01', NULL, now() + interval '3 days'), \
             (3, 1, 9, 12, '2024-01-01', NULL, NULL), (4, 2, 21, 5, '2024-01-01', NULL, now() + interval '31 days'), \
             (5, 3, 21, 3, '2024-01-01', NULL, now() - interval '1 day'), (6, 4, 21, 1, '2024-01-01', NULL, NULL), \
             (7, 5, 21, 8, '2024-01-01', '2024-02-01', now() + interval '1 day')",
        )
        .await;
    let board = "SELECT concat_ws(' ', campus_id, place, login, level) FROM leaderboard ORDER BY 1";
    assert_eq!(
        workdir.column(board).await,
        ["1 1 bob 5", "1 2 ada 3", "1 2 cyd 3", "2 1 dan 1"]
    );
    let pools = "SELECT concat_ws(' ', campus_id, pool_year, place, people, login) FROM pool_ranking ORDER BY 1";
    assert_eq!(
        workdir.column(pools).await,
        [
            "1 2023 1 1 cyd",
            "1 2024 1 2 bob",
            "1 2024 2 2 ada",
            "2 2024 1 1 dan"
        ]
    );
    assert_eq!(
        workdir.column("SELECT login FROM blackhole_soon").await,
        ["ada"]
    );
}

#[tokio::test]
async fn a_project_has_peers_and_statistics() {
    let workdir = mirror().await;
    workdir
        .query(
            "INSERT INTO users (id, login, cursus_id, campus_id, location) VALUES \
             (1, 'ada', 21, 1, 'c1r1s1'), (2, 'bob', 21, 1, NULL), (3, 'cyd', 21, 1, NULL); \
             INSERT INTO projects (id, slug, name) VALUES (7, 'libft', 'Libft'); \
             INSERT INTO projects_users (id, user_id, project_id, status, validated, occurrence, final_mark, created_at, marked_at) VALUES \
             (1, 1, 7, 'failed', false, 0, 0, '2026-01-01', '2026-01-05'), \
             (2, 1, 7, 'finished', true, 1, 100, '2026-01-01', '2026-01-11'), \
             (3, 2, 7, 'in_progress', NULL, 0, NULL, '2026-02-01', NULL), \
             (4, 3, 7, 'finished', false, 0, 40, '2026-02-01', '2026-02-02'), \
             (5, 99, 7, 'finished', true, 0, 125, '2026-02-01', '2026-02-21')",
        )
        .await;
    let peers = "SELECT concat_ws(' ', login, standing, location) FROM project_peers WHERE slug = 'libft' ORDER BY 1";
    assert_eq!(
        workdir.column(peers).await,
        ["ada validated c1r1s1", "bob in_progress"]
    );
    workdir
        .query(include_str!("../packs/statistics/sql/project_totals.sql"))
        .await;
    let figures = "SELECT concat_ws(' ', slug, enrolments, open, validated, failed, pass_rate, tries, days) FROM project_statistics";
    assert_eq!(
        workdir.column(figures).await,
        ["libft 4 1 2 1 0.667 1.50 15.0"]
    );
}

#[tokio::test]
async fn what_comes_next_and_who_leads_is_shown_by_campus() {
    let workdir = mirror().await;
    workdir
        .query(
            "INSERT INTO events (id, name, kind, begin_at, end_at, max_people, nbr_subscribers) VALUES \
             (1, 'talk', 'conference', now() + interval '1 day', now() + interval '2 days', 10, 12), \
             (2, 'past', 'rush', now() - interval '2 days', now() - interval '1 day', NULL, 1), \
             (3, 'on', 'rush', now() - interval '1 hour', now() + interval '1 hour', NULL, 1); \
             INSERT INTO events_campuses (event_id, campus_id) VALUES (1, 1), (1, 2), (2, 1), (3, 2); \
             INSERT INTO exams (id, name, begin_at, end_at, campus_id, max_people, nbr_subscribers) VALUES \
             (1, 'rank', now() + interval '3 hours', now() + interval '6 hours', 1, 30, 20), \
             (2, 'open end', now() + interval '4 hours', NULL, 1, NULL, NULL), \
             (3, 'begun', now() - interval '4 hours', NULL, 1, NULL, NULL); \
             INSERT INTO blocs (id, campus_id, cursus_id) VALUES (1, 1, 21); \
             INSERT INTO coalitions (id, name, score) VALUES (1, 'tide', 10), (2, 'ember', 30), (3, 'stray', 90); \
             INSERT INTO blocs_coalitions (bloc_id, coalition_id) VALUES (1, 1), (1, 2); \
             INSERT INTO bloc_deadlines (id, bloc_id, begin_at, end_at) VALUES \
             (1, 1, '2024-01-01', '2025-01-01'), (2, 1, '2025-01-01', '2125-01-01')",
        )
        .await;
    let next = "SELECT concat_ws(' ', campus_id, what, name, places_left) FROM upcoming ORDER BY campus_id, begin_at";
    assert_eq!(
        workdir.column(next).await,
        [
            "1 exam rank 10",
            "1 exam open end",
            "1 event talk 0",
            "2 event on",
            "2 event talk 0"
        ]
    );
    let board = "SELECT concat_ws(' ', campus_id, place, name, score, season_end_at::date) FROM coalition_board ORDER BY place";
    assert_eq!(
        workdir.column(board).await,
        ["1 1 ember 30 2125-01-01", "1 2 tide 10 2125-01-01"]
    );
}
