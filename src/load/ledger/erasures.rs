//! `pipeline.erasure`: who was erased, as the database knows it.

use tokio_postgres::{Client, Transaction};

use crate::load::error::LoadError;
use crate::person::PersonHash;
use crate::staging::ErasedAt;

/// All who were erased.
pub(crate) async fn read(client: &Client) -> Result<Vec<(PersonHash, ErasedAt)>, LoadError> {
    let statement = "SELECT person, staging_id, erasure, floor(extract(epoch FROM erased_at) * 1000)::bigint FROM pipeline.erasure";
    let rows = client.query_typed(statement, &[]).await;
    let rows = rows.map_err(LoadError::at("read pipeline.erasure"))?;
    let person = |row: &tokio_postgres::Row| {
        let person = PersonHash::parse(row.get(1), row.get(0))?;
        let at = jiff::Timestamp::from_millisecond(row.get(3)).ok()?;
        let erasure = row.get(2);
        Some((person, ErasedAt { erasure, at }))
    };
    Ok(rows.iter().filter_map(person).collect())
}

/// Records more of them.
pub(crate) async fn record(
    transaction: &Transaction<'_>,
    people: &[(PersonHash, ErasedAt)],
) -> Result<(), LoadError> {
    for (person, erased) in people {
        let recorded = transaction
            .execute(
                "INSERT INTO pipeline.erasure (person, staging_id, erasure, erased_at) \
                 VALUES ($1, $2, $3, to_timestamp($4::float8 / 1000)) ON CONFLICT DO NOTHING",
                &[
                    &person.digits(),
                    &person.key,
                    &erased.erasure,
                    &millis(erased.at),
                ],
            )
            .await;
        recorded.map_err(LoadError::at("write pipeline.erasure"))?;
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of this age fit")]
fn millis(at: jiff::Timestamp) -> f64 {
    at.as_millisecond() as f64
}
