//! The header of a panel's file: lines `-- key: value` before the query. The first line of another form ends it.

use std::time::Duration;

use serde::Serialize;

/// How often a query may run at most, and how seldom at least.
const OFTENEST: Duration = Duration::from_secs(10);
const SELDOMEST: Duration = Duration::from_hours(24);

const KEYS: [&str; 7] = [
    "title", "chart", "unit", "caption", "empty", "every", "width",
];

/// How a panel is drawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Header {
    pub(crate) title: String,
    #[serde(rename = "chart")]
    pub(crate) kind: Kind,
    /// What the numbers count.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) unit: String,
    /// A sentence below the picture.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) caption: String,
    /// What is said where there is no row.
    #[serde(skip)]
    pub(crate) empty: String,
    #[serde(skip)]
    pub(crate) width: Width,
    /// The age at which the query runs again.
    #[serde(skip)]
    pub(crate) every: Duration,
}

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    Bars,
    /// What comes next; `/calendar.ics` has it too.
    Calendar,
    Columns,
    Figures,
    Heat,
    Map,
    Table,
    /// Nothing: the time zone of the panels that follow.
    Zone,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Width {
    /// Beside others, where there is room.
    #[default]
    Part,
    Full,
}

impl Kind {
    const ALL: [(&str, Self); 8] = [
        ("bars", Self::Bars),
        ("calendar", Self::Calendar),
        ("columns", Self::Columns),
        ("figures", Self::Figures),
        ("heat", Self::Heat),
        ("map", Self::Map),
        ("table", Self::Table),
        ("zone", Self::Zone),
    ];

    /// The columns that a query of it has, and those that it may have; of a table these are for its first and its last column.
    pub(crate) fn columns(self) -> (&'static [&'static str], &'static [&'static str]) {
        match self {
            Self::Bars | Self::Figures => (
                &["label", "value"],
                &["text", "note", "tone", "colour", "link"],
            ),
            Self::Calendar => (
                &["id", "label", "begin_at"],
                &["end_at", "place", "text", "note", "tone", "link"],
            ),
            Self::Columns => (&["label", "value"], &["text", "tone"]),
            Self::Heat => (&["row", "column", "value"], &[]),
            Self::Map => (&["zone", "row", "seat", "label"], &["text", "note", "tone"]),
            Self::Table => (&[], &["link", "tone"]),
            Self::Zone => (&["label", "value"], &[]),
        }
    }

    /// Rows of it that are read.
    pub(super) fn most_rows(self) -> usize {
        match self {
            Self::Heat => 1000,
            Self::Calendar | Self::Map => 2000,
            _ => 500,
        }
    }
}

/// The header of a file, and its query; or what is wrong with it, a sentence.
pub(super) fn parse(text: &str) -> Result<(Header, &str), String> {
    let mut header = Header {
        title: String::new(),
        kind: Kind::Zone,
        unit: String::new(),
        caption: String::new(),
        empty: "there is nothing to show yet".to_owned(),
        width: Width::Part,
        every: Duration::from_mins(1),
    };
    let mut given: Vec<&str> = Vec::new();
    let mut query = text.trim_start_matches('\u{feff}');
    for (number, line) in (1..).zip(query.lines()) {
        let Some((key, value)) = entry(line) else {
            break;
        };
        let of_line = |fault: String| format!("line {number}: {fault}");
        if given.contains(&key) {
            return Err(of_line(format!("`{key}` is given twice")));
        }
        header.set(key, value).map_err(of_line)?;
        given.push(key);
        query = query.split_once('\n').map_or("", |(_, rest)| rest);
    }
    for key in ["title", "chart"] {
        if !given.contains(&key) {
            return Err(format!(
                "its header has no `{key}`; begin the file with lines such as `-- {key}: {}`",
                if key == "title" { "Levels" } else { "bars" }
            ));
        }
    }
    Ok((header, query))
}

/// A line `-- key: value`.
fn entry(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.strip_prefix("--")?.split_once(':')?;
    let key = key.trim();
    let is_word = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_lowercase());
    is_word.then(|| (key, value.trim()))
}

impl Header {
    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        if value.is_empty() {
            return Err(format!(
                "`{key}` has no value; write one, or remove the line"
            ));
        }
        match key {
            "title" => value.clone_into(&mut self.title),
            "unit" => value.clone_into(&mut self.unit),
            "caption" => value.clone_into(&mut self.caption),
            "empty" => value.clone_into(&mut self.empty),
            "chart" => {
                let kind = Kind::ALL.into_iter().find(|(name, _)| *name == value);
                let names = Kind::ALL.map(|(name, _)| name).join(", ");
                let (_, kind) =
                    kind.ok_or_else(|| format!("`chart` is one of {names}, not `{value}`"))?;
                self.kind = kind;
            }
            "width" => {
                self.width = match value {
                    "part" => Width::Part,
                    "full" => Width::Full,
                    _ => return Err(format!("`width` is part or full, not `{value}`")),
                }
            }
            "every" => {
                let every = humantime::parse_duration(value).ok();
                self.every = every
                    .filter(|every| (OFTENEST..=SELDOMEST).contains(every))
                    .ok_or_else(|| {
                        format!("`every` is a duration from 10s to 24h, such as 5m, not `{value}`")
                    })?;
            }
            _ => return Err(unknown(key)),
        }
        Ok(())
    }
}

fn unknown(key: &str) -> String {
    let nearest = KEYS.into_iter().max_by(|one, other| {
        let near = |known| strsim::jaro(key, known);
        near(one).total_cmp(&near(other))
    });
    match nearest.filter(|nearest| strsim::jaro(key, nearest) > 0.8) {
        Some(nearest) => format!("`{key}` is no key of a header; did you mean `{nearest}`?"),
        None => format!(
            "`{key}` is no key of a header; they are {}",
            KEYS.join(", ")
        ),
    }
}
