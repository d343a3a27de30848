//! Named consumers: the number up to which each has been given the changes.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::ChangesError;
use crate::convert::{signed, unsigned};

/// The position of a consumer, if it has one.
pub(crate) async fn consumed(
    client: &Client,
    schema: &str,
    consumer: &str,
) -> Result<Option<u64>, ChangesError> {
    let row = client
        .query_typed_opt(
            "SELECT seq FROM pipeline.consumer WHERE schema_name = $1 AND consumer = $2",
            &[(&schema, Type::TEXT), (&consumer, Type::TEXT)],
        )
        .await?;
    Ok(row.map(|row| unsigned(row.get(0))))
}

/// Stores the position of a consumer, which has been given all up to it.
pub(crate) async fn store(
    client: &Client,
    schema: &str,
    consumer: &str,
    seq: u64,
) -> Result<(), ChangesError> {
    client
        .execute_typed(
            "INSERT INTO pipeline.consumer (schema_name, consumer, seq) VALUES ($1, $2, $3) \
             ON CONFLICT (schema_name, consumer) DO UPDATE SET seq = excluded.seq, moved_at = now()",
            &[
                (&schema, Type::TEXT),
                (&consumer, Type::TEXT),
                (&signed(seq), Type::INT8),
            ],
        )
        .await?;
    Ok(())
}
