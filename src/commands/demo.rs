//! `cursus demo`.

use crate::cli::{DemoArgs, Global};
use crate::exit::{Exit, Failure};

pub(super) async fn run(_global: &Global, _arguments: &DemoArgs) -> Result<Exit, Failure> {
    Err(Failure::usage("being written"))
}
