//! JSON text → the binary form in which PostgreSQL takes a value of a column's type.
//!
//! A value arrives unchanged or is refused with a reason that never quotes it. Knows nothing of tables.

use postgres_types::Type;
use serde_json::Value;

mod json;
pub(crate) mod time;

macro_rules! cell_types {
    ($($variant:ident = $kind:ident $name:literal,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum CellType { $($variant,)* }

        impl CellType {
            const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// The loader's type for a PostgreSQL type; `None` where there is none yet.
            pub(crate) fn of(kind: &Type) -> Option<Self> {
                Some(match *kind {
                    $(Type::$kind => Self::$variant,)*
                    _ => return None,
                })
            }

            /// The names of all of them, for messages.
            pub(crate) fn known() -> String {
                Self::ALL.map(Self::name).join(", ")
            }

            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

cell_types! {
    Bool = BOOL "boolean",
    Int2 = INT2 "smallint",
    Int4 = INT4 "integer",
    Int8 = INT8 "bigint",
    Float4 = FLOAT4 "real",
    Float8 = FLOAT8 "double precision",
    // Not varchar(n): its length would be refused by the server in the middle of a COPY.
    Text = TEXT "text",
    Timestamptz = TIMESTAMPTZ "timestamptz",
    Timestamp = TIMESTAMP "timestamp",
    Date = DATE "date",
    Jsonb = JSONB "jsonb",
    Json = JSON "json",
    TextArray = TEXT_ARRAY "text[]",
    Int8Array = INT8_ARRAY "bigint[]",
}

/// Bytes of the longest field: PostgreSQL gives a value less than 1 GB, with a little for itself.
const MAX_FIELD: i32 = (1 << 30) - (1 << 10);

/// Why a value is rejected; a sentence without the value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Misfit(pub(crate) String);

impl CellType {
    /// The JSON form of a value that is given as a text.
    pub(crate) fn json_of(self, text: String) -> String {
        match self {
            Self::Text | Self::Timestamptz | Self::Timestamp | Self::Date => {
                Value::from(text).to_string()
            }
            _ => text,
        }
    }

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

    /// A value of a key as PostgreSQL writes it in JSON: a moment in one form, however the API spells it.
    pub(crate) fn key_json(self, raw: &str) -> serde_json::Value {
        let micros = match self {
            Self::Timestamptz => json::with_text(raw, "a timestamp", time::micros),
            Self::Timestamp => json::with_text(raw, "a timestamp", time::local_micros),
            _ => return serde_json::from_str(raw).unwrap_or_default(),
        };
        let text = micros.ok().and_then(time::iso).map(|text| {
            let zone = if self == Self::Timestamptz {
                "+00:00"
            } else {
                ""
            };
            text + zone
        });
        text.into()
    }

    fn encode_value(self, raw: &str, out: &mut Vec<u8>) -> Result<(), Misfit> {
        match self {
            Self::Bool => match raw {
                "true" => out.push(1),
                "false" => out.push(0),
                _ => return Err(mismatch(raw, "true or false")),
            },
            Self::Int2 => out.extend_from_slice(&integer::<i16>(raw, self.name())?.to_be_bytes()),
            Self::Int4 => out.extend_from_slice(&integer::<i32>(raw, self.name())?.to_be_bytes()),
            Self::Int8 => out.extend_from_slice(&integer::<i64>(raw, self.name())?.to_be_bytes()),
            Self::Float4 => out.extend_from_slice(&float::<f32>(raw, self.name())?.to_be_bytes()),
            Self::Float8 => {
                out.extend_from_slice(&float::<f64>(raw, self.name())?.to_be_bytes());
            }
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
                json::check_size(raw)?;
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

/// Why a value cannot be compared with what a `where` accepts: the code of the quarantine, and a sentence.
pub(crate) type RejectReason = (&'static str, Misfit);

/// Whether a value is one of the accepted ones. One that is missing, null or of a type that none of them has is neither.
pub(crate) fn accepts(raw: Option<&str>, accepted: &[Value]) -> Result<bool, RejectReason> {
    let Some(raw) = raw.filter(|raw| *raw != "null") else {
        let reason = "the value that `where` asks for is missing or null";
        return Err(("null", Misfit(reason.to_owned())));
    };
    let is = |value: &Value| match value {
        Value::Bool(flag) => match raw {
            "true" => Ok(*flag),
            "false" => Ok(!*flag),
            _ => Err(mismatch(raw, "true or false")),
        },
        Value::Number(number) => {
            integer::<i64>(raw, "a whole number").map(|raw| number.as_i64() == Some(raw))
        }
        value => json::with_text(raw, "a text", |raw| Ok(value == raw)),
    };
    let mut judged = Ok(false);
    for (at, value) in accepted.iter().enumerate() {
        match is(value) {
            Ok(true) => return Ok(true),
            Ok(false) => judged = Ok(false),
            Err(misfit) if at == 0 => judged = Err(("type", misfit)),
            Err(_) => {}
        }
    }
    judged
}

fn length(bytes: usize) -> Result<i32, Misfit> {
    i32::try_from(bytes)
        .ok()
        .filter(|length| *length <= MAX_FIELD)
        .ok_or_else(json::too_large)
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

fn integer<T: std::str::FromStr + TryFrom<i128>>(raw: &str, name: &str) -> Result<T, Misfit> {
    if let Ok(number) = raw.parse() {
        return Ok(number);
    }
    if kind(raw) != "a number" {
        return Err(mismatch(raw, "a whole number"));
    }
    let out_of_range = || Misfit(format!("the number is out of the range of {name}"));
    match whole(raw) {
        Whole::Number(number) => T::try_from(number).map_err(|_| out_of_range()),
        Whole::TooLarge => Err(out_of_range()),
        Whole::Not => Err(Misfit(
            "a whole number is wanted, not one with a fraction".to_owned(),
        )),
    }
}

/// What a JSON number is as a whole one.
enum Whole {
    Number(i128),
    TooLarge,
    Not,
}

/// 4.0, 40e-1 and 4e0 are whole numbers too. A float in between would lose digits.
fn whole(raw: &str) -> Whole {
    let (mantissa, exponent) = raw.split_once(['e', 'E']).unwrap_or((raw, "0"));
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{}{after}", before.trim_start_matches('-'));
    let significant = digits.trim_end_matches('0');
    if significant.trim_start_matches('0').is_empty() {
        return Whole::Number(0);
    }
    let length = |text: &str| i64::try_from(text.len()).unwrap_or(i64::MAX);
    let Ok(exponent) = exponent.parse::<i32>() else {
        return Whole::TooLarge;
    };
    let scale = i64::from(exponent) - length(after) + length(&digits) - length(significant);
    let Ok(scale) = u32::try_from(scale) else {
        return if scale < 0 {
            Whole::Not
        } else {
            Whole::TooLarge
        };
    };
    let number = significant.parse::<i128>().ok().and_then(|number| {
        let number = number.checked_mul(10_i128.checked_pow(scale)?)?;
        Some(if raw.starts_with('-') {
            -number
        } else {
            number
        })
    });
    number.map_or(Whole::TooLarge, Whole::Number)
}

/// The number as a float: of a fraction the nearest one, of a whole number itself.
fn float<T>(raw: &str, name: &str) -> Result<T, Misfit>
where
    T: std::str::FromStr + Into<f64> + Copy,
{
    if kind(raw) != "a number" {
        return Err(mismatch(raw, "a number"));
    }
    let number: T = raw.parse().map_err(|_| mismatch(raw, "a number"))?;
    let wide: f64 = number.into();
    let (mantissa, _) = raw.split_once(['e', 'E']).unwrap_or((raw, ""));
    let is_lost = wide == 0.0 && mantissa.contains(|digit| matches!(digit, '1'..='9'));
    if is_lost || !wide.is_finite() {
        return Err(Misfit(format!("the number is out of the range of {name}")));
    }
    #[expect(clippy::cast_possible_truncation, reason = "only compared")]
    let is_itself = || raw.parse() == Ok(wide as i128);
    if !raw.contains(['.', 'e', 'E']) && !is_itself() {
        return Err(Misfit(format!(
            "the number has more digits than {name} holds"
        )));
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
pub(crate) mod tests;
