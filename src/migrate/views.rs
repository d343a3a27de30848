//! Views of the mirror: made, renewed when their text has changed, and put aside while a migration changes what they read.
//!
//! A view of ours is known by the last line of its comment, which a dump keeps. What people have made under the same name is not
//! touched, and nothing of theirs is dropped with ours.

use std::collections::BTreeSet;

use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Error, GenericClient, Transaction};
use tracing::warn;

use super::error::MigrateError;
use crate::database::trust::{self, Access, Uses};
use crate::database::{Literal, Quoted, describe};
use crate::hash::short_of;
use crate::name::Name;
use crate::pack_files::View;
use crate::printable;

/// What the last line of a comment of ours begins with. The hash of the view follows, or [`STUB`].
const MARK: &str = "[a view of cursus: ";
/// Instead of the hash: it has its columns, and no rows until it is renewed.
const STUB: &str = "to be renewed";

/// A comment without the line by which a view of ours is known.
pub(crate) fn without_mark(comment: &str) -> &str {
    comment
        .rfind(MARK)
        .map_or(comment, |at| comment[..at].trim_end())
}

fn hash(view: &View) -> String {
    let columns = (view.columns.iter()).map(|(name, meaning)| format!("{name}: {meaning}"));
    let columns = columns.collect::<Vec<_>>().join("\n");
    short_of(&[&view.comment, &columns, &view.sql])
}

fn comment(text: &str, state: &str) -> String {
    format!("{text}\n{MARK}{state}]")
}

/// A relation of the schema that has the name of a view, or is one of ours.
struct Found {
    name: String,
    is_view: bool,
    comment: String,
}

impl Found {
    /// What the mark says; none: it is not ours.
    fn state(&self) -> Option<&str> {
        let (_, mark) = self.comment.rsplit_once(MARK).filter(|_| self.is_view)?;
        mark.strip_suffix(']')
    }
}

const FOUND: &str = "
    SELECT c.relname::text, c.relkind = 'v', coalesce(pg_catalog.obj_description(c.oid, 'pg_class'), '')
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND (c.relname = ANY ($2) OR (c.relkind = 'v'
        AND pg_catalog.strpos(pg_catalog.obj_description(c.oid, 'pg_class'), $3) > 0)) ORDER BY 1";

async fn found(
    client: &impl GenericClient,
    schema: &str,
    views: &[View],
) -> Result<Vec<Found>, Error> {
    let names: Vec<&str> = views.iter().map(|view| view.name.as_str()).collect();
    let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 3] = [
        (&schema, Type::TEXT),
        (&names, Type::TEXT_ARRAY),
        (&MARK, Type::TEXT),
    ];
    let rows = client.query_typed(FOUND, &parameters).await?;
    let rows = rows.iter().map(|row| Found {
        name: row.get(0),
        is_view: row.get(1),
        comment: row.get(2),
    });
    Ok(rows.collect())
}

/// What is to do for the views of a schema.
pub(super) struct Outdated<'v> {
    views: Vec<&'v View>,
    /// Names that are taken by what is not ours.
    pub(super) taken: Vec<String>,
}

impl Outdated<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.views.is_empty()
    }
}

/// The views that are missing or differ from their files.
pub(super) async fn outdated<'v>(
    client: &impl GenericClient,
    schema: &str,
    views: &'v [View],
) -> Result<Outdated<'v>, Error> {
    let mut outdated = Outdated {
        views: Vec::new(),
        taken: Vec::new(),
    };
    if views.is_empty() {
        return Ok(outdated);
    }
    let found = found(client, schema, views).await?;
    for view in views {
        match found.iter().find(|found| found.name == view.name.as_str()) {
            Some(found) if found.state().is_none() => outdated.taken.push(found.name.clone()),
            Some(found) if found.state() == Some(&hash(view)) => {}
            _ => outdated.views.push(view),
        }
    }
    Ok(outdated)
}

/// Sentences about views that people's own relations stand in the way of.
pub(super) fn taken(schema: &str, outdated: &Outdated<'_>) -> Vec<String> {
    let sentence = |name: &String| {
        format!(
            "the view {} was not made: there is one of that name which cursus has not made, and it is left alone; rename it, then \
             `cursus migrate`",
            shown(schema, name)
        )
    };
    outdated.taken.iter().map(sentence).collect()
}

fn place(schema: &str, name: &str) -> String {
    format!("{}.{}", Quoted(schema), Quoted(name))
}

/// The same for people: only odd names are quoted.
fn shown(schema: &str, name: &str) -> String {
    let quoted = |name: &str| match Name::parse(name) {
        Ok(name) => name.to_string(),
        Err(_) => printable::line(&Quoted(name).to_string()).into_owned(),
    };
    format!("{}.{}", quoted(schema), quoted(name))
}

/// Makes and renews views. Those that cannot be are warned of: the mirror is whole without them.
pub(super) async fn bring_up_to_date(
    client: &mut Client,
    schema: &str,
    all: &[View],
) -> Result<Vec<String>, MigrateError> {
    let outdated = outdated(client, schema, all).await?;
    let mut sentences = taken(schema, &outdated);
    let mut made = Vec::new();
    if !outdated.is_empty() {
        let (renewed, problems) = renew(client, schema, all, &outdated).await?;
        made = renewed;
        sentences.extend(problems);
    }
    for sentence in sentences {
        warn!("{sentence}");
    }
    // Put aside and not made again: it would answer with no rows.
    let found = found(client, schema, all).await?;
    if let Some(empty) = found.iter().find(|found| found.state() == Some(STUB)) {
        return Err(MigrateError::Failed {
            schema: schema.to_owned(),
            step: format!(
                "the view {} could not be made again",
                shown(schema, &empty.name)
            ),
            what: "a migration changed what it reads, and it shows no rows until its file is right"
                .to_owned(),
        });
    }
    Ok(made)
}

/// Makes and renews views in one transaction, each after those that it reads. Returns the names of those that were, and a sentence on
/// each that could not be; the others are made.
async fn renew(
    client: &mut Client,
    schema: &str,
    all: &[View],
    outdated: &Outdated<'_>,
) -> Result<(Vec<String>, Vec<String>), MigrateError> {
    let (mut made, mut problems) = (Vec::new(), Vec::new());
    let words: BTreeSet<String> = all
        .iter()
        .flat_map(|view| trust::words(&view.sql))
        .collect();
    let uses = Uses {
        schemas: &[],
        path: &[schema],
        names: &words.into_iter().collect::<Vec<_>>(),
    };
    client.batch_execute(trust::SET_PATH).await?;
    trust::check(client, Access::Write, uses).await?;
    let mut transaction = client.transaction().await?;
    let path = format!("SET LOCAL search_path = {}", trust::path_of(&[schema]));
    transaction.batch_execute(&path).await?;
    let mut again: BTreeSet<&str> = BTreeSet::new();
    for view in &outdated.views {
        if again.contains(view.name.as_str()) {
            continue;
        }
        match create(&mut transaction, schema, view).await {
            Ok(()) => made.push(view.name.to_string()),
            // Its columns are others, so it cannot be replaced.
            Err(error) if error.code() == Some(&SqlState::INVALID_TABLE_DEFINITION) => {
                match recreate(&mut transaction, schema, all, view).await? {
                    Ok(names) => {
                        again.extend(
                            all.iter()
                                .map(|view| view.name.as_str())
                                .filter(|name| names.iter().any(|made| made == name)),
                        );
                        made.extend(names);
                    }
                    Err(problem) => problems.push(problem),
                }
            }
            Err(error) => problems.push(format!(
                "the view {} was not made: {} ({})",
                shown(schema, view.name.as_str()),
                view.file,
                describe(&error)
            )),
        }
    }
    transaction.commit().await?;
    made.sort();
    made.dedup();
    Ok((made, problems))
}

/// The GRANTs of SELECT that the owner of a view lacks on tables and views that it reads, where this session may act as the owner of
/// these. A view reads with the rights of its owner, whom CREATE OR REPLACE VIEW keeps.
const GRANTS_TO_OWNER: &str = "
    SELECT DISTINCT pg_catalog.format('GRANT SELECT ON %I.%I TO %I', tn.nspname, t.relname, pg_catalog.pg_get_userbyid(v.relowner))
    FROM pg_catalog.pg_class AS v JOIN pg_catalog.pg_namespace AS n ON n.oid = v.relnamespace
    JOIN pg_catalog.pg_rewrite AS w ON w.ev_class = v.oid
    JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = w.oid
        AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid <> v.oid
    JOIN pg_catalog.pg_class AS t ON t.oid = d.refobjid JOIN pg_catalog.pg_namespace AS tn ON tn.oid = t.relnamespace
    WHERE n.nspname = $1 AND v.relname = $2 AND NOT pg_catalog.has_any_column_privilege(v.relowner, t.oid, 'SELECT')
        AND pg_catalog.pg_has_role(t.relowner, 'USAGE')";

/// Makes a view, or replaces it by one that has at least its columns.
async fn create(transaction: &mut Transaction<'_>, schema: &str, view: &View) -> Result<(), Error> {
    let place = place(schema, view.name.as_str());
    let savepoint = transaction.savepoint("view").await?;
    let create = format!("CREATE OR REPLACE VIEW {place} AS {}", view.sql);
    // Prepared, so that it is one statement, whatever the file holds.
    savepoint.execute(&create, &[]).await?;
    let name = view.name.as_str();
    for grant in savepoint.query(GRANTS_TO_OWNER, &[&schema, &name]).await? {
        savepoint.batch_execute(grant.get(0)).await?;
    }
    let comment = comment(&view.comment, &hash(view));
    let comment = format!("COMMENT ON VIEW {place} IS {}", Literal(&comment));
    savepoint.batch_execute(&comment).await?;
    for (column, meaning) in &view.columns {
        let column = Quoted(column.as_str());
        let meaning = Literal(meaning);
        let comment = format!("COMMENT ON COLUMN {place}.{column} IS {meaning}");
        savepoint.batch_execute(&comment).await?;
    }
    savepoint.commit().await
}

/// The views that read a view, and those that read these, nearest first: schema, name, whether it is ours, and how many steps away.
const READERS: &str = "
    WITH RECURSIVE reader AS (
        SELECT c.oid, 0 AS depth FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relname = $2
        UNION
        SELECT w.ev_class, r.depth + 1 FROM reader AS r
        JOIN pg_catalog.pg_depend AS d ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = r.oid
            AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
        JOIN pg_catalog.pg_rewrite AS w ON w.oid = d.objid AND w.ev_class <> r.oid
    )
    SELECT n.nspname::text, c.relname::text,
        n.nspname = $1 AND coalesce(pg_catalog.strpos(pg_catalog.obj_description(c.oid, 'pg_class'), $3) > 0, false)
    FROM (SELECT oid, pg_catalog.max(depth) AS depth FROM reader GROUP BY oid) AS r
    JOIN pg_catalog.pg_class AS c ON c.oid = r.oid JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    ORDER BY r.depth, 1, 2";

/// Statements that grant again what was granted on a view and on its columns.
const GRANTS: &str = "
    SELECT pg_catalog.format('GRANT %s%s ON %I.%I TO %s%s', a.privilege_type, a.columns, n.nspname, c.relname,
        CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END,
        CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    CROSS JOIN LATERAL (
        SELECT x.grantee, x.privilege_type, x.is_grantable, '' AS columns FROM pg_catalog.aclexplode(c.relacl) AS x
        UNION ALL SELECT x.grantee, x.privilege_type, x.is_grantable, pg_catalog.format(' (%I)', t.attname)
        FROM pg_catalog.pg_attribute AS t CROSS JOIN LATERAL pg_catalog.aclexplode(t.attacl) AS x
        WHERE t.attrelid = c.oid AND t.attnum > 0 AND NOT t.attisdropped
    ) AS a
    WHERE n.nspname = $1 AND c.relname = $2 AND a.grantee <> c.relowner";

/// Drops a view with those of ours that read it, makes all of them, and grants what was granted before. The inner error is a
/// sentence: nothing was changed.
async fn recreate(
    transaction: &mut Transaction<'_>,
    schema: &str,
    all: &[View],
    view: &View,
) -> Result<Result<Vec<String>, String>, Error> {
    let name = view.name.as_str();
    let readers = transaction.query(READERS, &[&schema, &name, &MARK]).await?;
    let readers: Vec<(String, String, bool)> = readers
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect();
    let is_known = |name: &str| all.iter().any(|view| view.name.as_str() == name);
    let foreign = readers
        .iter()
        .filter(|(_, name, is_ours)| !is_ours || !is_known(name));
    let foreign: Vec<String> = foreign
        .map(|(schema, name, _)| shown(schema, name))
        .collect();
    if !foreign.is_empty() {
        return Ok(Err(format!(
            "the view {} was not renewed: its columns have changed, and {} {} it; drop {}, `cursus migrate`, and make {} again",
            shown(schema, name),
            foreign.join(", "),
            if foreign.len() == 1 { "reads" } else { "read" },
            if foreign.len() == 1 { "it" } else { "them" },
            if foreign.len() == 1 { "it" } else { "them" },
        )));
    }
    let mut savepoint = transaction.savepoint("views").await?;
    let mut grants: Vec<String> = Vec::new();
    for (_, name, _) in readers.iter().rev() {
        let rows = savepoint.query(GRANTS, &[&schema, name]).await?;
        grants.extend(rows.iter().map(|row| row.get::<_, String>(0)));
        let drop = format!("DROP VIEW {}", place(schema, name));
        if let Err(error) = savepoint.batch_execute(&drop).await {
            return Ok(Err(not_renewed(schema, name, &error)));
        }
    }
    let mut made = Vec::new();
    let ours = all.iter().filter(|view| {
        readers
            .iter()
            .any(|(_, name, _)| name == view.name.as_str())
    });
    for view in ours {
        if let Err(error) = create(&mut savepoint, schema, view).await {
            return Ok(Err(not_renewed(schema, view.name.as_str(), &error)));
        }
        made.push(view.name.to_string());
    }
    for grant in grants {
        // Of a column that is no more there is nothing to grant.
        let inner = savepoint.savepoint("granted").await?;
        match inner.batch_execute(&grant).await {
            Ok(()) => inner.commit().await?,
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_COLUMN) => {
                inner.rollback().await?;
            }
            Err(error) => return Ok(Err(not_renewed(schema, name, &error))),
        }
    }
    savepoint.commit().await?;
    Ok(Ok(made))
}

fn not_renewed(schema: &str, name: &str, error: &Error) -> String {
    format!(
        "the view {} was not renewed: {}",
        shown(schema, name),
        describe(error)
    )
}

/// Whether a migration failed because a view reads what it changes.
pub(super) fn is_in_the_way(error: &Error) -> bool {
    let codes = [
        SqlState::DEPENDENT_OBJECTS_STILL_EXIST,
        SqlState::FEATURE_NOT_SUPPORTED,
    ];
    error.code().is_some_and(|code| codes.contains(code))
}

/// For each view of ours a statement that gives it its columns and no rows, and reads nothing: what was granted on it, and what people
/// have built on it, stays.
const STUBS: &str = "
    SELECT c.relname::text, pg_catalog.obj_description(c.oid, 'pg_class'), pg_catalog.format(
        'CREATE OR REPLACE VIEW %I.%I AS SELECT %s WHERE false', n.nspname, c.relname, pg_catalog.string_agg(pg_catalog.format(
            'NULL::%s%s AS %I', pg_catalog.format_type(a.atttypid, a.atttypmod),
            CASE WHEN a.attcollation <> t.typcollation THEN pg_catalog.format(' COLLATE %s', a.attcollation::pg_catalog.regcollation) ELSE '' END,
            a.attname), ', ' ORDER BY a.attnum))
    FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    JOIN pg_catalog.pg_type AS t ON t.oid = a.atttypid
    WHERE n.nspname = $1 AND c.relkind = 'v' AND pg_catalog.strpos(pg_catalog.obj_description(c.oid, 'pg_class'), $2) > 0
    GROUP BY c.oid, c.relname, n.nspname";

/// Takes what they read from all views of ours, until [`renew`] makes them again. Whether there was one. A view of a pack that is off is
/// left as it is: nothing would make it again, and it would show no rows for ever.
pub(super) async fn put_aside(
    client: &mut Client,
    schema: &str,
    views: &[View],
) -> Result<bool, Error> {
    let transaction = client.transaction().await?;
    let mut rows = transaction.query(STUBS, &[&schema, &MARK]).await?;
    rows.retain(|row| {
        let name: &str = row.get(0);
        views.iter().any(|view| view.name.as_str() == name)
    });
    for row in &rows {
        let (name, text, stub): (&str, &str, &str) = (row.get(0), row.get(1), row.get(2));
        let comment = comment(without_mark(text), STUB);
        let comment = format!(
            "COMMENT ON VIEW {} IS {}",
            place(schema, name),
            Literal(&comment)
        );
        transaction
            .batch_execute(&format!("{stub}; {comment}"))
            .await?;
    }
    transaction.commit().await?;
    Ok(!rows.is_empty())
}
