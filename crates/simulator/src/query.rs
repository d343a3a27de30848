//! What a list is asked for (scope, filters, ranges, order, page) and how rows are picked by it. Knows no resource by name.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::RangeInclusive;

use super::fields::{self, Kind, Resource};
use super::world::{Patch, Rows as _, Stamp, Table, World};
use super::{OpenRange, Overlong, Unknowns, Unlisted};

/// The value of one field of one row.
#[derive(Clone, Debug)]
pub(crate) enum Cell<'a> {
    Bool(bool),
    Number(f64),
    Int(i64),
    Time(Stamp),
    Text(Cow<'a, str>),
    /// Orders last, as in the database behind the real API.
    Null,
}

impl Cell<'_> {
    pub(crate) fn time(value: Option<Stamp>) -> Self {
        value.map_or(Self::Null, Self::Time)
    }

    pub(crate) fn int(value: Option<i64>) -> Self {
        value.map_or(Self::Null, Self::Int)
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Bool(_) => 0,
            Self::Number(_) | Self::Int(_) => 1,
            Self::Time(_) => 2,
            Self::Text(_) => 3,
            Self::Null => 4,
        }
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "only compared with fractions, which are small"
    )]
    fn compare(&self, other: &Self) -> Ordering {
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
}

/// The part of a resource that a nested path lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    All,
    Cursus(i64),
    Campus(i64),
    Project(i64),
    Achievement(i64),
    Coalition(i64),
    User(i64),
}

/// A row that can be picked, ordered and shown.
pub(crate) trait Row {
    fn id(&self) -> i64;
    fn cell<'a>(&'a self, field: &str, world: &'a World) -> Cell<'a>;
    fn inside(&self, scope: Scope, world: &World) -> bool;
    fn write(&self, world: &World, out: &mut Vec<u8>);

    /// The ids in a field that has several.
    fn several<'a>(&'a self, _field: &str, _world: &'a World) -> Option<&'a [i64]> {
        None
    }

    /// How a field that a list can only be filtered by follows from another one.
    fn flag(_field: &str) -> Option<Flag> {
        None
    }
}

/// A field that is true or false by the value of another one.
#[derive(Clone, Copy)]
pub(crate) enum Flag {
    /// It has a value.
    Given(&'static str),
    /// It has none.
    Absent(&'static str),
    /// It lies in the past.
    Past(&'static str),
    /// It lies in the future.
    Future(&'static str),
    /// It has no value, or lies in the future.
    NotPast(&'static str),
}

/// A row as a query sees it: with the values that were set in place of its own.
pub(crate) struct PatchedRow<'a, R> {
    row: &'a R,
    patch: Option<&'a Patch>,
}

impl<'a, R: Row> PatchedRow<'a, R> {
    pub(crate) const fn new(row: &'a R, patch: Option<&'a Patch>) -> Self {
        Self { row, patch }
    }

    fn cell(&self, field: &str, world: &'a World) -> Cell<'a> {
        if let Some(cell) = self.patch.and_then(|patch| patch.cell(field)) {
            return cell;
        }
        let of = |field: &str| match self.cell(field, world) {
            Cell::Time(at) => (true, Some(at > world.now())),
            Cell::Null => (false, None),
            _ => (true, None),
        };
        Cell::Bool(match R::flag(field) {
            None => return self.row.cell(field, world),
            Some(Flag::Given(field)) => of(field).0,
            Some(Flag::Absent(field)) => !of(field).0,
            Some(Flag::Past(field)) => of(field).1 == Some(false),
            Some(Flag::Future(field)) => of(field).1 == Some(true),
            Some(Flag::NotPast(field)) => of(field).1 != Some(false),
        })
    }

    fn has(&self, field: &str, wanted: &[Cell<'static>], world: &World) -> bool {
        let is_wanted = |cell: &Cell<'_>| wanted.iter().any(|value| equal(cell, value));
        match self.row.several(field, world) {
            Some(ids) => ids.iter().any(|id| is_wanted(&Cell::Int(*id))),
            None => is_wanted(&self.cell(field, world)),
        }
    }
}

fn equal(cell: &Cell<'_>, wanted: &Cell<'_>) -> bool {
    match (cell, wanted) {
        (Cell::Null, _) => false,
        (Cell::Bool(flag), Cell::Text(text)) => text == if *flag { "true" } else { "false" },
        (Cell::Int(number), Cell::Text(text)) => text.parse() == Ok(*number),
        (Cell::Time(at), Cell::Time(wanted)) => at.shown() == wanted.shown(),
        _ => cell.compare(wanted) == Ordering::Equal,
    }
}

/// A list query, checked against the fields of its resource.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) scope: Scope,
    filters: Vec<(String, Vec<Cell<'static>>)>,
    ranges: Vec<Range>,
    order: Vec<(String, bool)>,
}

#[derive(Debug)]
struct Range {
    field: String,
    low: Option<Cell<'static>>,
    high: Option<Cell<'static>>,
    shown: bool,
}

/// The page asked for: its number from 1, and its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Paging {
    pub(crate) page: usize,
    pub(crate) size: usize,
}

type Pairs = [(String, String)];

impl Query {
    /// Everything in a scope, by ascending id.
    pub(crate) fn of(scope: Scope) -> Self {
        Self {
            scope,
            filters: Vec::new(),
            ranges: Vec::new(),
            order: vec![("id".to_owned(), false)],
        }
    }

    /// Errs with the sentence of the 400 answer.
    pub(crate) fn parse(
        resource: Resource,
        scope: Scope,
        pairs: &Pairs,
        unknowns: &Unknowns,
    ) -> Result<Self, String> {
        let fields = fields::fields(resource, unknowns);
        let listed = |list: &[&str], field: &str, what: &str| {
            if list.contains(&field) {
                Ok(true)
            } else if unknowns.unlisted == Unlisted::Ignored {
                Ok(false)
            } else {
                Err(format!("{what} by {field} is not possible on {resource}"))
            }
        };
        let mut query = Self {
            scope,
            filters: Vec::new(),
            ranges: Vec::new(),
            order: Vec::new(),
        };
        for (key, value) in pairs {
            if let Some(field) = bracketed(key, "filter") {
                if listed(fields.filter, field, "filter")? {
                    let wanted = value.split(',').map(|one| read(field, one));
                    let wanted = wanted.collect::<Result<_, _>>()?;
                    query.filters.push((field.to_owned(), wanted));
                }
            } else if let Some(field) = bracketed(key, "range") {
                if listed(fields.range, field, "range")? {
                    query.ranges.extend(range(field, value, unknowns)?);
                }
            } else if key == "sort" {
                for term in value.split(',').filter(|term| !term.is_empty()) {
                    let (field, descending) = direction(term);
                    if listed(fields.sort, field, "sort")? {
                        query.order.push((field.to_owned(), descending));
                    }
                }
            }
        }
        if query.order.is_empty() {
            let order = fields.order.iter().map(|term| direction(term));
            query.order = order.map(|(f, down)| (f.to_owned(), down)).collect();
        }
        Ok(query)
    }

    /// Takes whole-number bounds of ids out of the query: what they leave of its list is a part of it, in its order.
    pub(crate) fn take_ids(&mut self) -> Option<RangeInclusive<i64>> {
        let is_ids = |range: &Range| {
            range.field == "id"
                && matches!(
                    (&range.low, &range.high),
                    (Some(Cell::Int(_)), Some(Cell::Int(_)))
                )
        };
        let at = self.ranges.iter().position(is_ids)?;
        match self.ranges.remove(at) {
            Range {
                low: Some(Cell::Int(low)),
                high: Some(Cell::Int(high)),
                ..
            } => Some(low..=high),
            _ => None,
        }
    }

    /// Whether the list is in the order of falling ids.
    pub(crate) fn is_by_falling_ids(&self) -> bool {
        matches!(self.order.as_slice(), [(field, true)] if field == "id")
    }

    /// The ids of the rows that the query picks, in its order.
    pub(crate) fn pick<R: Row>(&self, table: &Table<R>, world: &World) -> Vec<i64> {
        let kept = table.patched_rows().filter(|row| self.accepts(row, world));
        if let [(field, descending)] = self.order.as_slice()
            && field == "id"
            && !table.sets("id")
        {
            let mut ids: Vec<i64> = kept.map(|kept| kept.row.id()).collect();
            if *descending {
                ids.reverse();
            }
            return ids;
        }
        let width = self.order.len();
        let mut keys = Vec::new();
        let mut ids = Vec::new();
        for row in kept {
            ids.push(row.row.id());
            let cells = self.order.iter();
            keys.extend(cells.map(|(field, _)| row.cell(field, world)));
        }
        let mut places: Vec<usize> = (0..ids.len()).collect();
        // Newest first is the commonest order, and ids mostly grow with time: the sort then only has to confirm it.
        places.reverse();
        places.sort_by(|&a, &b| {
            let pairs = keys[a * width..][..width]
                .iter()
                .zip(&keys[b * width..][..width]);
            let mut orders = pairs.zip(&self.order).map(|((a, b), (_, descending))| {
                let order = a.compare(b);
                if *descending { order.reverse() } else { order }
            });
            orders
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal)
        });
        places.into_iter().map(|place| ids[place]).collect()
    }

    fn accepts<R: Row>(&self, row: &PatchedRow<'_, R>, world: &World) -> bool {
        row.row.inside(self.scope, world)
            && (self.filters.iter()).all(|(field, wanted)| row.has(field, wanted, world))
            && (self.ranges.iter()).all(|range| range.holds(&row.cell(&range.field, world)))
    }
}

impl Range {
    fn holds(&self, cell: &Cell<'_>) -> bool {
        let cell = match cell {
            Cell::Null => return false,
            Cell::Time(at) if self.shown => &Cell::Time(at.shown()),
            other => other,
        };
        let above = |low: &Cell<'_>| cell.compare(low) != Ordering::Less;
        let below = |high: &Cell<'_>| cell.compare(high) != Ordering::Greater;
        self.low.as_ref().is_none_or(above) && self.high.as_ref().is_none_or(below)
    }
}

impl Paging {
    pub(crate) fn parse(pairs: &Pairs, cap: u32, overlong: Overlong) -> Result<Self, String> {
        let number = |keys: [&str; 2]| {
            let mut values = keys
                .iter()
                .filter_map(|key| pairs.iter().find(|(name, _)| name == key));
            values
                .next()
                .map(|(key, value)| match value.parse::<usize>() {
                    Ok(number) if number > 0 => Ok(number),
                    _ => Err(format!("{key} must be a positive integer")),
                })
                .transpose()
        };
        let cap = usize::try_from(cap.max(1)).unwrap_or(usize::MAX);
        let size = number(["page[size]", "per_page"])?.unwrap_or(30.min(cap));
        if size > cap && overlong == Overlong::BadRequest {
            return Err(format!("a page holds at most {cap} rows"));
        }
        let page = number(["page[number]", "page"])?.unwrap_or(1);
        Ok(Self {
            page,
            size: size.min(cap),
        })
    }

    /// The page number alone, for fault rules; 1 where it cannot be read.
    pub(crate) fn number(pairs: &Pairs) -> u32 {
        let keys = ["page[number]", "page"];
        let mut values = keys
            .iter()
            .filter_map(|key| pairs.iter().find(|(name, _)| name == key));
        let value = values.next().and_then(|(_, value)| value.parse().ok());
        value.unwrap_or(1)
    }
}

fn bracketed<'a>(key: &'a str, what: &str) -> Option<&'a str> {
    key.strip_prefix(what)?.strip_prefix('[')?.strip_suffix(']')
}

fn direction(term: &str) -> (&str, bool) {
    match term.strip_prefix('-') {
        Some(field) => (field, true),
        None => (term, false),
    }
}

fn read(field: &str, text: &str) -> Result<Cell<'static>, String> {
    let bad = || format!("{field} cannot be {text:?}");
    match fields::kind(field) {
        Kind::Number => match text.parse::<i64>() {
            Ok(number) => Ok(Cell::Int(number)),
            Err(_) => text.parse().map(Cell::Number).map_err(|_| bad()),
        },
        Kind::Time => Stamp::parse(text).map(Cell::Time).ok_or_else(bad),
        Kind::Text => Ok(Cell::Text(Cow::Owned(text.to_owned()))),
    }
}

fn range(field: &str, value: &str, unknowns: &Unknowns) -> Result<Option<Range>, String> {
    let (low, high) = value.split_once(',').unwrap_or((value, ""));
    if low.is_empty() || high.is_empty() {
        match unknowns.open_range {
            OpenRange::BadRequest => {
                return Err(format!("range[{field}] takes a minimum and a maximum"));
            }
            OpenRange::Ignored => return Ok(None),
            OpenRange::Accepted => {}
        }
    }
    let bound = |text: &str| (!text.is_empty()).then(|| read(field, text)).transpose();
    Ok(Some(Range {
        field: field.to_owned(),
        low: bound(low)?,
        high: bound(high)?,
        shown: unknowns.whole_milliseconds,
    }))
}
