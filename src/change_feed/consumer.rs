//! The positions of consumers: the number of the last change that each was given.

use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::ChangesError;
use crate::convert::{signed, unsigned};

/// None: it has none yet.
pub(crate) async fn read_position(
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

pub(crate) async fn store_position(
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
