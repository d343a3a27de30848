//! Arguments of `cursus watch`.

use std::time::Duration;

use clap::Args;

use super::values::interval;

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Time from the start of a round to the start of the next
    #[arg(long, value_name = "TIME", value_parser = interval)]
    pub(crate) every: Duration,
    /// Largest random delay of a round, so that many machines do not send requests at once [default: a tenth of --every, at most 1m]
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(crate) jitter: Option<Duration>,
    /// Number of rounds [default: no end]
    #[arg(long, value_name = "N")]
    pub(crate) rounds: Option<u64>,
    /// Resources to read [default: all]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) select: Vec<String>,
    /// Resources to leave out [default: none]
    #[arg(long, value_name = "A,B", value_delimiter = ',')]
    pub(crate) exclude: Vec<String>,
}
