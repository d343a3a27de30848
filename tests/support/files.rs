//! What tests do with files: list them, hash them, and put them on a file system of their own. Knows no promise.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// All files under a directory, by name.
pub(crate) fn files(root: &Path) -> Vec<PathBuf> {
    let entries = walkdir::WalkDir::new(root).sort_by_file_name().into_iter();
    let files = (entries.flatten()).filter(|entry| entry.file_type().is_file());
    files.map(walkdir::DirEntry::into_path).collect()
}

/// Changes a JSON document of a run, as one who knows what he does: its digest goes, and that of a manifest from the run's
/// record too, as they are absent in those of earlier versions.
pub(crate) fn edit(path: &Path, change: impl FnOnce(&mut Value)) {
    if path.ends_with("manifest.json") {
        edit(
            &path.ancestors().nth(2).unwrap().join("run.json"),
            forget_hashes,
        );
    }
    let mut document: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    change(&mut document);
    document.as_object_mut().unwrap().remove("sha256");
    std::fs::write(path, document.to_string()).unwrap();
}

fn forget_hashes(record: &mut Value) {
    for resource in record["resources"].as_array_mut().unwrap() {
        resource.as_object_mut().unwrap().remove("manifest_sha256");
    }
}

/// Changes each line of a journal, with the manifest, if there is one, made to fit.
pub(crate) fn edit_journal(resource: &Path, change: impl Fn(&mut Value)) {
    let journal = resource.join("pages.jsonl");
    let text = std::fs::read_to_string(&journal).unwrap();
    let lines = text.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        change(&mut line);
        format!("{line}\n")
    });
    let text: String = lines.collect();
    std::fs::write(&journal, &text).unwrap();
    let manifest = resource.join("manifest.json");
    if manifest.exists() {
        edit(&manifest, |manifest| {
            manifest["journal_sha256"] = sha256(text.as_bytes()).into();
        });
    }
}

/// In lower-case hex, as journals and manifests have it.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file system in memory; it goes with this.
pub(crate) struct Mount(pub(crate) PathBuf);

impl Mount {
    /// None where nobody may mount one.
    pub(crate) fn of(path: PathBuf, options: &str) -> Option<Self> {
        std::fs::create_dir_all(&path).unwrap();
        mount(&["-t", "tmpfs", "-o", options, "tmpfs"], &path).then_some(Self(path))
    }

    /// Mounts it again, with what is in it.
    pub(crate) fn again(&self, options: &str) {
        assert!(mount(&["-o", &format!("remount,{options}")], &self.0));
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let mut command = Command::new("umount");
        let _ = command.arg("-l").arg(&self.0).status();
    }
}

fn mount(arguments: &[&str], path: &Path) -> bool {
    let mut command = Command::new("mount");
    let command = command.args(arguments).arg(path).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
