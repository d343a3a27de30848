//! The format `prisma`: a schema for Prisma 7 and later. What Prisma cannot say becomes a comment or an `Unsupported` type.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use tokio_postgres::types::{Kind, Type};

use super::model::{Column, Enum, Model, Reference, Table};
use super::names::{Identifiers, identifier, one_line, quoted};
use crate::database::catalogue::OnDelete;

/// Words that Prisma takes as names of models for its own.
const RESERVED: [&str; 24] = [
    "BigInt",
    "Boolean",
    "Bytes",
    "DateTime",
    "Decimal",
    "Float",
    "Int",
    "Json",
    "PrismaClient",
    "String",
    "Unsupported",
    "async",
    "await",
    "continue",
    "default",
    "delete",
    "enum",
    "export",
    "import",
    "model",
    "return",
    "static",
    "view",
    "yield",
];

struct Writer<'m> {
    model: &'m Model,
    /// By schema and name: the identifiers of models and enums.
    names: BTreeMap<(&'m str, &'m str), String>,
    /// By schema, table and column.
    fields: BTreeMap<(&'m str, &'m str, &'m str), String>,
    /// By schema and table: what relations add to a model.
    relations: BTreeMap<(&'m str, &'m str), Vec<String>>,
}

/// Writes the model.
pub(crate) fn write(model: &Model) -> String {
    let mut identifiers = Identifiers::default();
    let mut names = BTreeMap::new();
    let mut fields = BTreeMap::new();
    let mut taken = BTreeMap::new();
    let mut name_of = |name: &str| {
        let mut plain = identifier(name, "t");
        if RESERVED
            .iter()
            .any(|word| word.eq_ignore_ascii_case(&plain))
        {
            plain.push('_');
        }
        identifiers.take(&plain)
    };
    for table in &model.tables {
        names.insert(
            (table.schema.as_str(), table.name.as_str()),
            name_of(&table.name),
        );
        let mut own = Identifiers::default();
        for column in &table.columns {
            let field = own.take(&identifier(&column.name, "c"));
            fields.insert(
                (
                    table.schema.as_str(),
                    table.name.as_str(),
                    column.name.as_str(),
                ),
                field,
            );
        }
        taken.insert((table.schema.as_str(), table.name.as_str()), own);
    }
    for one in &model.enums {
        let name = name_of(&one.name);
        names
            .entry((one.schema.as_str(), one.name.as_str()))
            .or_insert(name);
    }
    let mut writer = Writer {
        model,
        names,
        fields,
        relations: BTreeMap::new(),
    };
    for table in &model.tables {
        for reference in &table.references {
            writer.relate(table, reference, &mut taken);
        }
    }
    writer.write()
}

impl<'m> Writer<'m> {
    fn write(&self) -> String {
        let model = self.model;
        let mut text = "\
// Written by `cursus schema --format prisma` for Prisma 7 and later, whose prisma.config.ts has the address of the database. The mirror
// is made and filled by cursus: read from it, and change it with neither `prisma migrate` nor `prisma db push`.\n\n"
            .to_owned();
        let views = if model.tables.iter().any(Table::is_view) {
            "\n  previewFeatures = [\"views\"]"
        } else {
            ""
        };
        let schemas: Vec<String> = self.schemas().iter().map(|schema| quoted(schema)).collect();
        let _ = write!(
            text,
            "generator client {{\n  provider        = \"prisma-client\"\n  output          = \"./generated\"{views}\n}}\n\n\
             datasource db {{\n  provider = \"postgresql\"\n  schemas  = [{}]\n}}\n",
            schemas.join(", ")
        );
        for one in model.enums.iter().filter(|one| !one.values.is_empty()) {
            self.write_enum(one, &mut text);
        }
        for table in &model.tables {
            self.write_table(table, &mut text);
        }
        text
    }

    fn schemas(&self) -> Vec<&str> {
        let mut schemas: Vec<&str> = self.model.schemas.iter().map(String::as_str).collect();
        schemas.extend(self.model.enums.iter().map(|one| one.schema.as_str()));
        schemas.sort_unstable();
        schemas.dedup();
        schemas
    }

    fn write_enum(&self, one: &Enum, text: &mut String) {
        let name = &self.names[&(one.schema.as_str(), one.name.as_str())];
        let _ = writeln!(text, "\nenum {name} {{");
        let mut identifiers = Identifiers::default();
        for value in &one.values {
            let plain = identifiers.take(&identifier(value, "v"));
            let map = if plain == *value {
                String::new()
            } else {
                format!(" @map({})", quoted(value))
            };
            let _ = writeln!(text, "  {plain}{map}");
        }
        if *name != one.name {
            let _ = writeln!(text, "\n  @@map({})", quoted(&one.name));
        }
        let _ = writeln!(text, "\n  @@schema({})\n}}", quoted(&one.schema));
    }

    fn write_table(&self, table: &'m Table, text: &mut String) {
        let name = self.name(table);
        text.push('\n');
        if table.columns.is_empty() {
            let _ = writeln!(text, "// {} has no columns.", one_line(&table.name));
            return;
        }
        document(text, "", table.comment.as_deref());
        let key = self.key(table);
        if key.is_none() && !table.is_view() {
            text.push_str("/// It has no key by which Prisma could tell its rows apart, so the client leaves it out.\n");
        }
        let kind = if table.is_view() { "view" } else { "model" };
        let _ = writeln!(text, "{kind} {name} {{");
        for column in &table.columns {
            document(text, "  ", column.comment.as_deref());
            for soft in table
                .references
                .iter()
                .filter(|one| one.foreign_key.is_none())
            {
                if soft.columns == [column.name.as_str()] {
                    let to = self.model.shown(&soft.schema, &soft.table);
                    let target = soft.referenced_columns.join(", ");
                    let _ = writeln!(
                        text,
                        "  /// Refers to {}, without a foreign key: the row can be missing.",
                        one_line(&format!("{to}.{target}"))
                    );
                }
            }
            let _ = writeln!(text, "  {}", self.field(table, column));
        }
        for relation in self.relations.get(&of(table)).into_iter().flatten() {
            let _ = writeln!(text, "  {relation}");
        }
        text.push('\n');
        if !table.primary_key.is_empty() && self.is_key(table, &table.primary_key) {
            let _ = writeln!(text, "  @@id([{}])", self.list(table, &table.primary_key));
        }
        let mut listed: Vec<&[String]> = Vec::new();
        for index in &table.indexes {
            let is_writable = !index.columns.is_empty()
                && index.method == "btree"
                && self.is_key(table, &index.columns)
                && !listed.contains(&index.columns.as_slice());
            let is_plain = !index.unique || table.unique.contains(&index.columns);
            if is_writable && is_plain && index.columns != table.primary_key {
                let kind = if index.unique { "unique" } else { "index" };
                let _ = writeln!(
                    text,
                    "  @@{kind}([{}], map: {})",
                    self.list(table, &index.columns),
                    quoted(&index.name)
                );
                listed.push(&index.columns);
            }
        }
        if *name != table.name {
            let _ = writeln!(text, "  @@map({})", quoted(&table.name));
        }
        if key.is_none() && !table.is_view() {
            text.push_str("  @@ignore\n");
        }
        let _ = writeln!(text, "  @@schema({})\n}}", quoted(&table.schema));
    }

    fn field(&self, table: &Table, column: &Column) -> String {
        let name = &self.fields[&(
            table.schema.as_str(),
            table.name.as_str(),
            column.name.as_str(),
        )];
        let (base, native, is_list) = self.type_of(column);
        let is_key = table.primary_key.contains(&column.name);
        let suffix = match (is_list, column.nullable && !is_key) {
            (true, _) => "[]",
            (false, true) => "?",
            (false, false) => "",
        };
        let mut field = format!("{name} {base}{suffix}");
        let default = column.default.as_deref();
        let is_number = matches!(column.base, Type::INT2 | Type::INT4 | Type::INT8);
        match default {
            _ if table.is_view() => {}
            Some("now()" | "CURRENT_TIMESTAMP") if base == "DateTime" => {
                field.push_str(" @default(now())");
            }
            Some(default) => {
                let _ = write!(field, " @default(dbgenerated({}))", quoted(default));
            }
            None if column.generated && is_number => field.push_str(" @default(autoincrement())"),
            None => {}
        }
        if *name != column.name {
            let _ = write!(field, " @map({})", quoted(&column.name));
        }
        if !native.is_empty() {
            let _ = write!(field, " @db.{native}");
        }
        field
    }

    /// The type of Prisma, its native type, and whether it is a list of them.
    fn type_of(&self, column: &Column) -> (String, String, bool) {
        let (r#type, is_list) = match column.base.kind() {
            Kind::Array(element) => (element, true),
            _ => (&column.base, false),
        };
        let r#type = match r#type.kind() {
            Kind::Domain(_) => &Type::UNKNOWN,
            _ => r#type,
        };
        // `numeric(5,2)`, `timestamp(3) with time zone`, `character varying(9)[]`
        let modifier = column
            .base_name
            .split_once('(')
            .and_then(|(_, rest)| rest.split_once(')'));
        let modifier = modifier.map(|(modifier, _)| modifier.replace(',', ", "));
        let modifier = modifier.filter(|modifier| !modifier.contains('-'));
        let of = |base: &str, native: &str| (base.to_owned(), native.to_owned());
        let with = |native: &str, default: &str| match (&modifier, default) {
            (Some(modifier), _) => format!("{native}({modifier})"),
            (None, "") => native.to_owned(),
            (None, default) => format!("{native}({default})"),
        };
        let (base, native) = match *r#type {
            Type::BOOL => of("Boolean", ""),
            Type::INT2 => of("Int", "SmallInt"),
            Type::INT4 => of("Int", ""),
            Type::INT8 => of("BigInt", ""),
            Type::OID => of("Int", "Oid"),
            Type::FLOAT4 => of("Float", "Real"),
            Type::FLOAT8 => of("Float", ""),
            Type::NUMERIC => of("Decimal", &with("Decimal", "")),
            Type::MONEY => of("Decimal", "Money"),
            Type::TEXT => of("String", ""),
            Type::VARCHAR => of("String", &with("VarChar", "")),
            Type::BPCHAR => of("String", &with("Char", "")),
            Type::BIT => of("String", &with("Bit", "")),
            Type::VARBIT => of("String", &with("VarBit", "")),
            Type::UUID => of("String", "Uuid"),
            Type::XML => of("String", "Xml"),
            Type::INET => of("String", "Inet"),
            Type::DATE => of("DateTime", "Date"),
            Type::TIME => of("DateTime", &with("Time", "6")),
            Type::TIMETZ => of("DateTime", &with("Timetz", "6")),
            Type::TIMESTAMP => of("DateTime", &with("Timestamp", "6")),
            Type::TIMESTAMPTZ => of("DateTime", &with("Timestamptz", "6")),
            Type::BYTEA => of("Bytes", ""),
            Type::JSON => of("Json", "Json"),
            Type::JSONB => of("Json", ""),
            _ => match (
                r#type.kind(),
                self.names.get(&(r#type.schema(), r#type.name())),
            ) {
                (Kind::Enum(values), Some(name)) if !values.is_empty() => of(name, ""),
                _ => {
                    let name = &column.base_name;
                    return (
                        format!("Unsupported({})", quoted(name)),
                        String::new(),
                        false,
                    );
                }
            },
        };
        (base, native, is_list)
    }

    /// Whether Prisma lets these columns be a key or an index.
    fn is_key(&self, table: &Table, columns: &[String]) -> bool {
        columns.iter().all(|name| {
            table.column(name).is_some_and(|column| {
                let (base, _, is_list) = self.type_of(column);
                !is_list && base != "Json" && !base.starts_with("Unsupported")
            })
        })
    }

    /// The columns by which Prisma tells rows apart.
    fn key<'t>(&self, table: &'t Table) -> Option<&'t [String]> {
        let keys = std::iter::once(&table.primary_key).chain(&table.unique);
        let is_full = |name: &String| {
            table.primary_key.contains(name)
                || table.column(name).is_some_and(|column| !column.nullable)
        };
        keys.filter(|key| !key.is_empty() && key.iter().all(is_full))
            .find(|key| self.is_key(table, key))
            .map(Vec::as_slice)
    }

    fn name<'s>(&'s self, table: &'s Table) -> &'s str {
        &self.names[&of(table)]
    }

    fn list(&self, table: &Table, columns: &[String]) -> String {
        let of = |column: &String| {
            self.fields[&(table.schema.as_str(), table.name.as_str(), column.as_str())].clone()
        };
        columns.iter().map(of).collect::<Vec<_>>().join(", ")
    }

    /// Both sides of a foreign key, if Prisma can say it.
    fn relate(
        &mut self,
        table: &'m Table,
        reference: &'m Reference,
        taken: &mut BTreeMap<(&'m str, &'m str), Identifiers>,
    ) {
        let (Some(key), Some(parent)) = (
            &reference.foreign_key,
            self.model.table(&reference.schema, &reference.table),
        ) else {
            return;
        };
        let is_sayable = self.key(table).is_some()
            && self.key(parent).is_some()
            && self.is_key(table, &reference.columns)
            && self.is_key(parent, &reference.referenced_columns)
            && parent.is_unique(&reference.referenced_columns);
        if !is_sayable {
            return;
        }
        let (child_name, parent_name) = (self.name(table).to_owned(), self.name(parent).to_owned());
        let mut take =
            |of: (&'m str, &'m str), wanted: &str| taken.entry(of).or_default().take(wanted);
        let field = take(of(table), &format!("to_{parent_name}"));
        let back = take(of(parent), &format!("of_{child_name}"));
        let is_optional = reference
            .columns
            .iter()
            .any(|name| table.column(name).is_none_or(|column| column.nullable));
        let relation = quoted(&format!("{child_name}.{field}"));
        let on_delete = match reference.on_delete {
            Some(OnDelete::Cascade) => "Cascade",
            Some(OnDelete::Reset) if is_optional => "SetNull",
            _ => "NoAction",
        };
        let here = format!(
            "{field} {parent_name}{} @relation({relation}, fields: [{}], references: [{}], onDelete: {on_delete}, onUpdate: NoAction, \
             map: {})",
            if is_optional { "?" } else { "" },
            self.list(table, &reference.columns),
            self.list(parent, &reference.referenced_columns),
            quoted(key)
        );
        let many = if table.is_unique(&reference.columns) {
            "?"
        } else {
            "[]"
        };
        let there = format!("{back} {child_name}{many} @relation({relation})");
        self.relations.entry(of(table)).or_default().push(here);
        self.relations.entry(of(parent)).or_default().push(there);
    }
}

fn of(table: &Table) -> (&str, &str) {
    (&table.schema, &table.name)
}

fn document(text: &mut String, indent: &str, comment: Option<&str>) {
    for line in comment.into_iter().flat_map(str::lines) {
        let _ = writeln!(text, "{indent}/// {}", one_line(line));
    }
}
