//! Tables as the database's catalogue describes them. Reads only; knows nothing of configuration.

mod relations;

use futures_util::future::try_join_all;
use tokio_postgres::types::{Kind, ToSql, Type};
use tokio_postgres::{Error, GenericClient, Row};

use super::Quoted;
pub(crate) use relations::{Index, Kind as RelationKind, indexes, relations};

/// A table as it is in the database.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TableShape {
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) kind: RelationKind,
    pub(crate) comment: Option<String>,
    pub(crate) columns: Vec<Column>,
    /// The columns of the primary key, in the key's order; empty if there is none.
    pub(crate) primary_key: Vec<String>,
    /// The column lists of every unique index on plain columns and all rows, the primary key's among them.
    pub(crate) unique: Vec<Vec<String>>,
    pub(crate) references: Vec<ForeignKey>,
    /// The references that tables make to this one (itself included).
    pub(crate) referenced_by: Vec<ForeignKey>,
    /// What may change, drop or hide rows of it without a word: `the trigger x`, `the rule x`, [`ROW_SECURITY`].
    pub(crate) interceptors: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// Its type; the base type where it is a domain.
    pub(crate) r#type: Type,
    /// The type in SQL as it is declared, with its domain.
    pub(crate) declared: String,
    /// The type in SQL under its domain; `None` if it has none.
    pub(crate) under_domain: Option<String>,
    /// Whether NULL is refused, by the column or by its domain.
    pub(crate) not_null: bool,
    /// Whether it has a default of its own or of its domain.
    pub(crate) has_default: bool,
    /// In SQL: its own default, or what a generated column is made of.
    pub(crate) default: Option<String>,
    /// Whether the database gives the value: `GENERATED ALWAYS AS (…)` or an identity.
    pub(crate) generated: bool,
    pub(crate) comment: Option<String>,
}

/// A foreign key, seen from either side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ForeignKey {
    pub(crate) name: String,
    pub(crate) schema: String,
    pub(crate) table: String,
    pub(crate) columns: Vec<String>,
    pub(crate) referenced_schema: String,
    pub(crate) referenced_table: String,
    pub(crate) referenced_columns: Vec<String>,
    /// What becomes of the rows that refer when their parent is deleted.
    pub(crate) on_delete: OnDelete,
}

impl ForeignKey {
    /// Whether it leads to the table that it is of.
    pub(crate) fn is_of_itself(&self) -> bool {
        (&self.referenced_schema, &self.referenced_table) == (&self.schema, &self.table)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnDelete {
    /// The delete is refused, at the statement's or the transaction's end.
    Refuse,
    /// The rows go too.
    Cascade,
    /// Their columns become NULL or their default.
    Reset,
}

/// A CHECK constraint of a table, or of the domain of one of its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) table: String,
    pub(crate) name: String,
    /// The columns that it looks at.
    pub(crate) columns: Vec<String>,
    /// The column whose domain checks it; its value is then called `VALUE` in the expression.
    pub(crate) of_column: Option<String>,
    /// What must not be false, with all names qualified.
    pub(crate) expression: String,
}

impl TableShape {
    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// Whether a unique index covers exactly these columns, in any order.
    pub(crate) fn is_unique(&self, columns: &[&str]) -> bool {
        self.unique.iter().any(|unique| {
            unique.len() == columns.len()
                && unique.iter().all(|name| columns.contains(&name.as_str()))
        })
    }
}

const TABLES: &str = "
    SELECT c.oid, c.relname::text, obj_description(c.oid, 'pg_class'), c.relkind::text
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = $1 AND c.relname = ANY ($2) AND c.relkind::text = ANY ($3)";

// A domain inherits the default of the domain under it, its NOT NULL it does not.
const COLUMNS: &str = "
    SELECT a.attrelid, a.attname::text,
        a.attnotnull OR t.typtype = 'd' AND EXISTS (
            WITH RECURSIVE under AS (
                SELECT t.typbasetype, t.typnotnull
                UNION ALL
                SELECT b.typbasetype, b.typnotnull
                FROM under JOIN pg_catalog.pg_type b ON b.oid = under.typbasetype
            ) SELECT FROM under WHERE typnotnull),
        (a.atthasdef AND a.attgenerated = '') OR t.typdefault IS NOT NULL,
        a.attgenerated <> '' OR a.attidentity <> '', col_description(a.attrelid, a.attnum),
        CASE WHEN t.typtype = 'd' THEN (WITH RECURSIVE under AS (
            SELECT t.typbasetype, t.typtypmod, 1 AS depth
            UNION ALL
            SELECT b.typbasetype, b.typtypmod, depth + 1
            FROM under JOIN pg_catalog.pg_type b ON b.oid = under.typbasetype AND b.typtype = 'd'
        ) SELECT format_type(typbasetype, typtypmod) FROM under ORDER BY depth DESC LIMIT 1) END,
        format_type(a.atttypid, a.atttypmod), pg_get_expr(d.adbin, d.adrelid)
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped
    ORDER BY a.attrelid, a.attnum";

// INCLUDE columns come after the key's own.
const UNIQUE: &str = "
    SELECT i.indrelid, i.indisprimary, array_agg(a.attname::text ORDER BY k.place)
    FROM pg_catalog.pg_index i
    CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, place)
    JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    WHERE i.indrelid = ANY ($1) AND i.indisunique AND i.indisvalid AND i.indimmediate
        AND i.indpred IS NULL AND i.indexprs IS NULL AND k.place <= i.indnkeyatts
    GROUP BY i.indrelid, i.indexrelid, i.indisprimary
    ORDER BY i.indisprimary DESC, i.indexrelid";

const REFERENCES: &str = "
    SELECT f.conname::text, fn.nspname::text, fc.relname::text, f.from_columns,
        tn.nspname::text, tc.relname::text, f.to_columns, f.confdeltype::text, f.conrelid, f.confrelid
    FROM (
        SELECT o.oid, o.conname, o.conrelid, o.confrelid, o.confdeltype,
            array_agg(fa.attname::text ORDER BY k.place) AS from_columns,
            array_agg(ta.attname::text ORDER BY k.place) AS to_columns
        FROM pg_catalog.pg_constraint o
        CROSS JOIN LATERAL unnest(o.conkey, o.confkey) WITH ORDINALITY AS k (from_num, to_num, place)
        JOIN pg_catalog.pg_attribute fa ON fa.attrelid = o.conrelid AND fa.attnum = k.from_num
        JOIN pg_catalog.pg_attribute ta ON ta.attrelid = o.confrelid AND ta.attnum = k.to_num
        WHERE o.contype = 'f' AND (o.conrelid = ANY ($1) OR o.confrelid = ANY ($1))
        GROUP BY o.oid
    ) f
    JOIN pg_catalog.pg_class fc ON fc.oid = f.conrelid
    JOIN pg_catalog.pg_namespace fn ON fn.oid = fc.relnamespace
    JOIN pg_catalog.pg_class tc ON tc.oid = f.confrelid
    JOIN pg_catalog.pg_namespace tn ON tn.oid = tc.relnamespace
    ORDER BY f.conname, f.oid";

/// That a policy hides rows from us.
pub(crate) const ROW_SECURITY: &str = "row-level security";

// Of a table, and of those that are parts of it or inherit from it.
const INTERCEPTORS: &str = "
    WITH RECURSIVE parts AS (
        SELECT oid AS root, oid AS part FROM unnest($1) AS oid
        UNION SELECT p.root, i.inhrelid FROM parts p JOIN pg_catalog.pg_inherits i ON i.inhparent = p.part
    )
    SELECT root, 'the trigger ' || t.tgname::text FROM parts JOIN pg_catalog.pg_trigger t ON t.tgrelid = part
    WHERE NOT t.tgisinternal AND t.tgenabled <> 'D'
    UNION SELECT root, 'the rule ' || r.rulename::text FROM parts JOIN pg_catalog.pg_rewrite r ON r.ev_class = part
    WHERE r.ev_type IN ('2', '3', '4') AND r.ev_enabled <> 'D'
    UNION SELECT root, 'row-level security' FROM parts WHERE pg_catalog.row_security_active(part)
    ORDER BY 1, 2";

// With an empty search path, for the length of this statement, every name in an expression is qualified.
const CHECKS: &str = "
    WITH RECURSIVE tables AS (
        SELECT c.oid, c.relname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relname = ANY ($2) AND c.relkind IN ('r', 'p')
    ), domains AS (
        SELECT c.relname, a.attname::text, t.oid, t.typbasetype
        FROM tables c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        JOIN pg_catalog.pg_type t ON t.oid = a.atttypid AND t.typtype = 'd'
        UNION ALL
        SELECT d.relname, d.attname, t.oid, t.typbasetype
        FROM domains d JOIN pg_catalog.pg_type t ON t.oid = d.typbasetype AND t.typtype = 'd'
    ), checks AS (
        SELECT c.relname, k.conname, NULL AS of_column, k.conbin, k.conrelid,
            ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
                WHERE a.attrelid = c.oid AND a.attnum = ANY (k.conkey)) AS columns
        FROM tables c JOIN pg_catalog.pg_constraint k ON k.conrelid = c.oid AND k.contype = 'c'
        UNION ALL
        SELECT d.relname, k.conname, d.attname, k.conbin, 0, ARRAY[d.attname]
        FROM domains d JOIN pg_catalog.pg_constraint k ON k.contypid = d.oid AND k.contype = 'c'
    )
    SELECT k.relname, k.conname::text, k.columns, k.of_column,
        CASE WHEN s.search_path IS NOT NULL THEN pg_catalog.pg_get_expr(k.conbin, k.conrelid) END
    FROM (SELECT set_config('search_path', '', true) AS search_path OFFSET 0) AS s CROSS JOIN checks AS k
    ORDER BY 1, 2";

/// The CHECK constraints of tables. A transaction that it is called in has an empty search path afterwards.
pub(crate) async fn checks(
    client: &impl GenericClient,
    schema: &str,
    names: &[&str],
) -> Result<Vec<Check>, Error> {
    let rows = client
        .query_typed(CHECKS, &[(&schema, Type::TEXT), (&names, Type::NAME_ARRAY)])
        .await?;
    let checks = rows.iter().map(|row| Check {
        table: row.get(0),
        name: row.get(1),
        columns: row.get(2),
        of_column: row.get(3),
        expression: row.get(4),
    });
    Ok(checks.collect())
}

/// The shape of a table; `None` if there is no such table.
#[cfg(test)]
pub(crate) async fn table(
    client: &impl GenericClient,
    schema: &str,
    name: &str,
) -> Result<Option<TableShape>, Error> {
    Ok(tables(client, schema, &[name]).await?.pop().flatten())
}

/// The shapes of tables, in a few questions for all of them; `None` where there is no such table.
pub(crate) async fn tables(
    client: &impl GenericClient,
    schema: &str,
    names: &[&str],
) -> Result<Vec<Option<TableShape>>, Error> {
    shapes(client, schema, names, &["r", "p"]).await
}

/// The shapes of relations of these kinds, as `pg_class.relkind` calls them.
async fn shapes(
    client: &impl GenericClient,
    schema: &str,
    names: &[&str],
    kinds: &[&str],
) -> Result<Vec<Option<TableShape>>, Error> {
    let wanted: [(&(dyn ToSql + Sync), Type); 3] = [
        (&schema, Type::TEXT),
        (&names, Type::NAME_ARRAY),
        (&kinds, Type::TEXT_ARRAY),
    ];
    let found = client.query_typed(TABLES, &wanted).await?;
    let oids: Vec<u32> = found.iter().map(|row| row.get(0)).collect();
    let of: [(&(dyn ToSql + Sync), Type); 1] = [(&oids, Type::OID_ARRAY)];
    // The types come with a statement that is prepared and never run. Sessions of ours are refused the name of a view, not its row type.
    let prepare = found.iter().map(|row| {
        let name = format!("{}.{}", Quoted(schema), Quoted(row.get(1)));
        let is_table = matches!(row.get(3), "r" | "p");
        async move {
            if is_table {
                let every = client.prepare(&format!("SELECT * FROM {name}")).await?;
                let types = every.columns().iter().map(|column| column.type_().clone());
                return Ok(types.collect());
            }
            let row = client.prepare(&format!("SELECT NULL::{name}")).await?;
            let fields = match row.columns().first().map(|column| column.type_().kind()) {
                Some(Kind::Composite(fields)) => fields.as_slice(),
                _ => &[],
            };
            let types = fields.iter().map(|field| field.type_().clone());
            Ok::<Vec<Type>, Error>(types.collect())
        }
    });
    let (typed, columns, unique, references, interceptors) = tokio::try_join!(
        try_join_all(prepare),
        client.query_typed(COLUMNS, &of),
        client.query_typed(UNIQUE, &of),
        client.query_typed(REFERENCES, &of),
        client.query_typed(INTERCEPTORS, &of),
    )?;
    let shape = |name: &str| {
        let place = found.iter().position(|row| row.get::<_, &str>(1) == name)?;
        let (row, oid) = (&found[place], oids[place]);
        let is_of = |row: &&Row| row.get::<_, u32>(0) == oid;
        let columns = columns.iter().filter(is_of).zip(&typed[place]);
        Some(TableShape {
            schema: schema.to_owned(),
            name: name.to_owned(),
            kind: RelationKind::of(row.get(3)),
            comment: row.get(2),
            columns: columns
                .map(|(row, typed)| Column {
                    name: row.get(1),
                    r#type: base(typed),
                    declared: row.get(7),
                    under_domain: row.get(6),
                    not_null: row.get(2),
                    has_default: row.get(3),
                    default: row.get(8),
                    generated: row.get(4),
                    comment: row.get(5),
                })
                .collect(),
            primary_key: (unique.iter().filter(is_of))
                .find(|row| row.get(1))
                .map(|row| row.get(2))
                .unwrap_or_default(),
            unique: (unique.iter().filter(is_of))
                .map(|row| row.get(2))
                .collect(),
            references: keys(&references, 8, oid),
            referenced_by: keys(&references, 9, oid),
            interceptors: (interceptors.iter().filter(is_of))
                .map(|row| row.get(1))
                .collect(),
        })
    };
    Ok(names.iter().map(|name| shape(name)).collect())
}

pub(crate) async fn table_names(
    client: &impl GenericClient,
    schema: &str,
) -> Result<Vec<String>, Error> {
    let names = "
        SELECT c.relname::text
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') ORDER BY c.relname";
    let rows = client.query_typed(names, &[(&schema, Type::TEXT)]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

fn base(typed: &Type) -> Type {
    match typed.kind() {
        Kind::Domain(inner) => base(inner),
        _ => typed.clone(),
    }
}

/// The keys whose table at column `side` is `oid`.
fn keys(rows: &[Row], side: usize, oid: u32) -> Vec<ForeignKey> {
    rows.iter()
        .filter(|row| row.get::<_, u32>(side) == oid)
        .map(|row| ForeignKey {
            name: row.get(0),
            schema: row.get(1),
            table: row.get(2),
            columns: row.get(3),
            referenced_schema: row.get(4),
            referenced_table: row.get(5),
            referenced_columns: row.get(6),
            on_delete: match row.get::<_, &str>(7) {
                "c" => OnDelete::Cascade,
                "n" | "d" => OnDelete::Reset,
                _ => OnDelete::Refuse,
            },
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    #[tokio::test]
    async fn a_table_is_described_as_it_is() {
        let client = testing::database().await;
        client
            .batch_execute(
                r#"CREATE DOMAIN grade AS integer NOT NULL DEFAULT 1;
                CREATE DOMAIN mark AS grade;
                CREATE SCHEMA "odd ""name""";
                SET search_path = "odd ""name""", public;
                CREATE TABLE "Parent" (a bigint, dropped text, b text, UNIQUE (b, a), PRIMARY KEY (a, b));
                ALTER TABLE "Parent" DROP COLUMN dropped;
                CREATE TABLE child (
                    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, m mark, x jsonb DEFAULT '{}',
                    twice bigint GENERATED ALWAYS AS (pa * 2) STORED, pa bigint, pb text,
                    CONSTRAINT family FOREIGN KEY (pb, pa) REFERENCES "Parent" (b, a) ON DELETE CASCADE);
                CREATE UNIQUE INDEX ON child (pa) WHERE pb IS NULL;
                CREATE UNIQUE INDEX ON child (lower(pb));
                CREATE UNIQUE INDEX ON child (pb) INCLUDE (x);
                COMMENT ON COLUMN child.m IS 'a mark'"#,
            )
            .await
            .unwrap();
        let schema = "odd \"name\"";
        let child = table(&client, schema, "child").await.unwrap().unwrap();
        let parent = table(&client, schema, "Parent").await.unwrap().unwrap();

        let columns: Vec<_> = child
            .columns
            .iter()
            .map(|c| {
                (
                    c.name.as_str(),
                    c.r#type.clone(),
                    c.not_null,
                    c.has_default,
                    c.generated,
                )
            })
            .collect();
        assert_eq!(
            columns,
            [
                ("id", Type::INT8, true, false, true),
                ("m", Type::INT4, true, true, false),
                ("x", Type::JSONB, false, true, false),
                ("twice", Type::INT8, false, false, true),
                ("pa", Type::INT8, false, false, false),
                ("pb", Type::TEXT, false, false, false),
            ]
        );
        assert_eq!(
            child.column("m").unwrap().comment.as_deref(),
            Some("a mark")
        );
        assert_eq!(child.primary_key, ["id"]);
        assert_eq!(child.unique, [vec!["id"], vec!["pb"]]);
        assert_eq!(parent.primary_key, ["a", "b"]);
        assert!(parent.is_unique(&["a", "b"]) && !parent.is_unique(&["a"]));
        assert_eq!(child.references, parent.referenced_by);
        let family = &child.references[0];
        assert_eq!(family.columns, ["pb", "pa"]);
        assert_eq!(family.referenced_columns, ["b", "a"]);
        assert_eq!(family.on_delete, OnDelete::Cascade);
        assert_eq!(table(&client, schema, "absent").await.unwrap(), None);
        assert_eq!(
            table_names(&client, schema).await.unwrap(),
            ["Parent", "child"]
        );
    }
}
