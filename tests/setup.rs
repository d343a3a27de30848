//! From nothing to a directory that works: what `init` asks at a terminal, and what `doctor` checks.

use std::os::unix::fs::PermissionsExt;

use cursus_simulator::{Fault, FaultKind, Simulator};
use serde_json::Value;

use crate::support::dialogue::Dialogue;
use crate::support::files::Mount;
use crate::support::snapshot::assert_said;
use crate::support::workdir::{PIPELINE, url_at};
use crate::support::{Workdir, page_requests, simulator, testing};

/// The id, name and number of a campus, made the example of all.
fn lyon(simulator: &Simulator) -> i64 {
    let id = simulator.rows("campus")[2]["id"].as_i64().unwrap();
    simulator.set_field("campus", id, "name", "Lyon".into());
    simulator.set_field("campus", id, "users_count", 743.into());
    id
}

fn check<'d>(document: &'d Value, name: &str) -> &'d Value {
    let checks = document["checks"].as_array().unwrap();
    checks.iter().find(|check| check["name"] == name).unwrap()
}

fn notes(document: &Value, name: &str) -> String {
    let notes = check(document, name)["notes"].as_array().unwrap();
    let notes = notes.iter().map(|note| note.as_str().unwrap());
    notes.collect::<Vec<_>>().join("\n")
}

/// A directory that knows an API but has no keys yet, and no address of a database.
async fn nothing_yet(simulator: &Simulator) -> Workdir {
    let mut workdir = Workdir::with(simulator).await;
    for name in [
        "CURSUS_CLIENT_ID",
        "CURSUS_CLIENT_SECRET",
        "CURSUS_DATABASE_URL",
    ] {
        workdir.unset(name);
    }
    workdir
}

fn is_empty(workdir: &Workdir) -> bool {
    let names = std::fs::read_dir(workdir.path("")).unwrap().flatten();
    let mut names = names.map(|entry| entry.file_name());
    // The user's own directory of state, where requests are counted.
    names.all(|name| name == ".state")
}

#[tokio::test]
async fn doctor_says_what_the_ids_of_the_scope_are() {
    let simulator = simulator().await;
    let id = lyon(&simulator);
    let workdir = Workdir::with(&simulator).await;
    workdir.pipeline(&[("campus_ids = []", &format!("campus_ids = [{id}, \"{id}\"]"))]);
    let before = page_requests(&simulator);
    let document = workdir.json(["doctor"]).await;
    assert_eq!(page_requests(&simulator) - before, 2, "one a variable");
    assert_eq!(document["requests"]["pages"], 2);
    let said = notes(&document, "scope");
    let wanted = format!("campus {id} = Lyon, 743 students");
    assert_eq!(said.matches(&wanted).count(), 1, "{said}");
    assert!(said.contains("cursus 21 = "), "{said}");
    assert_eq!(check(&document, "scope")["state"], "ok");
    let order = document["checks"].as_array().unwrap().iter();
    let order: Vec<&str> = order.map(|check| check["name"].as_str().unwrap()).collect();
    assert_eq!(
        order,
        ["configuration", "files", "disk", "API", "scope", "database"]
    );
}

#[tokio::test]
async fn doctor_refuses_ids_that_do_not_exist() {
    let simulator = simulator().await;
    let id = lyon(&simulator);
    let workdir = Workdir::with(&simulator).await;
    for (campuses, cursus, missing) in [
        (format!("[{id}, 99999]"), "21", "no campus 99999"),
        ("[0]".to_owned(), "21", "no campus 0"),
        ("[-1]".to_owned(), "21", "no campus -1"),
        ("[\"Lyon\"]".to_owned(), "21", "no campus Lyon"),
        ("[]".to_owned(), "4242", "no cursus 4242"),
    ] {
        workdir.pipeline(&[
            ("campus_ids = []", &format!("campus_ids = {campuses}")),
            ("cursus_id = 21 ", &format!("cursus_id = {cursus} ")),
        ]);
        let document = workdir.json_exits(2, ["doctor"]).await;
        let said = notes(&document, "scope");
        assert!(
            said.contains(missing) && said.contains("pipeline.toml"),
            "{said}"
        );
        let is_named =
            said.contains(&format!("{id} (Lyon)")) || said.contains(&format!("campus {id} = Lyon"));
        assert!(is_named || missing.contains("cursus"), "{said}");
        assert_eq!(document["ok"], false);
    }
    workdir.pipeline(&[("campus_ids = []", "campus_ids = [99999]")]);
    let ran = workdir.cursus(["doctor"]).await;
    assert!(ran.stdout.contains("failed   scope "), "{ran}");
}

#[tokio::test]
async fn doctor_warns_where_ids_cannot_be_looked_up() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    workdir.pipeline(&[("campus_ids = []", "campus_ids = [99999]")]);
    simulator.inject(Fault::new("campus", FaultKind::Status { status: 403 }));
    let document = workdir.json(["doctor"]).await;
    assert_eq!(check(&document, "scope")["state"], "warning");
    assert!(notes(&document, "scope").contains("403"), "{document:#}");
    simulator.clear_faults();
    // A file without the section says so, and costs nothing.
    let without: String = (PIPELINE.lines())
        .filter(|line| !line.starts_with("[scope.lookup]") && !line.contains("{ noun = "))
        .flat_map(|line| [line, "\n"])
        .collect();
    workdir.write("pipeline.toml", without);
    let before = page_requests(&simulator);
    let document = workdir.json(["doctor"]).await;
    assert_eq!(page_requests(&simulator), before);
    assert!(notes(&document, "scope").contains("cursus_id = 21 (no [scope.lookup]"));
    workdir.pipeline(&[]);
    workdir.set("CURSUS_CLIENT_SECRET", "wrong");
    let document = workdir.json_exits(1, ["doctor"]).await;
    assert_eq!(check(&document, "scope")["state"], "warning");
    assert!(notes(&document, "scope").contains("was not looked up"));
    assert_eq!(
        document["requests"],
        serde_json::json!({"pages": 0, "tokens": 1})
    );
}

#[tokio::test]
async fn a_faulty_lookup_is_refused_with_its_line() {
    let workdir = Workdir::new().await;
    for (from, to, fault) in [
        (
            "campus_ids = { noun",
            "campus_idz = { noun",
            "[scope] has no `campus_idz`",
        ),
        (
            "path = \"/v2/campus\", name",
            "name",
            "the key `path` is missing",
        ),
        (
            "\"/v2/cursus\", name",
            "\"v2/cursus?a=b\", name",
            "without a query",
        ),
        (
            "name = \"/name\" }",
            "name = \"name\" }",
            "a JSON pointer starts with `/`",
        ),
        (
            "counts = \"student\"",
            "cuonts = \"student\"",
            "did you mean `counts`?",
        ),
        (
            "cursus_id = { noun = \"cursus\", path = \"/v2/cursus\", name = \"/name\" }",
            "cursus_id = 3",
            "is a table, not",
        ),
    ] {
        workdir.pipeline(&[(from, to)]);
        let ran = workdir.cursus(["doctor"]).await.exits(2).says(fault);
        assert!(ran.stderr.contains("pipeline.toml:"), "{ran}");
    }
}

#[tokio::test]
async fn doctor_warns_of_a_disk_with_little_room() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let Some(mount) = Mount::of(workdir.path("staging"), "size=20m,mode=700") else {
        return;
    };
    let document = workdir.json(["doctor"]).await;
    assert_eq!(check(&document, "disk")["state"], "warning");
    let said = notes(&document, "disk");
    assert!(
        said.contains("a full read should find 1.1 GB; make room"),
        "{said}"
    );
    assert!(said.contains("`cursus stage gc`"), "{said}");
    // It has bytes, and few inodes.
    mount.again("size=2g,nr_inodes=500");
    workdir.json(["run"]).await;
    let document = workdir.json(["doctor"]).await;
    assert_eq!(check(&document, "disk")["state"], "warning");
    let said = notes(&document, "disk");
    assert!(
        said.contains("a full read should find 1,000 files"),
        "{said}"
    );
    assert!(said.contains("the last full reads received "), "{said}");
    mount.again("size=2g,nr_inodes=50k");
    let ran = workdir.cursus(["doctor"]).await.exits(0);
    assert!(ran.stdout.contains("\nok       disk "), "{ran}");
}

#[tokio::test]
async fn without_a_terminal_init_asks_nothing() {
    let simulator = simulator().await;
    let workdir = nothing_yet(&simulator).await;
    let requests = simulator.statistics();
    let ran = workdir.cursus(["init"]).await.exits(0);
    assert!(ran.stdout.contains("must approve"), "{ran}");
    assert_eq!(
        std::fs::read_to_string(workdir.path("pipeline.toml")).unwrap(),
        PIPELINE
    );
    assert_eq!(simulator.statistics().hits, requests.hits);
    let workdir = nothing_yet(&simulator).await;
    let yes = ["init", "-y", "--scope", "campus_ids=9,12"];
    Dialogue::start(&workdir, &yes).end().await.exits(0);
    let text = std::fs::read_to_string(workdir.path("pipeline.toml")).unwrap();
    assert!(text.contains("\ncampus_ids = [9, 12]     "), "{text}");
    for (wrong, says) in [
        ("campus=9", "did you mean `campus_ids`"),
        ("campus_ids", "campus_ids=9,12"),
        ("campus_ids=9\"]", "an id is letters"),
        ("campus_ids=9,,2", "an id is letters"),
    ] {
        let ran = workdir.cursus(["init", "--force", "--scope", wrong]).await;
        ran.exits(2).says(says);
    }
    let ran = workdir.cursus(["init", "--scope", "campus_ids=1"]).await;
    ran.exits(2).says("is kept");
}

#[tokio::test]
async fn init_asks_tries_and_writes_what_works() {
    let simulator = simulator().await;
    let id = lyon(&simulator);
    let mut workdir = nothing_yet(&simulator).await;
    let socket = testing::cluster().await.socket_dir();
    let database = workdir.column("SELECT current_database()").await.remove(0);
    let mut init = Dialogue::start(&workdir, &["init"]);
    let uid = simulator.client_id();
    // A wrong secret, hostile ones, then the right one.
    init.answer("UID (empty: later): ", "s-s4t2ud-abc").await;
    init.until_it_shows("looks like the secret").await;
    init.answer("UID (empty: later): ", "u id").await;
    init.answer("UID (empty: later): ", uid).await;
    init.answer("secret (not shown): ", "s-wrong-secret").await;
    init.until_it_shows("does not accept the client id and secret")
        .await;
    init.answer("UID (empty: later): ", &format!("  {uid} "))
        .await;
    init.until_it_shows("secret (not shown): ").await;
    assert!(!init.echoes(), "the secret would be shown");
    init.press(b"\x1b[31m$(id)\n");
    init.until_it_shows("type it again").await;
    init.answer("secret (not shown): ", simulator.client_secret())
        .await;
    init.until_it_shows("the API accepts them").await;
    init.until_it_shows("must approve").await;
    assert!(init.echoes());
    // A campus by a wrong name, a wrong id, then by its name.
    init.answer("campus (ids or names", "Lyonn").await;
    init.until_it_shows(&format!("did you mean campus {id} = Lyon, 743 students?"))
        .await;
    init.answer("campus (ids or names", "99999, \"; DROP").await;
    init.until_it_shows("there is no campus 99999").await;
    init.answer("campus (ids or names", &format!("lyon, {id}"))
        .await;
    init.until_it_shows(&format!("campus {id} = Lyon, 743 students"))
        .await;
    init.answer("packs (names with commas", "").await;
    // A database that is not there, no URL, then the right one.
    init.answer(
        "URL such as",
        "postgres://me@127.0.0.1:1/mirror?connect_timeout=1",
    )
    .await;
    init.until_it_shows("cannot reach the database at 127.0.0.1:1")
        .await;
    init.answer("URL such as", "mirror").await;
    init.until_it_shows("malformed").await;
    assert!(is_empty(&workdir), "files come after the last answer");
    init.answer("URL such as", &url_at(socket, "cursus", &database))
        .await;
    init.until_it_shows("connected: PostgreSQL").await;
    let ran = init.end().await.exits(0);
    assert!(!ran.stdout.contains("s-wrong-secret"), "{ran}");
    assert!(!ran.stdout.contains(simulator.client_secret()), "{ran}");
    assert!(!ran.stdout.contains("put the application's UID"), "{ran}");
    assert!(
        ran.stdout
            .contains("1. the staff (bocal) of a campus must approve"),
        "{ran}"
    );
    let mode = workdir
        .path(".env")
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = std::fs::read_to_string(workdir.path("pipeline.toml")).unwrap();
    assert!(text.contains(&format!("\ncampus_ids = [{id}]  ")), "{text}");
    // All of it works as it stands.
    let document = workdir.json(["doctor"]).await;
    assert_eq!(document["ok"], true, "{document:#}");
    assert!(notes(&document, "scope").contains("Lyon, 743 students"));
    assert!(notes(&document, "database").contains(&database));
    workdir.set("CURSUS_CLIENT_SECRET", "wrong");
    // What is there is not asked for, and not touched.
    let before = std::fs::read(workdir.path(".env")).unwrap();
    let ran = Dialogue::start(&workdir, &["init"]).end().await.exits(0);
    assert!(!ran.stdout.contains("(empty: later)"), "{ran}");
    assert_eq!(std::fs::read(workdir.path(".env")).unwrap(), before);
}

#[tokio::test]
async fn init_offers_packs_with_their_cost() {
    let simulator = simulator().await;
    let id = lyon(&simulator);
    let workdir = Workdir::with(&simulator).await;
    let own = "[pack]\ndescription = \"clubs\"\nneeds = [\"events\"]\n";
    workdir.write("packs/clubs/pack.toml", own);
    let mut init = Dialogue::start(&workdir, &["init"]);
    init.answer("campus (ids or names", "lyon").await;
    for says in [
        "every 15 minutes, at 1,000 students",
        "clubs: clubs",
        "it does not say; `cursus pack ls` reckons them; with the packs events",
        "events: events of a campus",
        "about 150 requests a day; 290 for the first mirror; freshness: an hour",
        "locations: ",
        "about 580 requests a day; 6,000 for the first mirror; freshness: each run",
        "scale-teams: ",
        "needs the role Basic Staff",
    ] {
        init.until_it_shows(says).await;
    }
    // What is on by default is not offered.
    assert!(!init.shown().contains("skills: "), "{}", init.shown());
    init.answer("packs (names with commas", "locatons, teams")
        .await;
    init.until_it_shows("did you mean `locations`?").await;
    init.until_it_shows("no pack `teams` to turn on").await;
    init.answer("packs (names with commas", " clubs,locations, clubs")
        .await;
    init.until_it_shows("events is added: clubs needs it").await;
    init.end().await.exits(0);
    let text = std::fs::read_to_string(workdir.path("pipeline.toml")).unwrap();
    let packs = "\npacks = [\"clubs\", \"events\", \"locations\"] ";
    assert!(text.contains(packs), "{text}");
    assert!(text.contains(&format!("\ncampus_ids = [{id}]  ")), "{text}");
    let listed = workdir.json(["pack", "ls"]).await;
    let on = listed["packs"].as_array().unwrap().iter();
    let on: Vec<&str> = on
        .filter(|pack| pack["state"] == "on" && pack["is_default"] == false)
        .map(|pack| pack["name"].as_str().unwrap())
        .collect();
    assert_eq!(on, ["clubs", "events", "locations"]);
    // All campuses: nobody knows how many people that is. A scope that is given is not asked for.
    std::fs::remove_dir_all(workdir.path("packs")).unwrap();
    let mut init = Dialogue::start(&workdir, &["init", "--force", "--scope", "campus_ids=9"]);
    init.until_it_shows("about 75, 150 or 600 requests a day")
        .await;
    init.until_it_shows("about 22 requests a day; 150 for the first mirror")
        .await;
    init.answer("packs (names with commas", "").await;
    init.end().await.exits(0);
    let text = std::fs::read_to_string(workdir.path("pipeline.toml")).unwrap();
    assert!(!text.contains("\npacks = "), "{text}");
}

#[tokio::test]
async fn init_without_answers_writes_the_template() {
    let simulator = simulator().await;
    let workdir = nothing_yet(&simulator).await;
    let mut init = Dialogue::start(&workdir, &["init"]);
    init.answer("UID (empty: later): ", "").await;
    init.answer("campus (ids with commas", "Lyon").await;
    init.until_it_shows("`Lyon` is no number").await;
    init.answer("campus (ids with commas", "").await;
    init.answer("packs (names with commas", "").await;
    init.answer("URL such as", "").await;
    let ran = init.end().await.exits(0);
    assert_said("init_without_answers", &workdir, &ran);
    assert_eq!(
        std::fs::read_to_string(workdir.path("pipeline.toml")).unwrap(),
        PIPELINE
    );
    assert_eq!(page_requests(&simulator), 0);
}

#[tokio::test]
async fn interrupted_init_leaves_nothing_and_the_echo_on() {
    let simulator = simulator().await;
    for (key, code) in [(&b"\x03"[..], 130), (b"\x04", 2)] {
        let workdir = nothing_yet(&simulator).await;
        let mut init = Dialogue::start(&workdir, &["init"]);
        init.answer("UID (empty: later): ", simulator.client_id())
            .await;
        init.until_it_shows("secret (not shown): ").await;
        init.press(key);
        let master = init.copy_of_master();
        let ran = init.end().await.exits(code);
        assert!(ran.stdout.contains("nothing"), "{ran}");
        assert!(Dialogue::echoes_at(&master), "{ran}");
        assert!(is_empty(&workdir), "{ran}");
    }
}
