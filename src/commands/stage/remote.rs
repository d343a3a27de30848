//! `cursus stage push` and `cursus stage pull`: runs to and from an object store.

use crate::cli::Global;
use crate::commands::{print_json, print_line};
use crate::exit::{Exit, Failure};
use crate::remote::{self, Pulled, Pushed};
use crate::report::counted;
use crate::settings::Settings;

pub(super) async fn push(
    global: &Global,
    settings: &Settings,
    url: Option<&str>,
) -> Result<Exit, Failure> {
    let remote = settings.remote(url)?;
    settings.require_run()?;
    remote.keep_private();
    let _lock = settings.lock_store(&remote).await?;
    let pushed = remote::push(&remote, &settings.staging).await?;
    if global.json {
        print_json(&pushed);
    } else {
        print_pushed(&pushed);
    }
    Ok(Exit::Done)
}

fn print_pushed(pushed: &Pushed) {
    let runs = |count: usize| counted(count as u64, "run");
    print_line(&format!(
        "{} pushed to {}: {}, {}; {} there already",
        runs(pushed.runs.len()),
        pushed.url,
        counted(pushed.objects, "object"),
        counted(pushed.bytes, "byte"),
        runs(pushed.there),
    ));
    if pushed.rewritten_pages > 0 {
        print_line(&format!(
            "{} replaced there, because people in them were erased",
            counted(pushed.rewritten_pages, "page")
        ));
    }
    if pushed.only_there > 0 {
        print_line(&format!(
            "{} only there: who was erased after they were removed here may still be in them; `cursus stage pull`, `cursus forget --finish` and \
             another push erase them there",
            runs(pushed.only_there)
        ));
    }
    if pushed.removed_there > 0 {
        print_line(&format!(
            "{} older than the newest there not pushed again: retention has removed them there",
            runs(pushed.removed_there)
        ));
    }
    if let Some(run) = &pushed.unfinished {
        print_line(&format!(
            "the run {run} is not finished and may be resumed; it is pushed when it is finished, or when another one has begun"
        ));
    }
}

pub(super) async fn pull(
    global: &Global,
    settings: &Settings,
    url: Option<&str>,
) -> Result<Exit, Failure> {
    let remote = settings.remote(url)?;
    let lock = settings.lock_staging().await?;
    let pulled = remote::pull(&remote, &settings.staging, &lock).await?;
    if global.json {
        print_json(&pulled);
    } else {
        print_pulled(&pulled);
    }
    Ok(Exit::Done)
}

fn print_pulled(pulled: &Pulled) {
    let runs = |count: usize| counted(count as u64, "run");
    print_line(&format!(
        "{} pulled from {}; {} here already",
        runs(pulled.runs.len()),
        pulled.url,
        runs(pulled.here),
    ));
    if pulled.rewritten_pages > 0 {
        print_line(&format!(
            "{} replaced here, because people in them were erased",
            counted(pulled.rewritten_pages, "page")
        ));
    }
    for run in &pulled.unpublished {
        print_line(&format!(
            "the run {run} is not complete there: its push was interrupted, and the next push completes it"
        ));
    }
}
