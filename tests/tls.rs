//! The way to the database: encrypted as `sslmode` asks for, with a password that nobody hears of, or a sentence.

use std::fmt::Write as _;

use tokio::io::AsyncWriteExt;

use crate::bad_input::{PASSWORD, refusal};
use crate::support::protocol::Message;
use crate::support::server::{Authority, Server, USER};
use crate::support::snapshot::assert_text;
use crate::support::{Workdir, boxes, simulator};

const URL: &str = "CURSUS_DATABASE_URL";
const LOCALHOST: &str = "localhost";
/// A password that stands between quotes.
const SPACED: &str = "two  spaces' quote";

/// A server with a certificate for `localhost`, and `root.crt` and `other.crt` in the working directory: its authority's, and that
/// of another one. None if PostgreSQL was built without TLS, of which the other tests of this module tell.
async fn server_with_tls(workdir: &Workdir) -> Option<Server> {
    let authority = Authority::new("root");
    workdir.write("root.crt", authority.certificate());
    workdir.write("other.crt", Authority::new("other").certificate());
    Server::start(PASSWORD, Some(&authority.identity(LOCALHOST))).await
}

fn with_root(workdir: &Workdir, mode: &str, root: &str) -> String {
    let root = workdir.path(root).display().to_string();
    format!("&sslmode={mode}&sslrootcert={}", root.replace('/', "%2F"))
}

/// Whether the session of a command is encrypted.
async fn is_encrypted(workdir: &Workdir) -> bool {
    let own = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    let rows = workdir.json(["sql", own]).await;
    rows[0]["ssl"].as_bool().unwrap()
}

#[tokio::test]
async fn every_sslmode_encrypts_as_it_says() {
    let mut workdir = Workdir::new().await;
    let Some(server) = server_with_tls(&workdir).await else {
        return;
    };
    let root = |mode| with_root(&workdir, mode, "root.crt");
    let modes = [
        (String::new(), LOCALHOST, true),
        ("&sslmode=disable".to_owned(), LOCALHOST, false),
        ("&sslmode=prefer".to_owned(), LOCALHOST, true),
        ("&sslmode=require".to_owned(), LOCALHOST, true),
        (root("require"), "127.0.0.1", true),
        (root("verify-ca"), "127.0.0.1", true),
        (root("verify-full"), LOCALHOST, true),
    ];
    for (query, host, expected) in modes {
        let url = server.url(host, PASSWORD, &query);
        workdir.set(URL, url);
        assert_eq!(is_encrypted(&workdir).await, expected, "{host} {query}");
    }
}

#[tokio::test]
async fn a_mirror_is_made_over_a_verified_connection() {
    let simulator = simulator().await;
    let mut workdir = boxes::with_empty_database().await;
    workdir.use_api(&simulator);
    let Some(server) = server_with_tls(&workdir).await else {
        return;
    };
    boxes::three_runs(&workdir);
    let query = with_root(&workdir, "verify-full", "root.crt");
    workdir.unset(URL);
    workdir.set("DATABASE_URL", server.url(LOCALHOST, PASSWORD, &query));
    for command in ["migrate", "load", "doctor"] {
        let ran = workdir.cursus([command, "-vv"]).await.exits(0);
        assert!(!ran.to_string().contains(PASSWORD), "{ran}");
    }
    let rows = workdir.json(["sql", "SELECT count(*) FROM things"]).await;
    assert_eq!(rows[0]["count"], 12);
}

#[tokio::test]
async fn a_server_that_is_not_who_it_should_be_hears_no_password() {
    let mut workdir = Workdir::new().await;
    let Some(server) = server_with_tls(&workdir).await else {
        return;
    };
    let mut all = String::new();
    let other = |mode| with_root(&workdir, mode, "other.crt");
    let cases = [
        ("other root, require", LOCALHOST, other("require"), 1),
        ("other root, verify-ca", LOCALHOST, other("verify-ca"), 1),
        (
            "other root, verify-full",
            LOCALHOST,
            other("verify-full"),
            1,
        ),
        (
            "roots of the system",
            LOCALHOST,
            "&sslmode=verify-full".to_owned(),
            1,
        ),
        (
            "other name, verify-full",
            "127.0.0.1",
            with_root(&workdir, "verify-full", "root.crt"),
            1,
        ),
        (
            "no root",
            LOCALHOST,
            with_root(&workdir, "verify-ca", "none.crt"),
            2,
        ),
        (
            "empty root",
            LOCALHOST,
            with_root(&workdir, "verify-ca", "pipeline.toml"),
            2,
        ),
        ("no such mode", LOCALHOST, "&sslmode=always".to_owned(), 2),
    ];
    workdir.write("pipeline.toml", crate::support::workdir::PIPELINE);
    for (case, host, query, code) in cases {
        workdir.set(URL, server.url(host, PASSWORD, &query));
        let said = refusal(&workdir, &["migrate"], code).await;
        writeln!(all, "{case}: {}", said.trim()).unwrap();
    }
    let all = all.replace(&format!(":{}", server.port), ":[PORT]");
    assert_text("tls_refused", &workdir, &all);
}

#[tokio::test]
async fn key_value_pairs_are_read_as_libpq_reads_them() {
    let mut workdir = Workdir::new().await;
    let plain = Server::start(SPACED, None).await.unwrap();
    let pairs = |server: &Server, rest: &str| {
        let (port, password) = (server.port, SPACED.replace('\'', r"\'"));
        format!(
            "host = {LOCALHOST} port={port} user={USER} dbname=postgres password='{password}' {rest}"
        )
    };
    workdir.set(URL, pairs(&plain, "sslmode = disable"));
    assert!(!is_encrypted(&workdir).await);
    for rest in [
        "sslmode = require",
        "sslmode= 'require'",
        "sslmode\n=require",
    ] {
        workdir.set(URL, pairs(&plain, rest));
        let said = refusal(&workdir, &["migrate"], 1).await;
        assert!(said.contains("no encrypted connection"), "{said}");
    }

    let authority = Authority::new("root");
    workdir.write("my certs/root.crt", authority.certificate());
    let identity = authority.identity(LOCALHOST);
    let Some(server) = Server::start(SPACED, Some(&identity)).await else {
        return;
    };
    let root = workdir.path("my certs/root.crt").display().to_string();
    workdir.set(
        URL,
        pairs(
            &server,
            &format!("sslmode = verify-full sslrootcert='{root}'"),
        ),
    );
    assert!(is_encrypted(&workdir).await);
}

#[tokio::test]
async fn server_without_tls_is_accepted_only_if_the_url_allows() {
    let mut workdir = Workdir::new().await;
    let server = Server::start(PASSWORD, None).await.unwrap();
    for mode in ["disable", "prefer"] {
        workdir.set(
            URL,
            server.url(LOCALHOST, PASSWORD, &format!("&sslmode={mode}")),
        );
        assert!(!is_encrypted(&workdir).await);
    }
    let mut all = String::new();
    workdir.write("root.crt", Authority::new("other").certificate());
    for mode in ["require", "verify-ca", "verify-full"] {
        let query = with_root(&workdir, mode, "root.crt");
        workdir.set(URL, server.url(LOCALHOST, PASSWORD, &query));
        let said = refusal(&workdir, &["migrate"], 1).await;
        writeln!(all, "{mode}: {}", said.trim()).unwrap();
    }
    // Through SCRAM, the password that is wrong and the one that is missing.
    let wrong = server.url(LOCALHOST, &format!("{PASSWORD}-not"), "");
    let missing = server.url(LOCALHOST, "", "").replace(":@", "@");
    for (case, url) in [("wrong password", wrong), ("no password", missing)] {
        workdir.set(URL, url);
        let said = refusal(&workdir, &["migrate"], 1).await;
        writeln!(all, "{case}: {}", said.trim()).unwrap();
    }
    let all = all.replace(&format!(":{}", server.port), ":[PORT]");
    assert_text("tls_missing", &workdir, &all);
}

/// A server that takes no encryption and asks for the password in its own way; gives what it received, as long as nobody hangs up.
async fn asks_for(code: u32) -> (u16, tokio::sync::mpsc::UnboundedReceiver<Message>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (output, heard) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let output = output.clone();
            tokio::spawn(async move {
                let first = Message::first(&mut client).await?;
                if first.asks_for_tls() {
                    client.write_all(b"N").await.ok()?;
                    Message::first(&mut client).await?;
                }
                let mut body = code.to_be_bytes().to_vec();
                if code == MD5 {
                    body.extend(b"salt");
                }
                // In pieces, as a network may bring it.
                for byte in Message::new(b'R', &body).bytes {
                    client.write_all(&[byte]).await.ok()?;
                    client.flush().await.ok()?;
                }
                output.send(Message::read(&mut client).await?).ok()?;
                let refusal = Message::refusal("28P01");
                client.write_all(&refusal.bytes).await.ok()
            });
        }
    });
    (port, heard)
}

const OK: u32 = 0;
const CLEAR_TEXT: u32 = 3;
const MD5: u32 = 5;

#[tokio::test]
async fn password_is_not_sent_in_clear_text() {
    let mut workdir = Workdir::new().await;
    let in_the_open = "it was not sent; let the connection be encrypted";
    for (code, query, expected) in [
        (CLEAR_TEXT, "", Some("in clear text")),
        (CLEAR_TEXT, "sslmode=disable", Some(in_the_open)),
        (MD5, "", Some("as an MD5 hash")),
        (MD5, "sslmode=prefer", Some("`require_auth=md5`")),
        (MD5, "require_auth=password", Some("asks for `md5`")),
        (
            CLEAR_TEXT,
            "require_auth=scram-sha-256",
            Some("asks for `password`"),
        ),
        (OK, "require_auth=scram-sha-256", Some("asks for `none`")),
        (CLEAR_TEXT, "require_auth=!gss", Some(in_the_open)),
        (CLEAR_TEXT, "require_auth=password", None),
        (MD5, "require_auth=md5,scram-sha-256", None),
    ] {
        let (port, mut heard) = asks_for(code).await;
        for host in ["127.0.0.1", "localhost"] {
            let url = format!("postgres://me:{PASSWORD}@{host}:{port}/mirror?{query}");
            let pairs = format!(
                "host={host} port={port} user=me password='{PASSWORD}' {}",
                query.replace('&', " ")
            );
            for url in [url, pairs] {
                workdir.set(URL, url);
                let ran = workdir.cursus(["status"]).await.exits(1);
                match (expected, heard.try_recv()) {
                    (Some(expected), Err(_)) => assert!(ran.stderr.contains(expected), "{ran}"),
                    (None, Ok(answer)) => {
                        assert_eq!(answer.kind, b'p');
                        assert_eq!(answer.holds(PASSWORD), code == CLEAR_TEXT);
                    }
                    (_, heard) => panic!("{code} {query}: {} {ran}", heard.is_ok()),
                }
            }
        }
    }
    for (query, expected) in [
        (
            "require_auth=scram",
            "has a `require_auth` that is not understood",
        ),
        (
            "require_auth=md5,!password",
            "has a `require_auth` that is not understood",
        ),
    ] {
        workdir.set(URL, format!("postgres://me@127.0.0.1:1/mirror?{query}"));
        let said = refusal(&workdir, &["migrate"], 2).await;
        assert!(said.contains(expected), "{said}");
    }
    let socket = workdir_socket(&workdir).await;
    workdir.set(
        URL,
        format!("host={socket} user=cursus require_auth=scram-sha-256"),
    );
    let said = refusal(&workdir, &["migrate"], 2).await;
    assert!(
        said.contains("cannot watch over on a unix socket"),
        "{said}"
    );
    workdir.set(URL, format!("host=localhost,{socket} user=cursus"));
    let said = refusal(&workdir, &["migrate"], 2).await;
    assert!(said.contains("hosts and unix sockets at once"), "{said}");
}

async fn workdir_socket(workdir: &Workdir) -> String {
    let of_server = workdir.column("SHOW unix_socket_directories").await;
    of_server.first().unwrap().clone()
}
