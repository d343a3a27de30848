//! Whom a session trusts with its rights, and what of other roles it would run. Knows nothing of what tables mean.
//!
//! A name without a schema finds what others have made in a schema of the search path, and a table runs the triggers, rules,
//! policies and types of others. A role stands for everything that it owns.

use std::iter;

use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, GenericClient, Row};

use super::error::DatabaseError;
use super::quote::Quoted;
use crate::printable;

/// First in every session, before a name is looked up: no role can create anything in these.
pub(crate) const SET_PATH: &str = "SET search_path = pg_catalog, pg_temp";

const ROLES: &str = include_str!("trust/roles.sql");
const POSSIBLE: &str = include_str!("trust/possible.sql");
const FINDINGS: &str = include_str!("trust/findings.sql");

/// Roles that are named at once.
const NAMED: usize = 5;

/// What a session does with the relations that it uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// It reads them. Whose they are does not matter, if reading runs nothing of others.
    Read,
    /// It writes to them, and finds objects of the path by their names.
    Write,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Uses<'a> {
    /// Schemas of which every relation is in use.
    pub(crate) schemas: &'a [&'a str],
    /// Schemas that are, or will be, in the search path.
    pub(crate) path: &'a [&'a str],
    /// What statements name, or may name, in schemas of the path: relations, functions and types.
    pub(crate) names: &'a [String],
}

/// The path of the statements in `sql/`, whose tables have no schema: the rows that are staged, then the mirror. Nothing is
/// created in the first schema of it.
pub(crate) fn path_of_load(schema: &str) -> String {
    format!("pg_catalog, pg_temp, {}", Quoted(schema))
}

/// The path of migrations and of queries: what they create, they create in the schema. `pg_catalog` comes before it, as
/// it does wherever it is not named.
pub(crate) fn path_of(schemas: &[&str]) -> String {
    let schemas = schemas.iter().map(|schema| Quoted(schema).to_string());
    let path: Vec<String> = schemas.chain(["pg_temp".to_owned()]).collect();
    path.join(", ")
}

/// What may be names in statements: every word, in lower case and as it is. A `$` may be part of one, or begin or end a string.
pub(crate) fn words(sql: &str) -> impl Iterator<Item = String> {
    let is_between = |c: char| !(c.is_alphanumeric() || c == '_' || c == '$');
    let words = sql.split(is_between);
    let words = words.flat_map(|word| {
        iter::once(word).chain(word.split('$').filter(move |_| word.contains('$')))
    });
    // The server refuses longer names.
    let words = words.filter(|word| !word.is_empty() && word.len() < 64);
    words.flat_map(|word| [word.to_lowercase(), word.to_owned()])
}

/// Refuses what would run code of a role that the session does not trust. The search path must be that of [`SET_PATH`]. Gives the
/// tables, as SQL names them, that other roles may add triggers or foreign keys to: what was found of them holds until one
/// does.
pub(crate) async fn check(
    client: &impl GenericClient,
    access: Access,
    uses: Uses<'_>,
) -> Result<Vec<String>, DatabaseError> {
    let findings = findings(client, uses).await?;
    let (open, findings): (Vec<_>, Vec<_>) =
        (findings.iter()).partition(|finding| finding.kind == "open");
    let mut problems: Vec<String> = (findings.iter())
        .filter(|finding| access == Access::Write || finding.is_read())
        .map(|finding| finding.sentence())
        .collect();
    problems.dedup();
    if problems.is_empty() {
        Ok(open.iter().map(|finding| finding.name.clone()).collect())
    } else {
        Err(DatabaseError::Untrusted(problems))
    }
}

/// Refuses a session that is lent by the transaction and whose own search path holds a schema of others: ours cannot be set, since
/// it would stay with the next client of the session.
pub(super) async fn check_lent(client: &mut Client) -> Result<(), DatabaseError> {
    let path = "SELECT pg_catalog.current_schemas(true)";
    let path = client.query_typed_one(path, &[]).await?;
    let path: Vec<String> = path.get(0);
    let path: Vec<&str> = (path.iter().map(String::as_str))
        .filter(|schema| *schema != "pg_catalog" && !schema.starts_with("pg_temp"))
        .collect();
    let transaction = client.transaction().await?;
    transaction
        .batch_execute(&SET_PATH.replace("SET ", "SET LOCAL "))
        .await?;
    let (_, unsafe_ones) = safe_path(&transaction, &path).await?;
    transaction.rollback().await?;
    if unsafe_ones.is_empty() {
        Ok(())
    } else {
        Err(DatabaseError::Untrusted(unsafe_ones))
    }
}

/// Which of these schemas can be in the search path, and why the others cannot.
pub(crate) async fn safe_path<'s>(
    client: &impl GenericClient,
    schemas: &[&'s str],
) -> Result<(Vec<&'s str>, Vec<String>), DatabaseError> {
    let uses = Uses {
        schemas: &[],
        path: schemas,
        names: &[],
    };
    let findings = findings(client, uses).await?;
    let of = |schema: &str| {
        let mut findings = findings.iter();
        findings.find(|finding| finding.schema.as_deref() == Some(schema))
    };
    let safe = schemas
        .iter()
        .copied()
        .filter(|schema| of(schema).is_none());
    let unsafe_ones = schemas.iter().filter_map(|schema| of(schema));
    let mut sentences: Vec<String> = unsafe_ones.map(Finding::sentence).collect();
    sentences.dedup();
    Ok((safe.collect(), sentences))
}

async fn findings(client: &impl GenericClient, uses: Uses<'_>) -> Result<Vec<Finding>, Error> {
    let parameters: [(&(dyn ToSql + Sync), Type); 3] = [
        (&uses.schemas, Type::TEXT_ARRAY),
        (&uses.path, Type::TEXT_ARRAY),
        (&uses.names, Type::NAME_ARRAY),
    ];
    let is_possible = format!("{ROLES}{POSSIBLE}");
    let is_possible = client
        .query_typed_one(&is_possible, &parameters[..2])
        .await?;
    if !is_possible.get::<_, bool>(0) {
        return Ok(Vec::new());
    }
    let statement = format!("{ROLES}{FINDINGS}");
    // The planner expects millions of rows of the recursion: to make room for them takes 30 ms.
    let ((), rows, ()) = tokio::try_join!(
        client.batch_execute("SET work_mem = '256kB'"),
        client.query_typed(&statement, &parameters),
        client.batch_execute("RESET work_mem"),
    )?;
    Ok(rows.iter().map(Finding::of).collect())
}

/// Something that runs, or could run, code of a role that is not trusted. Names are SQL.
struct Finding {
    kind: String,
    schema: Option<String>,
    /// What it is, such as `function`.
    what: String,
    name: String,
    owner: String,
    /// Roles that can create in the schema.
    creators: Vec<String>,
    /// Whom the right to create was granted to.
    grantees: Vec<String>,
    /// What runs it, such as `trigger`.
    by: Option<(String, String)>,
    me: String,
}

impl Finding {
    fn of(row: &Row) -> Self {
        let text = |at: usize| row.get::<_, Option<String>>(at).unwrap_or_default();
        let list = |at: usize| row.get::<_, Option<Vec<String>>>(at).unwrap_or_default();
        Self {
            kind: text(0),
            schema: row.get(1),
            what: text(2),
            name: text(3),
            owner: text(4),
            creators: list(5),
            grantees: list(6),
            by: row.get::<_, Option<String>>(7).zip(row.get(8)),
            me: text(9),
        }
    }

    fn is_read(&self) -> bool {
        self.kind == "reading"
    }

    fn sentence(&self) -> String {
        let Self {
            what,
            name,
            owner,
            me,
            ..
        } = self;
        let trust = format!("if you trust {owner}: `GRANT {owner} TO {me}`");
        let kind = what.to_uppercase();
        let sentence = match (self.kind.as_str(), &self.by) {
            ("session", _) => format!(
                "the session acts as {owner}, whom {me} does not trust: objects that it makes belong to {owner}; connect as {owner}, \
                 or take the setting `role` away (`ALTER ROLE {me} RESET role`, `ALTER DATABASE … RESET role`)"
            ),
            ("create", _) => {
                let statement = if self.grantees.is_empty() {
                    format!("ALTER SCHEMA {name} OWNER TO {me}")
                } else {
                    format!(
                        "REVOKE CREATE ON SCHEMA {name} FROM {}",
                        self.grantees.join(", ")
                    )
                };
                format!(
                    "{} can create objects in the schema {name}, and a statement that finds them by their names runs them with the \
                     rights of {me}; `{statement}`",
                    few(&self.creators)
                )
            }
            ("schema" | "relation", None) => format!(
                "the {what} {name} belongs to {owner}, who can have it run anything with the rights of {me}; connect as {owner}, or \
                 `ALTER {kind} {name} OWNER TO {me}`; {trust}"
            ),
            ("found", _) => format!(
                "the {what} {name} belongs to {owner}, and a statement that finds it by its name runs it with the rights of {me}; \
                 `DROP {kind} {name}`; {trust}"
            ),
            ("relation", Some((_, by))) => format!(
                "the {what} {name} belongs to {owner}, and changes with rows of the mirror ({by}), so that its triggers run with \
                 the rights of {me}; drop {by}; {trust}"
            ),
            (_, None) => format!(
                "the {what} {name} belongs to {owner}, and reading the mirror runs code of it with the rights of {me}; connect as \
                 {owner}, or `DROP {kind} {name}`; {trust}"
            ),
            (_, Some((by_what, by))) if by_what == "function" => format!(
                "the {what} {name} belongs to {owner} and calls {by}, which can run anything with the rights of {me}; \
                 `DROP {kind} {name}`; {trust}"
            ),
            (_, Some((by_what, by))) => format!(
                "the {by_what} {by} runs the {what} {name} of {owner} with the rights of {me}; drop the {by_what}{}; {trust}",
                match by_what.as_str() {
                    "trigger" | "rule" | "policy" => {
                        let place = by.replacen(" on ", " ON ", 1);
                        format!(" (`DROP {} {place}`)", by_what.to_uppercase())
                    }
                    _ => String::new(),
                }
            ),
        };
        printable::line(&sentence).into_owned()
    }
}

fn few(names: &[String]) -> String {
    match names.get(..NAMED) {
        Some(few) if names.len() > NAMED => {
            format!("{} and {} more", few.join(", "), names.len() - NAMED)
        }
        _ => names.join(", "),
    }
}
