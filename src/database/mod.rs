//! The connection to the mirror's `PostgreSQL`: reaching it, its session settings, and what its errors mean to a person.
//! Knows nothing of tables.

mod auth;
pub(crate) mod catalogue;
mod client;
mod commit;
mod connect;
pub mod embedded;
mod error;
mod place;
mod pooler;
mod quote;
mod sessions;
mod snapshot;
mod tls;
pub(crate) mod trust;
mod url;

#[cfg(test)]
pub(crate) mod testing;

pub(crate) use client::{Database, LOCK_WAIT, Target, WATCHED_EVERY};
pub(crate) use commit::commit;
pub(crate) use connect::hold_server;
pub(crate) use error::{DatabaseError, describe};
pub(crate) use place::{Place, role};
pub(crate) use quote::{Literal, Quoted, lock_timeout_of, utc};
pub(crate) use sessions::{Commit, LockKey, Sessions, holder, holder_is_dead};
pub(crate) use snapshot::snapshot;
pub(crate) use tls::{check_url, for_libpq, holds_password};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    use secrecy::SecretString;

    use super::*;

    #[tokio::test]
    async fn a_connection_that_fails_says_what_to_do_and_no_secret() {
        let cluster = testing::cluster().await;
        let socket = cluster.socket_dir().display();
        let no_server =
            "postgres://someone:hunter2@127.0.0.1:1/mirror?connect_timeout=1".to_owned();
        let no_database = format!("host={socket} user=cursus password=hunter2 dbname=absent");
        let no_user = format!("host={socket} user=nobody_here password=hunter2 dbname=cursus");
        let malformed = "postgres://someone:hunter2@host:port/mirror".to_owned();
        for (url, expected) in [
            (no_server, "cannot reach the database at 127.0.0.1:1"),
            (no_database, "createdb absent"),
            (no_user, "refuses nobody_here"),
            (malformed, "the database URL is malformed"),
        ] {
            let target = Target::Url(SecretString::from(url));
            let error = Database::connect(&target, "test").await.unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert!(
                !format!("{error:?} {error}").contains("hunter2"),
                "{error:?}"
            );
        }
    }

    #[tokio::test]
    async fn an_error_names_the_place_and_never_the_value() {
        let client = testing::database().await;
        client
            .batch_execute("CREATE TABLE people (login text CONSTRAINT one_each UNIQUE)")
            .await
            .unwrap();
        let twice = "INSERT INTO people VALUES ('jdoe'), ('jdoe')";
        let error = client.batch_execute(twice).await.unwrap_err();
        assert_eq!(
            describe(&error),
            "SQLSTATE 23505, schema public, table people, constraint one_each"
        );
        let error = client.query("SELECT 'jdoe'::int", &[]).await.unwrap_err();
        assert_eq!(describe(&error), "SQLSTATE 22P02");
    }

    #[tokio::test]
    async fn reason_of_a_lost_connection_is_reported() {
        let cluster = testing::cluster().await;
        let url = format!(
            "host={} user=cursus dbname=cursus",
            cluster.socket_dir().display()
        );
        let target = Target::Url(SecretString::from(url));
        let mut database = Database::connect(&target, "test").await.unwrap();
        let row = database
            .client
            .query_one("SELECT pg_backend_pid()", &[])
            .await
            .unwrap();
        let other = testing::database().await;
        other
            .execute("SELECT pg_terminate_backend($1)", &[&row.get::<_, i32>(0)])
            .await
            .unwrap();
        // To send something meanwhile could meet a closed socket before the server's last words are read.
        while !database.client.is_closed() {
            tokio::task::yield_now().await;
        }
        let error = database.client.batch_execute("SELECT 1").await.unwrap_err();
        let error = database.explain(error).await;
        assert!(error.to_string().contains("SQLSTATE 57P01"), "{error}");
    }

    #[test]
    fn a_name_cannot_leave_its_quotes() {
        assert_eq!(Quoted("a\"; DROP").to_string(), "\"a\"\"; DROP\"");
    }

    #[tokio::test]
    async fn a_literal_is_its_text_whatever_a_backslash_means() {
        let client = testing::database().await;
        let texts = prop_oneof![r"[a'\\ ]{0,9}", "[^\0]{0,20}"];
        let mut runner = TestRunner::deterministic();
        for meaning in ["on", "off"] {
            let set = format!(
                "SET standard_conforming_strings = {meaning}; SET escape_string_warning = off"
            );
            client.batch_execute(&set).await.unwrap();
            let some: Vec<String> = (0..300)
                .map(|_| texts.new_tree(&mut runner).unwrap().current())
                .collect();
            let literals: Vec<String> = some.iter().map(|text| Literal(text).to_string()).collect();
            let query = format!("SELECT ARRAY[{}]::text[]", literals.join(","));
            let row = client.query_one(&query, &[]).await.unwrap();
            assert_eq!(row.get::<_, Vec<String>>(0), some, "{meaning}");
        }
    }
}
