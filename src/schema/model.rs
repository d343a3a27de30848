//! The tables of schemas as the catalogue has them, with what `pipeline.toml` says of their columns.

use std::collections::BTreeSet;

use serde::Serialize;
use tokio_postgres::GenericClient;
use tokio_postgres::types::{Kind, Type};

use super::checks;
use crate::config::{Config, Pack, Source};
use crate::database::DatabaseError;
use crate::database::catalogue::{self, ForeignKey, OnDelete, RelationKind, TableShape};
use crate::load::INGESTED_AT;
use crate::migrate::{Effects, is_history, without_mark};

/// All that the writers write; as JSON it is the format `json` itself.
#[derive(Debug, Serialize)]
pub(crate) struct Model {
    /// Of this document.
    pub(crate) version: u32,
    /// In the order in which they were asked for.
    pub(crate) schemas: Vec<String>,
    /// Enum types that a column has, by schema and name.
    pub(crate) enums: Vec<Enum>,
    /// Tables and views, by schema and name.
    pub(crate) tables: Vec<Table>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) struct Enum {
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) values: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Table {
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) kind: RelationKind,
    pub(crate) comment: Option<String>,
    /// What fills it; `None` for a table that `pipeline.toml` does not name.
    pub(crate) origin: Option<Origin>,
    /// The pack that it is of; `None` for those that are always there.
    pub(crate) pack: Option<String>,
    pub(crate) columns: Vec<Column>,
    pub(crate) primary_key: Vec<String>,
    /// Unique column lists besides the primary key.
    pub(crate) unique: Vec<Vec<String>>,
    pub(crate) references: Vec<Reference>,
    pub(crate) referenced_by: Vec<Referrer>,
    pub(crate) indexes: Vec<Index>,
    pub(crate) checks: Vec<Check>,
}

/// Where the rows of a table come from.
#[derive(Debug, Serialize)]
pub(crate) struct Origin {
    pub(crate) resource: String,
    /// The array in a record whose elements are the rows; `None`: the records are.
    pub(crate) rows: Option<String>,
    /// The file of the SELECT that makes the rows.
    pub(crate) select: Option<String>,
    /// Resources whose records update rows as well.
    pub(crate) also_from: Vec<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// In SQL, as declared.
    pub(crate) r#type: String,
    pub(crate) nullable: bool,
    /// In SQL; of a generated column what it is made of.
    pub(crate) default: Option<String>,
    pub(crate) generated: bool,
    /// The only values that its enum type or a check lets in.
    pub(crate) values: Option<Vec<String>>,
    /// Where in a record the value is, as `pipeline.toml` has it.
    pub(crate) from: Option<String>,
    pub(crate) comment: Option<String>,
    /// Its type, under its domain.
    #[serde(skip)]
    pub(crate) base: Type,
    /// The same in SQL.
    #[serde(skip)]
    pub(crate) base_name: String,
}

/// Columns that name a row of another table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Reference {
    pub(crate) columns: Vec<String>,
    pub(crate) schema: String,
    pub(crate) table: String,
    pub(crate) referenced_columns: Vec<String>,
    /// The foreign key; `None` for a soft reference, whose target can be missing.
    pub(crate) foreign_key: Option<String>,
    #[serde(skip)]
    pub(crate) on_delete: Option<OnDelete>,
}

/// The same from the other side.
#[derive(Debug, Serialize)]
pub(crate) struct Referrer {
    pub(crate) schema: String,
    pub(crate) table: String,
    pub(crate) columns: Vec<String>,
    pub(crate) foreign_key: Option<String>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Index {
    pub(crate) name: String,
    pub(crate) unique: bool,
    pub(crate) method: String,
    /// Empty where it is of expressions, or of some rows only.
    pub(crate) columns: Vec<String>,
    pub(crate) definition: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) expression: String,
}

impl Table {
    pub(crate) fn is_unique(&self, columns: &[String]) -> bool {
        let covers = |unique: &[String]| {
            unique.len() == columns.len() && unique.iter().all(|name| columns.contains(name))
        };
        (!self.primary_key.is_empty() && covers(&self.primary_key))
            || self.unique.iter().any(|unique| covers(unique))
    }

    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    pub(crate) fn is_view(&self) -> bool {
        matches!(
            self.kind,
            RelationKind::View | RelationKind::MaterializedView
        )
    }
}

impl Model {
    pub(crate) fn table(&self, schema: &str, name: &str) -> Option<&Table> {
        let is_it = |table: &&Table| table.schema == schema && table.name == name;
        self.tables.iter().find(is_it)
    }

    /// Its name as people write it: the first schema is left out.
    pub(crate) fn shown(&self, schema: &str, name: &str) -> String {
        if self.schemas.first().is_some_and(|first| first == schema) {
            name.to_owned()
        } else {
            format!("{schema}.{name}")
        }
    }
}

/// Reads schemas; the first is the mirror's. The transaction that it is called in has an empty search path afterwards.
pub(crate) async fn read(
    client: &impl GenericClient,
    config: &Config,
    schemas: &[&str],
) -> Result<Model, DatabaseError> {
    let mut model = Model {
        version: 1,
        schemas: schemas.iter().map(|&schema| schema.to_owned()).collect(),
        enums: Vec::new(),
        tables: Vec::new(),
    };
    let mut enums = BTreeSet::new();
    for &schema in schemas {
        let is_mirror = schemas.first() == Some(&schema);
        let shapes = catalogue::relations(client, schema).await?;
        let names: Vec<&str> = shapes.iter().map(|shape| shape.name.as_str()).collect();
        let checks = catalogue::checks(client, schema, &names).await?;
        let indexes = catalogue::indexes(client, schema).await?;
        for shape in &shapes {
            if is_history(&shape.name) {
                continue;
            }
            for column in &shape.columns {
                enums.extend(enum_of(&column.r#type));
            }
            let checks = checks.iter().filter(|check| check.table == shape.name);
            let indexes = indexes.iter().filter(|index| index.table == shape.name);
            let config = Some(config).filter(|_| is_mirror);
            model.tables.push(table(shape, config, checks, indexes));
        }
    }
    model.enums = enums.into_iter().collect();
    refer_back(&mut model);
    Ok(model)
}

/// The pack of a table or view. A table that a derived statement fills has no `[[table]]`: it belongs to the pack whose migrations make it.
fn pack_of(config: Option<&Config>, name: &str) -> Option<String> {
    let config = config?;
    let makes = |pack: &&Pack| {
        let migrations = pack.files.in_folder("migrations");
        let texts = migrations.filter_map(|(_, text)| text.ok());
        pack.is_on() && Effects::of(texts).makes.contains(name)
    };
    let of_table = config
        .tables
        .iter()
        .find(|table| table.name.as_str() == name);
    let of_view = config.views.iter().find(|view| view.name.as_str() == name);
    let pack = of_table
        .map(|table| &table.pack)
        .or(of_view.map(|view| &view.pack));
    let Some(pack) = pack else {
        let maker = config.packs.iter().find(makes);
        return maker.map(|pack| pack.name.clone());
    };
    pack.clone()
}

fn table<'m>(
    shape: &TableShape,
    config: Option<&Config>,
    checks: impl Iterator<Item = &'m catalogue::Check> + Clone,
    indexes: impl Iterator<Item = &'m catalogue::Index>,
) -> Table {
    let mut blocks = config.into_iter().flat_map(|config| &config.tables);
    let block = blocks.find(|block| block.name.as_str() == shape.name);
    let columns = shape.columns.iter().map(|column| {
        let listed = checks
            .clone()
            .find_map(|check| match check.columns.as_slice() {
                [one] if *one == column.name => {
                    let name = check.of_column.as_ref().map_or(one.as_str(), |_| "VALUE");
                    checks::values(&check.expression, name)
                }
                _ => None,
            });
        Column {
            name: column.name.clone(),
            r#type: column.declared.clone(),
            nullable: !column.not_null,
            default: column.default.clone(),
            generated: column.generated,
            values: match column.r#type.kind() {
                Kind::Enum(values) => Some(values.clone()),
                _ => listed,
            },
            from: block.map(|block| from(block, &column.name, column.generated)),
            comment: column.comment.clone(),
            base: column.r#type.clone(),
            base_name: column
                .under_domain
                .as_ref()
                .unwrap_or(&column.declared)
                .clone(),
        }
    });
    let mut references: Vec<Reference> = shape.references.iter().map(hard).collect();
    let soft = block.into_iter().flat_map(|block| {
        let owners = block.owner.iter().chain(&block.within);
        owners.chain(&block.references)
    });
    for soft in soft {
        let columns = vec![soft.column.to_string()];
        let is_hard = references
            .iter()
            .any(|one| one.columns == columns && one.table == soft.table.as_str());
        if !is_hard && shape.column(soft.column.as_str()).is_some() {
            references.push(Reference {
                columns,
                schema: shape.schema.clone(),
                table: soft.table.to_string(),
                referenced_columns: vec![soft.target.to_string()],
                foreign_key: None,
                on_delete: None,
            });
        }
    }
    references.sort_by(|a, b| (&a.columns, &a.foreign_key).cmp(&(&b.columns, &b.foreign_key)));
    let mut unique: Vec<Vec<String>> = (shape.unique.iter())
        .filter(|columns| **columns != shape.primary_key)
        .cloned()
        .collect();
    unique.sort();
    unique.dedup();
    Table {
        schema: shape.schema.clone(),
        name: shape.name.clone(),
        kind: shape.kind,
        comment: shape
            .comment
            .as_deref()
            .map(without_mark)
            .map(str::to_owned),
        pack: pack_of(config, &shape.name),
        origin: block.map(|block| Origin {
            resource: block.from.to_string(),
            rows: block.rows.as_ref().map(ToString::to_string),
            select: block.select.as_ref().map(|select| select.name.clone()),
            also_from: block
                .also_from
                .iter()
                .map(|feed| feed.from.to_string())
                .collect(),
        }),
        columns: columns.collect(),
        primary_key: shape.primary_key.clone(),
        unique,
        references,
        referenced_by: Vec::new(),
        indexes: indexes
            .map(|index| Index {
                name: index.name.clone(),
                unique: index.is_unique,
                method: index.method.clone(),
                columns: index.columns.clone(),
                definition: index.definition.clone(),
            })
            .collect(),
        checks: checks
            .map(|check| Check {
                name: check.name.clone(),
                expression: check.expression.clone(),
            })
            .collect(),
    }
}

fn hard(key: &ForeignKey) -> Reference {
    Reference {
        columns: key.columns.clone(),
        schema: key.referenced_schema.clone(),
        table: key.referenced_table.clone(),
        referenced_columns: key.referenced_columns.clone(),
        foreign_key: Some(key.name.clone()),
        on_delete: Some(key.on_delete),
    }
}

fn from(block: &crate::config::Table, column: &str, is_generated: bool) -> String {
    match (
        block
            .columns
            .iter()
            .find(|(name, _)| name.as_str() == column),
        &block.select,
    ) {
        _ if column == INGESTED_AT => "the load".to_owned(),
        _ if is_generated => "the database".to_owned(),
        (Some((_, Source::Elsewhere)), _) => "a derived statement".to_owned(),
        (_, Some(select)) => select.name.clone(),
        (Some((_, source)), None) => source.to_string(),
        (None, None) => format!("/{column}"),
    }
}

fn enum_of(r#type: &Type) -> Option<Enum> {
    match r#type.kind() {
        Kind::Enum(values) => Some(Enum {
            schema: r#type.schema().to_owned(),
            name: r#type.name().to_owned(),
            values: values.clone(),
        }),
        Kind::Array(element) | Kind::Domain(element) => enum_of(element),
        _ => None,
    }
}

fn refer_back(model: &mut Model) {
    let all: Vec<(String, String, Reference)> = (model.tables.iter())
        .flat_map(|table| {
            let of = |one: &Reference| (table.schema.clone(), table.name.clone(), one.clone());
            table.references.iter().map(of)
        })
        .collect();
    for table in &mut model.tables {
        let to = |(_, _, one): &&(String, String, Reference)| {
            one.schema == table.schema && one.table == table.name
        };
        let back = all.iter().filter(to).map(|(schema, name, one)| Referrer {
            schema: schema.clone(),
            table: name.clone(),
            columns: one.columns.clone(),
            foreign_key: one.foreign_key.clone(),
        });
        table.referenced_by = back.collect();
    }
}
