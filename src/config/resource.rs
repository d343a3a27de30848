//! `[[resource]]`: one endpoint, how it is asked, and how far its deltas reach.

use std::time::Duration;

use crate::name::Name;
use crate::pointer::Pointer;
use crate::template::Template;

/// The key of the directories in which named reads are staged.
pub(crate) const READ: &str = "read";

/// An endpoint that is extracted, as one of its reads asks for it: the resource's own, or a named one.
#[derive(Clone, Debug)]
pub struct Resource {
    /// Its name on the command line and in the staging directory.
    pub(crate) name: Name,
    /// The named read that this is; none: the resource's own delta and full read.
    pub(crate) read: Option<NamedRead>,
    pub(crate) reads: Vec<Resource>,
    pub(crate) path: Template,
    pub(crate) query: Vec<QueryParameter>,
    /// Parameters of a delta read, without the range.
    pub(crate) delta_query: Vec<QueryParameter>,
    /// What deltas range over; without one every read is full.
    pub(crate) cursor: Option<Cursor>,
    /// The longest time between full reads.
    pub(crate) full_every: Option<FullEvery>,
    /// A read younger than this makes another one unnecessary.
    pub(crate) min_age: Duration,
    /// Rows asked for a page, if not the API's `page_size`.
    pub(crate) page_size: Option<u32>,
    /// For one request, if not the API's.
    pub(crate) timeout: Option<Duration>,
    /// The order to ask for; `None` where the API documents none.
    pub(crate) sort: Option<String>,
    /// How pages follow one another.
    pub(crate) paging: Paging,
    /// Where in a record its id is.
    pub(crate) id: Pointer,
    /// One request (or a batch) for each id of another resource.
    pub(crate) for_each: Option<ForEach>,
    /// One list for each value of a list in `[scope]`, instead of the one at `path`.
    pub(crate) lists: Option<ScopeLists>,
    /// Resources that are loaded before.
    pub(crate) after: Vec<Name>,
    /// The pack that it is of; none: `pipeline.toml`.
    pub(crate) pack: Option<String>,
    /// The right that the pack names, in words.
    pub(crate) right: Option<String>,
    pub(super) at: usize,
}

#[derive(Clone, Debug)]
pub(crate) struct NamedRead {
    /// Its name, by which it is staged: `read=ongoing`.
    pub(crate) name: Name,
    pub(crate) every: Duration,
    /// Rows that pass its filters and are absent from a complete full read of it were deleted.
    pub(crate) proves_absence: bool,
}

/// How old the last full read may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FullEvery {
    Fixed(Duration),
    /// As the share of the budget for refreshing allows, between a day and 30.
    Auto,
}

impl Resource {
    /// Whether it has a delta and full read of its own: one without a cursor can consist of named reads alone.
    pub(crate) fn has_own_read(&self) -> bool {
        self.cursor.is_some() || self.reads.is_empty()
    }

    /// Its reads: its own, if it has one, then the named ones.
    pub fn all_reads(&self) -> impl Iterator<Item = &Self> {
        let own = self.has_own_read().then_some(self);
        own.into_iter().chain(&self.reads)
    }

    /// Its name, and where in a record is what the proof rests on that a read is complete: the id, and the times that reads range over.
    pub(super) fn proof(&self) -> (Name, Vec<Pointer>) {
        let cursors = self.all_reads().chain([self]);
        let cursors = cursors.filter_map(|read| read.cursor.as_ref());
        let fields = cursors.map(|cursor| Pointer::key(&cursor.field));
        let pointers = [self.id.clone()].into_iter().chain(fields).collect();
        (self.name.clone(), pointers)
    }

    pub(crate) fn read_name(&self) -> Option<&Name> {
        self.read.as_ref().map(|read| &read.name)
    }

    /// Resource and read for people: `cursus_users`, `cursus_users (ongoing)`.
    pub fn label(&self) -> String {
        match self.read_name() {
            Some(read) => format!("{} ({read})", self.name),
            None => self.name.to_string(),
        }
    }

    /// What a 403 means for a resource of a pack.
    pub(crate) fn refusal(&self) -> Option<String> {
        let pack = self.pack.as_ref()?;
        let right = self
            .right
            .as_ref()
            .map_or_else(String::new, |right| format!(", which needs {right},"));
        Some(format!(
            "the pack `{pack}`{right} is skipped; without the right, take it out of `packs` in pipeline.toml"
        ))
    }

    /// Whether it has a cursor but no order, so that its lists are read in windows of time.
    pub(crate) fn is_read_in_windows(&self) -> bool {
        self.sort.is_none() && self.cursor.is_some()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct QueryParameter {
    pub(crate) name: String,
    pub(crate) value: Template,
}

#[derive(Clone, Debug)]
pub(crate) struct Cursor {
    /// The timestamp that moves with every change, such as `updated_at`.
    pub(crate) field: String,
    /// How far a window reaches behind the cursor.
    pub(crate) lookback: Duration,
    /// How far a full read reaches back; none: it asks for all records. Only of named reads, whose absent records prove nothing.
    pub(crate) first: Option<Duration>,
}

/// How the pages of a list follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paging {
    /// Each from the last id of the one before, by `range[id]`: rows that come and go move nothing.
    Ids,
    Numbers,
}

/// The lists of a resource that the API has for each campus, say, and not for several at once.
#[derive(Clone, Debug)]
pub(crate) struct ScopeLists {
    pub(crate) placeholder: String,
    /// At least one.
    pub(crate) values: Vec<String>,
    pub(crate) path: Template,
}

/// Fan-out over the ids of another resource.
#[derive(Clone, Debug)]
pub(crate) struct ForEach {
    pub(crate) ids_of: Name,
    pub(crate) placeholder: String,
    /// Ids in one request: 1, or more where the placeholder is in the query.
    pub(crate) batch: usize,
}

impl ForEach {
    /// Whether the ids are those of the resource itself: a read that asks for its known records once more.
    pub(crate) fn is_of(&self, resource: &Name) -> bool {
        self.ids_of == *resource
    }
}
