//! A small golden model, one fault at a time, and its message.

mod faults;

use std::fmt::Write as _;

use proptest::prelude::*;
use secrecy::ExposeSecret;

use super::*;
use crate::embedded_files;

const GOLDEN: &str = r#"version = 1

[api]
url = "https://api.example.org"
timeout = "120s"

[scope]
cursus_id = 21
campus_ids = [1, 9]

[staging]
dir = "staging"

[database]
url = "embedded"
schema = "public"

[prune]
max_fraction = 0.02

[[resource]]
name = "projects"
path = "/v2/cursus/{cursus_id}/projects"

[[resource]]
name = "users"
path = "/v2/users"
query = { "filter[kind]" = "student", "filter[campus]" = "{campus_ids}" }
cursor = { field = "updated_at", lookback = "10m" }
full_every = "7d"

[[resource]]
name = "campus_users"
path = "/v2/campus_users"
query = { "filter[user_id]" = "{user_id}" }
for_each = { ids_of = "users", as = "user_id", batch = 90 }
after = ["projects"]

[[table]]
name = "projects"
from = "projects"

[[table]]
name = "sessions"
from = "projects"
rows = "/project_sessions"
owner = { project_id = "projects.id" }
after = ["projects"]
[table.columns]
project_id = "../id"

[[table]]
name = "users"
from = "users"
where = { "/kind" = "student", "/alumni?" = false }
[table.columns]
alumni = "/alumni?"
cursus_id = "{cursus_id}"
campus_id = false

[[table]]
name = "campus_users"
from = "campus_users"
key = ["user_id", "campus_id"]
within = { user_id = "users.id" }

[[table]]
name = "campus_achievements"
from = "projects"
select = "sql/campus_achievements.sql"

[[derive]]
name = "users_campus"
sql = "sql/users_campus.sql"
after = ["campus_users"]
"#;

/// The faults of a text as `line: place: message`, one a line; empty if it is valid.
fn faults(text: &str) -> String {
    let mut lines = String::new();
    match Config::parse(text, None) {
        Ok(_) => {}
        Err(ConfigError::Faults { problems, .. }) => {
            for Problem {
                line,
                place,
                message,
            } in problems
            {
                let place = if place.is_empty() {
                    place
                } else {
                    format!("{place}: ")
                };
                writeln!(lines, "  {line}: {place}{message}").unwrap();
            }
        }
        Err(error) => panic!("{error}"),
    }
    lines
}

fn patched(patches: &[(&str, &str)]) -> String {
    let mut text = GOLDEN.to_owned();
    for (old, new) in patches {
        assert_eq!(text.matches(old).count(), 1, "{old:?} must be there once");
        text = text.replace(old, new);
    }
    text
}

#[test]
fn the_golden_model_and_the_shipped_configuration_are_valid() {
    assert_eq!(faults(GOLDEN), "");
    assert_eq!(faults(embedded_files::PIPELINE), "");
}

#[test]
fn ten_faults_are_ten_messages_in_the_order_of_the_lines() {
    let text = patched(&[
        ("timeout = \"120s\"", "timeout = \"soon\""),
        ("dir = \"staging\"", "dirr = \"staging\""),
        ("schema = \"public\"", "schema = \"My Schema\""),
        ("max_fraction = 0.02", "max_fraction = 20"),
        (
            "/v2/cursus/{cursus_id}/projects",
            "/v2/cursus/{cursus}/projects",
        ),
        ("field = \"updated_at\", ", ""),
        ("ids_of = \"users\"", "ids_of = \"user\""),
        (
            "rows = \"/project_sessions\"",
            "rows = \"project_sessions\"",
        ),
        ("project_id = \"../id\"", "project_id = \"..\\\\id\""),
        ("sql/users_campus.sql", "sql/absent.sql"),
    ]);
    insta::assert_snapshot!(faults(&text));
}

#[test]
fn the_whole_error_names_the_file_at_every_fault() {
    let text = patched(&[("dir =", "dirr ="), ("timeout = \"120s\"", "timeout = 1")]);
    let error = Config::parse(&text, Some(Path::new("/etc/cursus/pipeline.toml"))).unwrap_err();
    insta::assert_snapshot!(error, @r#"
    /etc/cursus/pipeline.toml has 2 faults; nothing was done
      /etc/cursus/pipeline.toml:5: [api]: `timeout` is a duration in quotes, such as "90s", not a whole number
      /etc/cursus/pipeline.toml:12: [staging]: unknown key `dirr`; did you mean `dir`?
    "#);
}

#[test]
fn dependencies_go_first_and_the_rest_keeps_its_order() {
    // Whatever is last in the file and needed by the first.
    let text = patched(&[(
        "path = \"/v2/cursus/{cursus_id}/projects\"",
        "path = \"/v2/cursus/{cursus_id}/projects\"\nafter = [\"campus\"]",
    )]) + "\n[[resource]]\nname = \"campus\"\npath = \"/v2/campus\"\n\n[[table]]\nname = \"campuses\"\nfrom = \"campus\"\n";
    let text = text.replacen(
        "from = \"projects\"",
        "from = \"projects\"\nafter = [\"campuses\"]",
        1,
    );
    let config = Config::parse(&text, None).unwrap();
    let resources: Vec<&str> = config
        .resources
        .iter()
        .map(|resource| resource.name.as_str())
        .collect();
    let tables: Vec<&str> = config
        .tables
        .iter()
        .map(|table| table.name.as_str())
        .collect();
    assert_eq!(resources, ["users", "campus", "projects", "campus_users"]);
    assert_eq!(
        tables,
        [
            "users",
            "campus_users",
            "campus_achievements",
            "campuses",
            "projects",
            "sessions"
        ]
    );
}

#[test]
fn an_sql_file_beside_the_configuration_replaces_the_built_in() {
    let folder = crate::trusted::test_directory();
    let path = folder.path().join("pipeline.toml");
    std::fs::create_dir(folder.path().join("sql")).unwrap();
    std::fs::write(folder.path().join("sql/users_campus.sql"), "SELECT 1").unwrap();
    let config = Config::parse(GOLDEN, Some(&path)).unwrap();
    assert_eq!(config.derives[0].sql.text, "SELECT 1");
    assert!(
        config
            .tables
            .iter()
            .filter_map(|table| table.select.as_ref())
            .all(|sql| sql.text.contains("staged_"))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Lines deleted, repeated, moved; spans replaced by pieces of TOML, of the file, or by anything.
    #[test]
    fn no_text_makes_the_reader_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0..40_usize, 0..6_u8, ".{0,6}"), 1..8),
    ) {
        let mut lines: Vec<String> = embedded_files::PIPELINE
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .map(str::to_owned)
            .collect();
        for (at, other, length, kind, text) in edits {
            let (at, other) = (at.index(lines.len()), other.index(lines.len()));
            match kind {
                0 if lines.len() > 1 => drop(lines.remove(at)),
                1 => lines.insert(at, lines[other].clone()),
                2 => lines.swap(at, other),
                kind => {
                    let line: Vec<char> = lines[at].chars().collect();
                    let start = other % (line.len() + 1);
                    let end = (start + length % 8).min(line.len());
                    let new = match kind {
                        3 => text,
                        4 => ["[", "]]", "{", "}", "\"", "= 1", "..", "\"\"\"", "'", ",", "\\u0000", "9e9", "true"][length % 13].to_owned(),
                        _ => lines[other].chars().skip(start).take(length).collect(),
                    };
                    lines[at] = line[..start].iter().copied().chain(new.chars()).chain(line[end..].iter().copied()).collect();
                }
            }
        }
        let text = lines.join("\n");
        faults_name_their_lines(&text);
    }

    #[test]
    fn neither_does_arbitrary_text(text in any::<String>()) {
        faults_name_their_lines(&text);
    }
}

fn faults_name_their_lines(text: &str) {
    if let Err(error @ ConfigError::Faults { problems, .. }) = &Config::parse(text, None) {
        let lines = 1..=text.lines().count().max(1) + 1;
        assert!(!problems.is_empty());
        assert!(
            problems.iter().all(|problem| lines.contains(&problem.line)),
            "{error}"
        );
    }
}

#[test]
fn every_url_that_is_connected_to_may_stand_in_the_file() {
    for url in [
        "postgres://me@host/mirror?sslmode=verify-full&sslrootcert=/x.crt",
        "host = host user=me sslmode = verify-ca sslrootcert='/my certs/x.crt'",
        "embedded",
    ] {
        let text = GOLDEN.replace("embedded", url);
        let config = Config::parse(&text, None).unwrap();
        let written = config.database.url.unwrap();
        assert_eq!((written.value.expose_secret(), written.line), (url, 15));
    }
}

#[test]
fn quarantine_limit_has_a_lowest_and_a_highest_number_of_rows() {
    let limit = QuarantineLimit {
        max_rows: 100,
        max_fraction: 0.1,
    };
    let allowed = [0, 20, 300, 1000, 5000].map(|rows| limit.of(rows));
    assert_eq!(allowed, [20, 20, 30, 100, 100]);
}
