//! Named places at which a test ends or stops the process, makes a step of the disk fail, panics, sets the clock, or makes
//! it wait: `CURSUS_FAILPOINT=page.rename:3=kill`, several of them with commas between. Or the process stops there (`=stop`)
//! until the test continues it, so that something else happens in between.
//!
//! Only a build with the feature `failpoints` has them; tests get it by a dev-dependency, in every profile. Without it every
//! call is empty and no environment variable is read. The crate `fail` cannot kill, and its names are texts that nobody
//! checks. Here a name that is not in the list does not compile, and one that no command reaches fails a test.

use std::io;

macro_rules! points {
    ($($variant:ident = $name:literal,)*) => {
        /// A place.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs, reason = "its name says it")]
        pub enum Point { $($variant,)* }

        impl Point {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// As in `CURSUS_FAILPOINT`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

points! {
    // A staged file: before its bytes, before they are durable, before its name, before that is durable, after.
    PageWrite = "page.write",
    PageSync = "page.sync",
    PageRename = "page.rename",
    PageNamed = "page.named",
    PageDone = "page.done",
    JournalWrite = "journal.write",
    JournalSync = "journal.sync",
    JournalRename = "journal.rename",
    JournalNamed = "journal.named",
    JournalDone = "journal.done",
    ManifestWrite = "manifest.write",
    ManifestSync = "manifest.sync",
    ManifestRename = "manifest.rename",
    ManifestNamed = "manifest.named",
    ManifestDone = "manifest.done",
    RunWrite = "run.write",
    RunSync = "run.sync",
    RunRename = "run.rename",
    RunNamed = "run.named",
    RunDone = "run.done",
    IdentityWrite = "identity.write",
    IdentitySync = "identity.sync",
    IdentityRename = "identity.rename",
    IdentityNamed = "identity.named",
    IdentityDone = "identity.done",
    ApprovalsWrite = "approvals.write",
    ApprovalsSync = "approvals.sync",
    ApprovalsRename = "approvals.rename",
    ApprovalsNamed = "approvals.named",
    ApprovalsDone = "approvals.done",
    // A line of the journal: before it, in its middle, before it is durable, after.
    LineAppend = "line.append",
    LineTorn = "line.torn",
    LineSync = "line.sync",
    LineDone = "line.done",
    // Directories.
    LockTaken = "lock.taken",
    RunMake = "run.make",
    RunMade = "run.made",
    RunsListed = "runs.listed",
    ResourceMake = "resource.make",
    ResourceMade = "resource.made",
    // A person who is erased: the ledger, a page, its journal, and the rows.
    ErasureWrite = "erasure.write",
    ErasureTorn = "erasure.torn",
    ErasureSync = "erasure.sync",
    ErasureDone = "erasure.done",
    ErasedPageWrite = "erased_page.write",
    ErasedPageSync = "erased_page.sync",
    ErasedPageRename = "erased_page.rename",
    ErasedPageNamed = "erased_page.named",
    ErasedPageDone = "erased_page.done",
    ErasedJournalWrite = "erased_journal.write",
    ErasedJournalSync = "erased_journal.sync",
    ErasedJournalRename = "erased_journal.rename",
    ErasedJournalNamed = "erased_journal.named",
    ErasedJournalDone = "erased_journal.done",
    ErasedStrayRemove = "erased_stray.remove",
    ErasedRowsCommit = "erased_rows.commit",
    ErasedRowsCommitted = "erased_rows.committed",
    // A run on its way out.
    GcRename = "gc.rename",
    GcRenamed = "gc.renamed",
    GcRemoved = "gc.removed",
    // A file that comes from elsewhere, and its run.
    ReceivedWrite = "received.write",
    ReceivedSync = "received.sync",
    ReceivedRename = "received.rename",
    ReceivedNamed = "received.named",
    ReceivedDone = "received.done",
    TakeOver = "take_over.rename",
    TakenOver = "take_over.renamed",
    // A run in an object store: each object, its last one, and what is replaced or removed there.
    RemotePut = "remote.put",
    RemotePublish = "remote.publish",
    RemotePublished = "remote.published",
    RemoteReplace = "remote.replace",
    RemoteRemove = "remote.remove",
    RemoteUnpublished = "remote.unpublished",
    // What is kept of a key.
    TokenWrite = "token.write",
    TokenRename = "token.rename",
    TokenDone = "token.done",
    LedgerWrite = "ledger.write",
    LedgerTorn = "ledger.torn",
    LedgerDone = "ledger.done",
    // The load of a run.
    LoadBegin = "load.begin",
    LoadCopy = "load.copy",
    LoadCopied = "load.copied",
    LoadCompare = "load.compare",
    LoadMerge = "load.merge",
    LoadBulk = "load.bulk",
    LoadRetryOrphans = "load.retry_orphans",
    LoadPrune = "load.prune",
    LoadPruneOutOfScope = "load.prune_out_of_scope",
    LoadApprove = "load.approve",
    LoadDerive = "load.derive",
    LoadRecord = "load.record",
    LoadCommit = "load.commit",
    LoadCommitted = "load.committed",
    DeriveCommit = "derive.commit",
    DeriveCommitted = "derive.committed",
    // Schemas.
    MigrateSchema = "migrate.schema",
    MigrateSet = "migrate.set",
    MigrateDone = "migrate.done",
    ReplayMake = "replay.make",
    ReplayMade = "replay.made",
    RebuildMerge = "rebuild.merge",
    RebuildRecord = "rebuild.record",
    RebuildCommit = "rebuild.commit",
    RebuildCommitted = "rebuild.committed",
    RebuildDropped = "rebuild.dropped",
    // A bundle: after the rows of a table, before its name, after.
    ExportTable = "export.table",
    ExportRename = "export.rename",
    ExportDone = "export.done",
    // Repairs.
    ApproveCommit = "approve.commit",
    ApproveCommitted = "approve.committed",
    RetryCommit = "retry.commit",
    RetryCommitted = "retry.committed",
    DropEntries = "drop.entries",
    DropDone = "drop.done",
}

/// The places of a file that is written aside and renamed.
#[derive(Debug)]
#[allow(missing_docs, reason = "their names say it")]
pub struct FilePoints {
    pub write: Point,
    pub sync: Point,
    pub rename: Point,
    pub named: Point,
    pub done: Point,
}

macro_rules! file_points {
    ($($file:ident: $write:ident $sync:ident $rename:ident $named:ident $done:ident,)*) => {$(
        #[allow(missing_docs, reason = "its name says it")]
        pub const $file: FilePoints = FilePoints {
            write: Point::$write,
            sync: Point::$sync,
            rename: Point::$rename,
            named: Point::$named,
            done: Point::$done,
        };
    )*};
}

file_points! {
    PAGE: PageWrite PageSync PageRename PageNamed PageDone,
    JOURNAL: JournalWrite JournalSync JournalRename JournalNamed JournalDone,
    MANIFEST: ManifestWrite ManifestSync ManifestRename ManifestNamed ManifestDone,
    RUN: RunWrite RunSync RunRename RunNamed RunDone,
    IDENTITY: IdentityWrite IdentitySync IdentityRename IdentityNamed IdentityDone,
    ERASED_PAGE: ErasedPageWrite ErasedPageSync ErasedPageRename ErasedPageNamed ErasedPageDone,
    ERASED_JOURNAL: ErasedJournalWrite ErasedJournalSync ErasedJournalRename ErasedJournalNamed ErasedJournalDone,
    RECEIVED: ReceivedWrite ReceivedSync ReceivedRename ReceivedNamed ReceivedDone,
    APPROVALS: ApprovalsWrite ApprovalsSync ApprovalsRename ApprovalsNamed ApprovalsDone,
}

impl Point {
    /// Here the process may end.
    pub fn reach(self) {
        let _ = self.io();
    }

    /// Here the process may end, and a step of the disk may fail.
    pub fn io(self) -> io::Result<()> {
        #[cfg(feature = "failpoints")]
        armed::act(self)?;
        Ok(())
    }

    /// Whether something happens when it is reached next: what is written before it is then written by half.
    pub fn is_armed(self) -> bool {
        #[cfg(feature = "failpoints")]
        return armed::is_armed(self);
        #[cfg(not(feature = "failpoints"))]
        false
    }
}

#[cfg(feature = "failpoints")]
mod armed {
    use std::io;
    use std::path::PathBuf;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    use nix::errno::Errno;
    use nix::sys::signal::{Signal, kill, raise};
    use nix::unistd::Pid;

    use super::Point;

    /// What happens at the nth time that a place is reached.
    struct Plan {
        point: Point,
        nth: u32,
        reached: AtomicU32,
        action: Action,
    }

    enum Action {
        Kill,
        /// Until somebody continues it.
        Stop,
        Fail(Errno),
        /// The clock jumps by this many seconds.
        Jump(i64),
        /// A fault, which says what a record says.
        Panic,
        /// This named pipe is read: the place is left when its writer closes it.
        Wait(PathBuf),
    }

    static PLANS: LazyLock<Vec<Plan>> = LazyLock::new(|| {
        let text = std::env::var("CURSUS_FAILPOINT").unwrap_or_default();
        text.split(',').filter_map(Plan::parse).collect()
    });

    impl Plan {
        fn parse(text: &str) -> Option<Self> {
            let (place, action) = text.split_once('=').unwrap_or((text, "kill"));
            let (name, nth) = place.split_once(':').unwrap_or((place, "1"));
            let action = match action {
                "kill" => Action::Kill,
                "stop" => Action::Stop,
                "enospc" => Action::Fail(Errno::ENOSPC),
                "eacces" => Action::Fail(Errno::EACCES),
                "eio" => Action::Fail(Errno::EIO),
                "panic" => Action::Panic,
                other => match other.split_once(':') {
                    Some(("wait", path)) => Action::Wait(path.into()),
                    _ => Action::Jump(other.strip_prefix("jump")?.parse().ok()?),
                },
            };
            Some(Self {
                point: Point::ALL.iter().copied().find(|p| p.name() == name)?,
                nth: nth.parse().ok()?,
                reached: AtomicU32::new(0),
                action,
            })
        }

        /// A full disk stays full: what fails once fails from then on.
        fn is_due(&self) -> bool {
            let reached = 1 + self.reached.fetch_add(1, Ordering::SeqCst);
            match self.action {
                Action::Fail(_) => reached >= self.nth,
                Action::Kill | Action::Stop | Action::Jump(_) | Action::Panic | Action::Wait(_) => {
                    reached == self.nth
                }
            }
        }
    }

    pub(super) fn act(point: Point) -> io::Result<()> {
        for plan in PLANS.iter().filter(|plan| plan.point == point) {
            if !plan.is_due() {
                continue;
            }
            match &plan.action {
                Action::Kill => loop {
                    let _ = kill(Pid::this(), Signal::SIGKILL);
                },
                // The thread itself: nothing of it continues meanwhile.
                Action::Stop => raise(Signal::SIGSTOP)?,
                Action::Fail(errno) => return Err((*errno).into()),
                Action::Jump(seconds) => crate::clock::set::jump(*seconds),
                Action::Wait(path) => drop(std::fs::read(path)?),
                Action::Panic => std::panic::panic_any("Ada Lovelace".to_owned()),
            }
        }
        Ok(())
    }

    pub(super) fn is_armed(point: Point) -> bool {
        let is_next = |plan: &Plan| plan.reached.load(Ordering::SeqCst) + 1 >= plan.nth;
        PLANS
            .iter()
            .any(|plan| plan.point == point && is_next(plan))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_place_has_a_name_of_its_own() {
        let names: BTreeSet<&str> = Point::ALL.iter().map(|point| point.name()).collect();
        assert_eq!(names.len(), Point::ALL.len());
    }
}
