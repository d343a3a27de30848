//! `cursus sql`: ask the mirror.

use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::Stdio;

use nix::unistd::{User, geteuid};
use secrecy::ExposeSecret;
use tokio_postgres::config::{ChannelBinding, Host, SslNegotiation, TargetSessionAttrs};
use tokio_postgres::{Config, SimpleQueryMessage};

use crate::cli::{Global, SqlArgs};
use crate::database::{Database, DatabaseError, Quoted, Target, for_libpq};
use crate::exit::{Exit, Failure};
use crate::printable;
use crate::report::table;
use crate::settings::Settings;

/// Runs the command.
pub(super) async fn run(
    global: &Global,
    settings: &Settings,
    arguments: &SqlArgs,
) -> Result<Exit, Failure> {
    let database = super::load::connect(settings).await?;
    let schema = settings.config.database.schema.as_str();
    database
        .client
        .batch_execute(&format!("SET search_path TO {}, public", Quoted(schema)))
        .await
        .map_err(DatabaseError::from)?;
    if arguments.query.is_some() && !arguments.write {
        // A slip must not damage the mirror.
        database
            .client
            .batch_execute("SET default_transaction_read_only = on")
            .await
            .map_err(DatabaseError::from)?;
    }
    let exit = match &arguments.query {
        Some(query) if global.json => json(&database, query).await?,
        Some(query) => text(&database, query, arguments.csv).await?,
        None => shell(settings, &database).await?,
    };
    database.close().await?;
    Ok(exit)
}

/// The query is the user's own, and so are its errors: the server's message is shown here, and only here.
fn refused(error: tokio_postgres::Error) -> Failure {
    let Some(said) = error.as_db_error() else {
        return DatabaseError::from(error).into();
    };
    let hint = said
        .hint()
        .map_or_else(String::new, |hint| format!(" ({hint})"));
    let said = format!("the query was refused: {}{hint}", said.message());
    Failure::new(Exit::Failed, said)
}

/// Header and rows of a query's last result.
pub(super) async fn ask(
    database: &Database,
    query: &str,
) -> Result<(Vec<String>, Vec<Vec<Option<String>>>), Failure> {
    let messages = database.client.simple_query(query).await.map_err(refused)?;
    let mut header = Vec::new();
    let mut rows = Vec::new();
    for message in messages {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                header = columns
                    .iter()
                    .map(|column| column.name().to_owned())
                    .collect();
                rows = Vec::new();
            }
            SimpleQueryMessage::Row(row) => {
                rows.push(
                    (0..row.len())
                        .map(|at| row.get(at).map(str::to_owned))
                        .collect(),
                );
            }
            _ => {}
        }
    }
    Ok((header, rows))
}

async fn text(database: &Database, query: &str, csv: bool) -> Result<Exit, Failure> {
    let (header, rows) = ask(database, query).await?;
    if csv {
        let names = header.into_iter().map(Some).collect();
        let rows = [names].into_iter().chain(rows);
        // For programs byte for byte. They read no terminal: there no cell begins what looks like another line.
        if std::io::stdout().is_terminal() {
            rows.for_each(|row| super::print_line(&csv_line(&row)));
        } else {
            let lines = rows.map(|row| csv_line(&row) + "\r\n");
            super::print_raw(&lines.collect::<String>());
        }
    } else {
        let names: Vec<&str> = header.iter().map(String::as_str).collect();
        let count = rows.len();
        let rows = rows.iter().map(|row| shown(row));
        super::print_table(&table(&names, rows, usize::MAX));
        super::eprint_line(&format!(
            "{count} {}",
            if count == 1 { "row" } else { "rows" }
        ));
    }
    Ok(Exit::Done)
}

/// A row as texts.
pub(super) fn shown(row: &[Option<String>]) -> Vec<String> {
    row.iter()
        .map(|cell| cell.clone().unwrap_or_default())
        .collect()
}

/// RFC 4180, without the end of the line; a NULL is an empty field, an empty text is quoted.
fn csv_line(row: &[Option<String>]) -> String {
    let cells: Vec<String> = row
        .iter()
        .map(|cell| match cell {
            None => String::new(),
            Some(text) if text.is_empty() || text.contains([',', '"', '\n', '\r']) => {
                format!("\"{}\"", text.replace('"', "\"\""))
            }
            Some(text) => text.clone(),
        })
        .collect();
    cells.join(",")
}

async fn json(database: &Database, query: &str) -> Result<Exit, Failure> {
    let inner = query.trim().trim_end_matches(';');
    let row = database
        .client
        .query_one(
            &format!(
                "SELECT coalesce(json_agg(row_to_json(q)), '[]')::text FROM (\n{inner}\n) AS q"
            ),
            &[],
        )
        .await
        .map_err(refused)?;
    super::print_line(&printable::json(row.get(0)));
    Ok(Exit::Done)
}

/// psql on the mirror; where there is none, how to connect with another program.
async fn shell(settings: &Settings, database: &Database) -> Result<Exit, Failure> {
    let (program, config, encryption) = match (database.cluster(), &settings.database) {
        (Some(cluster), _) => {
            let config = cluster.config(crate::database::embedded::DATABASE);
            (cluster.bin_dir().join("psql"), config, Vec::new())
        }
        (None, Target::Url(url)) => {
            let (config, encryption) = for_libpq(url.expose_secret())?;
            (PathBuf::from("psql"), config, encryption)
        }
        (None, Target::Embedded { .. }) => (PathBuf::from("psql"), Config::new(), Vec::new()),
    };
    let mut psql = tokio::process::Command::new(program);
    // Whatever they say of the way would take the password elsewhere.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            psql.env_remove(name);
        }
    }
    let schema = settings.config.database.schema.as_str();
    let mut options = format!("-c search_path={schema},public");
    if let Some(given) = config.get_options() {
        options = format!("{given} {options}");
    }
    psql.envs(connection_environment(&config))
        .envs(encryption)
        .env("PGOPTIONS", options)
        .stdin(Stdio::inherit());
    match psql.status().await {
        Ok(status) if status.success() => Ok(Exit::Done),
        Ok(_) => Ok(Exit::Failed),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let how = database.cluster().map_or_else(
                || "connect to the URL of your configuration with any PostgreSQL client".to_owned(),
                crate::database::embedded::Cluster::describe,
            );
            super::print_line(&format!("there is no psql on this machine; {how}"));
            Ok(Exit::Done)
        }
        Err(error) => Err(Failure::new(
            Exit::Failed,
            format!("cannot start psql: {error}"),
        )),
    }
}

/// Connection parameters as variables: an argument list is readable for everybody on the machine.
fn connection_environment(config: &Config) -> Vec<(&'static str, OsString)> {
    let hosts = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(host) => OsString::from(host),
        Host::Unix(folder) => folder.into(),
    });
    let addresses = config.get_hostaddrs().iter().map(ToString::to_string);
    let ports = match config.get_ports() {
        [] => "5432".to_owned(),
        ports => ports
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(","),
    };
    // Who is not named is the user of the system, and the database has the user's name.
    let of_system = || Some(User::from_uid(geteuid()).ok()??.name);
    let user = config.get_user().map(str::to_owned).or_else(of_system);
    let name = config.get_dbname().map(str::to_owned).or(user.clone());
    let password = config
        .get_password()
        .map(|bytes| OsStr::from_bytes(bytes).to_owned());
    let binding = match config.get_channel_binding() {
        ChannelBinding::Require => Some("require"),
        ChannelBinding::Disable => Some("disable"),
        _ => None,
    };
    let negotiation = (config.get_ssl_negotiation() == SslNegotiation::Direct).then_some("direct");
    let attributes = match config.get_target_session_attrs() {
        TargetSessionAttrs::ReadWrite => Some("read-write"),
        TargetSessionAttrs::ReadOnly => Some("read-only"),
        _ => None,
    };
    let all = [
        (
            "PGHOST",
            Some(hosts.collect::<Vec<_>>().join(OsStr::new(","))),
        ),
        (
            "PGHOSTADDR",
            Some(addresses.collect::<Vec<_>>().join(",").into()),
        ),
        ("PGPORT", Some(ports.into())),
        ("PGUSER", user.map(OsString::from)),
        ("PGDATABASE", name.map(OsString::from)),
        ("PGPASSWORD", password),
        ("PGCHANNELBINDING", binding.map(OsString::from)),
        ("PGSSLNEGOTIATION", negotiation.map(OsString::from)),
        ("PGTARGETSESSIONATTRS", attributes.map(OsString::from)),
    ];
    let said = |(name, value): (_, Option<OsString>)| {
        Some((name, value.filter(|value| !value.is_empty())?))
    };
    all.into_iter().filter_map(said).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_survives_what_people_write() {
        let row = [Some("a,\"b\"\n"), None, Some(""), Some("NULL")];
        let row: Vec<_> = row.map(|cell| cell.map(str::to_owned)).into();
        assert_eq!(csv_line(&row), "\"a,\"\"b\"\"\n\",,\"\",NULL");
    }

    #[test]
    fn psql_goes_where_the_url_leads_and_is_as_careful() {
        let set = |url: &str| -> Vec<(&str, String)> {
            let (config, encryption) = for_libpq(url).unwrap();
            let all = connection_environment(&config).into_iter();
            all.map(|(name, value)| (name, value.into_string().unwrap()))
                .chain(encryption)
                .collect()
        };
        let expected = |all: &[(&'static str, &str)]| -> Vec<(&str, String)> {
            all.iter()
                .map(|(name, value)| (*name, (*value).to_owned()))
                .collect()
        };
        assert_eq!(
            set("postgres://me:p%20w@one:1,%2Ftmp:2/mirror?target_session_attrs=read-write"),
            expected(&[
                ("PGHOST", "one,/tmp"),
                ("PGPORT", "1,2"),
                ("PGUSER", "me"),
                ("PGDATABASE", "mirror"),
                ("PGPASSWORD", "p w"),
                ("PGTARGETSESSIONATTRS", "read-write"),
            ])
        );
        assert_eq!(
            set(
                "host=name hostaddr=127.0.0.1 user=me channel_binding=require sslmode = verify-full sslrootcert='/my certs/x'"
            ),
            expected(&[
                ("PGHOST", "name"),
                ("PGHOSTADDR", "127.0.0.1"),
                ("PGPORT", "5432"),
                ("PGUSER", "me"),
                ("PGDATABASE", "me"),
                ("PGCHANNELBINDING", "require"),
                ("PGSSLMODE", "verify-full"),
                ("PGSSLROOTCERT", "/my certs/x"),
            ])
        );
    }
}
