//! Mirror a rate-limited web API into PostgreSQL, provably complete, at the fewest requests.

pub mod api;
