//! Arguments of `cursus export`.

use std::path::PathBuf;

use clap::Args;

use crate::export::Format;

#[derive(Debug, Args)]
pub(crate) struct BundleArgs {
    /// Profile that says what is handed out: `sql/export/PROFILE.toml`, beside the configuration or built in
    #[arg(long, value_name = "PROFILE", default_value = "public")]
    pub(crate) profile: String,
    /// Files of the bundle
    #[arg(long, value_enum, default_value = "csv")]
    pub(crate) format: Format,
    /// Directory to make; it must not be there yet
    pub(crate) out: PathBuf,
}
