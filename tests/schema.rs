//! `cursus schema`: what the catalogue holds, in languages of others; and the documentation made from it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Stdio;

use cursus_simulator::{Options, Scale};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::api::{self, SCALE};
use crate::support::{Workdir, small};

/// Where the generated part of the documentation begins.
const MARK: &str = "<!-- Generated from here on by `make docs`. -->\n";
const FORMATS: [&str; 6] = ["prisma", "typescript", "dbml", "json", "markdown", "dot"];

fn document(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(name)
}

async fn migrated() -> Workdir {
    let workdir = Workdir::new().await;
    workdir.cursus(["migrate"]).await.exits(0);
    workdir
}

async fn described(workdir: &Workdir, arguments: &[&str]) -> String {
    let all = [&["schema"], arguments].concat();
    workdir.cursus(all).await.exits(0).stdout
}

/// `make docs` runs it with `UPDATE_DOCS`, which writes instead of comparing.
#[tokio::test]
async fn documents_are_those_of_a_new_mirror() {
    let workdir = Workdir::new().await;
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/packs");
    let packs = std::fs::read_dir(root).unwrap();
    let packs = packs.map(|pack| pack.unwrap().file_name().into_string().unwrap());
    let on = format!("version = 1\npacks = {:?} ", packs.collect::<Vec<_>>());
    workdir.pipeline(&[("version = 1 ", &on)]);
    workdir.cursus(["migrate"]).await.exits(0);
    let generated = described(&workdir, &["--ledger", "--format", "markdown"]).await;
    let dot = described(&workdir, &["--format", "dot"]).await;
    let data = std::fs::read_to_string(document("data.md")).unwrap();
    let (head, shown) = data.split_once(MARK).unwrap();
    let digest = Sha256::digest(&dot);
    let digits: Vec<String> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let sum = format!("<!-- sha256 of the DOT: {} -->", digits.concat());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let data = format!("{head}{MARK}\n{generated}");
        std::fs::write(document("data.md"), data).unwrap();
        std::fs::write(document("data.svg"), drawn(&dot, &sum).await).unwrap();
        return;
    }
    assert!(
        shown.trim_start() == generated,
        "docs/data.md is not of these migrations: run `make docs`"
    );
    let svg = std::fs::read_to_string(document("data.svg")).unwrap();
    assert!(
        svg.contains(&sum),
        "docs/data.svg is not of these migrations: run `make docs`"
    );
}

/// As Graphviz draws it, with a style for dark screens.
async fn drawn(dot: &str, sum: &str) -> String {
    const STYLE: &str = "<style>@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .table polygon { stroke: #8b949e }\n\
        .table polygon[fill=\"#ffffff\"] { fill: #0d1117 } .table polygon[fill=\"#ddf4ff\"] { fill: #1f3a5f }\n\
        .edge path { stroke: #8b949e } .edge polygon { fill: #8b949e; stroke: #8b949e } }</style>";
    let mut child = tokio::process::Command::new("dot")
        .arg("-Tsvg")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("`dot` of Graphviz draws docs/data.svg: install it");
    let mut stdin = child.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stdin, dot.as_bytes())
        .await
        .unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    assert!(output.status.success());
    let svg = String::from_utf8(output.stdout).unwrap();
    let (before, after) = svg.split_once("<g id=\"graph0\"").unwrap();
    format!("{before}{sum}\n{STYLE}\n<g id=\"graph0\"{after}")
}

/// Words that say nothing of what a column means.
const EMPTY_WORDS: [&str; 17] = [
    "a", "an", "and", "as", "for", "in", "is", "it", "its", "of", "on", "the", "this", "to", "was",
    "when", "which",
];

/// Whether every word of a comment is one of a name, in whatever number or tense.
fn restates(comment: &str, names: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        let words = text.split(|c: char| !c.is_alphanumeric());
        words
            .filter(|word| !word.is_empty())
            .map(str::to_lowercase)
            .collect()
    };
    let names = words(&names.replace('_', " "));
    let stem = |word: &str| word.chars().take(4).collect::<String>();
    let says_no_more = |word: &String| {
        EMPTY_WORDS.contains(&word.as_str()) || names.iter().any(|name| stem(name) == stem(word))
    };
    words(comment).iter().all(says_no_more)
}

#[tokio::test]
async fn every_column_has_a_comment_that_says_more_than_its_name() {
    assert!(
        restates("Id of the campus.", "campuses id")
            && restates("When the run started.", "run started_at")
    );
    let workdir = migrated().await;
    let model: Value = workdir.json(["schema", "--ledger"]).await;
    let mut poor = Vec::new();
    let mut seen = 0;
    for table in model["tables"].as_array().unwrap() {
        let name = table["name"].as_str().unwrap();
        let columns = table["columns"].as_array().unwrap();
        let own = (name.to_owned(), &table["comment"]);
        let columns = columns.iter().map(|column| {
            (
                format!("{name} {}", column["name"].as_str().unwrap()),
                &column["comment"],
            )
        });
        for (names, comment) in std::iter::once(own).chain(columns) {
            seen += 1;
            if comment
                .as_str()
                .is_none_or(|comment| restates(comment, &names))
            {
                poor.push(format!("{names}: {comment}"));
            }
        }
    }
    assert!(seen > 250, "{seen} comments");
    assert!(poor.is_empty(), "these say nothing:\n{}", poor.join("\n"));
}

/// Tables of a person's own, with what each language has a meaning for.
const HOSTILE: &str = r#"
    CREATE TYPE "mo""od" AS ENUM ('so so', 'ok', '1st', 'it''s', 'OK');
    CREATE DOMAIN positive AS numeric(6,2) CHECK (VALUE > 0);
    CREATE TABLE "Order""; drop" (
        "a
b" text NOT NULL, "class" "mo""od" DEFAULT 'ok', "1" integer[], "x|`y`" positive, "" || "" jsonb DEFAULT '{"a": "b"}',
        "naïve" circle, moods "mo""od"[], "*/" interval, kind text CHECK (kind IN ('one', 'it''s')));
    COMMENT ON TABLE "Order""; drop" IS E'ends */ here """ | `code ''quoted'' \\ <b>&\n\n# no heading';
    COMMENT ON COLUMN "Order""; drop"."class" IS E'*/ alert(1) /* """ } | x\r\n}\nmodel Evil { id Int @id }';
    CREATE TABLE model (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, parent bigint REFERENCES model, twin bigint UNIQUE REFERENCES model ON DELETE SET NULL,
        twice bigint GENERATED ALWAYS AS (parent * 2) STORED, "String" varchar(9), t time(3), d numeric(9,3), n numeric);
    CREATE TABLE "Model" (a int, b text, PRIMARY KEY (b, a));
    CREATE TABLE child (b text, a int, c int, FOREIGN KEY (b, a) REFERENCES "Model" ON DELETE CASCADE, UNIQUE (a, c), PRIMARY KEY (c));
    CREATE INDEX ON child (lower(b)); CREATE INDEX "an ""index""" ON child (a, b); CREATE INDEX ON child USING hash (a);
    CREATE TABLE parts (at timestamptz NOT NULL, v float4, PRIMARY KEY (at)) PARTITION BY RANGE (at);
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
    CREATE TABLE nothing ();
    CREATE TABLE keyed_by_json (k jsonb PRIMARY KEY, "Json" json);
    CREATE VIEW seen AS SELECT id, parent, 'x'::unknown::text AS "some text" FROM model;
    CREATE MATERIALIZED VIEW kept AS SELECT id FROM model;
"#;

/// `scripts/check-schema.sh` gives them to the validators of each language, where `CHECK_SCHEMA` names a directory to write to.
#[tokio::test]
async fn hostile_tables_leave_every_format_whole() {
    let workdir = migrated().await;
    workdir
        .query(&HOSTILE.replace("\"\" || \"\"", "\"a b\""))
        .await;
    let directory = std::env::var_os("CHECK_SCHEMA").map(PathBuf::from);
    for format in FORMATS {
        let text = described(&workdir, &["--ledger", "--format", format]).await;
        if let Some(directory) = &directory {
            std::fs::write(directory.join(format!("hostile.{format}")), &text).unwrap();
        }
        let controls: Vec<char> = text
            .chars()
            .filter(|c| c.is_control() && *c != '\n')
            .collect();
        assert!(controls.is_empty(), "{format}: {controls:?}");
        assert!(
            !text.contains("parts_1"),
            "{format}: a part is not a table of its own"
        );
        let is_own =
            |line: &str| line.trim_start().starts_with("model Evil") || line.starts_with("# no");
        assert!(!text.lines().any(is_own), "{format}");
        match format {
            "typescript" => assert!(
                !text.contains("*/ alert") && !text.contains("*/ here"),
                "{text}"
            ),
            "json" => {
                let model: Value = serde_json::from_str(&text).unwrap();
                let tables = model["tables"].as_array().unwrap();
                let of = |name: &str| tables.iter().find(|table| table["name"] == name).unwrap();
                let order = of("Order\"; drop");
                assert_eq!(order["columns"][0]["name"], "a\nb");
                assert_eq!(order["columns"][1]["values"][4], "OK");
                assert_eq!(
                    order["columns"][8]["values"],
                    serde_json::json!(["one", "it's"])
                );
                assert_eq!(
                    of("child")["references"][0]["columns"],
                    serde_json::json!(["b", "a"])
                );
                let names: BTreeSet<_> =
                    tables.iter().map(|table| table["name"].as_str()).collect();
                assert!(names.contains(&Some("seen")) && names.contains(&Some("kept")));
            }
            "markdown" => {
                // Each row of a table has the cells of its head.
                let cells = |line: &str| line.replace("\\|", "").matches('|').count();
                let lines: Vec<&str> = text.lines().collect();
                for (at, line) in lines
                    .iter()
                    .enumerate()
                    .filter(|(_, line)| line.starts_with('|'))
                {
                    let before = lines[at - 1];
                    assert!(before.is_empty() || cells(before) == cells(line), "{line}");
                }
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn types_and_schemas_of_the_mirror_read_as_expected() {
    let workdir = migrated().await;
    if let Some(directory) = std::env::var_os("CHECK_SCHEMA").map(PathBuf::from) {
        for format in FORMATS {
            let text = described(&workdir, &["--format", format]).await;
            std::fs::write(directory.join(format!("mirror.{format}")), text).unwrap();
        }
    }
    let prisma = described(&workdir, &["--format", "prisma"]).await;
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    let _bound = settings.bind_to_scope();
    insta::assert_snapshot!("schema_prisma", prisma);
    let typescript = described(&workdir, &["--format", "typescript"]).await;
    insta::assert_snapshot!("schema_typescript", typescript);
    let dbml = described(&workdir, &["--format", "dbml"]).await;
    insta::assert_snapshot!("schema_dbml", dbml);
    let model = workdir.json(["schema"]).await;
    let again =
        serde_json::from_str::<Value>(&described(&workdir, &["--format", "json"]).await).unwrap();
    assert_eq!(model, again, "the same twice");
    let tables = model["tables"].as_array().unwrap();
    let enrolments = tables
        .iter()
        .find(|table| table["name"] == "projects_users")
        .unwrap();
    insta::assert_snapshot!(
        "schema_json",
        serde_json::to_string_pretty(enrolments).unwrap()
    );
}

#[tokio::test]
async fn tables_of_another_role_are_described_without_rights() {
    let workdir = migrated().await;
    workdir
        .query(
            "CREATE ROLE cursus_other_owner; CREATE TABLE closed (id int PRIMARY KEY, secret text)",
        )
        .await;
    workdir
        .query("ALTER TABLE closed OWNER TO cursus_other_owner; REVOKE ALL ON closed FROM PUBLIC")
        .await;
    let text = described(&workdir, &["--format", "markdown"]).await;
    workdir
        .query("DROP TABLE closed; DROP ROLE cursus_other_owner")
        .await;
    assert!(text.contains("### `closed`"), "{text}");
}

#[tokio::test]
async fn a_mirror_that_was_never_made_is_a_sentence() {
    let mut workdir = Workdir::new().await;
    let ran = workdir.cursus(["schema"]).await.exits(1);
    assert!(
        ran.stderr.contains("the schema \"public\" has no tables")
            && ran.stderr.contains("`cursus migrate`"),
        "{ran}"
    );
    let ran = workdir
        .cursus(["schema", "--format", "dbml", "--json"])
        .await
        .exits(2);
    assert!(ran.stderr.contains("--json is --format json"), "{ran}");
    workdir.set("CURSUS_DATABASE_URL", "embedded");
    let ran = workdir.cursus(["schema"]).await.exits(1);
    assert!(ran.stderr.contains("nothing has been loaded here"), "{ran}");
}

/// The questions of the cookbook: title and query.
fn questions() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(document("cookbook.md")).unwrap();
    let chapters = text.split("\n### ").skip(1);
    chapters
        .map(|chapter| {
            let title = chapter.lines().next().unwrap().to_owned();
            let (_, rest) = chapter.split_once("```sql\n").unwrap();
            let (sql, words) = rest.split_once("```").unwrap();
            assert!(
                words.contains("**Columns**: ") && words.contains("**Trap**: "),
                "{title}"
            );
            (title, sql.trim_end().trim_end_matches(';').to_owned())
        })
        .collect()
}

/// What the API may answer and a query may forget: enrolments that end in the future, have just begun or have ended, and rows that
/// come twice.
const AWKWARD: &str = "
    UPDATE cursus_users SET end_at = now() + interval '30 days' WHERE end_at IS NULL AND id % 3 = 0;
    UPDATE cursus_users SET begin_at = now() - interval '3 days' WHERE user_id IN (SELECT id FROM users WHERE id % 5 = 0);
    UPDATE cursus_users SET end_at = now() - interval '3 days' WHERE user_id IN (SELECT id FROM users WHERE id % 7 = 0);
    INSERT INTO coalitions_users (id, coalition_id, user_id, score) SELECT id + 1000000000, coalition_id, user_id, 0 FROM coalitions_users;
    INSERT INTO achievements_users (id, achievement_id, user_id) SELECT id + 1000000000, achievement_id, user_id FROM achievements_users;
    INSERT INTO campus_users (id, campus_id, user_id) SELECT id + 1000000000, campus_id, user_id FROM campus_users;
";

#[tokio::test]
async fn each_query_of_the_cookbook_answers_its_question() {
    // Enough people that somebody's blackhole is near.
    let scale = Scale {
        students: 250,
        enrolments: 2_500,
        ..SCALE
    };
    let simulator = api::start(Options { scale, ..small() }).await;
    let workdir = Workdir::with(&simulator).await;
    let packs = "packs = [\"locations\", \"events\", \"exams\", \"blocs\"]\nversion = 1 ";
    workdir.pipeline(&[("version = 1 ", packs)]);
    workdir.cursus(["run"]).await.exits(0);
    workdir.query(AWKWARD).await;
    let one = |rows: Vec<String>| rows.into_iter().next().unwrap();
    // Somebody, and a project, about whom each question has something to say.
    let of = async |what: &str, condition: &str| {
        let sql = format!(
            "SELECT {what} FROM current_enrolments e JOIN projects p ON p.id = e.project_id JOIN users u ON u.id = e.user_id \
             JOIN cursus_users c ON c.user_id = u.id AND c.cursus_id = u.cursus_id \
             WHERE p.slug IS NOT NULL AND {condition} GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1"
        );
        one(workdir.column(&sql).await)
    };
    let login = of("u.login", "e.validated").await;
    let failed = of("u.login", "e.validated = false").await;
    let slug = of("p.slug", "e.validated").await;
    let under_way = of("p.slug", "e.status = 'in_progress'").await;
    let questions = questions();
    assert_eq!(questions.len(), 31);
    let mut answers = Vec::new();
    let mut silent = Vec::new();
    for (at, (title, sql)) in questions.iter().enumerate() {
        assert!(title.starts_with(&format!("{}. ", at + 1)), "{title}");
        let login = if at == 6 { &failed } else { &login };
        let slug = if at == 1 { &under_way } else { &slug };
        let sql = sql
            .replace("'jdoe'", &format!("'{login}'"))
            .replace("'42cursus-libft'", &format!("'{slug}'"));
        let ran = workdir.cursus(["sql", "--json", &sql]).await.exits(0);
        let rows: Vec<Value> = serde_json::from_str(ran.stdout.trim()).unwrap();
        if rows.is_empty() {
            silent.push(title.as_str());
        }
        answers.push(rows);
    }
    assert!(silent.is_empty(), "no answer: {silent:?}");
    let sum = |question: usize, column: &str| -> i64 {
        answers[question - 1]
            .iter()
            .map(|row| row[column].as_i64().unwrap())
            .sum()
    };
    let students =
        "FROM users u JOIN cursus_users c ON c.user_id = u.id AND c.cursus_id = u.cursus_id";
    let number = async |sql: &str| workdir.number(sql).await;
    // What a question counts, counted in another way.
    assert_eq!(answers[2][0]["login"], login.as_str());
    let place = answers[2][0]["place"].as_i64().unwrap();
    assert!((1..=answers[2][0]["people"].as_i64().unwrap()).contains(&place));
    let passed = number(&format!("SELECT count(DISTINCT e.project_id) FROM projects_users e JOIN users u ON u.id = e.user_id JOIN projects p ON p.id = e.project_id \
        WHERE u.login = '{login}' AND e.validated AND e.id = (SELECT max(n.id) FROM projects_users n WHERE n.user_id = e.user_id AND n.project_id = e.project_id)")).await;
    assert_eq!(i64::try_from(answers[3].len()).unwrap(), passed);
    assert!(
        answers[6]
            .iter()
            .all(|row| row["is_open"].is_boolean() || row["retriable_at"].is_null())
    );
    assert_eq!(
        sum(16, "students"),
        number(&format!(
            "SELECT count(*) {students} WHERE c.begin_at IS NOT NULL"
        ))
        .await
    );
    assert_eq!(
        sum(17, "students"),
        number(&format!(
            "SELECT count(*) {students} WHERE coalesce(c.end_at, 'infinity') > now() AND c.level IS NOT NULL"
        ))
        .await
    );
    assert_eq!(
        sum(12, "members"),
        number("SELECT count(DISTINCT (coalition_id, user_id)) FROM coalitions_users WHERE user_id IN (SELECT id FROM users)")
            .await
    );
    let logins = |question: usize| -> BTreeSet<String> {
        let rows = answers[question - 1].iter();
        rows.map(|row| row["login"].as_str().unwrap().to_owned())
            .collect()
    };
    let is_one_of = async |condition: &str| -> BTreeSet<String> {
        let sql = format!("SELECT DISTINCT u.login {students} WHERE {condition}");
        workdir.column(&sql).await.into_iter().collect()
    };
    let ended = is_one_of("c.end_at <= now()").await;
    let is_near = "c.blackholed_at BETWEEN now() AND now() + interval '60 days'";
    assert_eq!(
        logins(9),
        is_one_of(&format!(
            "{is_near} AND NOT coalesce(c.end_at <= now(), false)"
        ))
        .await
    );
    assert!(
        logins(10).is_disjoint(&ended),
        "stuck, though the enrolment has ended"
    );
    let idle = "NOT coalesce(c.end_at <= now(), false) AND c.begin_at < now() - interval '60 days' AND NOT EXISTS \
        (SELECT FROM projects_users e WHERE e.user_id = u.id AND e.validated AND e.marked_at >= now() - interval '60 days')";
    assert_eq!(logins(11), is_one_of(idle).await);
    for row in &answers[12] {
        let people = format!(
            "SELECT count(*) FROM users WHERE id IN (SELECT user_id FROM achievements_users WHERE achievement_id = {})",
            row["id"]
        );
        assert_eq!(row["people"].as_i64(), Some(number(&people).await), "{row}");
    }
    let moved = "(SELECT count(DISTINCT campus_id) FROM campus_users m WHERE m.user_id = u.id) > 1";
    assert_eq!(logins(19), is_one_of(moved).await);
    assert_eq!(sum(15, "people"), number(&format!("SELECT count(*) FROM current_enrolments WHERE final_mark IS NOT NULL AND project_id IN \
        (SELECT id FROM projects WHERE slug = '{slug}')")).await);
    for row in &answers[13] {
        assert!(row["passed"].as_i64() <= row["marked"].as_i64(), "{row}");
    }
    for row in &answers[17] {
        let richer = format!(
            "SELECT count(*) + 1 FROM users WHERE wallet > {}",
            row["wallet"]
        );
        assert_eq!(row["place_by_wallet"].as_i64(), Some(number(&richer).await));
    }
    let resources: BTreeSet<&str> = answers[19]
        .iter()
        .map(|row| row["resource"].as_str().unwrap())
        .collect();
    assert_eq!(resources.len(), 17, "{resources:?}");
}
