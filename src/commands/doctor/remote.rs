//! The object store of `[staging] remote`: whether it can be reached, and refuses to overwrite.

use super::Check;
use crate::settings::Settings;

const NAME: &str = "object store";

/// None where the configuration names no store.
pub(super) async fn check(settings: &Settings) -> Option<Check> {
    settings.config.staging.remote.as_ref()?;
    let probed = match settings.remote(None) {
        Ok(remote) => match remote.probe().await {
            Ok(()) => Ok(vec![format!(
                "{}: it can be written, and refuses to overwrite",
                remote.shown()
            )]),
            Err(error) => Err(vec![crate::error_chain::chain(&error)]),
        },
        Err(failure) => Err(vec![failure.sentence()]),
    };
    Some(super::check(NAME, probed))
}
