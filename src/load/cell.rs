//! JSON text → the binary form in which PostgreSQL takes a value of a column's type.
//!
//! A value arrives unchanged or is refused with a reason that never quotes it. Knows nothing of tables.

use postgres_types::Type;

mod document;
mod json;
pub(crate) mod time;

pub(super) use document::is_same_document;

/// The types of columns that can be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CellType {
    Bool,
    Int2,
    Int4,
    Int8,
    Float4,
    Float8,
    Text,
    Timestamptz,
    Timestamp,
    Date,
    Jsonb,
    Json,
    TextArray,
    Int8Array,
}

/// Why a value does not fit its column; a sentence without the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Misfit(pub(super) String);

impl CellType {
    /// The loader's type for a PostgreSQL type; `None` where there is none yet.
    pub(crate) fn of(kind: &Type) -> Option<Self> {
        Some(match *kind {
            Type::BOOL => Self::Bool,
            Type::INT2 => Self::Int2,
            Type::INT4 => Self::Int4,
            Type::INT8 => Self::Int8,
            Type::FLOAT4 => Self::Float4,
            Type::FLOAT8 => Self::Float8,
            // Not varchar(n): its length would be refused by the server in the middle of a COPY.
            Type::TEXT => Self::Text,
            Type::TIMESTAMPTZ => Self::Timestamptz,
            Type::TIMESTAMP => Self::Timestamp,
            Type::DATE => Self::Date,
            Type::JSONB => Self::Jsonb,
            Type::JSON => Self::Json,
            Type::TEXT_ARRAY => Self::TextArray,
            Type::INT8_ARRAY => Self::Int8Array,
            _ => return None,
        })
    }

    /// Whether its JSON form is a text.
    pub(super) fn is_quoted(self) -> bool {
        matches!(
            self,
            Self::Text | Self::Timestamptz | Self::Timestamp | Self::Date
        )
    }

    /// The names of all of them, for messages.
    pub(super) const KNOWN: &'static str = "boolean, smallint, integer, bigint, real, double precision, text, \
         timestamptz, timestamp, date, jsonb, json, text[], bigint[]";

    /// Appends a COPY field: length, then bytes; NULL for JSON null and for a value that is not there.
    pub(crate) fn encode(self, raw: Option<&str>, out: &mut Vec<u8>) -> Result<(), Misfit> {
        let Some(raw) = raw.filter(|raw| *raw != "null") else {
            out.extend_from_slice(&(-1_i32).to_be_bytes());
            return Ok(());
        };
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        match self
            .encode_value(raw, out)
            .and_then(|()| length(out.len() - start - 4))
        {
            Ok(length) => {
                out[start..start + 4].copy_from_slice(&length.to_be_bytes());
                Ok(())
            }
            Err(misfit) => {
                out.truncate(start);
                Err(misfit)
            }
        }
    }

    fn encode_value(self, raw: &str, out: &mut Vec<u8>) -> Result<(), Misfit> {
        match self {
            Self::Bool => match raw {
                "true" => out.push(1),
                "false" => out.push(0),
                _ => return Err(mismatch(raw, "true or false")),
            },
            Self::Int2 => out.extend_from_slice(&integer::<i16>(raw, "smallint")?.to_be_bytes()),
            Self::Int4 => out.extend_from_slice(&integer::<i32>(raw, "integer")?.to_be_bytes()),
            Self::Int8 => out.extend_from_slice(&integer::<i64>(raw, "bigint")?.to_be_bytes()),
            Self::Float4 => {
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "real is asked for; its range is checked"
                )]
                let number = float(raw)? as f32;
                if !number.is_finite() {
                    return Err(Misfit("the number is out of the range of real".to_owned()));
                }
                out.extend_from_slice(&number.to_be_bytes());
            }
            Self::Float8 => out.extend_from_slice(&float(raw)?.to_be_bytes()),
            Self::Text => json::text(raw, out)?,
            Self::Timestamptz => {
                out.extend_from_slice(
                    &json::with_text(raw, "a timestamp", time::micros)?.to_be_bytes(),
                );
            }
            Self::Timestamp => {
                out.extend_from_slice(
                    &json::with_text(raw, "a timestamp", time::local_micros)?.to_be_bytes(),
                );
            }
            Self::Date => {
                out.extend_from_slice(&json::with_text(raw, "a date", time::days)?.to_be_bytes());
            }
            Self::Jsonb => {
                json::check_for_postgres(raw)?;
                out.push(1);
                out.extend_from_slice(raw.as_bytes());
            }
            Self::Json => {
                json::check_for_postgres(raw)?;
                out.extend_from_slice(raw.as_bytes());
            }
            Self::TextArray => array(raw, Self::Text, &Type::TEXT, out)?,
            Self::Int8Array => array(raw, Self::Int8, &Type::INT8, out)?,
        }
        Ok(())
    }
}

fn length(bytes: usize) -> Result<i32, Misfit> {
    i32::try_from(bytes).map_err(|_| Misfit("the value is larger than PostgreSQL takes".to_owned()))
}

/// What kind of JSON value `raw` is, for a message that does not quote it.
fn kind(raw: &str) -> &'static str {
    match raw.as_bytes().first() {
        Some(b'"') => "a text",
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

fn mismatch(raw: &str, wanted: &str) -> Misfit {
    Misfit(format!("{wanted} is wanted, not {}", kind(raw)))
}

fn integer<T: std::str::FromStr + TryFrom<i64>>(raw: &str, name: &str) -> Result<T, Misfit> {
    if let Ok(number) = raw.parse() {
        return Ok(number);
    }
    if kind(raw) != "a number" {
        return Err(mismatch(raw, "a whole number"));
    }
    // 4.0 and 4e0 are whole numbers too.
    let out_of_range = || Misfit(format!("the number is out of the range of {name}"));
    if !raw.contains(['.', 'e', 'E']) {
        return Err(out_of_range());
    }
    let number = float(raw)?;
    if number.fract() != 0.0 {
        return Err(Misfit(
            "a whole number is wanted, not one with a fraction".to_owned(),
        ));
    }
    // Beyond 2^53 a float no longer tells neighbours apart.
    if number.abs() > 9_007_199_254_740_992.0 {
        return Err(out_of_range());
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a whole number within 2^53"
    )]
    T::try_from(number as i64).map_err(|_| out_of_range())
}

fn float(raw: &str) -> Result<f64, Misfit> {
    if kind(raw) != "a number" {
        return Err(mismatch(raw, "a number"));
    }
    let number: f64 = raw.parse().map_err(|_| mismatch(raw, "a number"))?;
    if !number.is_finite() {
        return Err(Misfit(
            "the number is out of the range of double precision".to_owned(),
        ));
    }
    // A whole number that a float would round is refused rather than changed.
    if let Ok(whole) = raw.parse::<i128>() {
        #[expect(clippy::cast_possible_truncation, reason = "only compared")]
        let back = number as i128;
        if back != whole {
            return Err(Misfit(
                "the number has more digits than double precision holds".to_owned(),
            ));
        }
    }
    Ok(number)
}

fn array(raw: &str, element: CellType, kind: &Type, out: &mut Vec<u8>) -> Result<(), Misfit> {
    let items: Vec<&serde_json::value::RawValue> =
        serde_json::from_str(raw).map_err(|_| mismatch(raw, "a list"))?;
    let has_null = items.iter().any(|item| item.get() == "null");
    let dimensions: i32 = i32::from(!items.is_empty());
    out.extend_from_slice(&dimensions.to_be_bytes());
    out.extend_from_slice(&i32::from(has_null).to_be_bytes());
    out.extend_from_slice(&kind.oid().to_be_bytes());
    if !items.is_empty() {
        out.extend_from_slice(&length(items.len())?.to_be_bytes());
        out.extend_from_slice(&1_i32.to_be_bytes());
    }
    items
        .iter()
        .try_for_each(|item| element.encode(Some(item.get()), out))
}

#[cfg(test)]
mod tests;
