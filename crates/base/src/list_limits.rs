//! How large a list of the API can be. A count beyond that is not believed, wherever it stands.

/// Records: at 100 a page and 1,200 pages an hour, a month of reading.
pub const MOST_RECORDS: u64 = 100_000_000;

/// Pages, each of which is a request: as many as these records need.
pub const MOST_PAGES: u64 = 1_000_000;
