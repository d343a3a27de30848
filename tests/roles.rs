//! Other roles in the same database: nothing of theirs runs with our rights, whatever they make.

use std::collections::BTreeSet;
use std::path::PathBuf;

use walkdir::WalkDir;

use crate::support::boxes::{self, delta, full, stage, thing, things};
use crate::support::pooler::Pooler;
use crate::support::{Ran, Workdir, simulator, testing};

const PLANT: &str = include_str!("support/planted.sql");

/// Another role with rights to create, whose code leaves a mark when it runs as a superuser.
struct Mallory {
    role: String,
    mark: PathBuf,
}

impl Mallory {
    /// With a function `planted.strike()` that takes what a superuser can give, and leaves a file.
    async fn of(workdir: &Workdir) -> Self {
        let database = workdir.column("SELECT current_database()").await.remove(0);
        let role = format!("mallory_{database}");
        let mark = std::env::temp_dir().join(format!("struck-{database}"));
        workdir
            .query(&format!(
                "DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN; \
                 CREATE SCHEMA planted AUTHORIZATION {role}; GRANT USAGE ON SCHEMA planted TO PUBLIC; SET ROLE {role}; \
                 CREATE FUNCTION planted.strike() RETURNS boolean LANGUAGE plpgsql SET search_path = pg_catalog AS $$ BEGIN \
                 BEGIN COPY (SELECT 1) TO '{}'; EXCEPTION WHEN OTHERS THEN NULL; END; \
                 BEGIN ALTER ROLE {role} SUPERUSER; EXCEPTION WHEN OTHERS THEN NULL; END; RETURN true; END $$; \
                 CREATE FUNCTION planted.strikes() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 PERFORM planted.strike(); RETURN coalesce(NEW, OLD); END $$; \
                 CREATE FUNCTION planted.constant(bigint) RETURNS bigint IMMUTABLE LANGUAGE plpgsql AS \
                 $$ BEGIN PERFORM planted.strike(); RETURN 0; END $$; RESET ROLE",
                mark.display()
            ))
            .await;
        let mallory = Self { role, mark };
        mallory.forget();
        mallory
    }

    /// Does something with the rights of this role.
    async fn does(&self, workdir: &Workdir, sql: &str) {
        let role = &self.role;
        workdir
            .query(&format!("SET ROLE {role}; {sql}; RESET ROLE"))
            .await;
    }

    fn forget(&self) {
        if let Err(error) = std::fs::remove_file(&self.mark) {
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        }
    }

    /// Nothing of this role has run as a superuser.
    async fn got_nothing(&self, workdir: &Workdir, after: &str) {
        assert!(!self.mark.exists(), "{after} ran what was planted");
        let role = &self.role;
        let rolsuper = format!("SELECT rolsuper FROM pg_roles WHERE rolname = '{role}'");
        assert_eq!(workdir.column(&rolsuper).await, ["f"], "{after}");
    }

    /// Overloads of everything that statements of cursus name, in a schema that this role can create in.
    async fn plants(&self, workdir: &Workdir, schema: &str) {
        let (called, words) = words_of_statements();
        let list = |names: &BTreeSet<String>| {
            let names: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
            format!("ARRAY[{}]::text[]", names.join(","))
        };
        let relations = format!(
            "(SELECT array_agg(relname::text) FROM pg_class WHERE relnamespace = 'pg_catalog'::regnamespace \
             AND relkind IN ('r', 'v') AND relname = ANY ({}))",
            list(&words)
        );
        let plant = (PLANT.replace("{schema}", schema))
            .replace("{role}", &self.role)
            .replace("{names}", &list(&called))
            .replace("{relations}", &relations);
        // What was planted before would be called by this session too.
        workdir.query("SET search_path = pg_catalog").await;
        workdir.query(&plant).await;
        workdir.query("RESET search_path").await;
        let planted =
            format!("SELECT count(*) FROM pg_proc WHERE pronamespace = '{schema}'::regnamespace");
        assert!(workdir.number(&planted).await > 500);
        for overload in ["array_agg(text)", "count(bigint)", "coalesce_none()"] {
            let there = format!("SELECT to_regprocedure('{schema}.{overload}') IS NOT NULL");
            let expected = if overload.contains("none") { "f" } else { "t" };
            assert_eq!(workdir.column(&there).await, [expected], "{overload}");
        }
    }

    /// The URL of this role.
    fn url(&self, workdir: &Workdir) -> String {
        as_role(workdir, &self.role)
    }
}

impl Drop for Mallory {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.mark);
    }
}

fn as_role(workdir: &Workdir, role: &str) -> String {
    let url = workdir.variable("CURSUS_DATABASE_URL").to_owned();
    url.replacen("cursus@", &format!("{role}@"), 1)
}

/// What stands before a bracket in the program's text and SQL, and every word of it, in lower case.
fn words_of_statements() -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut called, mut words) = (BTreeSet::new(), BTreeSet::new());
    for folder in ["src", "sql", "migrations"] {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for entry in WalkDir::new(folder) {
            let entry = entry.unwrap();
            let is_text = entry.path().extension();
            if !is_text.is_some_and(|extension| extension == "rs" || extension == "sql") {
                continue;
            }
            let text = std::fs::read_to_string(entry.path()).unwrap();
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
            let mut rest = text.as_str();
            while let Some(start) = rest.find(is_part) {
                rest = &rest[start..];
                let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
                let word = rest[..end].to_lowercase();
                rest = &rest[end..];
                if rest.starts_with('(') {
                    called.insert(word.clone());
                }
                words.insert(word);
            }
        }
    }
    (called, words)
}

/// Commands that ask the mirror in `mirror` or load into it, in an order in which each has something to do.
const COMMANDS: [&[&str]; 19] = [
    &["status"],
    &["doctor"],
    &["load"],
    &["status"],
    &[
        "sql",
        "SELECT count(*), array_agg(name::text) FROM boxes WHERE name = 'box 1' OR id > 0",
    ],
    &["sql", "--json", "SELECT * FROM pipeline.freshness"],
    &["doctor"],
    &["diff", "mirror", "latest"],
    &["diff", "live", "mirror", "--show-values"],
    &["explain", "things", "1"],
    &["prune", "ls"],
    &["quarantine", "ls"],
    &["quarantine", "retry"],
    &["replay", "--into", "beside"],
    &["replay", "--rebuild"],
    &["migrate"],
    &["load", "--again"],
    &["stage", "gc", "--keep-runs", "1"],
    &["prune", "approve", "latest"],
];

/// A directory of boxes whose mirror is in the schema `mirror`.
async fn workdir_in_mirror() -> Workdir {
    let workdir = boxes::with_empty_database().await;
    let pipeline = boxes::PIPELINE.replace("[prune]", "[database]\nschema = \"mirror\"\n[prune]");
    workdir.write("pipeline.toml", pipeline);
    boxes::three_runs(&workdir);
    let orphan = thing(22, 1.0).replace("\"box_id\":1", "\"box_id\":9");
    stage(&workdir, &[delta("things", vec![orphan])]);
    workdir
}

async fn every_command(workdir: &Workdir, mallory: &Mallory, what: &str) {
    let alone = workdir_in_mirror().await;
    for command in COMMANDS {
        let expected = alone.cursus(command).await;
        let ran = workdir.cursus(command).await;
        assert_eq!(
            ran.code, expected.code,
            "{what}: {ran} as if alone: {expected}"
        );
        assert!(
            !ran.stderr.contains("could have cursus run"),
            "{what}: {ran}"
        );
        mallory
            .got_nothing(workdir, &format!("{what}: {}", command.join(" ")))
            .await;
    }
    assert_eq!(workdir.count("mirror.things").await, 12);
}

#[tokio::test]
async fn overloads_of_others_are_never_called() {
    let workdir = workdir_in_mirror().await;
    let mallory = Mallory::of(&workdir).await;
    let database = workdir.column("SELECT current_database()").await.remove(0);
    let role = &mallory.role;
    // A schema that has the name of our role, and `public`, are in the path of PostgreSQL's own.
    workdir
        .query(&format!(
            "GRANT CREATE ON SCHEMA public TO PUBLIC; GRANT CREATE ON DATABASE {database} TO {role}"
        ))
        .await;
    mallory
        .does(
            &workdir,
            "CREATE SCHEMA cursus; GRANT USAGE ON SCHEMA cursus TO PUBLIC",
        )
        .await;
    mallory.plants(&workdir, "public").await;
    mallory.plants(&workdir, "cursus").await;
    // What they do is no accident of the test.
    let path = "SET search_path = cursus, public, pg_catalog; SELECT array_agg('x'::pg_catalog.text); RESET search_path";
    workdir.query(path).await;
    assert!(mallory.mark.exists());
    std::fs::remove_file(&mallory.mark).unwrap();
    workdir
        .query(&format!("ALTER ROLE {role} NOSUPERUSER"))
        .await;

    every_command(&workdir, &mallory, "in the path of PostgreSQL").await;
}

#[tokio::test]
async fn no_setting_puts_overloads_into_the_path() {
    let mut workdir = workdir_in_mirror().await;
    let mallory = Mallory::of(&workdir).await;
    let database = workdir.column("SELECT current_database()").await.remove(0);
    let role = &mallory.role;
    workdir
        .query(&format!(
            "GRANT CREATE ON DATABASE {database} TO {role}; GRANT CREATE ON SCHEMA public TO PUBLIC; \
             ALTER DATABASE {database} SET search_path = public, pg_catalog"
        ))
        .await;
    mallory.plants(&workdir, "public").await;
    workdir.set("PGOPTIONS", "-c search_path=public,pg_catalog");
    let url = workdir.variable("CURSUS_DATABASE_URL").to_owned();
    let options = "options=-c%20search_path%3Dpublic,pg_catalog";
    workdir.set("CURSUS_DATABASE_URL", format!("{url}?{options}"));
    every_command(
        &workdir,
        &mallory,
        "in the path of the database and the URL",
    )
    .await;
}

#[tokio::test]
async fn complete_run_calls_no_overload() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.pipeline(&[("schema = \"public\"", "schema = \"mirror\"")]);
    let mallory = Mallory::of(&workdir).await;
    workdir
        .query("GRANT CREATE ON SCHEMA public TO PUBLIC")
        .await;
    mallory.plants(&workdir, "public").await;
    for command in [
        &["run"][..],
        &["status"],
        &["run", "--full"],
        &["doctor"],
        &["plan"],
        &["sql", "SELECT * FROM current_enrolments"],
    ] {
        workdir.cursus(command).await.exits(0);
        mallory.got_nothing(&workdir, &command.join(" ")).await;
    }
}

/// Commands that write to the mirror, or to what the ledger says of it.
const WRITING: [&[&str]; 8] = [
    &["load"],
    &["load", "--dry-run"],
    &["migrate"],
    &["replay", "--rebuild"],
    &["diff", "public", "latest"],
    &["quarantine", "retry"],
    &["quarantine", "drop", "--all"],
    &["prune", "approve", "latest"],
];

/// What writes refuses with these words, before it writes anything, and `doctor` fails with them.
async fn is_refused(workdir: &Workdir, mallory: &Mallory, words: &[&str]) -> Ran {
    // Nothing that was planted is called by this.
    let state = "SELECT pg_catalog.concat_ws(' ', (SELECT count(*) FROM pg_class), (SELECT count(*) FROM pg_namespace))";
    let before = workdir.column(state).await;
    for command in WRITING {
        let ran = workdir.cursus(command).await.exits(4);
        for word in words {
            assert!(ran.stderr.contains(word), "{word}: {ran}");
        }
        assert_eq!(workdir.column(state).await, before, "{ran}");
        mallory.got_nothing(workdir, &command.join(" ")).await;
    }
    let ran = workdir.cursus(["doctor"]).await.exits(1);
    for word in words {
        assert!(ran.stdout.contains(word), "{word}: {ran}");
    }
    mallory.got_nothing(workdir, "doctor").await;
    ran
}

#[tokio::test]
async fn a_mirror_in_which_others_can_create_is_not_loaded() {
    let workdir = boxes::with_empty_database().await;
    boxes::three_runs(&workdir);
    let mallory = Mallory::of(&workdir).await;
    let role = &mallory.role;
    let can = "can create objects in the schema public";
    // Where all can, roles of other tests are named before this one.
    for (whom, named) in [("PUBLIC", can), (role, role)] {
        let grant = format!("GRANT CREATE ON SCHEMA public TO {whom}");
        let revoke = format!("REVOKE CREATE ON SCHEMA public FROM {whom}");
        workdir.query(&grant).await;
        let words = [named, can, &format!("`{revoke}`")];
        is_refused(&workdir, &mallory, &words).await;
        workdir.query(&revoke).await;
    }
    // What was made before stays found.
    workdir
        .query("GRANT CREATE ON SCHEMA public TO PUBLIC")
        .await;
    mallory.plants(&workdir, "public").await;
    workdir
        .query("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        .await;
    let words = [&format!("belongs to {role}"), "`DROP "];
    is_refused(&workdir, &mallory, &words).await;
    // Reading is not concerned.
    workdir.cursus(["status"]).await.exits(0);
    workdir
        .cursus(["sql", "SELECT array_agg('x'::pg_catalog.text)"])
        .await
        .exits(0)
        .says("public is not in the search path");
    mallory.got_nothing(&workdir, "reading").await;
    workdir
        .query(&format!("DROP OWNED BY {role} CASCADE"))
        .await;
    workdir.json(["load"]).await;
    assert_eq!(workdir.count("things").await, 12);
    workdir.query(&format!("DROP ROLE {role}")).await;
}

#[tokio::test]
async fn a_ledger_that_somebody_prepared_is_not_used() {
    let workdir = boxes::with_empty_database().await;
    boxes::three_runs(&workdir);
    let mallory = Mallory::of(&workdir).await;
    let role = &mallory.role;
    let database = workdir.column("SELECT current_database()").await.remove(0);
    workdir
        .query(&format!("GRANT CREATE ON DATABASE {database} TO {role}"))
        .await;
    mallory
        .does(&workdir, "CREATE SCHEMA pipeline; GRANT ALL ON SCHEMA pipeline TO PUBLIC; \
              CREATE VIEW pipeline.freshness AS SELECT planted.strike(); \
              CREATE VIEW pipeline.load AS SELECT planted.strike(); \
              CREATE VIEW pipeline.refinery_schema_history AS SELECT 1 AS version, 'x'::text AS name, planted.strike()::text AS checksum; \
              GRANT SELECT ON ALL TABLES IN SCHEMA pipeline TO PUBLIC")
        .await;
    let refused = ["pipeline.freshness", &format!("belongs to {role}")];
    is_refused(&workdir, &mallory, &refused).await;
    for command in [
        &["status"][..],
        &["sql", "SELECT * FROM pipeline.freshness"],
        &["sql", "--json", "SELECT * FROM pipeline.freshness"],
        &["prune", "ls"],
        &["quarantine", "ls"],
        &["explain", "things", "1"],
        &["stage", "gc"],
        &["diff", "live", "public"],
    ] {
        let ran = workdir.cursus(command).await;
        assert!(ran.code.is_some_and(|code| code != 0), "{ran}");
        let said = format!("{}{}", ran.stdout, ran.stderr);
        assert!(
            said.contains("planted.strike()") && said.contains(role),
            "{ran}"
        );
        mallory.got_nothing(&workdir, &command.join(" ")).await;
    }
    // Without a function of its own, a view can have ours run anything.
    let statement = "SELECT planted.strike()";
    mallory
        .does(
            &workdir,
            &format!(
                "DROP VIEW pipeline.freshness, pipeline.load, pipeline.refinery_schema_history; \
              CREATE VIEW pipeline.freshness AS SELECT query_to_xml('{statement}', true, true, '')"
            ),
        )
        .await;
    let ran = workdir
        .cursus(["sql", "SELECT * FROM pipeline.freshness"])
        .await
        .exits(4);
    assert!(ran.stderr.contains("query_to_xml"), "{ran}");
    mallory.got_nothing(&workdir, "query_to_xml").await;
}

#[tokio::test]
async fn what_others_hang_on_the_mirror_is_refused() {
    let workdir = boxes::with_empty_database().await;
    boxes::three_runs(&workdir);
    workdir.json(["load"]).await;
    let mallory = Mallory::of(&workdir).await;
    let role = &mallory.role;
    workdir
        .query(&format!(
            "GRANT TRIGGER, REFERENCES, SELECT ON ALL TABLES IN SCHEMA public TO {role}"
        ))
        .await;
    stage(&workdir, &[full("things", things(2..=12))]);
    let own = format!("ALTER TABLE NAME OWNER TO {role}");
    let cases = [
        (
            "CREATE TRIGGER evil BEFORE INSERT OR UPDATE OR DELETE ON things FOR EACH ROW EXECUTE FUNCTION planted.strikes()",
            true,
            "DROP TRIGGER evil ON things",
            "`DROP TRIGGER evil ON public.things`",
        ),
        // Its rows go with ours, and the trigger after that runs as we do.
        (
            "CREATE TABLE planted.mine (id bigint REFERENCES public.things ON DELETE CASCADE); \
             CREATE TRIGGER evil AFTER DELETE ON planted.mine FOR EACH ROW EXECUTE FUNCTION planted.strikes(); \
             INSERT INTO planted.mine VALUES (1)",
            true,
            "DROP TABLE planted.mine",
            "planted.mine",
        ),
        (
            "CREATE RULE evil AS ON UPDATE TO boxes DO ALSO SELECT planted.strike()",
            false,
            "DROP RULE evil ON boxes",
            "`DROP RULE evil ON public.boxes`",
        ),
        (
            "CREATE INDEX evil ON notes ((planted.constant(1)))",
            false,
            "DROP INDEX evil",
            "planted.constant",
        ),
        (
            "ALTER TABLE notes ALTER text SET DEFAULT planted.strike()::text",
            false,
            "ALTER TABLE notes ALTER text DROP DEFAULT",
            "planted.strike()",
        ),
        (
            "ALTER TABLE parts ADD CHECK (planted.strike())",
            false,
            "ALTER TABLE parts DROP CONSTRAINT parts_check",
            "planted.strike()",
        ),
        (
            "ALTER TABLE things ENABLE ROW LEVEL SECURITY; CREATE POLICY evil ON things USING (planted.strike())",
            false,
            "DROP POLICY evil ON things; ALTER TABLE things DISABLE ROW LEVEL SECURITY",
            "`DROP POLICY evil ON public.things`",
        ),
        (
            "CREATE TABLE planted.part () INHERITS (things); CREATE TRIGGER evil BEFORE DELETE ON planted.part \
             FOR EACH ROW EXECUTE FUNCTION planted.strikes()",
            false,
            "DROP TABLE planted.part",
            "evil on planted.part",
        ),
        (
            &own.replace("NAME", "things"),
            false,
            "ALTER TABLE things OWNER TO cursus",
            "ALTER TABLE public.things OWNER TO cursus",
        ),
        (
            &own.replace("NAME", "refinery_schema_history"),
            false,
            "ALTER TABLE refinery_schema_history OWNER TO cursus",
            "the table public.refinery_schema_history belongs to",
        ),
        (
            &own.replace("NAME", "pipeline.shape"),
            false,
            "ALTER TABLE pipeline.shape OWNER TO cursus",
            "the table pipeline.shape belongs to",
        ),
        (
            &format!("ALTER SCHEMA pipeline OWNER TO {role}"),
            false,
            "ALTER SCHEMA pipeline OWNER TO cursus",
            "`ALTER SCHEMA pipeline OWNER TO cursus`",
        ),
    ];
    for (done, is_theirs, undone, word) in cases {
        let restrict = "DROP TRIGGER IF EXISTS none ON things";
        if is_theirs {
            mallory.does(&workdir, done).await;
            // They strike when they are used.
        } else {
            workdir.query(done).await;
        }
        mallory.forget();
        workdir
            .query(&format!("{restrict}; ALTER ROLE {role} NOSUPERUSER"))
            .await;
        is_refused(&workdir, &mallory, &[word, role]).await;
        workdir.query(undone).await;
    }
    workdir.json(["load"]).await;
    assert_eq!(workdir.count("things").await, 11);
    mallory.got_nothing(&workdir, "the load").await;
    // Triggers of our own are named.
    workdir
        .query(
            "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$; \
             CREATE TRIGGER noted BEFORE INSERT ON things FOR EACH ROW EXECUTE FUNCTION note()",
        )
        .await;
    let ran = workdir.cursus(["doctor"]).await;
    assert!(
        ran.stdout
            .contains("the table things has the trigger noted"),
        "{ran}"
    );
}

#[tokio::test]
async fn a_trigger_that_is_added_during_a_load_does_not_run() {
    let workdir = boxes::with_empty_database().await;
    boxes::three_runs(&workdir);
    workdir.cursus(["migrate"]).await.exits(0);
    let mallory = Mallory::of(&workdir).await;
    let role = &mallory.role;
    workdir
        .query(&format!(
            "GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}"
        ))
        .await;
    let other = testing::same_database(&workdir.client).await;
    let trigger = format!(
        "BEGIN; SET LOCAL ROLE {role}; CREATE TRIGGER evil BEFORE INSERT ON things \
         FOR EACH ROW EXECUTE FUNCTION planted.strikes()"
    );
    other.batch_execute(&trigger).await.unwrap();
    let mut command = workdir.command(["load"]);
    command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let running = command.spawn().unwrap();
    // It has looked, and found nothing yet.
    let waits = "SELECT count(*) FROM pg_stat_activity \
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while workdir.number(waits).await == 0 {
        tokio::task::yield_now().await;
    }
    other.batch_execute("COMMIT").await.unwrap();
    let ended = running.wait_with_output().await.unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(4), "{said}");
    assert!(said.contains("evil on public.things"), "{said}");
    mallory.got_nothing(&workdir, "the load").await;
    assert_eq!(workdir.count("things").await, 0);
    // Rights alone disturb nothing.
    workdir.query("DROP TRIGGER evil ON things").await;
    workdir.json(["load"]).await;
    assert_eq!(workdir.count("things").await, 12);
}

#[tokio::test]
async fn who_may_only_read_reads_the_mirror_of_another() {
    let mut workdir = boxes::with_empty_database().await;
    boxes::three_runs(&workdir);
    workdir.json(["load"]).await;
    let mallory = Mallory::of(&workdir).await;
    let role = &mallory.role;
    // The mirror is somebody's who is no superuser.
    workdir
        .query(&format!(
            "DO $$ DECLARE c text; BEGIN FOR c IN SELECT oid::regclass FROM pg_class WHERE relkind IN ('r', 'p', 'v') \
             AND relnamespace IN ('public'::regnamespace, 'pipeline'::regnamespace) LOOP \
             EXECUTE format('ALTER TABLE %s OWNER TO {role}', c); END LOOP; END $$; \
             ALTER SCHEMA pipeline OWNER TO {role}; ALTER SCHEMA public OWNER TO {role}"
        ))
        .await;
    let reader = format!("reader_{}", role.replacen("mallory_", "", 1));
    workdir
        .query(&format!(
            "CREATE ROLE {reader} LOGIN; GRANT USAGE ON SCHEMA public, pipeline TO {reader}; \
             GRANT SELECT ON ALL TABLES IN SCHEMA public, pipeline TO {reader}"
        ))
        .await;
    let superuser = workdir.variable("CURSUS_DATABASE_URL").to_owned();
    let reading: [&[&str]; 8] = [
        &["status"],
        &["sql", "SELECT count(*) FROM public.things"],
        &["sql", "SELECT * FROM pipeline.freshness"],
        &["sql", "--json", "SELECT * FROM pipeline.freshness"],
        &["explain", "things", "1"],
        &["diff", "live", "public"],
        &["prune", "ls"],
        &["quarantine", "ls"],
    ];
    for url in [
        as_role(&workdir, &reader),
        superuser.clone(),
        mallory.url(&workdir),
    ] {
        workdir.set("CURSUS_DATABASE_URL", url);
        for command in reading {
            workdir.cursus(command).await.exits(0);
            mallory.got_nothing(&workdir, &command.join(" ")).await;
        }
    }
    // The owner loads, and nobody else, until somebody is made to trust it.
    workdir.json(["load"]).await;
    workdir.set("CURSUS_DATABASE_URL", superuser);
    let refused = workdir.cursus(["load"]).await.exits(4);
    assert!(
        refused
            .stderr
            .contains(&format!("`GRANT {role} TO cursus`")),
        "{refused}"
    );
    workdir.query(&format!("GRANT {role} TO cursus")).await;
    stage(&workdir, &[delta("things", vec![thing(30, 1.0)])]);
    workdir.json(["load"]).await;
    assert_eq!(workdir.count("things").await, 13);
    workdir.query(&format!("REVOKE {role} FROM cursus")).await;
    // Nor is what reading runs: a policy, an index.
    mallory
        .does(
            &workdir,
            "CREATE INDEX evil ON public.things ((planted.constant(1)))",
        )
        .await;
    mallory.forget();
    workdir
        .query(&format!("ALTER ROLE {role} NOSUPERUSER"))
        .await;
    let ran = workdir.cursus(["explain", "things", "1"]).await.exits(4);
    assert!(ran.stderr.contains("planted.constant"), "{ran}");
    mallory.got_nothing(&workdir, "explain").await;
}

/// A view that is replaced keeps its owner, and a new table that it reads then belongs to another role.
#[tokio::test]
async fn a_renewed_view_of_another_owner_is_read_as_before() {
    let workdir = boxes::with_empty_database().await;
    boxes::three_runs(&workdir);
    let view = "-- One row per thing.\n--  id: Its number.\n";
    let write = |body: &str| {
        workdir.write(
            "sql/views/all_things.sql",
            format!("{view}SELECT id FROM {body}"),
        );
    };
    write("things");
    workdir.json(["load"]).await;
    let database = workdir.column("SELECT current_database()").await.remove(0);
    let owner = format!("owner_{database}");
    workdir
        .query(&format!(
            "DROP ROLE IF EXISTS {owner}; CREATE ROLE {owner}; GRANT {owner} TO cursus; \
             ALTER VIEW all_things OWNER TO {owner}; GRANT SELECT ON things TO {owner}"
        ))
        .await;
    workdir.write(
        "migrations/mirror/V1001__more.sql",
        "CREATE TABLE more_things (id bigint); INSERT INTO more_things VALUES (100)",
    );
    write("things UNION SELECT id FROM more_things");
    workdir.json(["migrate"]).await;
    let owners = format!(
        "SELECT pg_get_userbyid(relowner) = '{owner}' FROM pg_class WHERE relname IN ('all_things', 'more_things') ORDER BY relname"
    );
    assert_eq!(workdir.column(&owners).await, ["t", "f"]);
    assert_eq!(workdir.count("all_things WHERE id = 100").await, 1);
}

#[tokio::test]
async fn a_lent_session_with_an_open_path_is_not_read_in() {
    let mut workdir = boxes::with_empty_database().await;
    boxes::three_runs(&workdir);
    workdir.json(["load"]).await;
    let mallory = Mallory::of(&workdir).await;
    let server = testing::cluster().await.socket_dir();
    let database = workdir.column("SELECT current_database()").await.remove(0);
    let direct = workdir.variable("CURSUS_DATABASE_URL").to_owned();
    for (grant, code) in [
        ("REVOKE CREATE ON SCHEMA public FROM", 0),
        ("GRANT CREATE ON SCHEMA public TO", 4),
    ] {
        workdir.query(&format!("{grant} PUBLIC")).await;
        let pooler = Pooler::to(server);
        workdir.set("CURSUS_DATABASE_URL", pooler.url(&database));
        let ran = workdir.cursus(["prune", "ls"]).await.exits(code);
        assert_eq!(ran.stderr.contains(&mallory.role), code == 4, "{ran}");
        // A session of its own is still safe.
        workdir.set("CURSUS_DATABASE_URL", direct.clone());
        workdir.cursus(["prune", "ls"]).await.exits(0);
    }
}

#[tokio::test]
async fn a_session_that_acts_as_another_role_writes_nothing() {
    let workdir = boxes::with_empty_database().await;
    boxes::three_runs(&workdir);
    let mallory = Mallory::of(&workdir).await;
    let (role, database) = (
        &mallory.role,
        workdir.column("SELECT current_database()").await.remove(0),
    );
    workdir
        .query(&format!("ALTER DATABASE {database} SET role = {role}"))
        .await;
    let words = [&format!("the session acts as {role}") as &str, "RESET role"];
    is_refused(&workdir, &mallory, &words).await;
}

#[tokio::test]
async fn one_thing_that_is_open_to_others_is_enough_to_refuse() {
    let workdir = boxes::with_empty_database().await;
    boxes::three_runs(&workdir);
    workdir.json(["load"]).await;
    let database = workdir.column("SELECT current_database()").await.remove(0);
    // It has nothing of its own, and no rights here.
    let role = format!("guest_{database}");
    let make = format!("DROP ROLE IF EXISTS {role}; CREATE ROLE {role}");
    workdir.query(&make).await;
    stage(&workdir, &[full("things", things(2..=12))]);
    workdir.cursus(["load", "--dry-run"]).await.exits(0);
    // Else the first look spares nothing.
    let look = concat!(
        include_str!("../src/database/trust/roles.sql"),
        include_str!("../src/database/trust/possible.sql")
    );
    let look = look.replace("$1", "'{public, pipeline}'::text[]");
    let look = look.replace("$2", "'{public}'::text[]");
    assert_eq!(workdir.column(&look).await, ["f"]);
    for (open, close, word) in [
        (
            format!("GRANT pg_monitor TO {role}; ALTER TABLE things OWNER TO pg_monitor"),
            format!("REVOKE pg_monitor FROM {role}; ALTER TABLE things OWNER TO cursus"),
            "the table public.things belongs to pg_monitor".to_owned(),
        ),
        (
            format!("GRANT CREATE ON SCHEMA public TO {role}"),
            format!("REVOKE CREATE ON SCHEMA public FROM {role}"),
            "can create objects in the schema public".to_owned(),
        ),
        (
            "GRANT CREATE ON SCHEMA public TO PUBLIC".to_owned(),
            "REVOKE CREATE ON SCHEMA public FROM PUBLIC".to_owned(),
            "can create objects in the schema public".to_owned(),
        ),
        (
            // As it is since PostgreSQL 15.
            format!(
                "ALTER SCHEMA public OWNER TO pg_database_owner; ALTER DATABASE {database} OWNER TO {role}"
            ),
            format!("ALTER DATABASE {database} OWNER TO cursus"),
            format!("the schema public belongs to {role}"),
        ),
    ] {
        workdir.query(&open).await;
        let ran = workdir.cursus(["load"]).await;
        workdir.query(&close).await;
        assert_eq!(ran.code, Some(4), "{open}: {ran}");
        assert!(ran.stderr.contains(&word), "{open}: {ran}");
    }
    workdir.query(&format!("DROP ROLE {role}")).await;
}

#[tokio::test]
async fn what_others_have_and_nobody_names_disturbs_nothing() {
    let workdir = boxes::with_empty_database().await;
    boxes::three_runs(&workdir);
    let mallory = Mallory::of(&workdir).await;
    let role = &mallory.role;
    workdir
        .query(&format!(
            "CREATE TABLE theirs (id bigint); ALTER TABLE theirs OWNER TO {role}; \
             CREATE VIEW their_view AS SELECT planted.strike(); ALTER VIEW their_view OWNER TO {role}; \
             CREATE TYPE their_type AS ENUM ('a'); ALTER TYPE their_type OWNER TO {role}; \
             CREATE FUNCTION their_function(bigint) RETURNS bigint LANGUAGE sql AS 'SELECT $1'; \
             ALTER FUNCTION their_function OWNER TO {role}"
        ))
        .await;
    workdir.json(["load"]).await;
    let ran = workdir.cursus(["doctor"]).await;
    assert!(
        ran.stdout.contains("every table of pipeline.toml matches"),
        "{ran}"
    );
    let count = "SELECT count(*) FROM things";
    let count = workdir.cursus(["sql", count]).await.exits(0);
    assert!(count.stdout.contains("12"), "{count}");
    mallory.got_nothing(&workdir, "reading").await;
    // Until a statement of the configuration names it, or what it has is an overload.
    let count = std::fs::read_to_string(workdir.path("sql/count.sql")).unwrap();
    for name in ["theirs", "their_function", "their_type"] {
        let comment = format!("{count} -- {name}");
        workdir.write("sql/count.sql", comment);
        let ran = workdir.cursus(["load", "--again"]).await.exits(4);
        assert!(ran.stderr.contains(name), "{ran}");
    }
    workdir.write("sql/count.sql", count);
    workdir.json(["load", "--again"]).await;
    workdir
        .query("CREATE FUNCTION their_function(int) RETURNS int LANGUAGE sql AS 'SELECT $1'")
        .await;
    let ran = workdir.cursus(["load", "--again"]).await.exits(4);
    assert!(ran.stderr.contains("their_function(bigint)"), "{ran}");
}
