//! The role of the private cluster that may only read.

use tokio_postgres::{Client, Config, NoTls};

use super::{Cluster, DATABASE, READER, USER};
use crate::database::DatabaseError;

/// Whether it is there, and may do no more than it should.
const IS_THERE: &str = "SELECT FROM pg_catalog.pg_roles AS r WHERE rolname = $1 AND rolcanlogin \
    AND NOT (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls) \
    AND ARRAY['pg_read_all_data']::name[] = ARRAY(SELECT of.rolname FROM pg_catalog.pg_auth_members AS m \
        JOIN pg_catalog.pg_roles AS of ON of.oid = m.roleid WHERE m.member = r.oid)";

impl Cluster {
    /// Makes [`READER`] if it is not there.
    pub(in crate::database) async fn ensure_reader(&self) -> Result<(), DatabaseError> {
        let client = session(&self.config_as(USER, DATABASE)).await?;
        if client.query_opt(IS_THERE, &[&READER]).await?.is_some() {
            return Ok(());
        }
        // Serialises two processes that create the role at the same time.
        let make = format!(
            "BEGIN; SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('{READER}')); \
             DO $$ BEGIN CREATE ROLE {READER}; EXCEPTION WHEN duplicate_object THEN NULL; END $$; \
             DO $$ DECLARE other name; BEGIN \
                FOR other IN SELECT of.rolname FROM pg_catalog.pg_auth_members AS m \
                    JOIN pg_catalog.pg_roles AS of ON of.oid = m.roleid WHERE m.member = '{READER}'::regrole LOOP \
                EXECUTE pg_catalog.format('REVOKE %I FROM {READER}', other); END LOOP; END $$; \
             ALTER ROLE {READER} LOGIN NOSUPERUSER NOCREATEROLE NOCREATEDB NOREPLICATION NOBYPASSRLS; \
             ALTER ROLE {READER} SET default_transaction_read_only = on; GRANT pg_read_all_data TO {READER}; COMMIT"
        );
        client.batch_execute(&make).await?;
        Ok(())
    }
}

async fn session(config: &Config) -> Result<Client, DatabaseError> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(connection);
    client
        .batch_execute("SET search_path TO pg_catalog; SET default_transaction_read_only = off")
        .await?;
    Ok(client)
}
