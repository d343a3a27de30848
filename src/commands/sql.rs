//! `cursus sql`: query the mirror.

mod result;
mod split;

use std::ffi::{OsStr, OsString};
use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::Stdio;

use secrecy::ExposeSecret;
use tokio_postgres::Config;
use tokio_postgres::config::{ChannelBinding, Host, SslMode, SslNegotiation, TargetSessionAttrs};
use tokio_postgres::error::SqlState;

use crate::cli::{Global, SqlArgs};
use crate::database::{Database, DatabaseError, Target, embedded, for_libpq, role, trust};
use crate::exit::{Exit, Failure};
use crate::pipeline::connect;
use crate::printable;
use crate::report::counted;
use crate::settings::Settings;

pub(super) use result::Rows;
use result::csv_line;
#[cfg(feature = "simulator")]
pub(super) use result::shown;

/// Values are printed the same way whatever the settings of server, database or role.
const SET_UP: &str = "SELECT pg_catalog.set_config(name, value, false) FROM (VALUES ('DateStyle', 'ISO, YMD'), \
    ('IntervalStyle', 'postgres'), ('TimeZone', 'UTC'), ('bytea_output', 'hex'), ('extra_float_digits', '1'), ('lc_monetary', 'C'), \
    ('standard_conforming_strings', 'on')) AS settings (name, value)";
/// After its first query a transaction cannot become a writing one.
const READ_ONLY: &str = "BEGIN TRANSACTION READ ONLY; SELECT 1";

pub(super) async fn run(
    global: &Global,
    settings: &Settings,
    arguments: &SqlArgs,
) -> Result<Exit, Failure> {
    let schema = settings.config.database.schema.as_str();
    let database = if arguments.write {
        connect::connect_or_make(settings, schema).await?
    } else {
        connect::connect_to_ask(settings, schema).await?
    };
    let path = path(&database, schema).await?;
    let Some(query) = &arguments.query else {
        let exit = shell(settings, &database, &path, arguments.write).await?;
        database.close().await?;
        return Ok(exit);
    };
    let set = database.client.batch_execute(SET_UP).await;
    set.map_err(DatabaseError::from)?;
    let results = results(global, &database, query, arguments.write).await?;
    database.close().await?;
    match results {
        Results::Json(arrays) => {
            for array in arrays {
                super::print_line(&printable::json(&array));
            }
        }
        Results::Rows(all) => print(&all, arguments.csv),
    }
    Ok(Exit::Done)
}

enum Results {
    Json(Vec<String>),
    Rows(Vec<Rows>),
}

/// Runs the statements of a query. Those that write are one transaction, as in one message to the server; those that must not are
/// one each, so that none can end the one in which another runs.
async fn results(
    global: &Global,
    database: &Database,
    query: &str,
    may_write: bool,
) -> Result<Results, Failure> {
    let client = &database.client;
    let refused = |error| refused(error, may_write);
    let execute = async |text: &str| client.batch_execute(text).await.map_err(refused);
    let statements = split::split(query);
    let is_together = may_write && statements.len() > 1;
    if is_together {
        execute("BEGIN").await?;
    }
    let (mut arrays, mut all) = (Vec::new(), Vec::new());
    for statement in statements {
        if !may_write {
            execute(READ_ONLY).await?;
        }
        let rows = Rows::of(client, statement).await;
        let rows =
            rows.map_err(|error| copied(statement, &error).unwrap_or_else(|| refused(error)))?;
        if global.json {
            arrays.push(rows.json(client).await.map_err(refused)?);
        } else if rows.columns.is_some() {
            all.push(rows);
        }
        if !may_write {
            execute("COMMIT").await?;
        }
    }
    if is_together {
        execute("COMMIT").await?;
    }
    if arrays.is_empty() {
        arrays.push("[]".to_owned());
    }
    Ok(if global.json {
        Results::Json(arrays)
    } else {
        Results::Rows(all)
    })
}

/// The failure of a `COPY` statement, whose data is no query result.
fn copied(statement: &str, error: &tokio_postgres::Error) -> Option<Failure> {
    let is_copy = statement.get(..4)?.eq_ignore_ascii_case("copy") && error.as_db_error().is_none();
    is_copy.then(|| {
        Failure::usage(
            "COPY from or to this program is not supported; write the rows with `--csv`, or use psql (`cursus sql`)",
        )
    })
}

/// Sets the search path, and gives it: the mirror's schema and `public`, without those in which others can create.
pub(super) async fn path(database: &Database, schema: &str) -> Result<String, Failure> {
    let schemas = [schema, "public"];
    let (safe, unsafe_ones) = trust::safe_path(&database.client, &schemas).await?;
    if let Some(problem) = unsafe_ones.first().filter(|_| !safe.contains(&schema)) {
        super::warning(&format!(
            "{schema} is not in the search path, and its tables are found by its name before theirs: {problem}"
        ));
    }
    let path = trust::path_of(&safe);
    database.read_views().await?;
    (database
        .client
        .batch_execute(&format!("SET search_path TO {path}"))
        .await)
        .map_err(DatabaseError::from)?;
    Ok(path)
}

/// The query is the user's own, and so are its errors: the server's message is shown here, and only here.
fn refused(error: tokio_postgres::Error, may_write: bool) -> Failure {
    let Some(server) = error.as_db_error() else {
        return DatabaseError::from(error).into();
    };
    let hint = server
        .hint()
        .map_or_else(String::new, |hint| format!(" ({hint})"));
    let advice = if *server.code() == SqlState::READ_ONLY_SQL_TRANSACTION && !may_write {
        "; `--write` lets a query change the database"
    } else {
        ""
    };
    let sentence = format!("the query was refused: {}{hint}{advice}", server.message());
    Failure::new(Exit::Failed, sentence)
}

#[cfg(feature = "simulator")]
pub(super) async fn ask(database: &Database, query: &str) -> Result<Rows, Failure> {
    let rows = Rows::of(&database.client, query).await;
    rows.map_err(|error| refused(error, true))
}

fn print(all: &[Rows], is_csv: bool) {
    for (number, result) in all.iter().enumerate() {
        if number > 0 {
            super::print_raw("\n");
        }
        if is_csv {
            let header = csv_line(result.names().into_iter().map(Some));
            let rows = result.rows.iter();
            let rows = rows.map(|row| csv_line(row.iter().map(Option::as_deref)));
            let lines = [header].into_iter().chain(rows);
            // For programs byte for byte. They read no terminal: there no cell begins what looks like another line.
            if std::io::stdout().is_terminal() {
                lines.for_each(|line| super::print_line(&line));
            } else {
                let lines = lines.map(|line| line + "\n");
                super::print_raw(&lines.collect::<String>());
            }
        } else {
            super::print_table(&result.table());
            super::note(&counted(result.rows.len() as u64, "row"));
        }
    }
}

/// psql on the mirror; where there is none, how to connect with another program.
async fn shell(
    settings: &Settings,
    database: &Database,
    path: &str,
    may_write: bool,
) -> Result<Exit, Failure> {
    let (program, config, variables) = match (database.cluster(), &settings.database) {
        (Some(cluster), _) => {
            let user = if may_write {
                embedded::USER
            } else {
                embedded::READER
            };
            let config = cluster.config_as(user, embedded::DATABASE);
            (cluster.bin_dir().join("psql"), config, Vec::new())
        }
        (None, Target::Url(url)) => {
            let (config, mut variables) = for_libpq(url.expose_secret())?;
            variables.extend(as_careful(database, &config, &variables).await?);
            (PathBuf::from("psql"), config, variables)
        }
        (None, Target::Embedded { .. }) => (PathBuf::from("psql"), Config::new(), Vec::new()),
    };
    let mut psql = tokio::process::Command::new(program);
    // Those of libpq would take the password elsewhere; ours and those of `.env` are secrets that psql and what it starts do not need.
    for (name, _) in std::env::vars_os() {
        let shown = name.to_string_lossy();
        if shown.starts_with("PG") || shown.starts_with("CURSUS_") || shown.contains("DATABASE_URL")
        {
            psql.env_remove(name);
        }
    }
    // A space separates options, and no name in the path needs quotes.
    let mut options = format!("-c search_path={}", path.replace([' ', '"'], ""));
    if !may_write {
        options.push_str(" -c default_transaction_read_only=on");
    }
    if let Some(given) = config.get_options() {
        options = format!("{given} {options}");
    }
    psql.envs(connection_environment(&config))
        .envs(variables)
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

/// Keeps psql from sending the password where our own session did not: it is encrypted as that is, or no clear text and no MD5
/// is answered. Versions before 16 do not know the second.
async fn as_careful(
    database: &Database,
    config: &Config,
    variables: &[(&'static str, String)],
) -> Result<Vec<(&'static str, String)>, Failure> {
    let is_set = |name| variables.iter().any(|(given, _)| *given == name);
    let is_socket = |host: &Host| matches!(host, Host::Unix(_));
    if is_set("PGREQUIREAUTH") || config.get_hosts().iter().all(is_socket) {
        return Ok(Vec::new());
    }
    let ask = "SELECT ssl FROM pg_catalog.pg_stat_ssl WHERE pid = pg_catalog.pg_backend_pid()";
    let rows = database.client.query_typed(ask, &[]).await;
    let rows = rows.map_err(DatabaseError::from)?;
    let is_encrypted = rows.first().is_some_and(|row| row.get(0));
    Ok(match (is_encrypted, config.get_ssl_mode()) {
        (true, SslMode::Prefer) => vec![("PGSSLMODE", "require".to_owned())],
        (true, _) => Vec::new(),
        (false, _) => vec![("PGREQUIREAUTH", "!password,!md5".to_owned())],
    })
}

/// Connection parameters as variables: other users can read an argument list.
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
    // The database has the user's name, if it is not named.
    let user = role(config);
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
    let set = |(name, value): (_, Option<OsString>)| {
        Some((name, value.filter(|value| !value.is_empty())?))
    };
    all.into_iter().filter_map(set).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
