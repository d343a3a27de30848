//! Sessions: no `updated_at`, some without an end for ever, some removed.

use super::*;

#[tokio::test]
async fn sessions_are_filtered_and_ranged_as_documented() {
    let api = Api::start(small()).await;
    let all = api.simulator.rows("locations");
    for row in &all {
        let keys = "end_at id begin_at primary host campus_id user";
        let row = row.as_object().unwrap();
        assert_eq!(row.len(), 7);
        assert!(keys.split(' ').all(|key| row.contains_key(key)));
        assert_eq!(row["user"].as_object().unwrap().len(), 25);
    }
    let open = all.iter().filter(|row| row["end_at"].is_null()).count();
    assert!(open > 0 && open < all.len());
    for (filter, wanted) in [
        ("filter[active]=true", open),
        ("filter[active]=false", all.len() - open),
        ("filter[inactive]=true", all.len() - open),
        ("filter[end]=false", open),
        ("filter[future]=true", 0),
        ("range[end_at]=1990-01-01,2099-01-01", all.len() - open),
        ("range[updated_at]=1990-01-01,1990-01-02", all.len()),
    ] {
        assert_eq!(
            api.total(&format!("/v2/locations?{filter}")).await,
            wanted,
            "{filter}"
        );
    }
    let listed = api.all("/v2/locations").await;
    let begins = |row: &Value| std::cmp::Reverse(row["begin_at"].as_str().unwrap().to_owned());
    assert!(listed.is_sorted_by_key(begins));
    let mut by_campus = 0;
    for campus in ids(&api.simulator.rows("campus")) {
        by_campus += api.total(&format!("/v2/campus/{campus}/locations")).await;
    }
    assert_eq!(by_campus, all.len());
    let user = &all[0]["user"]["id"];
    let theirs = all.iter().filter(|row| row["user"]["id"] == *user).count();
    assert_eq!(
        api.total(&format!("/v2/users/{user}/locations")).await,
        theirs
    );
    assert_eq!(
        api.total(&format!("/v2/locations?filter[user_id]={user}"))
            .await,
        theirs
    );
    let some = format!("/v2/locations?filter[id]={},{}", all[1]["id"], all[4]["id"]);
    assert_eq!(api.total(&some).await, 2);
}

#[tokio::test]
async fn sessions_begin_end_last_for_ever_and_are_removed() {
    let simulator = Simulator::start(small()).await.unwrap();
    let open = |rows: &[Value]| {
        let open = rows.iter().filter(|row| row["end_at"].is_null());
        open.map(|row| row["id"].as_i64().unwrap())
            .collect::<HashSet<_>>()
    };
    let before = simulator.rows("locations");
    simulator.advance(Duration::from_hours(24 * 10));
    let after = simulator.rows("locations");
    let known: HashSet<i64> = ids(&after).into_iter().collect();
    assert!(known.len() > before.len(), "sessions begin");
    assert!(
        ids(&before).iter().any(|id| !known.contains(id)),
        "some are removed"
    );
    let still = open(&before).intersection(&open(&after)).count();
    assert!(still > 0, "some never end");
    assert!(still < open(&before).len(), "others end");
    let (rows, dir) = (Value::from(after.clone()), tempfile::tempdir().unwrap());
    let path = dir.path().join("locations.json");
    std::fs::write(&path, rows.to_string()).unwrap();
    let mut options = small();
    options.start = "2026-03-12T06:00:00Z".parse().unwrap();
    options.rows.insert("locations".to_owned(), path);
    let served = Simulator::start(options).await.unwrap().rows("locations");
    let shown = |rows: &[Value]| -> Vec<(Value, Value)> {
        let shown = rows
            .iter()
            .map(|row| (row["id"].clone(), row["end_at"].clone()));
        shown.collect()
    };
    assert_eq!(shown(&served), shown(&after), "given rows are served");
}
