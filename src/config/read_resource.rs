//! Reads `[[resource]]` blocks.

use super::named_read;
use super::names::{Names, Scope, Slice};
use super::read_keys::{
    Seen, check_fan_out, read_cursor, read_for_each, read_name, read_path, read_query,
    read_scope_lists,
};
use super::reader::Section;
use super::resource::{FullEvery, Paging, QueryParameter, Resource};
use crate::name::Name;
use crate::pointer::Pointer;

pub(super) fn read(blocks: Vec<Section<'_>>, names: &Names, scope: &Scope) -> Vec<Resource> {
    let mut seen = Seen::new();
    let mut resources = Vec::new();
    for mut block in blocks {
        let name = read_name(&mut block, "resource", &mut seen);
        let resource = read_one(&block, name, scope, names);
        block.finish();
        resources.extend(resource);
    }
    resources
}

fn read_one(
    block: &Section<'_>,
    name: Option<Name>,
    scope: &Scope,
    names: &Names,
) -> Option<Resource> {
    let (mut for_each, mut lists, mut is_scope) = (None, None, false);
    if let Some(section) = block.section("for_each") {
        is_scope = section.has("scope");
        if is_scope {
            lists = read_scope_lists(section, scope);
        } else {
            for_each = read_for_each(section, name.as_ref(), scope, names);
        }
    }
    let slice = match &for_each {
        Some((each, _)) => Slice::Each(each),
        None if is_scope => Slice::None,
        None if block.has("for_each") || block.is_misspelt("for_each") => Slice::Unsure,
        None => Slice::None,
    };
    let path = read_path(block, scope, slice);
    let query = read_query(block, "query", scope, slice);
    let delta_query = read_query(block, "delta_query", scope, slice);
    let cursor = block
        .section("cursor")
        .and_then(|section| read_cursor(section, false));
    let full_every = read_full_every(block);
    if !block.has("cursor") && !block.is_misspelt("cursor") {
        for key in ["delta_query", "full_every"] {
            if block.has(key) {
                block.problem(
                    block.at(),
                    format_args!("`{key}` only means something with a `cursor`: without one every read is full"),
                );
            }
        }
    }
    let sort = match block.text("sort") {
        None => Some("-id".to_owned()),
        Some(text) if text.value.is_empty() => None,
        Some(text) => Some(text.value.to_owned()),
    };
    let id = block.text("id");
    let id = match id {
        Some(id) => block
            .parsed("id", Some(id), Pointer::parse)
            .map(|id| id.value),
        None => Some(Pointer::key("id")),
    };
    let paging = read_paging(block, sort.as_deref(), id.as_ref(), query.as_deref());
    let after = names.list(block, "after", name.as_ref());
    let min_age = block.duration("min_age").unwrap_or_default();
    let page_size = block
        .integer("page_size", 1..=100)
        .and_then(|size| u32::try_from(size).ok());
    let timeout = block.timeout("timeout");
    let query = query.unwrap_or_default();
    let delta_query = delta_query.unwrap_or_else(|| query.clone());
    if let Some(cursor) = &cursor {
        let range = format!("range[{}]", cursor.field);
        if delta_query.iter().any(|parameter| parameter.name == range) {
            block.problem(
                block.at(),
                format_args!("`{range}` is set by a delta itself; keep it out of `delta_query` (default: `query`)"),
            );
        }
    }
    if let Some((_, unless)) = &for_each
        && cursor.is_some()
        && unless.is_none()
    {
        block.problem(
            block.at(),
            "a resource with `for_each` has no `cursor`: it is read for the ids that the other resource showed",
        );
    }
    if let Some((for_each, _)) = &for_each {
        check_fan_out(
            block,
            path.as_ref(),
            [&query, &delta_query],
            for_each,
            scope,
        );
    }
    let blocks = block.blocks("read");
    // With its scope, it is one list.
    let is_one_list = (for_each.as_ref())
        .and_then(|(_, unless)| scope.values.get(unless.as_deref()?))
        .is_some_and(|values| !values.is_empty());
    let is_fanned_out = for_each.is_some() && !is_one_list;
    let resource = Resource {
        delta_query,
        query,
        cursor: cursor.filter(|_| !is_fanned_out),
        full_every: full_every.filter(|_| !is_fanned_out),
        min_age,
        page_size,
        timeout,
        sort,
        paging,
        after,
        pack: block.pack().map(|pack| pack.name.clone()),
        right: block.pack().and_then(|pack| pack.right.clone()),
        at: block.at(),
        name: name?,
        path: path?,
        id: id?,
        for_each: for_each.filter(|_| is_fanned_out).map(|(each, _)| each),
        read: None,
        reads: Vec::new(),
        lists,
    };
    let reads = named_read::read(blocks, &resource, scope, names);
    Some(Resource { reads, ..resource })
}

fn read_full_every(block: &Section<'_>) -> Option<FullEvery> {
    if block.is_text("full_every", "auto") {
        return Some(FullEvery::Auto);
    }
    block.duration("full_every").map(FullEvery::Fixed)
}

/// By ids where the API can: ordered by falling ids, which are in the field `id`.
fn read_paging(
    block: &Section<'_>,
    sort: Option<&str>,
    id: Option<&Pointer>,
    query: Option<&[QueryParameter]>,
) -> Paging {
    let ranges = query.unwrap_or_default();
    let can = sort == Some("-id")
        && id == Some(&Pointer::key("id"))
        && !ranges.iter().any(|parameter| parameter.name == "range[id]");
    let Some(text) = block.text("paging") else {
        return if can { Paging::Ids } else { Paging::Numbers };
    };
    match text.value {
        "numbers" => return Paging::Numbers,
        "ids" if can => return Paging::Ids,
        "ids" => block.problem(
            text.at,
            "`paging` = \"ids\" needs `sort` = \"-id\", `id` = \"/id\" and no `range[id]` in `query`",
        ),
        _ => block.problem(text.at, "`paging` is \"ids\" or \"numbers\""),
    }
    Paging::Numbers
}
