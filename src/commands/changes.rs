//! `cursus changes`: print what loads have changed.

use std::cell::Cell;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{sleep, timeout};

use super::output::{note, print_line, try_print};
use crate::change_feed::{
    ChangesError, Filter, Since, cloud_event, extent, is_made, line, position, read, read_position,
    store_position,
};
use crate::cli::{ChangesArgs, Global};
use crate::database::Database;
use crate::exit::{Exit, Failure};
use crate::key_arg::Key;
use crate::name::{Name, advice};
use crate::pipeline::connect;
use crate::printable;
use crate::settings::Settings;

/// How often to look without a notification: a pooler hands on none.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Between two tries to reach the database again.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// Bytes that are printed at once.
const PRINT: usize = 256 << 10;

pub(super) async fn run(
    global: &Global,
    settings: &Settings,
    arguments: &ChangesArgs,
) -> Result<Exit, Failure> {
    let schema = settings.schema(arguments.into.as_deref())?;
    let filter = filter(settings, arguments)?;
    let reader = Reader {
        is_json: global.json,
        settings,
        arguments,
        schema,
        filter,
        stored: Cell::default(),
    };
    let mut database = reader.connect().await?;
    let Some(mut at) = reader.begin(&mut database).await? else {
        let schema = &reader.schema;
        let sentence = format!(
            "no change of {schema} is written down: name tables and columns in [changes] of pipeline.toml, and load"
        );
        if arguments.follow {
            return Err(Failure::usage(sentence));
        }
        if global.json {
            note(&sentence);
        } else {
            print_line(&sentence);
        }
        database.close().await?;
        return Ok(Exit::Done);
    };
    loop {
        match reader.read_all(&mut database, &mut at).await {
            Ok(true) if arguments.follow => {
                // A notification that has come meanwhile ends the wait at once.
                let _ = timeout(LOOK_EVERY, database.notified()).await;
            }
            Ok(_) => break,
            Err(error) if error.is_of_database() && arguments.follow => {
                note(&format!(
                    "{}; connecting again",
                    Failure::from(error).sentence()
                ));
                database = reader.connect_again().await;
            }
            Err(error) => return Err(error.into()),
        }
    }
    // A follower's output may have ended in the middle of a connection's work.
    let _ = database.close().now_or_never();
    Ok(Exit::Done)
}

fn filter(settings: &Settings, arguments: &ChangesArgs) -> Result<Filter, Failure> {
    let tables = &settings.config.tables;
    for table in &arguments.table {
        if !tables.iter().any(|it| it.name.as_str() == table) {
            let names = tables.iter().map(|it| it.name.as_str());
            let advice = advice(table, names, "it has");
            return Err(Failure::usage(format!(
                "pipeline.toml has no table `{table}`; {advice}"
            )));
        }
    }
    let key = arguments.key.as_deref().map(Key::parse).transpose();
    Ok(Filter {
        tables: arguments.table.clone(),
        key: key.map_err(Failure::usage)?,
    })
}

struct Reader<'r> {
    is_json: bool,
    settings: &'r Settings,
    arguments: &'r ChangesArgs,
    schema: Name,
    filter: Filter,
    /// The stored position of the consumer.
    stored: Cell<Option<u64>>,
}

impl Reader<'_> {
    /// With a consumer the connection may write: its position.
    async fn connect(&self) -> Result<Database, Failure> {
        let (settings, schema) = (self.settings, self.schema.as_str());
        let database = match self.arguments.consumer {
            Some(_) => {
                connect::refuse_unmade(settings)?;
                connect::connect_to_write(settings, schema).await?
            }
            None => connect::connect(settings, schema).await?,
        };
        if self.arguments.follow {
            let listen = database.client.batch_execute("LISTEN cursus").await;
            listen.map_err(ChangesError::from)?;
        }
        Ok(database)
    }

    async fn connect_again(&self) -> Database {
        loop {
            match self.connect().await {
                Ok(database) => return database,
                Err(failure) => note(&failure.sentence()),
            }
            sleep(TRY_EVERY).await;
        }
    }

    /// The number after which to read; none if no table is followed, and none was.
    async fn begin(&self, database: &mut Database) -> Result<Option<u64>, Failure> {
        let schema = self.schema.as_str();
        let client = &mut database.client;
        if !is_made(client).await.map_err(ChangesError::from)? {
            return Err(Failure::new(
                Exit::Failed,
                "the load ledger is older than this cursus: run `cursus migrate`, or load",
            ));
        }
        let is_followed = !self.settings.config.changes.tables.is_empty();
        let known = extent(client, schema).await.map_err(ChangesError::from)?;
        if known.is_none() && !is_followed {
            return Ok(None);
        }
        let since = match (&self.arguments.consumer, self.arguments.since) {
            (Some(consumer), None) => {
                let stored = read_position(client, schema, consumer).await?;
                stored.map(Since::After)
            }
            (_, since) => since,
        };
        Ok(Some(position(client, schema, since).await?))
    }

    /// Prints all after a number, which moves with them; false: nobody takes them any more.
    async fn read_all(&self, database: &mut Database, at: &mut u64) -> Result<bool, ChangesError> {
        let schema = self.schema.as_str();
        loop {
            let (mut text, mut is_taken) = (String::new(), true);
            let take = |change| {
                if self.is_json {
                    // Its values are JSON of the server.
                    text.push_str(&cloud_event(schema, &change).unwrap_or_default());
                } else {
                    text.push_str(&printable::line(&line(&change)));
                }
                text.push('\n');
                if text.len() > PRINT {
                    is_taken = is_taken && try_print(&text);
                    text.clear();
                }
            };
            let (to, is_end) = read(&mut database.client, schema, *at, &self.filter, take).await?;
            if !(is_taken && try_print(&text)) {
                return Ok(false);
            }
            if let Some(consumer) = &self.arguments.consumer
                && self.stored.get() != Some(to)
            {
                store_position(&database.client, schema, consumer, to).await?;
                self.stored.set(Some(to));
            }
            *at = to;
            if is_end {
                return Ok(true);
            }
        }
    }
}

impl From<ChangesError> for Failure {
    fn from(error: ChangesError) -> Self {
        match error {
            ChangesError::Database(error) => error.into(),
            gap => Self::new(Exit::Refused, gap.to_string()),
        }
    }
}
