//! What `cursus --version` prints, read from Git while the one file that prints it is compiled.
//!
//! A build script would recompile the whole package after each commit. What a macro reads is a dependency of the file in
//! which it stands, so that a commit costs that file and a link.

use std::env;
use std::path::Path;
use std::process::Command;

use proc_macro::TokenStream;

/// Says the commit where there is no checkout; set and empty, nothing is asked of Git.
const COMMIT: &str = "CURSUS_COMMIT";

/// Expands to the version of the package, and the commit where it is known: `"0.2.0 (4a3741fc3 2026-11-29)"`.
///
/// The commit is what `CURSUS_COMMIT` says while the package is compiled, else nine digits of the hash of `HEAD` and the day
/// (in UTC) of that commit. It is left out where the package is not the root of a Git checkout, and where Git is missing.
#[proc_macro]
pub fn version(_: TokenStream) -> TokenStream {
    let (commit, source) = match env::var(COMMIT) {
        Ok(commit) => (Some(commit).filter(|commit| !commit.is_empty()), None),
        Err(_) => commit().map_or((None, None), |commit| (Some(commit), source())),
    };
    let commit = commit.map_or_else(String::new, |commit| format!(" ({commit})"));
    let source = source.map_or_else(String::new, |path| {
        format!("const _: &[u8] = include_bytes!({path:?});")
    });
    let block = format!(
        "{{ {source} const _: Option<&str> = option_env!({COMMIT:?}); concat!(env!(\"CARGO_PKG_VERSION\"), {commit:?}) }}"
    );
    block.parse().unwrap_or_default()
}

fn commit() -> Option<String> {
    // An archive that was unpacked inside another checkout is not that checkout.
    if !git(&["rev-parse", "--show-prefix"])?.is_empty() {
        return None;
    }
    let head = git(&[
        "log",
        "-1",
        "--no-show-signature",
        "--date=format-local:%Y-%m-%d",
        "--format=%H %cd",
    ])?;
    let (hash, day) = head.split_once(' ')?;
    Some(format!("{} {day}", hash.get(..9)?))
}

/// The file to which Git appends a line whenever `HEAD` moves. The compiler notes it as a source.
fn source() -> Option<String> {
    git(&[
        "rev-parse",
        "--path-format=absolute",
        "--git-path",
        "logs/HEAD",
    ])
    .filter(|path| Path::new(path).is_file())
}

/// What Git prints about the package that is being compiled.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(env::var_os("CARGO_MANIFEST_DIR")?)
        .env("TZ", "UTC")
        // A hook sets these for the repository that it runs in.
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
