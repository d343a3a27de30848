//! One fault at a time in the golden model, and its message.

use std::fmt::Write as _;

use super::{faults, patched};

/// Fault by fault: what was written instead, and what is text of it.
fn said_of(faulty: &[(&str, &str)]) -> String {
    let mut all = String::new();
    for (old, new) in faulty {
        let shown = if new.trim().is_empty() {
            format!("without {}", old.trim())
        } else {
            new.trim().to_owned()
        };
        let shown = shown.lines().collect::<Vec<_>>().join(" ⏎ ");
        let text = faults(&patched(&[(old, new)]));
        let text = if text.is_empty() {
            "  (valid)\n".to_owned()
        } else {
            text
        };
        write!(all, "{shown}\n{text}\n").unwrap();
    }
    all
}

#[test]
fn a_file_that_is_not_of_this_form_says_so() {
    insta::assert_snapshot!(said_of(&[
        ("version = 1\n", ""),
        ("version = 1\n", "version = 2\n"),
        ("version = 1\n", "version = \"1\"\n"),
        ("version = 1\n", "verison = 1\n"),
        ("[scope]", "[scope"),
        ("name = \"users\"\npath", "name = \"users\npath"),
        ("timeout = \"120s\"", "timeout = 120s"),
        ("timeout = \"120s\"", "timeout = \"120s\"\ntimeout = \"2s\""),
        ("[staging]", "[api]\n[staging]"),
        ("campus_ids = [1, 9]", "campus_ids = [1, 9"),
        ("[prune]", "prune]"),
    ]));
}

#[test]
fn unknown_keys_are_found_at_every_level() {
    insta::assert_snapshot!(said_of(&[
        ("version = 1\n", "version = 1\ncolour = \"blue\"\n"),
        ("[scope]", "[scpoe]"),
        ("[staging]", "[stagng]"),
        ("timeout = \"120s\"", "time_out = \"120s\""),
        ("timeout = \"120s\"", "zzz = 1"),
        ("dir = \"staging\"", "directory = \"staging\""),
        ("schema = \"public\"", "shema = \"public\""),
        ("max_fraction = 0.02", "max_fractoin = 0.02"),
        ("name = \"users\"\npath", "nam = \"users\"\npath"),
        ("path = \"/v2/users\"", "paht = \"/v2/users\""),
        ("full_every = \"7d\"", "fullevery = \"7d\""),
        ("cursor = {", "cursr = {"),
        ("lookback = \"10m\"", "look_back = \"10m\""),
        ("for_each = {", "foreach = {"),
        (
            "rows = \"/project_sessions\"",
            "row = \"/project_sessions\""
        ),
        ("where = {", "were = {"),
        (
            "sql = \"sql/users_campus.sql\"",
            "sq = \"sql/users_campus.sql\""
        ),
    ]));
}

#[test]
fn missing_keys_and_wrong_types_are_named() {
    insta::assert_snapshot!(said_of(&[
        ("name = \"projects\"\npath", "path"),
        ("path = \"/v2/users\"\n", ""),
        ("field = \"updated_at\", ", ""),
        ("ids_of = \"users\", ", ""),
        (", as = \"user_id\"", ""),
        ("name = \"users\"\nfrom", "from"),
        ("from = \"campus_users\"\n", ""),
        ("name = \"users_campus\"\n", ""),
        ("sql = \"sql/users_campus.sql\"\n", ""),
        ("[scope]", "[[scope]]"),
        ("cursus_id = 21", "cursus_id = true"),
        ("campus_ids = [1, 9]", "campus_ids = [1, 9.5]"),
        ("timeout = \"120s\"", "timeout = 120"),
        ("dir = \"staging\"", "dir = 5"),
        ("name = \"projects\"\npath", "name = 5\npath"),
        ("path = \"/v2/users\"", "path = [\"/v2/users\"]"),
        (
            "query = { \"filter[kind]\" = \"student\", \"filter[campus]\" = \"{campus_ids}\" }",
            "query = \"a=b\""
        ),
        (
            "\"filter[kind]\" = \"student\"",
            "\"filter[kind]\" = [\"student\"]"
        ),
        (
            "cursor = { field = \"updated_at\", lookback = \"10m\" }",
            "cursor = \"updated_at\""
        ),
        ("after = [\"projects\"]\n\n", "after = \"projects\"\n\n"),
        ("after = [\"campus_users\"]", "after = [5]"),
        ("\"/alumni?\" = false", "\"/alumni?\" = 0.5"),
        ("alumni = \"/alumni?\"", "alumni = true"),
        (
            "within = { user_id = \"users.id\" }",
            "within = { user_id = 1 }"
        ),
        (
            "within = { user_id = \"users.id\" }",
            "within = [\"users.id\"]"
        ),
        ("key = [\"user_id\", \"campus_id\"]", "key = \"user_id\""),
        ("[[derive]]", "[derive]"),
    ]));
}

#[test]
fn values_out_of_bounds_say_what_fits() {
    insta::assert_snapshot!(said_of(&[
        (
            "url = \"https://api.example.org\"",
            "url = \"http://api.example.org\""
        ),
        (
            "url = \"https://api.example.org\"",
            "url = \"https://me:hunter2@api.example.org\""
        ),
        (
            "url = \"https://api.example.org\"",
            "url = \"api.example.org/v2\""
        ),
        ("timeout = \"120s\"", "timeout = \"2 fortnights\""),
        ("timeout = \"120s\"", "timeout = \"0s\""),
        ("timeout = \"120s\"", "patience = \"25h\""),
        ("timeout = \"120s\"", "patience = 30"),
        ("timeout = \"120s\"", "page_size = 0"),
        ("timeout = \"120s\"", "page_size = 101"),
        ("timeout = \"120s\"", "page_size = -1"),
        (
            "timeout = \"120s\"",
            "max_in_flight = 99_999_999_999_999_999_999"
        ),
        ("timeout = \"120s\"", "requests_per_second = 0"),
        ("timeout = \"120s\"", "requests_per_second = nan"),
        ("timeout = \"120s\"", "requests_per_hour = 0x10_0000_0000"),
        ("dir = \"staging\"", "dir = \"\""),
        ("dir = \"staging\"", "keep = \"a month\""),
        ("url = \"embedded\"", "url = \"embeded://me:hunter2@host\""),
        ("url = \"embedded\"", "url = \"\""),
        (
            "url = \"embedded\"",
            "url = \"host=host sslmode = sometimes\""
        ),
        (
            "url = \"embedded\"",
            "url = \"postgres://me@host/mirror?gssencmode=hunter2\""
        ),
        (
            "url = \"embedded\"",
            "url = \"postgres://me@host/mirror?sslcert=hunter2\""
        ),
        ("schema = \"public\"", "schema = \"Public\""),
        ("max_fraction = 0.02", "max_fraction = 2"),
        ("max_fraction = 0.02", "min_rows = -1"),
        ("lookback = \"10m\"", "lookback = \"10 minuets\""),
        ("full_every = \"7d\"", "full_every = \"weekly\""),
        ("full_every = \"7d\"", "min_age = \"-1d\""),
        ("batch = 90", "batch = 101"),
        ("name = \"projects\"\npath", "name = \"../projects\"\npath"),
        ("name = \"sessions\"", "name = \"project sessions\""),
    ]));
}

#[test]
fn names_that_nothing_defines_come_with_a_suggestion() {
    insta::assert_snapshot!(said_of(&[
        ("from = \"users\"", "from = \"user\""),
        ("from = \"users\"", "from = \"xyz\""),
        ("ids_of = \"users\"", "ids_of = \"usres\""),
        (
            "after = [\"projects\"]\n\n",
            "after = [\"projects\", \"projcts\"]\n\n"
        ),
        (
            "after = [\"projects\"]\n[table",
            "after = [\"project\"]\n[table"
        ),
        (
            "owner = { project_id = \"projects.id\" }",
            "owner = { project_id = \"projets.id\" }"
        ),
        (
            "owner = { project_id = \"projects.id\" }",
            "owner = { project_id = \"projects\" }"
        ),
        (
            "owner = { project_id = \"projects.id\" }",
            "owner = { project_id = \"projects.Id\" }"
        ),
        (
            "within = { user_id = \"users.id\" }",
            "within = { user_id = \"user.id\" }"
        ),
        ("after = [\"campus_users\"]", "after = [\"campus_user\"]"),
        ("\"{campus_ids}\"", "\"{campus_id}\""),
        ("\"{user_id}\"", "\"{users}\""),
        (
            "cursus_id = \"{cursus_id}\"",
            "cursus_id = \"{curriculum}\""
        ),
        (
            "/v2/cursus/{cursus_id}/projects",
            "/v2/cursus/{course}/projects"
        ),
        (
            "[[resource]]\nname = \"projects\"",
            "[[resorce]]\nname = \"projects\""
        ),
    ]));
}

#[test]
fn pointers_templates_and_paths_are_checked_where_they_stand() {
    insta::assert_snapshot!(said_of(&[
        ("path = \"/v2/users\"", "path = \"v2/users\""),
        ("path = \"/v2/users\"", "path = \"/v2/users?sort=id\""),
        ("path = \"/v2/users\"", "path = \"/v2/all users\""),
        ("path = \"/v2/users\"", "path = \"/v2/{campus_ids}/users\""),
        (
            "/v2/cursus/{cursus_id}/projects",
            "/v2/cursus/{cursus_id/projects"
        ),
        ("\"{campus_ids}\"", "\"{campus_ids\""),
        (
            "path = \"/v2/users\"",
            "path = \"/v2/users\"\nid = \"user/id\""
        ),
        ("\"/kind\" = ", "kind = "),
        ("\"/kind\" = ", "\"/kind~2\" = "),
        ("\"/kind\" = \"student\"", "\"/kind\" = []"),
        (
            "rows = \"/project_sessions\"",
            "rows = \"project_sessions\""
        ),
        ("rows = \"/project_sessions\"", "rows = \"\""),
        ("alumni = \"/alumni?\"", "alumni = \"alumni?\""),
        ("alumni = \"/alumni?\"", "Alumni = \"/alumni?\""),
        ("project_id = \"../id\"", "project_id = \"..id\""),
        ("cursus_id = \"{cursus_id}\"", "cursus_id = \"{cursus_id\""),
        (
            "cursus_id = \"{cursus_id}\"",
            "cursus_id = \"{campus_ids}\""
        ),
        ("\"filter[kind]\" = \"student\"", "\"page[size]\" = 30"),
        ("\"filter[kind]\" = \"student\"", "sort = \"id\""),
        (
            "\"filter[kind]\" = \"student\"",
            "\"range[updated_at]\" = \"2020-01-01,2021-01-01\""
        ),
        (
            "\"filter[kind]\" = \"student\"",
            "\"range[begin_at]\" = \"2020-01-01,2021-01-01\""
        ),
    ]));
}

#[test]
fn incompatible_keys_are_reported() {
    insta::assert_snapshot!(said_of(&[
        ("name = \"users\"\npath", "name = \"projects\"\npath"),
        ("name = \"sessions\"", "name = \"users\""),
        ("rows = \"/project_sessions\"\n", ""),
        (
            "rows = \"/project_sessions\"",
            "rows = \"/project_sessions\"\nselect = \"sql/campus_achievements.sql\""
        ),
        (
            "select = \"sql/campus_achievements.sql\"",
            "select = \"sql/campus_achievements.sql\"\nwhere = { \"/a\" = 1 }"
        ),
        ("key = [\"user_id\", \"campus_id\"]", "key = []"),
        (
            "key = [\"user_id\", \"campus_id\"]",
            "key = [\"user_id\", \"user_id\"]"
        ),
        (
            "owner = { project_id = \"projects.id\" }",
            "owner = { project_id = \"users.id\" }"
        ),
        (
            "owner = { project_id = \"projects.id\" }",
            "owner = { project_id = \"sessions.id\" }"
        ),
        (
            "owner = { project_id = \"projects.id\" }",
            "owner = { project_id = \"projects.id\", id = \"projects.id\" }"
        ),
        (
            "path = \"/v2/campus_users\"",
            "path = \"/v2/users/{user_id}/campus\""
        ),
        ("\"{user_id}\"", "\"5\""),
        (
            "batch = 90 }",
            "batch = 90 }\ndelta_query = { \"filter[primary]\" = true }\ncursor = { field = \"updated_at\" }"
        ),
        ("as = \"user_id\"", "as = \"cursus_id\""),
        ("ids_of = \"users\"", "ids_of = \"campus_users\""),
        (
            "within = { user_id = \"users.id\" }",
            "[table.columns]\nuser_id = \"{user_id}\""
        ),
        (
            "cursor = { field = \"updated_at\", lookback = \"10m\" }\n",
            ""
        ),
        ("sql/users_campus.sql", "sql/users.sql"),
        ("sql/users_campus.sql", "sql/../pipeline.toml"),
        ("sql/users_campus.sql", "/etc/passwd"),
        ("sql/users_campus.sql", "sql/"),
    ]));
}

#[test]
fn cycle_is_reported_once_with_members_and_reasons() {
    let table = "after = [\"projects\"]\n[table";
    insta::assert_snapshot!(said_of(&[
        (table, "after = [\"sessions\"]\n[table"),
        (
            "name = \"projects\"\nfrom = \"projects\"",
            "name = \"projects\"\nfrom = \"projects\"\nafter = [\"sessions\"]"
        ),
        (
            "path = \"/v2/users\"",
            "path = \"/v2/users\"\nafter = [\"campus_users\"]"
        ),
        (
            "path = \"/v2/users\"",
            "path = \"/v2/users\"\nafter = [\"users\"]"
        ),
        (
            "name = \"projects\"\nfrom = \"projects\"",
            "name = \"projects\"\nfrom = \"projects\"\nafter = [\"campus_users\"]"
        ),
    ]));
}

#[test]
fn a_second_resource_of_a_table_must_hold_its_records() {
    let users = "name = \"users\"\nfrom = \"users\"\n";
    let and = |also_from: &str| format!("{users}also_from = {also_from}\n");
    insta::assert_snapshot!(said_of(&[
        (users, &and("{ campus_users = \"/user\" }")),
        (users, &and("\"campus_users\"")),
        (users, &and("{ campus_user = \"/user\" }")),
        (users, &and("{ users = \"/user\" }")),
        (users, &and("{ campus_users = \"\" }")),
        (users, &and("{ campus_users = \"user\" }")),
        (users, &and("{ campus_users = 1 }")),
        (
            "rows = \"/project_sessions\"",
            "rows = \"/project_sessions\"\nalso_from = { users = \"/sessions\" }"
        ),
        // What it updates is loaded before it.
        (
            users,
            "name = \"users\"\nfrom = \"users\"\nafter = [\"sessions\"]\nalso_from = { projects = \"/users\" }\n"
        ),
    ]));
}

#[test]
fn faults_of_people_are_found_together() {
    let place = |text: &str| format!("[person]\nnobody_in = [\"nothing\"]\n{text}\n[prune]");
    let places: Vec<String> = [
        "anonymised = { column = \"login\", prefix = \"\" }\nsomething = 1",
        "[[person.place]]\nresource = \"users\"\nid = \"/id\"\nfields = [\"/login\"]",
        "[[person.place]]\nresource = \"users\"\nid = \"/id\"",
        "[[person.place]]\nresource = \"users\"\nid = \"\"\nfields = [\"login\", \"\"]\nkeep = []",
        "[[person.place]]\nresource = \"user\"\nat = \"teams\"\nfeilds = []",
        "[[person.place]]\nresource = \"users\"\nat = \"/teams/*\"\nid = \"/id\"\nfields = []\nown = \"record\"\n\
         [[person.place]]\nresource = \"users\"\nid = \"/id\"\nfields = []\nown = \"entry\"\n\
         [[person.place]]\nresource = \"users\"\nid = \"/id\"\nfields = []\nown = \"row\"\n\
         [[person.table]]\nderived = \"A B\"\nfields = []",
        "[[person.table]]\nderived = \"users\"\nid = \"id\"",
    ]
    .map(place)
    .into();
    let faulty: Vec<(&str, &str)> = places
        .iter()
        .map(|text| ("[prune]", text.as_str()))
        .collect();
    insta::assert_snapshot!(said_of(&faulty));
}

#[test]
fn lists_of_a_scope_and_first_reads_say_what_they_need() {
    let each = "for_each = { ids_of = \"users\", as = \"user_id\", batch = 90 }";
    let lists = |keys: &str| format!("for_each = {{ {keys} }}");
    let query = "query = { \"filter[user_id]\" = \"{user_id}\" }\n";
    let cursor = "cursor = { field = \"updated_at\", lookback = \"10m\" }";
    let read = |keys: &str| {
        format!("{cursor}\n[[resource.read]]\nname = \"coming\"\nevery = \"1h\"\n{keys}\n")
    };
    let whole = format!("{query}{each}");
    insta::assert_snapshot!(said_of(&[
        (
            &whole,
            &lists(
                "scope = \"campus_ids\", as = \"campus_id\", path = \"/v2/campus/{campus_id}/campus_users\""
            )
        ),
        (
            &whole,
            &lists(
                "scope = \"campuses\", as = \"campus_id\", path = \"/v2/campus/{campus_id}/campus_users\""
            )
        ),
        (
            &whole,
            &lists(
                "scope = \"campus_ids\", as = \"cursus_id\", path = \"/v2/campus/{cursus_id}/campus_users\""
            )
        ),
        (
            &whole,
            &lists(
                "scope = \"campus_ids\", as = \"campus_id\", path = \"/v2/campus/1/campus_users\""
            )
        ),
        (&whole, &lists("scope = \"campus_ids\", as = \"campus_id\"")),
        (
            &whole,
            &lists(
                "scope = \"campus_ids\", as = \"campus_id\", path = \"/v2/campus/{campus_id}/x\", batch = 5"
            )
        ),
        (
            cursor,
            "cursor = { field = \"updated_at\", first = \"400d\" }"
        ),
        (
            &format!("{cursor}\nfull_every = \"7d\""),
            &read("query = { \"filter[future]\" = \"true\" }\nfull_every = \"7d\"")
        ),
        (
            &format!("{cursor}\nfull_every = \"7d\""),
            &read("cursor = { field = \"begin_at\", first = \"0s\" }")
        ),
        (
            &format!("{cursor}\nfull_every = \"7d\""),
            &read("cursor = { field = \"begin_at\", first = \"400d\" }\nfull_every = \"60d\"")
        ),
    ]));
}
