//! Fields that a sample has not shown, looked for in all records: a second reading, once for a field that no sampled record has.

use std::collections::BTreeMap;

use crate::load::error::LoadError;
use crate::name::Name;
use crate::pointer::Pointer;
use crate::staging::Run;
use crate::walk::Walker;

/// Which of these paths some record has, and the first file that shows each.
pub(crate) async fn shown(
    run: &Run,
    resource: &Name,
    paths: Vec<String>,
) -> Result<BTreeMap<String, String>, LoadError> {
    let (run, resource) = (run.clone(), resource.clone());
    let reading = tokio::task::spawn_blocking(move || read(&run, &resource, paths));
    reading.await.map_err(|_| LoadError::Thread)?
}

fn read(
    run: &Run,
    resource: &Name,
    paths: Vec<String>,
) -> Result<BTreeMap<String, String>, LoadError> {
    let mut shown = BTreeMap::new();
    let Some(staged) = run.staged(resource)? else {
        return Ok(shown);
    };
    let mut walker = Walker::default();
    let mut unseen: Vec<(usize, String)> = (paths.into_iter())
        .filter_map(|path| Some((walker.add(&Pointer::parse(&path).ok()?), path)))
        .collect();
    let mut body = Vec::new();
    for page in staged.pages() {
        if unseen.is_empty() {
            break;
        }
        let page = page?;
        staged.read(&page, &mut body)?;
        let text = std::str::from_utf8(&body)
            .map_err(|_| staged.unreadable(&page, "it is not UTF-8 text"))?;
        let file = staged.file(&page).display().to_string();
        // The load of the page has read it to its end.
        let _ = walker.page(text, |_, slots| {
            let is_there = |(slot, _): &mut (usize, String)| slots[*slot].is_some();
            for (_, path) in unseen.extract_if(.., is_there) {
                shown.insert(path, file.clone());
            }
        });
    }
    Ok(shown)
}
