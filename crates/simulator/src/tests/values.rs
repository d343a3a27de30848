//! Values that a test sets on rows, and what queries make of them.

use serde_json::json;

use super::*;

const ALWAYS: &str = "range[updated_at]=1970-01-01,2098-12-31";

#[tokio::test]
async fn no_range_holds_a_null_or_a_far_date() {
    let odd = |rows| OddDates {
        resource: "projects_users".to_owned(),
        field: "updated_at".to_owned(),
        rows,
    };
    let options = Options {
        odd_dates: vec![odd(3)],
        ..small()
    };
    let api = Api::start(options).await;
    let all = api.total("/v2/projects_users").await;
    let ranged = format!("/v2/projects_users?{ALWAYS}");
    assert_eq!(api.total(&ranged).await, all - 3);
    let far = "/v2/projects_users?range[updated_at]=1960-01-01,2100-01-01";
    assert_eq!(api.total(far).await, all - 1, "a null is in no range");
    let rows = api.all("/v2/projects_users").await;
    assert_eq!(rows.len(), all, "without a range they are listed");
    assert_eq!(rows[0]["updated_at"], Value::Null, "nulls are the newest");
    let shown = api.simulator.rows("projects_users");
    let dates: Vec<&Value> = shown[..3].iter().map(|row| &row["updated_at"]).collect();
    let far = ["1969-07-20T20:17:40.000Z", "2099-12-31T23:59:59.999Z"];
    assert_eq!(dates, [&Value::Null, &far[0].into(), &far[1].into()]);

    let options = Options {
        odd_dates: vec![OddDates {
            field: "status".to_owned(),
            ..odd(1)
        }],
        ..small()
    };
    let error = Simulator::start(options).await.unwrap_err();
    assert!(matches!(error, SimulateError::NotADate { .. }));
}

#[tokio::test]
async fn any_field_of_any_row_takes_any_value() {
    let api = Api::start(small()).await;
    for name in Resource::ALL.map(Resource::name) {
        let before = api.simulator.rows(name);
        let id = before[1]["id"].as_i64().unwrap();
        for (field, value) in [("created_at", json!(null)), ("odd", json!([1]))] {
            assert!(api.simulator.set_field(name, id, field, value), "{name}");
        }
        let after = api.simulator.rows(name);
        let mut wanted = before.clone();
        wanted[1]["created_at"] = Value::Null;
        wanted[1]["odd"] = json!([1]);
        assert_eq!(after, wanted, "{name}: nothing else moves");
        assert!(!api.simulator.set_field(name, -1, "odd", json!(1)));
    }
    assert!(!api.simulator.set_field("campuses", 1, "odd", json!(1)));
}

#[tokio::test]
async fn queries_see_the_values_that_were_set() {
    let api = Api::start(small()).await;
    let id = |name: &str| api.simulator.rows(name)[0]["id"].as_i64().unwrap();
    let set = |name: &str, field: &str, value| {
        assert!(api.simulator.set_field(name, id(name), field, value));
    };
    set("projects", "project_sessions", json!(null));
    let projects = api.all("/v2/cursus/21/projects").await;
    let nulls = projects
        .iter()
        .filter(|row| row["project_sessions"] == json!(null));
    assert_eq!(nulls.count(), 1);

    let ended = api.total("/v2/cursus_users?filter[end]=true").await;
    let ongoing = api.page("/v2/cursus_users?filter[end]=false").await[0]["id"].clone();
    let ongoing = ongoing.as_i64().unwrap();
    let end = json!("2026-01-01T00:00:00.000Z");
    assert!(
        api.simulator
            .set_field("cursus_users", ongoing, "end_at", end)
    );
    assert_eq!(
        api.total("/v2/cursus_users?filter[end]=true").await,
        ended + 1
    );

    let user = id("users");
    set("users", "login", json!(null));
    let nested = api.all("/v2/cursus_users").await;
    let mut nested = nested.iter().filter(|row| row["user"]["id"] == user);
    assert!(nested.all(|row| row["user"]["login"] == json!(null)));
    set("achievements_users", "/user/login", json!("nobody"));
}

#[tokio::test]
async fn a_row_whose_id_is_set_is_listed_and_in_no_range_of_ids() {
    let api = Api::start(small()).await;
    let known = ids(&api.simulator.rows("coalitions_users"));
    let range = format!("/v2/coalitions_users?range[id]={},{}", known[0], known[9]);
    assert_eq!(api.total(&range).await, 10);
    let text = json!("four");
    assert!(
        api.simulator
            .set_field("coalitions_users", known[2], "id", text)
    );
    assert!(
        api.simulator
            .remove_field("coalitions_users", known[3], "id")
    );
    assert_eq!(api.total(&range).await, 8);
    assert_eq!(api.total("/v2/coalitions_users").await, known.len());
    let newest = &api.page("/v2/coalitions_users?sort=-id&per_page=2").await;
    assert!(newest.iter().any(|row| row["id"] == "four"));
    assert!(newest.iter().any(|row| row.get("id").is_none()));
}

#[tokio::test]
async fn fields_are_set_over_http_too() {
    let api = Api::start(small()).await;
    let known = ids(&api.simulator.rows("users"));
    let set = async |body: Value| {
        let url = format!("{}/_simulator/fields", api.simulator.url());
        let request = api
            .client
            .post(url)
            .header("content-type", "application/json");
        let answer = request.body(body.to_string()).send().await.unwrap();
        answer.status().as_u16()
    };
    let field = |id: i64| json!({"resource": "users", "id": id, "field": "wallet"});
    let mut null = field(known[0]);
    null["value"] = Value::Null;
    assert_eq!(set(null).await, 204);
    assert_eq!(set(field(known[1])).await, 204);
    assert_eq!(set(field(-1)).await, 404);
    let rows = api.simulator.rows("users");
    assert_eq!(rows[0].get("wallet"), Some(&Value::Null));
    assert_eq!(rows[1].get("wallet"), None);
}
