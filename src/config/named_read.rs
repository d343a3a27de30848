//! `[[resource.read]]`: a named read beside a resource's delta and full read.

use std::collections::BTreeSet;

use super::names::{Names, Scope, Slice};
use super::read_keys::{Seen, check_fan_out, read_cursor, read_for_each, read_name, read_query};
use super::reader::Section;
use super::resource::{FullEvery, NamedRead, Paging, QueryParameter, Resource};
use crate::name::Name;
use crate::template::Template;

pub(super) fn read(
    blocks: Vec<Section<'_>>,
    resource: &Resource,
    scope: &Scope,
    names: &Names,
) -> Vec<Resource> {
    let mut seen = Seen::new();
    let mut reads: Vec<Resource> = Vec::new();
    for mut block in blocks {
        let name = read_name(&mut block, "resource.read", &mut seen);
        if let Some(name) = &name {
            block.rename(format!("[[resource.read]] {} of {}", name, resource.name));
        }
        if let Some(read) = read_one(&block, name, resource, scope, names) {
            check_overlap(&block, &read, &reads, resource);
            reads.push(read);
        }
        block.finish();
    }
    reads
}

fn read_one(
    block: &Section<'_>,
    name: Option<Name>,
    resource: &Resource,
    scope: &Scope,
    names: &Names,
) -> Option<Resource> {
    if resource.for_each.is_some() {
        let message = "a resource that fans out (`for_each`) has no named reads";
        block.problem(block.at(), message);
    }
    let for_each = block
        .section("for_each")
        .and_then(|section| read_for_each(section, None, scope, names))
        .map(|(for_each, _)| for_each);
    let slice = match &for_each {
        Some(each) => Slice::Each(each),
        None if block.has("for_each") || block.is_misspelt("for_each") => Slice::Unsure,
        None => Slice::None,
    };
    let own = read_query(block, "query", scope, slice).unwrap_or_default();
    let cursor = block
        .section("cursor")
        .and_then(|section| read_cursor(section, true));
    let full_every = block.duration("full_every");
    if full_every.is_some() && cursor.is_none() && !block.is_misspelt("cursor") {
        let message =
            "`full_every` only means something with a `cursor`: without one every read is full";
        block.problem(block.at(), message);
    }
    let every = block.duration("every");
    if every.is_none() && !block.has("every") && !block.is_misspelt("every") {
        let message = "a named read needs `every`, how old it may become, such as every = \"1h\"";
        block.problem(block.at(), message);
    }
    let query = joined(&resource.query, own);
    if let Some(for_each) = &for_each {
        check_fan_out(
            block,
            Some(&resource.path),
            [&query, &query],
            for_each,
            scope,
        );
        if cursor.is_some() {
            let message = "a read with `for_each` has no `cursor`: it asks for known ids";
            block.problem(block.at(), message);
        }
    }
    if let Some(for_each) = &for_each
        && for_each.ids_of != resource.name
    {
        let message = "a named read runs over the known ids of its own resource; make it a resource to run over others";
        block.problem(block.at(), message);
    }
    if for_each.is_some() && resource.cursor.is_none() {
        let message = "known ids are those of full reads: give the resource a `cursor`";
        block.problem(block.at(), message);
    }
    let is_wider = resource
        .query
        .iter()
        .any(|parameter| !query.contains(parameter));
    if is_wider && for_each.is_none() && resource.cursor.is_some() {
        let message = "it asks for records that the resource does not have, and each full read would delete them; \
                       only a read with `for_each` can change or drop a parameter of the resource";
        block.problem(block.at(), message);
    }
    let proves_absence = block.flag("proves_absence").unwrap_or(false);
    if proves_absence && (for_each.is_some() || cursor.is_some()) {
        let message =
            "`proves_absence` is for a read that is always full: without `cursor` and `for_each`";
        block.problem(block.at(), message);
    }
    let page_size = block.integer("page_size", 1..=100);
    Some(Resource {
        read: Some(NamedRead {
            name: name?,
            every: every?,
            proves_absence,
        }),
        delta_query: query.clone(),
        paging: match resource.paging {
            Paging::Ids if query.iter().any(|parameter| parameter.name == "range[id]") => {
                Paging::Numbers
            }
            paging => paging,
        },
        query,
        cursor,
        full_every: full_every.map(FullEvery::Fixed),
        page_size: page_size
            .and_then(|size| u32::try_from(size).ok())
            .or(resource.page_size),
        for_each,
        at: block.at(),
        ..resource.clone()
    })
}

/// The resource's query with the read's own parameters; an empty one takes a parameter out.
fn joined(query: &[QueryParameter], own: Vec<QueryParameter>) -> Vec<QueryParameter> {
    let is_own = |parameter: &&QueryParameter| own.iter().any(|it| it.name == parameter.name);
    let kept = query.iter().filter(|parameter| !is_own(parameter)).cloned();
    let mut joined: Vec<QueryParameter> = kept.collect();
    joined.extend(
        own.into_iter()
            .filter(|parameter| !parameter.value.is_empty()),
    );
    joined
}

/// Two reads that ask the same cost twice, and of two that prove absence each would delete the other's rows.
fn check_overlap(block: &Section<'_>, read: &Resource, others: &[Resource], resource: &Resource) {
    let field = |read: &Resource| read.cursor.as_ref().map(|cursor| cursor.field.clone());
    let fans_out = |read: &Resource| read.for_each.is_some();
    let is_same = |other: &&Resource| {
        sorted(&read.query) == sorted(&other.query)
            && field(read) == field(other)
            && fans_out(read) == fans_out(other)
    };
    if let Some(other) = others.iter().find(is_same) {
        let other = other.label();
        block.problem(
            block.at(),
            format_args!("it asks what {other} asks; remove one of them"),
        );
    } else if resource.cursor.is_some()
        && read.cursor.is_none()
        && !fans_out(read)
        && sorted(&read.query) == sorted(&resource.query)
    {
        let message = "without a `query`, `cursor` or `for_each` it is the same as the resource's full read; `full_every` sets how often";
        block.problem(block.at(), message);
    }
    let proves = |read: &Resource| read.read.as_ref().is_some_and(|read| read.proves_absence);
    let parted = |other: &Resource| {
        read.query.iter().any(|parameter| {
            let values = |value: &Template| -> BTreeSet<String> {
                value.to_string().split(',').map(str::to_owned).collect()
            };
            let same = other.query.iter().find(|it| it.name == parameter.name);
            same.is_some_and(|same| values(&same.value).is_disjoint(&values(&parameter.value)))
        })
    };
    if proves(read)
        && let Some(other) = others.iter().find(|other| proves(other) && !parted(other))
    {
        block.problem(
            block.at(),
            format_args!(
                "`proves_absence`: no filter parts it from {}, which proves absence too; give both the same filter with different values",
                other.label()
            ),
        );
    }
}

fn sorted(query: &[QueryParameter]) -> BTreeSet<(&str, String)> {
    let parameters = query.iter();
    parameters
        .map(|parameter| (parameter.name.as_str(), parameter.value.to_string()))
        .collect()
}
