//! Disks that are full or closed, files that go, clocks that jump: a sentence, nothing lost, and the next run completes.
