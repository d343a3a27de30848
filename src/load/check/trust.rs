//! What of a database is used, and whether other roles could have it run their code.

use std::collections::BTreeSet;

use tokio_postgres::GenericClient;

use crate::config::Config;
use crate::database::DatabaseError;
use crate::database::trust::{self, Access, Uses};
use crate::migrate::{self, LEDGER_SCHEMA};

/// Refuses a mirror and a load ledger that would run code of roles whom the session does not trust. Returns the tables that other
/// roles may add triggers or foreign keys to.
pub(crate) async fn check_schema(
    client: &impl GenericClient,
    access: Access,
    config: &Config,
    schema: &str,
) -> Result<Vec<String>, DatabaseError> {
    let tables = config.tables.iter().map(|table| table.name.to_string());
    let mut names: BTreeSet<String> = tables
        .chain(migrate::histories(&config.migrations()))
        .collect();
    if access == Access::Write {
        let selects = (config.tables.iter()).filter_map(|table| table.select.as_ref());
        let derives = config.derives.iter().map(|derive| &derive.sql);
        names.extend(
            selects
                .chain(derives)
                .flat_map(|sql| trust::words(&sql.text)),
        );
    }
    let names: Vec<String> = names.into_iter().collect();
    let uses = Uses {
        schemas: &[LEDGER_SCHEMA],
        path: &[schema],
        names: &names,
    };
    trust::check(client, access, uses).await
}

/// As [`check_schema`], to read these tables of several schemas.
pub(crate) async fn check_tables(
    client: &impl GenericClient,
    schemas: &[&str],
    tables: &[String],
) -> Result<(), DatabaseError> {
    let uses = Uses {
        schemas: &[],
        path: schemas,
        names: tables,
    };
    trust::check(client, Access::Read, uses).await.map(drop)
}
