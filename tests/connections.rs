//! Connections that do not come about: the message names host and port, or the socket, and nothing secret of the address.

use std::io::{Read, Write};
use std::net::TcpListener;

use crate::support::workdir::url_at;
use crate::support::{Ran, Workdir, testing};

/// In every address, as the password and as the value of a parameter.
const SECRET: &str = "open-sesame";

/// Fails unless it names the place and none of the secrets.
#[track_caller]
fn names(case: &str, place: &str, ran: &Ran) {
    assert_eq!(ran.code, Some(1), "{case}: {ran}");
    let said = format!("{}{}", ran.stdout, ran.stderr);
    let last = said.lines().last().unwrap_or_default();
    assert!(last.contains(place), "{case}: {place} is not named: {ran}");
    assert!(!said.contains("sesame"), "{case}: {ran}");
}

/// A server on a port of its own, which does this with each connection.
fn server(serve: impl Fn(std::net::TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for stream in listener.incoming().flatten() {
            held.push(stream.try_clone());
            serve(stream);
        }
    });
    place
}

#[tokio::test]
async fn every_database_failure_names_host_and_port() {
    let mut workdir = Workdir::new().await;
    let silent = server(|_| {});
    let plain = server(|mut stream| {
        let mut asked = [0; 8];
        let _ = stream.read(&mut asked).and_then(|_| stream.write(b"N"));
    });
    let closing = server(|stream| drop(stream.shutdown(std::net::Shutdown::Both)));
    let odd = server(|mut stream| drop(stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")));
    let socket = testing::cluster().await.socket_dir();
    let file = socket.join(".s.PGSQL.5432").display().to_string();
    let at = |place: &str, parameters: &str| {
        format!(
            "postgres://me:{SECRET}@{place}/mirror?application_name={SECRET}&connect_timeout=1{parameters}"
        )
    };
    for (case, url, place) in [
        ("refused", at("127.0.0.1:1", ""), "127.0.0.1:1"),
        ("the usual port", at("127.0.0.2", ""), "127.0.0.2:5432"),
        ("IPv6", at("[::1]:1", ""), "[::1]:1"),
        (
            "no name",
            at("nowhere.invalid:6543", ""),
            "nowhere.invalid:6543",
        ),
        (
            "several",
            at("127.0.0.1:1,127.0.0.2:2", ""),
            "127.0.0.1:1, 127.0.0.2:2",
        ),
        ("silent", at(&silent, ""), silent.as_str()),
        ("no TLS", at(&plain, "&sslmode=require"), plain.as_str()),
        ("closes", at(&closing, ""), closing.as_str()),
        ("no PostgreSQL", at(&odd, "&sslmode=disable"), odd.as_str()),
        (
            "no socket",
            format!(
                "{}?connect_timeout=1",
                url_at("/tmp/absent".as_ref(), "me", "mirror")
            ),
            "/tmp/absent/.s.PGSQL.5432",
        ),
        (
            "no database",
            url_at(socket, "cursus", "absent"),
            file.as_str(),
        ),
        (
            "no role",
            url_at(socket, &format!("absent:{SECRET}"), "postgres"),
            file.as_str(),
        ),
    ] {
        workdir.set("CURSUS_DATABASE_URL", url);
        names(case, place, &workdir.cursus(["migrate"]).await);
        let status = workdir.cursus(["doctor"]).await;
        assert!(status.stdout.contains(place), "{case}: {status}");
    }
}

#[tokio::test]
async fn every_api_failure_names_host_port_and_proxy() {
    let mut workdir = Workdir::new().await;
    workdir.set("CURSUS_CLIENT_ID", "an-id");
    workdir.set("CURSUS_CLIENT_SECRET", SECRET);
    let closing = server(|stream| drop(stream.shutdown(std::net::Shutdown::Both)));
    let odd = server(|mut stream| drop(stream.write_all(b"hello\r\n\r\n")));
    let proxy = "api.example:443 (through the proxy 127.0.0.1:1)";
    for (case, url, place) in [
        ("refused", "http://127.0.0.1:1".to_owned(), "127.0.0.1:1"),
        ("IPv6", "http://[::1]:1".to_owned(), "[::1]:1"),
        ("no TLS", format!("https://{closing}"), closing.as_str()),
        ("closes", format!("http://{closing}"), closing.as_str()),
        ("no HTTP", format!("http://{odd}"), odd.as_str()),
        ("a proxy", "https://api.example".to_owned(), proxy),
    ] {
        workdir.set("CURSUS_API_URL", url);
        if case == "a proxy" {
            workdir.set("HTTPS_PROXY", format!("http://me:{SECRET}@127.0.0.1:1"));
        }
        names(case, place, &workdir.cursus(["token", "refresh"]).await);
    }
}
