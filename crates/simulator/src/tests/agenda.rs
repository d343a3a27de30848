//! Events, exams, blocs, quests and titles: their filters, and what becomes of them without a date that tells of it.

use std::collections::BTreeMap;

use super::*;

fn times(rows: &[Value], field: &str) -> Vec<String> {
    let times = rows
        .iter()
        .map(|row| row[field].as_str().unwrap().to_owned());
    times.collect()
}

fn has(row: &Value, field: &str, id: i64) -> bool {
    let ids = row[field].as_array().unwrap();
    ids.iter().any(|one| *one == id || one["id"] == id)
}

#[tokio::test]
async fn events_are_listed_by_campus_and_cursus() {
    let api = Api::start(small()).await;
    let now = "2026-03-02T06:00:00";
    let all = api.simulator.rows("events");
    assert!(all.iter().any(|row| row["max_people"].is_null()));
    assert!(all.iter().any(|row| row["waitlist"].is_object()));
    let mut by_campus = 0;
    for campus in ids(&api.simulator.rows("campus")) {
        let path = format!("/v2/campus/{campus}/events");
        let listed = api.all(&path).await;
        assert!(listed.iter().all(|row| has(row, "campus_ids", campus)));
        assert!(times(&listed, "begin_at").is_sorted_by(|a, b| a >= b));
        let of_both = format!("/v2/campus/{campus}/cursus/21/events");
        let main = (listed.iter()).filter(|row| has(row, "cursus_ids", 21));
        assert_eq!(api.total(&of_both).await, main.count());
        let future = api.all(&format!("{path}?filter[future]=true")).await;
        assert!(times(&future, "begin_at").iter().all(|at| **at > *now));
        let past = api.all(&format!("{path}?filter[end]=true")).await;
        assert!(times(&past, "end_at").iter().all(|at| **at < *now));
        by_campus += listed.len();
    }
    let several = |row: &Value| row["campus_ids"].as_array().unwrap().len();
    assert_eq!(by_campus, all.iter().map(several).sum::<usize>());
    assert_eq!(api.total("/v2/events").await, all.len());
    // The list of all events has no filter by campus.
    assert_eq!(api.total("/v2/events?filter[campus_id]=1").await, all.len());
    assert_eq!(api.status("/v2/cursus/21/campus/1/events").await, 404);
    assert_eq!(api.status("/v2/campus/1/cursus/21/users").await, 404);
}

#[tokio::test]
async fn subscriptions_are_counted_and_move_no_date() {
    let api = Api::start(small()).await;
    let events = api.simulator.rows("events");
    let subscriptions = api.simulator.rows("events_users");
    let mut of_event: BTreeMap<i64, usize> = BTreeMap::new();
    for row in &subscriptions {
        *of_event
            .entry(row["event_id"].as_i64().unwrap())
            .or_default() += 1;
        assert_eq!(row["user"]["id"], row["user_id"]);
        assert_eq!(row["event"]["id"], row["event_id"]);
    }
    for event in &events {
        let known = of_event.get(&event["id"].as_i64().unwrap());
        assert_eq!(event["nbr_subscribers"], *known.unwrap_or(&0));
    }
    let some: Vec<i64> = of_event.keys().copied().take(3).collect();
    let list = format!("{},{},{}", some[0], some[1], some[2]);
    let wanted = some.iter().map(|id| of_event[id]).sum::<usize>();
    assert_eq!(
        api.total(&format!("/v2/events_users?filter[event_id]={list}"))
            .await,
        wanted
    );
    assert_eq!(
        api.total(&format!("/v2/events/{}/events_users", some[0]))
            .await,
        of_event[&some[0]]
    );

    let dates = |rows: &[Value]| -> BTreeMap<i64, (Value, Value)> {
        let dated = rows.iter().map(|row| {
            let seen = (row["updated_at"].clone(), row["nbr_subscribers"].clone());
            (row["id"].as_i64().unwrap(), seen)
        });
        dated.collect()
    };
    let moved = |(was, is): &(&(Value, Value), &(Value, Value))| was.0 == is.0 && was.1 != is.1;
    let (mut subscribe, mut are_moved, mut leave) = (false, false, false);
    for _ in 0..20 {
        let before = dates(&api.simulator.rows("events"));
        let subscribed = ids(&api.simulator.rows("events_users"));
        api.simulator.advance(Duration::from_hours(24));
        let after = dates(&api.simulator.rows("events"));
        let mut both = (before.iter()).filter_map(|(id, was)| Some((was, after.get(id)?)));
        subscribe |= both.clone().any(|pair| moved(&pair));
        are_moved |= both.any(|(was, is)| was.0 != is.0);
        let known = ids(&api.simulator.rows("events_users"));
        leave |= subscribed.iter().any(|id| !known.contains(id));
    }
    assert!(subscribe, "people subscribe, which moves no date");
    assert!(are_moved, "events are moved");
    assert!(leave, "some leave an event");
}

#[tokio::test]
async fn coming_events_are_cancelled_with_their_subscriptions() {
    let simulator = Simulator::start(small()).await.unwrap();
    let mut cancelled = Vec::new();
    for _ in 0..20 {
        let coming = simulator.rows("events");
        simulator.advance(Duration::from_hours(24));
        let left = ids(&simulator.rows("events"));
        cancelled.extend(
            coming
                .iter()
                .filter(|row| !left.contains(&row["id"].as_i64().unwrap()))
                .cloned(),
        );
    }
    assert!(!cancelled.is_empty());
    let after = times(&cancelled, "begin_at");
    assert!(after.iter().all(|at| **at > *"2026-03-02T06:00:00"));
    let known = ids(&simulator.rows("events"));
    let subscriptions = simulator.rows("events_users");
    assert!(
        subscriptions
            .iter()
            .all(|row| known.contains(&row["event_id"].as_i64().unwrap()))
    );
}

#[tokio::test]
async fn exams_are_of_several_cursus_and_hidden_ones_for_staff() {
    let api = Api::start(small()).await;
    let all = api.simulator.rows("exams");
    assert!(all.iter().all(|row| row["ip_range"].is_string()));
    assert!(all.iter().any(|row| has(row, "cursus", 9)));
    for campus in ids(&api.simulator.rows("campus")) {
        let path = format!("/v2/campus/{campus}/cursus/21/exams");
        let listed = api.all(&path).await;
        let wanted = all.iter().filter(|row| row["campus"]["id"] == campus);
        assert_eq!(sorted(ids(&listed)), sorted(wanted.map(id).collect()));
        assert!(listed.iter().all(|row| row["campus"]["endpoint"].is_null()));
        let coming = format!("{path}?filter[future]=true&filter[visible]=true");
        let coming = api.all(&coming).await;
        assert!(
            times(&coming, "begin_at")
                .iter()
                .all(|at| **at > *"2026-03-02")
        );
    }
    let staff = Options {
        staff: true,
        ..small()
    };
    let seen_by_staff = Simulator::start(staff).await.unwrap().rows("exams");
    assert!(seen_by_staff.len() > all.len());
}

fn id(row: &Value) -> i64 {
    row["id"].as_i64().unwrap()
}

#[tokio::test]
async fn blocs_tell_the_campus_of_each_coalition() {
    let api = Api::start(small()).await;
    let blocs = api.simulator.rows("blocs");
    let coalitions = blocs.iter().flat_map(|bloc| {
        let coalitions = bloc["coalitions"].as_array().unwrap();
        coalitions.iter().map(id).collect::<Vec<_>>()
    });
    assert_eq!(
        sorted(coalitions.collect()),
        sorted(ids(&api.simulator.rows("coalitions")))
    );
    let (campus, cursus) = (&blocs[0]["campus_id"], &blocs[0]["cursus_id"]);
    let wanted = blocs
        .iter()
        .filter(|row| row["campus_id"] == *campus && row["cursus_id"] == *cursus)
        .count();
    let query = format!("filter[campus_id]={campus}&filter[cursus_id]={cursus}");
    assert_eq!(api.total(&format!("/v2/blocs?{query}")).await, wanted);
    let mut deadlines = 0;
    for bloc in &blocs {
        let path = format!("/v2/blocs/{}", bloc["id"]);
        deadlines += api.total(&format!("{path}/bloc_deadlines")).await;
        let own = bloc["coalitions"].as_array().unwrap().len();
        assert_eq!(api.total(&format!("{path}/coalitions")).await, own);
    }
    assert_eq!(deadlines, api.simulator.rows("bloc_deadlines").len());
    assert!(deadlines > 0);
}

#[tokio::test]
async fn quests_have_a_campus_filter_and_titles_have_none() {
    let api = Api::start(small()).await;
    let quests = api.simulator.rows("quests_users");
    let mut by_campus = HashSet::new();
    for campus in ids(&api.simulator.rows("campus")) {
        let path = format!("/v2/quests_users?filter[campus_id]={campus}");
        by_campus.extend(ids(&api.all(&path).await));
    }
    assert_eq!(by_campus.len(), quests.len());
    assert!(quests.iter().any(|row| row["validated_at"].is_null()));
    assert!(quests.iter().all(|row| row["quest"]["cursus_id"] == 21));

    let titles = api.simulator.rows("titles_users");
    for query in [
        "filter[user_id]=1",
        "range[id]=1,2",
        "range[updated_at]=1990-01-01,1990-01-02",
    ] {
        let path = format!("/v2/titles_users?{query}");
        assert_eq!(api.total(&path).await, titles.len(), "{query}");
    }
    let unordered = ids(&api.all("/v2/titles_users?sort=-id").await);
    assert!(!unordered.is_sorted() && !unordered.iter().rev().is_sorted());
    assert_eq!(sorted(unordered), ids(&titles));
    api.simulator.advance(Duration::from_hours(24 * 40));
    let later = api.simulator.rows("titles_users");
    let known = ids(&later);
    assert!(later.len() > titles.len());
    assert!(ids(&titles).iter().any(|id| !known.contains(id)));
}

#[tokio::test]
async fn given_events_and_exams_are_served_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = small();
    for (name, rows) in [
        (
            "events",
            r#"[{"id":7,"name":"é","begin_at":"2026-03-01T10:00:00.000Z","campus_ids":[1],"cursus_ids":[21]}]"#,
        ),
        (
            "exams",
            r#"[{"id":8,"begin_at":"2026-04-01T10:00:00.000Z","campus":{"id":1},"cursus":[{"id":9},{"id":21}]}]"#,
        ),
    ] {
        let path = dir.path().join(name);
        std::fs::write(&path, rows).unwrap();
        options.rows.insert(name.to_owned(), path);
    }
    let api = Api::start(options).await;
    assert_eq!(ids(&api.page("/v2/campus/1/events").await), [7]);
    assert_eq!(ids(&api.page("/v2/campus/1/cursus/9/exams").await), [8]);
    let future = "/v2/campus/1/exams?filter[future]=true";
    assert_eq!(ids(&api.page(future).await), [8]);
    assert!(api.simulator.rows("events_users").is_empty());
}
