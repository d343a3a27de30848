//! `cursus export`: a bundle holds nobody, its ids join, and it is there as a whole or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use cursus::failpoint::Point;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::Field;
use rusqlite::Connection;
use serde_json::Value;

use crate::support::files::files;
use crate::support::snapshot::assert_said;
use crate::support::{Shared, Template, Workdir, simulator};

/// Everything that an export does on the disk.
pub(crate) const EXPORT: [(Point, u32); 5] = [
    (Point::ExportTable, 1),
    (Point::ExportTable, 9),
    (Point::ExportTable, 17),
    (Point::ExportRename, 1),
    (Point::ExportDone, 1),
];

/// The person who is searched for, and the rows about that person.
const PERSON: i64 = 4_242_424_242_424_242;
const ROW: i64 = 5_151_515_151_515_151;
const CANARY: &str = "canaria";
/// A text with all that CSV has to quote.
const ODD: &str = "an \"odd\", name\nof two lines";

/// A mirror with a person whose every value is recognised, and with values that are hard to write.
async fn mirror() -> Workdir {
    static LOADED: Shared = Shared::new();
    let load = async || {
        let simulator = simulator().await;
        let mut workdir = Workdir::with(&simulator).await;
        workdir.json(["run"]).await;
        workdir.without_api();
        let plant = format!(
            "INSERT INTO users SELECT (jsonb_populate_record(NULL::users, to_jsonb(u) || jsonb_build_object('id', {PERSON}::bigint) || (
                    SELECT jsonb_object_agg(column_name, '{CANARY}-' || column_name) FROM information_schema.columns
                    WHERE table_name = 'users' AND data_type = 'text' AND column_name <> 'kind'))).*
                FROM (SELECT * FROM users ORDER BY id LIMIT 1) AS u;
            INSERT INTO cursus_users (id, user_id, cursus_id, level, grade, begin_at)
                SELECT {ROW}, {PERSON}, id, 7.43, 'Member', '2026-01-02T03:04:05.678Z' FROM cursus ORDER BY id LIMIT 1;
            INSERT INTO campus_users (id, user_id, campus_id) VALUES ({ROW}, {PERSON}, 1);
            INSERT INTO projects_users (id, user_id, project_id) VALUES ({ROW}, {PERSON}, 1);
            INSERT INTO achievements_users (id, user_id, achievement_id, url)
                SELECT {ROW}, {PERSON}, id, '{CANARY}' FROM achievements ORDER BY id LIMIT 1;
            INSERT INTO coalitions_users (id, user_id, coalition_id) SELECT {ROW}, {PERSON}, id FROM coalitions ORDER BY id LIMIT 1;
            INSERT INTO teams (id, project_id) VALUES ({ROW}, 1);
            INSERT INTO teams_users (team_id, user_id, projects_user_id) VALUES ({ROW}, {PERSON}, {ROW});
            INSERT INTO cursus_users_skills (cursus_user_id, skill_id, user_id) VALUES ({ROW}, 1, {PERSON});
            UPDATE coalitions SET user_id = {PERSON} WHERE id = (SELECT min(id) FROM coalitions);
            INSERT INTO projects (id, name, slug, created_at, updated_at, exam)
                VALUES (777001, $odd${ODD}$odd$, '', 'infinity', '2026-03-04T05:06:07.5Z', true), (777002, NULL, ' ', '0044-03-15Z BC', NULL, false)"
        );
        workdir.client.batch_execute(&plant).await.unwrap();
        workdir
    };
    LOADED.workdir(load).await
}

async fn export(workdir: &Workdir, format: &str, out: &str) -> Value {
    workdir.json(["export", "--format", format, out]).await
}

/// The lines of a file of comma-separated values; a null is none.
fn csv(path: &Path) -> Vec<Vec<Option<String>>> {
    let text = std::fs::read_to_string(path).unwrap();
    let (mut lines, mut line, mut rest) = (Vec::new(), Vec::new(), text.as_str());
    while !rest.is_empty() {
        let value;
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut end = 0;
            loop {
                end += quoted[end..].find('"').unwrap();
                if quoted[end + 1..].starts_with('"') {
                    end += 2;
                } else {
                    break;
                }
            }
            value = Some(quoted[..end].replace("\"\"", "\""));
            rest = &quoted[end + 1..];
        } else {
            let end = rest.find([',', '\r']).unwrap();
            value = (end > 0).then(|| rest[..end].to_owned());
            rest = &rest[end..];
        }
        line.push(value);
        if let Some(next) = rest.strip_prefix(',') {
            rest = next;
        } else {
            rest = rest.strip_prefix("\r\n").unwrap();
            lines.push(std::mem::take(&mut line));
        }
    }
    lines
}

/// The rows of a table by the names of their columns, from CSV.
pub(crate) fn rows_of(bundle: &Path, table: &str) -> Vec<BTreeMap<String, Option<String>>> {
    let mut lines = csv(&bundle.join(format!("{table}.csv"))).into_iter();
    let header: Vec<String> = lines.next().unwrap().into_iter().flatten().collect();
    let row = |line: Vec<Option<String>>| {
        assert_eq!(line.len(), header.len());
        header.iter().cloned().zip(line).collect()
    };
    lines.map(row).collect()
}

/// The rows of a table by the names of their columns, from Parquet.
fn parquet_of(bundle: &Path, table: &str) -> Vec<BTreeMap<String, Field>> {
    let file = File::open(bundle.join(format!("{table}.parquet"))).unwrap();
    let reader = SerializedFileReader::new(file).unwrap();
    let rows = reader.get_row_iter(None).unwrap().map(Result::unwrap);
    rows.map(|row| row.into_columns().into_iter().collect())
        .collect()
}

/// Every hash of a bundle of CSV.
fn hashes(bundle: &Path) -> BTreeSet<String> {
    let is_hash = |text: &String| text.len() == 32 && text.bytes().all(|it| it.is_ascii_hexdigit());
    files(bundle)
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "csv"))
        .flat_map(|path| csv(path).into_iter().flatten().flatten())
        .filter(is_hash)
        .collect()
}

/// What tells who a person is, as bytes: texts, and ids in every form that a file has them in.
async fn traces(workdir: &Workdir) -> Vec<Vec<u8>> {
    let everybody = "SELECT unnest(ARRAY[email, login || '@', displayname, url]) FROM users";
    let mut traces: Vec<Vec<u8>> = (workdir.column(everybody).await.into_iter())
        .filter(|text| text.len() > 5)
        .map(String::into_bytes)
        .collect();
    traces.push(CANARY.as_bytes().to_vec());
    for id in [PERSON, ROW] {
        traces.push(id.to_string().into_bytes());
        traces.push(format!("{id:x}").into_bytes());
        // Without the zeros at the end that all small numbers have.
        traces.push(id.to_be_bytes()[1..].to_vec());
        traces.push(id.to_le_bytes()[..7].to_vec());
    }
    traces
}

#[track_caller]
fn holds_none(bundle: &Path, traces: &[Vec<u8>]) {
    // A character for each byte: texts are searched far faster.
    let text = |bytes: &[u8]| -> String { bytes.iter().copied().map(char::from).collect() };
    let all = files(bundle);
    assert!(all.len() >= 2, "{all:?}");
    for path in all {
        let content = text(&std::fs::read(&path).unwrap());
        for trace in traces {
            let shown = String::from_utf8_lossy(trace);
            assert!(
                !content.contains(&text(trace)),
                "{} holds {shown:?}",
                path.display()
            );
        }
    }
}

/// Whether the program is on this machine; without it an export says what to install.
async fn has_duckdb(workdir: &Workdir) -> bool {
    let mut program = workdir.program("duckdb");
    program.arg("--version").output().await.is_ok()
}

/// In each format. That of DuckDB checks itself: it counts the values of each column.
#[tokio::test]
async fn no_bundle_holds_a_person_and_all_of_it_joins() {
    let workdir = mirror().await;
    let traces = traces(&workdir).await;
    let one = export(&workdir, "csv", "one").await;
    let other = export(&workdir, "csv", "other").await;
    let sqlite = export(&workdir, "sqlite", "lite").await;
    let columnar = export(&workdir, "parquet", "columnar").await;
    for table in columnar["tables"].as_array().unwrap() {
        // Its pages are compressed: what is in them is searched as text.
        let name = table["name"].as_str().unwrap();
        assert_eq!(table["file"], format!("{name}.parquet"));
        let rows = parquet_of(&workdir.path("columnar"), name);
        workdir.write(&format!("read/{name}"), format!("{rows:?}"));
    }
    holds_none(&workdir.path("read"), &traces);
    let mut bundles = vec!["one", "other", "lite", "columnar"];
    if has_duckdb(&workdir).await {
        export(&workdir, "duckdb", "duck").await;
        bundles.push("duck");
    }
    for name in bundles {
        let bundle = workdir.path(name);
        holds_none(&bundle, &traces);
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&bundle), 0o700);
        for file in files(&bundle) {
            assert_eq!(mode(&file), 0o600, "{}", file.display());
        }
    }

    // Every row is there, in each format.
    let lite = Connection::open(workdir.path("lite/bundle.sqlite")).unwrap();
    let number = |sql: &str| -> i64 { lite.query_row(sql, [], |row| row.get(0)).unwrap() };
    let tables = one["tables"].as_array().unwrap();
    assert_eq!(tables.len(), 17);
    let others = [&sqlite, &columnar].map(|bundle| bundle["tables"].as_array().unwrap());
    for (at, table) in tables.iter().enumerate() {
        let same = &others[0][at];
        let name = table["name"].as_str().unwrap();
        let expected = workdir
            .number(&format!("SELECT count(*) FROM {name}"))
            .await;
        assert!(expected > 0, "{name} is empty");
        let found = rows_of(&workdir.path("one"), name).len();
        assert_eq!(
            (table["rows"].as_i64(), same["rows"].as_i64()),
            (Some(expected), Some(expected))
        );
        assert_eq!(i64::try_from(found).unwrap(), expected, "{name}");
        let found = parquet_of(&workdir.path("columnar"), name).len();
        assert_eq!(i64::try_from(found).unwrap(), expected, "{name}");
        assert_eq!(others[1][at]["rows"], table["rows"], "{name}");
        assert_eq!(others[1][at]["columns"], table["columns"], "{name}");
        assert_eq!(
            number(&format!("SELECT count(*) FROM {name}")),
            expected,
            "{name}"
        );
        assert!(table["freshness"]["loaded_at"].is_string(), "{table}");
    }

    // A person is the same in all tables of a bundle, and another one in the next.
    let people: BTreeSet<_> = (rows_of(&workdir.path("one"), "users").iter())
        .map(|row| row["id"].clone().unwrap())
        .collect();
    assert_eq!(people.len(), workdir.count("users").await);
    let of_parquet = |table: &str, column: &str| -> Vec<Field> {
        let rows = parquet_of(&workdir.path("columnar"), table).into_iter();
        rows.map(|mut row| row.remove(column).unwrap()).collect()
    };
    let known = of_parquet("users", "id");
    for table in [
        "cursus_users",
        "campus_users",
        "projects_users",
        "achievements_users",
        "coalitions_users",
        "teams_users",
    ] {
        let join = format!("SELECT count(*) FROM {table} JOIN users ON users.id = {table}.user_id");
        let expected = workdir.number(&join).await;
        assert!(expected > 0, "{table}");
        let rows = rows_of(&workdir.path("one"), table);
        let found = rows
            .iter()
            .filter(|row| people.contains(row["user_id"].as_ref().unwrap()));
        assert_eq!(i64::try_from(found.count()).unwrap(), expected, "{table}");
        assert_eq!(number(&join), expected, "{table}");
        let found = of_parquet(table, "user_id");
        let found = found.iter().filter(|id| known.contains(id)).count();
        assert_eq!(i64::try_from(found).unwrap(), expected, "{table}");
        if table == "teams_users" {
            continue;
        }
        let distinct = format!("SELECT count(DISTINCT id) FROM {table}");
        assert_eq!(
            number(&distinct),
            workdir.number(&distinct).await,
            "{table}"
        );
    }
    let (first, second) = (hashes(&workdir.path("one")), hashes(&workdir.path("other")));
    assert!(first.len() > people.len() && first.is_disjoint(&second));
    assert_ne!(one["serial"], other["serial"]);
    // Nor do two bundles have their rows in the same order.
    let order = |bundle: &str| -> Vec<_> {
        let rows = rows_of(&workdir.path(bundle), "projects");
        rows.iter().map(|row| row["id"].clone()).collect()
    };
    assert_ne!(order("one"), order("other"));

    // Values are what they are in the mirror, and times what the profile makes of them.
    let rows = rows_of(&workdir.path("one"), "projects");
    let project = |id: &str| {
        rows.iter()
            .find(|row| row["id"].as_deref() == Some(id))
            .unwrap()
    };
    let odd = project("777001");
    assert_eq!(odd["name"].as_deref(), Some(ODD));
    assert_eq!(odd["slug"].as_deref(), Some(""));
    assert_eq!(odd["created_at"].as_deref(), Some("infinity"));
    assert_eq!(odd["updated_at"].as_deref(), Some("2026-03-04T05:06:07.5Z"));
    let old = project("777002");
    assert_eq!((&old["name"], old["slug"].as_deref()), (&None, Some(" ")));
    assert_eq!(
        old["created_at"].as_deref(),
        Some("0044-03-15T00:00:00Z BC")
    );
    let same = "SELECT count(*) FROM projects WHERE id = 777001 AND exam = 1 AND slug = '' AND updated_at = '2026-03-04T05:06:07.5Z' \
        AND name = 'an \"odd\", name' || char(10) || 'of two lines'";
    assert_eq!(number(same), 1);
    assert_eq!(
        number("SELECT count(*) FROM projects WHERE id = 777002 AND name IS NULL"),
        1
    );
    assert_eq!(
        number("SELECT count(*) FROM cursus_users WHERE level = 7.43 AND begin_at = '2026-01-02'"),
        1
    );

    let rows = parquet_of(&workdir.path("columnar"), "projects");
    let project = |id: i64| {
        let mut rows = rows.iter();
        rows.find(|row| row["id"] == Field::Long(id)).unwrap()
    };
    let odd = project(777_001);
    assert_eq!(odd["name"], Field::Str(ODD.to_owned()));
    assert_eq!(odd["slug"], Field::Str(String::new()));
    assert_eq!(odd["exam"], Field::Bool(true));
    assert_eq!(odd["created_at"], Field::TimestampMicros(i64::MAX));
    let at = Field::TimestampMicros(1_772_600_767_500_000);
    assert_eq!(odd["updated_at"], at);
    let old = project(777_002);
    assert_eq!(
        (&old["name"], &old["exam"]),
        (&Field::Null, &Field::Bool(false))
    );
    let at = Field::TimestampMicros(-735_160 * 86_400_000_000);
    assert_eq!(old["created_at"], at);
    let enrolled = parquet_of(&workdir.path("columnar"), "cursus_users");
    let of_person = |row: &&BTreeMap<String, Field>| row["level"] == Field::Double(7.43);
    let of_person = enrolled.iter().find(of_person).unwrap();
    assert_eq!(of_person["begin_at"], Field::Date(20_455));

    // The manifest is that of the bundle.
    let text = std::fs::read_to_string(workdir.path("one/bundle.json")).unwrap();
    let manifest: Value = serde_json::from_str(&text).unwrap();
    for key in [
        "serial",
        "made_at",
        "cursus_version",
        "notice",
        "profile_sha256",
        "tables",
    ] {
        assert_eq!(manifest[key], one[key], "{key}");
        assert!(!manifest[key].is_null(), "{key}");
    }
    assert!(
        manifest["notice"]
            .as_str()
            .unwrap()
            .starts_with("k-anonymity is not promised")
    );
}

/// A profile beside the configuration stands in the place of a built-in one.
#[tokio::test]
async fn faults_of_a_profile_come_together() {
    let workdir = Workdir::new().await;
    workdir.pipeline(&[]);
    workdir.cursus(["migrate"]).await.exits(0);
    // As a migration does.
    let drop = "ALTER TABLE cursus_users DROP COLUMN has_coalition CASCADE; ALTER TABLE users ADD COLUMN shown text GENERATED ALWAYS AS (login) STORED";
    workdir.client.batch_execute(drop).await.unwrap();
    let said = workdir.cursus(["export", "out"]).await.exits(2);
    said.says("sql/export/public.toml:")
        .says("cursus_users.has_coalition: there is no such column");

    workdir.write(
        "sql/export/public.toml",
        "version = 1\n[tables.users]\nid = \"copy\"\nlogin = \"safe\"\nwallet = \"copy\"\nkind = \"copy\"\nshown = \"safe\"\nstaff = \"day\"\n\
         active = \"copi\"\ncreated_at = 5\n[tables.cursus_users]\nid = \"safe\"\nuser_id = \"hash:user\"\nskills = \"copy\"\nlevle = \"copy\"\n\
         [tables.user]\nid = \"copy\"\n[tables.empty]\n[tables.current_enrolments]\nid = \"copy\"\n[tables.coalitions_users]\nid = \"hash:A b\"\n",
    );
    let said = workdir.cursus(["export", "out"]).await.exits(2);
    assert_said("export_faults", &workdir, &said);
    let said = workdir
        .cursus(["export", "--profile", "publik", "out"])
        .await
        .exits(2);
    said.says("there is no profile `publik`")
        .says("did you mean `public`?");
    workdir.write("sql/export/mine.toml", "[tables.cursus\n");
    let said = workdir
        .cursus(["export", "--profile", "mine", "out"])
        .await
        .exits(2);
    said.says("sql/export/mine.toml:1: not TOML");
    workdir.write("sql/export/mine.toml", "# nothing\n");
    let said = workdir
        .cursus(["export", "--profile", "mine", "out"])
        .await
        .exits(2);
    said.says("it names no table");
    // A resource of whom nothing is said may hold anybody.
    workdir.pipeline(&[("nobody_in = [\"cursus\", ", "nobody_in = [")]);
    workdir.write("sql/export/mine.toml", "[tables.cursus]\nid = \"copy\"\n");
    let said = workdir
        .cursus(["export", "--profile", "mine", "out"])
        .await
        .exits(2);
    said.says("[person] of pipeline.toml does not say who is in `cursus`");
    assert!(!workdir.path("out").exists());
}

/// A pack says what is handed out of its own tables, and of no other; what the project says goes before it.
#[tokio::test]
async fn a_pack_says_what_is_handed_out_of_its_tables() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.pipeline(&[("version = 1 ", "packs = [\"squads\"]\nversion = 1 ")]);
    let pack = "[pack]\ndescription = \"teams under another name\"\n\
        [[table]]\nname = \"squads\"\nfrom = \"projects_users\"\nrows = \"/teams\"\nreferences = { project_id = \"projects.id\" }\n";
    workdir.write("packs/squads/pack.toml", pack);
    workdir.write(
        "packs/squads/migrations/V1__squads.sql",
        "CREATE TABLE squads (id bigint PRIMARY KEY, project_id bigint, status text, name text)",
    );
    let profile = "[tables.squads]\nid = \"hash:team\"\nproject_id = \"copy\"\n";
    workdir.write("packs/squads/export/public.toml", profile);
    workdir.json(["run"]).await;
    let columns = |bundle: &Value, table: &str| -> Option<Vec<String>> {
        let tables = bundle["tables"].as_array().unwrap();
        let table = tables.iter().find(|one| one["name"] == table)?;
        let columns = table["columns"].as_array().unwrap().iter();
        Some(
            columns
                .map(|it| it["name"].as_str().unwrap().to_owned())
                .collect(),
        )
    };
    let bundle = export(&workdir, "csv", "all").await;
    assert_eq!(columns(&bundle, "squads").unwrap(), ["id", "project_id"]);
    assert_eq!(bundle["tables"].as_array().unwrap().len(), 18);
    let ids = |table: &str| -> BTreeSet<_> {
        let rows = rows_of(&workdir.path("all"), table);
        rows.iter().map(|row| row["id"].clone()).collect()
    };
    assert!(!ids("teams").is_empty());
    assert_eq!(ids("squads"), ids("teams"));
    let shown = workdir.json(["pack", "show", "squads"]).await;
    assert_eq!(shown["files"]["export/public.toml"], profile);

    // What the project says goes before it; and without `packs` it is all that is said.
    let own =
        "packs = true\n[tables.cursus]\nid = \"copy\"\n[tables.squads]\nproject_id = \"copy\"\n";
    workdir.write("sql/export/public.toml", own);
    let bundle = export(&workdir, "csv", "own").await;
    assert_eq!(columns(&bundle, "squads").unwrap(), ["project_id"]);
    assert!(columns(&bundle, "teams").is_some());
    workdir.write("sql/export/public.toml", "[tables.cursus]\nid = \"copy\"\n");
    let bundle = export(&workdir, "csv", "alone").await;
    assert_eq!(bundle["tables"].as_array().unwrap().len(), 1);

    // Its faults are those of any profile, and it names no table of another.
    let wrong = "packs = true\n[tables.squads]\nid = \"hash:team\"\nname = \"safe\"\n[tables.cursus]\nid = \"copy\"\n";
    workdir.write("packs/squads/export/public.toml", wrong);
    // Also those of a table of which the project says something else.
    for of_project in ["packs = true\n", own] {
        workdir.write("sql/export/public.toml", of_project);
        let said = workdir.cursus(["export", "out"]).await.exits(2);
        said.says("packs/squads/export/public.toml:1: unknown key `packs`")
            .says("public.toml:4: squads.name: [person] of pipeline.toml calls it personal")
            .says("public.toml:5: cursus: the pack `squads` hands out its own tables alone");
    }
    assert!(!workdir.path("out").exists());
    // One that nobody can read is a fault of its pack.
    workdir.write("packs/squads/export/public.toml", b"# \xff\n");
    workdir
        .cursus(["export", "out"])
        .await
        .exits(2)
        .says("packs/squads/export/public.toml: ")
        .says("it is not UTF-8");
}

#[tokio::test]
async fn people_who_were_erased_or_anonymised_are_left_out() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.pipeline(&[]);
    workdir.json(["run"]).await;
    let ids = workdir.column("SELECT user_id FROM projects_users JOIN users ON users.id = user_id GROUP BY 1 ORDER BY 1 LIMIT 2").await;
    let [erased, anonymised] = &ids[..] else {
        panic!("{ids:?}")
    };
    workdir.cursus(["forget", erased]).await.exits(0);
    let change = format!(
        "UPDATE users SET login = '3b3-x' WHERE id = {anonymised}; UPDATE coalitions SET user_id = {erased}"
    );
    workdir.client.batch_execute(&change).await.unwrap();
    workdir.write(
        "sql/export/mine.toml",
        "[tables.users]\nid = \"hash:person\"\n[tables.projects_users]\nuser_id = \"hash:person\"\nfinal_mark = \"copy\"\n\
         [tables.coalitions]\nuser_id = \"hash:person\"\n",
    );
    let bundle = workdir.json(["export", "--profile", "mine", "out"]).await;
    let theirs = format!("user_id IN ({erased}, {anonymised})");
    let attempts = workdir
        .number(&format!(
            "SELECT count(*) FROM projects_users WHERE {theirs}"
        ))
        .await;
    let counts = |at: usize| {
        let table = &bundle["tables"][at];
        (
            table["rows"].as_i64().unwrap(),
            table["left_out"].as_i64().unwrap(),
        )
    };
    let all = async |table: &str| {
        workdir
            .number(&format!("SELECT count(*) FROM {table}"))
            .await
    };
    assert_eq!(counts(0), (all("users").await - 2, 2));
    assert_eq!(
        counts(1),
        (all("projects_users").await - attempts, attempts)
    );
    // A bundle that was handed out is named when somebody in it is erased.
    let forgotten = workdir.json(["forget", anonymised]).await;
    assert_eq!(forgotten["exports"][0]["serial"], bundle["export"]);
    let what = forgotten["exports"][0]["what"].as_str().unwrap();
    assert!(what.contains(bundle["serial"].as_str().unwrap()), "{what}");
    // A coalition is not about its head.
    assert_eq!(counts(2), (all("coalitions").await, 0));
    assert!(
        rows_of(&workdir.path("out"), "coalitions")
            .iter()
            .all(|row| row["user_id"].is_none())
    );
}

#[tokio::test]
async fn nothing_is_overwritten_and_programs_are_asked_for() {
    let mut workdir = Workdir::new().await;
    let said = workdir.cursus(["export", "out"]).await.exits(1);
    said.says("nothing has been loaded into this database");
    workdir.cursus(["migrate"]).await.exits(0);
    workdir.write("file", "kept");
    std::fs::create_dir(workdir.path("empty")).unwrap();
    symlink("nowhere", workdir.path("link")).unwrap();
    for name in ["file", "empty", "link", "./empty/"] {
        let said = workdir.cursus(["export", name]).await.exits(2);
        said.says("is there already, and an export overwrites nothing");
    }
    workdir.cursus(["export", "."]).await.exits(2);
    workdir
        .cursus(["export", "absent/out"])
        .await
        .exits(1)
        .says("cannot make a directory in absent");
    assert_eq!(std::fs::read(workdir.path("file")).unwrap(), b"kept");
    workdir.cursus(["export", "new/"]).await.exits(0);
    assert!(workdir.path("new/bundle.json").is_file());

    workdir.set("PATH", workdir.path("empty"));
    let said = workdir
        .cursus(["export", "--format", "duckdb", "duck"])
        .await
        .exits(1);
    said.says("needs the program `duckdb`, which is not here; install it");
    assert!(!workdir.path("duck").exists());
}

/// What is there under the name is whole, and what was aside is removed by the next export.
#[tokio::test]
async fn a_killed_export_leaves_nothing_under_its_name() {
    let workdir = Workdir::new().await;
    workdir.cursus(["migrate"]).await.exits(0);
    let template = Template::of(workdir).await;
    for (point, nth) in EXPORT {
        let mut workdir = template.workdir().await;
        let when = format!("killed at {}:{nth}", point.name());
        workdir.set("CURSUS_FAILPOINT", format!("{}:{nth}=kill", point.name()));
        let killed = workdir
            .cursus(["export", "--format", "sqlite", "out"])
            .await;
        assert_eq!(killed.code, None, "{when}");
        workdir.unset("CURSUS_FAILPOINT");
        let is_whole = point == Point::ExportDone;
        assert_eq!(workdir.path("out").exists(), is_whole, "{when}");
        let code = if is_whole { 2 } else { 0 };
        workdir
            .cursus(["export", "--format", "sqlite", "out"])
            .await
            .exits(code);
        assert_eq!(files(&workdir.path("out")).len(), 2, "{when}");
        let names = std::fs::read_dir(workdir.path("")).unwrap().flatten();
        let aside = names.filter(|entry| entry.file_name().to_string_lossy().contains(".part-"));
        assert_eq!(aside.count(), 0, "{when}");
        workdir.end().await;
    }
    // A full disk: a sentence, and nothing is left.
    let mut workdir = template.workdir().await;
    workdir.set("CURSUS_FAILPOINT", "export.table:3=enospc");
    let full = workdir.cursus(["export", "out"]).await.exits(1);
    full.says("cannot write out: No space left on device")
        .says("no bundle was written");
    let left = std::fs::read_dir(workdir.path("")).unwrap().flatten();
    let left: Vec<_> = left.map(|entry| entry.file_name()).collect();
    assert!(
        left.iter()
            .all(|name| !name.to_string_lossy().contains("out")),
        "{left:?}"
    );
}
