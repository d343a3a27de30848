use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn place(at: &str, id: &str, values: PersonalValues) -> PersonPlace {
    PersonPlace {
        resource: Name::parse("things").unwrap(),
        at: Pointer::parse(at).unwrap(),
        id: Pointer::parse(id).unwrap(),
        values,
        own: None,
    }
}

fn own(place: PersonPlace, own: Own) -> PersonPlace {
    PersonPlace {
        own: Some(own),
        ..place
    }
}

fn pointers(texts: &[&str]) -> Vec<Pointer> {
    let parsed = texts.iter().map(|text| Pointer::parse(text).unwrap());
    parsed.collect()
}

fn people(places: Vec<PersonPlace>) -> People {
    People {
        places,
        ..People::default()
    }
}

/// The page with these people blank, as JSON.
fn blank(people: &People, page: &str, ids: &[&str]) -> Option<Value> {
    let text = erased(people, page, ids, Extent::Values)?;
    Some(serde_json::from_str(&text).unwrap())
}

fn erased(people: &People, page: &str, ids: &[&str], extent: Extent) -> Option<String> {
    let resource = Name::parse("things").unwrap();
    let erased = people.erase(&resource, page, &mut |id| {
        ids.contains(&id).then_some(extent)
    });
    Some(String::from_utf8(erased.unwrap()?).unwrap())
}

#[test]
fn nested_people_lose_their_values_and_keep_their_ids() {
    let people = people(vec![
        place("/user", "/id", PersonalValues::AllBut(pointers(&["/kind"]))),
        place(
            "/teams/*/users/*",
            "/id",
            PersonalValues::Only(pointers(&["/login"])),
        ),
        place(
            "/teams/*",
            "/users/*/id",
            PersonalValues::Only(pointers(&["/name"])),
        ),
    ]);
    let record = |login: Value, image: Value, name: Value| {
        json!([{
            "id": 1,
            "user": { "id": 7, "kind": "student", "login": login, "image": { "link": image, "sizes": [image] } },
            "teams": [
                { "name": name, "users": [{ "id": 8, "login": "grace" }, { "id": 7, "login": login }] },
                { "name": "others", "users": [{ "id": 8, "login": "grace" }] },
                { "name": "nobody", "users": null },
            ],
        }])
    };
    let page = record(json!("ada"), json!("https://x/ada"), json!("ada's")).to_string();
    let expected = record(Value::Null, Value::Null, Value::Null);
    assert_eq!(blank(&people, &page, &["7"]), Some(expected));
    assert_eq!(blank(&people, &page, &["9"]), None);
}

#[test]
fn an_id_is_the_same_as_a_number_and_as_a_text() {
    let only = PersonalValues::Only(pointers(&["/name"]));
    let people = people(vec![place("", "/id", only)]);
    for id in ["7", "\"7\"", "\"\\u0037\""] {
        let page = format!(r#"[{{"id":{id},"name":"Ada"}}]"#);
        let expected = json!([{ "id": serde_json::from_str::<Value>(id).unwrap(), "name": null }]);
        assert_eq!(blank(&people, &page, &["7"]), Some(expected));
    }
    for id in ["null", "[7]", "{\"7\":7}", "77", "true"] {
        let page = format!(r#"[{{"id":{id},"name":"Ada"}}]"#);
        assert_eq!(blank(&people, &page, &["7"]), None, "{id}");
    }
}

#[test]
fn a_value_does_not_hide_behind_a_second_key() {
    let only = PersonalValues::Only(pointers(&["/name"]));
    let people = people(vec![place("", "/id", only)]);
    let page = r#"[{"name":"Ada","id":1,"id":7,"name":"Lovelace"}]"#;
    let text = erased(&people, page, &["7"], Extent::Values).unwrap();
    assert_eq!(text, r#"[{"name":null,"id":1,"id":7,"name":null}]"#);
}

#[test]
fn deep_nesting_does_not_overflow_the_stack() {
    let kept = PersonalValues::AllBut(Vec::new());
    let people = people(vec![place("", "/id", kept)]);
    let deep = 100_000;
    let page = format!(
        r#"[{{"id":7,"x":{}"Ada"{}}}]"#,
        "[".repeat(deep),
        "]".repeat(deep)
    );
    let resource = Name::parse("things").unwrap();
    // Some depth is refused as no JSON; what is taken has no name left.
    let mut seven = |id: &str| (id == "7").then_some(Extent::Values);
    if let Ok(Some(blank)) = people.erase(&resource, &page, &mut seven) {
        assert!(!String::from_utf8(blank).unwrap().contains("Ada"));
    }
    let page = page.replace(&"[".repeat(deep), &"[".repeat(100));
    let page = page.replace(&"]".repeat(deep), &"]".repeat(100));
    let text = erased(&people, &page, &["7"], Extent::Values).unwrap();
    assert!(!text.contains("Ada"));
}

#[test]
fn columns_are_personal_as_their_values_are() {
    let all = place("/user", "/id", PersonalValues::AllBut(pointers(&["/kind"])));
    let role = |pointer: &str| all.role(Pointer::parse(pointer).unwrap().tokens());
    let roles = [
        "/user/id",
        "/user/login",
        "/user/image/link",
        "/user/kind",
        "/user",
        "",
        "/level",
    ]
    .map(role);
    assert_eq!(
        roles,
        [
            ColumnRole::Id,
            ColumnRole::Personal,
            ColumnRole::Personal,
            ColumnRole::Other,
            ColumnRole::Mixed,
            ColumnRole::Mixed,
            ColumnRole::Other
        ]
    );
    let only = place("", "/user_id", PersonalValues::Only(pointers(&["/a/b"])));
    let role = |pointer: &str| only.role(Pointer::parse(pointer).unwrap().tokens());
    assert_eq!(
        ["/user_id", "/a/b", "/a/b/c", "/a", "/c"].map(role),
        [
            ColumnRole::Id,
            ColumnRole::Personal,
            ColumnRole::Personal,
            ColumnRole::Mixed,
            ColumnRole::Other
        ]
    );
    let nothing = place("/user", "/id", PersonalValues::Only(Vec::new()));
    assert_eq!(nothing.role(&[]), ColumnRole::Other);
}

#[test]
fn another_key_gives_another_hash() {
    let person = PersonHash::of("0123", "7");
    assert_eq!(
        PersonHash::parse("0123", &person.digits()),
        Some(person.clone())
    );
    assert_ne!(person.hash, PersonHash::of("4567", "7").hash);
    let (values, records) = (Extent::Values, Extent::Records);
    let people = [
        (person.clone(), values),
        (PersonHash::of("4567", "9"), records),
        (PersonHash::of("0123", "9"), values),
    ];
    let erased: Erased = people.into_iter().collect();
    assert_eq!(
        ["7", "9", "8"].map(|id| erased.extent(id)),
        [Some(values), Some(records), None]
    );
    assert!(erased.has(&person, values) && !erased.has(&person, records));
}

#[test]
fn what_is_a_persons_own_is_removed_and_the_rest_stays() {
    let mut people = people(vec![
        own(
            place("/user", "/id", PersonalValues::Only(pointers(&["/login"]))),
            Own::Record,
        ),
        own(
            place("/users/*", "/id", PersonalValues::Only(Vec::new())),
            Own::Entry,
        ),
        place(
            "",
            "/users/*/id",
            PersonalValues::Only(pointers(&["/name"])),
        ),
        place("", "/head", PersonalValues::Only(Vec::new())),
    ]);
    let proofs = pointers(&["/id", "/dates/seen"]);
    people.proofs = [(Name::parse("things").unwrap(), proofs)].into();
    let page = r#"[ {"dates":{"seen":"2026", "born":"x"},"id": 1,"user":{"id":7,"login":"ada"},"users":[{"id":8}]},
 {"id":2,"user":{"id":8},"head":7,"name":"ada's","users":[ {"id":7}, {"id":8,"x":[7]} , {"id":7} , {"id":"7"} ]},
 {"id":3,"head":8,"users":[{"id":7} , {"id":8}]},{"id":4,"users":[{"id":7},{"id":7}]} ]"#;
    let removed = r#"[ {"cursus:dropped":true,"dates":{"seen":"2026"},"id":1},
 {"id":2,"user":{"id":8},"head":null,"name":null,"users":[ {"id":8,"x":[7]}  ]},
 {"id":3,"head":8,"users":[{"id":8}]},{"id":4,"users":[]} ]"#;
    let found = erased(&people, page, &["7"], Extent::Records).unwrap();
    assert_eq!(found, removed);
    // Done twice, and less far, it changes nothing the second time.
    for extent in [Extent::Values, Extent::Records] {
        assert_eq!(erased(&people, removed, &["7"], extent), None);
    }
    assert!(is_dropped(r#"{"cursus:dropped":true}"#) && !is_dropped(r#"{"cursus:droppedx":1}"#));
}

fn record() -> impl Strategy<Value = Value> {
    (
        1_i64..5,
        "[a-z\"\\\\é]{0,4}",
        any::<bool>(),
        prop::collection::vec((1_i64..5, "[a-z]{0,3}"), 0..3),
    )
        .prop_map(|(id, name, is_text, mates)| {
            let id = if is_text {
                json!(id.to_string())
            } else {
                json!(id)
            };
            let mates: Vec<Value> = mates
                .into_iter()
                .map(|(id, name)| json!({ "id": id, "name": name }))
                .collect();
            json!({ "id": id, "name": name, "score": 1.50, "mates": mates })
        })
}

/// Blanks by another way: parsed, changed, compared.
fn model(mut page: Value, id: &str) -> Value {
    let is = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
            == id
    };
    for record in page.as_array_mut().unwrap() {
        if is(&record["id"]) {
            record["name"] = Value::Null;
        }
        for mate in record["mates"].as_array_mut().unwrap() {
            if is(&mate["id"]) {
                mate["name"] = Value::Null;
            }
        }
    }
    page
}

proptest! {
    #[test]
    fn elements_are_removed_and_no_other(ids in prop::collection::vec(1_i64..4, 0..8), is_pretty: bool) {
        let mate = place("/mates/*", "/id", PersonalValues::Only(Vec::new()));
        let people = people(vec![own(mate, Own::Entry)]);
        let page = |ids: &[i64]| {
            let mates: Vec<Value> = ids.iter().map(|id| json!({ "id": id, "x": "[,]\\\"," })).collect();
            json!([{ "id": 1, "mates": mates }])
        };
        let (before, kept) = (page(&ids), ids.iter().copied().filter(|id| *id != 2).collect::<Vec<_>>());
        let text = if is_pretty { serde_json::to_string_pretty(&before).unwrap() } else { before.to_string() };
        let after = erased(&people, &text, &["2"], Extent::Records).unwrap_or(text);
        prop_assert_eq!(serde_json::from_str::<Value>(&after).unwrap(), page(&kept));
    }

    #[test]
    fn nothing_but_the_person_changes(records in prop::collection::vec(record(), 0..6), id in 1_i64..6, is_pretty: bool) {
        let people = people(vec![
            place("", "/id", PersonalValues::Only(pointers(&["/name"]))),
            place("/mates/*", "/id", PersonalValues::Only(pointers(&["/name"]))),
        ]);
        let page = Value::Array(records);
        let text = if is_pretty { serde_json::to_string_pretty(&page).unwrap() } else { page.to_string() };
        let id = id.to_string();
        let found = blank(&people, &text, &[&id]);
        let expected = model(page.clone(), &id);
        prop_assert_eq!(found.clone().unwrap_or(page), expected.clone());
        // Done twice, it changes nothing the second time.
        prop_assert_eq!(blank(&people, &expected.to_string(), &[&id]), None);
    }
}
