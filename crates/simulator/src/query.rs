//! What a list is asked for (scope, filters, ranges, order, page) and how rows are picked by it. Knows no resource by name.

use std::cmp::Ordering;
use std::ops::RangeInclusive;

use super::fields::{self, Kind, Resource};
use super::world::{Cell, Row, Stamp, World};
use super::{OpenRange, Overlong, Unknowns, Unlisted};

/// The part of a resource that a path lists: all, or what belongs to rows of other resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    All,
    Of(Resource, i64),
    /// What belongs to both rows.
    Both((Resource, i64), (Resource, i64)),
}

/// A list query, checked against the fields of its resource.
#[derive(Debug)]
pub(crate) struct Query {
    pub(crate) scope: Scope,
    filters: Vec<(String, Vec<Cell>)>,
    ranges: Vec<Range>,
    order: Vec<(String, bool)>,
}

#[derive(Debug)]
struct Range {
    field: String,
    low: Option<Cell>,
    high: Option<Cell>,
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
        let listed = |is_listed: bool, field: &str, what: &str| {
            if is_listed {
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
                if listed(fields.can_filter(field), field, "filter")? {
                    let wanted = value.split(',').map(|one| read(field, one));
                    let wanted = wanted.collect::<Result<_, _>>()?;
                    query.filters.push((field.to_owned(), wanted));
                }
            } else if let Some(field) = bracketed(key, "range") {
                if listed(fields.can_range(field), field, "range")? {
                    query.ranges.extend(range(field, value, unknowns)?);
                }
            } else if key == "sort" {
                for term in value.split(',').filter(|term| !term.is_empty()) {
                    let (field, descending) = direction(term);
                    if listed(fields.can_sort(field), field, "sort")? {
                        query.order.push((field.to_owned(), descending));
                    }
                }
            }
        }
        if query.order.is_empty() {
            let order = fields.order().map(direction);
            query.order = order.map(|(f, down)| (f.to_owned(), down)).collect();
        }
        Ok(query)
    }

    /// Removes integer bounds of ids from the query: they select a slice of the list, in its order.
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

    /// The ids of the rows of a resource that the query picks, in its order.
    pub(crate) fn pick(&self, resource: Resource, world: &World) -> Vec<i64> {
        let table = world.table(resource);
        let kept = table
            .rows()
            .filter(|row| self.accepts(resource, row, world));
        if let [(field, descending)] = self.order.as_slice()
            && field == "id"
            && !table.sets("id")
        {
            let mut ids: Vec<i64> = kept.map(|row| row.id).collect();
            if *descending {
                ids.reverse();
            }
            return ids;
        }
        let keyed = kept.map(|row| {
            let fields = self.order.iter();
            let keys = fields.map(|(field, _)| world.cell(resource, row, field));
            (keys.collect::<Vec<_>>(), row.id)
        });
        let mut keyed: Vec<_> = keyed.collect();
        // Newest first is the commonest order, and ids mostly grow with time: the sort then only has to confirm it.
        keyed.reverse();
        keyed.sort_by(|(a, _), (b, _)| {
            let pairs = a.iter().zip(b).zip(&self.order);
            let mut orders = pairs.map(|((a, b), (_, descending))| {
                let order = a.compare(b);
                if *descending { order.reverse() } else { order }
            });
            orders
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal)
        });
        keyed.into_iter().map(|(_, id)| id).collect()
    }

    fn accepts(&self, resource: Resource, row: &Row, world: &World) -> bool {
        world.lists(resource, row, self.scope)
            && (self.filters.iter()).all(|(field, wanted)| {
                let has = |cell: &Cell| wanted.iter().any(|wanted| cell.is(wanted));
                match world.several(resource, row, field) {
                    Some(ids) => ids.iter().any(|id| has(&Cell::Int(*id))),
                    None => has(&world.cell(resource, row, field)),
                }
            })
            && (self.ranges.iter()).all(|range| {
                let cell = world.cell(resource, row, &range.field);
                range.holds(&cell)
            })
    }
}

impl Range {
    fn holds(&self, cell: &Cell) -> bool {
        let cell = match cell {
            Cell::Null => return false,
            Cell::Time(at) if self.shown => &Cell::Time(at.shown()),
            other => other,
        };
        let above = |low: &Cell| cell.compare(low) != Ordering::Less;
        let below = |high: &Cell| cell.compare(high) != Ordering::Greater;
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

fn read(field: &str, text: &str) -> Result<Cell, String> {
    let bad = || format!("{field} cannot be {text:?}");
    match fields::kind(field) {
        Kind::Number => match text.parse::<i64>() {
            Ok(number) => Ok(Cell::Int(number)),
            Err(_) => text.parse().map(Cell::Number).map_err(|_| bad()),
        },
        Kind::Time => Stamp::parse(text).map(Cell::Time).ok_or_else(bad),
        Kind::Text => Ok(text.to_owned().into()),
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
