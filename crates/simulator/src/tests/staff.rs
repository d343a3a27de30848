//! What only staff may see, and pages that are too large for the gateway.

use super::*;

fn staff() -> Options {
    Options {
        staff: true,
        ..small()
    }
}

#[tokio::test]
async fn scale_teams_are_for_staff_in_small_pages_only() {
    let api = Api::start(small()).await;
    let plain = api.get("/v2/scale_teams").await;
    assert_eq!(plain.status(), StatusCode::FORBIDDEN);
    assert_eq!(header(&plain, "x-application-roles"), "None");

    let api = Api::start(staff()).await;
    let large = api.get("/v2/scale_teams").await;
    assert_eq!(large.status(), StatusCode::GATEWAY_TIMEOUT);
    assert!(!large.headers().contains_key("x-hourly-ratelimit-limit"));
    assert!(large.text().await.unwrap().starts_with("<!DOCTYPE html>"));
    let most = "/v2/scale_teams?filter[filled]=true&per_page=";
    assert_eq!(api.status(&format!("{most}9")).await, 504);
    let rows = api.page(&format!("{most}8")).await;
    assert_eq!(rows.len(), 8);
    assert!(rows.iter().all(|row| !row["filled_at"].is_null()));
    let all = api.simulator.rows("scale_teams");
    for other in [
        |row: &Value| row["corrector"] == "invisible",
        |row: &Value| row["corrector"]["login"] == "supervisor",
        |row: &Value| row["correcteds"] == "invisible",
    ] {
        assert!(all.iter().any(other));
    }
    assert!(all.iter().any(|row| row["filled_at"].is_null()));
}

#[tokio::test]
async fn any_resource_can_be_slow_for_a_while() {
    let options = Options {
        slow_pages: [("users".to_owned(), 40)].into(),
        slow_for: Duration::from_millis(1),
        ..staff()
    };
    let api = Api::start(options).await;
    let status = async |path: &str| api.status(path).await;
    assert_eq!(status("/v2/cursus/21/users?per_page=41").await, 504);
    assert_eq!(status("/v2/cursus/21/users?per_page=40").await, 200);
    assert_eq!(status("/v2/scale_teams?per_page=100").await, 200);
    assert!(api.simulator.slow_page("users", None));
    assert_eq!(status("/v2/users?per_page=100").await, 200);
    assert!(api.simulator.slow_page("cursus_users", Some(3)));
    assert_eq!(status("/v2/cursus/21/cursus_users?per_page=4").await, 504);
    assert!(!api.simulator.slow_page("unknown", Some(3)));
    assert_eq!(api.simulator.statistics().faults, 0);

    let options = Options {
        slow_pages: [("unknown".to_owned(), 40)].into(),
        ..small()
    };
    let error = Simulator::start(options).await.unwrap_err();
    assert!(matches!(error, SimulateError::UnknownResource { .. }));
}
