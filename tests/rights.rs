//! What a role lacks is found before the first request, all at once, with the statement that grants it; and it is said which
//! database that is.

use crate::support::workdir::PIPELINE;
use crate::support::{Ran, Workdir, simulator};
use cursus_simulator::Simulator;

const URL: &str = "CURSUS_DATABASE_URL";

/// A directory whose commands connect as a role that has nothing but what it was given.
struct Case {
    workdir: Workdir,
    simulator: Simulator,
    role: String,
    database: String,
    owner: String,
}

impl Case {
    async fn new() -> Self {
        let simulator = simulator().await;
        let mut workdir = Workdir::with_empty_database(&simulator).await;
        let database = workdir.column("SELECT current_database()").await.remove(0);
        let role = format!("role_{database}");
        workdir.query(&format!("CREATE ROLE {role} LOGIN")).await;
        let owner = workdir.variable(URL).to_owned();
        workdir.set(URL, owner.replacen("cursus@", &format!("{role}@"), 1));
        Self {
            workdir,
            simulator,
            role,
            database,
            owner,
        }
    }

    /// What was said, with `[ROLE]` and `[DB]` for the names, of a run that was refused before its first request.
    async fn refused(&self) -> String {
        let before = self.simulator.statistics().requests;
        let ran = self.workdir.cursus(["run"]).await.exits(1);
        assert_eq!(self.simulator.statistics().requests, before, "{ran}");
        let said = self.plain(&ran.stderr);
        // `doctor` finds the same.
        let doctor = self.workdir.cursus(["doctor"]).await.exits(1);
        for line in findings(&said) {
            assert!(
                self.plain(&doctor.stdout).contains(line),
                "{line}\n{doctor}"
            );
        }
        said
    }

    fn plain(&self, text: &str) -> String {
        text.replace(&self.role, "[ROLE]")
            .replace(&self.database, "[DB]")
    }

    /// Types a statement that a message gave, as the owner.
    async fn grant(&self, statement: &str) {
        let statement = statement.replace("[ROLE]", &self.role);
        self.workdir
            .query(&statement.replace("[DB]", &self.database))
            .await;
    }

    /// Types all statements of a refusal.
    async fn grant_all(&self, said: &str) {
        let mut granted = 0;
        for line in findings(said) {
            let Some(statement) = line.rsplit('`').nth(1) else {
                continue;
            };
            self.grant(statement).await;
            granted += 1;
        }
        assert!(granted > 0, "{said}");
    }

    /// Runs as the owner.
    async fn by_owner(&mut self, arguments: &[&str]) -> Ran {
        let url = self.workdir.variable(URL).to_owned();
        self.workdir.set(URL, &self.owner);
        let ran = self.workdir.cursus(arguments).await;
        self.workdir.set(URL, url);
        ran
    }
}

/// The lines of a list of findings.
fn findings(said: &str) -> impl Iterator<Item = &str> {
    let lines = said.lines().skip_while(|line| !line.contains(" error: "));
    // Behind the time of each.
    let lines = lines.skip(1).filter_map(|line| line.split_once(' '));
    lines.map(|(_, finding)| finding.trim())
}

const SMALL: [&str; 4] = ["run", "--select", "cursus,coalitions", "-q"];

#[tokio::test]
async fn missing_rights_of_a_role_are_reported_at_once() {
    let case = Case::new().await;
    case.workdir
        .query(&format!(
            "REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC; REVOKE ALL ON SCHEMA public FROM PUBLIC",
            case.database
        ))
        .await;
    let said = case.refused().await;
    let expected = [
        "the schema pipeline is not there, and the role [ROLE] lacks CREATE on the database [DB] to make it; grant it with \
         `GRANT CREATE ON DATABASE [DB] TO [ROLE]`",
        "the role [ROLE] lacks TEMPORARY on the database [DB], for the tables of a load; grant it with \
         `GRANT TEMPORARY ON DATABASE [DB] TO [ROLE]`",
        "the role [ROLE] lacks USAGE on the schema public; grant it with `GRANT USAGE ON SCHEMA public TO [ROLE]`",
        "the role [ROLE] lacks CREATE on the schema public, which migrations have still to change; grant it with \
         `GRANT CREATE ON SCHEMA public TO [ROLE]`",
    ];
    let found: Vec<&str> = findings(&said).collect();
    assert_eq!(found, expected, "{said}");
    case.grant_all(&said).await;
    case.workdir.cursus(SMALL).await.exits(0);
}

/// Each load makes and drops partitions of the changes.
#[tokio::test]
async fn a_role_that_may_make_no_partition_is_refused() {
    let mut case = Case::new().await;
    case.by_owner(&["migrate"]).await.exits(0);
    let said = case.refused().await;
    case.grant_all(&said).await;
    let followed = "[changes.tables]\nusers = [\"login\"]\n";
    (case.workdir).write("pipeline.toml", format!("{PIPELINE}{followed}"));
    let said = case.refused().await;
    for statement in [
        "`GRANT CREATE ON SCHEMA pipeline TO [ROLE]`",
        "`ALTER TABLE pipeline.change OWNER TO [ROLE]`",
    ] {
        assert!(said.contains(statement), "{statement}: {said}");
    }
    let mut found = findings(&said);
    assert!(found.all(|line| line.ends_with("take [changes] out of pipeline.toml")));
    case.grant("GRANT CREATE ON SCHEMA pipeline TO [ROLE]")
        .await;
    case.grant("ALTER TABLE pipeline.change OWNER TO [ROLE]")
        .await;
    case.workdir.cursus(SMALL).await.exits(0);
}

#[tokio::test]
async fn rights_on_tables_that_others_have_made_are_found() {
    let mut case = Case::new().await;
    case.by_owner(&["migrate"]).await.exits(0);
    let said = case.refused().await;
    assert!(
        said.contains("lacks USAGE on the schema pipeline; grant it with `GRANT USAGE ON SCHEMA pipeline TO [ROLE]`"),
        "{said}"
    );
    assert!(
        said.contains("lacks SELECT, INSERT, UPDATE, DELETE on "),
        "{said}"
    );
    // Also what derived statements of packs fill.
    assert!(said.contains("public.project_totals"), "{said}");
    case.grant_all(&said).await;
    case.workdir.cursus(SMALL).await.exits(0);
    let revoke = format!("REVOKE UPDATE ON users, campuses FROM {}", case.role);
    case.workdir.query(&revoke).await;
    let ran = case.workdir.cursus(["load"]).await.exits(1);
    let said = case.plain(&ran.stderr);
    assert!(
        said.contains("lacks UPDATE on public.campuses, public.users; grant it with `GRANT UPDATE ON public.campuses, public.users TO [ROLE]`"),
        "{said}"
    );
}

#[tokio::test]
async fn a_database_that_takes_no_writes_is_found() {
    let mut case = Case::new().await;
    case.by_owner(&["migrate"]).await.exits(0);
    case.grant("ALTER ROLE [ROLE] SUPERUSER").await;
    for setting in [
        "ALTER ROLE [ROLE] SET default_transaction_read_only = on",
        "ALTER DATABASE [DB] SET default_transaction_read_only = on",
        "ALTER ROLE [ROLE] IN DATABASE [DB] SET default_transaction_read_only = on",
    ] {
        case.grant(&format!(
            "{setting}; SET default_transaction_read_only = off"
        ))
        .await;
        let said = case.refused().await;
        let found: Vec<&str> = findings(&said).collect();
        assert_eq!(found.len(), 1, "{said}");
        assert!(
            found[0].starts_with(
                "every transaction of the role [ROLE] in the database [DB] is read only"
            ),
            "{said}"
        );
        case.grant_all(&said).await;
        case.workdir.cursus(["migrate"]).await.exits(0);
        case.grant("ALTER ROLE [ROLE] RESET ALL").await;
        case.grant("ALTER DATABASE [DB] RESET ALL; ALTER ROLE [ROLE] IN DATABASE [DB] RESET ALL")
            .await;
    }
}

#[tokio::test]
async fn limits_of_time_of_a_role_cut_no_load() {
    let case = Case::new().await;
    case.grant("GRANT ALL ON DATABASE [DB] TO [ROLE]; GRANT ALL ON SCHEMA public TO [ROLE]")
        .await;
    for limit in [
        "statement_timeout",
        "idle_in_transaction_session_timeout",
        "idle_session_timeout",
    ] {
        case.grant(&format!("ALTER ROLE [ROLE] SET {limit} = '300ms'"))
            .await;
    }
    case.workdir.pipeline(&[]);
    case.workdir
        .write("sql/users_campus.sql", "SELECT pg_sleep(1)");
    case.workdir.cursus(["run", "-q"]).await.exits(0);
    let ran = case.workdir.cursus(["doctor"]).await.exits(0);
    assert!(
        ran.stdout
            .contains("statement_timeout is 300 ms for this role; sessions that write set it to 0"),
        "{ran}"
    );
    // Questions are not given more time than the role has.
    let ran = case.workdir.cursus(["sql", "SELECT pg_sleep(60)"]).await;
    ran.exits(1).says("statement timeout");
}

#[tokio::test]
async fn what_is_in_the_way_of_a_migration_is_named() {
    let case = Case::new().await;
    case.grant("GRANT ALL ON DATABASE [DB] TO [ROLE]; GRANT ALL ON SCHEMA public TO [ROLE]")
        .await;
    case.workdir
        .query(
            "CREATE TABLE users (name text, secret text); CREATE VIEW cursus AS SELECT 1; CREATE TYPE campuses AS ENUM ('a'); \
             CREATE TABLE \"Mine\" (id int)",
        )
        .await;
    let said = case.refused().await;
    for (name, kind) in [("users", "TABLE"), ("cursus", "VIEW"), ("campuses", "TYPE")] {
        let expected = format!("public.{name} is in the way: ");
        assert!(said.contains(&expected), "{said}");
        let rename = format!("`ALTER {kind} public.{name} RENAME TO {name}_before`");
        assert!(said.contains(&rename), "{said}");
    }
    assert!(!said.contains("Mine") && !said.contains("lacks"), "{said}");
    assert_eq!(findings(&said).count(), 3, "{said}");
    case.grant_all(&said).await;
    case.grant("CREATE SCHEMA pipeline; CREATE TABLE pipeline.run (id int); GRANT ALL ON SCHEMA pipeline TO [ROLE]").await;
    let said = case.refused().await;
    assert!(
        said.contains("`ALTER SCHEMA pipeline OWNER TO [ROLE]`"),
        "{said}"
    );
    assert!(
        said.contains("pipeline.run is in the way: ")
            && said.contains("choose another database, or rename"),
        "{said}"
    );
    case.grant_all(&said).await;
    case.workdir.cursus(SMALL).await.exits(0);
}

#[tokio::test]
async fn migrations_of_another_program_are_recognised() {
    let case = Case::new().await;
    case.grant("GRANT ALL ON DATABASE [DB] TO [ROLE]; GRANT ALL ON SCHEMA public TO [ROLE]")
        .await;
    case.workdir
        .query(&format!(
            "CREATE TABLE refinery_schema_history (version int4 PRIMARY KEY, name varchar(255), applied_on varchar(255), checksum varchar(255)); \
             INSERT INTO refinery_schema_history VALUES (1, 'initial', '2026-01-01T00:00:00Z', '12345'); CREATE TABLE users (id int); \
             GRANT SELECT ON refinery_schema_history TO {}",
            case.role
        ))
        .await;
    let said = case.refused_plainly().await;
    assert!(
        said.contains("public.refinery_schema_history holds migrations of another program (such as V1__initial); choose another schema"),
        "{said}"
    );
    case.workdir
        .pipeline(&[("schema = \"public\"", "schema = \"mirror\"")]);
    case.workdir.cursus(SMALL).await.exits(0);
}

impl Case {
    /// The same for what is no list.
    async fn refused_plainly(&self) -> String {
        let ran = self.workdir.cursus(["run"]).await.exits(1);
        assert_eq!(self.simulator.statistics().requests, 0, "{ran}");
        self.workdir.cursus(["doctor"]).await.exits(1);
        self.plain(&ran.stderr)
    }
}

#[tokio::test]
async fn tables_of_others_that_a_delete_must_look_at_are_found() {
    let case = Case::new().await;
    case.grant("GRANT ALL ON DATABASE [DB] TO [ROLE]; GRANT ALL ON SCHEMA public TO [ROLE]")
        .await;
    case.workdir.cursus(["migrate"]).await.exits(0);
    case.workdir
        .query("CREATE SCHEMA app; CREATE TABLE app.visits (who bigint REFERENCES public.users, private text)")
        .await;
    let said = case.refused().await;
    let found: Vec<&str> = findings(&said).collect();
    assert_eq!(
        found,
        [
            "app.visits refers to public.users by the foreign key visits_who_fkey, and the role [ROLE] may not read it: no delete \
          could be checked; grant it with `GRANT USAGE ON SCHEMA app TO [ROLE]; GRANT SELECT ON app.visits TO [ROLE]`"
        ],
        "{said}"
    );
    // Of the column alone is enough.
    case.grant("GRANT USAGE ON SCHEMA app TO [ROLE]; GRANT SELECT (who) ON app.visits TO [ROLE]")
        .await;
    case.workdir.cursus(SMALL).await.exits(0);
}

#[tokio::test]
async fn policies_that_can_hide_rows_are_found() {
    let case = Case::new().await;
    case.grant("GRANT ALL ON DATABASE [DB] TO [ROLE]; GRANT ALL ON SCHEMA public TO [ROLE]")
        .await;
    case.workdir.cursus(["migrate"]).await.exits(0);
    // Its owner is not subject to them, unless they are forced on it.
    case.grant("ALTER TABLE users ENABLE ROW LEVEL SECURITY; ALTER TABLE pipeline.load ENABLE ROW LEVEL SECURITY").await;
    case.workdir.cursus(["doctor"]).await.exits(0);
    case.grant("ALTER TABLE users FORCE ROW LEVEL SECURITY; ALTER TABLE pipeline.load FORCE ROW LEVEL SECURITY").await;
    let said = case.refused().await;
    let found: Vec<&str> = findings(&said).collect();
    let expected = |table: &str| {
        format!(
            "row-level security of {table} applies to the role [ROLE] and can hide rows; take it off its owner with `ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY`"
        )
    };
    assert_eq!(found, [expected("pipeline.load"), expected("public.users")]);
    case.grant_all(&said).await;
    case.workdir.cursus(["doctor"]).await.exits(0);
    case.grant("ALTER TABLE users OWNER TO cursus; GRANT ALL ON users TO [ROLE]")
        .await;
    let said = case.refused().await;
    assert!(
        said.contains("let the role past it with `ALTER ROLE [ROLE] BYPASSRLS`"),
        "{said}"
    );
    case.grant_all(&said).await;
    case.workdir.cursus(SMALL).await.exits(0);
}

#[tokio::test]
async fn a_migration_of_somebody_elses_table_is_found() {
    let case = Case::new().await;
    case.grant("GRANT ALL ON DATABASE [DB] TO [ROLE]; GRANT ALL ON SCHEMA public TO [ROLE]")
        .await;
    case.workdir.cursus(["migrate"]).await.exits(0);
    case.grant("ALTER TABLE users OWNER TO cursus; GRANT ALL ON users TO [ROLE]")
        .await;
    case.workdir.cursus(["doctor"]).await.exits(0);
    case.workdir.pipeline(&[]);
    let text = "-- ALTER TABLE campuses\nALTER TABLE users ADD COLUMN mine text;";
    case.workdir
        .write("migrations/mirror/V1000__mine.sql", text);
    let said = case.refused().await;
    let found: Vec<&str> = findings(&said).collect();
    assert_eq!(
        found,
        [
            "public.users belongs to the role cursus, and a migration has still to change it; give it to the role [ROLE] with \
          `ALTER TABLE public.users OWNER TO [ROLE]`"
        ]
    );
    case.grant_all(&said).await;
    case.workdir.cursus(SMALL).await.exits(0);
}

/// Where the mirror is, as `status` says it.
async fn from(workdir: &Workdir) -> (String, String) {
    let ran = workdir.cursus(["status", "--json"]).await;
    let mirror = ran.json()["mirror"].clone();
    let text = |key: &str| mirror[key].as_str().unwrap().to_owned();
    (text("database"), text("from"))
}

#[tokio::test]
async fn what_says_where_the_mirror_is_goes_by_a_fixed_order() {
    let mut workdir = Workdir::new().await;
    let url = |name: &str| format!("postgres://me:canary@127.0.0.1:1/{name}?connect_timeout=1");
    workdir.unset(URL);
    let file = workdir.path("pipeline.toml").display().to_string();
    let dotenv = workdir.path(".env").display().to_string();
    // Nothing but the generic variable: it counts, also where the file is silent.
    workdir.set("DATABASE_URL", url("generic"));
    assert_eq!(
        from(&workdir).await,
        ("generic".to_owned(), "DATABASE_URL".to_owned())
    );
    let setting = "url = \"embedded\"";
    workdir.pipeline(&[(setting, "# silent")]);
    assert_eq!(from(&workdir).await.1, "DATABASE_URL");
    workdir.pipeline(&[]);
    let (database, source) = from(&workdir).await;
    assert_eq!(database, "cursus");
    assert!(source.starts_with(&format!("{file}:")), "{source}");
    let doctor = workdir.cursus(["doctor"]).await;
    assert!(
        doctor.stdout.contains("DATABASE_URL is set and not used: "),
        "{doctor}"
    );
    workdir.pipeline(&[(setting, &format!("url = \"{}\"", url("of_file")))]);
    assert_eq!(from(&workdir).await.0, "of_file");
    workdir.write(
        ".env",
        format!("CURSUS_DATABASE_URL={}\n", url("of_dotenv")),
    );
    let expected = format!("CURSUS_DATABASE_URL in {dotenv}");
    assert_eq!(from(&workdir).await, ("of_dotenv".to_owned(), expected));
    workdir.set(URL, url("of_process"));
    assert_eq!(
        from(&workdir).await,
        ("of_process".to_owned(), URL.to_owned())
    );
    let flag = url("of_flag");
    let ran = workdir.cursus(["status", "--database-url", &flag]).await;
    let expected =
        "mirror    127.0.0.1:1, database of_flag, schema public, role me (from --database-url)";
    assert!(ran.stdout.contains(expected), "{ran}");
    assert_eq!(
        ran.stderr.matches("is in the process list").count(),
        1,
        "{ran}"
    );
    assert!(
        !ran.to_string().replace(&flag, "").contains("canary"),
        "{ran}"
    );
}

#[tokio::test]
async fn the_first_line_of_a_run_says_where_the_mirror_is() {
    let simulator = simulator().await;
    let workdir = Workdir::with_empty_database(&simulator).await;
    let name = workdir.column("SELECT current_database()").await.remove(0);
    for command in ["run", "load"] {
        let ran = workdir.cursus([command, "--no-color"]).await;
        let first = ran.stderr.lines().next().unwrap();
        let expected =
            format!(", database {name}, schema public, role cursus (from CURSUS_DATABASE_URL)");
        assert!(
            first.contains(" mirror: ") && first.ends_with(&expected),
            "{ran}"
        );
    }
    let ran = workdir.cursus(["load", "--into", "past"]).await;
    assert!(
        ran.stderr.lines().next().unwrap().contains("schema past"),
        "{ran}"
    );
}
