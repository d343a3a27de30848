//! What lists show, in which order, page by page.

use super::*;

#[tokio::test]
async fn the_filters_for_active_students_give_exactly_them() {
    let api = Api::start(small()).await;
    let students = api.all(STUDENTS).await;
    assert_eq!(students.len(), 40);
    assert!(api.total("/v2/cursus/21/users").await > 40);
    assert_eq!(api.total("/v2/users").await, 80);
    for student in &students {
        assert_eq!(student.as_object().unwrap().len(), 25);
    }
    let names: HashSet<&str> = (students.iter())
        .filter_map(|row| row["first_name"].as_str())
        .collect();
    for hurting in ["", "NULL", "\\N", "Back\\slash", "Tab\there", "محمد"] {
        assert!(names.contains(hurting), "{hurting:?} is missing");
    }
    let logins: HashSet<&Value> = students.iter().map(|row| &row["login"]).collect();
    assert_eq!(logins.len(), 40);

    let mut by_campus = 0;
    for campus in ids(&api.simulator.rows("campus")) {
        let path = format!("{STUDENTS}&filter[primary_campus_id]={campus}");
        by_campus += api.total(&path).await;
    }
    assert_eq!(by_campus, 40);
}

#[tokio::test]
async fn each_person_has_one_primary_campus_and_full_join_rows() {
    let api = Api::start(small()).await;
    let campus_users = api.simulator.rows("campus_users");
    let primary = campus_users.iter().filter(|row| row["is_primary"] == true);
    let primary: HashSet<i64> = primary
        .map(|row| row["user_id"].as_i64().unwrap())
        .collect();
    assert_eq!(primary.len(), 80);
    assert!(campus_users.len() > 80);

    for (path, keys) in [
        ("/v2/cursus", 5),
        ("/v2/campus", 18),
        ("/v2/cursus/21/projects", 17),
        ("/v2/achievements", 13),
        ("/v2/coalitions", 8),
        ("/v2/cursus/21/cursus_users", 13),
        ("/v2/projects_users", 15),
        ("/v2/achievements_users", 8),
        ("/v2/coalitions_users", 7),
        ("/v2/campus_users", 6),
    ] {
        for row in api.page(path).await {
            assert_eq!(row.as_object().unwrap().len(), keys, "{path}");
            if let Some(user) = row.get("user") {
                assert_eq!(user.as_object().unwrap().len(), 25, "{path}");
            }
        }
    }
    let projects = api.all("/v2/cursus/21/projects").await;
    assert_eq!(projects.len(), 40);
    let mut sessions = HashSet::new();
    for session in projects
        .iter()
        .flat_map(|row| row["project_sessions"].as_array().unwrap())
    {
        assert_eq!(session.as_object().unwrap().len(), 21);
        assert!(sessions.insert(session["id"].clone()));
    }
    let nested = projects
        .iter()
        .flat_map(|row| row["campus"].as_array().unwrap());
    assert!(nested.clone().count() > 0);
    assert!(
        nested
            .into_iter()
            .all(|campus| campus.as_object().unwrap().len() == 17)
    );

    let enrolments = api.all("/v2/projects_users?filter[cursus]=21").await;
    let of_cursus = |row: &&Value| row["cursus_ids"][0] == 21;
    assert_eq!(enrolments.iter().filter(of_cursus).count(), 120);
    assert!(enrolments.len() > 120);
    let mut teams = enrolments
        .iter()
        .flat_map(|row| row["teams"].as_array().unwrap());
    assert!(teams.all(|team| team.as_object().unwrap().len() == 19));

    let login = projects_login(&enrolments);
    let profile = json(api.get(&format!("/v2/users/{login}")).await).await;
    assert_eq!(profile["login"], *login);
    assert!(!profile["campus_users"].as_array().unwrap().is_empty());
    assert!(!profile["cursus_users"].as_array().unwrap().is_empty());
}

fn projects_login(enrolments: &[Value]) -> &str {
    enrolments[0]["user"]["login"].as_str().unwrap()
}

#[tokio::test]
async fn pages_are_numbered_clamped_linked_and_empty_past_the_end() {
    let api = Api::start(small()).await;
    let first = api
        .get("/v2/coalitions_users?page[size]=500&page[number]=2")
        .await;
    assert_eq!(header(&first, "x-total"), "450");
    assert_eq!(header(&first, "x-page"), "2");
    assert_eq!(header(&first, "x-per-page"), "100");
    let link = header(&first, "link");
    let url = api.simulator.url();
    for (rel, page) in [("first", 1), ("prev", 1), ("next", 3), ("last", 5)] {
        let wanted =
            format!("<{url}/v2/coalitions_users?page={page}&page[size]=500>; rel=\"{rel}\"");
        assert!(link.contains(&wanted), "{link}");
    }
    assert_eq!(api.page("/v2/coalitions_users").await.len(), 30);
    let beyond = api.get("/v2/coalitions_users?page=6&per_page=100").await;
    assert_eq!(header(&beyond, "x-total"), "450");
    assert_eq!(beyond.text().await.unwrap(), "[]");
    assert_eq!(api.status("/v2/coalitions_users?page=0").await, 400);

    let all = api.all("/v2/coalitions_users").await;
    let known = ids(&api.simulator.rows("coalitions_users"));
    assert_eq!(sorted(ids(&all)), known);
}

#[tokio::test]
async fn lists_are_ordered_as_documented_and_as_asked() {
    let api = Api::start(small()).await;
    let descending = |ids: Vec<i64>| ids.windows(2).all(|pair| pair[0] > pair[1]);
    for path in [
        "/v2/cursus",
        "/v2/campus",
        "/v2/users",
        "/v2/achievements_users",
    ] {
        assert!(descending(ids(&api.all(path).await)), "{path}");
    }
    let achievements = ids(&api.all("/v2/achievements").await);
    assert_eq!(sorted(achievements.clone()), achievements);
    let members = api.all("/v2/coalitions_users").await;
    let newest_first = |pair: &[Value]| {
        pair[0]["created_at"].as_str().unwrap() >= pair[1]["created_at"].as_str().unwrap()
    };
    assert!(members.windows(2).all(newest_first));
    assert!(descending(ids(&api.all("/v2/coalitions?sort=-id").await)));

    let rows = api.all("/v2/users?sort=kind,-updated_at").await;
    let key = |row: &Value| {
        let text = |key: &str| row[key].as_str().unwrap().to_owned();
        (text("kind"), std::cmp::Reverse(text("updated_at")))
    };
    assert!(rows.is_sorted_by_key(key));
    let asked = ids(&api.all("/v2/projects_users?sort=id").await);
    assert_ne!(sorted(asked.clone()), asked, "projects_users has no sort");
}

#[tokio::test]
async fn filters_and_ranges_hold_and_unlisted_ones_do_nothing() {
    let api = Api::start(small()).await;
    let users = sorted(ids(&api.all("/v2/users").await));
    let some = format!("{},{}", users[3], users[7]);
    let picked = api.all(&format!("/v2/users?filter[id]={some}")).await;
    assert_eq!(sorted(ids(&picked)), [users[3], users[7]]);
    let picked = api.all(&format!("/v2/users?range[id]={some}")).await;
    assert_eq!(sorted(ids(&picked)), users[3..=7]);
    let campuses = api
        .all(&format!("/v2/campus_users?filter[user_id]={some}"))
        .await;
    let of: HashSet<i64> = (campuses.iter())
        .map(|row| row["user_id"].as_i64().unwrap())
        .collect();
    assert_eq!(of, HashSet::from([users[3], users[7]]));
    let one = &api
        .page("/v2/coalitions_users?sort=updated_at&per_page=9")
        .await[4];
    let at = one["updated_at"].as_str().unwrap();
    let exact = |to: &str| format!("/v2/coalitions_users?range[updated_at]=2000-01-01,{to}");
    assert_eq!(
        api.total(&exact(at)).await,
        4,
        "microseconds lie behind what is shown"
    );
    let next = at.replace('Z', "999Z");
    assert_eq!(api.total(&exact(&next)).await, 5);

    assert_eq!(api.total("/v2/coalitions?filter[id]=1").await, 20);
    assert_eq!(
        api.total("/v2/users?filter[shoe_size]=1&alumni_p=false")
            .await,
        80
    );
    assert_eq!(api.status("/v2/users?range[id]=5").await, 400);
    assert_eq!(api.status("/v2/users?range[id]=a,b").await, 400);
    assert_eq!(api.status("/v2/campuses").await, 404);
    assert_eq!(api.status("/v2/cursus/999/users").await, 404);
    assert_eq!(
        api.total("/v2/cursus/42cursus/users").await,
        api.total("/v2/cursus/21/users").await
    );

    let strict = Options {
        unknowns: Unknowns {
            unlisted: Unlisted::BadRequest,
            open_range: OpenRange::Accepted,
            coalitions_need_role: true,
            ..Unknowns::default()
        },
        ..small()
    };
    let api = Api::start(strict).await;
    assert_eq!(api.status("/v2/users?filter[shoe_size]=1").await, 400);
    assert_eq!(api.status("/v2/coalitions").await, 403);
    let from = format!("/v2/users?range[id]={},", users[70]);
    assert_eq!(api.total(&from).await, 10);
}

#[tokio::test]
async fn the_filters_of_a_refresh_give_what_they_name() {
    let api = Api::start(small()).await;
    let value = |row: &Value, key: &str| row.pointer(key).cloned().unwrap_or_default();
    for (name, filter, key) in [
        ("cursus_users", "id", "/id"),
        ("cursus_users", "user_id", "/user/id"),
        ("campus_users", "user_id", "/user_id"),
        ("campus_users", "campus_id", "/campus_id"),
        ("campus_users", "is_primary", "/is_primary"),
        ("projects_users", "user_id", "/user/id"),
    ] {
        let rows = api.simulator.rows(name);
        let mut wanted: Vec<Value> = rows.iter().map(|row| value(row, key)).collect();
        wanted.dedup();
        wanted.truncate(100);
        let of = wanted.iter().map(ToString::to_string);
        let of = of.collect::<Vec<_>>().join(",");
        let listed = api.all(&format!("/v2/{name}?filter[{filter}]={of}")).await;
        let expected = rows.iter().filter(|row| wanted.contains(&value(row, key)));
        let expected = expected.map(|row| row["id"].as_i64().unwrap());
        assert_eq!(
            sorted(ids(&listed)),
            expected.collect::<Vec<_>>(),
            "{name} {filter}"
        );
    }
    let ended = api.all("/v2/cursus/21/cursus_users?filter[end]=true").await;
    let ongoing = api
        .all("/v2/cursus/21/cursus_users?filter[end]=false")
        .await;
    assert!(!ended.is_empty() && ended.iter().all(|row| !row["end_at"].is_null()));
    assert!(!ongoing.is_empty() && ongoing.iter().all(|row| row["end_at"].is_null()));
    let enrolled = api.total("/v2/cursus/21/cursus_users").await;
    assert_eq!(ended.len() + ongoing.len(), enrolled);
    let active = "/v2/cursus/21/cursus_users?filter[active]=true";
    let to_come = |row: &&Value| row["end_at"].as_str() > Some("2026-03-02T06");
    let to_come = ended.iter().filter(to_come).count();
    assert_eq!(api.total(active).await, ongoing.len() + to_come);

    let mut by_campus = 0;
    for campus in ids(&api.simulator.rows("campus")) {
        let path = format!("/v2/cursus/21/cursus_users?filter[campus_id]={campus}");
        by_campus += api.total(&path).await;
    }
    assert_eq!(by_campus, enrolled, "each person has one primary campus");

    let rows = api.simulator.rows("campus_users");
    let at = rows[5]["updated_at"].as_str().unwrap();
    let since = format!("/v2/campus_users?range[updated_at]={at},2099-01-01");
    let later = rows
        .iter()
        .filter(|row| row["updated_at"].as_str() >= Some(at));
    assert_eq!(api.total(&since).await, later.count());
    let unlisted = "/v2/campus_users?range[id]=1,2";
    assert_eq!(api.total(unlisted).await, rows.len());
}

#[tokio::test]
async fn a_named_parameter_can_be_ignored() {
    let api = Api::start(small()).await;
    let all = api.total("/v2/cursus_users").await;
    let some = "/v2/cursus_users?filter[end]=true&range[id]=1,20";
    let (both, ended) = (api.total(some).await, "/v2/cursus_users?filter[end]=true");
    let ended = api.total(ended).await;
    let ignore = |parameters: &[&str]| FaultKind::Ignore {
        parameters: parameters.iter().map(|one| (*one).to_owned()).collect(),
    };
    let inject = |parameters: &[&str]| {
        let rule = Fault::new("cursus_users", ignore(parameters));
        api.simulator.inject(rule.times(1));
    };
    inject(&["range[id]"]);
    assert_eq!(api.total(some).await, ended);
    inject(&["filter[end]", "range[id]"]);
    assert_eq!(api.total(some).await, all);
    assert_eq!(api.total(some).await, both);
    assert!(both < ended && ended < all);
}
