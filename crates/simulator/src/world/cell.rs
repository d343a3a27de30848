//! The value of one field of a row: how it is shown, and how it is compared in a query.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::row::{Object, Row, json};
use super::{Stamp, World};
use crate::fields::{self, Kind};

#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Cell {
    Bool(bool),
    Int(i64),
    Number(f64),
    Time(Stamp),
    Text(Cow<'static, str>),
    /// Orders last, as in the database behind the real API.
    Null,
    /// Objects, lists, and what a file gave: shown as it is.
    Json(Box<RawValue>),
    /// Follows from the rest of its row and from the world, each time that it is looked at.
    #[serde(skip)]
    Made(Made),
}

pub(crate) type Made = fn(&Row, &World) -> Cell;

impl Cell {
    /// The JSON of a value of ours.
    pub(super) fn json(value: &impl Serialize) -> Self {
        RawValue::from_string(json(value)).map_or(Self::Null, Self::Json)
    }

    /// What a query sees of a JSON value: what the column of the field cannot hold is, to the database behind the API, none.
    pub(super) fn read(field: &str, value: &Value) -> Self {
        let number = |number: Option<i64>, fraction: Option<f64>| {
            number.map_or_else(|| fraction.map_or(Self::Null, Self::Number), Self::Int)
        };
        match value {
            Value::Bool(flag) => Self::Bool(*flag),
            Value::Number(value) => number(value.as_i64(), value.as_f64()),
            Value::String(text) => match fields::kind(field) {
                Kind::Time => Stamp::parse(text).into(),
                Kind::Number => number(text.parse().ok(), text.parse().ok()),
                Kind::Text => Self::Text(text.clone().into()),
            },
            Value::Null | Value::Array(_) | Value::Object(_) => Self::Null,
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Bool(_) => 0,
            Self::Int(_) | Self::Number(_) => 1,
            Self::Time(_) => 2,
            Self::Text(_) => 3,
            Self::Null | Self::Json(_) | Self::Made(_) => 4,
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "only compared with fractions, which are small"
    )]
    pub(crate) fn compare(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Int(a), Self::Int(b)) => a.cmp(b),
            (Self::Number(a), Self::Number(b)) => a.total_cmp(b),
            (Self::Number(a), Self::Int(b)) => a.total_cmp(&(*b as f64)),
            (Self::Int(a), Self::Number(b)) => (*a as f64).total_cmp(b),
            (Self::Time(a), Self::Time(b)) => a.cmp(b),
            (Self::Text(a), Self::Text(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }

    /// Whether a filter that asks for a value takes this one.
    pub(crate) fn is(&self, wanted: &Self) -> bool {
        match (self, wanted) {
            (Self::Null, _) => false,
            (Self::Bool(flag), Self::Text(text)) => text == if *flag { "true" } else { "false" },
            (Self::Int(number), Self::Text(text)) => text.parse() == Ok(*number),
            (Self::Time(at), Self::Time(wanted)) => at.shown() == wanted.shown(),
            _ => self.compare(wanted) == Ordering::Equal,
        }
    }
}

macro_rules! cells {
    ($($from:ty => $to:expr,)*) => {$(
        impl From<$from> for Cell {
            fn from(value: $from) -> Self {
                $to(value)
            }
        }
    )*};
}

cells! {
    bool => Self::Bool,
    i64 => Self::Int,
    f64 => Self::Number,
    Stamp => Self::Time,
    String => |text: String| Self::Text(text.into()),
    &'static str => |text: &'static str| Self::Text(text.into()),
    &Object => Self::json,
    Object => |object: Object| Self::json(&object),
    Made => Self::Made,
    Box<RawValue> => Self::Json,
}

impl<T: Into<Self>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<T: Serialize> From<Vec<T>> for Cell {
    fn from(values: Vec<T>) -> Self {
        Self::json(&values)
    }
}
