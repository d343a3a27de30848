//! `serve`: who gets an answer, and what pages show when the mirror is empty, hostile, away or under work.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::running::until;
use crate::support::workdir::{NO_DATABASE, PATIENCE};
use crate::support::{Running, Site, Workdir, simulator};

const SELECT: [&str; 3] = ["run", "--select", "cursus,users"];
const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const PAGES: [&str; 6] = [
    "/",
    "/runs",
    "/decisions",
    "/changes",
    "/history",
    "/campus",
];
const DOCUMENTS: [&str; 6] = [
    "/api/status.json",
    "/api/check.json",
    "/api/runs.json",
    "/api/decisions.json",
    "/api/changes.json",
    "/api/campus.json",
];

#[tokio::test]
async fn pages_and_documents_show_the_mirror() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    let ran = workdir.json(SELECT).await;
    let run = ran["run_id"].as_str().unwrap();
    let requests = simulator.statistics().requests;
    let site = Site::of(&workdir).await;
    for path in PAGES {
        let page = site.page(path).await;
        assert!(page.contains("aria-current=\"page\""), "{path}");
        assert_eq!(page.matches("<h1>").count(), 1, "{path}");
        assert!(
            !page.contains(" style=") && !page.contains("<style"),
            "{path}"
        );
        for source in page.split("src=\"").chain(page.split("href=\"")).skip(1) {
            let is_own = source.starts_with(['/', '#']) && !source.starts_with("//");
            assert!(
                is_own || source.starts_with("<!DOCTYPE"),
                "{path}: {source:.40}"
            );
        }
    }
    let page = site.page("/").await;
    assert!(
        page.contains("The last run was <strong>complete</strong>"),
        "{page}"
    );
    assert!(page.contains(&format!("href=\"/runs/{run}\"")), "{page}");
    let page = site.page(&format!("/runs/{run}")).await;
    assert!(
        page.contains("users") && page.contains("complete"),
        "{page}"
    );
    assert!(
        site.page("/decisions")
            .await
            .contains("Nothing waits for a decision")
    );
    // The same documents as those of the commands.
    let mut runs = site.document("/api/runs.json").await;
    assert_eq!(runs, workdir.json(["runs"]).await);
    runs = site.document(&format!("/api/runs/{run}.json")).await;
    assert_eq!(runs, workdir.json(["runs", run]).await);
    let status = site.document("/api/status.json").await;
    assert_eq!(
        status["last_run"],
        workdir.json(["status"]).await["last_run"]
    );
    let check = site.document("/api/check.json").await;
    assert_eq!(check["state"], "WARNING", "most was never read: {check}");
    let metrics = site.page("/metrics").await;
    assert!(
        metrics.contains("cursus_resource_rows{resource=\"users\",read=\"\"}"),
        "{metrics}"
    );
    assert_eq!(site.page("/readyz").await, "WARNING\n");
    assert_eq!(site.page("/healthz").await, "ok\n");
    assert_eq!(
        simulator.statistics().requests,
        requests,
        "the API was asked"
    );
}

#[tokio::test]
async fn a_page_is_there_before_it_was_read_and_fills_itself() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(SELECT).await;
    let site = Site::of(&workdir).await;
    site.page("/").await;
    // The queries of the page wait for the one who changes the table.
    let lock = "BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE";
    workdir.client.batch_execute(lock).await.unwrap();
    let first = site.client.get(format!("{}/campus", site.url));
    let first = first.send().await.unwrap();
    assert_eq!(first.status(), 503);
    assert_eq!(first.headers()["retry-after"], "1");
    let text = first.text().await.unwrap();
    for part in [
        "was not read yet",
        "<noscript><meta http-equiv=\"refresh\" content=\"1\"></noscript>",
        " data-awaited",
        "href=\"/campus\"",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // Other pages wait for nothing.
    site.page("/runs").await;
    workdir.client.batch_execute("COMMIT").await.unwrap();
    let page = site.page("/campus").await;
    assert!(
        page.contains("At a glance") && !page.contains("<noscript>"),
        "{page}"
    );
}

#[tokio::test]
async fn an_empty_directory_has_pages_that_say_what_to_do() {
    let workdir = Workdir::new().await;
    let mut workdir = workdir;
    workdir.unset("CURSUS_DATABASE_URL");
    let site = Site::of(&workdir).await;
    for path in PAGES {
        let page = site.page(path).await;
        assert!(
            path == "/decisions" || page.contains("cursus run"),
            "{path}: {page}"
        );
    }
    assert!(
        !workdir.path(".cursus/pg").exists(),
        "a page made a database"
    );
    for path in DOCUMENTS {
        let status = site.status(path, &[]).await;
        let is_known = !["/api/campus.json", "/api/changes.json"].contains(&path);
        assert_eq!(status == 200, is_known, "{path}: {status}");
    }
}

#[tokio::test]
async fn unknown_pages_and_runs_are_404_with_a_way_back() {
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(SELECT).await;
    let site = Site::of(&workdir).await;
    for path in [
        "/nothing",
        "/runs/nothing",
        "/runs/latest",
        "/runs/%3Cscript%3E",
        "/runs/..%2F..%2Fetc",
        "/runs/%FF",
        "/style-0000.css",
    ] {
        let answer = site.ask(Method::GET, path, &[]).await;
        assert_eq!(answer.status(), 404, "{path}");
        let page = answer.text().await.unwrap();
        assert!(
            page.contains("<a href=\"/\">") || page.contains("<a href=\"/runs\">"),
            "{path}"
        );
        assert!(!page.contains("<script>"), "{path}");
    }
    for path in ["/api/nothing.json", "/api/runs/nothing.json", "/api/runs/x"] {
        let answer = site.ask(Method::GET, path, &[]).await;
        assert_eq!(answer.status(), 404, "{path}");
        let document: Value = serde_json::from_str(&answer.text().await.unwrap()).unwrap();
        assert!(document["errors"][0].is_string(), "{path}");
    }
}

#[tokio::test]
async fn every_answer_has_the_headers_that_protect_it() {
    let workdir = Workdir::new().await;
    let site = Site::of(&workdir).await;
    let page = site.page("/").await;
    let files = page
        .split("href=\"")
        .skip(1)
        .filter_map(|rest| rest.split_once('"'));
    let style = files
        .map(|(path, _)| path)
        .find(|path| path.starts_with("/style-"));
    for (path, kept) in [
        ("/", "no-store"),
        ("/nothing", "no-store"),
        ("/api/status.json", "no-store"),
        ("/healthz", "no-store"),
        (style.unwrap(), "public, max-age=31536000, immutable"),
    ] {
        let answer = site.ask(Method::GET, path, &[]).await;
        let headers: HeaderMap = answer.headers().clone();
        let of = |name: &str| headers[name].to_str().unwrap().to_owned();
        let policy = of("content-security-policy");
        for part in [
            "default-src 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
            "form-action 'self'",
        ] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(of("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(of("referrer-policy"), "same-origin", "{path}");
        assert_eq!(of("cross-origin-opener-policy"), "same-origin", "{path}");
        assert_eq!(of("cross-origin-resource-policy"), "same-origin", "{path}");
        assert_eq!(of("cache-control"), kept, "{path}");
    }
}

#[tokio::test]
async fn other_hosts_sites_and_methods_get_no_page() {
    let workdir = Workdir::new().await;
    let site = Site::with(&workdir, &["--host", "mirror.example.org"]).await;
    let port = site.address().split_once(':').unwrap().1.to_owned();
    for (headers, expected) in [
        (vec![("host", "localhost")], 200),
        (vec![("host", "mirror.example.org")], 200),
        (vec![("host", "evil.example.org")], 421),
        (vec![("host", "127.0.0.1.evil.example.org")], 421),
        (vec![("sec-fetch-site", "none")], 200),
        (vec![("sec-fetch-site", "same-origin")], 200),
        (vec![("sec-fetch-site", "cross-site")], 403),
        (vec![("sec-fetch-site", "same-site")], 403),
        (vec![("origin", "http://evil.example.org")], 403),
        (vec![("origin", "null")], 403),
    ] {
        for path in ["/", "/campus", "/api/status.json", "/metrics", "/healthz"] {
            let status = site.status(path, &headers).await;
            let is_other = expected == 200 && path == "/campus";
            assert!(
                status == expected || is_other && status == 503,
                "{path} {headers:?}: {status}"
            );
        }
    }
    let own = format!("http://127.0.0.1:{port}");
    assert_eq!(site.status("/", &[("origin", &own)]).await, 200);
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        for path in ["/", "/runs", "/api/status.json"] {
            let answer = site.ask(method.clone(), path, &[]).await;
            assert_eq!(answer.status(), 405, "{method} {path}");
            assert_eq!(answer.headers()["allow"], "GET, HEAD");
        }
    }
    let head = site.ask(Method::HEAD, "/", &[]).await;
    assert_eq!(head.status(), 200);
    assert_eq!(head.text().await.unwrap(), "");
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", "421"),
        (
            "GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
            "421",
        ),
        (
            "GET http://evil.example.org/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "421",
        ),
        ("GET / HTTP/1.0\r\n\r\n", "421"),
        ("nonsense\r\n\r\n", "400"),
        (
            "GET HTTP://LOCALHOST/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "200",
        ),
        (
            "GET http://x@localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
            "421",
        ),
    ] {
        let answer = site.raw(request.as_bytes()).await;
        let found = answer.split(' ').nth(1);
        assert_eq!(found, Some(status), "{request:?}: {answer:.60}");
    }
    let long = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n",
        "x".repeat(100_000)
    );
    let answer = site.raw(long.as_bytes()).await;
    assert!(
        answer.is_empty() || answer.contains(" 431 "),
        "{answer:.60}"
    );
}

fn token_file(workdir: &Workdir, token: &str) {
    let path = workdir.path("token");
    workdir.write("token.new", format!("{token}\n"));
    std::fs::set_permissions(workdir.path("token.new"), PermissionsExt::from_mode(0o600)).unwrap();
    std::fs::rename(workdir.path("token.new"), path).unwrap();
}

#[tokio::test]
async fn with_a_token_file_nothing_but_health_is_open() {
    let workdir = Workdir::new().await;
    token_file(&workdir, TOKEN);
    let mut site = Site::with(&workdir, &["--token-file", "token"]).await;
    let bearer = format!("Bearer {TOKEN}");
    let wrong = format!("Bearer {}", TOKEN.replace('0', "1"));
    let all = PAGES.iter().chain(&DOCUMENTS);
    let all: Vec<&str> = all
        .copied()
        .chain(["/metrics", "/readyz", "/nothing"])
        .collect();
    for path in &all {
        for headers in [
            vec![],
            vec![("authorization", wrong.as_str())],
            vec![("authorization", TOKEN)],
            vec![("cookie", "cursus_session=")],
            vec![("cookie", "cursus_session=0000")],
        ] {
            assert_eq!(site.status(path, &headers).await, 401, "{path} {headers:?}");
        }
        let status = site.status(path, &[("authorization", &bearer)]).await;
        assert_ne!(status, 401, "{path}");
    }
    assert_eq!(site.status("/healthz", &[]).await, 200);
    // The form.
    let log_in = async |token: &str, headers: &[(&str, &str)]| {
        let body = format!("token={token}&to=%2Fruns");
        let mut request = site.client.post(format!("{}/login", site.url)).body(body);
        request = request.header("content-type", "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send().await.unwrap()
    };
    assert_eq!(log_in("wrong", &[]).await.status(), 401);
    assert_eq!(
        log_in(TOKEN, &[("origin", "http://evil.example.org")])
            .await
            .status(),
        403
    );
    let answer = log_in(TOKEN, &[("origin", &site.url)]).await;
    assert_eq!(
        (answer.status(), &answer.headers()["location"]),
        (StatusCode::SEE_OTHER, &HeaderValue::from_static("/runs"))
    );
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(
        cookie.contains("; HttpOnly") && cookie.contains("; SameSite=Strict"),
        "{cookie}"
    );
    assert!(!cookie.contains(TOKEN), "the cookie is the token");
    let cookie = cookie.split(';').next().unwrap().to_owned();
    assert_eq!(site.status("/", &[("cookie", &cookie)]).await, 200);
    // As a password, for calendar programs: it opens no page, and is not in the way of a session.
    let basic = async |path: &str, password: &str| {
        let request = site.client.get(format!("{}{path}", site.url));
        let request = request.basic_auth("anybody", Some(password));
        request.send().await.unwrap()
    };
    assert_ne!(basic("/calendar.ics", TOKEN).await.status(), 401);
    assert_eq!(basic("/runs", TOKEN).await.status(), 401);
    let answer = basic("/calendar.ics", "wrong").await;
    assert_eq!(answer.status(), 401);
    let asked = answer.headers()["www-authenticate"].to_str().unwrap();
    assert!(asked.starts_with("Basic "), "{asked}");
    let both = [("cookie", cookie.as_str()), ("authorization", "Basic eDp5")];
    assert_eq!(site.status("/runs", &both).await, 200);
    // Another token counts at once, and ends the sessions of the old one.
    let other = TOKEN.repeat(2);
    token_file(&workdir, &other);
    assert_eq!(site.status("/", &[("cookie", &cookie)]).await, 401);
    assert_eq!(site.status("/", &[("authorization", &bearer)]).await, 401);
    assert_eq!(
        site.status("/", &[("authorization", &format!("Bearer {other}"))])
            .await,
        200
    );
    std::fs::remove_file(workdir.path("token")).unwrap();
    assert_eq!(site.status("/", &[("authorization", &bearer)]).await, 503);
    site.process.kill().await.unwrap();
}

#[tokio::test]
async fn an_address_or_token_file_that_is_not_safe_is_refused() {
    let workdir = Workdir::new().await;
    let serve = async |more: &[&str]| workdir.cursus([&["serve"], more].concat()).await;
    serve(&["--listen", "0.0.0.0:0"])
        .await
        .exits(2)
        .says("--token-file");
    for listen in ["nonsense", "127.0.0.1", "example.org:80", "127.0.0.1:99999"] {
        serve(&["--listen", listen])
            .await
            .exits(2)
            .says("127.0.0.1:4280");
    }
    serve(&["--host", "http://x/"])
        .await
        .exits(2)
        .says("without scheme");
    let with_token = async || serve(&["--listen", "127.0.0.1:0", "--token-file", "token"]).await;
    with_token().await.exits(2).says("does not exist");
    for (token, says) in [
        ("short", "fewer than 32 characters"),
        ("", "fewer than 32 characters"),
        (&TOKEN.repeat(200), "more than 4096 bytes"),
        (
            "two words that are long enough to be a token",
            "more than one word",
        ),
    ] {
        token_file(&workdir, token);
        with_token().await.exits(2).says(says);
    }
    token_file(&workdir, TOKEN);
    for mode in [0o644, 0o640, 0o604, 0o620] {
        std::fs::set_permissions(workdir.path("token"), PermissionsExt::from_mode(mode)).unwrap();
        with_token()
            .await
            .exits(2)
            .says("the token file is not used");
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = serve(&["--listen", &address]).await.exits(1);
    let ran = ran.says("cannot listen on").says("another program has it");
    assert!(ran.stderr.contains(&address), "{ran}");
}

/// A form that is never sent to its end.
const FORM: &str = "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n\
    Content-Length: 100\r\n\r\ntoken=";

#[tokio::test]
async fn slow_clients_hold_up_nobody() {
    let workdir = Workdir::new().await;
    let site = Site::of(&workdir).await;
    site.page("/").await;
    for begun in ["GET / HTTP/1.1\r\nHost: localh", FORM] {
        let mut slow = Vec::new();
        for _ in 0..200 {
            let mut stream = TcpStream::connect(site.address()).await.unwrap();
            let _ = stream.write_all(begun.as_bytes()).await;
            slow.push(stream);
        }
        // Two hundred have more than all places; they are dropped.
        let answer = tokio::time::timeout(Duration::from_secs(25), site.page("/")).await;
        assert!(answer.is_ok(), "a page waits for slow clients: {begun}");
        for mut stream in slow {
            let mut rest = Vec::new();
            let closed = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut rest)).await;
            assert!(closed.is_ok(), "a slow client is never dropped: {begun}");
        }
    }
}

#[tokio::test]
async fn a_database_that_goes_away_is_said_and_comes_back() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    workdir.json(SELECT).await;
    // The project's own variable, so that it can change while pages are served.
    let url = workdir.variable("CURSUS_DATABASE_URL").to_owned();
    workdir.unset("CURSUS_DATABASE_URL");
    workdir.write(".env", format!("CURSUS_DATABASE_URL=\"{url}\"\n"));
    let site = Site::of(&workdir).await;
    assert_eq!(site.page("/readyz").await, "WARNING\n");
    for path in PAGES {
        assert!(
            !site.page(path).await.contains("cannot be read since"),
            "{path}"
        );
    }
    workdir.write(".env", format!("CURSUS_DATABASE_URL={NO_DATABASE}\n"));
    for path in PAGES {
        let says = async || {
            let page = site.page(path).await;
            page.contains("The mirror cannot be read since")
                && page.contains("It is tried again by itself")
        };
        until(&format!("{path} says that the database is away"), says).await;
    }
    assert_eq!(site.status("/readyz", &[]).await, 503);
    assert_eq!(site.status("/healthz", &[]).await, 200);
    assert!(
        site.page("/").await.contains("complete"),
        "what is known stays"
    );
    workdir.write(".env", format!("CURSUS_DATABASE_URL=\"{url}\"\n"));
    for path in PAGES {
        let is_back = async || !site.page(path).await.contains("cannot be read since");
        until(&format!("{path} comes back by itself"), is_back).await;
    }
    until("it is ready again", async || {
        site.status("/readyz", &[]).await == 200
    })
    .await;
}

#[tokio::test]
async fn a_private_database_is_kept_up_and_restarted_beside_runs() {
    let simulator = simulator().await;
    let mut workdir = Workdir::with(&simulator).await;
    workdir.unset("CURSUS_DATABASE_URL");
    let site = Site::of(&workdir).await;
    site.page("/").await;
    // The first run makes the database while pages are served.
    workdir.json(SELECT).await;
    let is_complete = async || site.page("/").await.contains("<strong>complete</strong>");
    until("the page shows the run", is_complete).await;
    let pid = workdir.path(".cursus/pg/data/postmaster.pid");
    let is_up = async || site.page("/decisions").await.contains("Nothing waits") && pid.exists();
    until("the server is kept up", is_up).await;
    // A load takes its locks beside the pages.
    workdir
        .json(["run", "--select", "cursus,users", "--full"])
        .await;
    let text = std::fs::read_to_string(&pid).unwrap();
    let postmaster: i32 = text.lines().next().unwrap().parse().unwrap();
    kill(Pid::from_raw(postmaster), Signal::SIGKILL).unwrap();
    let is_new = async || {
        let page = site.page("/").await;
        let text = std::fs::read_to_string(&pid).unwrap_or_default();
        let is_other = text
            .lines()
            .next()
            .is_some_and(|line| line.parse() != Ok(postmaster));
        is_other && !page.contains("cannot be read since")
    };
    until("a new server was started", is_new).await;
    assert!(site.page("/").await.contains("<strong>complete</strong>"));
}

#[tokio::test]
async fn hostile_names_are_text_on_every_page() {
    const HOSTILE: &str = "<script>alert(1)</script>\" onload='x' \u{202e}drow";
    let simulator = simulator().await;
    let workdir = Workdir::with(&simulator).await;
    workdir.json(SELECT).await;
    let log = workdir.path("staging/.commands.jsonl");
    let text = std::fs::read_to_string(&log).unwrap();
    let mut record: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    record["run_id"] = HOSTILE.into();
    record["command"] = HOSTILE.repeat(3).into();
    record["outcome"] = HOSTILE.into();
    record["error"] = (HOSTILE.to_owned() + &"x".repeat(10_000)).into();
    let mut lines = text;
    lines.extend(std::iter::repeat_n(format!("{record}\n"), 100));
    std::fs::write(&log, lines).unwrap();
    let schema = "INSERT INTO pipeline.drift (schema_name, run_id, resource, path, kind) \
        SELECT nspname, $$X$$, $$X$$, $$X$$, 'new' FROM pg_namespace WHERE nspname = 'public'";
    let quoted = HOSTILE.replace('\u{202e}', "");
    workdir
        .query(&schema.replace("$$X$$", &format!("$x${quoted}$x$")))
        .await;
    let site = Site::of(&workdir).await;
    let mut paths: Vec<String> = PAGES.map(str::to_owned).to_vec();
    let encoded: String = HOSTILE.bytes().map(|byte| format!("%{byte:02X}")).collect();
    paths.push(format!("/runs/{encoded}"));
    for path in paths {
        let page = site.page(&path).await;
        assert!(!page.contains("<script>"), "{path}: {page}");
        assert!(!page.contains("\" onload="), "{path}: {page}");
        assert!(!page.contains('\u{202e}'), "{path}");
    }
    assert!(site.page("/runs").await.contains("&lt;script&gt;"));
}

#[tokio::test]
async fn a_signal_ends_it_at_once_and_quietly() {
    let workdir = Workdir::new().await;
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut site = Site::of(&workdir).await;
        site.page("/").await;
        let _open = TcpStream::connect(site.address()).await.unwrap();
        let pid = i32::try_from(site.process.id().unwrap()).unwrap();
        kill(Pid::from_raw(pid), signal).unwrap();
        let ended = tokio::time::timeout(PATIENCE, site.process.wait()).await;
        assert_eq!(ended.unwrap().unwrap().code(), Some(0));
        let mut running = Running::start(&workdir, &["serve", "--listen", "127.0.0.1:0"]);
        running.until_it_says("serving http://").await;
        running.signal(signal);
        let ran = running.end().await.exits(0);
        assert_eq!(ran.stderr.lines().count(), 1, "{ran}");
    }
}
